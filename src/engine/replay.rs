//! `didtail replay`: binlog files from disk through the same pipeline.
//!
//! # What a replay may do to the position
//! Facts are states. An UPDATE of last week sets last week's disposition, and only
//! what came after it in the binlog sets it right again. So no event may be the
//! last word that is not the last of its row, and one rule follows: **a replay
//! ends no earlier than the store stands**. Between its begin and its end nothing
//! may be left out, and the position moves as it does when a server is followed.
//!
//! - Nothing was ever applied: it begins at the first file, and the daemon goes on
//!   behind the last.
//! - The store stands within the files: what is before that place is in the numbers
//!   already, and the replay begins there. That closes a gap that the server has
//!   purged.
//! - The store stands behind the files: there is nothing to do. To apply them all
//!   the same would set calls back, unless the files reach to where the store
//!   stands. With [`Replay::again`] and such files it begins at the first one, in a
//!   new epoch as after `checkpoint reset`: calls go back to their old states and
//!   come forward again to the same numbers, with those added that were never read.
//!   Should it be interrupted, the position lies within the files, and only a replay
//!   or a server that still has that place goes on.
//! - The store stands before the files: what lies between would be missing. That is
//!   refused, unless the operator says so ([`Replay::skip_gap`]).
//!
//! The alternative, to compare each state with a newer one that the store has, needs
//! a version at every row and every counter; and even then a state that was deleted
//! or renamed since would come back.
//!
//! # Before the first row
//! All files are read through once, so that a damaged or a foreign one changes
//! nothing: checksums, numbers without a gap, one server in all of them, the place
//! at which the store stands between two groups, with the same GTIDs.

mod survey;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::binlog::{BinlogFile, GtidPosition, Position};
use crate::checkpoint::Checkpoint;
use crate::config::{Config, SourceConfig, SourceTimeZone};
use crate::engine::failover;
use crate::engine::follow::Summary;
use crate::engine::lease::{self, Kept};
use crate::engine::policy::EngineError;
use crate::engine::run::{
    FIRST_EPOCH, Settings, decide, follow, rules, rules_in, settings, system_clock,
};
use crate::engine::vitals::SourceVitals;
use crate::landmark::{Landmark, Sight};
use crate::ledger::Rules;
use crate::source::{FileSource, FilesBefore, MySqlSource, SourceError};
use crate::state::StateFile;
use crate::store::{SqlStore, Store};
use crate::telemetry::field;
use crate::vicidial::{StatusBook, Zone};

use self::survey::{Survey, survey};

/// How long the source may take to answer before the files are read without it.
const SOURCE_PATIENCE: Duration = Duration::from_secs(10);

/// What is to be replayed.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The files, in any order.
    pub files: Vec<PathBuf>,
    /// Also what the store has already.
    pub again: bool,
    /// Begin at the first file even if the store stands before it.
    pub skip_gap: bool,
}

/// How far it is, in bytes; for whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes read, in the part at work.
    pub done: Arc<AtomicU64>,
    /// Bytes of that part.
    pub total: AtomicU64,
    /// The files are checked, and are being applied.
    pub applies: AtomicBool,
}

/// What a replay came to.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Files given.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Where it began.
    pub from: Position,
    /// Where the store stands now.
    pub to: Position,
    /// Everything in the files was applied before.
    pub nothing_new: bool,
    /// Where the last complete group of the files ends.
    pub end: Position,
    /// The event within which the last file ends, as after a crash.
    pub cut_off: Option<Position>,
    /// What was applied; `None` with nothing new.
    pub summary: Option<Summary>,
}

