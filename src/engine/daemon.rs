//! All sources of a configuration, each on its own, into one store.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{Config, DispositionsConfig, SourceConfig};
use crate::engine::desk::Desk;
use crate::engine::follow::Summary;
use crate::engine::lease::{self, Kept};
use crate::engine::policy::{self, Action, EngineError};
use crate::engine::run::{Steered, run_source, system_clock};
use crate::engine::vitals::{Phase, SourceVitals, Vitals};
use crate::state::{Health, StateFile, StatusNote};
use crate::store::{Grant, Lease, SqlStore, StoreError};
use crate::telemetry::field;

/// How long a source that cannot be followed is left alone while others can.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// How a daemon with this configuration is, before it has begun.
#[must_use]
pub fn vitals_of(config: &Config) -> Arc<Vitals> {
    let names = config.sources.iter().map(|source| source.name.as_str());
    Arc::new(Vitals::new(names, system_clock))
}

/// What whoever starts a daemon can tell it while it runs, and hear from it.
#[derive(Clone, Debug)]
pub struct Steering {
    /// Turns true when it is time to stop.
    pub shutdown: watch::Receiver<bool>,
    /// Which dispositions count as what, from now on.
    pub dispositions: watch::Receiver<DispositionsConfig>,
    /// How it goes; of [`vitals_of`].
    pub vitals: Arc<Vitals>,
    /// What the HTTP API is handed.
    pub desk: Arc<Desk>,
}

/// Follows all configured sources until `shutdown` turns true or, with
/// `until_caught_up`, until everything that is in their binlogs now is applied.
/// Returns what was done, in the order of the configuration.
///
/// A single source that cannot be followed ends it. One of several does not keep
/// the others from going on, and is tried again later.
///
/// Between the last commit and the store's end it awaits `farewell`, which is to see to
/// it that nobody asks the desk any more.
///
/// # Errors
/// [`EngineError`] when it cannot go on; everything applied so far is durable.
pub async fn run(
    config: Config,
    until_caught_up: bool,
    steering: Steering,
    farewell: impl Future<Output = ()>,
) -> Result<Vec<Summary>, EngineError> {
    let state = StateFile::open_exclusive(&config.state.path)?;
    let opened = open_store(&config, until_caught_up, &steering);
    let Some(store) = opened.await? else {
        farewell.await;
        return Ok(Vec::new());
    };
    let store = Arc::new(store);
    let desk = Arc::clone(&steering.desk);
    desk.open(&store, &steering.vitals);
    let ended = run_all(config, &state, &store, until_caught_up, steering).await;
    farewell.await;
    desk.close().await;
    store.close().await;
    ended
}

/// Opens the store. A daemon waits for a server that is not there yet: both may be
/// started with the machine. `None` when it was time to stop before.
async fn open_store(
    config: &Config,
    until_caught_up: bool,
    steering: &Steering,
) -> Result<Option<SqlStore>, EngineError> {
    let mut pauses = policy::pauses();
    let Steering {
        vitals,
        mut shutdown,
        ..
    } = steering.clone();
    loop {
        let error = match SqlStore::open_alone(&config.store.address()).await {
            Ok(store) => {
                vitals.store_opened(store.patience());
                return Ok(Some(store));
            }
            Err(error) => error,
        };
        if until_caught_up || !is_away(config, &error) {
            return Err(error.into());
        }
        vitals.store_failed(&error);
        wait(&error, pauses.next().unwrap_or_default(), &mut shutdown).await;
        if *shutdown.borrow() {
            return Ok(None);
        }
    }
}

/// Whether a store on a server is away for a while.
fn is_away(config: &Config, error: &StoreError) -> bool {
    let is_file = config.store.url.file().is_some();
    !is_file && policy::on_store(error, u32::MAX) == Action::Retry
}

/// Waits before another try, or until it is time to stop.
pub(super) async fn wait(
    error: &StoreError,
    pause: Duration,
    shutdown: &mut watch::Receiver<bool>,
) {
    tracing::warn!(
        { field::ERROR } = %error,
        { field::CAUSE } = error.cause(),
        { field::HINT } = error.hint().unwrap_or_default(),
        { field::RETRY_MS } = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
        "the store cannot be used; trying again"
    );
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        _ = shutdown.wait_for(|stop| *stop) => {}
    }
}

