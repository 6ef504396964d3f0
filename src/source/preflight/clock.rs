//! Do VICIdial's clocks tell the time that didtail takes them for?
//!
//! `call_date` is the wall clock of whoever wrote the row, without a zone, and
//! `start_epoch` is the same moment in UNIX seconds (vicidial.md section 5). So
//! each row says in which zone it was written.

use std::collections::BTreeMap;

use super::access::unread;
use super::{Finding, Outcome};
use crate::source::wire::text;
use crate::source::{MySqlSource, SourceError};
use crate::vicidial::{Table, WallClock, Zone};

/// Rows that are looked at, the newest by `call_date`.
const ROWS_MAX: usize = 500;

/// Seconds between the two times of a row that mean nothing: a dial's row has
/// the begin of the dial as its epoch, and its end as its date.
const TOLERANCE_SECONDS: i64 = 300;

/// Zones differ by quarters of an hour.
const QUARTER_SECONDS: i64 = 900;

/// Rows in a hundred that may disagree: some were edited, or began at midnight
/// of another day.
const ODD_PERCENT_MAX: usize = 2;

/// Zones that are proposed, the first that fit.
const ZONES: [&str; 40] = [
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Phoenix",
    "America/Los_Angeles",
    "America/Anchorage",
    "Pacific/Honolulu",
    "America/Halifax",
    "America/Puerto_Rico",
    "America/St_Johns",
    "America/Mexico_City",
    "America/Costa_Rica",
    "America/Bogota",
    "America/Lima",
    "America/Caracas",
    "America/Santiago",
    "America/Argentina/Buenos_Aires",
    "America/Sao_Paulo",
    "UTC",
    "Europe/London",
    "Europe/Lisbon",
    "Europe/Berlin",
    "Europe/Athens",
    "Europe/Istanbul",
    "Africa/Casablanca",
    "Africa/Lagos",
    "Africa/Cairo",
    "Africa/Johannesburg",
    "Asia/Dubai",
    "Asia/Tehran",
    "Asia/Karachi",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Dhaka",
    "Asia/Manila",
    "Asia/Tokyo",
    "Australia/Adelaide",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
];

/// Zones proposed at once.
const PROPOSED_MAX: usize = 3;

/// The two times of one call: `call_date`, and `start_epoch` in seconds since
/// 1970 (UTC).
type Times = (WallClock, i64);

/// Compares the clocks of the newest calls with their epochs. `configured` is
/// the zone of the configuration; without it the source's own is taken.
pub(super) async fn clock(source: &MySqlSource, configured: Option<Zone>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let zone = match configured {
        Some(zone) => zone,
        None => match source.time_zone().await {
            Ok(said) => {
                let zone = said.zone();
                let finding = |outcome, actual: &str| {
                    Finding::new("time zone", outcome, "an IANA zone", actual)
                };
                findings.push(if said.is_vague() {
                    let actual = format!(
                        "the server says {}, now {}: it is not known when its clocks are set",
                        said.system,
                        zone.name()
                    );
                    finding(Outcome::Note, &actual)
                        .fix("set time_zone = \"Area/City\" in [[source]] of the configuration")
                } else {
                    finding(Outcome::Good, &zone.name())
                });
                zone
            }
            Err(error) => return vec![Finding::unknown("time zone", "an IANA zone", &error)],
        },
    };
    if let Some(why) = unread(source, &[Table::Log]).await {
        findings.push(Finding::new(
            CHECK,
            Outcome::Unknown,
            &expected(&zone),
            &why,
        ));
        return findings;
    }
    findings.push(match newest(source).await {
        Ok(Some(times)) => judge(&times, &zone),
        Ok(None) => Finding::new(
            CHECK,
            Outcome::Unknown,
            &expected(&zone),
            "vicidial_log has no index that begins with call_date, and is not read through for this",
        ),
        Err(error) => Finding::unknown(CHECK, &expected(&zone), &error),
    });
    findings
}

const CHECK: &str = "clock";

fn expected(zone: &Zone) -> String {
    format!(
        "call_date of vicidial_log, read in {}, is the moment of start_epoch",
        zone.name()
    )
}

/// The index of `vicidial_log` that finds the newest calls, as it is quoted.
pub(super) async fn date_index(source: &MySqlSource) -> Result<Option<String>, SourceError> {
    let (database, table) = (source.database(), Table::Log.name());
    let indexes = format!(
        "SELECT INDEX_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = '{database}' \
         AND TABLE_NAME = '{table}' AND COLUMN_NAME = 'call_date' AND SEQ_IN_INDEX = 1"
    );
    let answer = source.ask("the indexes of vicidial_log", &indexes).await?;
    Ok(answer.scalar().map(|index| index.replace('`', "``")))
}

