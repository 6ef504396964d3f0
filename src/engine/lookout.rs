//! Asks now and then what no event says, for whoever watches the daemon: how far the
//! end of the binlog is, when the source deletes what is needed next, how many rows are
//! quarantined, and how the DIDs of the newest calls are known.
//!
//! Beside the loop and never in its way: what cannot be asked is left out.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::engine::run::system_clock;
use crate::engine::vitals::SourceVitals;
use crate::source::{Distance, MySqlSource, distance};
use crate::state::StateFile;
use crate::store::{SqlStore, Store as _};

/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Time until the first look: the store has a position by then.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// Looks between two counts of the calls of the last day, which may take a second.
const LOOKS_PER_COUNT: u32 = 5;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

const SECONDS_OF_DAY: i64 = 86_400;

/// Whoever looks out for one source.
pub(super) struct Lookout {
    pub(super) source: Arc<MySqlSource>,
    pub(super) store: Arc<SqlStore>,
    pub(super) state: StateFile,
    pub(super) vitals: Arc<SourceVitals>,
}

impl Lookout {
    /// Looks again and again; never ends.
    pub(super) async fn run(self) {
        let mut tick = interval_at(Instant::now() + FIRST_LOOK, LOOK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in (0..LOOKS_PER_COUNT).cycle() {
            tick.tick().await;
            self.set_aside();
            // Not of self: a state file cannot be looked at by two threads.
            ahead(&self.source, &self.store, &self.vitals).await;
            let counted = self.vitals.outlook().recent;
            let is_empty = counted.is_none_or(|recent| recent.calls() == 0);
            if number == 0 || is_empty {
                recent(&self.store, &self.vitals).await;
            }
        }
    }

    fn set_aside(&self) {
        let rows = self.state.quarantine_count(self.vitals.name()).ok();
        self.vitals.set_outlook(|outlook| outlook.set_aside = rows);
    }
}

async fn ahead(source: &MySqlSource, store: &SqlStore, vitals: &SourceVitals) {
    let asked = timeout(PATIENCE, ends(source, store, vitals.name()));
    let found = asked.await.ok().flatten();
    vitals.set_outlook(|outlook| {
        if let Some(found) = found {
            outlook.behind_bytes = Some(found.bytes);
            outlook.purge_seconds = Some(found.purge_seconds);
        } else {
            outlook.behind_bytes = None;
            // The source does not wait until it can be asked again.
            let less = |left: f64| (left - LOOK_INTERVAL.as_secs_f64()).max(0.0);
            outlook.purge_seconds = outlook.purge_seconds.map(less);
        }
    });
}

async fn ends(source: &MySqlSource, store: &SqlStore, name: &str) -> Option<Distance> {
    let here = store.progress(name).await.ok()??;
    distance(source, &here.position).await.ok()
}

async fn recent(store: &SqlStore, vitals: &SourceVitals) {
    let since = system_clock() - SECONDS_OF_DAY;
    let counted = store.attributed(vitals.name(), Some(since));
    if let Ok(Ok(recent)) = timeout(PATIENCE, counted).await {
        vitals.set_outlook(|outlook| outlook.recent = Some(recent));
    }
}
