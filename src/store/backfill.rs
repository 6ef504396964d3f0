//! How far a load of calls by SELECT has got.

use serde::{Deserialize, Serialize};

/// Who asked for a load. Each has one note a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoadName {
    /// `didtail backfill`.
    Command,
    /// `start_at = "backfill:30d"`, by the daemon.
    StartAt,
}

impl LoadName {
    /// Its name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::StartAt => "start_at",
        }
    }
}

/// A load of calls by SELECT: what was asked for, and how far it is.
///
/// Times are of the dialer's wall clock, counted as if it showed UTC: VICIdial's
/// rows bear nothing else, and each has exactly one such time, also in the hours
/// in which clocks are set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadNote {
    /// What was asked for, as it was written. The same text goes on with it.
    pub asked: String,
    /// Calls from this wall clock on.
    pub since: i64,
    /// And before this one.
    pub until: i64,
    /// Everything before this wall clock is loaded; it begins some hours before
    /// [`LoadNote::since`], and ends as much behind [`LoadNote::until`].
    pub next: i64,
    /// It is done.
    pub finished: bool,
    /// What it came to until now.
    pub tally: LoadTally,
}

impl LoadNote {
    /// How much of its time is loaded, in percent.
    #[must_use]
    pub fn percent(&self) -> i64 {
        if self.finished {
            return 100;
        }
        let whole = self.until.saturating_sub(self.since).max(1);
        let done = self.next.saturating_sub(self.since);
        (done.saturating_mul(100) / whole).clamp(0, 99)
    }
}

/// What a load came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadTally {
    /// Rows of all tables that were read.
    pub rows: u64,
    /// Calls that were read.
    pub calls: u64,
    /// Those that the store did not know.
    pub new: u64,
    /// Those that it knew otherwise.
    pub changed: u64,
    /// Those that it knew just so.
    pub unchanged: u64,
    /// Calls that only VICIdial's archive has.
    pub archived: u64,
    /// Dials that count from now on.
    pub dials: u64,
    /// Rows about calls and dials that are older than what is kept, and were
    /// passed over: see [`crate::ledger::Pruned`].
    pub too_old: u64,
    /// Milliseconds spent on windows, without the pauses between them.
    pub millis: u64,
}

impl LoadTally {
    /// Adds what another part came to.
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.calls += other.calls;
        self.new += other.new;
        self.changed += other.changed;
        self.unchanged += other.unchanged;
        self.archived += other.archived;
        self.dials += other.dials;
        self.too_old += other.too_old;
        self.millis += other.millis;
    }
}
