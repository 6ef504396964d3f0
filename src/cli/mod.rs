//! The commands. Their help texts are the manual: `didtail man` is made of them.
//!
//! Results go to stdout, everything else to stderr. Imported by nobody but `main.rs`.

mod api_key;
mod ask;
mod backfill;
mod bar;
mod checkpoint;
mod config;
mod dids;
mod distance;
mod doctor;
mod explain;
mod failure;
mod output;
mod quarantine;
mod recount;
mod reload;
mod replay;
mod run;
mod screen;
mod serve;
mod service;
mod shell;
mod skipped;
mod stats;
mod status;
mod store;
mod support_bundle;
mod time;
mod verify;

#[cfg(test)]
mod snapshots;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Overrides, SourceConfig};
use crate::telemetry;
use failure::Failure;

/// Tails the binlog of a VICIdial database and keeps per-DID call statistics.
///
/// didtail works out what happened to every outbound call and which DID
/// (caller ID) it used, and keeps the numbers in a store of its own. It only
/// reads from VICIdial.
#[derive(Debug, Parser)]
#[command(
    name = "didtail",
    version,
    after_help = "Exit codes: 0 done, 1 configuration or operator error, 2 usage, 3 source, \
                  4 store, 5 differences found, 70 bug.",
    after_long_help = "\
Every key of the configuration can also be set in the environment, as
DIDTAIL_<SECTION>__<KEY>, e.g. DIDTAIL_LOG__LEVEL=debug. Options win over the
environment, the environment over the file, the file over the defaults.
Times are RFC 3339 (2026-03-01T08:00:00-06:00) or ago (90s, 15m, 24h, 7d, 2w).

Exit codes: 0 done, 1 configuration or operator error, 2 usage, 3 source,
4 store, 5 differences found, 70 bug.

Examples:
  didtail config init
  didtail config check
  didtail doctor
  didtail run
  didtail status
  didtail stats --watch
  didtail explain +13125550100
  didtail backfill --since 30d
  didtail verify --since 7d
  didtail checkpoint show
  didtail checkpoint reset --to 24h --dry-run"
)]
pub struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of every command")]
struct Options {
    /// Configuration file [env: DIDTAIL_CONFIG] [default: /etc/didtail/didtail.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// VICIdial database, mysql://USER@HOST:3306/DATABASE [env: DIDTAIL_SOURCE_URL]
    ///
    /// A password in it can be read by every user of the machine: give it by
    /// password_file or DIDTAIL_SOURCE_PASSWORD instead.
    #[arg(long, global = true, value_name = "URL")]
    source_url: Option<String>,

    /// Only this [[source]] of the configuration, where it has several
    #[arg(long, global = true, value_name = "NAME")]
    source: Option<String>,

    /// Store of the numbers: sqlite:///PATH, postgres://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE [env: DIDTAIL_STORE_URL]
    ///
    /// On a server a password in it can be read by every user of the machine: give
    /// it by password_file or DIDTAIL_STORE_PASSWORD instead. TLS: ?sslmode=verify-full
    /// (PostgreSQL), ?ssl-mode=VERIFY_IDENTITY (MySQL, MariaDB).
    #[arg(long, global = true, value_name = "URL")]
    store_url: Option<String>,

    /// Local state file [env: DIDTAIL_STATE]
    #[arg(long, global = true, value_name = "PATH")]
    state: Option<String>,

    /// Where to begin with an unknown source: latest, earliest or backfill:30d [env: DIDTAIL_START_AT]
    #[arg(long, global = true, value_name = "WHERE")]
    start_at: Option<String>,

    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    json: bool,

    /// Log more: -v debug, -vv trace
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    /// Log less: -q warnings and errors, -qq errors only
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "verbose")]
    quiet: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Serve(serve::Arguments),
    Doctor(doctor::Arguments),
    Status(status::Arguments),
    Stats(stats::StatsArgs),
    Explain(explain::Arguments),
    Backfill(backfill::Arguments),
    Verify(verify::Arguments),
    Recount(recount::Arguments),
    Replay(replay::Arguments),
    /// Show or move the position in VICIdial's binlog
    #[command(subcommand)]
    Checkpoint(checkpoint::Command),
    /// Look at rows that could not be understood, try them again, or give them up
    #[command(subcommand)]
    Quarantine(quarantine::Command),
    /// List the DIDs, import or export them as CSV
    #[command(subcommand)]
    Dids(dids::Command),
    /// Make, list and revoke keys of the HTTP API
    #[command(subcommand)]
    ApiKey(api_key::Command),
    /// The schema of the optimizer store
    #[command(subcommand)]
    Store(store::Command),
    /// Write a configuration, check it, or print a commented one
    #[command(subcommand)]
    Config(config::Command),
    SupportBundle(support_bundle::Arguments),
    Completions(shell::Completions),
    Man(shell::Manual),
}

impl Options {
    fn overrides(&self) -> Overrides {
        let level = match (self.verbose, self.quiet) {
            (0, 0) => None,
            (0, 1) => Some("warn"),
            (0, _) => Some("error"),
            (1, _) => Some("debug"),
            (_, _) => Some("trace"),
        };
        Overrides {
            config: self.config.clone(),
            source_url: self.source_url.clone(),
            store_url: self.store_url.clone(),
            state: self.state.clone(),
            start_at: self.start_at.clone(),
            log_level: level.map(str::to_owned),
            without_secrets: false,
            only_serves: false,
            environment: Overrides::process_environment(),
        }
    }

