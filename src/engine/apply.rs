//! Applies batches to the store, one transaction each, in order.
//!
//! # Why a lost answer does no harm
//! After a failed commit nobody knows whether it happened. The states are then
//! loaded again and the same facts applied to them: if the commit did happen,
//! nothing changes; if not, everything does. Only the store's own position is
//! read first, to be sure that nobody else writes this source.

use std::sync::Arc;
use std::time::Duration;

use crate::binlog::Position;
use crate::checkpoint::Checkpoint;
use crate::engine::batch::{Batch, Tally};
use crate::engine::cache::StateCache;
use crate::engine::policy::{self, Action, EngineError};
use crate::ledger::{Frame, Keys, Loaded, Rules, Working, further_keys, keys};
use crate::state::{Health, Missing, StateFile, StatusNote};
use crate::store::{Durable, Store, StoreError};
use crate::telemetry::field;

/// Seconds between two rounds of deleting rows that are past their retention.
const PRUNE_INTERVAL_SECONDS: i64 = 600;

/// Audit rows deleted in one go, so that a round never holds the store for long.
const PRUNE_ROWS_MAX: u32 = 20_000;

/// Seconds between two entries in the checkpoint's history while running.
const REMEMBER_INTERVAL_SECONDS: i64 = 3600;

/// Seconds between two notes for `didtail status` and `checkpoint show`.
const NOTE_INTERVAL_SECONDS: i64 = 5;

const SECONDS_OF_DAY: i64 = 86_400;

/// Seconds since 1970 (UTC); the engine's only look at a clock.
pub type Clock = fn() -> i64;

/// How long rows are kept, in days; 0 keeps them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    pub(super) audit_days: u32,
    pub(super) quarantine_days: u32,
}

/// The applying half of the engine.
pub(super) struct Applier<St> {
    pub(super) store: Arc<St>,
    pub(super) state: StateFile,
    pub(super) source: String,
    pub(super) tenant: String,
    pub(super) rules: Rules,
    pub(super) keep: Keep,
    pub(super) clock: Clock,
    epoch: u64,
    /// The store's checkpoint as last seen.
    stored: Option<Checkpoint>,
    /// The end of the last applied batch.
    applied_to: Option<Position>,
    cache: StateCache,
    pub(super) done: Done,
    pruned_at: i64,
    remembered_at: i64,
    noted_at: i64,
}

/// What a note for the operator is about.
#[derive(Clone, Copy)]
pub(super) enum Moment<'a> {
    /// It goes on.
    Running,
    /// It ended, in order or by a failure.
    Stopped(Option<&'a EngineError>),
}

/// What was applied since the start, and what is missing since the source is
/// followed: a restart does not make numbers complete.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    pub(super) tally: Tally,
    pub(super) missing: Missing,
    pub(super) facts: u64,
    pub(super) results: u64,
    pub(super) batches: u64,
}

/// What an applier needs that is the same for its whole life.
pub(super) struct Setup<St> {
    pub(super) store: Arc<St>,
    pub(super) state: StateFile,
    pub(super) source: String,
    pub(super) tenant: String,
    pub(super) rules: Rules,
    pub(super) keep: Keep,
    pub(super) clock: Clock,
    pub(super) epoch: u64,
    pub(super) stored: Option<Checkpoint>,
}

impl<St: Store> Applier<St> {
    pub(super) fn new(setup: Setup<St>) -> Result<Self, EngineError> {
        let now = (setup.clock)();
        let note = setup.state.status(&setup.source)?.unwrap_or_default();
        Ok(Self {
            store: setup.store,
            state: setup.state,
            source: setup.source,
            tenant: setup.tenant,
            rules: setup.rules,
            keep: setup.keep,
            clock: setup.clock,
            epoch: setup.epoch,
            stored: setup.stored,
            applied_to: None,
            cache: StateCache::new(),
            done: Done {
                missing: note.missing,
                ..Done::default()
            },
            pruned_at: 0,
            remembered_at: now,
            noted_at: 0,
        })
    }

    /// The position behind the last applied batch.
    pub(super) fn durable(&self) -> Option<&Checkpoint> {
        self.stored.as_ref()
    }

    /// Applies a batch, however often it takes.
    ///
    /// # Errors
    /// [`EngineError`] also when the batch does not begin where the last one
    /// ended: applying it would skip what lies between.
    pub(super) async fn apply(&mut self, batch: Batch) -> Result<(), EngineError> {
        if let Some(end) = self.applied_to.as_ref().filter(|end| **end != batch.begin) {
            return Err(EngineError::Bug(format!(
                "a batch begins at {} and the last one ended at {end}",
                batch.begin
            )));
        }
        if !batch.missing.is_none() {
            // Before the position passes it: a crash must not forget it.
            self.done.missing.add(batch.missing);
            self.note(Moment::Running)?;
        }
        for row in &batch.bad {
            tracing::error!(
                { field::TABLE } = row.table,
                { field::POSITION } = %row.position,
                { field::ERROR } = row.reason,
                "set a row aside that cannot be understood; the numbers lack it"
            );
            self.state.quarantine(&self.source, row)?;
        }
        for (table, position, columns) in &batch.schemas {
            let (source, table) = (&self.source, table.name());
            self.state.save_schema(source, table, position, columns)?;
        }
        let durable = self.commit(&batch).await?;
        self.state
            .save_checkpoint(&self.source, durable.checkpoint())?;
        self.done.tally.events += batch.tally.events;
        self.done.tally.rows += batch.tally.rows;
        self.applied_to = Some(batch.position.clone());
        self.done.facts += u64::try_from(batch.facts.len()).unwrap_or(u64::MAX);
        self.done.batches += 1;
        self.housekeeping().await
    }

