//! `didtail support-bundle`: what somebody else needs to see, and nothing more.
//!
//! One text file, not an archive: whoever sends it can read all of it first.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use rustix::process::geteuid;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::{Options, doctor, output, status, time};
use crate::config::{Config, Overrides};
use crate::state::StateFile;

/// Newest warnings and errors of the journal.
const WARNINGS_MAX: &str = "100";

/// Entries of the checkpoint's history.
const HISTORY_MAX: u32 = 20;

/// Quarantined rows that are told of; the reasons repeat themselves.
const ASIDE_MAX: u32 = 20;

/// Fewest digits that may be somebody's phone number.
const PHONE_DIGITS_MIN: usize = 7;

/// Write one file that tells somebody else how this didtail is doing
///
/// Text, to be read before it is sent. In it are the versions of didtail and of this
/// machine's system, the configuration in force, what `doctor` and `status` say, the
/// positions, the quarantined rows with the reasons, and the newest warnings of the
/// journal. Not in it are passwords, database users, phone numbers, calls, or the bytes
/// of any row: numbers that could be somebody's are replaced by [number].
///
/// Only root may read the journal, so run it with sudo.
///
/// Changes nothing; the daemon may run. Works as far as it can when the database or
/// the store cannot be reached, or the configuration is wrong.
///
/// Examples:
///   sudo didtail support-bundle
///   sudo didtail support-bundle --out /tmp/didtail-support.txt
///   didtail support-bundle --out -
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// The file, which must not be there yet; - writes to stdout [default:
    /// didtail-support-TIME.txt in this folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A part of the file.
struct Section {
    title: &'static str,
    text: String,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> Result<(), Failure> {
    let (config, unusable) = match options.load() {
        Ok(config) => (Some(config), None),
        // Whoever looks may not be allowed to read the password.
        Err(failure) => (options.load_alone().ok(), Some(failure)),
    };
    let mut sections = vec![Section {
        title: "versions",
        text: versions(),
    }];
    let mut add = |title, text: String| sections.push(Section { title, text });
    add("configuration", configuration(options));
    if let Some(config) = &config {
        let doctor = match unusable {
            Some(failure) => failure.text(),
            None => told(doctor::report(config).map_err(Failure::from)),
        };
        add("doctor", doctor);
        add("status", told(status::report(config)));
        add("positions", positions(config));
        add("quarantined rows", set_aside(config));
    }
    add("journal", journal());
    for section in &mut sections {
        section.text = scrubbed(&section.text);
    }
    let mut text = format!(
        "didtail support bundle, {}\nIn it: {}\n",
        time::format(time::now()),
        titles(&sections)
    );
    for section in &sections {
        // Writing to a text cannot fail.
        let _infallible = write!(
            text,
            "\n==== {} ====\n\n{}\n",
            section.title,
            section.text.trim_end()
        );
    }
    let path = match &arguments.out {
        Some(path) if path.as_os_str() == "-" => return Ok(output::print(&text)?),
        Some(path) => path.clone(),
        None => {
            let at = time::format(time::now()).replace([':', '-'], "");
            PathBuf::from(format!("didtail-support-{at}.txt"))
        }
    };
    write_new(&path, &text)?;
    if options.json {
        let titles: Vec<&str> = sections.iter().map(|section| section.title).collect();
        return Ok(output::print_json(&json!({
            "file": path,
            "bytes": text.len(),
            "sections": titles,
        }))?);
    }
    Ok(output::print(&format!(
        "{} has {}.\nPasswords, database users, phone numbers and rows are not in it. Read it before you send it.\n",
        path.display(),
        titles(&sections)
    ))?)
}

fn titles(sections: &[Section]) -> String {
    let titles: Vec<&str> = sections.iter().map(|section| section.title).collect();
    titles.join(", ")
}

/// A section, or why there is none.
fn told(made: Result<String, Failure>) -> String {
    made.unwrap_or_else(|failure| failure.text())
}

fn versions() -> String {
    let first_line = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().next().unwrap_or("not known").to_owned()
    };
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let release = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or("not known")
        .trim_matches('"');
    output::pairs(&[
        ("didtail", env!("CARGO_PKG_VERSION").to_owned()),
        ("system", release.to_owned()),
        ("kernel", first_line("/proc/sys/kernel/osrelease")),
        ("machine", std::env::consts::ARCH.to_owned()),
        ("load", first_line("/proc/loadavg")),
    ])
}

/// What is in force and who set it, passwords masked.
fn configuration(options: &Options) -> String {
    let overrides = Overrides {
        without_secrets: true,
        ..options.overrides()
    };
    match Config::load_explained(&overrides) {
        Ok((config, values)) => {
            let rows: Vec<[String; 3]> = values
                .into_iter()
                .map(|value| [value.key, value.value, value.origin.to_string()])
                .collect();
            let mut text = output::table(["key", "value", "set by"], &rows);
            for warning in &config.warnings {
                text.push_str(&format!("warning: {warning}\n"));
            }
            text
        }
        Err(error) => Failure::from(error).text(),
    }
}

fn positions(config: &Config) -> String {
    let read = || -> Result<String, Failure> {
        let state = StateFile::open(&config.state.path)?;
        let mut rows = Vec::new();
        for source in &config.sources {
            for entry in state.history(&source.name, HISTORY_MAX)? {
                rows.push([
                    source.name.clone(),
                    time::format(entry.saved_at),
                    entry.checkpoint.epoch.to_string(),
                    entry.checkpoint.position.to_string(),
                    entry.checkpoint.gtid.to_string(),
                    entry.reason,
                ]);
            }
        }
        let header = ["source", "saved at", "epoch", "position", "gtid", "reason"];
        Ok(output::table(header, &rows))
    };
    told(read())
}

