//! Applies batches to the store, one transaction each, in order.
//!
//! # Why a lost answer does no harm
//! After a failed commit nobody knows whether it happened. The states are then
//! loaded again and the same facts applied to them: if the commit did happen,
//! nothing changes; if not, everything does. Only the store's own position is
//! read first, to be sure that nobody else writes this source.

mod housekeeping;

use std::sync::Arc;
use std::time::Duration;

use crate::binlog::{BinlogFile, Position};
use crate::checkpoint::Checkpoint;
use crate::engine::aside::AsideLog;
use crate::engine::batch::{Batch, Tally};
use crate::engine::cache::StateCache;
use crate::engine::failover::History;
use crate::engine::lookup::LookUp;
use crate::engine::policy::{self, Action, EngineError};
use crate::engine::retention::Retention;
use crate::ledger::{Frame, Keys, Loaded, Pruned, Rules, Working, further_keys, keys};
use crate::source::{Source, SourceError};
use crate::state::{Health, Missing, Rereads, StateFile, StatusNote};
use crate::store::{Durable, Store, StoreError};
use crate::telemetry::field;
use crate::vicidial::Fact;

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
    pub(super) history_days: u32,
    pub(super) quarantine_days: u32,
    pub(super) dials_days: u32,
    pub(super) call_records_days: u32,
}

/// The applying half of the engine.
pub(super) struct Applier<S, St> {
    pub(super) with: Setup<S, St>,
    /// The store's checkpoint as last seen.
    stored: Option<Checkpoint>,
    /// The end of the last applied batch.
    applied_to: Option<Position>,
    /// The file of that, and when it was begun.
    file_begun: Option<(BinlogFile, i64)>,
    cache: StateCache,
    /// The store has the statuses of the rules.
    statuses_stored: bool,
    pub(super) done: Done,
    pruned_at: i64,
    remembered_at: i64,
    noted_at: i64,
    aside: AsideLog,
    retention: Retention,
}

/// What a note for the operator is about.
#[derive(Clone, Copy)]
pub(super) enum Moment<'a> {
    /// It goes on.
    Running,
    /// The source is away and tried again and again.
    Waiting(&'a SourceError),
    /// It ended, in order or by a failure.
    Stopped(Option<&'a EngineError>),
}

/// What was applied since the start, and what is missing since the source is
/// followed: a restart does not make numbers complete.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    pub(super) tally: Tally,
    pub(super) missing: Missing,
    pub(super) rereads: Rereads,
    pub(super) facts: u64,
    pub(super) results: u64,
    pub(super) batches: u64,
}

/// What an applier needs for its whole life.
pub(super) struct Setup<S, St> {
    pub(super) store: Arc<St>,
    pub(super) state: StateFile,
    pub(super) source: String,
    pub(super) tenant: String,
    pub(super) rules: Rules,
    pub(super) look_up: LookUp<S>,
    pub(super) keep: Keep,
    pub(super) clock: Clock,
    pub(super) epoch: u64,
    /// Of the lease that it writes under.
    pub(super) fencing_token: Option<u64>,
}

impl<S: Source, St: Store> Applier<S, St> {
    pub(super) fn new(
        with: Setup<S, St>,
        stored: Option<Checkpoint>,
        pruned: Pruned,
    ) -> Result<Self, EngineError> {
        let now = (with.clock)();
        let note = with.state.status(&with.source)?.unwrap_or_default();
        let local = with.state.checkpoint(&with.source)?;
        let begun = with.state.file_begun(&with.source)?;
        let file_begun = local.map(|local| local.position.file).zip(begun);
        let Keep {
            dials_days,
            call_records_days,
            ..
        } = with.keep;
        Ok(Self {
            with,
            stored,
            applied_to: None,
            file_begun,
            cache: StateCache::new(),
            statuses_stored: false,
            done: Done {
                missing: note.missing,
                rereads: note.rereads,
                ..Done::default()
            },
            pruned_at: 0,
            remembered_at: now,
            noted_at: 0,
            aside: AsideLog::new(),
            retention: Retention::new(pruned, dials_days, call_records_days),
        })
    }

    /// The position behind the last applied batch.
    pub(super) fn durable(&self) -> Option<&Checkpoint> {
        self.stored.as_ref()
    }

    /// What tells the binlog that was read from another one.
    pub(super) fn history(&self) -> Result<History, EngineError> {
        let record = self.with.state.source(&self.with.source)?;
        Ok(History {
            server: record.and_then(|record| record.identity),
            file: self.file_begun.clone(),
        })
    }

