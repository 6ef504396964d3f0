//! What retention has deleted, and what follows from that for rows seen later.
//!
//! # The rule
//! Of each source the store keeps two times, before which calls and dials may
//! have been deleted; their numbers stay. What is older than its time and not in
//! the store may have been there and been counted, so nothing makes it anew: not
//! a row of the binlog, a replay, `backfill` or `verify --repair`. It is passed
//! over, and told of ([`crate::ledger::Working::too_old`]). What is in the store
//! goes on being corrected, however old it is.
//!
//! A dial that is too old to be counted still is heard for the calls that it gives
//! a DID, as one that was looked up: calls may be kept for longer than dials.
//!
//! A call that is older than the dials that are kept keeps the DID, the way that
//! was found, and the carrier's answer: a dial of the lead that happens to be left
//! is not its own, and silence is no answer.
//!
//! # Why rows are deleted a day later than that
//! Times are the dialer's own, and a row's may change: a call is written again
//! when it is closed, and a code means the same dial for a day
//! ([`crate::ledger::CODE_WINDOW_SECONDS`]). With a day between the two times
//! ([`SPARED_SECONDS`]) whatever is about a deleted row is older than the time of
//! the rule, and recognised as such. Nothing moves the times back: also not a
//! longer retention, which keeps more from then on.

use crate::ledger::CODE_WINDOW_SECONDS;

/// Seconds by which a row must be older than the time in [`Pruned`] to be deleted.
pub const SPARED_SECONDS: i64 = CODE_WINDOW_SECONDS;

/// Before which times calls and dials of a source may have been deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Pruned {
    /// Calls that began before this; seconds since 1970 (UTC) by the dialer's
    /// clock. `None`: no call was ever deleted.
    pub calls_before: Option<i64>,
    /// Dials made before this, likewise.
    pub dials_before: Option<i64>,
}

/// What is deleted when it is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aged {
    /// Calls, by [`crate::ledger::Call::started_at`] and
    /// [`crate::ledger::Call::opened_at`], whichever is later.
    Calls,
    /// Dials, by [`crate::ledger::Dial::dialed_at`] and
    /// [`crate::ledger::DialKey::opened_at`], whichever is later.
    Dials,
}

impl Pruned {
    /// True for a call that may have been deleted, by when it began.
    #[must_use]
    pub fn has_call(&self, started_at: i64) -> bool {
        self.calls_before.is_some_and(|before| started_at < before)
    }

    /// True for a dial that may have been deleted, by its time.
    #[must_use]
    pub fn has_dial(&self, at: i64) -> bool {
        self.dials_before.is_some_and(|before| at < before)
    }

    /// The time for one of the two.
    #[must_use]
    pub fn before(&self, aged: Aged) -> Option<i64> {
        match aged {
            Aged::Calls => self.calls_before,
            Aged::Dials => self.dials_before,
        }
    }

    /// Moves one of the two times on; never back.
    pub fn raise(&mut self, aged: Aged, before: i64) {
        let time = match aged {
            Aged::Calls => &mut self.calls_before,
            Aged::Dials => &mut self.dials_before,
        };
        *time = (*time).max(Some(before));
    }
}
