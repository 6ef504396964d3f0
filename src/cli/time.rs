//! Times as operators write and read them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use serde_json::Value;

use super::failure::Failure;
use crate::config::{Config, SourceTimeZone};
use crate::engine::Range;
use crate::ledger::Pruned;
use crate::vicidial::{WallClock, Zone};

/// What was expected; and the same where a bare date would have done.
const ONE_LIKE: &str = "expected one like";
const DATE_OR_ONE_LIKE: &str = "expected a date like 2026-03-01, a time like";

/// Reads RFC 3339, or a time ago such as `90s`, `15m`, `24h`, `7d`, `2w`.
/// Days have 24 hours. The result is in seconds since 1970 (UTC).
///
/// # Errors
/// What was expected.
pub(super) fn parse(text: &str, now: i64) -> Result<i64, String> {
    let time = match seconds_ago(text) {
        Some(ago) => now - ago,
        None => absolute(text)?,
    };
    if time < 0 {
        // Wall clocks of such years are no DATETIME any more.
        return Err(format!(
            "`{text}` is before 1970: there are no calls of that time"
        ));
    }
    Ok(time)
}

/// As [`parse`], and a bare date: midnight in a zone.
///
/// # Errors
/// What was expected.
pub(super) fn parse_in(text: &str, now: i64, zone: &Zone) -> Result<i64, String> {
    let Some(date) = date(text) else {
        return parse(text, now).map_err(|what| what.replace(ONE_LIKE, DATE_OR_ONE_LIKE));
    };
    let midnight = WallClock {
        year: date.year(),
        month: date.month(),
        day: date.day(),
        hour: 0,
        minute: 0,
        second: 0,
    };
    let time = zone.seconds(midnight).filter(|time| *time >= 0);
    time.ok_or_else(|| format!("`{text}` is before 1970: there are no calls of that time"))
}

/// The zone of a bare date: what `time_zone` of the first [[source]] names, else
/// UTC. The source itself is not asked: these are commands that do without it.
pub(super) fn zone(config: &Config) -> Zone {
    let setting = config.sources.first().map(|source| &source.time_zone);
    let named = match setting {
        Some(SourceTimeZone::Named(name)) => Zone::named(name),
        Some(SourceTimeZone::Auto) | None => None,
    };
    named.unwrap_or_else(|| Zone::fixed(0))
}

fn date(text: &str) -> Option<Date> {
    // `20261122` would be read as a date too.
    text.parse().ok().filter(|_| text.len() == 10)
}

fn absolute(text: &str) -> Result<i64, String> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp.as_second());
    }
    Err(if text.parse::<DateTime>().is_ok() {
        format!("`{text}` has no offset from UTC: add `Z`, or one like `-06:00`")
    } else {
        format!(
            "`{text}` is no time: {ONE_LIKE} 2026-03-01T08:00:00-06:00, or ago: \
             90s, 15m, 24h, 7d, 2w"
        )
    })
}

/// Lets through what [`parse_in`] reads, for the command line.
///
/// # Errors
/// What was expected.
pub(super) fn check(text: &str) -> Result<String, String> {
    parse_in(text, now(), &Zone::fixed(0)).map(|_| text.to_owned())
}

/// The range of `--since` and `--until`, bare dates in this zone.
///
/// # Errors
/// When there is no time in it.
pub(super) fn range(since: &str, until: Option<&str>, zone: &Zone) -> Result<Range, Failure> {
    let now = now();
    let bad =
        |what| Failure::operator(what, "a range begins in the past and ends behind its begin");
    let from = parse_in(since, now, zone).map_err(bad)?;
    let to = until
        .map(|text| parse_in(text, now, zone))
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

/// From when on rows are whole, where retention has deleted some; for people.
pub(super) fn complete_since(pruned: Pruned) -> Option<String> {
    let of = |what: &str, since: Option<i64>| since.map(|at| format!("{what} {}", format(at)));
    let all = [
        of("calls", pruned.calls_before),
        of("dials", pruned.dials_before),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// The same for programs; null where nothing was deleted.
pub(super) fn complete_since_json(pruned: Pruned) -> Value {
    if pruned == Pruned::default() {
        return Value::Null;
    }
    serde_json::json!({
        "calls": pruned.calls_before.map(format),
        "dials": pruned.dials_before.map(format),
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

/// The same document with every time in RFC 3339: the numbers whose names end in
/// `_at`.
pub(super) fn told(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (String, Value)| {
                let value = match value.as_i64().filter(|_| name.ends_with("_at")) {
                    Some(at) => Value::String(format(at)),
                    None => told(value),
                };
                (name, value)
            };
            Value::Object(fields.into_iter().map(field).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(told).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_date_is_midnight_in_the_zone() {
        let chicago = Zone::named("America/Chicago").expect("known");
        let parse = |text| parse_in(text, 0, &chicago).map(format);
        assert_eq!(parse("2026-11-22"), Ok("2026-11-22T06:00:00Z".to_owned()));
        assert_eq!(parse("2026-07-01"), Ok("2026-07-01T05:00:00Z".to_owned()));
        let utc = parse_in("2026-11-22", 0, &Zone::fixed(0)).map(format);
        assert_eq!(utc, Ok("2026-11-22T00:00:00Z".to_owned()));
        let no_time = parse("5y").expect_err("no time");
        assert!(
            no_time.contains("a date like 2026-03-01, a time like"),
            "{no_time}"
        );
        for text in ["2026-13-22", "20261122", "1969-12-31", "2026-11"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_lies_before_every_call_is_refused() {
        for text in ["999999w", "4294967295w", "0001-01-01T00:00:00Z"] {
            let error = parse(text, 1_790_000_000).expect_err(text);
            assert!(error.contains("before 1970"), "{error}");
        }
        assert!(parse("9999d", 1_790_000_000).is_ok());
    }

    #[test]
    fn a_document_tells_times_in_one_way() {
        let value = serde_json::json!({
            "started_at": 1_700_000_000, "ended_at": null, "duration_seconds": 7,
            "old": [{ "updated_at": 0, "at": 3 }],
        });
        let expected = serde_json::json!({
            "started_at": "2023-11-14T22:13:20Z", "ended_at": null, "duration_seconds": 7,
            "old": [{ "updated_at": "1970-01-01T00:00:00Z", "at": 3 }],
        });
        assert_eq!(told(value), expected);
    }

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
