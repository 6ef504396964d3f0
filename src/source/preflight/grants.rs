//! May the user follow the binlog? And the statements that let it.

use super::{Finding, Outcome};
use crate::source::wire::{Flavour, text};
use crate::source::{MySqlSource, Source, SourceError};

/// The version from which MariaDB calls the privilege for `SHOW BINLOG STATUS`
/// BINLOG MONITOR.
const MARIADB_RENAMED: (u16, u16, u16) = (10, 5, 2);

/// May the user dump the binlog, and ask where it ends?
pub(super) async fn replication(source: &MySqlSource) -> Vec<Finding> {
    let slave = match granted(source).await {
        Ok(Some(true)) => Finding::new(
            "replication privilege",
            Outcome::Good,
            "REPLICATION SLAVE",
            "granted",
        ),
        Ok(Some(false)) => Finding::new(
            "replication privilege",
            Outcome::Bad,
            "REPLICATION SLAVE",
            "not granted",
        )
        .fix(grant_replication(source).await),
        Ok(None) => Finding::new(
            "replication privilege",
            Outcome::Unknown,
            "REPLICATION SLAVE",
            "it may come with a role, which was not looked into",
        ),
        Err(error) => Finding::unknown("replication privilege", "REPLICATION SLAVE", &error),
    };
    let monitor = match source.head().await {
        Ok(head) => Finding::new(
            "binlog position",
            Outcome::Good,
            "readable",
            &head.to_string(),
        ),
        Err(error @ SourceError::NotGranted { .. }) => Finding::new(
            "binlog position",
            Outcome::Bad,
            "readable",
            &error.to_string(),
        )
        .fix(grant_replication(source).await),
        Err(error) => Finding::unknown("binlog position", "readable", &error),
    };
    vec![slave, monitor]
}

/// Whether REPLICATION SLAVE is granted; `None` when it may come with a role.
async fn granted(source: &MySqlSource) -> Result<Option<bool>, SourceError> {
    let table = source
        .ask("its privileges", "SHOW GRANTS FOR CURRENT_USER")
        .await?;
    let lines: Vec<String> = table
        .rows
        .iter()
        .filter_map(|row| row.first().and_then(text))
        .collect();
    Ok(judge(&lines))
}

fn judge(lines: &[String]) -> Option<bool> {
    let mut role = false;
    for line in lines {
        let upper = line.to_ascii_uppercase();
        let Some(rest) = upper.strip_prefix("GRANT ") else {
            continue;
        };
        // A role is granted without ON.
        let Some((privileges, behind)) = rest.split_once(" ON ") else {
            role = true;
            continue;
        };
        let fits = |privilege: &str| {
            matches!(
                privilege.trim(),
                "REPLICATION SLAVE" | "ALL PRIVILEGES" | "ALL"
            )
        };
        if behind.starts_with("*.*") && privileges.split(',').any(fits) {
            return Some(true);
        }
    }
    if role { None } else { Some(false) }
}

/// The statement that lets the user follow the binlog, as this server spells it.
async fn grant_replication(source: &MySqlSource) -> String {
    let server = source.server();
    let monitor = match server.flavour {
        Flavour::MariaDb if server.version >= MARIADB_RENAMED => "BINLOG MONITOR",
        Flavour::MariaDb | Flavour::MySql => "REPLICATION CLIENT",
    };
    let user = account(source).await;
    format!("GRANT REPLICATION SLAVE, {monitor} ON *.* TO {user};")
}

/// The statement that lets the user read a table, or all of them.
pub(super) async fn grant_select(source: &MySqlSource, table: Option<&str>) -> String {
    let user = account(source).await;
    let database = source.database();
    match table {
        Some(table) => format!("GRANT SELECT ON `{database}`.`{table}` TO {user};"),
        None => format!("GRANT SELECT ON `{database}`.* TO {user};"),
    }
}

/// The account that the server took the login for, quoted.
pub(super) async fn account(source: &MySqlSource) -> String {
    let answer = source.ask("its user", "SELECT CURRENT_USER()").await.ok();
    let account = answer.and_then(|table| table.scalar());
    let account = account.unwrap_or_else(|| format!("{}@%", source.settings().user));
    let (user, host) = account.rsplit_once('@').unwrap_or((account.as_str(), "%"));
    format!(
        "'{}'@'{}'",
        user.replace('\'', "''"),
        host.replace('\'', "''")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_read_as_servers_print_them() {
        for (line, expected) in [
            (
                "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `d`@`%` IDENTIFIED BY PASSWORD '*A'",
                Some(true),
            ),
            (
                "GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION",
                Some(true),
            ),
            (
                "GRANT SELECT, REPLICATION SLAVE ON *.* TO `d`@`%`",
                Some(true),
            ),
            (
                "GRANT REPLICATION SLAVE ADMIN ON *.* TO `d`@`%`",
                Some(false),
            ),
            (
                "GRANT ALL PRIVILEGES ON `asterisk`.* TO `d`@`%`",
                Some(false),
            ),
            ("GRANT USAGE ON *.* TO `d`@`%`", Some(false)),
            ("GRANT `replicators` TO `d`@`%`", None),
        ] {
            assert_eq!(judge(&[line.to_owned()]), expected, "{line}");
        }
        assert_eq!(judge(&[]), Some(false));
    }
}
