//! From the configuration to a running source: connects, checks it, decides where
//! to begin, and says what the numbers will lack.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

use crate::binlog::Position;
use crate::checkpoint::{Checkpoint, Resume, resume};
use crate::config::{
    BadRow, Config, DispositionsConfig, Prefer as PreferSetting, SourceConfig,
    SourceTimeZone as ZoneSetting, StartAt, Success as SuccessSetting, UnknownDid,
};
use crate::engine::apply::{Applier, Clock, Keep, Setup};
use crate::engine::archivings::Archivings;
use crate::engine::backfill;
use crate::engine::batch::{Batch, BatchSize};
use crate::engine::clocks;
use crate::engine::failover;
use crate::engine::follow::{Follow, Summary};
use crate::engine::intake::{Reading, Warned};
use crate::engine::layouts::Layouts;
use crate::engine::lookout::Lookout;
use crate::engine::lookup::{ASKED_AGAIN_MAX, ASKED_AGAIN_SECONDS, LookUp};
use crate::engine::policy::EngineError;
use crate::engine::posts;
use crate::engine::statuses;
use crate::engine::vitals::SourceVitals;
use crate::landmark::Landmark;
use crate::ledger::{Prefer, Rules, Success};
use crate::source::{MySqlSource, Outcome, Source, SourceError, Target, preflight, verdict};
use crate::state::{Skipped, StateFile};
use crate::store::{Lease, SqlStore, Store};
use crate::telemetry::{field, spawn_named};
use crate::vicidial::{Interpreter, Phones, StatusBook, Table, Zone};

/// Epoch of a source that was never reset.
pub(super) const FIRST_EPOCH: u64 = 1;

/// How one source is to be followed.
#[derive(Debug)]
pub struct Settings {
    /// The source's name.
    pub source: String,
    /// Its tenant.
    pub tenant: String,
    /// The database with VICIdial's tables.
    pub database: String,
    /// How dispositions are judged.
    pub rules: Rules,
    /// Country of numbers without a country code, e.g. `US`.
    pub default_country: String,
    /// What to do about a row that cannot be understood.
    pub bad_row: BadRow,
    /// Days to keep audit rows; 0 keeps them.
    pub audit_days: u32,
    /// Days to keep the history of calls and dials; 0 keeps it.
    pub history_days: u32,
    /// Days to keep quarantined rows; 0 keeps them.
    pub quarantine_days: u32,
    /// Days to keep dials; 0 keeps them.
    pub dials_days: u32,
    /// Days to keep calls; 0 keeps them.
    pub call_records_days: u32,
    /// Where to end; `None`: never.
    pub until: Option<Position>,
    /// The time.
    pub clock: Clock,
    /// Token of the lease that it is followed under; `None` where nobody else can
    /// follow it.
    pub fencing_token: Option<u64>,
    /// Changes of which dispositions count as what; `None` where there are none.
    pub dispositions: Option<watch::Receiver<DispositionsConfig>>,
    /// How it goes, for whoever asks.
    pub vitals: Arc<SourceVitals>,
}

/// What one source is told while it is followed, and what it says.
pub(super) struct Steered {
    pub(super) shutdown: watch::Receiver<bool>,
    pub(super) dispositions: watch::Receiver<DispositionsConfig>,
    pub(super) vitals: Arc<SourceVitals>,
}

