//! Signs of life of what follows each source, for a service manager that starts a
//! daemon again which hangs.
//!
//! # What is alive
//! Waiting is no illness: a source that is away, a store that is down and a lease
//! that another daemon has are waited for in loops that turn, however long that
//! takes. So what is counted is the turns. The applying half turns at least once a
//! second, and with each try where its store fails; one that turns no more waits
//! for something that never comes. The reading half may wait for the source or for
//! the applying half as long as it takes; one that does not give its thread back
//! is in a loop without an end.
//!
//! What takes its time before the stream is open is not timed: connections have
//! limits of their own, and a large store may be long in getting a new schema.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::engine::vitals::{Phase, SourceVitals, Vitals};

/// A loop that did not turn for so long hangs: many times what a pause between two
/// tries or the largest commit takes.
const STILL_MAX: Duration = Duration::from_secs(600);

/// It may be longer where statements may: so many of them one after the other.
const STATEMENTS_PER_TURN: u32 = 10;

/// Signs of life of the loops that follow one source.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse {
    signs: Arc<Signs>,
}

#[derive(Debug, Default)]
struct Signs {
    /// Turns of the applying half, or of standing by.
    turns: AtomicU64,
    /// Times that the reading half was given a thread.
    reads: AtomicU64,
    /// It has one.
    is_reading: AtomicBool,
}

impl Pulse {
    /// The applying half has turned, or who stands by has looked again.
    pub(super) fn turn(&self) {
        self.signs.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Does the work of the reading half, and notes when it has a thread.
    pub(super) async fn reads<T>(self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            self.signs.reads.fetch_add(1, Ordering::Relaxed);
            self.signs.is_reading.store(true, Ordering::Relaxed);
            let polled: Poll<T> = work.as_mut().poll(context);
            self.signs.is_reading.store(false, Ordering::Relaxed);
            polled
        })
        .await
    }
}

/// What is to be told a service manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Every source is followed, or another daemon does it; of several one that
    /// cannot be followed does not count, as long as it is not the only one left. Who
    /// only serves: the store was opened.
    pub is_ready: bool,
    /// What is done, in one line for people.
    pub status: String,
    /// The sources that hang.
    pub hanging: Vec<String>,
}

/// Looks at the vitals now and then, and knows what they were.
#[derive(Debug)]
pub struct Watcher {
    vitals: Arc<Vitals>,
    /// Of each source.
    seen: Vec<Seen>,
}

/// When the counts of a source were seen to be others than before.
#[derive(Clone, Copy, Debug)]
struct Seen {
    turns: u64,
    turned: Instant,
    reads: u64,
    read: Instant,
}

impl Watcher {
    /// Watches these.
    #[must_use]
    pub fn new(vitals: Arc<Vitals>) -> Self {
        Self {
            vitals,
            seen: Vec::new(),
        }
    }

    /// How things are now.
    pub fn look(&mut self, now: Instant) -> Report {
        let patience = self.vitals.patience();
        let still_max = STILL_MAX.max(patience.unwrap_or_default() * STATEMENTS_PER_TURN);
        let sources = self.vitals.sources();
        let before = &self.seen;
        let seen = sources.iter().enumerate();
        let seen: Vec<Seen> = seen
            .map(|(index, source)| see(before.get(index), source, now))
            .collect();
        let is_still = |seen: &Seen| {
            let since = seen.turned.min(seen.read);
            now.duration_since(since) >= still_max
        };
        let hanging = sources.iter().zip(&seen).filter(|(_, seen)| is_still(seen));
        let hanging = hanging.map(|(source, _)| source.name().to_owned());
        let report = Report {
            is_ready: is_ready(&self.vitals),
            status: status(&self.vitals),
            hanging: hanging.collect(),
        };
        self.seen = seen;
        report
    }
}

