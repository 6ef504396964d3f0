//! How the daemon is at this moment, for whoever asks over HTTP: `/metrics` prints
//! it and `/healthz` judges it.
//!
//! # Cost
//! Written once a batch, and where the stream falls idle or speaks again; never once
//! a row. Reading locks nothing that the engine waits for.
//!
//! # What lag is
//! A source that has nothing to say is not behind, however old its last event. While
//! everything that it sent is durable and the connection lives, the lag is 0. Else it
//! is the time since the newest moment that is known to be wholly in the numbers: that
//! of the last durable event, or the last at which nothing was left to do. Of a source
//! that is lost while it is quiet that is the moment of the loss.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::Notify;

use crate::engine::Clock;
use crate::engine::batch::Batch;
use crate::engine::pulse::Pulse;
use crate::state::{Missing, Rereads};
use crate::store::Attributed;
use crate::vicidial::Table;

/// A time that has not come yet, or is not known.
const NEVER: i64 = i64::MIN;

/// Bounds of the histograms of times, in seconds: from a commit into a file to one
/// that a server was long away for.
const SECONDS_BOUNDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Bounds of the histogram of changes in a batch.
const CHANGES_BOUNDS: [f64; 8] = [1.0, 4.0, 16.0, 64.0, 256.0, 512.0, 1024.0, 4096.0];

/// How the daemon is.
#[derive(Debug)]
pub struct Vitals {
    /// When the daemon was started.
    pub(crate) started: Instant,
    /// The same in seconds since 1970 (UTC).
    pub(crate) started_at: i64,
    store: Arc<StoreVitals>,
    sources: Vec<Arc<SourceVitals>>,
    only_serves: bool,
}

/// How the store is, which all sources share.
#[derive(Debug, Default)]
struct StoreVitals {
    /// How long a statement may take; known once the store is open.
    patience: OnceLock<Duration>,
    errors: AtomicU64,
    /// Why it cannot be used, while it cannot.
    failing: Mutex<Option<String>>,
    fails: AtomicBool,
    /// Posted results that wait, of all sources.
    posts_waiting: AtomicU64,
}

/// What the daemon does about a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It connects for the first time, checks the source and looks where to begin.
    Starting,
    /// Another daemon has the lease.
    Standby,
    /// It reads the binlog.
    Following,
    /// The source was lost, and is tried again and again.
    Lost,
    /// It is not followed.
    Stopped,
}

/// How one source is.
#[derive(Debug)]
pub struct SourceVitals {
    name: String,
    clock: Clock,
    started: Instant,
    store: Arc<StoreVitals>,
    /// Signs of life of its loops.
    pub(super) pulse: Pulse,
    /// Rung when results are posted.
    pub(super) posted: Notify,
    phase: Mutex<(Phase, Option<String>)>,
    /// Its binlog has been sent since the start.
    has_followed: AtomicBool,
    /// Where everything is applied up to.
    position: Mutex<Option<String>>,
    lease_held: AtomicBool,
    connected: AtomicBool,
    /// True while the stream has nothing more to read.
    idle: AtomicBool,
    /// Batches handed to the applying half, and how many of them are durable.
    sent: AtomicU64,
    durable: AtomicU64,
    /// Up to when everything was in the numbers, when the source last spoke again;
    /// seconds since 1970 (UTC), as all times here unless they are ages.
    complete_until: AtomicI64,
    /// When the stream was lost, if it had nothing more to read then: what was handed
    /// to the applying half before was all.
    lost_at: AtomicI64,
    event_time: AtomicI64,
    /// Milliseconds after the daemon's start.
    heard_event: AtomicI64,
    heard_heartbeat: AtomicI64,
    committed: AtomicI64,
    counts: Mutex<Counts>,
    disconnects: AtomicU64,
    connect_failures: AtomicU64,
    outlook: Mutex<Outlook>,
    pub(crate) batch_seconds: Histogram,
    pub(crate) commit_seconds: Histogram,
    pub(crate) batch_changes: Histogram,
}

/// What was counted of a source since the daemon's start; `missing` and `rereads`
/// since the source is followed.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Events of every kind, up to the durable position.
    pub events: u64,
    /// Of each of [`Table::ALL`]: events with rows, and rows.
    pub tables: [(u64, u64); Table::ALL.len()],
    /// Changes that were applied.
    pub changes: u64,
    /// Dispositions among them.
    pub results: u64,
    /// What the numbers lack.
    pub missing: Missing,
    /// What was read again by SELECT.
    pub rereads: Rereads,
}