/// Follows one source of the configuration under its lease until `shutdown` turns true or, with
/// `until_caught_up`, until everything that is in its binlog now is applied.
///
/// # Errors
/// [`EngineError`] when it cannot go on; everything applied so far is durable.
pub(super) async fn run_source(
    config: &Config,
    source_config: &SourceConfig,
    mut state: StateFile,
    store: Arc<SqlStore>,
    lease: &Lease,
    until_caught_up: bool,
    steered: Steered,
) -> Result<Summary, EngineError> {
    let name = source_config.name.as_str();
    let source = MySqlSource::connect(&source_config.connect_settings(&config.state)).await?;
    let server = source.identity().await?;
    let decided = decide(
        state.checkpoint(name)?,
        store.as_ref(),
        name,
        lease.taken_from.as_deref(),
    )
    .await?;
    let stored = store.progress(name).await?;
    let is_stored = decided.is_some() && stored == decided;
    if let (Some(known), None) = (&decided, &stored) {
        lost_with_the_store(&mut state, name, known)?;
    }
    let decided = match decided {
        Some(known) if known.server.as_ref().is_some_and(|was| *was != server) => {
            Some(failover::move_on(&mut state, &source, name, &known, &server).await?)
        }
        // An operator chose the position: it is one of the server that answers.
        Some(known) => Some(Checkpoint {
            server: Some(server.clone()),
            ..known
        }),
        None => None,
    };
    check(&source, decided.as_ref()).await?;
    clocks::warn(&source, source_config).await;
    let mut rules = rules(config, source_config, &source).await?;
    // Also where another daemon takes them.
    rules.takes_posts |= store.has_keys().await?;
    let start = match decided {
        Some(known) => known,
        None => {
            backfill::plan(store.as_ref(), source_config, &rules).await?;
            first_checkpoint(&source, source_config, server).await?
        }
    };
    let head = source.head().await?;
    if start.position < head && is_stored {
        // The source's flags are of now, and there are calls of before to read.
        let of_then = store.statuses(name).await?;
        if !of_then.is_empty() {
            rules.statuses = Arc::new(of_then);
        }
    }
    let until = until_caught_up.then_some(head);
    let settings = Settings {
        fencing_token: Some(lease.fencing_token),
        dispositions: Some(steered.dispositions),
        vitals: Arc::clone(&steered.vitals),
        ..settings(config, source_config, source.database(), rules, until)
    };
    tracing::info!(
        { field::SOURCE } = name,
        { field::POSITION } = %start.position,
        { field::GTID } = %start.gtid,
        { field::EPOCH } = start.epoch,
        server = source.server().text,
        "following the binlog"
    );
    let load = backfill::resume(config, source_config, &source, &store, &settings).await?;
    let shutdown = steered.shutdown;
    let asked_to_stop = shutdown.clone();
    let source = Arc::new(source);
    let lookout = Lookout {
        source: Arc::clone(&source),
        store: Arc::clone(&store),
        state: state.beside()?,
        vitals: steered.vitals,
    };
    let posts = posts::look(
        Arc::clone(&store),
        name.to_owned(),
        Arc::clone(&lookout.vitals),
    );
    let beside = (!until_caught_up).then(|| {
        [
            spawn_named("lookout", lookout.run()),
            spawn_named("posts-lookout", posts),
        ]
    });
    let ended = Box::pin(follow(source, store, state, settings, start, shutdown)).await;
    for lookout in beside.into_iter().flatten() {
        lookout.abort();
        // It must have let go of the store before that is closed.
        drop(lookout.await);
    }
    backfill::end(load, until_caught_up && ended.is_ok(), asked_to_stop).await;
    ended
}

/// How the configuration says that a source is to be followed.
pub(super) fn settings(
    config: &Config,
    source: &SourceConfig,
    database: &str,
    rules: Rules,
    until: Option<Position>,
) -> Settings {
    Settings {
        source: source.name.clone(),
        tenant: source.tenant.clone(),
        database: database.to_owned(),
        rules,
        default_country: config.attribution.default_country.clone(),
        bad_row: config.errors.bad_row,
        audit_days: config.retention.audit_days,
        history_days: config.retention.history_days,
        quarantine_days: config.retention.quarantine_days,
        dials_days: config.retention.dials_days,
        call_records_days: config.retention.call_records_days,
        until,
        clock: system_clock,
        fencing_token: None,
        dispositions: None,
        vitals: SourceVitals::unwatched(&source.name, system_clock),
    }
}

