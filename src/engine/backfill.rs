//! Loads calls by SELECT: those of before didtail began, and those of a gap.
//!
//! # Why a read of now may be merged into a store of then
//! The daemon follows the binlog meanwhile, so a row that was read may be older
//! than what the daemon has applied when it is merged, or newer. Newer does no
//! harm: at position P the store gets a row as it is at a later place H of the
//! binlog, the daemon then applies everything from P on, and at H each row is as
//! its last change up to H left it, whatever it was before; that is a replay
//! over newer states, which the ledger is made for. Older would do harm: the
//! change between is applied already and never comes again.
//!
//! So a window is read while the store stands still ([`Store::hold`]): P is
//! taken first, and the rows are read from the server whose binlog has been
//! applied up to P, hence at an H not before P. Nobody else commits between, so
//! P is also where they are merged. What makes this cheap is that a window is
//! short, and that the daemon has the store for itself for longer than we had it.
//!
//! The only row that can be in the binlog and not yet in the table is one that
//! is being committed at this moment (InnoDB shows it after it is written to the
//! binlog; MyISAM keeps readers out until then), so the read begins an instant
//! after P was taken.
//!
//! It follows that the position must be known before the first read: who loads
//! into an empty store takes the end of the binlog for it first.
//!
//! What is not in the tables any more says nothing: a call that is only in the
//! store was archived and stays, and one that VICIdial removed as a duplicate is
//! removed by the DELETE, which the daemon has applied or will. A row that gets
//! another `uniqueid` while it is read is there under both until the daemon
//! applies that UPDATE, which moves the one onto the other. Where such a DELETE
//! or UPDATE fell into a gap of the binlog, `gone` finds it out.
//!
//! # Going on
//! How far a load is stands in the store, written together with the rows. A load
//! that is killed repeats its last window at most, which changes nothing.

mod ahead;
mod bound;
mod command;
mod estimate;
pub(in crate::engine) mod gone;
pub(in crate::engine) mod merge;
mod pace;
pub(in crate::engine) mod rows;
mod start;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::apply::Clock;
use crate::engine::policy::{self, Action, EngineError};
use crate::engine::selection::Selection;
use crate::ledger::Rules;
use crate::source::{Source, SourceError};
use crate::store::{LoadName, LoadNote, Store};
use crate::telemetry::field;
use crate::vicidial::{Interpreter, Phones, Zone};

pub(in crate::engine) use bound::followed_since;
pub(in crate::engine) use command::ends as sources_of;
pub use command::{Loaded, backfill};
pub use estimate::{Estimate, TableEstimate, estimate};
pub(in crate::engine) use merge::Merger;
pub(in crate::engine) use start::{end, plan, resume};

use pace::Pace;
use rows::{AROUND_SECONDS, Span};

/// How long a window may take to be read, while the daemon waits: an archiving
/// job may hold a table locked for minutes.
const PATIENCE: Duration = Duration::from_secs(2);

/// How far behind the present a load without an end goes: the clocks of dialers
/// and web servers differ.
pub(in crate::engine) const CLOCKS_SECONDS: i64 = 3600;

/// Which calls to load.
#[derive(Clone, Debug)]
pub struct Range {
    /// Those from this time on; seconds since 1970 (UTC).
    pub since: i64,
    /// Those before this one; `None`: up to the present.
    pub until: Option<i64>,
    /// How the range was asked for. The same words go on with an unfinished load.
    pub asked: String,
}

/// A load of calls of one source.
pub struct Backfill<S, St> {
    selection: Selection<S>,
    merger: Merger<St>,
    name: LoadName,
    /// Failures in a row that are waited out; `None`: all.
    tries: Option<u32>,
    pace: Pace,
}

/// Where calls are loaded from and where to.
pub struct Ends<S, St> {
    /// Where from.
    pub source: Arc<S>,
    /// Where to.
    pub store: Arc<St>,
    /// The source's name.
    pub name: String,
    /// Its tenant.
    pub tenant: String,
    /// How dispositions are judged.
    pub rules: Rules,
    /// Country of numbers without a country code, e.g. `US`.
    pub default_country: String,
    /// The time.
    pub clock: Clock,
    /// Of the lease that the daemon loads under; `None` of a command beside it.
    pub fencing_token: Option<u64>,
}

impl<S: Source, St: Store> Ends<S, St> {
    pub(in crate::engine) fn selection(&self) -> Result<Selection<S>, EngineError> {
        let phones = Phones::new(&self.default_country)
            .ok_or_else(|| EngineError::Bug("the default country was not checked".to_owned()))?;
        let interpreter = Interpreter::new(self.rules.zone.clone(), phones);
        Ok(Selection::new(Arc::clone(&self.source), interpreter))
    }

