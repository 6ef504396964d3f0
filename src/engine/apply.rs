//! Applies batches to the store, one transaction each, in order.
//!
//! # Two at a time
//! While the store commits one batch the next one is applied to the states already:
//! to those that the store will have, by the change that is on its way. It is sent
//! when the one before is durable, and made anew should that one have failed. So
//! there is never more than one commit under way, and each names the position that
//! the store must have.
//!
//! # Why a lost answer does no harm
//! After a failed commit nobody knows whether it happened. The states are then
//! loaded again and the same facts applied to them: if the commit did happen,
//! nothing changes; if not, everything does. Only the store's own position is
//! read first, to be sure that nobody else writes this source.

mod housekeeping;
mod insist;
mod prepare;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::binlog::Position;
use crate::checkpoint::Checkpoint;
use crate::config::DispositionsConfig;
use crate::engine::aside::AsideLog;
use crate::engine::batch::{Batch, BatchSize, Tally};
use crate::engine::cache::StateCache;
use crate::engine::failover::History;
use crate::engine::lookup::LookUp;
use crate::engine::policy::EngineError;
use crate::engine::retention::Retention;
use crate::engine::run::judged_by;
use crate::engine::vitals::SourceVitals;
use crate::landmark::Landmark;
use crate::ledger::{Pruned, Rules};
use crate::source::Source;
use crate::state::{Health, Missing, Rereads, StateFile, StatusNote};
use crate::store::{Durable, Store, StoreError};
use crate::telemetry::field;

use self::prepare::Prepared;

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
    /// The end of the last batch that was taken.
    applied_to: Option<Position>,
    /// The batch that the store commits at this moment.
    under_way: Option<UnderWay>,
    cache: StateCache,
    /// The store has the statuses of the rules.
    statuses_stored: bool,
    pub(super) done: Done,
    pruned_at: i64,
    remembered_at: i64,
    noted_at: i64,
    aside: AsideLog,
    retention: Retention,
    /// Posted results may wait.
    posts_wait: bool,
}

/// A commit under way; given up when it is dropped.
struct UnderWay {
    prepared: Arc<Prepared>,
    /// The one task that waits for it.
    commit: JoinSet<Result<Durable, StoreError>>,
    /// How it ended, once it did.
    ended: Option<Result<Durable, EngineError>>,
}

/// What a note for the operator is about.
#[derive(Clone, Copy)]
pub(super) enum Moment<'a> {
    /// It goes on.
    Running,
    /// The source or the store is away, for this reason, and tried again and again.
    Waiting(&'a dyn std::fmt::Display),
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
    /// How large batches become.
    pub(super) size: BatchSize,
    pub(super) epoch: u64,
    /// What the server calls itself that is followed.
    pub(super) server: Option<String>,
    /// Of the lease that it writes under.
    pub(super) fencing_token: Option<u64>,
    /// Changes of which dispositions count as what.
    pub(super) dispositions: Option<watch::Receiver<DispositionsConfig>>,
    /// How it goes, for whoever asks.
    pub(super) vitals: Arc<SourceVitals>,
}

impl<S: Source, St: Store> Applier<S, St> {
    pub(super) fn new(
        mut with: Setup<S, St>,
        stored: Option<Checkpoint>,
        pruned: Pruned,
    ) -> Result<Self, EngineError> {
        let now = (with.clock)();
        with.state.take_mended(&with.source)?;
        let note = with.state.status(&with.source)?.unwrap_or_default();
        let event_time = stored.as_ref().and_then(|stored| stored.event_time);
        with.vitals
            .begin(note.missing, note.rereads.clone(), event_time);
        let Keep {
            dials_days,
            call_records_days,
            ..
        } = with.keep;
        Ok(Self {
            with,
            stored,
            applied_to: None,
            under_way: None,
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
            posts_wait: true,
        })
    }

    /// The position behind the last applied batch.
    pub(super) fn durable(&self) -> Option<&Checkpoint> {
        self.stored.as_ref()
    }

