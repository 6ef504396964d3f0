//! Times as operators write and read them.

use jiff::Timestamp;
use jiff::civil::DateTime;

use super::failure::Failure;
use crate::engine::Range;

/// Reads RFC 3339, or a time ago such as `90s`, `15m`, `24h`, `7d`, `2w`.
/// Days have 24 hours. The result is in seconds since 1970 (UTC).
///
/// # Errors
/// What was expected.
pub(super) fn parse(text: &str, now: i64) -> Result<i64, String> {
    if let Some(ago) = seconds_ago(text) {
        return Ok(now - ago);
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp.as_second());
    }
    Err(if text.parse::<DateTime>().is_ok() {
        format!("`{text}` has no offset from UTC: add `Z`, or one like `-06:00`")
    } else {
        format!(
            "`{text}` is no time: expected one like 2026-03-01T08:00:00-06:00, or ago: \
             90s, 15m, 24h, 7d, 2w"
        )
    })
}

/// Lets through what [`parse`] reads, for the command line.
///
/// # Errors
/// What was expected.
pub(super) fn check(text: &str) -> Result<String, String> {
    parse(text, 0).map(|_| text.to_owned())
}

/// The range of `--since` and `--until`.
///
/// # Errors
/// When there is no time in it.
pub(super) fn range(since: &str, until: Option<&str>) -> Result<Range, Failure> {
    let now = now();
    let bad =
        |what| Failure::operator(what, "a range begins in the past and ends behind its begin");
    let from = parse(since, now).map_err(bad)?;
    let to = until
        .map(|text| parse(text, now))
        .transpose()
        .map_err(bad)?;
    if from > now || to.is_some_and(|to| to <= from) {
        return Err(bad("there is no time in this range".to_owned()));
    }
    let asked = until.map_or_else(|| since.to_owned(), |until| format!("{since} to {until}"));
    Ok(Range {
        since: from,
        until: to,
        asked,
    })
}

fn seconds_ago(text: &str) -> Option<i64> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let count: u32 = text.strip_suffix(unit)?.parse().ok()?;
    Some(i64::from(count) * seconds)
}

/// Now, in seconds since 1970 (UTC).
#[expect(clippy::disallowed_methods, reason = "an operator counts from now")]
pub(super) fn now() -> i64 {
    Timestamp::now().as_second()
}

/// RFC 3339 in UTC; the bare number where the calendar ends.
pub(super) fn format(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_ago() {
        let now = 1_700_000_000;
        for (text, expected) in [
            ("90s", now - 90),
            ("15m", now - 900),
            ("24h", now - 86_400),
            ("7d", now - 604_800),
            ("2w", now - 1_209_600),
            ("2023-11-14T22:13:20Z", now),
            ("2023-11-14T16:13:20-06:00", now),
            ("2023-11-14 22:13:20.9+00:00", now),
        ] {
            assert_eq!(parse(text, now), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_reason() {
        for text in ["", "h", "-3h", "3y", "3.5h", "yesterday", "99999999999d"] {
            assert!(parse(text, 0).is_err(), "{text}");
        }
        let error = parse("2023-11-14T22:13:20", 0).expect_err("no offset");
        assert!(error.contains("-06:00"), "{error}");
    }

    #[test]
    fn times_are_printed_in_utc() {
        assert_eq!(format(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(format(i64::MAX), i64::MAX.to_string());
    }
}
