//! `didtail checkpoint reset`: go on elsewhere in the binlog.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;

use super::plan::Plan;
use super::target::{self, ResetTarget};
use crate::binlog::{BinlogFile, GtidPosition, Position};
use crate::checkpoint::{Checkpoint, resume};
use crate::cli::failure::{Exit, Failure};
use crate::cli::{Options, only_source, output, runtime, time};
use crate::config::{Config, SourceConfig, StoreConfig};
use crate::source::{Counted, MySqlSource, SourceError, Target, count};
use crate::state::{StateError, StateFile};
use crate::store::{SqlStore, Store as _, StoreError};

/// Move the position, so that `didtail run` goes on elsewhere
///
/// Back: what lies between is replayed, and no call is counted twice. Forward:
/// what lies between is skipped and missing from the numbers. The position that
/// was left goes to the history. The daemon must be stopped.
///
/// Examples:
///   didtail checkpoint reset --to 24h --dry-run
///   didtail checkpoint reset --to earliest
///   didtail checkpoint reset --to latest --yes
///   didtail checkpoint reset --to mysql-bin.000012:4711
///   didtail checkpoint reset --to 0-1-4711
///   didtail checkpoint reset --to 2026-03-01T08:00:00-06:00
///   didtail checkpoint reset --to history:7
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct Arguments {
    /// latest, earliest, FILE:OFFSET, a GTID, a time (RFC 3339, or ago: 24h, 7d) or history:ID
    #[arg(long, value_name = "WHERE", value_parser = target::parse)]
    to: ResetTarget,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,

    /// Print what would happen and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(
    options: &Options,
    config: &Config,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let source = only_source(config)?;
    if arguments.dry_run {
        let state = match StateFile::open(&config.state.path) {
            Ok(state) => Some(state),
            Err(StateError::Missing { .. }) => None,
            Err(e) => return Err(e.into()),
        };
        let plan = plan(config, source, state.as_ref(), &arguments.to)?;
        return report(options, &plan);
    }
    if let Some(pid) = StateFile::holder(&config.state.path) {
        let path = config.state.path.clone();
        return Err(StateError::Held { path, pid }.into());
    }
    if !arguments.yes && !std::io::stdin().is_terminal() {
        return Err(Failure::operator(
            "there is no terminal to ask for confirmation",
            "look at it with --dry-run, then pass --yes",
        ));
    }
    // Held from here on: the daemon cannot start between the question and the answer.
    let mut state = StateFile::open_exclusive(&config.state.path)?;
    let plan = plan(config, source, Some(&state), &arguments.to)?;
    let asked = !arguments.yes;
    if asked && !confirmed(&plan)? {
        return Err(Failure::operator(
            "nothing was changed",
            "answer `y`, or pass --yes",
        ));
    }
    let skipped = plan.skipped(time::now());
    state.reset(&source.name, &plan.new, REASON, skipped)?;
    let undo = plan.old.as_ref().and(left(&state, &source.name)?);
    if asked && !options.json {
        return Ok(output::print(&done(undo))?);
    }
    if options.json {
        let mut document = plan.json(true);
        document["undo"] = undo.map(|id| format!("history:{id}")).into();
        return Ok(output::print_json(&document)?);
    }
    Ok(output::print(&format!("{}{}", plan.text(), done(undo)))?)
}

/// Why a position is in the history that a reset left.
const REASON: &str = "checkpoint reset";

/// The entry of the history that has the position which was left.
fn left(state: &StateFile, source: &str) -> Result<Option<i64>, Failure> {
    let newest = state.history(source, 1)?;
    let left = newest.first().filter(|entry| entry.reason == REASON);
    Ok(left.map(|entry| entry.id))
}

fn done(undo: Option<i64>) -> String {
    let undo = undo.map(|id| format!("To undo it: didtail checkpoint reset --to history:{id}\n"));
    format!(
        "Done. `didtail run` goes on there.\n{}",
        undo.unwrap_or_default()
    )
}

fn report(options: &Options, plan: &Plan) -> Result<(), Failure> {
    if options.json {
        return Ok(output::print_json(&plan.json(false))?);
    }
    Ok(output::print(&format!(
        "{}Nothing was changed.\n",
        plan.text()
    ))?)
}

