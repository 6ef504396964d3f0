//! The server's version and how it writes its binlog.

use std::collections::BTreeMap;

use super::{Finding, Outcome};
use crate::source::wire::{Flavour, Server, text};
use crate::source::{MySqlSource, SourceError};

/// The oldest versions whose binlog and privileges didtail was tried with.
const MARIADB_OLDEST: (u16, u16, u16) = (10, 5, 0);
const MYSQL_OLDEST: (u16, u16, u16) = (8, 0, 0);

/// Binlogs kept for less than this are gone before a long weekend is over.
const EXPIRY_HOURS_LOW: f64 = 72.0;

/// Why a `SET GLOBAL` is not enough: VICIdial's daemons hold one connection
/// for days, and a session keeps the format it began with.
const RESTART: &str = "then restart what keeps its connection open on every dialer \
    (AST_VDauto_dial, AST_VDauto_dial_FILL, AST_VDadapt, AST_manager_listen, AST_update): \
    open sessions keep the old setting";

/// What a binlog of statements costs.
const STATEMENTS_COST: &str = "statements have no rows in them: didtail reads the rows they \
    name again, a few SELECTs on the source for every batch, and sees a row as it is by then";

/// What a partial row image costs.
const PARTIAL_COST: &str = "rows come without all their columns: didtail reads each such row \
    again, a few SELECTs on the source for every batch";

/// The variables that are asked for, in one go.
const VARIABLES: &str = "'log_bin', 'binlog_format', 'binlog_row_image', 'binlog_row_metadata', \
    'binlog_expire_logs_seconds', 'expire_logs_days'";

/// Name and value of server variables.
type Variables = BTreeMap<String, String>;

async fn variables(source: &MySqlSource, names: &str) -> Result<Variables, SourceError> {
    let sql = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})");
    let table = source.ask("its settings", &sql).await?;
    let pair = |row: &Vec<_>| Some((row.first().and_then(text)?, row.get(1).and_then(text)?));
    Ok(table.rows.iter().filter_map(pair).collect())
}

/// Is the server one that didtail was made for?
pub(super) fn version(source: &MySqlSource) -> Vec<Finding> {
    let server = source.server();
    let fits = match server.flavour {
        Flavour::MariaDb => server.version >= MARIADB_OLDEST,
        Flavour::MySql => server.version >= MYSQL_OLDEST,
    };
    let expected = "MariaDB 10.5 or MySQL 8.0, or newer";
    let finding = |outcome| Finding::new("version", outcome, expected, &server.text);
    vec![if fits {
        finding(Outcome::Good)
    } else {
        finding(Outcome::Bad).fix("upgrade the server, or follow a replica of it that is newer")
    }]
}

/// Does the binlog hold what didtail reads?
pub(super) async fn binlog(source: &MySqlSource) -> Vec<Finding> {
    let found = match variables(source, VARIABLES).await {
        Ok(found) => found,
        Err(error) => return vec![Finding::unknown("log_bin", "ON", &error)],
    };
    let value = |name: &str| found.get(name).map(|value| value.to_ascii_uppercase());
    let on = value("log_bin").is_some_and(|value| value == "ON" || value == "1");
    let log_bin = Finding::new(
        "log_bin",
        if on { Outcome::Good } else { Outcome::Bad },
        "ON",
        if on { "ON" } else { "OFF" },
    );
    if !on {
        return vec![log_bin.fix(
            "under [mysqld] in my.cnf: log_bin = mysql-bin, server_id = 1, binlog_format = ROW, \
             expire_logs_days = 7; then restart the server",
        )];
    }
    let mut findings = vec![log_bin];
    findings.push(format(source.server(), value("binlog_format")));
    findings.push(row_image(source.server(), value("binlog_row_image")));
    findings.push(row_metadata(value("binlog_row_metadata")));
    findings.push(expiry(&found));
    findings
}

/// How to change a setting of the binlog for good. VICIdial's my.cnf is edited
/// by hand; MySQL can keep a setting by itself.
fn set_for_good(server: &Server, name: &str, value: &str) -> String {
    match server.flavour {
        Flavour::MariaDb => format!(
            "SET GLOBAL {name} = '{value}'; and {name} = {value} under [mysqld] in my.cnf; {RESTART}"
        ),
        Flavour::MySql => format!("SET PERSIST {name} = '{value}'; {RESTART}"),
    }
}

