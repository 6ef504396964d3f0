//! Who reads the store next: few requests at a time, and none of a tenant behind many of
//! another's.
//!
//! Reads of one tenant queue up among themselves, and the first of each queue waits for
//! the store. So one tenant's slow pages hold another's up for one read, not for all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Requests that read the store at the same time: fewer than it has connections, which
/// the engine needs too.
const READS_MAX: usize = 2;

/// Reads of one tenant that run or wait.
const READS_OF_TENANT_MAX: usize = 32;

/// The queues.
#[derive(Debug)]
pub(super) struct Turns {
    reads: Semaphore,
    queues: Mutex<BTreeMap<String, Queue>>,
}

#[derive(Debug)]
struct Queue {
    /// Reads in it, with the one that runs.
    count: usize,
    first: Arc<Semaphore>,
}

/// Too many of the tenant's reads run or wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// The right to read the store, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    // Given back in this order.
    _read: Option<SemaphorePermit<'a>>,
    _first: Option<OwnedSemaphorePermit>,
    _place: Place<'a>,
}

/// A place in a queue.
#[derive(Debug)]
struct Place<'a> {
    turns: &'a Turns,
    tenant: String,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            reads: Semaphore::new(READS_MAX),
            queues: Mutex::default(),
        }
    }

    /// Waits until it is this tenant's turn.
    ///
    /// # Errors
    /// [`TooMany`] of its reads run or wait already.
    pub(super) async fn turn(&self, tenant: &str) -> Result<Turn<'_>, TooMany> {
        let (place, first) = self.place(tenant)?;
        // Neither is ever closed.
        let first = first.acquire_owned().await.ok();
        let read = self.reads.acquire().await.ok();
        Ok(Turn {
            _read: read,
            _first: first,
            _place: place,
        })
    }

    fn place(&self, tenant: &str) -> Result<(Place<'_>, Arc<Semaphore>), TooMany> {
        let mut queues = self.lock();
        let queue = queues.entry(tenant.to_owned()).or_insert_with(|| Queue {
            count: 0,
            first: Arc::new(Semaphore::new(1)),
        });
        if queue.count >= READS_OF_TENANT_MAX {
            return Err(TooMany);
        }
        queue.count += 1;
        let place = Place {
            turns: self,
            tenant: tenant.to_owned(),
        };
        Ok((place, Arc::clone(&queue.first)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queues = self.turns.lock();
        if let Some(queue) = queues.get_mut(&self.tenant) {
            queue.count -= 1;
            if queue.count == 0 {
                queues.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn polled<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn many_reads_of_a_tenant_keep_no_other_waiting() {
        let turns = Turns::new();
        let Poll::Ready(Ok(first)) = polled(pin!(turns.turn("a"))) else {
            panic!("nobody reads yet");
        };
        let mut others: Vec<_> = (1..READS_OF_TENANT_MAX)
            .map(|_| Box::pin(turns.turn("a")))
            .collect();
        assert!(
            others
                .iter_mut()
                .all(|other| polled(other.as_mut()).is_pending())
        );
        let Poll::Ready(Ok(of_b)) = polled(pin!(turns.turn("b"))) else {
            panic!("another tenant's turn comes at once");
        };
        assert!(
            matches!(polled(pin!(turns.turn("a"))), Poll::Ready(Err(TooMany))),
            "the queue is full"
        );
        drop(first);
        let mut ready = others
            .iter_mut()
            .filter_map(|other| match polled(other.as_mut()) {
                Poll::Ready(turn) => turn.ok(),
                Poll::Pending => None,
            });
        let next = ready.next();
        assert!(next.is_some(), "the next of the tenant");
        drop((next, of_b));
        drop(others);
        assert!(
            turns.lock().is_empty(),
            "nothing is left of queues without reads"
        );
    }
}