/// Applies binlog files to the configured source's numbers.
///
/// # Errors
/// [`EngineError`] when the files cannot be replayed, with nothing changed, or
/// as [`super::run`]; what is applied until then is durable.
pub async fn replay(
    config: &Config,
    wanted: &Replay,
    progress: &Progress,
    shutdown: watch::Receiver<bool>,
) -> Result<Replayed, EngineError> {
    let source_config = config
        .sources
        .first()
        .ok_or_else(|| EngineError::Bug("a configuration without a source".to_owned()))?;
    let name = source_config.name.as_str();
    let files = FileSource::open(&wanted.files).map_err(misgiven)?;
    consecutive(&files)?;
    let state = StateFile::open_exclusive(&config.state.path)?;
    let store = Arc::new(SqlStore::open(&config.store.address()).await?);
    let holder = state.daemon_name()?;
    let lease = lease::take(store.as_ref(), name, &holder, shutdown.clone()).await?;
    let lease = lease.ok_or_else(|| refused("the replay was stopped", "start it again"))?;
    let stop = watch::Sender::new(false);
    let into = Target {
        state,
        store: Arc::clone(&store),
        fencing_token: lease.fencing_token,
    };
    let work = replay_into(
        into,
        config,
        source_config,
        files,
        wanted,
        progress,
        stop.subscribe(),
    );
    let vitals = SourceVitals::unwatched(name, system_clock);
    let under = (store.as_ref(), vitals.as_ref(), &lease);
    let (ended, kept) = lease::keep(under, shutdown, &stop, Box::pin(work)).await;
    store.close().await;
    match ended {
        Ok(_) if kept == Kept::Lost => Err(refused(
            "another daemon took the source over while its files were replayed",
            "start it again; what was replayed is kept",
        )),
        ended => ended,
    }
}

/// Where the files are applied to.
struct Target {
    state: StateFile,
    store: Arc<SqlStore>,
    fencing_token: u64,
}

async fn replay_into(
    into: Target,
    config: &Config,
    source_config: &SourceConfig,
    mut files: FileSource,
    wanted: &Replay,
    progress: &Progress,
    shutdown: watch::Receiver<bool>,
) -> Result<Replayed, EngineError> {
    let name = source_config.name.as_str();
    let Target {
        mut state,
        store,
        fencing_token,
    } = into;
    let known = decide(state.checkpoint(name)?, store.as_ref(), name, None).await?;
    files.count_bytes(&progress.done);
    let total: u64 = files.names().filter_map(|file| files.length(file)).sum();
    progress.total.store(total, Ordering::Relaxed);
    let at = known.as_ref().map(|known| &known.position);
    let database = source_config.url.database.as_str();
    let survey = survey(&files, database, at, &shutdown).await?;
    let Some(survey) = survey else {
        return Err(refused("the replay was stopped", "start it again"));
    };
    let mut done = Replayed {
        files: files.names().count(),
        bytes: survey.bytes,
        from: survey.first.clone(),
        to: survey.end.clone(),
        end: survey.end.clone(),
        nothing_new: false,
        cut_off: survey.cut_off.clone(),
        summary: None,
    };
    let Some(mut start) = begin(&survey, known.as_ref(), wanted)? else {
        let stands = known.map(|known| known.position);
        done.nothing_new = true;
        done.from = stands.clone().unwrap_or(done.from);
        done.to = stands.unwrap_or(done.to);
        return Ok(done);
    };
    let live = connect(config, source_config).await?;
    let goes_on = match &live {
        Ok(live) => {
            let server = live.identity().await?;
            failover::check_same(name, &start, &server)?;
            start.server = Some(server);
            compare(&files, &survey.end, live).await?
        }
        Err(error) => {
            let landmarks = store.landmarks(name, start.epoch).await?;
            without_a_source(&survey, &landmarks, error)?;
            false
        }
    };
    let mut rules = match &live {
        Ok(live) => rules(config, source_config, live).await?,
        Err(error) => offline_rules(config, source_config, error)?,
    };
    let of_then = store.statuses(name).await?;
    if !of_then.is_empty() {
        rules.statuses = Arc::new(of_then);
    }
    if let Some(known) = known.filter(|known| known.epoch < start.epoch) {
        state.remember(name, &known, "before a replay")?;
    }
    progress.done.store(0, Ordering::Relaxed);
    let rest = bytes_behind(&files, &start.position, total);
    progress.total.store(rest, Ordering::Relaxed);
    progress.applies.store(true, Ordering::Relaxed);
    done.from = start.position.clone();
    tracing::info!(
        { field::SOURCE } = name,
        { field::POSITION } = %start.position,
        to = %survey.end,
        { field::EPOCH } = start.epoch,
        "replaying binlog files"
    );
    let until = Some(survey.end.clone());
    let settings = Settings {
        fencing_token: Some(fencing_token),
        ..settings(config, source_config, database, rules, until)
    };
    let source = FilesBefore::new(files, survey.end, live.ok().map(Arc::new), goes_on);
    let work = follow(Arc::new(source), store, state, settings, start, shutdown);
    let summary = Box::pin(work).await?;
    if let Ok(to) = summary.position.parse() {
        done.to = to;
    }
    done.summary = Some(summary);
    Ok(done)
}

