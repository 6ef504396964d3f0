//! How long are binlogs kept, and how long until the place to resume at is gone?
//!
//! A file may go once its newest event is older than the limit, at the next
//! rotation or restart. That moment is the begin of the file behind it.

use super::settings::Variables;
use super::{Finding, Outcome};
use crate::binlog::Position;
use crate::source::wire::{Flavour, Server};
use crate::source::{MySqlSource, SourceError};

/// Binlogs kept for less than this are gone before a long weekend is over.
const EXPIRY_HOURS_LOW: f64 = 72.0;

/// Fewer hours than this until the position is gone are said to be few.
const LEFT_HOURS_LOW: f64 = 24.0;

/// `binlog_expire_logs_auto_purge` and its like, where expiry is switched off.
const OFF: &str = "binlogs are kept until they are deleted by hand";

/// The settings that decide, on any server.
pub(super) const VARIABLES: &str = "'binlog_expire_logs_seconds', 'expire_logs_days', \
    'binlog_expire_logs_auto_purge', 'max_binlog_total_size'";

/// How long the server keeps a binlog that is closed, in hours; `None`: until
/// somebody deletes it.
fn hours_kept(found: &Variables) -> Option<f64> {
    let number = |name: &str| found.get(name).and_then(|value| value.parse::<f64>().ok());
    if found
        .get("binlog_expire_logs_auto_purge")
        .is_some_and(|value| value.eq_ignore_ascii_case("OFF"))
    {
        return None;
    }
    let seconds = number("binlog_expire_logs_seconds").unwrap_or(0.0);
    let days = number("expire_logs_days").unwrap_or(0.0);
    let hours = if seconds > 0.0 {
        seconds / 3600.0
    } else {
        days * 24.0
    };
    (hours > 0.0).then_some(hours)
}

/// The statement that keeps binlogs for a week, as this server spells it.
pub(super) fn keep_for_a_week(server: &Server) -> &'static str {
    match server.flavour {
        Flavour::MariaDb => {
            "SET GLOBAL expire_logs_days = 7; and expire_logs_days = 7 under [mysqld] in my.cnf"
        }
        Flavour::MySql => "SET PERSIST binlog_expire_logs_seconds = 604800;",
    }
}

/// Hours in the week that [`keep_for_a_week`] sets.
const WEEK_HOURS: f64 = 168.0;

/// What keeps a gap of the binlog from happening again, where one was found whose
/// oldest change is `age_hours` old. Never a statement that would shorten what the
/// server keeps.
pub(super) async fn keep_longer(source: &MySqlSource, age_hours: Option<f64>) -> String {
    match super::settings::variables(source, VARIABLES).await {
        Ok(found) => longer(source.server(), &found, age_hours),
        Err(_) => "Let the source keep its binlogs for longer than didtail may be down".to_owned(),
    }
}

fn longer(server: &Server, found: &Variables, age_hours: Option<f64>) -> String {
    let deleted = "so somebody deleted these (PURGE BINARY LOGS or RESET MASTER)";
    if let Some(size) = size_kept(found) {
        return format!(
            "The source deletes binlogs beyond {size} bytes in all: SET GLOBAL \
             max_binlog_total_size = 0; lets the time alone decide"
        );
    }
    match hours_kept(found) {
        None => format!("The source keeps binlogs for ever, {deleted}"),
        Some(hours) if hours < WEEK_HOURS => format!(
            "Let the source keep its binlogs for longer: {}",
            keep_for_a_week(server)
        ),
        Some(hours) if age_hours.is_some_and(|age| age >= hours) => format!(
            "The source keeps binlogs for {hours:.0} hours: didtail must not be down for longer"
        ),
        Some(hours) => format!("The source keeps binlogs for {hours:.0} hours, {deleted}"),
    }
}

/// Bytes of binlog beyond which the oldest goes, where that is set.
fn size_kept(found: &Variables) -> Option<u64> {
    let size = found.get("max_binlog_total_size")?.parse::<u64>().ok();
    size.filter(|size| *size > 0)
}

