//! `didtail config init`: a configuration that fits this machine.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::machine::{self, Vicidial};
use super::questions::Answers;
use super::{account, questions};
use crate::cli::failure::{Exit, Failure};
use crate::cli::{Options, output};
use crate::config::{Config, DEFAULT_PATH, Overrides, Success};
use crate::folder::folder_of;

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
/// Calls count as a success by VICIdial's own sale flags, unless you name statuses when
/// asked; a configuration without `success` takes SALE and A. Where the database can be
/// reached with the password that is given, the flagged statuses are shown.
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
    pub(super) yes: bool,

    /// Replace a configuration that is there; it is kept with .old behind its name
    #[arg(long)]
    force: bool,

    /// The dialers' time zone, an IANA name such as America/Chicago [default: this machine's]
    #[arg(long, value_name = "ZONE")]
    pub(super) time_zone: Option<String>,

    /// VICIdial's own configuration
    #[arg(long, value_name = "FILE", default_value = machine::ASTGUICLIENT)]
    pub(super) astguiclient: PathBuf,

    /// From where didtail connects, as the database server sees it; % is anywhere
    #[arg(long, value_name = "HOST", default_value = "%")]
    from_host: String,

    /// The user that didtail runs as
    #[arg(long, value_name = "USER", default_value = "didtail")]
    owner: String,
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
    let folder = folder_of(&path).to_owned();
    let replaces = standing(&path, arguments.force)?;
    let vicidial = Vicidial::read(&arguments.astguiclient);
    let given = overrides
        .environment
        .get("DIDTAIL_SOURCE_PASSWORD")
        .cloned();
    let answers = questions::answers(&overrides, arguments, vicidial.as_ref())?;
    let given = given.map(SecretString::from).or(answers.in_url.clone());
    let password_file = folder.join("source.password");
    let password = match given.clone() {
        Some(given) => given,
        None => account::known_or_new(&password_file)?,
    };
    let sale = given
        .as_ref()
        .map(|password| account::sale_flags(&answers.url, password));
    let text = configuration(options, &answers, &password_file, sale.as_ref());
    let sql = |password: &str| account::statements(&answers.url, &arguments.from_host, password);
    let (sql, shown) = (sql(password.expose_secret())?, sql("…")?);
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
        std::fs::rename(&path, free_old(&path)).map_err(|e| unwritable(&path, e))?;
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
    Ok(output::print(&report.text(&shown))?)
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

/// The first name for an old file that no other has: `.old`, `.old.2` and so on.
fn free_old(path: &Path) -> PathBuf {
    let name = |n: u32| {
        let mut old = path.to_owned().into_os_string();
        old.push(".old");
        if n > 1 {
            old.push(format!(".{n}"));
        }
        PathBuf::from(old)
    };
    let mut names = (1..).map(name);
    names.find(|old| !old.exists()).unwrap_or_else(|| name(1))
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
    text.push_str("\n[dispositions]\n");
    text.push_str(&success(&answers.success, sale));
    text
}

/// Which calls are a success, with what that means at present.
fn success(success: &Success, sale: Option<&Result<Vec<String>, String>>) -> String {
    let mut text = "# The statuses that VICIdial flags as a sale".to_owned();
    match sale {
        Some(Ok(sale)) if sale.is_empty() => text.push_str("; none is at present"),
        Some(Ok(sale)) => text.push_str(&format!(", at present: {}", sale.join(" "))),
        Some(Err(_)) | None => {}
    }
    match success {
        Success::VicidialSaleFlag => text.push_str(
            ".\n# Or a list of your own: success = [\"SALE\", \"XFER\"]\n\
             success = \"vicidial-sale-flag\"\n",
        ),
        Success::Set(statuses) => {
            let quoted = |text: &String| toml::Value::String(text.clone()).to_string();
            let statuses: Vec<String> = statuses.iter().map(quoted).collect();
            text.push_str(&format!(
                ": success = \"vicidial-sale-flag\"\nsuccess = [{}]\n",
                statuses.join(", ")
            ));
        }
    }
    text
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
            format!(
                "on the database server, as an administrator: mysql --force < {sql} \
                 (an ERROR 1146 names a table that this VICIdial does not have: nothing is wrong)"
            ),
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

    /// With the statements without the password: what is on a screen is seen.
    fn text(&self, sql: &str) -> String {
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
            text.push_str(&format!("  {line}\n"));
        }
        text.push_str("\nNext:\n");
        for (number, step) in (1..).zip(self.next()) {
            text.push_str(&format!("  {number}. {step}\n"));
        }
        text
    }
}