/// Follows any source into any store, beginning at `start`.
///
/// # Errors
/// As [`run`].
pub async fn follow<S: Source, St: Store>(
    source: Arc<S>,
    store: Arc<St>,
    state: StateFile,
    settings: Settings,
    start: Checkpoint,
    shutdown: watch::Receiver<bool>,
) -> Result<Summary, EngineError> {
    let interpreter = || {
        Phones::new(&settings.default_country)
            .map(|phones| Interpreter::new(settings.rules.zone.clone(), phones))
            .ok_or_else(|| EngineError::Bug("the default country was not checked".to_owned()))
    };
    let stored = store.progress(&settings.source).await?;
    let newest = state.history(&settings.source, 1)?.into_iter().next();
    let has_moved = newest.is_some_and(|entry| entry.reason == failover::REASON);
    let before = stored.as_ref();
    let (known, is_new) =
        landmarks(store.as_ref(), &settings.source, before, has_moved, &start).await?;
    let size = BatchSize::up_to(store.facts_max());
    let reading = Reading {
        look: None,
        layouts: Layouts::of(&known),
        archivings: Archivings::of(&known),
        interpreter: interpreter()?,
        size: size.clone(),
        bad_row: settings.bad_row,
        warned: Warned::default(),
    };
    let pruned = store.pruned(&settings.source).await?;
    let mut look_up = LookUp::new(Arc::clone(&source), interpreter()?.aside());
    let since = (settings.clock)().saturating_sub(ASKED_AGAIN_SECONDS);
    let waiting = store.unattributed(&settings.source, since, ASKED_AGAIN_MAX);
    look_up.wait_for(waiting.await?);
    let setup = Setup {
        store,
        state,
        source: settings.source,
        tenant: settings.tenant,
        look_up,
        rules: settings.rules,
        keep: Keep {
            audit_days: settings.audit_days,
            history_days: settings.history_days,
            quarantine_days: settings.quarantine_days,
            dials_days: settings.dials_days,
            call_records_days: settings.call_records_days,
        },
        clock: settings.clock,
        size,
        epoch: start.epoch,
        server: start.server.clone(),
        fencing_token: settings.fencing_token,
        dispositions: settings.dispositions,
        vitals: settings.vitals,
    };
    let mut applier = Applier::new(setup, stored, pruned)?;
    // The store takes the position before the first row: from now on it is the
    // truth, and another daemon on the same source is noticed at once.
    let mut first = Batch::new(start.position.clone(), start.gtid.clone(), start.event_time);
    first.file_begun = start.file_begun;
    if is_new {
        first.landmarks = known;
    }
    applier.apply(first).await?;
    applier.settle().await?;
    applier.remember("start")?;
    let follow = Follow {
        source,
        applier,
        database: settings.database,
        start,
        until: settings.until,
        shutdown,
        is_lost: false,
    };
    follow.run(reading).await
}

/// What is known at the start, and whether that is new in its epoch. Of the epoch
/// before it is the same where an operator moved the position on one server, and
/// what was known behind the same transactions where another server was moved to.
/// A place that an operator chose on another server has nothing to do with it.
async fn landmarks(
    store: &impl Store,
    source: &str,
    before: Option<&Checkpoint>,
    has_moved: bool,
    start: &Checkpoint,
) -> Result<(Vec<Landmark>, bool), EngineError> {
    let Some(before) = before.filter(|before| before.epoch < start.epoch) else {
        return Ok((store.landmarks(source, start.epoch).await?, false));
    };
    let is_same = before.server.is_some() && before.server == start.server;
    if !has_moved && !is_same {
        return Ok((Vec::new(), false));
    }
    let known = store.landmarks(source, before.epoch).await?;
    Ok(if has_moved {
        let carried = failover::carried(&known, &before.position, &start.position);
        (carried, true)
    } else {
        (known, true)
    })
}

/// Where to resume, from the state file's checkpoint and the store; `None` at the
/// very first start. `from`: another daemon that is known to have written the store.
pub(super) async fn decide(
    local: Option<Checkpoint>,
    store: &impl Store,
    name: &str,
    from: Option<&str>,
) -> Result<Option<Checkpoint>, EngineError> {
    let stored = store.progress(name).await?;
    Ok(match resume(local.as_ref(), stored.as_ref()) {
        Resume::Fresh => None,
        Resume::Store(known) => Some(known),
        Resume::StoreRestored(known) => {
            tracing::warn!(
                { field::POSITION } = %known.position,
                "the store is behind the state file, as after a restore; it is caught up from its own position"
            );
            Some(known)
        }
        Resume::StoreAlone(known) if from.is_some() => {
            tracing::info!(
                { field::POSITION } = %known.position,
                holder = from,
                "another daemon wrote the store; its position is taken"
            );
            Some(known)
        }
        Resume::StoreAlone(known) => {
            tracing::warn!(
                { field::POSITION } = %known.position,
                "the state file is new or older than the store; the store's position is taken"
            );
            Some(known)
        }
        Resume::StateAlone(known) => {
            tracing::warn!(
                { field::POSITION } = %known.position,
                "the store knows nothing of this source; it gets only what comes from here on, and what was before from: didtail backfill --since TIME"
            );
            Some(known)
        }
        Resume::Reset(known) => {
            tracing::info!(
                { field::POSITION } = %known.position,
                { field::EPOCH } = known.epoch,
                "an operator moved the position"
            );
            Some(known)
        }
    })
}