async fn run_all(
    config: Config,
    state: &StateFile,
    store: &Arc<SqlStore>,
    until_caught_up: bool,
    steering: Steering,
) -> Result<Vec<Summary>, EngineError> {
    let mut shutdown = steering.shutdown;
    let config = Arc::new(config);
    let count = config.sources.len();
    let stop = watch::Sender::new(false);
    let mut running = JoinSet::new();
    for (number, vitals) in steering.vitals.sources().iter().enumerate() {
        let job = Job {
            config: Arc::clone(&config),
            number,
            state: state.beside()?,
            store: Arc::clone(store),
            until_caught_up,
            again: count > 1 && !until_caught_up,
            dispositions: steering.dispositions.clone(),
            vitals: Arc::clone(vitals),
            shutdown: stop.subscribe(),
        };
        running.spawn(job.run());
    }
    let mut ended = vec![None; count];
    let mut failed = None;
    loop {
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop), if !*stop.borrow() => {
                stop.send_replace(true);
            }
            one = running.join_next() => match one {
                None => break,
                Some(Ok((number, Ok(summary)))) => {
                    if let Some(place) = ended.get_mut(number) {
                        *place = summary;
                    }
                }
                Some(Ok((_, Err(error)))) => {
                    // What others can still apply is not given up for it where they end anyway.
                    if !until_caught_up {
                        stop.send_replace(true);
                    }
                    failed.get_or_insert(error);
                }
                Some(Err(panic)) => {
                    stop.send_replace(true);
                    failed.get_or_insert(EngineError::Bug(format!("a source ended: {panic}")));
                }
            }
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(ended.into_iter().flatten().collect()),
    }
}

/// One source to be followed.
struct Job {
    config: Arc<Config>,
    /// Which one of the configuration.
    number: usize,
    state: StateFile,
    store: Arc<SqlStore>,
    until_caught_up: bool,
    /// It is begun again where that can help.
    again: bool,
    dispositions: watch::Receiver<DispositionsConfig>,
    vitals: Arc<SourceVitals>,
    shutdown: watch::Receiver<bool>,
}

impl Job {
    async fn run(mut self) -> (usize, Result<Option<Summary>, EngineError>) {
        (self.number, Box::pin(self.follow()).await)
    }

    /// Follows the source; `None` when it was not followed when it was time to stop.
    async fn follow(&mut self) -> Result<Option<Summary>, EngineError> {
        let config = Arc::clone(&self.config);
        let Some(source) = config.sources.get(self.number) else {
            return Err(EngineError::Bug("a source that is not there".to_owned()));
        };
        let mut shutdown = self.shutdown.clone();
        let mut pauses = policy::pauses();
        let mut restarts = true;
        loop {
            self.vitals.set_phase(Phase::Starting, None);
            let ended = match self.lease(source, restarts).await {
                Ok(Some(lease)) => {
                    restarts = false;
                    self.vitals.set_lease_held(true);
                    let now = Config {
                        dispositions: self.dispositions.borrow_and_update().clone(),
                        ..Config::clone(&config)
                    };
                    let ended = self.follow_under(&now, source, &lease).await;
                    self.vitals.set_lease_held(false);
                    match ended {
                        (ended, Kept::ToTheEnd) => ended,
                        // Standing by until it is free again.
                        (_, Kept::Lost) => continue,
                    }
                }
                Ok(None) => return Ok(None),
                Err(error) => Err(error),
            };
            let error = match ended {
                Ok(summary) => {
                    self.vitals.set_phase(Phase::Stopped, None);
                    return Ok(Some(summary));
                }
                Err(EngineError::Store(StoreError::LeaseLost { .. })) => continue,
                // Once it follows it waits for the store; before, it begins again.
                Err(EngineError::Store(error))
                    if !self.until_caught_up && is_away(&config, &error) =>
                {
                    let pause = pauses.next().unwrap_or_default();
                    self.vitals.store_failed(&error);
                    wait(&error, pause, &mut shutdown).await;
                    if *shutdown.borrow() {
                        return Ok(None);
                    }
                    continue;
                }
                Err(error) if !self.again || policy::concerns_all(&error) => {
                    // The failure matters more than a note of it.
                    drop(self.note(source, Some(&error)));
                    return Err(error);
                }
                Err(error) => error,
            };
            tracing::error!(
                { field::SOURCE } = source.name,
                { field::ERROR } = %error,
                hint = error.hint().unwrap_or_default(),
                { field::RETRY_MS } = u64::try_from(AGAIN_AFTER.as_millis()).unwrap_or(u64::MAX),
                "this source is not followed; the others are"
            );
            self.note(source, Some(&error))?;
            tokio::select! {
                () = tokio::time::sleep(AGAIN_AFTER) => {}
                _ = shutdown.wait_for(|stop| *stop) => return Ok(None),
            }
        }
    }

