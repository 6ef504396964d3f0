//! `didtail config init`: a configuration that fits this machine.

use std::fs::OpenOptions;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::machine::{self, Vicidial};
use crate::cli::failure::{Exit, Failure};
use crate::cli::{Options, output, runtime};
use crate::config::{Config, DEFAULT_PATH, Overrides, SourceUrl};
use crate::source::{Condition, MySqlSource, Source as _};
use crate::store::ApiKey;
use crate::vicidial::Zone;

/// The statements that make the database user: the same as the package has.
const SQL: &str = include_str!("../../../packaging/replication-user.sql");

/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Characters of a new password, besides those that make it one of all kinds.
const PASSWORD_CHARACTERS: usize = 32;

/// Write a configuration for this machine, and the SQL that makes its database user
///
/// Asks this machine first: VICIdial's own /etc/astguiclient.conf for the address of
/// the database, and the clock for the time zone. On a terminal it then asks you what
/// it could not find out, with what it found as the default; without a terminal, or
/// with --yes, it takes that and what the options say, and never waits.
///
/// Writes, and never over a file that has settings, unless --force says so:
///   the configuration (--config, else /etc/didtail/didtail.toml),
///   source.password beside it, readable by its owner alone: a new random password,
///     or the one in DIDTAIL_SOURCE_PASSWORD,
///   replication-user.sql beside it: run that on the database server as an
///     administrator, then delete it, since it has the password in it.
///
/// didtail gets a user of its own, `didtail`, which may read and nothing else.
/// VICIdial's own user `cron` may change everything: it is never taken.
///
/// Calls count as a success by VICIdial's own sale flags. Where the database can be
/// reached with the password that is given, the statuses that have one are shown.
///
/// Examples:
///   didtail config init
///   didtail config init --yes --source-url mysql://didtail@db/asterisk --time-zone UTC
///   didtail config init --config /tmp/didtail.toml --yes
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct Init {
    /// Do not ask: take what this machine and the options say
    #[arg(long, short)]
    yes: bool,

    /// Replace a configuration that is there; it is kept with .old behind its name
    #[arg(long)]
    force: bool,

    /// The dialers' time zone, an IANA name such as America/Chicago [default: this machine's]
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,

    /// VICIdial's own configuration
    #[arg(long, value_name = "FILE", default_value = machine::ASTGUICLIENT)]
    astguiclient: PathBuf,

    /// From where didtail connects, as the database server sees it; % is anywhere
    #[arg(long, value_name = "HOST", default_value = "%")]
    from_host: String,

    /// The user that didtail runs as
    #[arg(long, value_name = "USER", default_value = "didtail")]
    owner: String,
}

/// What is to be written.
struct Answers {
    url: SourceUrl,
    zone: String,
    start_at: String,
}

pub(super) fn run(options: &Options, arguments: &Init) -> Result<(), Failure> {
    let overrides = options.overrides();
    let path = overrides.config.clone();
    let path = path.or_else(|| {
        overrides
            .environment
            .get("DIDTAIL_CONFIG")
            .map(PathBuf::from)
    });
    let path = path.unwrap_or_else(|| PathBuf::from(DEFAULT_PATH));
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).to_owned();
    let replaces = standing(&path, arguments.force)?;
    let vicidial = Vicidial::read(&arguments.astguiclient);
    let given = overrides
        .environment
        .get("DIDTAIL_SOURCE_PASSWORD")
        .cloned();
    let (answers, in_url) = answers(&overrides, arguments, vicidial.as_ref())?;
    refuse_vicidials_own(&answers.url, vicidial.as_ref())?;
    let given = given.map(SecretString::from).or(in_url);
    let password_file = folder.join("source.password");
    let password = match given.clone() {
        Some(given) => given,
        None => known_or_new(&password_file)?,
    };
    let sale = given
        .as_ref()
        .map(|password| sale_flags(&answers.url, password));
    let text = configuration(options, &answers, &password_file, sale.as_ref());
    let sql = statements(&answers.url, &arguments.from_host, password.expose_secret())?;
    let sql_file = folder.join("replication-user.sql");
    let owner = machine::user(&arguments.owner);
    check(&folder, &text)?;
    write(
        &password_file,
        &format!("{}\n", password.expose_secret()),
        0o600,
        owner,
    )?;
    write(&sql_file, &sql, 0o600, None)?;
    if replaces {
        let mut old = path.clone().into_os_string();
        old.push(".old");
        std::fs::rename(&path, &old).map_err(|e| unwritable(&path, e))?;
    }
    let group = owner.map(|(_, gid)| (0, gid));
    write(&path, &text, 0o640, group)?;
    let sale = match sale {
        None => None,
        Some(Ok(sale)) => Some(sale),
        Some(Err(why)) => {
            note(&format!(
                "the database was not asked for its sale flags: {why}"
            ));
            None
        }
    };
    let report = Report {
        path: &path,
        password_file: &password_file,
        sql_file: &sql_file,
        answers: &answers,
        sale: sale.as_deref(),
        owner: arguments.owner.as_str(),
        has_owner: owner.is_some(),
        from_vicidial: vicidial.is_some(),
    };
    if options.json {
        return Ok(output::print_json(&report.json())?);
    }
    Ok(output::print(&report.text(&sql, password.expose_secret()))?)
}

