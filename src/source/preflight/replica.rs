//! Is the server a replica, and does its binlog then hold what the primary's
//! does? And does anybody else follow it under didtail's own number?

use super::grants::account;
use super::settings::{Variables, variables};
use super::{Finding, Outcome};
use crate::source::wire::{Flavour, Server};
use crate::source::{MySqlSource, SourceError};

/// MySQL's version from which it says replica where it said slave.
const MYSQL_RENAMED: (u16, u16, u16) = (8, 0, 26);

/// What the server calls the setting that makes a replica write what it replicates.
fn log_updates(server: &Server) -> &'static str {
    if server.flavour == Flavour::MySql && server.version >= MYSQL_RENAMED {
        "log_replica_updates"
    } else {
        "log_slave_updates"
    }
}

/// Whether the server replicates from another one, if that can be told.
enum Role {
    Primary,
    Replica,
    Unknown(String),
}

async fn role(source: &MySqlSource) -> Role {
    // MariaDB tells everybody; MySQL needs a privilege.
    let running = "SHOW GLOBAL STATUS LIKE 'Slave_running'";
    if let Ok(table) = source.ask("its replication", running).await
        && table.first("Value").as_deref() == Some("ON")
    {
        return Role::Replica;
    }
    let mut why = "no statement tells".to_owned();
    for sql in ["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"] {
        match source.ask("its replication", sql).await {
            Ok(table) if table.rows.is_empty() => return Role::Primary,
            Ok(_) => return Role::Replica,
            // Another flavour's statement.
            Err(SourceError::Query { .. }) => {}
            Err(error) => why = error.to_string(),
        }
    }
    if source.server().flavour == Flavour::MariaDb {
        // It said above that nothing is running.
        return Role::Primary;
    }
    Role::Unknown(why)
}

/// Does a replica write what it replicates to its own binlog, and all of it?
pub(super) async fn replica(source: &MySqlSource) -> Vec<Finding> {
    let names = "'log_slave_updates', 'log_replica_updates', 'slave_skip_errors', \
                 'replica_skip_errors'";
    let setting = log_updates(source.server());
    let expected = format!("a primary, or a replica with {setting}");
    match variables(source, names).await {
        Ok(found) => judge(source.server(), &found, role(source).await, &expected),
        Err(error) => vec![Finding::unknown("replica", &expected, &error)],
    }
}

fn judge(server: &Server, found: &Variables, role: Role, expected: &str) -> Vec<Finding> {
    let setting = log_updates(server);
    let value = |names: [&str; 2]| names.iter().find_map(|name| found.get(*name)).cloned();
    let is_on = value(["log_slave_updates", "log_replica_updates"])
        .is_some_and(|value| value.eq_ignore_ascii_case("ON") || value == "1");
    let finding = |outcome, actual: &str| Finding::new("replica", outcome, expected, actual);
    let mut findings = vec![match &role {
        Role::Primary => finding(Outcome::Good, "it replicates nothing"),
        Role::Replica | Role::Unknown(_) if is_on => {
            finding(Outcome::Good, &format!("{setting} is ON"))
        }
        Role::Replica => finding(Outcome::Bad, &format!("a replica with {setting} = OFF")).fix(
            format!(
                "{setting} = 1 under [mysqld] in my.cnf and restart the server; or follow the primary"
            ),
        ),
        Role::Unknown(why) => finding(
            Outcome::Unknown,
            &format!(
                "{setting} is OFF, which is right for a primary; whether it is one could not be told: {why}"
            ),
        ),
    }];
    let skipped = value(["slave_skip_errors", "replica_skip_errors"])
        .filter(|errors| !errors.is_empty() && !errors.eq_ignore_ascii_case("OFF"));
    if let Some(errors) = skipped
        && !matches!(role, Role::Primary)
    {
        let actual = format!(
            "it skips the errors {errors}: rows that differ from the primary's go unnoticed"
        );
        findings.push(
            Finding::new("replica errors", Outcome::Note, "none are skipped", &actual).fix(
                "follow the primary; or remove slave_skip_errors from the replica's my.cnf, \
                 restart it, and repair it where it stops",
            ),
        );
    }
    findings
}