/// Takes note of what only the store before this one had: since the source is followed.
fn lost_with_the_store(
    state: &mut StateFile,
    name: &str,
    known: &Checkpoint,
) -> Result<(), EngineError> {
    let history = state.history(name, u32::MAX)?;
    let position = &known.position;
    if history
        .iter()
        .all(|entry| entry.checkpoint.position == *position)
    {
        // Nothing was applied yet.
        return Ok(());
    }
    // A first start reads from its place on, or from where there is nothing before.
    let begun = history.iter().map(|entry| {
        let saved_at = entry.saved_at;
        entry
            .checkpoint
            .event_time
            .map_or(saved_at, |at| at.min(saved_at))
    });
    if let (Some(since), Some(last)) = (begun.min(), known.event_time)
        && let Some(stretch) = Skipped::between(since, last + 1)
    {
        let is_lost = true;
        state.skip(name, Skipped { is_lost, ..stretch })?;
    }
    Ok(())
}

/// Refuses a source that cannot be followed, with every reason at once, and
/// says what an install without some of the tables will lack.
async fn check(source: &MySqlSource, resume: Option<&Checkpoint>) -> Result<(), SourceError> {
    let findings = preflight(source, resume).await;
    for finding in verdict(findings)? {
        match finding.outcome {
            Outcome::Good => {}
            Outcome::Note => tracing::info!(
                check = finding.check,
                wanted = finding.expected,
                actual = finding.actual,
                "the source is usable, with a remark"
            ),
            Outcome::Unknown | Outcome::Bad => tracing::warn!(
                check = finding.check,
                wanted = finding.expected,
                actual = finding.actual,
                "a requirement of the source could not be checked"
            ),
        }
    }
    Ok(())
}

async fn first_checkpoint(
    source: &MySqlSource,
    config: &SourceConfig,
    server: String,
) -> Result<Checkpoint, EngineError> {
    let target = match config.start_at {
        // What was before is loaded from the tables, beside what follows.
        StartAt::Latest | StartAt::Backfill { .. } => Target::Latest,
        StartAt::Earliest => Target::Earliest,
    };
    let located = source.locate(&target).await?;
    Ok(Checkpoint {
        epoch: FIRST_EPOCH,
        server: Some(server),
        position: located.position,
        file_begun: None,
        gtid: located.gtid,
        event_time: located.event_time,
        revision: 0,
    })
}

pub(super) async fn rules(
    config: &Config,
    source_config: &SourceConfig,
    source: &MySqlSource,
) -> Result<Rules, EngineError> {
    let zone = zone(&source_config.time_zone, source).await?;
    Ok(rules_in(config, zone, status_book(source).await?))
}

/// The configured rules, with a zone and status flags.
pub(super) fn rules_in(config: &Config, zone: Zone, statuses: StatusBook) -> Rules {
    let (success, transient) = judged_by(&config.dispositions);
    Rules {
        success,
        transient,
        create_dids: config.attribution.unknown_did == UnknownDid::Create,
        takes_posts: config.api.is_some(),
        prefer: match config.attribution.prefer {
            PreferSetting::DialLog => Prefer::DialLog,
            PreferSetting::Reported => Prefer::Reported,
        },
        zone,
        statuses: Arc::new(statuses),
    }
}

/// Which dispositions are a success, and which are of calls that go on.
pub(super) fn judged_by(dispositions: &DispositionsConfig) -> (Success, BTreeSet<String>) {
    let upper = |set: &BTreeSet<String>| set.iter().map(|status| status.to_uppercase()).collect();
    let success = match &dispositions.success {
        SuccessSetting::Set(set) => Success::Set(upper(set)),
        SuccessSetting::VicidialSaleFlag => Success::SaleFlag,
    };
    (success, upper(&dispositions.transient))
}

async fn zone(setting: &ZoneSetting, source: &MySqlSource) -> Result<Zone, EngineError> {
    let unknown = |name: &str| EngineError::Bug(format!("the time zone {name} was not checked"));
    let said = match setting {
        ZoneSetting::Named(name) => return Zone::named(name).ok_or_else(|| unknown(name)),
        ZoneSetting::Auto => source.time_zone().await?,
    };
    if said.is_vague() {
        tracing::warn!(
            system_time_zone = said.system,
            utc_offset_seconds = said.utc_offset_seconds,
            "the source names no IANA time zone; set time_zone in [[source]], or days will be off by an hour in the other half of the year"
        );
    }
    Ok(said.zone())
}

/// VICIdial's status flags.
async fn status_book(source: &MySqlSource) -> Result<StatusBook, EngineError> {
    let mut book = StatusBook::default();
    for table in [Table::Statuses, Table::CampaignStatuses] {
        for row in statuses::rows(source, table).await? {
            book.set(&row.status, &row.campaign_id, row.flags);
        }
    }
    Ok(book)
}

#[expect(clippy::disallowed_methods, reason = "the engine's only clock")]
pub(super) fn system_clock() -> i64 {
    jiff::Timestamp::now().as_second()
}
