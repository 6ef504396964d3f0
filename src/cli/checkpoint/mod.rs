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
use crate::state::{StateError, StateFile};

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
        let mut pairs = vec![("source", name)];
        match &checkpoint {
            Some(checkpoint) => pairs.extend(checkpoint_pairs(checkpoint)),
            None => pairs.push(("position", "none yet".to_owned())),
        }
        pairs.push(("quarantined rows", quarantined.to_string()));
        let daemon = holder.map_or("not running".to_owned(), |pid| format!("process {pid}"));
        pairs.push(("daemon", daemon));
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&output::pairs(&pairs));
    }
    if options.json {
        return Ok(output::print_json(&Value::Array(documents))?);
    }
    Ok(output::print(&text)?)
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
            rows.push([
                entry.id.to_string(),
                name.clone(),
                time::format(entry.saved_at),
                entry.checkpoint.position.to_string(),
                entry.checkpoint.gtid.to_string(),
                entry.reason,
            ]);
        }
    }
    if options.json {
        return Ok(output::print_json(&Value::Array(documents))?);
    }
    let header = ["id", "source", "saved at", "position", "gtid", "reason"];
    Ok(output::print(&output::table(header, &rows))?)
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
        pairs.push(("server", server.clone()));
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