/// Asks on the terminal.
fn confirmed(plan: &Plan) -> std::io::Result<bool> {
    let mut terminal = std::io::stderr();
    write!(terminal, "{}Move the position? [y/N] ", plan.text())?;
    terminal.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn plan(
    config: &Config,
    source: &SourceConfig,
    state: Option<&StateFile>,
    to: &ResetTarget,
) -> Result<Plan, Failure> {
    let local = match state {
        Some(state) => state.checkpoint(&source.name)?,
        None => None,
    };
    let stored = stored(&config.store, state, &source.name)?;
    let old = resume(local.as_ref(), stored.as_ref()).checkpoint();
    let found = match to {
        ResetTarget::Source(target) => runtime()?.block_on(find(config, source, target))?,
        ResetTarget::History(id) => {
            let checkpoint = remembered(state, &source.name, *id)?;
            let target = Target::Position(checkpoint.position.clone());
            let found = runtime()?.block_on(find(config, source, &target))?;
            if let (Some(then), Some(now)) = (&checkpoint.server, &found.server)
                && then != now
            {
                return Err(Failure::operator(
                    format!(
                        "entry {id} is a place in the binlog of server {then}, and the source is now {now}"
                    ),
                    "name a time or a GTID that both have: --to TIME, --to GTID",
                ));
            }
            Found {
                server: checkpoint.server.or(found.server),
                gtid: checkpoint.gtid,
                event_time: checkpoint.event_time,
                ..found
            }
        }
    };
    let epochs = [&local, &stored].into_iter().flatten();
    let epoch = epochs.map(|copy| copy.epoch).max().unwrap_or(0);
    let new = Checkpoint {
        // Higher than both copies: see `checkpoint::resume`.
        epoch: epoch + 1,
        // Where it was not asked, it is the one that was followed.
        server: found
            .server
            .or_else(|| old.as_ref().and_then(|old| old.server.clone())),
        position: found.position,
        file_begun: None,
        gtid: found.gtid,
        event_time: found.event_time,
        revision: 0,
    };
    let mut plan = Plan::new(&source.name, old, new, &found.binlogs);
    // Nothing was read since an earlier reset: the numbers are where they were before it.
    let is_behind = |stands: &Checkpoint| local.as_ref().is_some_and(|of| of.epoch > stands.epoch);
    if let Some(stands) = stored.filter(is_behind) {
        plan.stands(stands, &found.binlogs);
    }
    if matches!(to, ResetTarget::History(_)) {
        plan.was_reached();
    }
    if let Some((from, to)) = plan.between()
        && let Some(events) = runtime()?.block_on(events(config, source, &from, &to))
    {
        plan.count(events);
    }
    if let Some(since) = plan.again_since() {
        let calls = runtime()?.block_on(async {
            let store = SqlStore::open_read(&config.store.address()).await?;
            let calls = store.changed_since(&source.name, since).await;
            store.close().await;
            calls
        });
        match calls {
            Ok(calls) => plan.tell_again(calls),
            // Without a store there are no calls either.
            Err(StoreError::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(plan)
}

/// Events counted at most: a daemon takes about as many in a few seconds.
const EVENTS_MAX: u64 = 10_000_000;

/// How long counting them may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The events between two places; `None` where they cannot be read, which is no reason
/// not to go there.
async fn events(
    config: &Config,
    source: &SourceConfig,
    from: &Position,
    to: &Position,
) -> Option<Counted> {
    let settings = source.connect_settings(&config.state);
    let connection = MySqlSource::connect(&settings).await.ok()?;
    let counted = count(&connection, from, to, EVENTS_MAX, PATIENCE).await;
    counted.ok()
}

fn remembered(state: Option<&StateFile>, name: &str, id: i64) -> Result<Checkpoint, Failure> {
    let entry = match state {
        Some(state) => state.history_entry(name, id)?,
        None => None,
    };
    entry.map(|entry| entry.checkpoint).ok_or_else(|| {
        Failure::operator(
            format!("the history of source `{name}` has no entry {id}"),
            "`didtail checkpoint history` lists them",
        )
    })
}

/// What the source says about a target.
struct Found {
    /// What the source calls itself; `None` where it was not asked.
    server: Option<String>,
    position: Position,
    gtid: GtidPosition,
    event_time: Option<i64>,
    /// Every file with its size, or why the source could not be asked.
    binlogs: Result<Vec<(BinlogFile, u64)>, SourceError>,
}

/// Asks the source. A place that the operator spelt out is also taken without
/// it, so that a reset can be prepared while the source is down.
async fn find(config: &Config, source: &SourceConfig, target: &Target) -> Result<Found, Failure> {
    let connection = match (
        MySqlSource::connect(&source.connect_settings(&config.state)).await,
        target,
    ) {
        (Ok(connection), _) => connection,
        (Err(e @ SourceError::Unreachable { .. }), Target::Position(position)) => {
            return Ok(Found {
                server: None,
                position: position.clone(),
                gtid: GtidPosition::default(),
                event_time: None,
                binlogs: Err(e),
            });
        }
        (Err(e), _) => return Err(e.into()),
    };
    let located = connection
        .locate(target)
        .await
        .map_err(unreachable_target)?;
    let binlogs = Ok(connection.binlogs().await?);
    Ok(Found {
        server: Some(connection.identity().await?),
        position: located.position,
        gtid: located.gtid,
        event_time: located.event_time,
        binlogs,
    })
}

/// A place that the operator asked for and that is not there: nothing is wrong with
/// the source.
fn unreachable_target(error: SourceError) -> Failure {
    let said = match &error {
        SourceError::Purged { wanted, detail } => (
            format!("the source's binlog does not reach back to {wanted}: {detail}"),
            "begin at its oldest with `didtail checkpoint reset --to earliest`, and load what was before with `didtail backfill --since TIME`",
        ),
        SourceError::ImpossiblePosition { position, detail } => (
            format!("there is no event at {position}: {detail}"),
            "check what was typed: `didtail checkpoint history` lists places that were applied, and SHOW BINARY LOGS on the source its files",
        ),
        _ => return error.into(),
    };
    let (what, hint) = said;
    Failure {
        exit: Exit::Source,
        ..Failure::operator(what, hint)
    }
}

/// The store's checkpoint; `None` where there is no store yet.
///
/// # Errors
/// Also while another daemon follows the source: it would go on where it is.
fn stored(
    store: &StoreConfig,
    state: Option<&StateFile>,
    source: &str,
) -> Result<Option<Checkpoint>, Failure> {
    let own = state.map(StateFile::daemon_name).transpose()?;
    let read = async {
        let store = match SqlStore::open_read(&store.address()).await {
            Err(StoreError::Missing { .. }) => return Ok(None),
            store => store?,
        };
        let lease = store.lease(source).await?;
        let other = lease.filter(|lease| lease.is_held() && own.as_ref() != Some(&lease.holder));
        if let Some(other) = other {
            return Err(StoreError::Leased {
                source_name: source.to_owned(),
                holder: other.holder,
            });
        }
        store.progress(source).await
    };
    Ok(runtime()?.block_on(read)?)
}