/// How long binlogs are kept.
pub(super) fn expiry(server: &Server, found: &Variables) -> Finding {
    let expected = "72 hours or more";
    let finding = |actual: &str| Finding::new("binlog expiry", Outcome::Note, expected, actual);
    if let Some(size) = size_kept(found) {
        return finding(&format!("binlogs are deleted beyond {size} bytes in all")).fix(
            "didtail must not be down for longer than these last; SET GLOBAL \
             max_binlog_total_size = 0; lets the time alone decide",
        );
    }
    let good = |actual: &str| Finding::new("binlog expiry", Outcome::Good, expected, actual);
    let Some(hours) = hours_kept(found) else {
        return good(OFF);
    };
    let actual = format!("binlogs are deleted after {hours:.0} hours");
    if hours >= EXPIRY_HOURS_LOW {
        good(&actual)
    } else {
        finding(&actual).fix(format!(
            "didtail must not be down for longer; to keep them for 7 days: {}",
            keep_for_a_week(server)
        ))
    }
}

/// How long the place to resume at is still there.
pub(super) async fn left(source: &MySqlSource, position: &Position) -> Vec<Finding> {
    match time_left(source, position).await {
        Ok(finding) => finding.into_iter().collect(),
        Err(error) => vec![Finding::unknown(CHECK, EXPECTED, &error)],
    }
}

const CHECK: &str = "time to resume";
const EXPECTED: &str = "24 hours or more until the position is deleted";

async fn time_left(
    source: &MySqlSource,
    position: &Position,
) -> Result<Option<Finding>, SourceError> {
    let Some(place) = place(source, position).await? else {
        // That it is gone is another check's finding.
        return Ok(None);
    };
    let Some(hours) = place.hours_kept else {
        return Ok(Some(Finding::new(CHECK, Outcome::Good, EXPECTED, OFF)));
    };
    let now = source.clock().await?;
    Ok(Some(judge(source.server(), place.closed, hours, now)))
}

/// A position among a server's binlogs.
struct Place {
    /// How long the server keeps a binlog that is closed; `None`: for ever.
    hours_kept: Option<f64>,
    /// When the position's file was closed; `None`: it is the newest, or nobody knows.
    closed: Option<i64>,
    /// Bytes of binlog behind the position.
    bytes: u64,
}

/// `None` where the position's file is gone.
async fn place(source: &MySqlSource, position: &Position) -> Result<Option<Place>, SourceError> {
    let found = super::settings::variables(source, VARIABLES).await?;
    let files = source.binlogs().await?;
    let at = files.iter().position(|(file, _)| *file == position.file);
    let Some(behind) = at.and_then(|at| files.get(at..)) else {
        return Ok(None);
    };
    let sizes: u64 = behind.iter().map(|(_, size)| size).sum();
    let hours_kept = hours_kept(&found);
    let closed = match (behind.get(1), hours_kept) {
        // A file is closed when the next one is begun.
        (Some((next, _)), Some(_)) => source.file_begun(next).await?,
        (Some(_), None) | (None, _) => None,
    };
    Ok(Some(Place {
        hours_kept,
        closed,
        bytes: sizes.saturating_sub(position.next),
    }))
}

/// How far the two ends of a source's binlog are from a position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// Bytes to the newest end.
    pub bytes: u64,
    /// Seconds until the source may delete the file: 0 when it did or may now, infinite
    /// where time alone deletes none. In the newest file it is at least so long.
    pub purge_seconds: f64,
}

/// Asks how far the ends of the binlog are from a position.
///
/// # Errors
/// [`SourceError`] when the source cannot be asked.
pub async fn distance(source: &MySqlSource, position: &Position) -> Result<Distance, SourceError> {
    let Some(place) = place(source, position).await? else {
        return Ok(Distance {
            bytes: 0,
            purge_seconds: 0.0,
        });
    };
    let since_closed = match place.closed {
        Some(closed) => (source.clock().await? - closed).max(0),
        None => 0,
    };
    #[expect(clippy::cast_precision_loss, reason = "seconds, in a gauge")]
    let since_closed = since_closed as f64;
    let purge_seconds = place.hours_kept.map_or(f64::INFINITY, |hours| {
        (hours * 3600.0 - since_closed).max(0.0)
    });
    Ok(Distance {
        bytes: place.bytes,
        purge_seconds,
    })
}

