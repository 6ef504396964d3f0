//! Writes realistic VICIdial traffic into a database made for it, and says what
//! a reader of its binlog must find. For the demo and the live tests.

#![expect(unreachable_pub, reason = "a program has no interface to keep small")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "it speaks to its user, and its calls happen now"
)]

mod clock;
mod database;
mod dial;
mod noise;
mod random;
mod script;
mod session;
mod stories;
mod traffic;
mod truth;
mod upkeep;
mod world;

use clap::{Parser, Subcommand};

/// Writes realistic VICIdial traffic into a database made for it
#[derive(Parser)]
#[command(name = "didtail-simulator", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the database, its tables and its statuses
    Init(database::Init),
    /// Write calls
    Run(traffic::Run),
    /// Archive old calls as VICIdial's nightly job does
    Archive(upkeep::Archive),
    /// Add many old calls, for archiving them
    Bulk(database::Bulk),
    /// Ask the database what the statistics must be, and write them as JSON
    Truth(truth::Truth),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Init(args) => database::init(args).await,
        Command::Run(args) => traffic::run(args).await,
        Command::Archive(args) => upkeep::run_archive(args).await,
        Command::Bulk(args) => database::bulk(args).await,
        Command::Truth(args) => truth::write(args).await,
    }
}

/// The present in UNIX seconds, or the one that was asked for.
fn now(epoch: Option<i64>) -> i64 {
    epoch.unwrap_or_else(|| jiff::Timestamp::now().as_second())
}