/// What no event says: it is asked for now and then.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// Seconds until the source deletes the binlog that is needed next; infinite
    /// where it never does by itself. `None`: not known.
    pub purge_seconds: Option<f64>,
    /// Bytes of binlog between the durable position and the source's end.
    pub behind_bytes: Option<u64>,
    /// Rows that are quarantined now.
    pub set_aside: Option<u64>,
    /// Counted calls of the last 24 hours.
    pub recent: Option<Attributed>,
}

impl Vitals {
    /// Of a daemon that begins now to follow these sources.
    #[must_use]
    pub fn new<'a>(sources: impl IntoIterator<Item = &'a str>, clock: Clock) -> Self {
        let store = Arc::<StoreVitals>::default();
        let started = Instant::now();
        let source = |name: &str| Arc::new(SourceVitals::new(name, clock, started, &store));
        Self {
            started,
            started_at: clock(),
            sources: sources.into_iter().map(source).collect(),
            store,
            only_serves: false,
        }
    }

    /// Of who serves a store to which others bring these sources.
    #[must_use]
    pub fn of_serving<'a>(sources: impl IntoIterator<Item = &'a str>, clock: Clock) -> Self {
        Self {
            only_serves: true,
            ..Self::new(sources, clock)
        }
    }

    /// Whether others follow the sources, and this one tells of the store alone.
    #[must_use]
    pub fn only_serves(&self) -> bool {
        self.only_serves
    }

    /// The sources, in the order of the configuration.
    #[must_use]
    pub fn sources(&self) -> &[Arc<SourceVitals>] {
        &self.sources
    }

    /// How often the store failed since the start.
    #[must_use]
    pub fn store_errors(&self) -> u64 {
        self.store.errors.load(Ordering::Relaxed)
    }

    /// Why the store cannot be used, while it cannot.
    #[must_use]
    pub fn store_failure(&self) -> Option<String> {
        self.store.failure()
    }

    /// The time by the engine's clock, as far as it went on evenly since the start;
    /// seconds since 1970 (UTC).
    #[must_use]
    pub fn now(&self) -> i64 {
        let since = i64::try_from(self.started.elapsed().as_secs()).unwrap_or(i64::MAX);
        self.started_at.saturating_add(since)
    }

    /// Posted results that wait, of all sources.
    #[must_use]
    pub fn posts_waiting(&self) -> u64 {
        self.store.posts_waiting.load(Ordering::Relaxed)
    }

    /// So many wait now.
    pub(super) fn set_posts_waiting(&self, waiting: u64) {
        let of_all = &self.store.posts_waiting;
        of_all.store(waiting, Ordering::Relaxed);
    }

    /// A result of this source was posted.
    pub(super) fn ring(&self, source: &str) {
        for of in self.sources.iter().filter(|of| of.name == source) {
            of.posted.notify_one();
        }
    }

    /// The store failed; it is tried again.
    pub(super) fn store_failed(&self, error: &impl ToString) {
        self.store.failed(error.to_string());
    }

    /// The store is open, and its statements may take so long.
    pub(super) fn store_opened(&self, patience: Duration) {
        self.store.patience.get_or_init(|| patience);
        self.store.works();
    }

    /// The store answers.
    pub(super) fn store_works(&self) {
        self.store.works();
    }

    /// Whether the store has been opened.
    #[must_use]
    pub fn has_opened(&self) -> bool {
        self.patience().is_some()
    }

    /// How long a statement of the store may take; `None` until it is open.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.store.patience.get().copied()
    }
}

impl StoreVitals {
    fn failed(&self, why: String) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        *lock(&self.failing) = Some(why);
        self.fails.store(true, Ordering::Release);
    }

    fn works(&self) {
        if self.fails.swap(false, Ordering::AcqRel) {
            *lock(&self.failing) = None;
        }
    }

    fn failure(&self) -> Option<String> {
        let fails = self.fails.load(Ordering::Acquire);
        fails.then(|| lock(&self.failing).clone()).flatten()
    }
}