fn refused(what: impl Into<String>, fix: impl Into<String>) -> EngineError {
    EngineError::Replay {
        what: what.into(),
        fix: fix.into(),
    }
}

/// A file that is none to replay was given by the operator; the source has no part
/// in it.
fn misgiven(error: SourceError) -> EngineError {
    match error {
        SourceError::File { detail, fix } => refused(detail, fix),
        error => error.into(),
    }
}

/// The names between two files of one binlog, and whether they are or is missing.
fn missing(one: &BinlogFile, next: &BinlogFile) -> Option<String> {
    let (base, suffix) = one.as_str().rsplit_once('.')?;
    let name = |number: u64| format!("{base}.{number:0width$}", width = suffix.len());
    let (first, last) = (one.number() + 1, next.number().checked_sub(1)?);
    match last.checked_sub(first)? {
        0 => Some(format!("{} is missing", name(first))),
        1 => Some(format!("{} and {} are missing", name(first), name(last))),
        more => Some(format!(
            "{} to {} are missing ({} files)",
            name(first),
            name(last),
            more + 1
        )),
    }
}

/// Files of one name with numbers that follow each other.
fn consecutive(files: &FileSource) -> Result<(), EngineError> {
    let base = |name: &str| name.rsplit_once('.').map(|(base, _)| base.to_owned());
    let names: Vec<_> = files.names().collect();
    for pair in names.windows(2) {
        let [one, next] = pair else { continue };
        if base(one.as_str()) != base(next.as_str()) {
            return Err(refused(
                format!("{one} and {next} are not of one binlog: their names differ"),
                "give the files of one server, with the names that the server gave them",
            ));
        }
        if let Some(missing) = missing(one, next) {
            return Err(refused(
                format!("between {one} and {next}, {missing}"),
                "give them too; or replay the files before them, and then those behind them with --skip-gap, which leaves out what lies between",
            ));
        }
    }
    Ok(())
}

/// Where to begin; `None` when everything is applied already.
fn begin(
    survey: &Survey,
    known: Option<&Checkpoint>,
    wanted: &Replay,
) -> Result<Option<Checkpoint>, EngineError> {
    let anew = |epoch, revision| Checkpoint {
        epoch,
        server: known.and_then(|known| known.server.clone()),
        position: survey.first.clone(),
        file_begun: None,
        gtid: GtidPosition::default(),
        event_time: None,
        revision,
    };
    let Some(known) = known else {
        return Ok(Some(anew(FIRST_EPOCH, 0)));
    };
    let stands = &known.position;
    let (first, end) = (&survey.first, &survey.end);
    let base = |position: &Position| {
        let name = position.file.as_str();
        name.rsplit_once('.').map(|(base, _)| base.to_owned())
    };
    if base(stands) != base(first) {
        return Err(refused(
            format!(
                "the files begin with {}, and the store stands at {stands}: these are not the source's binlogs",
                first.file
            ),
            "give the source's files with the names that it gave them; for another server, use another [[source]] and store",
        ));
    }
    if stands < first {
        if wanted.skip_gap {
            return Ok(Some(Checkpoint {
                epoch: known.epoch,
                event_time: known.event_time,
                ..anew(known.epoch, known.revision)
            }));
        }
        return Err(refused(
            format!(
                "the store stands at {stands} and the files begin at {first}: what lies between would be missing"
            ),
            format!(
                "give {} and the files behind it too; or pass --skip-gap to leave out what lies between",
                stands.file
            ),
        ));
    }
    if stands <= end && survey.at_store.is_none() {
        return Err(foreign(stands, "no group ends there in the files"));
    }
    if let Some(there) = &survey.at_store {
        let differ = !there.is_empty() && !known.gtid.is_empty() && *there != known.gtid;
        if differ && stands > first {
            let detail = format!(
                "there the store has GTID {} and the files {there}",
                known.gtid
            );
            return Err(foreign(stands, &detail));
        }
    }
    if wanted.again {
        if end < stands {
            return Err(refused(
                format!(
                    "the files end at {end}, before {stands}, where the store stands: calls would fall back to older states"
                ),
                format!("give the files up to {} too", stands.file),
            ));
        }
        return Ok(Some(anew(known.epoch + 1, known.revision)));
    }
    Ok((stands < end).then(|| known.clone()))
}

