//! Any story, any crash, any replay: the same store in the end.
//!
//! A generated day is told twice. Once to an engine that nothing disturbs, and
//! once to engines that crash before and after commits, lose acknowledgements,
//! lose the stream, and are rewound to earlier groups. Both stores must be
//! equal, and equal to what a model counts from the final rows alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Mutex;
use std::time::Duration;

use didtail::binlog::Position;
use didtail::ledger::ChangeSet;
use didtail::source::{Fault as SourceFault, SourceError};
use didtail::store::{Dump, Durable, Fault, MemoryStore, Store, StoreError};
use proptest::prelude::*;
use tokio::sync::Notify;

use crate::day::{Day, days};
use crate::forward::forward;
use crate::model;
use crate::world::World;

/// What goes wrong after a group was written.
#[derive(Clone, Copy, Debug)]
enum Incident {
    /// The group is applied undisturbed.
    Nothing,
    /// The engine dies when it wants to commit.
    CrashBeforeCommit,
    /// The engine dies when the commit is applied and it does not know it.
    CrashAfterCommit,
    /// The commit fails and changes nothing.
    Reject,
    /// The commit is applied and said to have failed.
    LoseAcknowledgement,
    /// The engine is started again, and its stream breaks after so many events.
    Cut(usize),
    /// An operator goes back to the end of an earlier group, by this share.
    Rewind(u8),
}

fn incidents() -> impl Strategy<Value = Incident> {
    prop_oneof![
        12 => Just(Incident::Nothing),
        1 => Just(Incident::CrashBeforeCommit),
        1 => Just(Incident::CrashAfterCommit),
        1 => Just(Incident::Reject),
        1 => Just(Incident::LoseAcknowledgement),
        1 => (0_usize..12).prop_map(Incident::Cut),
        3 => any::<u8>().prop_map(Incident::Rewind),
    ]
}

/// Days told: some twenty seconds' worth, or `PROPTEST_CASES`.
pub(crate) fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(128)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_crash_and_every_replay_end_in_the_same_store(
        day in days(),
        incidents in prop::collection::vec(incidents(), 14),
        together in prop::collection::vec(any::<bool>(), 7),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let calm = runtime.block_on(undisturbed(&day));
        prop_assert_eq!(model::counted(&day), model::of_store(&calm));
        let rough = runtime.block_on(disturbed(&day, &incidents, &together));
        let differences = differences(&comparable(&rough), &comparable(&calm));
        prop_assert!(differences.is_empty(), "disturbed, calm:\n{}", differences.join("\n"));
    }
}

