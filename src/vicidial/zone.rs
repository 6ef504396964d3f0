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

    /// Its IANA name, or its distance from UTC.
    #[must_use]
    pub fn name(&self) -> String {
        match self.0.iana_name() {
            Some(name) => name.to_owned(),
            None => format!("UTC{}", self.0.to_offset(Timestamp::UNIX_EPOCH)),
        }
    }

    /// Seconds since 1970 (UTC). In the hour that comes twice when summer time
    /// ends, the first is meant; in the one that is left out, the time behind it.
    #[must_use]
    pub fn seconds(&self, wall: WallClock) -> Option<i64> {
        let zoned = self.0.to_ambiguous_zoned(date(wall)?).compatible().ok()?;
        Some(zoned.timestamp().as_second())
    }

    /// How far a wall clock of this zone is ahead of a time in seconds since
    /// 1970 (UTC), in seconds. In the hour that comes twice, the nearer one is
    /// meant.
    #[must_use]
    pub fn ahead_of(&self, wall: WallClock, seconds: i64) -> Option<i64> {
        let date = date(wall)?;
        let ambiguous = || self.0.to_ambiguous_zoned(date);
        let both = [ambiguous().earlier(), ambiguous().later()];
        let ahead = both.into_iter().flatten();
        ahead
            .map(|zoned| zoned.timestamp().as_second().saturating_sub(seconds))
            .min_by_key(|ahead| ahead.abs())
    }

    /// The day, `YYYY-MM-DD`, of a time in seconds since 1970 (UTC).
    #[must_use]
    pub fn day(&self, seconds: i64) -> String {
        let timestamp = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        self.0.to_datetime(timestamp).date().to_string()
    }

    /// The wall clock of a time in seconds since 1970 (UTC).
    #[must_use]
    pub fn wall_clock(&self, seconds: i64) -> WallClock {
        let timestamp = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        let date = self.0.to_datetime(timestamp);
        WallClock {
            year: date.year(),
            month: date.month(),
            day: date.day(),
            hour: date.hour(),
            minute: date.minute(),
            second: date.second(),
        }
    }
}

fn date(wall: WallClock) -> Option<civil::DateTime> {
    let WallClock {
        year,
        month,
        day,
        hour,
        minute,
        second,
    } = wall;
    civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()
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

    /// The hour that is left out, the one that comes twice, and the days around
    /// them, as UTC has them.
    #[test]
    fn the_days_on_which_clocks_are_set() {
        for (name, wall, utc, day) in [
            // Spring: 02:00 to 03:00 is left out.
            (
                "America/New_York",
                "2024-03-10 01:59:59",
                "2024-03-10T06:59:59Z",
                "2024-03-10",
            ),
            (
                "America/New_York",
                "2024-03-10 02:30:00",
                "2024-03-10T07:30:00Z",
                "2024-03-10",
            ),
            (
                "America/New_York",
                "2024-03-10 03:00:00",
                "2024-03-10T07:00:00Z",
                "2024-03-10",
            ),
            // Autumn: 01:00 to 02:00 comes twice, and the first is meant.
            (
                "America/New_York",
                "2024-11-03 00:59:59",
                "2024-11-03T04:59:59Z",
                "2024-11-03",
            ),
            (
                "America/New_York",
                "2024-11-03 01:30:00",
                "2024-11-03T05:30:00Z",
                "2024-11-03",
            ),
            (
                "America/New_York",
                "2024-11-03 02:00:00",
                "2024-11-03T07:00:00Z",
                "2024-11-03",
            ),
            (
                "America/New_York",
                "2024-11-03 23:59:59",
                "2024-11-04T04:59:59Z",
                "2024-11-03",
            ),
            (
                "Europe/Berlin",
                "2024-03-31 02:30:00",
                "2024-03-31T01:30:00Z",
                "2024-03-31",
            ),
            (
                "Europe/Berlin",
                "2024-10-27 02:30:00",
                "2024-10-27T00:30:00Z",
                "2024-10-27",
            ),
            (
                "Europe/Berlin",
                "2024-10-27 00:00:00",
                "2024-10-26T22:00:00Z",
                "2024-10-27",
            ),
            (
                "Europe/Berlin",
                "2024-10-27 23:59:59",
                "2024-10-27T22:59:59Z",
                "2024-10-27",
            ),
            // Half an hour is left out, and comes twice.
            (
                "Australia/Lord_Howe",
                "2024-10-06 02:15:00",
                "2024-10-05T15:45:00Z",
                "2024-10-06",
            ),
            (
                "Australia/Lord_Howe",
                "2024-04-07 01:45:00",
                "2024-04-06T14:45:00Z",
                "2024-04-07",
            ),
            (
                "Australia/Lord_Howe",
                "2024-04-07 02:00:00",
                "2024-04-06T15:30:00Z",
                "2024-04-07",
            ),
            // Half an hour away from UTC, all the year.
            (
                "Asia/Kolkata",
                "2024-11-15 00:00:00",
                "2024-11-14T18:30:00Z",
                "2024-11-15",
            ),
            (
                "Asia/Kolkata",
                "2024-11-14 23:59:59",
                "2024-11-14T18:29:59Z",
                "2024-11-14",
            ),
        ] {
            let zone = Zone::named(name).expect("known");
            let clock = WallClock::parse(wall).expect("a date");
            let utc: Timestamp = utc.parse().expect("a time");
            assert_eq!(zone.seconds(clock), Some(utc.as_second()), "{name} {wall}");
            assert_eq!(zone.day(utc.as_second()), day, "{name} {wall}");
            assert_eq!(
                zone.ahead_of(clock, utc.as_second()),
                Some(0),
                "{name} {wall}"
            );
        }
    }

    /// Epochs know which of the two hours it was.
    #[test]
    fn both_hours_of_the_autumn_agree_with_the_clock() {
        let zone = Zone::named("America/New_York").expect("known");
        let wall = WallClock::parse("2024-11-03 01:30:00").expect("a date");
        for first_and_second in [1_730_611_800, 1_730_615_400] {
            assert_eq!(zone.ahead_of(wall, first_and_second), Some(0));
            assert_eq!(zone.day(first_and_second), "2024-11-03");
        }
        assert_eq!(zone.ahead_of(wall, 1_730_615_460), Some(-60));
    }

    #[test]
    fn a_day_that_never_was_has_no_time() {
        // A server lets it in under ALLOW_INVALID_DATES.
        let wall = WallClock {
            year: 2024,
            month: 2,
            day: 30,
            hour: 12,
            minute: 0,
            second: 0,
        };
        assert_eq!(Zone::fixed(0).seconds(wall), None);
    }

    #[test]
    fn zones_have_names() {
        assert_eq!(Zone::fixed(-18_000).name(), "UTC-05");
        assert_eq!(
            Zone::named("Asia/Manila").expect("known").name(),
            "Asia/Manila"
        );
    }
}