fn foreign(stands: &Position, detail: &str) -> EngineError {
    refused(
        format!(
            "these are not the files that the store has been following: it stands at {stands}, and {detail}"
        ),
        "give the source's own files, from after its last RESET MASTER",
    )
}

/// The source, or why it does not answer.
async fn connect(
    config: &Config,
    source: &SourceConfig,
) -> Result<Result<MySqlSource, SourceError>, EngineError> {
    let settings = source.connect_settings(&config.state);
    let asked = tokio::time::timeout(SOURCE_PATIENCE, MySqlSource::connect(&settings)).await;
    let answer = asked.unwrap_or_else(|_| {
        Err(SourceError::Unreachable {
            address: source.url.to_string(),
            detail: "no answer".to_owned(),
        })
    });
    match answer {
        Err(error) if !error.is_transient() => Err(error.into()),
        Err(error) => {
            tracing::warn!(
                { field::ERROR } = %error,
                "the source does not answer: the files are read without it, and calls whose dials are not in them stay without a DID"
            );
            Ok(Err(error))
        }
        Ok(live) => Ok(Ok(live)),
    }
}

/// Compares the files with those that the source still has, and says whether
/// its binlog goes on where they end.
async fn compare(
    files: &FileSource,
    end: &Position,
    live: &MySqlSource,
) -> Result<bool, EngineError> {
    let theirs = live.binlogs().await?;
    for (file, bytes) in &theirs {
        if let Some(ours) = files.length(file).filter(|ours| ours > bytes) {
            return Err(refused(
                format!(
                    "{file} has {ours} bytes here and {bytes} on the source: it is another file of that name"
                ),
                "give the source's own files, from after its last RESET MASTER; for another server, use another [[source]] and store",
            ));
        }
    }
    Ok(theirs
        .iter()
        .any(|(file, bytes)| *file == end.file && end.next <= *bytes))
}

/// What must be in the files, or known from before, where nobody can be asked.
fn without_a_source(
    survey: &Survey,
    landmarks: &[Landmark],
    error: &SourceError,
) -> Result<(), EngineError> {
    if let Some(place) = &survey.statement {
        return Err(refused(
            format!(
                "the files have statements instead of rows (behind {place}), whose rows are read from the source; and it cannot be reached: {error}"
            ),
            "run this where the source can be reached",
        ));
    }
    let Some((table, place)) = &survey.unnamed else {
        return Ok(());
    };
    let of_table =
        |one: &Landmark| matches!(&one.sight, Sight::Columns { table: of, .. } if of == table);
    if !landmarks.iter().any(of_table) {
        return Err(refused(
            format!(
                "the files do not name the columns of {} (behind {place}; binlog_row_metadata is not FULL), and the source cannot be asked: {error}",
                table.name()
            ),
            "run this where the source can be reached",
        ));
    }
    Ok(())
}

/// The rules where the source cannot be asked for its zone; its status flags
/// are those that the store has.
fn offline_rules(
    config: &Config,
    source: &SourceConfig,
    error: &SourceError,
) -> Result<Rules, EngineError> {
    let zone = match &source.time_zone {
        SourceTimeZone::Named(name) => Zone::named(name),
        SourceTimeZone::Auto => None,
    };
    let zone = zone.ok_or_else(|| {
        refused(
            format!("the dialers' time zone is not known, and the source cannot be asked for it: {error}"),
            "set time_zone in [[source]], e.g. \"America/New_York\"",
        )
    })?;
    Ok(rules_in(config, zone, StatusBook::default()))
}

/// Bytes from a position to the end of the files.
fn bytes_behind(files: &FileSource, from: &Position, total: u64) -> u64 {
    let before = files.names().filter(|file| **file < from.file);
    let before: u64 = before.filter_map(|file| files.length(file)).sum();
    total.saturating_sub(before + from.next)
}