/// Everything but what is allowed to differ: the epoch counts the rewinds, which
/// know no event's time, and an audit entry names the DID as far as it was known when it was written.
fn comparable(dump: &Dump) -> Dump {
    let mut dump = dump.clone();
    for checkpoint in dump.progress.values_mut() {
        checkpoint.epoch = 0;
        checkpoint.event_time = None;
    }
    for (details, _) in dump.audit.values_mut() {
        let known = details.split(r#","did":"#).next().unwrap_or_default();
        *details = known.to_owned();
    }
    forget_named_for_a_while(&mut dump);
    dump
}

/// The calls, dials and numbers, without what is about the order in which they were
/// told; `name` is what is left of the name that a dial has of its call.
pub(crate) fn without_order(mut dump: Dump, name: fn(&str) -> Option<String>) -> Dump {
    dump.audit.clear();
    dump.progress.clear();
    for call in dump.calls.values_mut() {
        call.updated_at = 0;
        // Of whichever row the call was first taken for.
        call.opened_at = 0;
    }
    // A dial's key has the time of whichever row named its code first.
    let dials = std::mem::take(&mut dump.dials).into_iter();
    dump.dials = dials
        .map(|((source, mut key), mut dial)| {
            key.opened_at = 0;
            dial.uniqueid = dial.uniqueid.as_deref().and_then(name);
            ((source, key), dial)
        })
        .collect();
    forget_named_for_a_while(&mut dump);
    dump.daily.retain(|_, counters| !counters.is_zero());
    dump
}

/// A DID that was only named for a while has a row of zeros or none.
fn forget_named_for_a_while(dump: &mut Dump) {
    dump.dids.retain(|_, numbers| {
        numbers.is_some_and(|n| !n.counters.is_zero() || n.last_call_at.is_some())
    });
}

/// The entries that are not in both.
pub(crate) fn differences(rough: &Dump, calm: &Dump) -> Vec<String> {
    fn of<K: Ord + Debug, V: PartialEq + Debug>(
        rough: &BTreeMap<K, V>,
        calm: &BTreeMap<K, V>,
    ) -> Vec<String> {
        let keys: BTreeSet<&K> = rough.keys().chain(calm.keys()).collect();
        let differ = keys
            .into_iter()
            .filter(|key| rough.get(key) != calm.get(key));
        differ
            .map(|key| format!("{key:?}\n  {:?}\n  {:?}", rough.get(key), calm.get(key)))
            .collect()
    }
    [
        of(&rough.calls, &calm.calls),
        of(&rough.dials, &calm.dials),
        of(&rough.dids, &calm.dids),
        of(&rough.daily, &calm.daily),
        of(&rough.audit, &calm.audit),
        of(&rough.progress, &calm.progress),
    ]
    .concat()
}

/// The day in one batch, by one engine.
async fn undisturbed(day: &Day) -> Dump {
    let mut world = World::new();
    let mut end = None;
    for group in &day.groups {
        end = Some(world.group(group));
    }
    if let Some(end) = end {
        world.run_to(&end).await;
    }
    world.dump()
}

/// The day group by group, with an incident at each.
async fn disturbed(day: &Day, incidents: &[Incident], together: &[bool]) -> Dump {
    let mut world = World::with_store(Crashing::default());
    let mut engine = Some(world.start().await);
    let mut ends: Vec<(Position, u64)> = Vec::new();
    for (number, group) in day.groups.iter().enumerate() {
        let incident = incidents[number % incidents.len()];
        let running = engine.take().expect("one is running");
        let crash = match incident {
            Incident::CrashBeforeCommit => Some(Crash::Before),
            Incident::CrashAfterCommit => Some(Crash::After),
            _ => None,
        };
        *world.store.crash.lock().expect("no panic") = crash;
        let next = world.store.inner.commits() + 1;
        match incident {
            Incident::Reject => world.store.inner.on_commit(next, Fault::Reject),
            Incident::LoseAcknowledgement => {
                world
                    .store
                    .inner
                    .on_commit(next, Fault::LoseAcknowledgement);
            }
            _ => {}
        }
        let end = world.group(group);
        ends.push((end.clone(), u64::try_from(number + 1).expect("few")));
        if crash.is_some() {
            let crashed = world.store.crashed.notified();
            let crashed = tokio::time::timeout(Duration::from_secs(600), crashed).await;
            assert!(crashed.is_ok(), "no commit came");
            running.crash().await;
            engine = Some(world.start().await);
        } else if let Incident::Cut(after) = incident {
            running.crash().await;
            world.source.inject(SourceFault::Fail { after, error });
            engine = Some(world.start().await);
        } else if let Incident::Rewind(share) = incident {
            world.applied(&end).await;
            running.stop().await.expect("stops in order");
            let back = usize::from(share) % ends.len();
            let (position, sequence) = ends[back].clone();
            world.rewind(position, sequence);
            engine = Some(world.start().await);
        } else {
            engine = Some(running);
        }
        // Several groups may go into one batch.
        if !together[number % together.len()] {
            world.applied(&end).await;
        }
    }
    if let Some((end, _)) = ends.last() {
        world.applied(end).await;
    }
    engine
        .expect("one is running")
        .stop()
        .await
        .expect("stops in order");
    world.store.inner.dump()
}

fn error() -> SourceError {
    SourceError::Unreachable {
        address: "scripted".to_owned(),
        detail: "cut".to_owned(),
    }
}

/// When the process dies.
#[derive(Clone, Copy, Debug)]
enum Crash {
    Before,
    After,
}

/// A store in whose commit the process dies: it never returns.
#[derive(Default)]
struct Crashing {
    inner: MemoryStore,
    crash: Mutex<Option<Crash>>,
    crashed: Notify,
}

impl Store for Crashing {
    forward!(hold posts leases commit_held save_load load_note landmarks unattributed progress load statuses history page prune pruned sweep);

    async fn commit(&self, change: &ChangeSet) -> Result<Durable, StoreError> {
        let crash = self.crash.lock().expect("no panic").take();
        let committed = match crash {
            Some(Crash::Before) => None,
            Some(Crash::After) | None => Some(self.inner.commit(change).await),
        };
        match (crash, committed) {
            (None, Some(committed)) => committed,
            _ => {
                self.crashed.notify_one();
                std::future::pending().await
            }
        }
    }
}

/// Numbers by DID, as both sides are compared.
pub(crate) type Numbers = BTreeMap<String, BTreeMap<&'static str, i64>>;