    /// What tells the binlog that was read from another one.
    pub(super) fn history(&self) -> History {
        let stored = self.stored.as_ref();
        let file = stored.and_then(|at| Some((at.position.file.clone(), at.file_begun?)));
        History {
            server: self.with.server.clone(),
            file,
        }
    }

    /// Goes on at a checkpoint of a higher epoch, on another server, where these
    /// things are to be known.
    pub(super) async fn move_to(
        &mut self,
        there: &Checkpoint,
        landmarks: Vec<Landmark>,
    ) -> Result<(), EngineError> {
        self.with.epoch = there.epoch;
        self.with.server.clone_from(&there.server);
        self.applied_to = None;
        let mut at = Batch::new(there.position.clone(), there.gtid.clone(), None);
        at.landmarks = landmarks;
        self.apply(at).await?;
        self.settle().await
    }

    /// Asks for the dials of calls that wait, where no batch comes to do it with:
    /// while all is durable up to `here`, where the next batch begins. `false` where
    /// there was nobody to ask about.
    pub(super) async fn ask_again(&mut self, here: &Position) -> Result<bool, EngineError> {
        let is_due = self.with.look_up.is_due((self.with.clock)());
        if !is_due {
            return Ok(false);
        }
        self.apply_nothing(here).await
    }

    /// Results were posted.
    pub(super) fn ring(&mut self) {
        self.posts_wait = true;
    }

    /// Takes posted results where no batch comes to do it with, as [`Applier::ask_again`].
    pub(super) async fn take_posts(&mut self, here: &Position) -> Result<(), EngineError> {
        if self.posts_wait {
            self.apply_nothing(here).await?;
        }
        Ok(())
    }

    /// Applies a batch without facts, where everything up to `here` is durable.
    async fn apply_nothing(&mut self, here: &Position) -> Result<bool, EngineError> {
        let is_idle = self.under_way.is_none();
        let is_here = self.applied_to.as_ref().is_none_or(|at| at == here);
        let stored = self.stored.as_ref().filter(|at| at.position == *here);
        let Some(stored) = stored.filter(|_| is_idle && is_here) else {
            return Ok(false);
        };
        let nothing = Batch::new(
            stored.position.clone(),
            stored.gtid.clone(),
            stored.event_time,
        );
        self.apply(nothing).await?;
        Ok(true)
    }

    /// Applies a batch and hands it to the store; [`Applier::settle`] waits until it
    /// is durable, as does the next batch.
    ///
    /// # Errors
    /// [`EngineError`] of this batch or of the one before. Also when it does not
    /// begin where the last one ended: applying it would skip what lies between.
    pub(super) async fn apply(&mut self, batch: Batch) -> Result<(), EngineError> {
        if let Some(end) = self.applied_to.as_ref().filter(|end| **end != batch.begin) {
            return Err(EngineError::Bug(format!(
                "a batch begins at {} and the last one ended at {end}",
                batch.begin
            )));
        }
        self.take_dispositions().await?;
        self.keep_beside(&batch)?;
        self.applied_to = Some(batch.position.clone());
        // Its answers are remembered when it is durable, and not asked for twice.
        if self.under_way.as_ref().is_some_and(UnderWay::has_asked) {
            self.settle().await?;
        }
        let batch = Arc::new(batch);
        let mut prepared = self.prepare(&batch).await;
        let went_well = self.land().await?;
        if !went_well || !self.fits(&prepared) {
            // It was applied to states that never were, and they are remembered.
            self.cache.clear();
            prepared = self.prepare(&batch).await;
        }
        match prepared {
            Ok(prepared) => {
                self.send(prepared);
                Ok(())
            }
            Err(error) => {
                let (durable, prepared) = self.insist(&batch, error).await?;
                self.is_durable(&prepared, &durable).await
            }
        }
    }

