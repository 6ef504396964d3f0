//! What a test lets happen to the commits of a store in memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// What happens to one commit.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It fails as busy and changes nothing.
    Reject,
    /// It is applied, and then fails as unreachable: the acknowledgement is lost.
    LoseAcknowledgement,
    /// It waits at the gate before it is applied.
    Hold(Gate),
    /// It takes this long before it is applied.
    Slow(Duration),
}

/// Holds a commit until the test lets it go.
#[derive(Clone, Debug)]
pub struct Gate {
    entered: Arc<Semaphore>,
    released: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        let closed = || Arc::new(Semaphore::new(0));
        Self {
            entered: closed(),
            released: closed(),
        }
    }
}

impl Gate {
    /// Waits until a commit is held here.
    pub async fn entered(&self) {
        pass(&self.entered).await;
    }

    /// Lets one commit go, now or when it comes.
    pub fn release(&self) {
        self.released.add_permits(1);
    }

    pub(super) async fn hold(&self) {
        self.entered.add_permits(1);
        pass(&self.released).await;
    }
}

async fn pass(semaphore: &Semaphore) {
    // Invariant: the semaphores of a gate are never closed.
    if let Ok(permit) = semaphore.acquire().await {
        permit.forget();
    }
}
