//! `didtail serve`: a store that another daemon fills is looked at, and what is posted is
//! kept in it for that daemon.
//!
//! # What it does not do
//! It follows no source, takes no lease, and changes no schema: it waits for a store
//! that is not there yet or is older, and stops at a newer one, which it does not know.
//!
//! # What it can say of a source
//! Who has its lease by the store's clock. Whether that daemon reads the binlog at this
//! moment only the daemon itself can tell.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::Config;
use crate::engine::daemon::wait;
use crate::engine::desk::Desk;
use crate::engine::policy::{self, EngineError};
use crate::engine::run::system_clock;
use crate::engine::vitals::{Phase, SourceVitals, Vitals};
use crate::store::{LeaseState, SqlStore, Store, StoreError};
use crate::telemetry::field;

/// Time between two looks at the store.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Of who serves and follows nothing, before it has begun.
#[must_use]
pub fn vitals_of_serving(config: &Config) -> Arc<Vitals> {
    let names = config.sources.iter().map(|source| source.name.as_str());
    Arc::new(Vitals::of_serving(names, system_clock))
}

/// Hands the store to `desk`, whenever it is there, until `shutdown` turns true; awaits
/// `farewell` then, which is to see to it that nobody asks any more, and closes the store.
///
/// # Errors
/// [`EngineError::Store`] when the store cannot be used and waiting is in vain.
pub async fn serve(
    config: &Config,
    vitals: &Arc<Vitals>,
    desk: &Desk,
    mut shutdown: watch::Receiver<bool>,
    farewell: impl Future<Output = ()>,
) -> Result<(), EngineError> {
    let file = config.store.url.file();
    let mut farewell = Some(farewell);
    let mut ended = Ended::Moved;
    while ended == Ended::Moved {
        let known = identity(file);
        let Some(store) = open(config, vitals, &mut shutdown).await? else {
            break;
        };
        desk.open(&store, vitals);
        let looked = tokio::select! {
            looked = look_on(&store, vitals, || identity(file) == known) => looked,
            _ = shutdown.wait_for(|stop| *stop) => Ok(Ended::Stopped),
        };
        if !matches!(looked, Ok(Ended::Moved))
            && let Some(farewell) = farewell.take()
        {
            farewell.await;
        }
        desk.close().await;
        store.close().await;
        ended = looked?;
    }
    if let Some(farewell) = farewell {
        farewell.await;
    }
    Ok(())
}

/// Why a store is looked at no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// It is time to stop.
    Stopped,
    /// Another file is in its place: what is written to the old one is lost.
    Moved,
}

/// Which file is there.
fn identity(file: Option<&Path>) -> Option<(u64, u64)> {
    let found = std::fs::metadata(file?).ok()?;
    Some((found.dev(), found.ino()))
}

/// Opens the store, and waits for it. `None` when it was time to stop before.
async fn open(
    config: &Config,
    vitals: &Vitals,
    shutdown: &mut watch::Receiver<bool>,
) -> Result<Option<SqlStore>, EngineError> {
    let mut pauses = policy::pauses();
    while !*shutdown.borrow() {
        let error = match SqlStore::open_beside(&config.store.address()).await {
            Ok(store) => {
                vitals.store_opened(store.patience());
                return Ok(Some(store));
            }
            Err(error) => error,
        };
        // The daemon makes it, and brings it up to date.
        let is_to_come = matches!(
            error,
            StoreError::Missing { .. } | StoreError::OlderSchema { .. }
        );
        if !is_to_come && !error.is_transient() {
            return Err(error.into());
        }
        vitals.store_failed(&error);
        wait(&error, pauses.next().unwrap_or_default(), shutdown).await;
    }
    Ok(None)
}

/// Looks at the store again and again, until it is no more the one that was opened.
async fn look_on(
    store: &SqlStore,
    vitals: &Vitals,
    is_there: impl Fn() -> bool,
) -> Result<Ended, StoreError> {
    let mut fails = false;
    loop {
        match look(store, vitals).await {
            Ok(()) => {
                vitals.store_works();
                if std::mem::take(&mut fails) {
                    tracing::info!("the store answers again");
                }
            }
            Err(error) if error.is_transient() => {
                vitals.store_failed(&error);
                if !std::mem::replace(&mut fails, true) {
                    tracing::warn!(
                        { field::ERROR } = %error,
                        { field::CAUSE } = error.cause(),
                        { field::HINT } = error.hint().unwrap_or_default(),
                        "the store cannot be used; trying again"
                    );
                }
            }
            Err(error) => return Err(error),
        }
        if !is_there() {
            tracing::warn!("another file is in the store's place; opening that");
            return Ok(Ended::Moved);
        }
        for source in vitals.sources() {
            source.pulse.turn();
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Looks once: is the store still this program's, who follows each source, and how many
/// results wait.
async fn look(store: &SqlStore, vitals: &Vitals) -> Result<(), StoreError> {
    store.demand_current().await?;
    for source in vitals.sources() {
        tell(source, store.lease(source.name()).await?);
    }
    // Of one source or of none: how many wait is told of all.
    let (_, waiting) = store.posted("", 1).await?;
    vitals.set_posts_waiting(waiting);
    Ok(())
}

fn tell(source: &SourceVitals, lease: Option<LeaseState>) {
    let held = lease.filter(LeaseState::is_held);
    let (phase, why) = match held {
        Some(lease) => {
            let why = format!("{} has the lease of the source", lease.holder);
            (Phase::Standby, why)
        }
        None => {
            let why = "nobody follows it: no daemon has its lease; look for one with \
                       `didtail status` where it is to run";
            (Phase::Stopped, why.to_owned())
        }
    };
    source.set_phase(phase, Some(why));
}
