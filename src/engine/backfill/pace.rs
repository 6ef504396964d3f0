//! How much is read at once, and how long the source is then left alone.
//!
//! VICIdial's tables are MyISAM: while a SELECT reads one, nobody can update it.
//! So a read must be short, and the dialers must have the table for themselves
//! for longer than we had it. The same holds for the daemon and the store.

use std::time::Duration;

use tokio::time::Instant;

/// Seconds of wall clock that the first window spans, and that one spans at most.
const FIRST_SECONDS: i64 = 600;
const LONGEST_SECONDS: i64 = 4 * 3600;

/// Rows of one table after which a window has been large enough: some thousand
/// rows of all tables are one commit of some tenths of a second.
const ROWS_ENOUGH: usize = 1000;

/// A window that took longer than this, to read and to merge, was too large.
const SLOW: Duration = Duration::from_millis(500);

/// All are left alone for so many times the time of a window, within limits.
const PAUSES_A_WINDOW: u32 = 2;
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(20);

/// A source with so many threads at work is busy. A VICIdial server of a hundred
/// agents has 3 to 10 of them; those that wait for a locked MyISAM table are
/// counted too, so that a queue of them shows at once.
const BUSY_THREADS: u32 = 20;

/// How often a source is asked whether it is busy, and how long it is left alone
/// when it is.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// So many times in a row it is left alone, then one window is read all the same:
/// a load must come to its end.
const BUSY_TIMES_MAX: u32 = 30;

/// How large the next window is, and whether the source has time for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    seconds: i64,
    asked: Option<Instant>,
    /// How often in a row it was busy.
    busy: u32,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            seconds: FIRST_SECONDS,
            asked: None,
            busy: 0,
        }
    }

    /// Seconds that the next window spans.
    pub(super) fn seconds(self) -> i64 {
        self.seconds
    }

    /// Whether it is time to ask the source whether it is busy.
    pub(super) fn asks(&mut self, now: Instant) -> bool {
        let is_due = |asked: Instant| now.duration_since(asked) >= ASK_INTERVAL;
        if !self.asked.is_none_or(is_due) {
            return false;
        }
        self.asked = Some(now);
        true
    }

    /// How long a source with so many threads at work is left alone.
    pub(super) fn waits(&mut self, threads: Option<u32>) -> Option<Duration> {
        let is_busy = threads.is_some_and(|threads| threads >= BUSY_THREADS);
        if !is_busy || self.busy >= BUSY_TIMES_MAX {
            self.busy = 0;
            return None;
        }
        self.busy += 1;
        Some(ASK_INTERVAL)
    }

    /// True the first time that it waits.
    pub(super) fn begins_to_wait(self) -> bool {
        self.busy == 1
    }

    /// Windows are as long as they get.
    pub(super) fn is_longest(self) -> bool {
        self.seconds == LONGEST_SECONDS
    }

    /// A window was merged: the most rows of a table, and how long it took.
    pub(super) fn went(&mut self, rows: usize, took: Duration) {
        if took > SLOW || rows > ROWS_ENOUGH + ROWS_ENOUGH / 2 {
            self.halve();
        } else if rows < ROWS_ENOUGH / 2 && took < SLOW / 4 {
            self.seconds = (self.seconds * 2).min(LONGEST_SECONDS);
        }
    }

    /// How many rows of a table may be merged at once: the store is kept from the
    /// daemon meanwhile. Those of one second may always.
    pub(super) fn rows_max(self) -> usize {
        if self.seconds == 1 {
            usize::MAX
        } else {
            2 * ROWS_ENOUGH
        }
    }

    /// A window was too large to be read. False when there is no smaller one.
    pub(super) fn halve(&mut self) -> bool {
        let before = self.seconds;
        self.seconds = (self.seconds / 2).max(1);
        self.seconds < before
    }

    /// How long the source is left alone after a read.
    pub(super) fn pause(took: Duration) -> Duration {
        (took * PAUSES_A_WINDOW).clamp(PAUSE_MIN, PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(3);

    #[test]
    fn windows_grow_over_empty_days_and_shrink_under_load() {
        let mut pace = Pace::new();
        for _ in 0..20 {
            pace.went(0, QUICK);
        }
        assert_eq!(pace.seconds(), LONGEST_SECONDS);
        pace.went(ROWS_ENOUGH, QUICK);
        assert_eq!(pace.seconds(), LONGEST_SECONDS);
        pace.went(ROWS_ENOUGH * 2, QUICK);
        assert_eq!(pace.seconds(), LONGEST_SECONDS / 2);
        pace.went(10, SLOW * 2);
        assert_eq!(pace.seconds(), LONGEST_SECONDS / 4);
        while pace.halve() {}
        assert_eq!(pace.seconds(), 1);
        pace.went(0, QUICK);
        assert_eq!(pace.seconds(), 2);
    }

    #[test]
    fn a_busy_source_is_left_alone_and_not_for_ever() {
        let mut pace = Pace::new();
        for threads in [None, Some(1), Some(BUSY_THREADS - 1)] {
            assert_eq!(pace.waits(threads), None, "{threads:?}");
        }
        for round in 0..3 {
            for time in 0..BUSY_TIMES_MAX {
                let waits = pace.waits(Some(BUSY_THREADS));
                assert_eq!(waits, Some(ASK_INTERVAL), "{round} {time}");
                assert_eq!(pace.begins_to_wait(), time == 0);
            }
            assert_eq!(pace.waits(Some(1000)), None, "one window a round");
        }
        let now = Instant::now();
        assert!(pace.asks(now) && !pace.asks(now) && pace.asks(now + ASK_INTERVAL));
    }

    #[test]
    fn the_source_is_left_alone_for_longer_than_it_was_read() {
        let took = Duration::from_millis(300);
        assert_eq!(Pace::pause(took), took * 2);
        assert_eq!(Pace::pause(Duration::ZERO), PAUSE_MIN);
        assert_eq!(Pace::pause(took * 1000), PAUSE_MAX);
    }
}