/// A note for who looks on; nobody is left to tell when stderr is closed.
fn note(text: &str) {
    drop(writeln!(std::io::stderr(), "note: {text}"));
}

/// Whether there is a file to be replaced.
///
/// # Errors
/// When it has settings, and nobody said that they may go.
fn standing(path: &Path, force: bool) -> Result<bool, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(unwritable(path, e)),
    };
    // What a package brings says nothing of this installation.
    let is_comment = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if force || text == Config::example() || text.lines().all(is_comment) {
        return Ok(true);
    }
    Err(Failure::operator(
        format!("{} is there already, and has settings", path.display()),
        "--force replaces it and keeps it with .old behind its name; --config FILE writes another one",
    ))
}

/// What the options, this machine and the operator say.
fn answers(
    overrides: &Overrides,
    arguments: &Init,
    vicidial: Option<&Vicidial>,
) -> Result<(Answers, Option<SecretString>), Failure> {
    let asks = !arguments.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let environment = |name: &str| overrides.environment.get(name).cloned();
    let url = overrides
        .source_url
        .clone()
        .or_else(|| environment("DIDTAIL_SOURCE_URL"));
    let found = url.or_else(|| vicidial.and_then(address));
    let url = match (asks, found) {
        (true, found) => ask(
            "Address of VICIdial's database, mysql://USER@HOST:PORT/DATABASE",
            found.as_deref(),
        )?,
        (false, Some(found)) => found,
        (false, None) => {
            return Err(Failure::operator(
                format!(
                    "where VICIdial's database is cannot be told: {} does not say it",
                    arguments.astguiclient.display()
                ),
                "--source-url mysql://didtail@HOST:3306/asterisk",
            ));
        }
    };
    let (url, in_url) = SourceUrl::parse(&url).map_err(|what| {
        Failure::operator(
            format!("the address is none: {what}"),
            "--source-url mysql://didtail@HOST:3306/asterisk",
        )
    })?;
    let found = arguments.time_zone.clone().or_else(machine::time_zone);
    let zone = match (asks, found) {
        (true, found) => ask("Time zone of the dialers", found.as_deref())?,
        (false, Some(found)) => found,
        (false, None) => {
            return Err(Failure::operator(
                "the dialers' time zone cannot be told from this machine's clock",
                "--time-zone America/Chicago",
            ));
        }
    };
    if Zone::named(&zone).is_none() {
        return Err(Failure::operator(
            format!("`{zone}` is no time zone"),
            "an IANA name such as America/Chicago",
        ));
    }
    let found = overrides
        .start_at
        .clone()
        .or_else(|| environment("DIDTAIL_START_AT"));
    let found = found.unwrap_or_else(|| "latest".to_owned());
    let start_at = match asks {
        true => ask(
            "Count from now on (latest), or also the calls of the last days (e.g. backfill:30d)",
            Some(&found),
        )?,
        false => found,
    };
    let answers = Answers {
        url,
        zone,
        start_at,
    };
    Ok((answers, in_url))
}