/// The times of the newest calls that have both; `None` where there is no index
/// to find them by. The table may have tens of millions of rows.
async fn newest(source: &MySqlSource) -> Result<Option<Vec<Times>>, SourceError> {
    let what = "the times of the newest calls";
    let Some(index) = date_index(source).await? else {
        return Ok(None);
    };
    let (database, table) = (source.database(), Table::Log.name());
    // The rows are taken first and sifted then: a search for rows with an epoch
    // would go through the whole table where there are none.
    let sql = format!(
        "SELECT call_date, start_epoch FROM (SELECT call_date, start_epoch \
         FROM `{database}`.`{table}` FORCE INDEX FOR ORDER BY (`{index}`) \
         ORDER BY call_date DESC LIMIT {ROWS_MAX}) AS newest WHERE start_epoch > 0"
    );
    let answer = source.ask(what, &sql).await?;
    let times = answer.rows.iter().filter_map(|row| {
        let wall = WallClock::parse(&row.first().and_then(text)?)?;
        let epoch = row.get(1).and_then(text)?.parse().ok()?;
        Some((wall, epoch))
    });
    Ok(Some(times.collect()))
}

fn judge(times: &[Times], zone: &Zone) -> Finding {
    let finding = |outcome, actual: &str| Finding::new(CHECK, outcome, &expected(zone), actual);
    // By how many quarters of an hour; `None` for what is no difference of zones.
    let mut off: BTreeMap<Option<i64>, Vec<(Times, i64)>> = BTreeMap::new();
    for (wall, epoch) in times {
        let Some(ahead) = zone.ahead_of(*wall, *epoch) else {
            continue;
        };
        let quarters = (ahead + ahead.signum() * QUARTER_SECONDS / 2) / QUARTER_SECONDS;
        let is_zone = (ahead - quarters * QUARTER_SECONDS).abs() <= TOLERANCE_SECONDS;
        let group = off.entry(is_zone.then_some(quarters)).or_default();
        group.push(((*wall, *epoch), ahead));
    }
    let rows: usize = off.values().map(Vec::len).sum();
    if rows == 0 {
        return finding(Outcome::Unknown, "no call yet that has both times");
    }
    let agree = off.remove(&Some(0)).map_or(0, |agreeing| agreeing.len());
    let agreed = format!(
        "the dialers' clocks are in {}: so {agree} of the newest {rows} calls say",
        zone.name()
    );
    if (rows - agree) * 100 <= rows * ODD_PERCENT_MAX {
        if !has_no_summer(&zone.name()) {
            return finding(Outcome::Good, &agreed);
        }
        let actual = format!("{agreed}; but this is no place's zone, and has no summer time");
        return finding(Outcome::Note, &actual).fix(proposal(times));
    }
    let worst = off.into_iter().max_by_key(|(_, group)| group.len());
    let Some((quarters, group)) = worst else {
        return finding(Outcome::Good, &agreed);
    };
    let mut distances: Vec<i64> = group.iter().map(|(_, ahead)| *ahead).collect();
    distances.sort_unstable();
    let median = distances.get(distances.len() / 2).copied().unwrap_or(0);
    let median = quarters.map_or(median, |quarters| quarters * QUARTER_SECONDS);
    let side = if median > 0 { "ahead of" } else { "behind" };
    let actual = format!(
        "in {} of the newest {rows} calls call_date, read in {}, is {} {side} start_epoch; in \
         {agree} they agree",
        group.len(),
        zone.name(),
        span(median.abs())
    );
    let group: Vec<Times> = group.into_iter().map(|(times, _)| times).collect();
    finding(Outcome::Note, &actual).fix(match quarters {
        Some(_) => proposal(&group),
        None => "the clocks of the dialers and the web server differ: let them all follow one \
                 time server (chronyc tracking); calls count on the day of their start_epoch"
            .to_owned(),
    })
}

/// An offset from UTC, under whatever name: clocks that people look at change with the
/// summer in most places.
fn has_no_summer(zone: &str) -> bool {
    match zone.rsplit_once('/') {
        Some((area, name)) => area == "Etc" && name.starts_with("GMT") && name.len() > 4,
        None => ["EST", "MST", "HST"].contains(&zone),
    }
}