/// Is the number that didtail registers with free?
pub(super) async fn server_id(source: &MySqlSource) -> Vec<Finding> {
    const CHECK: &str = "server_id";
    const EXPECTED: &str = "one that no other replica of the source has";
    let finding = |outcome, actual: &str| Finding::new(CHECK, outcome, EXPECTED, actual);
    let server_id = match source.replica_id().await {
        Ok(server_id) => server_id,
        Err(error @ (SourceError::ServerIdClash { .. } | SourceError::ServerIdOfSource { .. })) => {
            let bad = finding(Outcome::Bad, &error.to_string());
            return vec![match error.hint() {
                Some(hint) => bad.fix(hint),
                None => bad,
            }];
        }
        Err(error) => return vec![Finding::unknown(CHECK, EXPECTED, &error)],
    };
    let is_configured = source.settings().server_id.is_some();
    let list = source.server().list_replicas();
    vec![match source.ask("its replicas", list).await {
        Ok(_) => finding(Outcome::Good, &format!("{server_id} is free")),
        Err(_) if !is_configured => finding(
            Outcome::Good,
            &format!("{server_id}, which didtail chose among a billion"),
        ),
        Err(error) => finding(
            Outcome::Unknown,
            &format!("{server_id} is configured, and the replicas could not be listed: {error}"),
        )
        .fix(format!(
            "{}as an administrator: {list}; no other line may have {server_id}. \
             Without server_id in the [[source]] didtail chooses one",
            grant_listing(source).await
        )),
    }]
}

/// What lets the user list the replicas; MySQL needs no more than to follow.
async fn grant_listing(source: &MySqlSource) -> String {
    match source.server().flavour {
        Flavour::MariaDb => {
            let user = account(source).await;
            format!("GRANT REPLICATION MASTER ADMIN ON *.* TO {user}; or ")
        }
        Flavour::MySql => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(version: &str, settings: &[(&str, &str)], role: Role) -> Vec<Finding> {
        let found = settings.iter();
        let found = found.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        judge(
            &Server::from_version(version),
            &found.collect(),
            role,
            "expected",
        )
    }

    #[test]
    fn a_replica_must_log_what_it_replicates() {
        let off = [("log_slave_updates", "OFF")];
        let outcome = |findings: &[Finding]| findings[0].outcome;
        assert_eq!(
            outcome(&judged("10.11.18-MariaDB", &off, Role::Primary)),
            Outcome::Good
        );
        let bad = judged("10.11.18-MariaDB", &off, Role::Replica);
        assert_eq!(outcome(&bad), Outcome::Bad);
        let fix = bad[0].fix.as_deref().expect("a fix");
        assert!(fix.starts_with("log_slave_updates = 1"), "{fix}");
        let newer = [("log_replica_updates", "OFF"), ("log_slave_updates", "OFF")];
        let bad = judged("9.7.4", &newer, Role::Replica);
        let fix = bad[0].fix.as_deref().expect("a fix");
        assert!(fix.starts_with("log_replica_updates = 1"), "{fix}");
        let unknown = Role::Unknown("the user may not".to_owned());
        assert_eq!(outcome(&judged("9.7.4", &newer, unknown)), Outcome::Unknown);
    }

    #[test]
    fn a_replica_that_skips_errors_is_noted() {
        let settings = [
            ("log_slave_updates", "ON"),
            ("slave_skip_errors", "1032,1690,1062"),
        ];
        assert_eq!(
            judged("10.11.18-MariaDB", &settings, Role::Primary).len(),
            1
        );
        let findings = judged("10.11.18-MariaDB", &settings, Role::Replica);
        assert_eq!(findings[1].outcome, Outcome::Note);
        assert!(findings[1].actual.contains("1032,1690,1062"));
    }
}
