//! `didtail run`: the daemon.

use clap::Args;

use super::failure::{Exit, Failure};
use super::{Options, output};

/// Follow the source and keep the numbers, until stopped
///
/// Goes on where it stopped; the first time at `start_at`. SIGTERM and Ctrl-C
/// let it finish the current transaction; a second one stops it at once.
/// Nothing is lost and nothing is counted twice, however it ends.
///
/// Examples:
///   didtail run
///   didtail run --until-caught-up --json
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Stop at the end that the binlog has now, and print a summary
    #[arg(long)]
    until_caught_up: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> Result<(), Failure> {
    let _config = options.load()?;
    // SEAM: `crate::engine::run(_config, arguments.until_caught_up, shutdown)`
    // goes here, on a runtime of `super::runtime()`; the summary is printed
    // with `output` as text or, under `options.json`, as JSON.
    let _seam = (
        arguments.until_caught_up,
        options.json,
        output::print,
        super::runtime,
    );
    Err(Failure {
        exit: Exit::Bug,
        error: anyhow::anyhow!("the engine is not wired yet"),
        hint: None,
    })
}