fn judge(server: &Server, closed: Option<i64>, hours_kept: f64, now: i64) -> Finding {
    let finding = |outcome, actual: &str| Finding::new(CHECK, outcome, EXPECTED, actual);
    let Some(closed) = closed else {
        return finding(
            Outcome::Good,
            &format!("it is in the newest binlog: {hours_kept:.0} hours or more"),
        );
    };
    #[expect(clippy::cast_precision_loss, reason = "hours, in words")]
    let left = hours_kept - (now - closed).max(0) as f64 / 3600.0;
    if left >= LEFT_HOURS_LOW {
        return finding(
            Outcome::Good,
            &format!("its binlog may be deleted in {left:.0} hours"),
        );
    }
    let actual = if left > 0.0 {
        format!("its binlog may be deleted in {left:.1} hours")
    } else {
        "its binlog is older than the server keeps them, and goes with the next rotation".to_owned()
    };
    let start = "start didtail before then";
    finding(Outcome::Note, &actual).fix(if hours_kept < WEEK_HOURS {
        let longer = keep_for_a_week(server);
        format!("{start}, or keep the binlogs for longer first: {longer}")
    } else {
        start.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mariadb() -> Server {
        Server::from_version("10.11.18-MariaDB")
    }

    fn said(finding: &Finding) -> (Outcome, &str, &str) {
        let fix = finding.fix.as_deref().unwrap_or_default();
        (finding.outcome, &finding.actual, fix)
    }

    #[test]
    fn expiry_is_told_in_hours() {
        let found =
            |name: &str, value: &str| Variables::from([(name.to_owned(), value.to_owned())]);
        let short = expiry(&mariadb(), &found("binlog_expire_logs_seconds", "86400"));
        assert!(short.actual.contains("24 hours"), "{short:?}");
        assert!(said(&short).2.contains("SET GLOBAL expire_logs_days = 7;"));
        let mysql = Server::from_version("9.7.4");
        let short = expiry(&mysql, &found("binlog_expire_logs_seconds", "86400"));
        assert!(
            said(&short)
                .2
                .contains("binlog_expire_logs_seconds = 604800")
        );
        let long = expiry(&mariadb(), &found("expire_logs_days", "10.000000"));
        assert!(long.actual.contains("240 hours") && long.fix.is_none());
        assert_eq!(expiry(&mariadb(), &Variables::new()).actual, OFF);
        let size = expiry(&mariadb(), &found("max_binlog_total_size", "1000000"));
        assert!(size.actual.contains("1000000 bytes"), "{size:?}");
        let mut off = found("binlog_expire_logs_seconds", "86400");
        off.insert("binlog_expire_logs_auto_purge".to_owned(), "OFF".to_owned());
        assert_eq!(expiry(&mysql, &off).actual, OFF);
    }

    #[test]
    fn advice_never_shortens_what_is_kept() {
        let mysql = Server::from_version("9.7.4");
        let told = |server: &Server, days: &str, age| {
            let found = Variables::from([("expire_logs_days".to_owned(), days.to_owned())]);
            longer(server, &found, age)
        };
        for server in [mariadb(), mysql] {
            let few = told(&server, "3", Some(100.0));
            assert!(
                few.contains("SET GLOBAL") || few.contains("SET PERSIST"),
                "{few}"
            );
            for (days, age, says) in [
                ("0", Some(1.0), "for ever, so somebody deleted these (PURGE"),
                (
                    "30",
                    Some(1.0),
                    "for 720 hours, so somebody deleted these (PURGE",
                ),
                (
                    "30",
                    None,
                    "for 720 hours, so somebody deleted these (PURGE",
                ),
                ("30", Some(800.0), "for 720 hours: didtail must not be down"),
                ("7", Some(200.0), "for 168 hours: didtail must not be down"),
            ] {
                let told = told(&server, days, age);
                assert!(told.contains(says), "{told}");
                assert!(!told.contains("expire_logs"), "{told}");
            }
        }
        let late = judge(&mariadb(), Some(0), 720.0, 710 * 3600);
        assert_eq!(said(&late).2, "start didtail before then");
    }

    #[test]
    fn hours_until_the_position_is_gone() {
        let judged = |closed, now| judge(&mariadb(), closed, 72.0, now);
        let newest = judged(None, 1_000_000);
        assert_eq!(newest.outcome, Outcome::Good, "{newest:?}");
        let fresh = judged(Some(1_000_000), 1_000_000 + 7200);
        assert_eq!(said(&fresh).1, "its binlog may be deleted in 70 hours");
        let few = judged(Some(1_000_000), 1_000_000 + 70 * 3600);
        assert_eq!(few.outcome, Outcome::Note);
        assert_eq!(few.actual, "its binlog may be deleted in 2.0 hours");
        assert!(said(&few).2.contains("start didtail before then"));
        let late = judged(Some(1_000_000), 1_000_000 + 80 * 3600);
        assert!(late.actual.contains("next rotation"), "{late:?}");
    }
}
