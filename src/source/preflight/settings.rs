//! The server's version and how it writes its binlog.

use std::collections::BTreeMap;

use super::{Finding, Outcome, retention};
use crate::source::wire::{Flavour, Server, text};
use crate::source::{MySqlSource, SourceError};

/// The oldest versions whose binlog and privileges didtail was tried with.
const MARIADB_OLDEST: (u16, u16, u16) = (10, 5, 0);
const MYSQL_OLDEST: (u16, u16, u16) = (8, 0, 0);

/// Why a `SET GLOBAL` is not enough: VICIdial's daemons hold one connection
/// for days, and a session keeps the format it began with.
pub(super) const RESTART: &str = "then restart what keeps its connection open on every dialer \
    (AST_VDauto_dial, AST_VDauto_dial_FILL, AST_VDadapt, AST_manager_listen, AST_update): \
    open sessions keep the old setting";

/// What a binlog of statements costs.
const STATEMENTS_COST: &str = "statements have no rows in them: didtail reads the rows they \
    name again, a few SELECTs on the source for every batch, and sees a row as it is by then";

/// What a partial row image costs.
const PARTIAL_COST: &str = "rows come without all their columns: didtail reads each such row \
    again, a few SELECTs on the source for every batch";

/// The variables that are asked for, in one go.
const VARIABLES: &str =
    "'log_bin', 'binlog_format', 'binlog_row_image', 'binlog_row_metadata', 'binlog_checksum'";

/// Name and value of server variables.
pub(super) type Variables = BTreeMap<String, String>;

pub(super) async fn variables(source: &MySqlSource, names: &str) -> Result<Variables, SourceError> {
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
    let names = format!("{VARIABLES}, {}", retention::VARIABLES);
    let found = match variables(source, &names).await {
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
        let keep = match source.server().flavour {
            Flavour::MariaDb => "expire_logs_days = 7",
            Flavour::MySql => "binlog_expire_logs_seconds = 604800",
        };
        return vec![log_bin.fix(format!(
            "under [mysqld] in my.cnf: log_bin = mysql-bin, server_id = 1, binlog_format = ROW, \
             {keep}; then restart the server"
        ))];
    }
    let mut findings = vec![log_bin];
    findings.push(format(source.server(), value("binlog_format")));
    findings.push(row_image(source.server(), value("binlog_row_image")));
    findings.push(row_metadata(source.server(), value("binlog_row_metadata")));
    findings.extend(checksum(source.server(), value("binlog_checksum")));
    findings.push(retention::expiry(source.server(), &found));
    findings
}

/// How to change a setting of the binlog for good. VICIdial's my.cnf is edited
/// by hand; MySQL can keep a setting by itself.
pub(super) fn set_for_good(server: &Server, name: &str, value: &str) -> String {
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

fn row_metadata(server: &Server, value: Option<String>) -> Finding {
    const WHY: &str = "it makes an ALTER TABLE safe while didtail lags";
    let expected = "FULL, where possible";
    match value.as_deref() {
        Some("FULL") => Finding::new("binlog_row_metadata", Outcome::Good, expected, "FULL"),
        Some(other) => Finding::new(
            "binlog_row_metadata",
            Outcome::Note,
            expected,
            &format!("{other}: column names are taken from information_schema"),
        )
        .fix(match server.flavour {
            Flavour::MariaDb => format!(
                "SET GLOBAL binlog_row_metadata = 'FULL'; and binlog_row_metadata = FULL under \
                 [mysqld] in my.cnf; {WHY}"
            ),
            Flavour::MySql => format!("SET PERSIST binlog_row_metadata = 'FULL'; {WHY}"),
        }),
        None => Finding::new(
            "binlog_row_metadata",
            Outcome::Note,
            expected,
            "not known to this server",
        ),
    }
}

/// Without checksums a row that is damaged on its way becomes a wrong number.
fn checksum(server: &Server, value: Option<String>) -> Option<Finding> {
    let actual = value?;
    let outcome = if actual == "NONE" {
        Outcome::Note
    } else {
        Outcome::Good
    };
    let finding = Finding::new("binlog_checksum", outcome, "CRC32", &actual);
    Some(match outcome {
        Outcome::Note => finding.fix(match server.flavour {
            Flavour::MariaDb => {
                "SET GLOBAL binlog_checksum = 'CRC32'; and binlog_checksum = CRC32 under [mysqld] in my.cnf; without it damage on the way is noticed under TLS alone"
            }
            Flavour::MySql => {
                "SET PERSIST binlog_checksum = 'CRC32'; without it damage on the way is noticed under TLS alone"
            }
        }),
        Outcome::Good | Outcome::Bad | Outcome::Unknown => finding,
    })
}

/// True where changes come without whole rows, which are then read by SELECT.
pub(super) async fn reads_again(source: &MySqlSource) -> bool {
    let names = "'binlog_format', 'binlog_row_image'";
    let found = variables(source, names).await.unwrap_or_default();
    let is = |name: &str, fine: &[&str]| {
        let value = found.get(name);
        value.is_none_or(|value| fine.iter().any(|fine| value.eq_ignore_ascii_case(fine)))
    };
    !is("binlog_format", &["ROW"]) || !is("binlog_row_image", &["FULL", "NOBLOB"])
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
        let metadata = |server, value: &str| row_metadata(server, Some(value.into()));
        for (server, value, fix) in [
            (
                &mysql,
                "MINIMAL",
                "SET PERSIST binlog_row_metadata = 'FULL';",
            ),
            (
                &maria,
                "NO_LOG",
                "SET GLOBAL binlog_row_metadata = 'FULL'; and binlog_row_metadata = FULL under [mysqld]",
            ),
        ] {
            let finding = metadata(server, value);
            assert_eq!(finding.outcome, Outcome::Note);
            let said = finding.fix.expect("a fix");
            assert!(said.starts_with(fix), "{said}");
        }
    }
}