    pub(in crate::engine) fn merger(&self, file: &str) -> Merger<St> {
        Merger::new(self, file)
    }
}

/// What became of a window.
enum Window {
    /// It is in the store. Rows of the largest table, and how long the source and
    /// the daemon were held up.
    Done(usize, Duration),
    /// It is too large for one answer.
    TooLarge,
    /// The source did not answer in time.
    Late,
    /// The store has no position yet, so there is nothing to merge into.
    NoPosition,
}

impl<S: Source, St: Store> Backfill<S, St> {
    /// A load under this name, which gives up after so many failures in a row.
    ///
    /// # Errors
    /// [`EngineError::Bug`] for an unknown country.
    pub fn new(
        ends: &Ends<S, St>,
        name: LoadName,
        tries: Option<u32>,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            selection: ends.selection()?,
            merger: ends.merger("backfill"),
            name,
            tries,
            pace: Pace::new(),
        })
    }

    /// The note of an unfinished load that was asked for in the same words, else
    /// a new one.
    ///
    /// # Errors
    /// [`EngineError`] when the store cannot be read.
    pub async fn begin(&self, range: &Range) -> Result<LoadNote, EngineError> {
        let known = self.note().await?;
        if let Some(note) = known.filter(|note| !note.finished && note.asked == range.asked) {
            return Ok(note);
        }
        Ok(new_note(
            &self.merger.rules.zone,
            range,
            (self.merger.clock)(),
        ))
    }

    /// The note on the load of this name.
    ///
    /// # Errors
    /// [`EngineError`] when the store cannot be read.
    pub async fn note(&self) -> Result<Option<LoadNote>, EngineError> {
        let Merger { store, source, .. } = &self.merger;
        Ok(store.load_note(source, self.name).await?)
    }

    /// Loads what is left of it; `progress` is told after each window. It may be
    /// dropped at any moment and goes on from its note.
    ///
    /// # Errors
    /// [`EngineError`] when it cannot go on; what was loaded stays.
    pub async fn run(
        &mut self,
        mut note: LoadNote,
        mut progress: impl FnMut(&LoadNote) + Send,
    ) -> Result<LoadNote, EngineError> {
        let (mut pauses, mut failures) = (policy::pauses(), 0);
        let mut looks_ahead = true;
        while !note.finished {
            if let Some(pause) = self.leave_alone().await {
                tokio::time::sleep(pause).await;
                continue;
            }
            if std::mem::take(&mut looks_ahead) {
                // Where it cannot be told, the windows find it.
                let end = note.until + AROUND_SECONDS;
                let next = self.next(&note).await.unwrap_or(note.next);
                note.next = next.min(end - 1).max(note.next);
            }
            let begun = Instant::now();
            let mut next = note.clone();
            let pause = match self.window(&mut next, begun).await {
                Ok(Window::Done(rows, took)) => {
                    self.pace.went(rows, took);
                    looks_ahead = rows == 0 && self.pace.is_longest();
                    (pauses, failures) = (policy::pauses(), 0);
                    note = next;
                    progress(&note);
                    Pace::pause(took)
                }
                Ok(Window::TooLarge) if self.pace.halve() => Duration::ZERO,
                Ok(Window::TooLarge) => {
                    failures += 1;
                    let error = no_answer("there are too many");
                    self.pause_after(error, failures, &mut pauses)?
                }
                // The daemon has waited as long.
                Ok(Window::Late) if self.pace.halve() => Pace::pause(PATIENCE),
                Ok(Window::Late) => {
                    failures += 1;
                    let error = no_answer("no answer in time: a table may be locked");
                    self.pause_after(error, failures, &mut pauses)?
                }
                Ok(Window::NoPosition) => policy::pauses().next().unwrap_or_default(),
                Err(error) => {
                    failures += 1;
                    self.selection.forget();
                    self.pause_after(error, failures, &mut pauses)?
                }
            };
            tokio::time::sleep(pause).await;
        }
        Ok(note)
    }

    /// How long the source is left alone before the next window, because it is busy.
    async fn leave_alone(&mut self) -> Option<Duration> {
        if !self.pace.asks(tokio::time::Instant::now()) {
            return None;
        }
        // Who cannot be asked is not waited for: the window tells what is wrong.
        let threads = self.selection.source().threads_running().await.ok()?;
        let pause = self.pace.waits(threads)?;
        if self.pace.begins_to_wait() {
            tracing::info!(
                { field::SOURCE } = self.merger.source,
                threads_running = threads,
                "the source is busy; the load waits"
            );
        }
        Some(pause)
    }

    /// Where the next rows are.
    async fn next(&mut self, note: &LoadNote) -> Result<i64, SourceError> {
        let rest = Span {
            from: note.next,
            until: note.until + AROUND_SECONDS,
        };
        let asked = ahead::next(&mut self.selection, rest);
        let Ok(next) = tokio::time::timeout(PATIENCE, asked).await else {
            return Ok(note.next);
        };
        next
    }

    /// How long to wait after a failure, unless it ends the load.
    fn pause_after(
        &self,
        error: EngineError,
        failures: u32,
        pauses: &mut impl Iterator<Item = Duration>,
    ) -> Result<Duration, EngineError> {
        let passes = if let EngineError::Source(error) = &error {
            // A table may be under repair, or be altered just now.
            let may_pass = matches!(error, SourceError::Query { .. });
            may_pass || policy::on_source(error) == Action::Retry
        } else if let EngineError::Store(error) = &error {
            policy::on_store(error, failures) == Action::Retry
        } else {
            false
        };
        if !passes || self.tries.is_some_and(|tries| failures >= tries) {
            return Err(error);
        }
        let pause = pauses.next().unwrap_or_default();
        tracing::warn!(
            { field::SOURCE } = self.merger.source,
            { field::ERROR } = %error,
            { field::RETRY_MS } = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "could not load the next calls; trying again"
        );
        Ok(pause)
    }

    /// Loads the next window and moves the note behind it.
    async fn window(&mut self, note: &mut LoadNote, begun: Instant) -> Result<Window, EngineError> {
        let calls = Span {
            from: note.since,
            until: note.until,
        };
        let end = note.until + AROUND_SECONDS;
        // Each window lies before, within or behind the calls.
        let stops = [note.since, note.until, end, note.next + self.pace.seconds()];
        let stop = stops.into_iter().filter(|stop| *stop > note.next).min();
        let window = Span {
            from: note.next,
            until: stop.unwrap_or(end),
        };
        let store = Arc::clone(&self.merger.store);
        let hold = store.hold(&self.merger.source).await?;
        let held = Instant::now();
        let Some(expected) = store.progress(&self.merger.source).await? else {
            return Ok(Window::NoPosition);
        };
        // What the store has already must not be undone by a SELECT that is too early.
        let committed = self.selection.committed(&expected);
        let Ok(committed) = tokio::time::timeout(PATIENCE, committed).await else {
            return Ok(Window::Late);
        };
        committed?;
        let now = (self.merger.clock)();
        let rows_max = self.pace.rows_max();
        let read = rows::read(&mut self.selection, calls, window, now, rows_max);
        let Ok(read) = tokio::time::timeout(PATIENCE, read).await else {
            return Ok(Window::Late);
        };
        let Some(rows) = read? else {
            return Ok(Window::TooLarge);
        };
        let most = rows.most;
        note.tally.rows += u64::try_from(rows.all).unwrap_or(u64::MAX);
        note.next = window.until;
        note.finished = window.until >= end;
        let read_in = held.elapsed();
        let calls_read = rows.calls();
        let loading = self.merger.load(rows).await?;
        let asking = gone::find(&mut self.selection, &calls_read, &loading.loaded, now);
        let Ok(gone) = tokio::time::timeout(PATIENCE, asking).await else {
            return Ok(Window::Late);
        };
        let merging = self.merger.apply(loading, gone?);
        note.tally.millis += u64::try_from(begun.elapsed().as_millis()).unwrap_or(0);
        let loads = Some((self.name, note));
        self.merger.commit(hold, expected, merging, loads).await?;
        let took = held.elapsed();
        tracing::debug!(
            { field::SOURCE } = self.merger.source,
            rows = most,
            seconds = window.until - window.from,
            read_ms = u64::try_from(read_in.as_millis()).unwrap_or(u64::MAX),
            held_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "loaded a window"
        );
        Ok(Window::Done(most, took))
    }
}

fn no_answer(detail: &str) -> EngineError {
    SourceError::Query {
        what: "the calls of one second".to_owned(),
        detail: detail.to_owned(),
    }
    .into()
}

/// The note of a load that has not begun.
pub(in crate::engine) fn new_note(zone: &Zone, range: &Range, now: i64) -> LoadNote {
    let until = range.until.unwrap_or(now + CLOCKS_SECONDS);
    let calls = Span::of(zone, range.since, until.max(range.since));
    LoadNote {
        asked: range.asked.clone(),
        since: calls.from,
        until: calls.until,
        next: calls.from - AROUND_SECONDS,
        ..LoadNote::default()
    }
}
