//! Posted results on their way: gathered from many clients into few transactions, and
//! taken by whoever follows their source.
//!
//! A client is answered when its result is durable among those that wait. Whoever has
//! the lease of the source takes some with its next batch, and deletes them in that
//! batch's transaction: so the ledger's own guarantees hold for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::engine::vitals::{SourceVitals, Vitals};
use crate::store::{NewPost, PostOutcome, Store, Waiting};
use crate::telemetry::field;
use crate::vicidial::{Detail, Fact, Origin};

/// Posts that may be on their way to the store; a client behind them is told to come
/// again.
pub(super) const ORDERS_MAX: usize = 4096;

/// Posts of one transaction: it takes some milliseconds.
const GATHERED_MAX: usize = 512;

/// Posts that one batch takes, so that the stream does not wait for them for long.
pub(super) const TAKEN_MAX: u32 = 1024;

/// Time between two looks for what others have posted: another daemon's clients, or
/// those of this one before it was started.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two rounds of forgetting old idempotency keys.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);

/// A post, and who waits for what becomes of it.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) post: NewPost,
    pub(super) answer: oneshot::Sender<PostOutcome>,
}

/// Keeps posts until nobody can send any more. Whoever is not answered may post again:
/// twice the same is once.
pub(super) async fn gather<St: Store>(
    store: Arc<St>,
    mut orders: mpsc::Receiver<Order>,
    creates_dids: bool,
    vitals: Arc<Vitals>,
) {
    let mut gathered = Vec::new();
    let mut forgotten_at = Instant::now();
    while orders.recv_many(&mut gathered, GATHERED_MAX).await > 0 {
        let (posts, answers): (Vec<NewPost>, Vec<_>) = gathered
            .drain(..)
            // Who was told to come again, or hung up, posts again if it wants to.
            .filter(|order| !order.answer.is_closed())
            .map(|order| (order.post, order.answer))
            .unzip();
        match store.post(&posts, creates_dids).await {
            Ok((outcomes, waiting)) => {
                vitals.set_posts_waiting(waiting);
                for ((post, answer), outcome) in posts.iter().zip(answers).zip(outcomes) {
                    if let PostOutcome::Recorded(_) = outcome {
                        vitals.ring(&post.source);
                    }
                    // Who hung up does not want to know.
                    answer.send(outcome).ok();
                }
            }
            Err(error) => tracing::warn!(
                { field::ERROR } = %error,
                { field::CAUSE } = error.cause(),
                posts = posts.len(),
                "could not keep posted results; their clients were told to come again"
            ),
        }
        if forgotten_at.elapsed() >= FORGET_INTERVAL {
            forgotten_at = Instant::now();
            if let Err(error) = store.forget_post_keys().await {
                tracing::warn!({ field::ERROR } = %error, "could not forget old idempotency keys");
            }
        }
    }
}

/// Looks for posts of a source again and again, and rings when some wait.
pub(super) async fn look<St: Store>(store: Arc<St>, source: String, vitals: Arc<SourceVitals>) {
    loop {
        // A store that is away is told of by those who need it.
        if let Ok((found, waiting)) = store.posted(&source, 1).await {
            vitals.set_posts_waiting(waiting);
            if !found.is_empty() {
                vitals.posted.notify_one();
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// What posts say, in the order in which they came.
pub(super) fn facts(waiting: Vec<Waiting>) -> Vec<Fact> {
    let file: Arc<str> = Arc::from("posted");
    let fact = |Waiting { id, posted }| Fact {
        origin: Origin::new(&file, u64::try_from(id).unwrap_or(0), 0, posted.at),
        detail: Detail::Posted(Box::new(posted)),
    };
    waiting.into_iter().map(fact).collect()
}