/// An absent setting means that the server knows nothing but ROW.
fn format(server: &Server, value: Option<String>) -> Finding {
    const EXPECTED: &str = "ROW; MIXED and STATEMENT work";
    let actual = value.unwrap_or_else(|| "ROW".to_owned());
    if actual == "ROW" {
        return Finding::new("binlog_format", Outcome::Good, EXPECTED, &actual);
    }
    let actual = format!("{actual}: {STATEMENTS_COST}");
    Finding::new("binlog_format", Outcome::Note, EXPECTED, &actual).fix(set_for_good(
        server,
        "binlog_format",
        "ROW",
    ))
}

fn row_image(server: &Server, value: Option<String>) -> Finding {
    const EXPECTED: &str = "FULL; NOBLOB and MINIMAL work";
    let actual = value.unwrap_or_else(|| "FULL".to_owned());
    if matches!(actual.as_str(), "FULL" | "NOBLOB") {
        return Finding::new("binlog_row_image", Outcome::Good, EXPECTED, &actual);
    }
    let actual = format!("{actual}: {PARTIAL_COST}");
    Finding::new("binlog_row_image", Outcome::Note, EXPECTED, &actual).fix(set_for_good(
        server,
        "binlog_row_image",
        "FULL",
    ))
}

fn row_metadata(value: Option<String>) -> Finding {
    let expected = "FULL, where possible";
    match value.as_deref() {
        Some("FULL") => Finding::new("binlog_row_metadata", Outcome::Good, expected, "FULL"),
        Some(other) => Finding::new(
            "binlog_row_metadata",
            Outcome::Note,
            expected,
            &format!("{other}: column names are taken from information_schema"),
        )
        .fix("SET GLOBAL binlog_row_metadata = 'FULL'; it makes an ALTER TABLE safe while didtail lags"),
        None => Finding::new("binlog_row_metadata", Outcome::Note, expected, "not known to this server"),
    }
}

fn expiry(found: &Variables) -> Finding {
    let number = |name: &str| found.get(name).and_then(|value| value.parse::<f64>().ok());
    let seconds = number("binlog_expire_logs_seconds").unwrap_or(0.0);
    let days = number("expire_logs_days").unwrap_or(0.0);
    let hours = if seconds > 0.0 {
        seconds / 3600.0
    } else {
        days * 24.0
    };
    let expected = "72 hours or more";
    if hours == 0.0 {
        let actual = "binlogs are kept until they are deleted by hand";
        return Finding::new("binlog expiry", Outcome::Note, expected, actual);
    }
    let actual = format!("binlogs are deleted after {hours:.0} hours");
    let finding = Finding::new("binlog expiry", Outcome::Note, expected, &actual);
    if hours >= EXPIRY_HOURS_LOW {
        finding
    } else {
        finding.fix("didtail must not be down for longer; to keep them for 7 days: SET GLOBAL expire_logs_days = 7; on MySQL: SET PERSIST binlog_expire_logs_seconds = 604800;")
    }
}

/// Are writes to VICIdial's database left out of the binlog?
pub(super) async fn filters(source: &MySqlSource) -> Vec<Finding> {
    let expected = format!("`{}` is written to the binlog", source.database());
    let status = match source.binlog_status().await {
        Ok(status) => status,
        Err(SourceError::NotGranted { .. }) => return Vec::new(),
        Err(error) => return vec![Finding::unknown("binlog filters", &expected, &error)],
    };
    let list = |name: &str| status.first(name).filter(|value| !value.is_empty());
    let names = |list: &str| list.split(',').any(|name| name.trim() == source.database());
    let finding =
        |outcome, actual: &str| Finding::new("binlog filters", outcome, &expected, actual);
    let fix = "remove binlog_do_db and binlog_ignore_db from my.cnf and restart the server";
    vec![match (list("Binlog_Do_DB"), list("Binlog_Ignore_DB")) {
        (Some(only), _) if !names(&only) => {
            finding(Outcome::Bad, &format!("binlog_do_db = {only}")).fix(fix)
        }
        (_, Some(ignored)) if names(&ignored) => {
            finding(Outcome::Bad, &format!("binlog_ignore_db = {ignored}")).fix(fix)
        }
        (None, None) => finding(Outcome::Good, "no filters"),
        // They go by the session's database, not by the table's.
        (only, ignored) => finding(
            Outcome::Note,
            &format!(
                "binlog_do_db = {}, binlog_ignore_db = {}: sessions in another database go unseen",
                only.unwrap_or_default(),
                ignored.unwrap_or_default()
            ),
        )
        .fix(fix),
    }]
}