    /// Judges by the newest settings from the next batch on.
    async fn take_dispositions(&mut self) -> Result<(), EngineError> {
        let changes = self.with.dispositions.as_ref();
        if !changes.is_some_and(|changes| changes.has_changed().unwrap_or(false)) {
            return Ok(());
        }
        // The batch under way brings its own rules with it.
        self.settle().await?;
        if let Some(changes) = &mut self.with.dispositions {
            let (success, transient) = judged_by(&changes.borrow_and_update());
            self.with.rules.success = success;
            self.with.rules.transient = transient;
        }
        Ok(())
    }

    /// Keeps in the state file what must not be forgotten once the position is behind
    /// the batch.
    fn keep_beside(&mut self, batch: &Batch) -> Result<(), EngineError> {
        let mut missing = batch.missing;
        for row in &batch.bad {
            // A replay comes by the same rows again.
            if self.with.state.has_set_aside(&self.with.source, row)? {
                missing.quarantined = missing.quarantined.saturating_sub(1);
            }
        }
        if !missing.is_none() {
            self.done.missing.add(missing);
            self.with.vitals.set_missing(self.done.missing);
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
                    "quarantined a row that cannot be understood; the numbers lack it"
                );
            }
            self.with.state.quarantine(&self.with.source, row)?;
        }
        Ok(())
    }

    /// Whether a batch was prepared for what the store has now.
    fn fits(&self, prepared: &Result<Prepared, StoreError>) -> bool {
        // What failed to be read is tried again where failures are dealt with.
        let Ok(prepared) = prepared else { return true };
        prepared.change.expected == self.stored
    }

    /// Lets the store commit it.
    fn send(&mut self, prepared: Prepared) {
        let prepared = Arc::new(prepared);
        let (store, sent) = (Arc::clone(&self.with.store), Arc::clone(&prepared));
        let mut commit = JoinSet::new();
        let size = self.with.size.clone();
        let vitals = Arc::clone(&self.with.vitals);
        commit.spawn(async move {
            let begun = Instant::now();
            let durable = store.commit(&sent.change).await?;
            let took = begun.elapsed();
            vitals.commit_seconds.observe(took.as_secs_f64());
            size.took(sent.batch.facts.len(), took);
            Ok(durable)
        });
        self.under_way = Some(UnderWay {
            prepared,
            commit,
            ended: None,
        });
    }

    /// Waits until the commit under way has ended, in whatever way; for ever where
    /// there is none. May be dropped at any time.
    pub(super) async fn landed(&mut self) {
        let Some(under_way) = &mut self.under_way else {
            return std::future::pending().await;
        };
        if under_way.ended.is_some() {
            return;
        }
        let ended = match under_way.commit.join_next().await {
            Some(Ok(ended)) => ended.map_err(EngineError::Store),
            Some(Err(join)) => Err(EngineError::Bug(format!("a commit ended: {join}"))),
            None => Err(EngineError::Bug("a commit was lost".to_owned())),
        };
        under_way.ended = Some(ended);
    }

    /// Waits until everything that was applied is durable, however often it takes.
    ///
    /// # Errors
    /// [`EngineError`] when it cannot be.
    pub(super) async fn settle(&mut self) -> Result<(), EngineError> {
        self.land().await.map(drop)
    }

    /// The same; false when the first try failed.
    async fn land(&mut self) -> Result<bool, EngineError> {
        if self.under_way.is_none() {
            return Ok(true);
        }
        self.landed().await;
        let Some(UnderWay {
            prepared,
            ended: Some(ended),
            ..
        }) = self.under_way.take()
        else {
            return Ok(true);
        };
        let error = match ended {
            Ok(durable) => {
                self.is_durable(&prepared, &durable).await?;
                return Ok(true);
            }
            Err(EngineError::Store(error)) => error,
            Err(error) => return Err(error),
        };
        let (durable, prepared) = self.insist(&prepared.batch, error).await?;
        self.is_durable(&prepared, &durable).await?;
        Ok(false)
    }

    /// Everything up to the end of a batch is durable.
    async fn is_durable(
        &mut self,
        prepared: &Prepared,
        durable: &Durable,
    ) -> Result<(), EngineError> {
        let Prepared {
            batch,
            change,
            rules,
            asked_about,
            too_old,
        } = prepared;
        self.with.rules = rules.clone();
        self.statuses_stored = true;
        self.stored = Some(durable.checkpoint().clone());
        self.with.look_up.remember(asked_about);
        let now = (self.with.clock)();
        self.retention.passed_over(&self.with.source, *too_old, now);
        let source = &self.with.source;
        let state = &mut self.with.state;
        state.save_checkpoint(source, durable.checkpoint())?;
        let event_time = durable.checkpoint().event_time;
        self.with
            .vitals
            .durable(batch, change.audit.len(), event_time);
        self.done.results += u64::try_from(change.audit.len()).unwrap_or(u64::MAX);
        self.done.rereads.add(&batch.rereads);
        self.done.tally.events += batch.tally.events;
        self.done.tally.rows += batch.tally.rows;
        self.done.facts += u64::try_from(batch.facts.len()).unwrap_or(u64::MAX);
        self.done.batches += 1;
        self.housekeeping().await
    }

    fn checkpoint_behind(&self, batch: &Batch) -> Checkpoint {
        self.checkpoint_after(self.stored.as_ref(), batch)
    }

    fn checkpoint_after(&self, stored: Option<&Checkpoint>, batch: &Batch) -> Checkpoint {
        let before = stored.and_then(|stored| stored.event_time);
        let is_same = |stored: &&Checkpoint| {
            stored.server == self.with.server
                && stored.epoch == self.with.epoch
                && stored.position.file == batch.position.file
        };
        let begun = stored.filter(is_same).and_then(|stored| stored.file_begun);
        Checkpoint {
            epoch: self.with.epoch,
            server: self.with.server.clone(),
            file_begun: batch.file_begun.or(begun),
            position: batch.position.clone(),
            gtid: batch.gtid.clone(),
            event_time: batch.event_time.or(before),
            revision: stored.map_or(0, |stored| stored.revision),
        }
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
        let mended = self.with.state.take_mended(&self.with.source)?;
        let missing = &mut self.done.missing.quarantined;
        *missing = missing.saturating_sub(mended);
        let skipped = self.with.state.skipped(&self.with.source)?;
        self.done.missing.skipped = skipped.len() as u64;
        self.with.vitals.set_missing(self.done.missing);
        let (health, stopped_by) = match moment {
            Moment::Stopped(error) => (Health::Stopped, error.map(ToString::to_string)),
            Moment::Waiting(error) => (Health::Stopped, Some(error.to_string())),
            Moment::Running if self.done.missing.is_none() => (Health::Running, None),
            Moment::Running => (Health::Incomplete, None),
        };
        if let Some(stored) = &self.stored {
            self.with.vitals.is_at(&stored.position);
        }
        let note = StatusNote {
            health,
            missing: self.done.missing,
            rereads: self.done.rereads.clone(),
            lag_seconds: self.with.vitals.lag_seconds(),
            rows_applied: self.done.tally.rows,
            last_error_at: stopped_by.as_ref().map(|_| now),
            last_error: stopped_by,
            saved_at: now,
        };
        self.with.state.set_status(&self.with.source, &note)?;
        Ok(())
    }
}

impl UnderWay {
    /// Whether dials were asked for with it.
    fn has_asked(&self) -> bool {
        !self.prepared.asked_about.is_empty()
    }
}

/// Tells of the rows that were quarantined and not told one by one.
fn tell_rest(rows: Option<u64>) {
    if let Some(rows) = rows {
        tracing::error!(
            rows,
            "quarantined more rows that cannot be understood; the numbers lack them, and `didtail status` counts them"
        );
    }
}
