//! Judges the calls of the past by the rules of today.
//!
//! A call is judged when something about it changes. After an admin flips a
//! flag, or an operator changes `[dispositions]`, `[attribution]` or the time
//! zone, what lies in the past is as it was until this goes through it. The
//! daemon may run: each page is a commit of its own that raises the revision of
//! the checkpoint, and whoever comes second reads again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::Checkpoint;
use crate::config::{Config, SourceConfig};
use crate::engine::policy::EngineError;
use crate::engine::run::rules;
use crate::engine::several::{OfSources, SourceFailure};
use crate::ledger::{ChangeSet, Counters, Frame, Rules, Working, further_keys};
use crate::source::MySqlSource;
use crate::store::{Mark, Page, SqlStore, Store, StoreError};
use crate::vicidial::Origin;

/// Calls or dials of one commit: some ten milliseconds, in which the daemon waits.
const PAGE_ROWS: u32 = 1000;

/// The same where the daemon commits in between again and again.
const PAGE_ROWS_MIN: u32 = 16;

/// Tries of one page while the daemon commits in between.
const TRIES: u32 = 1000;

/// Pause before another try.
const PAUSE: Duration = Duration::from_millis(15);

/// What recounting came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Recounted {
    /// Calls and dials looked at.
    pub looked_at: u64,
    /// Calls that changed.
    pub calls: u64,
    /// Dials that changed.
    pub dials: u64,
    /// By how much the counters of all DIDs together changed.
    pub counters: Counters,
    /// Dials that count on another day now. Their times were read in the zone of
    /// then, and stay: their days are those of a wrong hour.
    pub moved_dials: u64,
    /// The first day, as `YYYY-MM-DD`, that one of these moved from or to.
    pub moved_since: Option<String>,
}

/// Recounts every configured source, with its statuses and time zone as they
/// are now. `dry_run` changes nothing. `progress` is told how many calls and
/// dials were looked at.
///
/// # Errors
/// [`EngineError`] when the store cannot be opened. What was recounted before a
/// source fails stays so, and is in the sum.
pub async fn recount(
    config: &Config,
    dry_run: bool,
    mut progress: impl FnMut(u64),
) -> Result<(Recounted, Vec<SourceFailure>), EngineError> {
    let url = config.store.address();
    let store = SqlStore::open(&url).await?;
    let mut total = Recounted::default();
    let mut all = OfSources::default();
    for source in &config.sources {
        let one = async {
            let server = MySqlSource::connect(&source.connect_settings(&config.state)).await?;
            let mut with = Recount {
                store: &store,
                rules: rules(config, source, &server).await?,
                source,
                dry_run,
                origin: Origin::new(&Arc::from("recount"), 0, 0, super::run::system_clock()),
            };
            with.run(&mut total, &mut progress).await
        };
        let done = Box::pin(one).await;
        all.add(&source.name, done);
    }
    store.close().await;
    Ok((total, all.failed))
}

impl Recounted {
    /// Counts the dials that a change moves from one day to another, whatever DIDs
    /// they are of. Only another time zone does that.
    fn note_moved(&mut self, change: &ChangeSet) {
        let mut by_day: BTreeMap<&str, i64> = BTreeMap::new();
        for (key, counters) in &change.daily {
            *by_day.entry(&key.day).or_default() += counters.dials;
        }
        by_day.retain(|_, dials| *dials != 0);
        let sum =
            |is_sign: fn(&i64) -> bool| by_day.values().filter(|dials| is_sign(dials)).sum::<i64>();
        let moved = sum(|dials| *dials > 0).min(-sum(|dials| *dials < 0));
        if moved <= 0 {
            return;
        }
        self.moved_dials += moved.unsigned_abs();
        let first = by_day.keys().next().map(|day| (*day).to_owned());
        self.moved_since = match (self.moved_since.take(), first) {
            (Some(known), Some(first)) => Some(known.min(first)),
            (known, first) => known.or(first),
        };
    }
}

struct Recount<'a, St> {
    store: &'a St,
    rules: Rules,
    source: &'a SourceConfig,
    dry_run: bool,
    origin: Origin,
}

impl<St: Store> Recount<'_, St> {
    async fn run(
        &mut self,
        total: &mut Recounted,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), EngineError> {
        let (mut mark, mut rows, mut tries) = (Mark::default(), PAGE_ROWS, 0);
        let source = self.source.name.as_str();
        while let Some(page) = self.store.page(source, mark, rows).await? {
            match self.try_page(&page, total).await {
                Err(StoreError::OtherWriter { .. } | StoreError::Busy { .. }) if tries < TRIES => {
                    // A smaller page fits between two commits of the daemon.
                    (tries, rows) = (tries + 1, (rows / 2).max(PAGE_ROWS_MIN));
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                done => done?,
            }
            (mark, tries, rows) = (page.mark, 0, (rows * 2).min(PAGE_ROWS));
            total.looked_at += u64::from(page.rows);
            progress(total.looked_at);
        }
        Ok(())
    }

    async fn try_page(&mut self, page: &Page, total: &mut Recounted) -> Result<(), StoreError> {
        let (source, tenant) = (&self.source.name, &self.source.tenant);
        // Before the calls are read: a commit in between is then noticed.
        let Some(expected) = self.store.progress(source).await? else {
            return Ok(());
        };
        let mut loaded = self.store.load(source, tenant, &page.keys).await?;
        let further = further_keys(&[], &page.keys, &loaded);
        let more = self.store.load(source, tenant, &further).await?;
        loaded.dials.extend(more.dials);
        loaded.pruned = self.store.pruned(source).await?;
        let mut working = Working::new(loaded);
        working.recount(&self.rules, &page.keys, &self.origin);
        let change = working.finish(Frame {
            source: source.clone(),
            tenant: tenant.clone(),
            checkpoint: Checkpoint {
                revision: expected.revision + 1,
                ..expected.clone()
            },
            statuses: None,
            landmarks: Vec::new(),
            expected: Some(expected),
            fencing_token: None,
        });
        if change.calls.is_empty() && change.dials.is_empty() {
            return Ok(());
        }
        if !self.dry_run {
            self.store.commit(&change).await?;
        }
        total.calls += change.calls.len() as u64;
        total.dials += change.dials.len() as u64;
        for delta in change.stats.values() {
            total.counters += delta.counters;
        }
        total.note_moved(&change);
        Ok(())
    }
}