/// What is seen of a source, beside what was seen of it before.
fn see(before: Option<&Seen>, source: &SourceVitals, now: Instant) -> Seen {
    let signs = &source.pulse.signs;
    let turns = signs.turns.load(Ordering::Relaxed);
    let reads = signs.reads.load(Ordering::Relaxed);
    let is_timed = match source.phase().0 {
        Phase::Standby | Phase::Following | Phase::Lost => true,
        Phase::Starting | Phase::Stopped => false,
    };
    let is_reading = signs.is_reading.load(Ordering::Relaxed);
    let known = before.filter(|_| is_timed);
    let turned = known.filter(|seen| seen.turns == turns);
    let read = known.filter(|seen| is_reading && seen.reads == reads);
    Seen {
        turns,
        turned: turned.map_or(now, |seen| seen.turned),
        reads,
        read: read.map_or(now, |seen| seen.read),
    }
}

fn is_ready(vitals: &Vitals) -> bool {
    if vitals.only_serves() {
        return vitals.has_opened();
    }
    let sources = vitals.sources();
    let is_on = |source: &SourceVitals| match source.phase().0 {
        Phase::Standby | Phase::Following => true,
        Phase::Starting | Phase::Lost | Phase::Stopped => source.has_followed(),
    };
    // Of one that is refused the reason is known.
    let is_settled = |source: &SourceVitals| is_on(source) || source.phase().0 == Phase::Stopped;
    sources.iter().all(|source| is_settled(source)) && sources.iter().any(|source| is_on(source))
}

fn status(vitals: &Vitals) -> String {
    let store = vitals.store_failure();
    let store = store.map(|why| format!("waiting for the store: {why}"));
    if vitals.patience().is_none() {
        return one_line(&store.unwrap_or_else(|| "opening the store".to_owned()));
    }
    if vitals.only_serves() {
        return one_line(&serving(vitals, store));
    }
    let each = vitals.sources().iter().map(|source| {
        let (phase, why) = source.phase();
        let why = why.unwrap_or_default();
        let what = match (&store, phase) {
            (_, Phase::Standby) => format!("standing by, {why}"),
            (Some(store), _) => store.clone(),
            (None, Phase::Starting) => "connecting".to_owned(),
            (None, Phase::Following) => match source.position() {
                Some(position) => format!("following, applied up to {position}"),
                None => "following".to_owned(),
            },
            (None, Phase::Lost) => format!("lost, connecting again: {why}"),
            (None, Phase::Stopped) => format!("not followed: {why}"),
        };
        format!("{}: {what}", source.name())
    });
    one_line(&each.collect::<Vec<_>>().join("; "))
}

fn serving(vitals: &Vitals, store: Option<String>) -> String {
    let mut parts = vec![store.unwrap_or_else(|| "serving".to_owned())];
    parts.extend(vitals.sources().iter().map(|source| {
        let (_, why) = source.phase();
        format!("{}: {}", source.name(), why.unwrap_or_default())
    }));
    parts.join("; ")
}

/// Most characters of a status.
const STATUS_MAX: usize = 1000;