/// Does a replica write what it replicates to its own binlog?
pub(super) async fn replica(source: &MySqlSource) -> Vec<Finding> {
    const OFF: &str = "a replica with log_slave_updates = OFF";
    const FIX: &str = "log_slave_updates = 1 under [mysqld] in my.cnf and restart the server, or follow the primary";
    let names = "'log_slave_updates', 'log_replica_updates'";
    let expected = "a primary, or a replica with log_slave_updates";
    let found = match variables(source, names).await {
        Ok(found) => found,
        Err(error) => return vec![Finding::unknown("replica", expected, &error)],
    };
    let finding = |outcome, actual: &str| Finding::new("replica", outcome, expected, actual);
    if found.values().any(|value| value.eq_ignore_ascii_case("ON")) {
        return vec![finding(Outcome::Good, "log_slave_updates is ON")];
    }
    // MariaDB tells everybody; MySQL needs a privilege.
    let running = "SHOW GLOBAL STATUS LIKE 'Slave_running'";
    if let Ok(table) = source.ask("its replication", running).await
        && let Some(value) = table.first("Value")
    {
        return vec![if value == "ON" {
            finding(Outcome::Bad, OFF).fix(FIX)
        } else {
            finding(Outcome::Good, "it replicates nothing")
        }];
    }
    for sql in ["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"] {
        match source.ask("its replication", sql).await {
            Ok(table) if table.rows.is_empty() => {
                return vec![finding(Outcome::Good, "it replicates nothing")];
            }
            Ok(_) => return vec![finding(Outcome::Bad, OFF).fix(FIX)],
            // Another flavour's statement.
            Err(SourceError::Query { .. }) => {}
            Err(error) => {
                let actual = format!(
                    "log_slave_updates is OFF, which is right for a primary; whether it is one could not be told: {error}"
                );
                return vec![finding(Outcome::Unknown, &actual)];
            }
        }
    }
    vec![finding(Outcome::Unknown, "no statement tells")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(version: &str) -> Server {
        Server::from_version(version)
    }

    #[test]
    fn formats_and_images_are_judged() {
        let outcome = |finding: Finding| finding.outcome;
        let (maria, mysql) = (server("10.11.18-MariaDB"), server("9.7.4"));
        assert_eq!(outcome(format(&maria, Some("ROW".into()))), Outcome::Good);
        assert_eq!(outcome(format(&maria, None)), Outcome::Good);
        for costly in ["MIXED", "STATEMENT"] {
            let finding = format(&maria, Some(costly.into()));
            assert_eq!(finding.outcome, Outcome::Note);
            assert!(finding.actual.contains("SELECTs"), "{}", finding.actual);
            let fix = finding.fix.expect("a fix");
            assert!(
                fix.starts_with("SET GLOBAL binlog_format = 'ROW';"),
                "{fix}"
            );
            let fix = format(&mysql, Some(costly.into())).fix.expect("a fix");
            assert!(
                fix.starts_with("SET PERSIST binlog_format = 'ROW';"),
                "{fix}"
            );
        }
        let image = |value: &str| row_image(&maria, Some(value.into())).outcome;
        assert_eq!(image("NOBLOB"), Outcome::Good);
        assert_eq!(image("MINIMAL"), Outcome::Note);
        assert_eq!(outcome(row_metadata(Some("NO_LOG".into()))), Outcome::Note);
    }

    #[test]
    fn expiry_is_told_in_hours() {
        let found =
            |name: &str, value: &str| Variables::from([(name.to_owned(), value.to_owned())]);
        let short = expiry(&found("binlog_expire_logs_seconds", "86400"));
        assert!(short.actual.contains("24 hours") && short.fix.is_some());
        let long = expiry(&found("expire_logs_days", "10.000000"));
        assert!(long.actual.contains("240 hours") && long.fix.is_none());
        assert!(expiry(&Variables::new()).actual.contains("by hand"));
    }
}
