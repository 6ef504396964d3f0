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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

/// A loop that did not turn for so long hangs: many times what a pause between two
/// tries or the largest commit takes.
const STILL_MAX: Duration = Duration::from_secs(600);

/// It may be longer where statements may: so many of them one after the other.
const STATEMENTS_PER_TURN: u32 = 10;

/// The pulses of a daemon's sources, seen by who watches.
#[derive(Clone, Debug, Default)]
pub struct Pulses {
    all: Arc<Mutex<All>>,
}

#[derive(Debug, Default)]
struct All {
    /// In the order of the configuration; empty until the store is open.
    sources: Vec<(String, Pulse)>,
    /// Why the store is waited for before that.
    store: Option<String>,
    /// How long a statement of the store may take.
    patience: Duration,
}

/// Signs of life of one source.
#[derive(Clone, Debug, Default)]
pub struct Pulse {
    signs: Arc<Signs>,
}

#[derive(Debug, Default)]
struct Signs {
    state: Mutex<State>,
    /// Turns of the applying half, or of standing by.
    turns: AtomicU64,
    /// Times that the reading half was given a thread.
    reads: AtomicU64,
    /// It has one.
    is_reading: AtomicBool,
}

#[derive(Clone, Debug, Default)]
struct State {
    phase: Phase,
    /// The stream was open once.
    has_streamed: bool,
    /// Where everything is applied up to.
    position: Option<String>,
    /// Why the store is waited for.
    store: Option<String>,
}

/// What is done about a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// It is connected to and checked.
    #[default]
    Starting,
    /// Another daemon has the lease, namely this one.
    StandingBy(String),
    /// Its stream is open.
    Streaming,
    /// The stream broke, and why; it is opened again.
    Lost(String),
    /// It cannot be followed, and why; it is tried again each minute.
    NotFollowed(String),
}

impl Pulses {
    /// The sources that are followed from now on, in the order of the configuration,
    /// into a store whose statements may take so long.
    pub(super) fn begin<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        patience: Duration,
    ) -> Vec<Pulse> {
        let mut all = lock(&self.all);
        all.store = None;
        all.patience = patience;
        all.sources = names
            .map(|name| (name.to_owned(), Pulse::default()))
            .collect();
        all.sources.iter().map(|(_, pulse)| pulse.clone()).collect()
    }

    /// The store cannot be opened yet, and why.
    pub(super) fn waits_for_store(&self, why: &impl ToString) {
        lock(&self.all).store = Some(why.to_string());
    }
}

impl Pulse {
    /// The applying half has turned, or who stands by has looked again.
    pub(super) fn turn(&self) {
        self.signs.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// It is begun with from the start.
    pub(super) fn starts(&self) {
        self.is_in(Phase::Starting);
    }

    /// Another daemon has the lease.
    pub(super) fn stands_by(&self, holder: &str) {
        self.is_in(Phase::StandingBy(holder.to_owned()));
    }

    /// The source sends its binlog.
    pub(super) fn streams(&self) {
        let mut state = lock(&self.signs.state);
        state.has_streamed = true;
        state.phase = Phase::Streaming;
    }

    /// The source is away, and why.
    pub(super) fn is_lost(&self, why: &impl ToString) {
        self.is_in(Phase::Lost(why.to_string()));
    }

    /// The source cannot be followed, and why.
    pub(super) fn is_not_followed(&self, why: &impl ToString) {
        self.is_in(Phase::NotFollowed(why.to_string()));
    }

    /// Everything is applied up to here.
    pub(super) fn is_at(&self, position: &impl ToString) {
        lock(&self.signs.state).position = Some(position.to_string());
    }

    /// The store cannot be used, and why; or it can again.
    pub(super) fn waits_for_store(&self, why: Option<&dyn std::error::Error>) {
        lock(&self.signs.state).store = why.map(ToString::to_string);
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

    fn is_in(&self, phase: Phase) {
        lock(&self.signs.state).phase = phase;
    }
}

/// What is to be told a service manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Every source is followed, or another daemon does it; of several one that
    /// cannot be followed does not count, as long as it is not the only one left.
    pub is_ready: bool,
    /// What is done, in one line for people.
    pub status: String,
    /// The sources that hang.
    pub hanging: Vec<String>,
}

/// Looks at the pulses now and then, and knows what they were.
#[derive(Debug)]
pub struct Watcher {
    pulses: Pulses,
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
    pub fn new(pulses: Pulses) -> Self {
        Self {
            pulses,
            seen: Vec::new(),
        }
    }

