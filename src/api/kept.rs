//! From when on calls are kept: a result of an older one would be durable and never in
//! the numbers, so its client is told so instead.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ledger::Pruned;
use crate::store::{SqlStore, StoreError};

/// How long an answer of the store holds: retention moves on once an hour.
const HOLDS: Duration = Duration::from_secs(60);

/// What retention has deleted, as last read.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Option<(Instant, Pruned)>>);

impl Kept {
    /// Before which time the results of new calls are passed over; seconds since 1970
    /// (UTC), `None` where nothing was ever deleted.
    pub(super) async fn since(
        &self,
        store: &SqlStore,
        now: Instant,
    ) -> Result<Option<i64>, StoreError> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.filter(|(at, _)| now.saturating_duration_since(*at) < HOLDS);
        let pruned = match known {
            Some((_, pruned)) => pruned,
            None => {
                let pruned = store.pruned_anywhere().await?;
                let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                *known = Some((now, pruned));
                pruned
            }
        };
        Ok(pruned.calls_before.max(pruned.dials_before))
    }
}
