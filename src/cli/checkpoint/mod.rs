//! `didtail checkpoint`: where the source's binlog was left, and how to go elsewhere.

mod plan;
mod reset;
mod target;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::failure::Failure;
use super::{Options, output, time};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::state::{HistoryEntry, StateError, StateFile};

/// Show or move the position in VICIdial's binlog
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show where each source is, and whether the daemon runs
    Show,
    History(History),
    Reset(reset::Arguments),
}

/// Show earlier positions, the newest first
#[derive(Args, Debug)]
pub(super) struct History {
    /// Number of entries
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    limit: u32,
}

pub(super) fn run(options: &Options, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Show => show(options, &options.load_alone()?),
        Command::History(arguments) => history(options, &options.load_alone()?, arguments),
        Command::Reset(arguments) => reset::run(options, &options.load()?, arguments),
    }
}

fn show(options: &Options, config: &Config) -> Result<(), Failure> {
    let state = StateFile::open(&config.state.path)?;
    let holder = StateFile::holder(&config.state.path).flatten();
    let mut documents = Vec::new();
    let mut text = String::new();
    for name in names(config, &state)? {
        let checkpoint = state.checkpoint(&name)?;
        let quarantined = state.quarantine_count(&name)?;
        let mut document = match &checkpoint {
            Some(checkpoint) => describe(checkpoint),
            None => json!({}),
        };
        document["source"] = json!(name);
        document["quarantined_rows"] = json!(quarantined);
        document["held_by_pid"] = json!(holder);
        documents.push(document);
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&shown(name, checkpoint.as_ref(), quarantined, holder));
    }
    if options.json {
        return Ok(output::print_json(&Value::Array(documents))?);
    }
    Ok(output::print(&text)?)
}

/// Where one source is, for people.
fn shown(
    name: String,
    checkpoint: Option<&Checkpoint>,
    quarantined: u64,
    holder: Option<u32>,
) -> String {
    let mut pairs = vec![("source", name)];
    match checkpoint {
        Some(checkpoint) => pairs.extend(checkpoint_pairs(checkpoint)),
        None => pairs.push(("position", "none yet".to_owned())),
    }
    pairs.push(("quarantined rows", quarantined.to_string()));
    let daemon = holder.map_or("not running".to_owned(), |pid| format!("process {pid}"));
    pairs.push(("daemon", daemon));
    output::pairs(&pairs)
}

fn history(options: &Options, config: &Config, arguments: &History) -> Result<(), Failure> {
    let state = StateFile::open(&config.state.path)?;
    let mut documents = Vec::new();
    let mut rows = Vec::new();
    for name in names(config, &state)? {
        for entry in state.history(&name, arguments.limit)? {
            let mut document = describe(&entry.checkpoint);
            document["source"] = json!(name);
            document["id"] = json!(entry.id);
            document["reason"] = json!(entry.reason);
            document["saved_at"] = json!(time::format(entry.saved_at));
            documents.push(document);
            rows.push(line(&name, entry));
        }
    }
    if options.json {
        return Ok(output::print_json(&Value::Array(documents))?);
    }
    Ok(output::print(&output::table(HISTORY, &rows))?)
}

/// The columns of the history, for people.
const HISTORY: [&str; 6] = ["id", "source", "saved at", "position", "gtid", "reason"];

fn line(source: &str, entry: HistoryEntry) -> [String; 6] {
    [
        entry.id.to_string(),
        source.to_owned(),
        time::format(entry.saved_at),
        entry.checkpoint.position.to_string(),
        entry.checkpoint.gtid.to_string(),
        entry.reason,
    ]
}

/// The configured sources, then others that the file knows.
fn names(config: &Config, state: &StateFile) -> Result<Vec<String>, StateError> {
    let mut names: Vec<String> = config.sources.iter().map(|s| s.name.clone()).collect();
    for name in state.sources()? {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// A checkpoint for programs.
fn describe(checkpoint: &Checkpoint) -> Value {
    json!({
        "server": checkpoint.server,
        "position": checkpoint.position.to_string(),
        "gtid": checkpoint.gtid.to_string(),
        "epoch": checkpoint.epoch,
        "event_time": checkpoint.event_time.map(time::format),
    })
}

/// A checkpoint for people.
fn checkpoint_pairs(checkpoint: &Checkpoint) -> Vec<(&'static str, String)> {
    let mut pairs = Vec::new();
    if let Some(server) = &checkpoint.server {
        // Not its name: what tells it from every other, where positions are compared.
        pairs.push(("server fingerprint", server.clone()));
    }
    pairs.push(("position", checkpoint.position.to_string()));
    if !checkpoint.gtid.is_empty() {
        pairs.push(("gtid", checkpoint.gtid.to_string()));
    }
    if let Some(event_time) = checkpoint.event_time {
        pairs.push(("event time", time::format(event_time)));
    }
    pairs.push(("epoch", checkpoint.epoch.to_string()));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::tests::on_each;
    use crate::cli::snapshots::assert_snapshot;

    #[test]
    fn positions_are_shown_as_agreed_on() {
        let at = |position: &str| Checkpoint {
            epoch: 3,
            server: Some("1:8d3f0c1e".to_owned()),
            file_begun: None,
            position: position.parse().expect("a position"),
            gtid: "0-1-248047".parse().expect("a GTID"),
            event_time: Some(1_772_352_000),
            revision: 0,
        };
        let entry = |id, position: &str, reason: &str| HistoryEntry {
            id,
            checkpoint: at(position),
            reason: reason.to_owned(),
            saved_at: 1_772_352_060,
        };
        let show = on_each("didtail checkpoint show", || {
            let known = at("mysql-bin.000012:4711");
            let known = shown("main".to_owned(), Some(&known), 2, Some(8745));
            format!("{known}\n{}", shown("west".to_owned(), None, 0, None))
        });
        let history = on_each("didtail checkpoint history", || {
            let rows = [
                entry(7, "mysql-bin.000012:4711", "checkpoint reset"),
                entry(6, "mysql-bin.000011:1073741999", "hourly"),
            ];
            output::table(HISTORY, &rows.map(|entry| line("main", entry)))
        });
        let back = plan::tests::back();
        let back = on_each("didtail checkpoint reset, back", || back.text());
        let forward = plan::tests::forward();
        let forward = on_each("didtail checkpoint reset, the source is away", || {
            forward.text()
        });
        assert_snapshot("checkpoint.txt", &(show + &history + &back + &forward));
    }
}
