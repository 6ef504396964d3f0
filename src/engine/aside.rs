//! What the log says of rows that are quarantined.
//!
//! One line for each would bury everything else where a table was damaged or
//! altered: the first few of a minute are told one by one, the others as a number.
//! Each is kept with its bytes and counted, told or not.

/// Rows that are told one by one in a minute.
const TOLD_MAX: u32 = 5;

/// Seconds after which rows are told one by one again.
const MINUTE_SECONDS: i64 = 60;

/// How much was told lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct AsideLog {
    /// When the first row of this minute was told; seconds since 1970 (UTC).
    since: i64,
    told: u32,
    untold: u64,
}

impl AsideLog {
    pub(super) fn new() -> Self {
        Self {
            since: i64::MIN,
            told: 0,
            untold: 0,
        }
    }

    /// Whether a row is told; otherwise it is counted.
    pub(super) fn tells(&mut self, now: i64) -> bool {
        if self.is_over(now) {
            (self.since, self.told) = (now, 0);
        }
        if self.told < TOLD_MAX {
            self.told += 1;
            return true;
        }
        self.untold += 1;
        false
    }

    /// How many rows were not told, once the minute is over.
    pub(super) fn rest(&mut self, now: i64) -> Option<u64> {
        if self.is_over(now) { self.last() } else { None }
    }

    /// How many rows were not told, where nothing follows.
    pub(super) fn last(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.untold)).filter(|untold| *untold > 0)
    }

    fn is_over(&self, now: i64) -> bool {
        now.saturating_sub(self.since) >= MINUTE_SECONDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_told_a_minute_and_the_others_as_one_number() {
        let mut log = AsideLog::new();
        let told = (0..1000).filter(|_| log.tells(100)).count();
        assert_eq!(told, 5);
        assert_eq!(log.rest(100 + MINUTE_SECONDS - 1), None);
        assert_eq!(log.rest(100 + MINUTE_SECONDS), Some(995));
        assert_eq!(log.rest(100 + MINUTE_SECONDS), None);
        assert!(log.tells(200), "a new minute begins");
        assert_eq!(log.last(), None);
    }
}