/// The address that VICIdial itself uses, with didtail's own user.
fn address(vicidial: &Vicidial) -> Option<String> {
    let server = vicidial.server.as_deref()?;
    let port = vicidial.port.unwrap_or(3306);
    let database = vicidial.database.as_deref().unwrap_or("asterisk");
    let host = match server.contains(':') {
        true => format!("[{server}]"),
        false => server.to_owned(),
    };
    Some(format!("mysql://didtail@{host}:{port}/{database}"))
}

fn ask(question: &str, found: Option<&str>) -> Result<String, Failure> {
    let mut terminal = std::io::stderr();
    loop {
        match found {
            Some(found) => write!(terminal, "{question} [{found}]: ")?,
            None => write!(terminal, "{question}: ")?,
        }
        terminal.flush()?;
        let mut answer = String::new();
        if std::io::stdin().read_line(&mut answer)? == 0 {
            return Err(Failure::operator(
                "there was no answer, and nothing was written",
                "--yes takes what this machine and the options say",
            ));
        }
        match (answer.trim(), found) {
            ("", Some(found)) => return Ok(found.to_owned()),
            ("", None) => {}
            (answer, _) => return Ok(answer.to_owned()),
        }
    }
}

/// VICIdial's own account may change everything, and its password is in many files.
fn refuse_vicidials_own(url: &SourceUrl, vicidial: Option<&Vicidial>) -> Result<(), Failure> {
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
fn known_or_new(path: &Path) -> Result<SecretString, Failure> {
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
fn sale_flags(url: &SourceUrl, password: &SecretString) -> Result<Vec<String>, String> {
    let settings = crate::source::ConnectSettings {
        name: "init".to_owned(),
        host: url.host.clone(),
        port: url.port,
        user: url.user.clone(),
        password: Some(password.clone()),
        database: url.database.clone(),
        socket: url.socket.clone(),
        tls: crate::source::TlsMode::Preferred,
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
        Ok::<_, crate::source::SourceError>(statuses)
    };
    let runtime = runtime().map_err(|e| e.to_string())?;
    match runtime.block_on(async { tokio::time::timeout(PATIENCE, asking).await }) {
        Ok(found) => found.map_err(|e| e.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn configuration(
    options: &Options,
    answers: &Answers,
    password_file: &Path,
    sale: Option<&Result<Vec<String>, String>>,
) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut text = format!(
        "# Written by `didtail config init`. All keys with their meaning: didtail config example\n\n\
         [[source]]\nurl = {}\npassword_file = {}\nstart_at = {}\n\
         # The dialers' zone: it makes the days.\ntime_zone = {}\n",
        quoted(&answers.url.to_string()),
        quoted(&password_file.display().to_string()),
        quoted(&answers.start_at),
        quoted(&answers.zone),
    );
    if let Some(url) = &options.store_url {
        text.push_str(&format!("\n[store]\nurl = {}\n", quoted(url)));
    }
    if let Some(path) = &options.state {
        text.push_str(&format!("\n[state]\npath = {}\n", quoted(path)));
    }
    text.push_str("\n[dispositions]\n# The statuses that VICIdial flags as a sale");
    match sale {
        Some(Ok(sale)) if sale.is_empty() => text.push_str("; none is at present"),
        Some(Ok(sale)) => text.push_str(&format!(", at present: {}", sale.join(" "))),
        Some(Err(_)) | None => {}
    }
    text.push_str(".\n# Or a list of your own: success = [\"SALE\", \"XFER\"]\n");
    text.push_str("success = \"vicidial-sale-flag\"\n");
    text
}

/// The statements for this user, host, password and database.
fn statements(url: &SourceUrl, from_host: &str, password: &str) -> Result<String, Failure> {
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

/// What is written must be a configuration: it is read as one first.
fn check(folder: &Path, text: &str) -> Result<(), Failure> {
    let path = folder.join(format!(".didtail-init-{}.toml", std::process::id()));
    write(&path, text, 0o600, None)?;
    let overrides = Overrides {
        config: Some(path.clone()),
        without_secrets: true,
        ..Overrides::default()
    };
    let read = Config::load(&overrides);
    // It was only for that.
    drop(std::fs::remove_file(&path));
    read.map(drop).map_err(|error| {
        let file = path.display().to_string();
        Failure::operator(
            error.to_string().replace(&file, "what would be written"),
            "change the answer, or the option that says it",
        )
    })
}

/// Writes a file as a whole, which only its owner and, by its mode, its group may read.
fn write(path: &Path, text: &str, mode: u32, owner: Option<(u32, u32)>) -> Result<(), Failure> {
    let mut new = path.to_owned().into_os_string();
    new.push(".new");
    let new = PathBuf::from(new);
    let put = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // Only the administrator may give files away.
        if let Some((uid, gid)) = owner.filter(|_| file.metadata().is_ok_and(|m| m.uid() == 0)) {
            chown(&new, Some(uid), Some(gid))?;
        }
        std::fs::rename(&new, path)
    };
    put().map_err(|e| unwritable(path, e))
}

fn unwritable(path: &Path, error: std::io::Error) -> Failure {
    let hint = match error.kind() {
        ErrorKind::NotFound => "make its folder first: sudo install -d -m 750 FOLDER",
        ErrorKind::PermissionDenied => "run it with sudo, or write elsewhere: --config FILE",
        _ => "write elsewhere: --config FILE",
    };
    Failure {
        exit: Exit::Operator,
        error: anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
        hint: Some(hint.to_owned()),
    }
}

/// What was done, and what is to be done next.
struct Report<'a> {
    path: &'a Path,
    password_file: &'a Path,
    sql_file: &'a Path,
    answers: &'a Answers,
    sale: Option<&'a [String]>,
    owner: &'a str,
    has_owner: bool,
    from_vicidial: bool,
}

impl Report<'_> {
    fn next(&self) -> Vec<String> {
        let (path, sql) = (self.path.display(), self.sql_file.display());
        let is_default = self.path == Path::new(DEFAULT_PATH);
        let config = match is_default {
            true => String::new(),
            false => format!(" --config {path}"),
        };
        let user = match self.has_owner {
            true => format!("sudo -u {} ", self.owner),
            false => String::new(),
        };
        vec![
            format!("on the database server, as an administrator: mysql --force < {sql}"),
            format!("rm {sql}"),
            format!("{user}didtail doctor{config}"),
        ]
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "config": self.path,
            "password_file": self.password_file,
            "sql_file": self.sql_file,
            "source_url": self.answers.url.to_string(),
            "time_zone": self.answers.zone,
            "start_at": self.answers.start_at,
            "sale_statuses": self.sale,
            "next": self.next(),
        })
    }

    /// The statements without the password: what is on a screen is seen.
    fn text(&self, sql: &str, password: &str) -> String {
        let from = match self.from_vicidial {
            true => "address by VICIdial's own configuration",
            false => "address as it was given",
        };
        let mut text = output::pairs(&[
            ("source", format!("{} ({from})", self.answers.url)),
            ("time zone", self.answers.zone.clone()),
            ("start at", self.answers.start_at.clone()),
            ("config", self.path.display().to_string()),
            ("password", self.password_file.display().to_string()),
            ("SQL", self.sql_file.display().to_string()),
        ]);
        if let Some(sale) = self.sale {
            text.push_str(&format!(
                "VICIdial flags these statuses as a sale: {}\n",
                sale.join(" ")
            ));
        }
        if !self.has_owner {
            text.push_str(&format!(
                "There is no user `{}` here: whoever runs didtail must own {}\n",
                self.owner,
                self.password_file.display()
            ));
        }
        text.push_str("\nThe SQL file has these statements, with the password:\n\n");
        let statements = sql
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("--"));
        for line in statements {
            let shown = line.replace(&password.replace('\\', "\\\\").replace('\'', "''"), "…");
            text.push_str(&format!("  {shown}\n"));
        }
        text.push_str("\nNext:\n");
        for (number, step) in (1..).zip(self.next()) {
            text.push_str(&format!("  {number}. {step}\n"));
        }
        text
    }
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

    #[test]
    fn the_address_is_vicidials_with_a_user_of_its_own() {
        let vicidial = |server: &str| Vicidial {
            server: Some(server.to_owned()),
            user: Some("cron".to_owned()),
            ..Vicidial::default()
        };
        let told = address(&vicidial("10.0.0.9")).expect("an address");
        assert_eq!(told, "mysql://didtail@10.0.0.9:3306/asterisk");
        let told = address(&vicidial("fd00::9")).expect("an address");
        assert_eq!(url(&told).host, "fd00::9");
        assert_eq!(address(&Vicidial::default()), None);
    }
}