fn one_line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(STATUS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Case {
        watcher: Watcher,
        vitals: Arc<Vitals>,
        now: Instant,
    }

    impl Case {
        fn of(names: &[&str]) -> Self {
            let vitals = Arc::new(Vitals::new(names.iter().copied(), || 0));
            vitals.store_opened(SECOND);
            Self {
                watcher: Watcher::new(Arc::clone(&vitals)),
                vitals,
                now: Instant::now(),
            }
        }

        fn source(&self, number: usize) -> &SourceVitals {
            &self.vitals.sources()[number]
        }

        fn refuse(&self, number: usize, why: &str) {
            let why = Some(why.to_owned());
            self.source(number).set_phase(Phase::Stopped, why);
        }

        fn look(&mut self) -> Report {
            self.watcher.look(self.now)
        }

        fn look_after(&mut self, pause: Duration) -> Report {
            self.now += pause;
            self.look()
        }
    }

    #[test]
    fn it_is_ready_when_the_stream_is_open_and_stays_so() {
        let mut case = Case::of(&["main"]);
        assert!(!case.look().is_ready);
        case.refuse(0, "refused");
        assert!(!case.look().is_ready, "nothing is followed");
        case.source(0).connect();
        assert!(case.look().is_ready);
        case.source(0)
            .set_phase(Phase::Lost, Some("gone".to_owned()));
        assert!(case.look().is_ready);
        assert_eq!(case.look().status, "main: lost, connecting again: gone");
    }

    #[test]
    fn who_stands_by_is_ready() {
        let mut case = Case::of(&["main"]);
        let why = Some("dialer1/74b1f31e has the lease".to_owned());
        case.source(0).set_phase(Phase::Standby, why);
        let report = case.look();
        assert!(report.is_ready);
        assert_eq!(
            report.status,
            "main: standing by, dialer1/74b1f31e has the lease"
        );
    }

    #[test]
    fn of_several_one_that_is_refused_does_not_keep_the_daemon_from_being_ready() {
        let mut case = Case::of(&["east", "west"]);
        case.source(0).connect();
        assert!(!case.look().is_ready, "nobody knows of west yet");
        case.refuse(1, "refused\nat once");
        case.source(0).is_at(&"binlog.000001:4");
        let report = case.look();
        assert!(report.is_ready);
        assert_eq!(
            report.status,
            "east: following, applied up to binlog.000001:4; west: not followed: refused at once"
        );
    }

    #[test]
    fn a_store_that_is_not_open_yet_is_named() {
        let vitals = Arc::new(Vitals::new(["main"], || 0));
        let mut watcher = Watcher::new(Arc::clone(&vitals));
        let now = Instant::now();
        assert_eq!(watcher.look(now).status, "opening the store");
        vitals.store_failed(&"no answer");
        let report = watcher.look(Instant::now());
        assert!(!report.is_ready);
        assert_eq!(report.status, "waiting for the store: no answer");
        assert_eq!(report.hanging, Vec::<String>::new());
    }

    #[test]
    fn an_applier_that_turns_no_more_is_noticed() {
        let mut case = Case::of(&["east", "west"]);
        for source in case.vitals.sources() {
            source.connect();
        }
        assert_eq!(case.look().hanging, Vec::<String>::new());
        case.source(0).pulse.turn();
        let report = case.look_after(STILL_MAX - SECOND);
        assert_eq!(report.hanging, Vec::<String>::new());
        assert_eq!(case.look_after(SECOND).hanging, ["west"]);
        case.source(1).pulse.turn();
        assert_eq!(case.look_after(SECOND).hanging, Vec::<String>::new());
    }

    #[test]
    fn who_lets_statements_take_longer_waits_longer() {
        let vitals = Arc::new(Vitals::new(["main"], || 0));
        let mut watcher = Watcher::new(Arc::clone(&vitals));
        vitals.store_opened(STILL_MAX);
        vitals.sources()[0].connect();
        let begun = Instant::now();
        watcher.look(begun);
        let report = watcher.look(begun + STILL_MAX * 9);
        assert_eq!(report.hanging, Vec::<String>::new());
        assert_eq!(watcher.look(begun + STILL_MAX * 10).hanging, ["main"]);
    }

    #[test]
    fn a_source_that_is_not_open_yet_takes_its_time() {
        let mut case = Case::of(&["main"]);
        case.look();
        assert_eq!(case.look_after(STILL_MAX * 2).hanging, Vec::<String>::new());
        case.source(0).connect();
        assert_eq!(case.look_after(SECOND).hanging, Vec::<String>::new());
        assert_eq!(case.look_after(STILL_MAX).hanging, ["main"]);
    }

    #[test]
    fn a_reader_may_wait_and_must_not_keep_its_thread() {
        let mut case = Case::of(&["main"]);
        case.source(0).connect();
        let pulse = case.source(0).pulse.clone();
        let look = |case: &mut Case, pause| {
            pulse.turn();
            case.look_after(pause).hanging
        };
        let mut waits = Box::pin(pulse.clone().reads(std::future::pending::<()>()));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        look(&mut case, SECOND);
        assert_eq!(look(&mut case, STILL_MAX * 2), Vec::<String>::new());
        // As within a poll that does not return.
        let keeps = std::future::poll_fn(|_| {
            look(&mut case, SECOND);
            Poll::Ready(look(&mut case, STILL_MAX))
        });
        let mut keeps = Box::pin(pulse.clone().reads(keeps));
        let Poll::Ready(hanging) = keeps.as_mut().poll(&mut context) else {
            panic!("it is ready at once");
        };
        assert_eq!(hanging, ["main"]);
    }
}