    /// Loads the configuration and begins to log as it says.
    fn load(&self) -> Result<Config, Failure> {
        self.begin(Config::load(&self.overrides())?)
    }

    /// As [`Options::load`], for commands that do without the source: they need
    /// no password, and whoever looks may not be allowed to read it.
    fn load_alone(&self) -> Result<Config, Failure> {
        let overrides = Overrides {
            without_secrets: true,
            ..self.overrides()
        };
        self.begin(Config::load(&overrides)?)
    }

    /// For who only serves the store: no source is connected to, and none need be named.
    fn overrides_of_serving(&self) -> Overrides {
        Overrides {
            only_serves: true,
            ..self.overrides()
        }
    }

    fn begin(&self, mut config: Config) -> Result<Config, Failure> {
        if let Some(name) = &self.source {
            let names = names(&config);
            config.sources.retain(|source| source.name == *name);
            if config.sources.is_empty() {
                return Err(Failure::operator(
                    format!("no [[source]] is named `{name}`"),
                    format!("the configuration has: {names}"),
                ));
            }
        }
        telemetry::init(&config.log)?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        Ok(config)
    }
}

/// The source that a command for one source is about.
fn only_source(config: &Config) -> Result<&SourceConfig, Failure> {
    match config.sources.as_slice() {
        [source] => Ok(source),
        all => Err(Failure::operator(
            format!("there are {} sources, and this is for one", all.len()),
            format!("say which one with --source: {}", names(config)),
        )),
    }
}

/// The tenant that a command is about: the one that was named, or the only one.
fn tenant<'a>(config: &'a Config, named: Option<&'a str>) -> Result<&'a str, Failure> {
    let tenants = tenants(config);
    match (named, tenants.as_slice()) {
        (Some(named), known) if known.contains(&named) => Ok(named),
        (Some(named), known) => Err(Failure::operator(
            format!("no [[source]] has the tenant `{named}`"),
            format!("the configuration has: {}", known.join(", ")),
        )),
        (None, [only]) => Ok(only),
        (None, known) => Err(Failure::operator(
            format!("there are {} tenants, and this is for one", known.len()),
            format!("say which one with --tenant: {}", known.join(", ")),
        )),
    }
}

/// The tenants of the configured sources, each once.
fn tenants(config: &Config) -> Vec<&str> {
    let all = config.sources.iter().map(|source| source.tenant.as_str());
    let all: BTreeSet<&str> = all.collect();
    all.into_iter().collect()
}

fn names(config: &Config) -> String {
    let names: Vec<&str> = config.sources.iter().map(|s| s.name.as_str()).collect();
    names.join(", ")
}

/// Parses the command line, does what it says and tells how it went.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.options.json;
    match cli.dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            service::failed(&format!("error: {}", failure.error));
            telemetry::last_words(&if json { failure.json() } else { failure.text() });
            failure.exit.into()
        }
    }
}

/// A runtime for commands that talk to the source or the store.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Says on stderr that didtail has a bug, after a panic said where.
#[must_use]
pub fn report_bug() -> ExitCode {
    let text = "error: didtail stopped because of a bug in it\n\
                hint: nothing is lost: it goes on from its last commit when it is started again. \
                Please report the message above with the output of `didtail --version`\n";
    telemetry::last_words(text);
    failure::Exit::Bug.into()
}

impl Cli {
    fn dispatch(self) -> Result<(), Failure> {
        let options = &self.options;
        match self.command {
            Command::Run(arguments) => run::run(options, &arguments),
            Command::Serve(arguments) => serve::run(options, &arguments),
            Command::Doctor(arguments) => doctor::run(options, &arguments),
            Command::Status(arguments) => status::run(options, &arguments),
            Command::Stats(arguments) => {
                let config = options.load_alone()?;
                let shown = stats::run(&config, &arguments, options.json);
                runtime()?.block_on(shown)
            }
            Command::Explain(arguments) => explain::run(options, &arguments),
            Command::Backfill(arguments) => backfill::run(options, &arguments),
            Command::Verify(arguments) => verify::run(options, &arguments),
            Command::Recount(arguments) => recount::run(options, &arguments),
            Command::Replay(arguments) => replay::run(options, &arguments),
            Command::Checkpoint(command) => checkpoint::run(options, &command),
            Command::Quarantine(command) => quarantine::run(options, &command),
            Command::Dids(command) => dids::run(options, &command),
            Command::ApiKey(command) => api_key::run(options, &command),
            Command::Store(command) => store::run(options, &command),
            Command::Config(command) => config::run(options, &command),
            Command::SupportBundle(arguments) => support_bundle::run(options, &arguments),
            Command::Completions(arguments) => shell::completions(&arguments),
            Command::Man(arguments) => shell::man(&arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_work_before_and_after_the_command() {
        for line in [
            "didtail --state /s --json -vv checkpoint show",
            "didtail checkpoint show --state /s --json -vv",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).expect(line);
            let overrides = cli.options.overrides();
            assert!(cli.options.json, "{line}");
            assert_eq!(overrides.state.as_deref(), Some("/s"), "{line}");
            assert_eq!(overrides.log_level.as_deref(), Some("trace"), "{line}");
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in [
            "didtail",
            "didtail sing",
            "didtail -v -q run",
            "didtail checkpoint reset",
            "didtail checkpoint reset --to sideways",
            "didtail completions cmd.exe",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