/// Where rows were quarantined and why; of the rows themselves nothing.
fn set_aside(config: &Config) -> String {
    let read = || -> Result<String, Failure> {
        let state = StateFile::open(&config.state.path)?;
        let rows: Vec<[String; 4]> = state
            .set_aside(0, ASIDE_MAX)?
            .into_iter()
            .map(|kept| {
                [
                    kept.source,
                    kept.row.table,
                    kept.row.position.to_string(),
                    kept.row.reason,
                ]
            })
            .collect();
        if rows.is_empty() {
            return Ok("none\n".to_owned());
        }
        Ok(output::table(
            ["source", "table", "position", "reason"],
            &rows,
        ))
    };
    told(read())
}

/// The newest warnings and errors of the service, as the journal has their priorities.
fn journal() -> String {
    let asked = Command::new("journalctl")
        .args([
            "-u",
            "didtail",
            "--no-pager",
            "-o",
            "short-iso",
            "-p",
            "warning",
            "-n",
            WARNINGS_MAX,
        ])
        .output();
    let Ok(asked) = asked else {
        return "this machine has no journal\n".to_owned();
    };
    // It then says so, and shows of this user's own processes what there is.
    let is_kept_from = !geteuid().is_root() && !asked.stderr.is_empty();
    let text = String::from_utf8_lossy(&asked.stdout);
    // It says in such a line that it has none.
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with("-- ")).collect();
    if lines.is_empty() && is_kept_from {
        return "this user may not read the journal; root may: sudo didtail support-bundle\n"
            .to_owned();
    }
    if lines.is_empty() {
        return "no warning of the unit `didtail`\n".to_owned();
    }
    lines.join("\n") + "\n"
}

/// Takes out what is nobody else's business: users in addresses and accounts, and
/// digits that may be a phone number. Places in a binlog, GTIDs and times stay.
fn scrubbed(text: &str) -> String {
    let text = without_users(text, "'", "'@'");
    let text = without_users(&text, "://", "@");
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.as_str();
    let mut before = ' ';
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (head, digits_on) = rest.split_at(start);
        clean.push_str(head);
        before = head.chars().next_back().unwrap_or(before);
        let end = digits_on.find(|c: char| !c.is_ascii_digit());
        let (digits, tail) = digits_on.split_at(end.unwrap_or(digits_on.len()));
        // `binlog.000012:4711`, `0-1-4711`, a size in an expression, a hash.
        let is_part = ":.-/_".contains(before) || before.is_ascii_alphabetic();
        let goes_on = tail.starts_with(|c: char| c.is_ascii_alphabetic() || c == '-' || c == ':');
        if digits.len() >= PHONE_DIGITS_MIN && !is_part && !goes_on {
            clean.push_str("[number]");
        } else {
            clean.push_str(digits);
        }
        before = digits.chars().next_back().unwrap_or(before);
        rest = tail;
    }
    clean.push_str(rest);
    clean
}

/// Takes out what stands between these two, where that is one word: `'USER'@'HOST'`, and
/// `mysql://USER@HOST`. Also of a configuration that was in force before.
fn without_users(text: &str, begin: &str, end: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((head, behind)) = rest.split_once(end) {
        match head.rsplit_once(begin) {
            Some((before, user)) if !user.contains(char::is_whitespace) => {
                clean.push_str(before);
                clean.push_str(begin);
                clean.push_str("[user]");
            }
            _ => clean.push_str(head),
        }
        clean.push_str(end);
        rest = behind;
    }
    clean.push_str(rest);
    clean
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let put = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())
    };
    let written = put();
    let kind = written.as_ref().err().map(std::io::Error::kind);
    let hint = match kind {
        Some(ErrorKind::PermissionDenied) => "this user may not write there: --out \
             /tmp/didtail-support.txt names a file where everybody may; - is stdout"
            .to_owned(),
        _ => "--out names another file, one that is not there yet; - is stdout".to_owned(),
    };
    written.map_err(|error: std::io::Error| Failure {
        exit: Exit::Operator,
        error: anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
        hint: Some(hint),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_phone_number_is_taken_out_and_places_stay() {
        for (text, expected) in [
            ("`13125550100` is no DID", "`[number]` is no DID"),
            ("calls +13125550100, 5550100", "calls +[number], [number]"),
            ("(312) 5550100 x", "(312) [number] x"),
            ("phone=3125550100", "phone=[number]"),
            ("mysql-bin.000012:104857600", "mysql-bin.000012:104857600"),
            ("0-1-2480471234,1-2-99", "0-1-2480471234,1-2-99"),
            ("2026-11-22T20:11:02Z", "2026-11-22T20:11:02Z"),
            ("uniqueid 1795368111.5000363", "uniqueid [number].5000363"),
            (
                "server 3e11fa47-71ca-11e1-9e33-c80aa9429562:23",
                "server 3e11fa47-71ca-11e1-9e33-c80aa9429562:23",
            ),
            ("500 calls, 120000 dials", "500 calls, 120000 dials"),
        ] {
            assert_eq!(scrubbed(text), expected);
        }
    }

    #[test]
    fn database_users_are_taken_out() {
        let text = "url mysql://reader@db:3306/asterisk; GRANT SELECT ON x TO 'reader'@'%';";
        assert_eq!(
            scrubbed(text),
            "url mysql://[user]@db:3306/asterisk; GRANT SELECT ON x TO '[user]'@'%';"
        );
        for plain in [
            "see https://x.example/a and mail a@b",
            "it's 5 o'clock'@'x y",
        ] {
            let expected = plain.replace("o'clock'@'", "o'[user]'@'");
            assert_eq!(scrubbed(plain), expected);
        }
    }
}
