//! The database user that `didtail config init` makes: the statements for it, its
//! password, and what it can be asked at once.

use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;

use super::machine::Vicidial;
use crate::cli::failure::Failure;
use crate::cli::runtime;
use crate::config::SourceUrl;
use crate::source::{Condition, ConnectSettings, MySqlSource, Source as _, SourceError, TlsMode};
use crate::store::ApiKey;

/// The statements that make the database user: the same as the package has.
const SQL: &str = include_str!("../../../packaging/replication-user.sql");

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Characters of a new password, besides those that make it one of all kinds.
const PASSWORD_CHARACTERS: usize = 32;

/// VICIdial's own account may change everything, and its password is in many files.
pub(super) fn refuse_vicidials_own(
    url: &SourceUrl,
    vicidial: Option<&Vicidial>,
) -> Result<(), Failure> {
    let own = vicidial.and_then(|vicidial| vicidial.user.as_deref());
    if own != Some(url.user.as_str()) && url.user != "cron" {
        return Ok(());
    }
    Err(Failure::operator(
        format!(
            "`{}` is VICIdial's own database user, which may change everything",
            url.user
        ),
        "give didtail a user of its own: mysql://didtail@HOST/DATABASE; the SQL that makes it is written too",
    ))
}

/// The password of an earlier `init`, so that the database user goes on to fit, or a
/// new one.
pub(super) fn known_or_new(path: &Path) -> Result<SecretString, Failure> {
    if let Ok(text) = std::fs::read_to_string(path) {
        let text = text.trim();
        if !text.is_empty() {
            return Ok(text.to_owned().into());
        }
    }
    let key = ApiKey::random().ok_or_else(|| {
        Failure::operator(
            "the system gives no random numbers, so there is no password",
            "see whether /dev/urandom can be read, or set DIDTAIL_SOURCE_PASSWORD",
        )
    })?;
    let digits: String = key
        .reveal()
        .chars()
        .rev()
        .take(PASSWORD_CHARACTERS)
        .collect();
    // Of all kinds of characters, as a server's rules for passwords may ask.
    Ok(format!("Dt-9{digits}").into())
}

/// The statuses that VICIdial flags as a sale.
pub(super) fn sale_flags(url: &SourceUrl, password: &SecretString) -> Result<Vec<String>, String> {
    let settings = ConnectSettings {
        name: "init".to_owned(),
        host: url.host.clone(),
        port: url.port,
        user: url.user.clone(),
        password: Some(password.clone()),
        database: url.database.clone(),
        socket: url.socket.clone(),
        tls: TlsMode::Preferred,
        tls_ca: None,
        tls_cert: None,
        tls_key: None,
        server_id: None,
    };
    let asking = async {
        let source = MySqlSource::connect(&settings).await?;
        let yes = ["Y".to_owned()];
        let condition = Condition {
            key: Some(("sale", &yes)),
            window: None,
        };
        let mut statuses = Vec::new();
        for table in ["vicidial_statuses", "vicidial_campaign_statuses"] {
            let found = source.select(table, &["status"], condition).await?;
            let texts = found.into_iter().flatten().flatten();
            statuses.extend(texts.map(|text| String::from_utf8_lossy(&text).into_owned()));
        }
        statuses.sort();
        statuses.dedup();
        Ok::<_, SourceError>(statuses)
    };
    let runtime = runtime().map_err(|e| e.to_string())?;
    match runtime.block_on(async { tokio::time::timeout(PATIENCE, asking).await }) {
        Ok(found) => found.map_err(|e| e.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// The statements for this user, host, password and database.
pub(super) fn statements(
    url: &SourceUrl,
    from_host: &str,
    password: &str,
) -> Result<String, Failure> {
    let is_plain = |text: &str| {
        let is_good = |c: char| c.is_ascii_alphanumeric() || "_-.%:/".contains(c);
        !text.is_empty() && text.chars().all(is_good)
    };
    for (what, text) in [
        ("user", url.user.as_str()),
        ("database", url.database.as_str()),
        ("--from-host", from_host),
    ] {
        if !is_plain(text) {
            return Err(Failure::operator(
                format!("the {what} `{text}` cannot be put into SQL as it stands"),
                "letters, digits and _ - . are good",
            ));
        }
    }
    let password = password.replace('\\', "\\\\").replace('\'', "''");
    let account = format!("'{}'@'{from_host}'", url.user);
    let begin = SQL.find("CREATE USER").unwrap_or(0);
    let sql = SQL.get(begin..).unwrap_or(SQL);
    // A user that is there already would keep another password.
    let created = "'didtail'@'%' IDENTIFIED BY 'CHANGE-ME';\n";
    let altered = format!("{created}ALTER USER {created}");
    let sql = sql
        .replacen(created, &altered, 1)
        .replace("'didtail'@'%'", &account)
        .replace("`asterisk`", &format!("`{}`", url.database))
        .replace("CHANGE-ME", &password);
    Ok(format!(
        "-- The database user for didtail: it reads, and writes nothing. On the database server:\n\
         --   mysql --force < replication-user.sql\n\
         -- (--force goes on where an older VICIdial lacks one of the tables.) Then delete this\n\
         -- file: it has the password in it.\n\n{sql}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> SourceUrl {
        SourceUrl::parse(text).expect("an address").0
    }

    #[test]
    fn the_statements_are_for_this_user_and_database() {
        let sql = statements(&url("mysql://reader@db/vici"), "10.0.0.%", "p'w").expect("plain");
        assert!(
            sql.contains("CREATE USER IF NOT EXISTS 'reader'@'10.0.0.%' IDENTIFIED BY 'p''w';")
        );
        assert!(sql.contains("\nALTER USER 'reader'@'10.0.0.%' IDENTIFIED BY 'p''w';"));
        assert!(sql.contains("GRANT SELECT ON `vici`.`vicidial_log` TO 'reader'@'10.0.0.%';"));
        for left in ["CHANGE-ME", "'didtail'", "`asterisk`"] {
            assert!(!sql.contains(left), "{left}: {sql}");
        }
        assert!(statements(&url("mysql://reader@db/vi%60ci"), "%", "x").is_err());
        assert!(statements(&url("mysql://reader@db/vici"), "'", "x").is_err());
    }

    #[test]
    fn vicidials_own_user_is_refused() {
        let vicidial = Vicidial {
            user: Some("dialer".to_owned()),
            ..Vicidial::default()
        };
        for (user, is_good) in [("didtail", true), ("cron", false), ("dialer", false)] {
            let url = url(&format!("mysql://{user}@db/asterisk"));
            let said = refuse_vicidials_own(&url, Some(&vicidial));
            assert_eq!(said.is_ok(), is_good, "{user}");
        }
    }
}
