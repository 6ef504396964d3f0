//! Deletes calls and dials that are past their retention, between two batches.
//!
//! # By which clock
//! A row's time is the dialer's, so its age is told against the source's: the time
//! of the newest event that is applied. A daemon that is behind by weeks, or reads
//! old files, then deletes and refuses nothing that is new to it. Where the
//! source's clock is ahead of didtail's, as after a slip of it, didtail's own
//! counts: a clock that once showed 2038 must not empty the store.
//!
//! # When not
//! While a load by SELECT is under way: what it has loaded and what it loads next
//! must be counted alike. One that has not moved for a day is not waited for.

use std::collections::BTreeMap;

use crate::checkpoint::Checkpoint;
use crate::ledger::{Aged, Pruned};
use crate::store::{LoadName, Prune, Store, StoreError, Swept, Trail};
use crate::telemetry::field;

/// Rows deleted in one go: some hundredths of a second, in which the stream waits.
const ROWS_MAX: u32 = 5000;

/// The time before which rows go moves in steps of an hour: each step raises the
/// store's revision.
const STEP_SECONDS: i64 = 3600;

/// Seconds after which a load that has not moved is given up.
const LOAD_PATIENCE_SECONDS: i64 = SECONDS_OF_DAY;

/// Seconds between two lines about rows that were passed over.
const TELL_INTERVAL_SECONDS: i64 = 60;

const SECONDS_OF_DAY: i64 = 86_400;

/// What one source keeps, and what it has deleted.
#[derive(Debug)]
pub(super) struct Retention {
    /// What the store says, as last seen.
    pub(super) pruned: Pruned,
    dials_days: u32,
    call_records_days: u32,
    /// How far each unfinished load was, and when it was first seen there.
    loads: BTreeMap<LoadName, (i64, i64)>,
    /// What was deleted since the last line about it.
    deleted: Deleted,
    /// Rows passed over since the last line about them.
    untold: u64,
    told_at: i64,
}

/// What was deleted of each table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Deleted {
    calls: Gone,
    dials: Gone,
    /// Rows of `audit_log` and of `change_history`, by other means than by partition.
    audit: u64,
    history: u64,
}

/// Of one table: rows one by one, and whole partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gone {
    rows: u64,
    partitions: u64,
}

impl Deleted {
    fn add(&mut self, aged: Aged, swept: &Swept) {
        let gone = match aged {
            Aged::Calls => &mut self.calls,
            Aged::Dials => &mut self.dials,
        };
        gone.rows += swept.rows;
        gone.partitions += swept.partitions;
    }
}

/// Whose rows are deleted.
pub(super) struct Of<'a, St> {
    pub(super) store: &'a St,
    pub(super) source: &'a str,
    pub(super) tenant: &'a str,
    pub(super) fencing_token: Option<u64>,
}

/// What a round came to.
pub(super) struct Round {
    /// The store's checkpoint behind it.
    pub(super) stored: Checkpoint,
    /// Rows were deleted: what is remembered of them must be forgotten.
    pub(super) deleted: bool,
    /// There is more to delete.
    pub(super) more: bool,
}

impl Retention {
    /// Days to keep dials and calls; 0 keeps them.
    pub(super) fn new(pruned: Pruned, dials_days: u32, call_records_days: u32) -> Self {
        Self {
            pruned,
            dials_days,
            call_records_days,
            loads: BTreeMap::new(),
            deleted: Deleted::default(),
            untold: 0,
            told_at: i64::MIN,
        }
    }

    /// Deletes some of what is too old.
    ///
    /// # Errors
    /// [`StoreError`]; what was deleted until then stays so, and the store's
    /// revision may be another.
    pub(super) async fn round<St: Store>(
        &mut self,
        of: &Of<'_, St>,
        stored: &Checkpoint,
        now: i64,
    ) -> Result<Round, StoreError> {
        let mut round = Round {
            stored: stored.clone(),
            deleted: false,
            more: false,
        };
        let Some(event_time) = stored.event_time else {
            return Ok(round);
        };
        if self.is_loading(of, now).await? {
            return Ok(round);
        }
        // Dials first: a call needs its dial, and never the other way round.
        let kept = [
            (Aged::Dials, self.dials_days),
            (Aged::Calls, self.call_records_days),
        ];
        for (aged, days) in kept {
            if days == 0 {
                continue;
            }
            let age = i64::from(days) * SECONDS_OF_DAY;
            let before = event_time.min(now) - age;
            let prune = Prune {
                source: of.source,
                tenant: of.tenant,
                expected: &round.stored,
                fencing_token: of.fencing_token,
                aged,
                before: before - before.rem_euclid(STEP_SECONDS),
                rows_max: ROWS_MAX,
            };
            let swept = of.store.sweep(&prune).await?;
            self.pruned = swept.pruned;
            round.stored = swept.durable.checkpoint().clone();
            round.deleted |= swept.rows > 0 || swept.partitions > 0;
            round.more |= swept.rows == u64::from(ROWS_MAX);
            self.deleted.add(aged, &swept);
        }
        Ok(round)
    }

    /// Counts what was deleted of a trail.
    pub(super) fn pruned_trail(&mut self, trail: Trail, rows: u64) {
        match trail {
            Trail::Audit => self.deleted.audit += rows,
            Trail::History => self.deleted.history += rows,
        }
    }

    /// Tells what was deleted since it was told last, if anything was.
    pub(super) fn tell(&mut self, source: &str) {
        let deleted = std::mem::take(&mut self.deleted);
        if deleted == Deleted::default() {
            return;
        }
        tracing::info!(
            { field::SOURCE } = source,
            call_records = deleted.calls.rows,
            dials = deleted.dials.rows,
            audit_log = deleted.audit,
            change_history = deleted.history,
            // Each with all rows of a month.
            call_records_partitions = deleted.calls.partitions,
            dials_partitions = deleted.dials.partitions,
            calls_before = self.pruned.calls_before,
            dials_before = self.pruned.dials_before,
            "deleted rows that are past their retention; their numbers stay"
        );
    }

    /// Whether a load of the source is under way.
    async fn is_loading<St: Store>(
        &mut self,
        of: &Of<'_, St>,
        now: i64,
    ) -> Result<bool, StoreError> {
        let mut is_loading = false;
        for name in [LoadName::Command, LoadName::StartAt] {
            let note = of.store.load_note(of.source, name).await?;
            let Some(note) = note.filter(|note| !note.finished) else {
                self.loads.remove(&name);
                continue;
            };
            let (next, since) = self.loads.entry(name).or_insert((note.next, now));
            if *next != note.next {
                (*next, *since) = (note.next, now);
            }
            is_loading |= now - *since < LOAD_PATIENCE_SECONDS;
        }
        Ok(is_loading)
    }

    /// Tells of rows that were passed over since they are too old, at most once a
    /// minute; called with 0 it tells of those before.
    pub(super) fn passed_over(&mut self, source: &str, rows: u64, now: i64) {
        self.untold += rows;
        if self.untold == 0 || now.saturating_sub(self.told_at) < TELL_INTERVAL_SECONDS {
            return;
        }
        tracing::warn!(
            { field::SOURCE } = source,
            rows = std::mem::take(&mut self.untold),
            calls_before = self.pruned.calls_before,
            dials_before = self.pruned.dials_before,
            "passed over rows of calls and dials that are older than [retention] keeps: they may have been counted and deleted, so they are not counted again"
        );
        self.told_at = now;
    }
}
