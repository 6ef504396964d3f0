//! A batch whose first commit failed: made durable all the same, however often that
//! takes, or given up with the reason.

use std::sync::Arc;
use std::time::Duration;

use super::prepare::Prepared;
use super::{Applier, Batch, Moment};
use crate::checkpoint::Checkpoint;
use crate::engine::policy::{self, Action, EngineError};
use crate::source::Source;
use crate::store::{Durable, Store, StoreError};
use crate::telemetry::field;

impl<S: Source, St: Store> Applier<S, St> {
    /// Makes a batch durable after its first try failed.
    pub(super) async fn insist(
        &mut self,
        batch: &Arc<Batch>,
        error: StoreError,
    ) -> Result<(Durable, Prepared), EngineError> {
        let mut pauses = policy::pauses();
        let mut tries = 1;
        let mut error = error;
        loop {
            self.cache.clear();
            // Those of the failed commit may wait still.
            self.ring();
            let mut hold = None;
            if matches!(error, StoreError::OtherWriter { .. }) {
                match self.look_behind(batch, tries).await {
                    Ok(held) => hold = held,
                    Err(of_store) => error = of_store,
                }
            }
            if matches!(error, StoreError::WentBack { .. }) {
                return Err(error.into());
            }
            if hold.is_none() {
                self.wait_for_store(error, batch, &mut tries, &mut pauses)
                    .await?;
            }
            match self.try_commit(batch, hold).await {
                Ok(done) => {
                    if tries > 1 {
                        tracing::info!(tries, "the store works again");
                        // The note of its failure is over too.
                        self.noted_at = 0;
                    }
                    return Ok(done);
                }
                Err(next) => error = next,
            }
        }
    }

    /// One try, with the right to the next commit where that was taken.
    async fn try_commit(
        &mut self,
        batch: &Arc<Batch>,
        hold: Option<St::Hold>,
    ) -> Result<(Durable, Prepared), StoreError> {
        let prepared = self.prepare(batch).await?;
        let store = &self.with.store;
        let durable = match hold {
            Some(hold) => store.commit_held(hold, &prepared.change, None).await?,
            None => store.commit(&prepared.change).await?,
        };
        Ok((durable, prepared))
    }

    /// Whether it was another writer who changed the store. If not, the batch only has
    /// to be applied to what is there now, by who has the right to the next commit: a
    /// command that loads many calls rewrites the store more often than a batch can be
    /// made anew, so that nobody may, this time.
    async fn look_behind(
        &mut self,
        batch: &Batch,
        tries: u32,
    ) -> Result<Option<St::Hold>, StoreError> {
        let held = self.with.store.hold(&self.with.source).await?;
        let was_lost = tries > 1 && self.was_committed(batch).await?;
        if was_lost || self.was_rewritten().await? {
            return Ok(Some(held));
        }
        let found = self.with.store.progress(&self.with.source).await?;
        self.went_back(found.as_ref()).map_or(Ok(None), Err)
    }

    /// The error of a store that is where it was before: its server lost commits that
    /// it had called durable. What is behind them is read again.
    fn went_back(&self, found: Option<&Checkpoint>) -> Option<StoreError> {
        let (found, known) = (found?, self.stored.as_ref()?);
        let is_before = found.epoch == known.epoch && found.position < known.position;
        is_before.then(|| StoreError::WentBack {
            source_name: self.with.source.clone(),
            actual: found.position.to_string(),
            known: known.position.to_string(),
        })
    }

    /// Waits until the store says where it stands. Before that no commit is
    /// tried: it could not tell its own lost acknowledgement from another writer.
    async fn wait_for_store(
        &mut self,
        mut error: StoreError,
        batch: &Batch,
        tries: &mut u32,
        pauses: &mut impl Iterator<Item = Duration>,
    ) -> Result<(), EngineError> {
        loop {
            self.with.vitals.store_failed(&error);
            if policy::on_store(&error, *tries) == Action::Stop {
                return Err(error.into());
            }
            self.with.vitals.pulse.turn();
            if *tries > 1 || matches!(error, StoreError::Busy { .. }) {
                // The failure that is being waited out matters more than a note of it,
                // which a full disk may not take either.
                drop(self.note(Moment::Waiting(&error)));
            }
            let pause = pauses.next().unwrap_or_default();
            tracing::warn!(
                { field::ERROR } = %error,
                { field::CAUSE } = error.cause(),
                { field::HINT } = error.hint().unwrap_or_default(),
                { field::RETRY_MS } = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                tries = *tries,
                "the store failed; the stream waits and nothing is lost"
            );
            tokio::time::sleep(pause).await;
            *tries += 1;
            match self.with.store.progress(&self.with.source).await {
                Ok(stored) => match self.with.store.pruned(&self.with.source).await {
                    Ok(pruned) => {
                        self.retention.pruned = pruned;
                        return self.take_stored(stored, batch);
                    }
                    Err(next) => error = next,
                },
                Err(next) => error = next,
            }
        }
    }

    /// After a failure: the store is where it was, or where the batch ends.
    fn take_stored(
        &mut self,
        stored: Option<Checkpoint>,
        batch: &Batch,
    ) -> Result<(), EngineError> {
        let committed = self.checkpoint_behind(batch);
        // Whatever a command rewrote meanwhile is read again.
        let is_at = |expected: Option<&Checkpoint>| match (&stored, expected) {
            (Some(stored), Some(expected)) => stored.is_at(expected),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if is_at(self.stored.as_ref()) || is_at(Some(&committed)) {
            self.stored = stored;
            return Ok(());
        }
        if let Some(error) = self.went_back(stored.as_ref()) {
            return Err(error.into());
        }
        let actual = stored.map_or("no position".to_owned(), |c| c.position.to_string());
        Err(StoreError::OtherWriter {
            source_name: self.with.source.clone(),
            actual,
        }
        .into())
    }

    /// True when a command rewrote calls beside the daemon and left the position
    /// alone: the batch then only has to be applied to what is there now.
    async fn was_rewritten(&mut self) -> Result<bool, StoreError> {
        let found = self.with.store.progress(&self.with.source).await?;
        let rewritten = match (&found, &self.stored) {
            (Some(found), Some(stored)) => found.is_at(stored) && found.revision > stored.revision,
            (Some(_) | None, _) => false,
        };
        if rewritten {
            self.retention.pruned = self.with.store.pruned(&self.with.source).await?;
            self.stored = found;
        }
        Ok(rewritten)
    }

    /// True when an earlier try came through after all, behind the look whether it
    /// had: a server finishes a commit whose asker is gone.
    async fn was_committed(&mut self, batch: &Batch) -> Result<bool, StoreError> {
        let found = self.with.store.progress(&self.with.source).await?;
        let committed = self.checkpoint_behind(batch);
        let is_there = found.as_ref().is_some_and(|found| found.is_at(&committed));
        if is_there {
            self.stored = found;
        }
        Ok(is_there)
    }
}
