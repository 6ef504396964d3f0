//! The numbers kept of each DID, as differences that add up.

use std::ops::{AddAssign, SubAssign};

/// One value for each counter of `did_stats` and `did_daily_stats`.
///
/// Used as a difference too, so values may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Dial attempts seen in the dial log.
    pub dials: i64,
    /// Calls that count: their disposition is neither empty nor transient.
    pub total_calls: i64,
    /// Counted calls whose disposition is a success.
    pub successful_calls: i64,
    /// Counted calls by [`crate::ledger::Outcome`], one counter each.
    pub answered: i64,
    /// See [`crate::ledger::Outcome::Machine`].
    pub machine: i64,
    /// See [`crate::ledger::Outcome::NoAnswer`].
    pub no_answer: i64,
    /// See [`crate::ledger::Outcome::Busy`].
    pub busy: i64,
    /// See [`crate::ledger::Outcome::Dropped`].
    pub dropped: i64,
    /// See [`crate::ledger::Outcome::Failed`].
    pub failed: i64,
    /// See [`crate::ledger::Outcome::Blocked`].
    pub blocked: i64,
    /// See [`crate::ledger::Outcome::Other`].
    pub other: i64,
    /// Counted calls whose status VICIdial flags as do-not-call.
    pub dnc: i64,
    /// Seconds of counted calls with the outcome answered, negative lengths as 0.
    pub talk_seconds: i64,
}

impl Counters {
    /// Names of the counters, as the store's columns are called.
    pub const NAMES: [&'static str; 13] = [
        "dials",
        "total_calls",
        "successful_calls",
        "answered",
        "machine",
        "no_answer",
        "busy",
        "dropped",
        "failed",
        "blocked",
        "other",
        "dnc",
        "talk_seconds",
    ];

    /// The values in the order of [`Counters::NAMES`].
    #[must_use]
    pub fn values(&self) -> [i64; 13] {
        [
            self.dials,
            self.total_calls,
            self.successful_calls,
            self.answered,
            self.machine,
            self.no_answer,
            self.busy,
            self.dropped,
            self.failed,
            self.blocked,
            self.other,
            self.dnc,
            self.talk_seconds,
        ]
    }

    /// The counters with these values in the order of [`Counters::NAMES`].
    #[must_use]
    pub fn from_values(values: [i64; 13]) -> Self {
        let [
            dials,
            total_calls,
            successful_calls,
            answered,
            machine,
            no_answer,
            busy,
            dropped,
            failed,
            blocked,
            other,
            dnc,
            talk_seconds,
        ] = values;
        Self {
            dials,
            total_calls,
            successful_calls,
            answered,
            machine,
            no_answer,
            busy,
            dropped,
            failed,
            blocked,
            other,
            dnc,
            talk_seconds,
        }
    }

    /// True when nothing changes.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    fn combine(&mut self, other: &Self, sign: i64) {
        let mut values = self.values();
        for (value, change) in values.iter_mut().zip(other.values()) {
            *value += sign * change;
        }
        *self = Self::from_values(values);
    }
}

/// A part of a whole, e.g. 0.25; `None` of nothing.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a share of that many calls")]
pub fn share(part: i64, whole: i64) -> Option<f64> {
    (whole != 0).then(|| part as f64 / whole as f64)
}

/// The same in percent.
#[must_use]
pub fn percent(part: i64, whole: i64) -> Option<f64> {
    share(part, whole).map(|share| 100.0 * share)
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.combine(&other, 1);
    }
}

impl SubAssign for Counters {
    fn sub_assign(&mut self, other: Self) {
        self.combine(&other, -1);
    }
}