    async fn commit(&mut self, batch: &Batch) -> Result<Durable, EngineError> {
        let mut pauses = policy::pauses();
        let mut tries = 1;
        loop {
            let error = match self.try_commit(batch).await {
                Ok(durable) => {
                    if tries > 1 {
                        tracing::info!(tries, "the store works again");
                    }
                    return Ok(durable);
                }
                Err(error) => error,
            };
            self.cache.clear();
            self.wait_for_store(error, batch, &mut tries, &mut pauses)
                .await?;
        }
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
            if policy::on_store(&error, *tries) == Action::Stop {
                return Err(error.into());
            }
            let pause = pauses.next().unwrap_or_default();
            tracing::warn!(
                { field::ERROR } = %error,
                { field::RETRY_MS } = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                tries = *tries,
                "the store failed; the stream waits and nothing is lost"
            );
            tokio::time::sleep(pause).await;
            *tries += 1;
            match self.store.progress(&self.source).await {
                Ok(stored) => return self.take_stored(stored, batch),
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
        if stored == self.stored || stored.as_ref() == Some(&committed) {
            self.stored = stored;
            return Ok(());
        }
        let actual = stored.map_or("no position".to_owned(), |c| c.position.to_string());
        Err(StoreError::OtherWriter {
            source_name: self.source.clone(),
            actual,
        }
        .into())
    }

    fn checkpoint_behind(&self, batch: &Batch) -> Checkpoint {
        let before = self.stored.as_ref().and_then(|stored| stored.event_time);
        Checkpoint {
            epoch: self.epoch,
            position: batch.position.clone(),
            gtid: batch.gtid.clone(),
            event_time: batch.event_time.or(before),
        }
    }

    async fn try_commit(&mut self, batch: &Batch) -> Result<Durable, StoreError> {
        let (asked, loaded) = self.load(batch).await?;
        let mut working = Working::new(loaded.clone());
        for fact in &batch.facts {
            working.apply(&mut self.rules, fact);
        }
        let change = working.finish(Frame {
            source: self.source.clone(),
            tenant: self.tenant.clone(),
            expected: self.stored.clone(),
            checkpoint: self.checkpoint_behind(batch),
        });
        let durable = self.store.commit(&change).await?;
        self.stored = Some(durable.checkpoint().clone());
        self.done.results += u64::try_from(change.audit.len()).unwrap_or(u64::MAX);
        self.cache.committed(&asked, &loaded, &change);
        Ok(durable)
    }

    /// Everything that the batch's facts are about, in two rounds: what they
    /// name, and what that leads to.
    async fn load(&mut self, batch: &Batch) -> Result<(Keys, Loaded), StoreError> {
        let mut asked = keys(&batch.facts);
        let mut loaded = Loaded::default();
        if batch.facts.is_empty() {
            return Ok((asked, loaded));
        }
        if self.rules.create_dids {
            asked.dids.clear();
        }
        self.load_round(asked.clone(), &mut loaded).await?;
        let further = further_keys(&asked, &loaded);
        asked.uniqueids.extend(further.uniqueids.iter().cloned());
        asked
            .caller_codes
            .extend(further.caller_codes.iter().cloned());
        self.load_round(further, &mut loaded).await?;
        Ok((asked, loaded))
    }

    async fn load_round(&mut self, mut keys: Keys, loaded: &mut Loaded) -> Result<(), StoreError> {
        self.cache.take_known(&mut keys, loaded);
        if keys == Keys::default() {
            return Ok(());
        }
        let found = self.store.load(&self.source, &self.tenant, &keys).await?;
        loaded.calls.extend(found.calls);
        loaded.dials.extend(found.dials);
        loaded.dids.extend(found.dids);
        Ok(())
    }

    /// Deletes what is past its retention, and leaves notes for the operator.
    async fn housekeeping(&mut self) -> Result<(), EngineError> {
        let now = (self.clock)();
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
        self.state.prune_quarantine(self.keep.quarantine_days)?;
        if self.keep.audit_days > 0 {
            let before = now - i64::from(self.keep.audit_days) * SECONDS_OF_DAY;
            let pruned = self
                .store
                .prune_audit(&self.tenant, before, PRUNE_ROWS_MAX)
                .await;
            match pruned {
                Ok(rows) if rows == u64::from(PRUNE_ROWS_MAX) => self.pruned_at = 0,
                Ok(_) => {}
                // Not worth stopping for: the next round tries again.
                Err(error) => tracing::warn!(
                    { field::ERROR } = %error,
                    "could not delete audit rows that are past their retention"
                ),
            }
        }
        Ok(())
    }

    /// Puts the present position into the checkpoint's history.
    pub(super) fn remember(&mut self, reason: &str) -> Result<(), EngineError> {
        if let Some(stored) = &self.stored {
            self.state.remember(&self.source, stored, reason)?;
        }
        Ok(())
    }

    /// Leaves a note of how things are in the state file.
    pub(super) fn note(&mut self, moment: Moment<'_>) -> Result<(), EngineError> {
        let now = (self.clock)();
        let (health, stopped_by) = match moment {
            Moment::Stopped(error) => (Health::Stopped, error),
            Moment::Running if self.done.missing.is_none() => (Health::Running, None),
            Moment::Running => (Health::Incomplete, None),
        };
        let event_time = self.stored.as_ref().and_then(|stored| stored.event_time);
        let note = StatusNote {
            health,
            missing: self.done.missing,
            lag_seconds: event_time.map(|time| (now - time).max(0)),
            rows_applied: self.done.tally.rows,
            last_error: stopped_by.map(ToString::to_string),
            last_error_at: stopped_by.map(|_| now),
            saved_at: now,
        };
        self.state.set_status(&self.source, &note)?;
        Ok(())
    }
}
