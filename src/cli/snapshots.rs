//! The help of every command, its tables and what is said of bad input, as they were
//! last agreed on: they are the manual, and a change of them should be seen.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test --lib cli::snapshots` writes them anew.

use std::path::Path;

use clap::CommandFactory as _;

use super::failure::Failure;
use super::screen::tests::on_each;
use super::{Cli, api_key, dids, quarantine};
use crate::config::{Config, Overrides};
use crate::state::{QuarantinedRow, SetAside};
use crate::store::{ApiKeyRecord, DidRecord};

/// Characters of a line, whatever terminal the test has.
const WIDTH: usize = 100;

/// Compares a text with a file of `tests/snapshots`.
pub(super) fn assert_snapshot(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/snapshots")
        .join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, text).expect("a snapshot");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let lines = expected.lines().zip(text.lines());
    let first = lines.enumerate().find(|(_, (then, now))| then != now);
    assert!(
        expected == text,
        "{name} is another one; the first line that differs: {first:?}. If it should be so: \
         UPDATE_SNAPSHOTS=1 cargo test --lib cli::"
    );
}

#[test]
fn help_is_as_agreed_on() {
    let mut command = Cli::command().term_width(WIDTH).disable_version_flag(true);
    command.build();
    let mut text = String::new();
    add(&mut command, &mut text);
    assert_snapshot("help.txt", &text);
}

fn add(command: &mut clap::Command, text: &mut String) {
    let name = command
        .get_bin_name()
        .unwrap_or(command.get_name())
        .to_owned();
    text.push_str(&format!("==== {name} --help ====\n\n"));
    // The options of every command are shown once, with didtail itself.
    let is_first = name == "didtail";
    let own = command.clone().mut_args(|argument| {
        let repeated = argument.is_global_set() && !is_first;
        argument.hide(repeated)
    });
    let mut own = own.term_width(WIDTH);
    let help = own.render_long_help().to_string();
    for line in help.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push('\n');
    for child in command.get_subcommands_mut() {
        if child.get_name() != "help" {
            add(child, text);
        }
    }
}

/// 2026-03-01T08:00:00Z.
const AT: i64 = 1_772_352_000;

#[test]
fn tables_are_as_agreed_on() {
    let did = |number: &str, status: &str, total_calls| DidRecord {
        tenant: "default".to_owned(),
        phone_number: number.to_owned(),
        status: status.to_owned(),
        origin: "imported".to_owned(),
        created_at: AT,
        dials: total_calls + 12,
        total_calls,
    };
    let key = |id, label: &str, revoked_at| ApiKeyRecord {
        id,
        tenant: "default".to_owned(),
        label: label.to_owned(),
        created_at: AT,
        last_used_at: revoked_at,
        revoked_at,
    };
    let row = |id, table: &str, reason: &str| SetAside {
        id,
        source: "main".to_owned(),
        saved_at: AT,
        row: QuarantinedRow {
            position: "mysql-bin.000012:4711".parse().expect("a position"),
            row_index: 0,
            event_time: AT - 60,
            table: table.to_owned(),
            reason: reason.to_owned(),
            event_code: 23,
            body: vec![1, 2, 3],
            table_map: vec![4],
        },
    };
    let rows = [
        row(
            3,
            "vicidial_log",
            "the table was altered more than once since",
        ),
        row(4, "", "the bitmap of columns is malformed"),
    ];
    let dids = on_each("didtail dids list", || {
        dids::table(vec![
            did("+12125550100", "active", 4711),
            did("+13125550101", "resting", 0),
        ])
    });
    let keys = on_each("didtail api-key list", || {
        api_key::table(vec![
            key(1, "dialplan", None),
            key(2, "reports", Some(AT + 9)),
        ])
    });
    let quarantine = on_each("didtail quarantine list", || quarantine::table(&rows));
    assert_snapshot("tables.txt", &(dids + &keys + &quarantine));
}

/// What people type, and what they write into the configuration.
#[test]
fn what_is_said_of_bad_input_is_as_agreed_on() {
    let mut text = String::new();
    for line in [
        "didtail",
        "didtail sing",
        "didtail staus",
        "didtail -v -q run",
        "didtail checkpoint reset",
        "didtail checkpoint reset --to sideways",
        "didtail checkpoint reset --to 2026-03-01",
        "didtail backfill --since 999999w",
        "didtail stats --by week",
        "didtail stats --limit -1",
        "didtail quarantine retry",
        "didtail quarantine discard 3 --all",
        "didtail quarantine show three",
        "didtail dids import",
        "didtail api-key create",
        "didtail completions cmd.exe",
    ] {
        let command = Cli::command().term_width(WIDTH);
        let said = command
            .try_get_matches_from(line.split(' '))
            .expect_err(line);
        text.push_str(&format!("==== {line} ====\n\n{said}\n"));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("didtail.toml");
    const URL: &str = "[[source]]\nurl = \"mysql://didtail@db/asterisk\"\n";
    for (name, config) in [
        ("nothing", String::new()),
        ("no TOML", "[[source]\nurl = 1\n".to_owned()),
        ("an unknown key", format!("{URL}tsl = \"required\"\n")),
        ("no address", "[[source]]\nurl = \"db\"\n".to_owned()),
        (
            "two wrong values",
            format!("{URL}tls = \"on\"\nstart_at = \"now\"\n"),
        ),
        ("a wrong zone", format!("{URL}time_zone = \"Chicago\"\n")),
        (
            "a wrong store",
            format!("{URL}[store]\nurl = \"oracle://db\"\n"),
        ),
        (
            "a missing password",
            format!("{URL}password_file = \"/no/such/file\"\n"),
        ),
    ] {
        std::fs::write(&file, &config).expect("a file");
        let overrides = Overrides {
            config: Some(file.clone()),
            ..Overrides::default()
        };
        let said = Failure::from(Config::load(&overrides).expect_err(name)).text();
        let said = said.replace(&folder.path().display().to_string(), "/etc/didtail");
        text.push_str(&format!(
            "==== a configuration with {name} ====\n\n{said}\n"
        ));
    }
    assert_snapshot("errors.txt", &text);
}
