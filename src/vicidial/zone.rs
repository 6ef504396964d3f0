//! The dialer's time zone: from the wall clock of its DATETIMEs to seconds
//! since 1970 (UTC), and from those to the day that a call counts for.

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

use crate::vicidial::cells::WallClock;

/// A time zone.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of this IANA name, e.g. `America/New_York`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self)
    }

    /// A fixed distance from UTC, in seconds to the east.
    #[must_use]
    pub fn fixed(seconds_east: i32) -> Self {
        let offset = jiff::tz::Offset::from_seconds(seconds_east);
        Self(offset.map_or(TimeZone::UTC, TimeZone::fixed))
    }

    /// Seconds since 1970 (UTC). In the hour that comes twice when summer time
    /// ends, the first is meant; in the one that is left out, the time behind it.
    #[must_use]
    pub fn seconds(&self, wall: WallClock) -> Option<i64> {
        let date = civil::DateTime::new(
            wall.year,
            wall.month,
            wall.day,
            wall.hour,
            wall.minute,
            wall.second,
            0,
        )
        .ok()?;
        let zoned = self.0.to_ambiguous_zoned(date).compatible().ok()?;
        Some(zoned.timestamp().as_second())
    }

    /// The day, `YYYY-MM-DD`, of a time in seconds since 1970 (UTC).
    #[must_use]
    pub fn day(&self, seconds: i64) -> String {
        let timestamp = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        self.0.to_datetime(timestamp).date().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_dialer() {
        let zone = Zone::named("America/New_York").expect("known");
        assert_eq!(zone.day(1_731_373_200), "2024-11-11");
        assert_eq!(Zone::fixed(0).day(1_731_373_200), "2024-11-12");
    }

    #[test]
    fn wall_clocks_are_read_in_the_zone_with_its_summer_time() {
        let zone = Zone::named("America/New_York").expect("known");
        let wall = |month, hour| WallClock {
            year: 2024,
            month,
            day: 1,
            hour,
            minute: 0,
            second: 0,
        };
        assert_eq!(zone.seconds(wall(7, 12)), Some(1_719_849_600));
        assert_eq!(zone.seconds(wall(12, 12)), Some(1_733_072_400));
    }
}
