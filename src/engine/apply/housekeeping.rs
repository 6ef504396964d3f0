//! What is done between two batches now and then.

use super::{
    Applier, Moment, NOTE_INTERVAL_SECONDS, REMEMBER_INTERVAL_SECONDS, SECONDS_OF_DAY, tell_rest,
};
use crate::engine::policy::EngineError;
use crate::engine::retention::Of;
use crate::source::Source;
use crate::store::{Store, Trail};
use crate::telemetry::field;

/// Seconds between two rounds of deleting rows that are past their retention.
const PRUNE_INTERVAL_SECONDS: i64 = 600;

/// Rows of a trail deleted in one go, so that a round never holds the store for long.
const PRUNE_ROWS_MAX: u32 = 20_000;

impl<S: Source, St: Store> Applier<S, St> {
    /// Deletes what is past its retention, and leaves notes for the operator.
    pub(super) async fn housekeeping(&mut self) -> Result<(), EngineError> {
        let now = (self.with.clock)();
        tell_rest(self.aside.rest(now));
        if now - self.noted_at >= NOTE_INTERVAL_SECONDS {
            self.noted_at = now;
            self.note(Moment::Running)?;
        }
        if now - self.remembered_at >= REMEMBER_INTERVAL_SECONDS {
            self.remembered_at = now;
            self.remember("hourly")?;
        }
        if now - self.pruned_at < PRUNE_INTERVAL_SECONDS {
            return Ok(());
        }
        self.pruned_at = now;
        self.with
            .state
            .prune_quarantine(self.with.keep.quarantine_days)?;
        for (trail, days) in [
            (Trail::Audit, self.with.keep.audit_days),
            (Trail::History, self.with.keep.history_days),
        ] {
            if days > 0 {
                self.prune(trail, now - i64::from(days) * SECONDS_OF_DAY)
                    .await;
            }
        }
        self.sweep(now).await;
        // While there is more, the rounds follow each other at once.
        if self.pruned_at != 0 {
            self.retention.tell(&self.with.source);
        }
        Ok(())
    }

    async fn sweep(&mut self, now: i64) {
        let Some(stored) = &self.stored else {
            return;
        };
        let of = Of {
            store: self.with.store.as_ref(),
            source: &self.with.source,
            tenant: &self.with.tenant,
            fencing_token: self.with.fencing_token,
        };
        match self.retention.round(&of, stored, now).await {
            Ok(round) => {
                self.stored = Some(round.stored);
                if round.deleted {
                    self.cache.clear();
                }
                if round.more {
                    self.pruned_at = 0;
                }
            }
            // A command may have rewritten the store; the next batch finds out.
            Err(error) => {
                self.cache.clear();
                tracing::warn!(
                    { field::ERROR } = %error,
                    "could not delete calls and dials that are past their retention"
                );
            }
        }
    }

    async fn prune(&mut self, trail: Trail, before: i64) {
        let store = &self.with.store;
        match store
            .prune(&self.with.tenant, trail, before, PRUNE_ROWS_MAX)
            .await
        {
            Ok(rows) => {
                self.retention.pruned_trail(trail, rows);
                if rows == u64::from(PRUNE_ROWS_MAX) {
                    self.pruned_at = 0;
                }
            }
            // Not worth stopping for: the next round tries again.
            Err(error) => tracing::warn!(
                { field::ERROR } = %error,
                "could not delete rows that are past their retention"
            ),
        }
    }
}