/// What is counted is still right where a thread has panicked beside it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SourceVitals {
    fn new(name: &str, clock: Clock, started: Instant, store: &Arc<StoreVitals>) -> Self {
        let never = || AtomicI64::new(NEVER);
        Self {
            name: name.to_owned(),
            clock,
            started,
            store: Arc::clone(store),
            pulse: Pulse::default(),
            posted: Notify::new(),
            phase: Mutex::new((Phase::Starting, None)),
            has_followed: AtomicBool::new(false),
            position: Mutex::default(),
            lease_held: AtomicBool::new(false),
            connected: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            complete_until: never(),
            lost_at: never(),
            event_time: never(),
            heard_event: never(),
            heard_heartbeat: never(),
            committed: never(),
            counts: Mutex::default(),
            disconnects: AtomicU64::new(0),
            connect_failures: AtomicU64::new(0),
            outlook: Mutex::default(),
            batch_seconds: Histogram::new(SECONDS_BOUNDS),
            commit_seconds: Histogram::new(SECONDS_BOUNDS),
            batch_changes: Histogram::new(CHANGES_BOUNDS),
        }
    }

    /// Of a source that nobody asks about: of a replay, or a test.
    #[must_use]
    pub fn unwatched(name: &str, clock: Clock) -> Arc<Self> {
        Arc::new(Self::new(name, clock, Instant::now(), &Arc::default()))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is done about it, and why.
    #[must_use]
    pub fn phase(&self) -> (Phase, Option<String>) {
        lock(&self.phase).clone()
    }

    pub(crate) fn set_phase(&self, phase: Phase, why: Option<String>) {
        *lock(&self.phase) = (phase, why);
    }

    /// Whether its binlog was sent since the start, if only for a moment.
    pub(super) fn has_followed(&self) -> bool {
        self.has_followed.load(Ordering::Relaxed)
    }

    /// Where everything is applied up to, as last noted.
    pub(super) fn position(&self) -> Option<String> {
        lock(&self.position).clone()
    }

    /// Everything is applied up to here.
    pub(super) fn is_at(&self, position: &impl ToString) {
        *lock(&self.position) = Some(position.to_string());
    }

    /// Whether this daemon may write it.
    #[must_use]
    pub fn lease_held(&self) -> bool {
        self.lease_held.load(Ordering::Relaxed)
    }

    pub(super) fn set_lease_held(&self, held: bool) {
        self.lease_held.store(held, Ordering::Relaxed);
    }

    /// Whether its binlog is being sent.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// How often a connection broke that was there, and how often none could be made.
    #[must_use]
    pub fn disconnects(&self) -> (u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.disconnects), of(&self.connect_failures))
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        lock(&self.counts).clone()
    }

    /// What was last asked for.
    #[must_use]
    pub fn outlook(&self) -> Outlook {
        lock(&self.outlook).clone()
    }

    pub(super) fn set_outlook(&self, change: impl FnOnce(&mut Outlook)) {
        change(&mut lock(&self.outlook));
    }

    /// So many posted results wait now, of all sources.
    pub(super) fn set_posts_waiting(&self, waiting: u64) {
        let of_all = &self.store.posts_waiting;
        of_all.store(waiting, Ordering::Relaxed);
    }

    /// Whether everything that the source has sent is in the store, and nothing more
    /// comes at this moment.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.is_all_durable() && self.reads_nothing()
    }

    /// Whether the applying half has nothing left to do.
    fn is_all_durable(&self) -> bool {
        let sent = self.sent.load(Ordering::Relaxed);
        self.durable.load(Ordering::Relaxed) >= sent
    }

    /// Up to when everything is known to be in the numbers.
    fn complete_until(&self) -> i64 {
        let known = self.complete_until.load(Ordering::Relaxed);
        if self.is_all_durable() {
            known.max(self.lost_at.load(Ordering::Relaxed))
        } else {
            known
        }
    }

    /// Whether the stream is open and has nothing more to read.
    pub(super) fn reads_nothing(&self) -> bool {
        self.connected() && self.idle.load(Ordering::Relaxed)
    }

    /// Seconds that the numbers are behind the source; `None` before its first event.
    #[must_use]
    pub fn lag_seconds(&self) -> Option<i64> {
        if self.is_idle() {
            return Some(0);
        }
        let event_time = self.event_time.load(Ordering::Relaxed);
        let known = event_time.max(self.complete_until());
        (known != NEVER).then(|| ((self.clock)() - known).max(0))
    }

    /// Since when the source has sent no event; `None` before the first.
    #[must_use]
    pub fn event_age(&self) -> Option<Duration> {
        self.age(&self.heard_event)
    }

    /// Since when it has sent no heartbeat; it sends them only between events.
    #[must_use]
    pub fn heartbeat_age(&self) -> Option<Duration> {
        self.age(&self.heard_heartbeat)
    }

    /// Since when nothing was committed.
    #[must_use]
    pub fn commit_age(&self) -> Option<Duration> {
        self.age(&self.committed)
    }

    fn age(&self, of: &AtomicI64) -> Option<Duration> {
        let then = u64::try_from(of.load(Ordering::Relaxed)).ok()?;
        Some(
            self.started
                .elapsed()
                .saturating_sub(Duration::from_millis(then)),
        )
    }

    fn mark(&self, what: &AtomicI64) {
        let now = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        what.store(now, Ordering::Relaxed);
    }

    /// A stream is about to be opened, behind what is durable.
    pub(crate) fn begin_session(&self) {
        // From here on what is sent is no more what was sent before the loss.
        let complete = self.complete_until();
        self.complete_until.store(complete, Ordering::Relaxed);
        self.lost_at.store(NEVER, Ordering::Relaxed);
        let durable = self.durable.load(Ordering::Relaxed);
        self.sent.store(durable, Ordering::Relaxed);
    }

    /// The binlog is being sent.
    pub(crate) fn connect(&self) {
        self.connected.store(true, Ordering::Relaxed);
        self.has_followed.store(true, Ordering::Relaxed);
        self.mark(&self.heard_event);
        self.set_phase(Phase::Following, None);
    }

    /// The stream has ended, by a failure or not.
    pub(super) fn disconnect(&self, by_failure: bool) {
        if self.reads_nothing() {
            self.lost_at.store((self.clock)(), Ordering::Relaxed);
        }
        self.idle.store(false, Ordering::Relaxed);
        let was_connected = self.connected.swap(false, Ordering::Relaxed);
        if by_failure {
            let count = if was_connected {
                &self.disconnects
            } else {
                &self.connect_failures
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The stream has nothing to read, and this is all that waits.
    pub(super) fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::Relaxed);
    }

    /// The stream was idle and the source spoke again.
    pub(super) fn heard(&self, heartbeat: bool) {
        if self.is_idle() {
            self.complete_until.store((self.clock)(), Ordering::Relaxed);
        }
        self.idle.store(false, Ordering::Relaxed);
        if heartbeat {
            self.mark(&self.heard_heartbeat);
        } else {
            self.mark(&self.heard_event);
        }
    }

    /// Events come and come.
    pub(super) fn busy(&self) {
        self.mark(&self.heard_event);
    }

    /// A number for the next batch that is handed to the applying half.
    pub(super) fn next_batch(&self) -> u64 {
        self.sent.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A batch is durable; `counts` is everything up to there but the tables.
    pub(super) fn durable(&self, batch: &Batch, results: usize, event_time: Option<i64>) {
        self.store.works();
        self.durable.fetch_max(batch.number, Ordering::Relaxed);
        if let Some(time) = event_time {
            self.event_time.store(time, Ordering::Relaxed);
        }
        self.mark(&self.committed);
        let facts = batch.facts.len();
        {
            let mut counts = lock(&self.counts);
            counts.events += batch.tally.events;
            for (count, (events, rows)) in counts.tables.iter_mut().zip(batch.tables) {
                count.0 += events;
                count.1 += rows;
            }
            counts.changes += u64::try_from(facts).unwrap_or(u64::MAX);
            counts.results += u64::try_from(results).unwrap_or(u64::MAX);
            counts.rereads.add(&batch.rereads);
        }
        if facts > 0 {
            #[expect(clippy::cast_precision_loss, reason = "some thousands at most")]
            self.batch_changes.observe(facts as f64);
            self.batch_seconds
                .observe(batch.read_at.elapsed().as_secs_f64());
        }
    }

    /// What was known when the daemon began.
    pub(super) fn begin(&self, missing: Missing, rereads: Rereads, event_time: Option<i64>) {
        let mut counts = lock(&self.counts);
        counts.missing = missing;
        counts.rereads = rereads;
        self.event_time
            .store(event_time.unwrap_or(NEVER), Ordering::Relaxed);
    }

    /// What the numbers lack now.
    pub(crate) fn set_missing(&self, missing: Missing) {
        lock(&self.counts).missing = missing;
    }

    /// The store failed; it is tried again.
    pub(crate) fn store_failed(&self, error: &impl ToString) {
        self.store.failed(error.to_string());
    }

    /// The store answers.
    pub(super) fn store_works(&self) {
        self.store.works();
    }
}

#[cfg(test)]
mod tests;