    /// Takes the lease of the source; a daemon stands by for it. `None` when it was
    /// time to stop before.
    async fn lease(
        &mut self,
        source: &SourceConfig,
        restarts: bool,
    ) -> Result<Option<Lease>, EngineError> {
        let name = source.name.as_str();
        let own = self.state.daemon_name()?;
        if self.until_caught_up {
            let shutdown = self.shutdown.clone();
            return Ok(lease::take(self.store.as_ref(), name, &own, shutdown).await?);
        }
        let mut shutdown = self.shutdown.clone();
        let mut seen = None;
        loop {
            let restarts = restarts && seen.is_none();
            let answer = lease::ask(self.store.as_ref(), name, &own, restarts).await?;
            self.vitals.store_works();
            match answer {
                Grant::Held(mut lease) => {
                    self.vitals.set_phase(Phase::Starting, None);
                    lease.taken_from = lease.taken_from.or(seen.filter(|other| *other != own));
                    tracing::info!(
                        { field::SOURCE } = name,
                        holder = lease.holder,
                        fencing_token = lease.fencing_token,
                        "has the lease of the source"
                    );
                    return Ok(Some(lease));
                }
                Grant::Taken { holder, ends_in } if seen.is_none() => {
                    tracing::info!(
                        { field::SOURCE } = name,
                        holder,
                        ends_in,
                        "standing by: another daemon has the lease of the source"
                    );
                    self.note(source, None)?;
                    let why = format!("{holder} has the lease of the source");
                    self.vitals.set_phase(Phase::Standby, Some(why));
                    seen = Some(holder);
                }
                // It may be the one that was killed here.
                Grant::Taken { holder, .. } => seen = Some(holder),
            }
            self.vitals.pulse.turn();
            if lease::look_later(&mut shutdown).await {
                return Ok(None);
            }
        }
    }

    /// Follows the source as long as it has the lease.
    async fn follow_under(
        &mut self,
        config: &Config,
        source: &SourceConfig,
        lease: &Lease,
    ) -> (Result<Summary, EngineError>, Kept) {
        let state = match self.state.beside() {
            Ok(state) => state,
            Err(error) => return (Err(error.into()), Kept::ToTheEnd),
        };
        let stop = watch::Sender::new(false);
        let store = Arc::clone(&self.store);
        let until_caught_up = self.until_caught_up;
        let work = run_source(
            config,
            source,
            state,
            store,
            lease,
            until_caught_up,
            Steered {
                shutdown: stop.subscribe(),
                dispositions: self.dispositions.clone(),
                vitals: Arc::clone(&self.vitals),
            },
        );
        let under = (self.store.as_ref(), self.vitals.as_ref(), lease);
        let shutdown = self.shutdown.clone();
        let (ended, kept) = lease::keep(under, shutdown, &stop, Box::pin(work)).await;
        let is_lost = kept == Kept::Lost
            || matches!(ended, Err(EngineError::Store(StoreError::LeaseLost { .. })));
        if is_lost {
            tracing::warn!(
                { field::SOURCE } = source.name,
                "another daemon took the lease of the source; nothing more is written here"
            );
        }
        (ended, kept)
    }

    /// Leaves a note of why the source is not followed: what failed, or that
    /// another daemon does it.
    fn note(
        &mut self,
        source: &SourceConfig,
        error: Option<&EngineError>,
    ) -> Result<(), EngineError> {
        if let Some(error) = error {
            let why = Some(error.to_string());
            self.vitals.set_phase(Phase::Stopped, why);
        }
        let now = system_clock();
        let known = self.state.status(&source.name)?;
        let health = match error {
            Some(_) => Health::Stopped,
            None => Health::Standby,
        };
        let note = StatusNote {
            health,
            last_error: error.map(ToString::to_string),
            last_error_at: error.map(|_| now),
            saved_at: now,
            ..known.unwrap_or_default()
        };
        Ok(self.state.set_status(&source.name, &note)?)
    }
}