/// What to write into the configuration.
fn proposal(times: &[Times]) -> String {
    let fits = |name: &&str| {
        let Some(zone) = Zone::named(name) else {
            return false;
        };
        let agree = |(wall, epoch): &Times| {
            let ahead = zone.ahead_of(*wall, *epoch);
            ahead.is_some_and(|ahead| ahead.abs() <= TOLERANCE_SECONDS)
        };
        times.iter().all(agree)
    };
    let fitting: Vec<String> = ZONES
        .iter()
        .copied()
        .filter(fits)
        .take(PROPOSED_MAX)
        .map(|name| format!("time_zone = \"{name}\""))
        .collect();
    if fitting.is_empty() {
        return "set time_zone in [[source]] of the configuration to the zone of the dialers"
            .to_owned();
    }
    format!(
        "set the zone of the dialers in [[source]] of the configuration; these fit: {}",
        fitting.join(", ")
    )
}

/// Seconds in words.
fn span(seconds: i64) -> String {
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, _) => format!("{minutes} min"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of November 2024, noon in UTC.
    const NOON: i64 = 1_731_672_000;

    /// Calls a minute apart, written by a clock that is so many seconds off.
    fn calls(zone: &str, count: i64, off: i64) -> Vec<Times> {
        let zone = jiff::tz::TimeZone::get(zone).expect("known");
        let call = |n: i64| {
            let epoch = NOON + n * 60;
            let time = jiff::Timestamp::from_second(epoch + off).expect("in range");
            let wall = zone.to_datetime(time).strftime("%Y-%m-%d %H:%M:%S");
            (WallClock::parse(&wall.to_string()).expect("a date"), epoch)
        };
        (0..count).map(call).collect()
    }

    fn judged(times: &[Times], zone: &str) -> (Outcome, String, String) {
        let finding = judge(times, &Zone::named(zone).expect("known"));
        (
            finding.outcome,
            finding.actual,
            finding.fix.unwrap_or_default(),
        )
    }

    #[test]
    fn clocks_that_agree_are_good() {
        for zone in ["America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"] {
            let mut times = calls(zone, 98, 0);
            times.extend(calls(zone, 2, 40_000));
            let (outcome, actual, _) = judged(&times, zone);
            assert_eq!(outcome, Outcome::Good, "{actual}");
            let expected =
                format!("the dialers' clocks are in {zone}: so 98 of the newest 100 calls say");
            assert_eq!(actual, expected);
        }
    }

    #[test]
    fn an_offset_is_no_place() {
        let times = calls("America/New_York", 100, 0);
        for zone in ["EST", "Etc/GMT+5"] {
            let (outcome, actual, fix) = judged(&times, zone);
            assert_eq!(outcome, Outcome::Note, "{zone}");
            assert!(actual.ends_with("has no summer time"), "{actual}");
            assert!(fix.contains("\"America/New_York\""), "{fix}");
        }
        for zone in ["UTC", "Etc/UTC"] {
            assert!(!has_no_summer(zone), "{zone}");
        }
    }

    #[test]
    fn another_zone_is_told_and_proposed() {
        let times = calls("America/Chicago", 100, 20);
        let (outcome, actual, fix) = judged(&times, "America/New_York");
        assert_eq!(outcome, Outcome::Note);
        assert!(
            actual.contains("100 calls call_date, read in America/New_York, is 1 h behind"),
            "{actual}"
        );
        assert!(fix.contains("time_zone = \"America/Chicago\""), "{fix}");
        let (_, actual, fix) = judged(&calls("Asia/Kolkata", 50, 0), "UTC");
        assert!(
            actual.contains("is 5 h 30 min ahead of start_epoch"),
            "{actual}"
        );
        assert!(fix.contains("Asia/Kolkata"), "{fix}");
    }

    /// Only rows of both halves of the year tell zones with summer time apart.
    #[test]
    fn a_zone_is_proposed_only_when_all_rows_fit() {
        let mut times = calls("America/Denver", 50, 0);
        for (_, epoch) in &mut times {
            *epoch -= 120 * 86_400;
        }
        for (wall, _) in &mut times {
            // In July Denver is an hour nearer to UTC.
            wall.month = 7;
            wall.day = 18;
            wall.hour += 1;
        }
        times.extend(calls("America/Denver", 50, 0));
        let (_, _, fix) = judged(&times, "America/Chicago");
        assert!(fix.contains("America/Denver"), "{fix}");
        assert!(!fix.contains("America/Phoenix"), "{fix}");
    }

    #[test]
    fn a_clock_that_is_wrong_is_no_zone() {
        let (outcome, actual, fix) = judged(&calls("UTC", 100, -430), "UTC");
        assert_eq!(outcome, Outcome::Note);
        assert!(actual.contains("is 7 min behind start_epoch"), "{actual}");
        assert!(fix.contains("time server"), "{fix}");
    }

    #[test]
    fn without_calls_nothing_can_be_told() {
        assert_eq!(judged(&[], "UTC").0, Outcome::Unknown);
    }
}