    /// How things are now.
    pub fn look(&mut self, now: Instant) -> Report {
        let all = lock(&self.pulses.all);
        let states: Vec<_> = all
            .sources
            .iter()
            .map(|(name, pulse)| (name.as_str(), lock(&pulse.signs.state).clone()))
            .collect();
        let still_max = STILL_MAX.max(all.patience * STATEMENTS_PER_TURN);
        let mut hanging = Vec::new();
        for (index, ((name, pulse), (_, state))) in all.sources.iter().zip(&states).enumerate() {
            let seen = see(self.seen.get(index), pulse, state, now);
            let is_still = [seen.turned, seen.read]
                .iter()
                .any(|at| now.duration_since(*at) >= still_max);
            if is_still {
                hanging.push(name.clone());
            }
            match self.seen.get_mut(index) {
                Some(known) => *known = seen,
                None => self.seen.push(seen),
            }
        }
        Report {
            is_ready: is_ready(&states),
            status: status(all.store.as_deref(), &states),
            hanging,
        }
    }
}

/// What is seen of a source, beside what was seen of it before.
fn see(before: Option<&Seen>, pulse: &Pulse, state: &State, now: Instant) -> Seen {
    let turns = pulse.signs.turns.load(Ordering::Relaxed);
    let reads = pulse.signs.reads.load(Ordering::Relaxed);
    let is_timed = match state.phase {
        Phase::StandingBy(_) | Phase::Streaming | Phase::Lost(_) => true,
        Phase::Starting | Phase::NotFollowed(_) => false,
    };
    let is_reading = pulse.signs.is_reading.load(Ordering::Relaxed);
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

fn is_ready(states: &[(&str, State)]) -> bool {
    let is_on = |state: &State| state.has_streamed || matches!(state.phase, Phase::StandingBy(_));
    let is_settled = |state: &State| is_on(state) || matches!(state.phase, Phase::NotFollowed(_));
    states.iter().all(|(_, state)| is_settled(state))
        && states.iter().any(|(_, state)| is_on(state))
}

fn status(store: Option<&str>, states: &[(&str, State)]) -> String {
    if let Some(why) = store {
        return one_line(&format!("waiting for the store: {why}"));
    }
    if states.is_empty() {
        return "opening the store".to_owned();
    }
    let each = states.iter().map(|(name, state)| {
        let what = match (&state.store, &state.phase) {
            (Some(why), _) => format!("waiting for the store: {why}"),
            (None, Phase::Starting) => "connecting".to_owned(),
            (None, Phase::StandingBy(holder)) => format!("standing by, {holder} has the lease"),
            (None, Phase::Streaming) => match &state.position {
                Some(position) => format!("following, applied up to {position}"),
                None => "following".to_owned(),
            },
            (None, Phase::Lost(why)) => format!("lost, connecting again: {why}"),
            (None, Phase::NotFollowed(why)) => format!("not followed: {why}"),
        };
        format!("{name}: {what}")
    });
    one_line(&each.collect::<Vec<_>>().join("; "))
}

/// Most characters of a status.
const STATUS_MAX: usize = 1000;

fn one_line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(STATUS_MAX).collect()
}

/// What is behind a lock is whole after each statement, so that a panic while it was
/// held leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Case {
        watcher: Watcher,
        pulses: Vec<Pulse>,
        now: Instant,
    }

    impl Case {
        fn of(names: &[&str]) -> Self {
            let pulses = Pulses::default();
            Self {
                watcher: Watcher::new(pulses.clone()),
                pulses: pulses.begin(names.iter().copied(), SECOND),
                now: Instant::now(),
            }
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
        case.pulses[0].is_not_followed(&"refused");
        assert!(!case.look().is_ready, "nothing is followed");
        case.pulses[0].streams();
        assert!(case.look().is_ready);
        case.pulses[0].is_lost(&"gone");
        assert!(case.look().is_ready);
        assert_eq!(case.look().status, "main: lost, connecting again: gone");
    }

    #[test]
    fn who_stands_by_is_ready() {
        let mut case = Case::of(&["main"]);
        case.pulses[0].stands_by("dialer1/74b1f31e");
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
        case.pulses[0].streams();
        assert!(!case.look().is_ready, "nobody knows of west yet");
        case.pulses[1].is_not_followed(&"refused\nat once");
        case.pulses[0].is_at(&"binlog.000001:4");
        let report = case.look();
        assert!(report.is_ready);
        assert_eq!(
            report.status,
            "east: following, applied up to binlog.000001:4; west: not followed: refused at once"
        );
    }

    #[test]
    fn a_store_that_is_not_open_yet_is_named() {
        let pulses = Pulses::default();
        let mut watcher = Watcher::new(pulses.clone());
        pulses.waits_for_store(&"no answer");
        let report = watcher.look(Instant::now());
        assert!(!report.is_ready);
        assert_eq!(report.status, "waiting for the store: no answer");
        assert_eq!(report.hanging, Vec::<String>::new());
    }

    #[test]
    fn an_applier_that_turns_no_more_is_noticed() {
        let mut case = Case::of(&["east", "west"]);
        for pulse in &case.pulses {
            pulse.streams();
        }
        assert_eq!(case.look().hanging, Vec::<String>::new());
        case.pulses[0].turn();
        let report = case.look_after(STILL_MAX - SECOND);
        assert_eq!(report.hanging, Vec::<String>::new());
        assert_eq!(case.look_after(SECOND).hanging, ["west"]);
        case.pulses[1].turn();
        assert_eq!(case.look_after(SECOND).hanging, Vec::<String>::new());
    }

    #[test]
    fn who_lets_statements_take_longer_waits_longer() {
        let pulses = Pulses::default();
        let mut watcher = Watcher::new(pulses.clone());
        pulses.begin(["main"].into_iter(), STILL_MAX)[0].streams();
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
        case.pulses[0].streams();
        assert_eq!(case.look_after(SECOND).hanging, Vec::<String>::new());
        assert_eq!(case.look_after(STILL_MAX).hanging, ["main"]);
    }

    #[test]
    fn a_reader_may_wait_and_must_not_keep_its_thread() {
        let mut case = Case::of(&["main"]);
        let pulse = case.pulses[0].clone();
        pulse.streams();
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
