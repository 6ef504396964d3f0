//! `start_at = "backfill:30d"`: the daemon loads the calls of the past itself,
//! beside following the binlog, so that fresh numbers are there at once and the
//! binlog is read before the source deletes it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{Config, SourceConfig, StartAt};
use crate::engine::backfill::{Backfill, Ends, Range, new_note};
use crate::engine::policy::EngineError;
use crate::engine::run::{Settings, system_clock};
use crate::ledger::Rules;
use crate::source::{Finding, MySqlSource, Outcome, unreadable};
use crate::store::{LoadName, LoadNote, SqlStore, Store};
use crate::telemetry::{field, spawn_named};
use crate::vicidial::Table;

/// Time between two lines of progress in the log.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Seconds of a day of `backfill:30d`.
const DAY: i64 = 86_400;

/// Notes that the calls of the past are to be loaded, where `start_at` says so.
/// Before the first position is stored: a start that is cut off between the two
/// begins anew, and one behind them goes on.
///
/// # Errors
/// [`EngineError`] when the store cannot be written.
pub(in crate::engine) async fn plan(
    store: &impl Store,
    source: &SourceConfig,
    rules: &Rules,
) -> Result<(), EngineError> {
    if let StartAt::Backfill { days } = source.start_at {
        let now = system_clock();
        let range = Range {
            since: now - i64::from(days) * DAY,
            until: None,
            asked: format!("backfill:{days}d"),
        };
        let note = new_note(&rules.zone, &range, now);
        store
            .save_load(&source.name, LoadName::StartAt, &note)
            .await?;
    }
    Ok(())
}

/// Goes on with what [`plan`] noted, until it is done; `None` when there is
/// nothing to do. It has connections of its own.
///
/// # Errors
/// [`EngineError`] when the store or the source cannot be asked.
pub(in crate::engine) async fn resume(
    config: &Config,
    source: &SourceConfig,
    server: &MySqlSource,
    store: &Arc<SqlStore>,
    settings: &Settings,
) -> Result<Option<JoinHandle<()>>, EngineError> {
    let noted = store.load_note(&source.name, LoadName::StartAt).await?;
    let Some(note) = noted.filter(|note| !note.finished) else {
        return Ok(None);
    };
    let ends = Ends {
        source: Arc::new(MySqlSource::connect(server.settings()).await?),
        store: Arc::clone(store),
        name: source.name.clone(),
        tenant: source.tenant.clone(),
        rules: settings.rules.clone(),
        default_country: config.attribution.default_country.clone(),
        clock: system_clock,
        fencing_token: settings.fencing_token,
    };
    tell_unread(&source.name, Box::pin(unreadable(&ends.source)).await?);
    let mut load = Backfill::new(&ends, LoadName::StartAt, None)?;
    let name = source.name.clone();
    let run = async move {
        say(&name, &note, "loading the calls of the past");
        let mut said = Instant::now();
        let done = load.run(note, |note| {
            if said.elapsed() >= PROGRESS_INTERVAL {
                said = Instant::now();
                say(&name, note, "loading the calls of the past");
            }
        });
        match done.await {
            Ok(note) => say(&name, &note, "the calls of the past are loaded"),
            // The numbers of now are right all the same.
            Err(error) => tracing::error!(
                { field::SOURCE } = name,
                { field::ERROR } = %error,
                "the calls of the past are not loaded; they are tried again at the next start"
            ),
        }
    };
    Ok(Some(spawn_named("backfill", run)))
}

/// Says which tables are not loaded. VICIdial's archives are in one line, and no warning:
/// most often there are none, and a server does not tell that from a grant that is missing.
fn tell_unread(source: &str, findings: Vec<Finding>) {
    let is_archive = |finding: &Finding| {
        finding.outcome == Outcome::Note && Table::named(finding.check).is_none()
    };
    let (archives, tables): (Vec<Finding>, Vec<Finding>) =
        findings.into_iter().partition(is_archive);
    for finding in tables {
        tracing::warn!(
            { field::SOURCE } = source,
            { field::TABLE } = finding.check,
            actual = finding.actual,
            fix = finding.fix,
            "a table is not loaded"
        );
    }
    if !archives.is_empty() {
        let names: Vec<&str> = archives.iter().map(|one| one.check).collect();
        let fixes: Vec<&str> = archives
            .iter()
            .filter_map(|one| one.fix.as_deref())
            .collect();
        tracing::info!(
            { field::SOURCE } = source,
            tables = names.join(" "),
            fix = fixes.join("; "),
            "archives are not loaded, because VICIdial has none of these or this user may not read them"
        );
    }
}

/// Ends a load with the daemon: at once, or when it is done where `wait` says so
/// and nobody stops the daemon before.
pub(in crate::engine) async fn end(
    load: Option<JoinHandle<()>>,
    wait: bool,
    mut shutdown: watch::Receiver<bool>,
) {
    let Some(mut load) = load else {
        return;
    };
    if wait {
        tokio::select! {
            _ = &mut load => return,
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }
    load.abort();
    // It must have let go of the store before that is closed.
    drop(load.await);
}

fn say(source: &str, note: &LoadNote, what: &str) {
    tracing::info!(
        { field::SOURCE } = source,
        asked = note.asked,
        percent = note.percent(),
        calls = note.tally.calls,
        new = note.tally.new,
        dials = note.tally.dials,
        "{what}"
    );
}