    /// Goes on at a checkpoint of a higher epoch, on another server.
    pub(super) async fn move_to(&mut self, there: &Checkpoint) -> Result<(), EngineError> {
        self.with.epoch = there.epoch;
        self.applied_to = None;
        self.file_begun = None;
        let at = Batch::new(there.position.clone(), there.gtid.clone(), None);
        self.apply(at).await
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
            let now = (self.with.clock)();
            tell_rest(self.aside.rest(now));
            if self.aside.tells(now) {
                tracing::error!(
                    { field::TABLE } = row.table,
                    { field::POSITION } = %row.position,
                    { field::ERROR } = row.reason,
                    "set a row aside that cannot be understood; the numbers lack it"
                );
            }
            self.with.state.quarantine(&self.with.source, row)?;
        }
        for archiving in &batch.archivings {
            let source = &self.with.source;
            self.with.state.save_archiving(source, archiving)?;
        }
        let source = &self.with.source;
        self.with.state.save_inserted(source, &batch.inserted)?;
        for (table, position, columns) in &batch.schemas {
            let (source, table) = (&self.with.source, table.name());
            self.with
                .state
                .save_schema(source, table, position, columns)?;
        }
        let durable = self.commit(&batch).await?;
        let file = &batch.position.file;
        match batch.file_begun {
            Some(begun) => self.file_begun = Some((file.clone(), begun)),
            None => self.file_begun = self.file_begun.take().filter(|(of, _)| of == file),
        }
        let begun = self.file_begun.as_ref().map(|(_, begun)| *begun);
        let source = &self.with.source;
        let state = &mut self.with.state;
        state.save_checkpoint(source, durable.checkpoint(), begun)?;
        self.done.rereads.add(&batch.rereads);
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
        let mut hold = None;
        loop {
            let error = match self.try_commit(batch, hold.take()).await {
                Ok(durable) => {
                    if tries > 1 {
                        tracing::info!(tries, "the store works again");
                    }
                    return Ok(durable);
                }
                Err(error) => error,
            };
            self.cache.clear();
            let mut error = error;
            if matches!(error, StoreError::OtherWriter { .. }) {
                match self.look_behind(batch, tries).await {
                    Ok(Some(held)) => {
                        hold = Some(held);
                        continue;
                    }
                    Ok(None) => {}
                    Err(of_store) => error = of_store,
                }
            }
            if matches!(error, StoreError::WentBack { .. }) {
                return Err(error.into());
            }
            self.wait_for_store(error, batch, &mut tries, &mut pauses)
                .await?;
        }
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
            if policy::on_store(&error, *tries) == Action::Stop {
                return Err(error.into());
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

    fn checkpoint_behind(&self, batch: &Batch) -> Checkpoint {
        let before = self.stored.as_ref().and_then(|stored| stored.event_time);
        Checkpoint {
            epoch: self.with.epoch,
            position: batch.position.clone(),
            gtid: batch.gtid.clone(),
            event_time: batch.event_time.or(before),
            revision: self.stored.as_ref().map_or(0, |stored| stored.revision),
        }
    }

    /// One try, with the right to the next commit where that was taken.
    async fn try_commit(
        &mut self,
        batch: &Batch,
        hold: Option<St::Hold>,
    ) -> Result<Durable, StoreError> {
        let (asked, loaded) = self.load(&batch.facts).await?;
        // A commit that fails must not leave the statuses ahead of the store.
        let mut rules = self.with.rules.clone();
        let mut working = Working::new(loaded.clone());
        for fact in &batch.facts {
            working.apply(&mut rules, fact);
        }
        let now = (self.with.clock)();
        let look_up = &mut self.with.look_up;
        let lonely = look_up.next_to_ask(working.calls_without_a_dial(), now);
        if lonely.is_empty() {
            return self
                .write(batch, hold, rules, working, &asked, &loaded)
                .await;
        }
        let found = match look_up.find(&lonely, now).await {
            Ok(found) => found,
            Err(error) => {
                // Not worth stopping for: they are asked about again.
                tracing::warn!(
                    { field::ERROR } = %error,
                    calls = lonely.len(),
                    "could not ask the source for the dials of calls that were dialled before didtail began; they wait without a DID"
                );
                return self
                    .write(batch, hold, rules, working, &asked, &loaded)
                    .await;
            }
        };
        let (also_asked, more) = self.load(&found).await?;
        working.load_more(&more);
        let (mut asked, mut loaded) = (asked, loaded);
        asked.uniqueids.extend(also_asked.uniqueids);
        asked.caller_codes.extend(also_asked.caller_codes);
        loaded.calls.extend(more.calls);
        loaded.dials.extend(more.dials);
        for fact in &found {
            working.apply(&mut rules, fact);
        }
        let durable = self
            .write(batch, hold, rules, working, &asked, &loaded)
            .await?;
        self.with.look_up.remember(&lonely);
        Ok(durable)
    }

    async fn write(
        &mut self,
        batch: &Batch,
        hold: Option<St::Hold>,
        rules: Rules,
        working: Working,
        asked: &Keys,
        loaded: &Loaded,
    ) -> Result<Durable, StoreError> {
        let statuses =
            !self.statuses_stored || !Arc::ptr_eq(&rules.statuses, &self.with.rules.statuses);
        let too_old = working.too_old();
        let change = working.finish(Frame {
            source: self.with.source.clone(),
            tenant: self.with.tenant.clone(),
            statuses: statuses.then(|| rules.statuses.as_ref().clone()),
            expected: self.stored.clone(),
            fencing_token: self.with.fencing_token,
            checkpoint: self.checkpoint_behind(batch),
        });
        let durable = match hold {
            Some(hold) => self.with.store.commit_held(hold, &change, None).await?,
            None => self.with.store.commit(&change).await?,
        };
        self.with.rules = rules;
        self.statuses_stored = true;
        self.stored = Some(durable.checkpoint().clone());
        self.done.results += u64::try_from(change.audit.len()).unwrap_or(u64::MAX);
        self.cache.committed(asked, loaded, &change);
        let now = (self.with.clock)();
        let source = &self.with.source;
        self.retention.passed_over(source, too_old, now);
        Ok(durable)
    }

    /// Everything that facts are about, in two rounds: what they name, and what
    /// that leads to.
    async fn load(&mut self, facts: &[Fact]) -> Result<(Keys, Loaded), StoreError> {
        let mut asked = keys(facts);
        let mut loaded = Loaded {
            pruned: self.retention.pruned,
            ..Loaded::default()
        };
        if facts.is_empty() {
            return Ok((asked, loaded));
        }
        if self.with.rules.create_dids {
            asked.dids.clear();
        }
        self.load_round(asked.clone(), &mut loaded).await?;
        let further = further_keys(facts, &asked, &loaded);
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
        let found = self
            .with
            .store
            .load(&self.with.source, &self.with.tenant, &keys)
            .await?;
        loaded.calls.extend(found.calls);
        loaded.dials.extend(found.dials);
        loaded.dids.extend(found.dids);
        Ok(())
    }

    /// Puts the present position into the checkpoint's history.
    pub(super) fn remember(&mut self, reason: &str) -> Result<(), EngineError> {
        if let Some(stored) = &self.stored {
            self.with
                .state
                .remember(&self.with.source, stored, reason)?;
        }
        Ok(())
    }

    /// Leaves a note of how things are in the state file.
    pub(super) fn note(&mut self, moment: Moment<'_>) -> Result<(), EngineError> {
        let now = (self.with.clock)();
        if let Moment::Stopped(_) = moment {
            tell_rest(self.aside.last());
        }
        let (health, stopped_by) = match moment {
            Moment::Stopped(error) => (Health::Stopped, error.map(ToString::to_string)),
            Moment::Waiting(error) => (Health::Stopped, Some(error.to_string())),
            Moment::Running if self.done.missing.is_none() => (Health::Running, None),
            Moment::Running => (Health::Incomplete, None),
        };
        let event_time = self.stored.as_ref().and_then(|stored| stored.event_time);
        let note = StatusNote {
            health,
            missing: self.done.missing,
            rereads: self.done.rereads.clone(),
            lag_seconds: event_time.map(|time| (now - time).max(0)),
            rows_applied: self.done.tally.rows,
            last_error_at: stopped_by.as_ref().map(|_| now),
            last_error: stopped_by,
            saved_at: now,
        };
        self.with.state.set_status(&self.with.source, &note)?;
        Ok(())
    }
}

/// Tells of the rows that were set aside and not told one by one.
fn tell_rest(rows: Option<u64>) {
    if let Some(rows) = rows {
        tracing::error!(
            rows,
            "set more rows aside that cannot be understood; the numbers lack them, and `didtail status` counts them"
        );
    }
}
