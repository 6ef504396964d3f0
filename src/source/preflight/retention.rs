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

/// How long binlogs are kept.
pub(super) fn expiry(server: &Server, found: &Variables) -> Finding {
    let expected = "72 hours or more";
    let finding = |actual: &str| Finding::new("binlog expiry", Outcome::Note, expected, actual);
    let size = found.get("max_binlog_total_size");
    if let Some(size) = size.and_then(|v| v.parse::<u64>().ok()).filter(|s| *s > 0) {
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
    let found = super::settings::variables(source, VARIABLES).await?;
    let files = source.binlogs().await?;
    let mut behind = files
        .iter()
        .skip_while(|(file, _)| *file != position.file)
        .map(|(file, _)| file);
    if behind.next().is_none() {
        // That it is gone is another check's finding.
        return Ok(None);
    }
    let Some(hours) = hours_kept(&found) else {
        return Ok(Some(Finding::new(CHECK, Outcome::Good, EXPECTED, OFF)));
    };
    let closed = match behind.next() {
        // A file is closed when the next one is begun.
        Some(next) => source.file_begun(next).await?,
        None => None,
    };
    let now = source.clock().await?;
    Ok(Some(judge(source.server(), closed, hours, now)))
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
    finding(Outcome::Note, &actual).fix(format!(
        "start didtail before then, or keep the binlogs for longer first: {}",
        keep_for_a_week(server)
    ))
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
