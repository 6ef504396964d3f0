//! `didtail config`: what is configured, and what could be.

mod account;
mod init;
mod machine;
mod questions;

use clap::Subcommand;
use serde_json::json;

use super::failure::Failure;
use super::{Options, output};
use crate::config::Config;

/// Write a configuration, check it, or print a commented one
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check everything and print each value with where it was set
    ///
    /// All problems are reported at once, and the exit code is 1. Passwords are
    /// not shown.
    Check,
    /// Print a configuration file with every key explained
    Example,
    Init(init::Init),
}

pub(super) fn run(options: &Options, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Check => check(options),
        Command::Init(arguments) => init::run(options, arguments),
        Command::Example => Ok(output::print(Config::example())?),
    }
}

fn check(options: &Options) -> Result<(), Failure> {
    let (config, values) = Config::load_explained(&options.overrides())?;
    let exposed = config.exposed_files.iter().map(|path| {
        format!(
            "every user of this machine may read or change {0}: chown root:didtail {0} && \
             chmod 0640 {0}",
            path.display()
        )
    });
    let warnings: Vec<String> = config.warnings.iter().cloned().chain(exposed).collect();
    if options.json {
        let values: Vec<_> = values
            .iter()
            .map(|value| {
                json!({
                    "key": value.key,
                    "value": value.value,
                    "set_by": value.origin.to_string(),
                })
            })
            .collect();
        let document = json!({ "valid": true, "warnings": warnings, "values": values });
        return Ok(output::print_json(&document)?);
    }
    let rows: Vec<[String; 3]> = values
        .into_iter()
        .map(|value| [value.key, value.value, value.origin.to_string()])
        .collect();
    let mut text = output::table(["key", "value", "set by"], &rows);
    for warning in &warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text.push_str("The configuration is valid.\n");
    Ok(output::print(&text)?)
}
