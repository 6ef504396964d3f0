//! Calls and dials that are deleted after a time: the numbers stay as they were,
//! whatever is read again.

use std::collections::BTreeMap;

use didtail::ledger::{Aged, Counters, DailyKey, Pruned};
use didtail::store::{DidNumbers, Dump, LoadName, LoadNote, Prune, Store as _};
use proptest::prelude::*;

use crate::day::{Day, days};
use crate::events::NOON;
use crate::replay::cases;
use crate::rows::{Log, carrier, code, dial, link};
use crate::world::{SOURCE, TENANT, World};

const DAY: i64 = 86_400;
const OLD: i64 = -5 * DAY;

/// The numbers, without rows that are all zeros.
type Numbers = (
    BTreeMap<(String, String), DidNumbers>,
    BTreeMap<(String, DailyKey), Counters>,
);

fn numbers(dump: &Dump) -> Numbers {
    let dids = dump.dids.iter().filter_map(|(key, numbers)| {
        let numbers = numbers.filter(|numbers| !numbers.counters.is_zero())?;
        Some((key.clone(), numbers))
    });
    let daily = dump.daily.iter().filter(|(_, daily)| !daily.is_zero());
    let daily = daily.map(|(key, daily)| (key.clone(), *daily));
    (dids.collect(), daily.collect())
}

async fn sweep(world: &World, aged: Aged, before: i64, rows_max: u32) -> u64 {
    let expected = world.store.progress(SOURCE).await.expect("answers");
    let prune = Prune {
        source: SOURCE,
        tenant: TENANT,
        expected: &expected.expect("it was followed"),
        fencing_token: None,
        aged,
        before,
        rows_max,
    };
    world.store.sweep(&prune).await.expect("deletes").rows
}

/// Tells a day, deletes so many of its calls and dials, and reads it again from
/// one of its groups on: the numbers before and behind.
async fn told_again(day: &Day, deleted: (u32, u32), back: u8) -> (Numbers, Numbers) {
    let mut world = World::new();
    let mut ends = vec![(crate::world::first_checkpoint().position, 0)];
    for group in &day.groups {
        let end = world.group(group);
        ends.push((end, u64::try_from(ends.len()).expect("few")));
    }
    let (end, _) = ends.last().cloned().expect("one at least");
    world.run_to(&end).await;
    let before = numbers(&world.dump());
    let later = NOON + 3 * DAY;
    sweep(&world, Aged::Calls, later, deleted.0).await;
    sweep(&world, Aged::Dials, later, deleted.1).await;
    assert_eq!(numbers(&world.dump()), before);
    let (position, sequence) = ends[usize::from(back) % ends.len()].clone();
    world.rewind(position, sequence);
    world.run_to(&end).await;
    (before, numbers(&world.dump()))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_is_deleted_and_read_again_counts_once(
        day in days(),
        deleted in (0_u32..9, 0_u32..9),
        back: u8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let (before, behind) = runtime.block_on(told_again(&day, deleted, back));
        prop_assert_eq!(before, behind);
    }
}

/// An old blocked call and one of now, each with its dial.
fn two_calls(world: &mut World) -> didtail::binlog::Position {
    for second in [OLD, 20] {
        let lead = 7;
        let name = code(second.rem_euclid(1000), lead);
        let log = Log::at(second, lead, "AB");
        world.group(&[dial(&name, lead, second - 10, "3125550100")]);
        world.group(&[log.insert()]);
        world.group(&[link(&log.uniqueid, &name, lead, second)]);
        world.group(&[carrier(&log.uniqueid, &name, lead, second + 1, 21)]);
    }
    world.group(&[Log::at(30, 8, "NA").insert()])
}

fn kept(world: &World) -> (usize, usize) {
    let dump = world.dump();
    (dump.calls.len(), dump.dials.len())
}

#[tokio::test(start_paused = true)]
async fn the_engine_deletes_what_is_older_than_it_keeps() {
    let mut world = World::new();
    let end = two_calls(&mut world);
    world.run_to(&end).await;
    let before = numbers(&world.dump());
    assert_eq!(kept(&world), (3, 2));

    // A load under way is waited for.
    world.keep = (1, 2);
    let mut note = LoadNote::default();
    let save = |note: LoadNote| {
        let store = std::sync::Arc::clone(&world.store);
        async move { store.save_load(SOURCE, LoadName::Command, &note).await }
    };
    save(note.clone()).await.expect("notes");
    world.run_to(&end).await;
    assert_eq!(kept(&world), (3, 2));
    note.finished = true;
    save(note).await.expect("notes");

    world.run_to(&end).await;
    assert_eq!(kept(&world), (2, 1));
    let pruned = world.store.pruned(SOURCE).await.expect("answers");
    // By the newest event that was applied, in whole hours.
    let at = |days: i64| Some(NOON - days * DAY);
    let expected = Pruned {
        calls_before: at(2),
        dials_before: at(1),
    };
    assert_eq!(pruned, expected);
    assert_eq!(numbers(&world.dump()), before);

    world.rewind(crate::world::first_checkpoint().position, 0);
    world.run_to(&end).await;
    assert_eq!(numbers(&world.dump()), before);
    assert_eq!(kept(&world).0, 2);
}

/// Its own dial is gone, another one of its lead is there, and its carrier's answer
/// and its DID are still its own.
#[tokio::test(start_paused = true)]
async fn a_call_outlives_its_dial() {
    let mut world = World::new();
    let lead = 7;
    let (own, other) = (code(100, lead), code(500, lead));
    let mut log = Log::at(OLD, lead, "AB");
    world.group(&[dial(&own, lead, OLD - 20, "3125550100")]);
    world.group(&[log.insert()]);
    world.group(&[link(&log.uniqueid, &own, lead, OLD)]);
    world.group(&[carrier(&log.uniqueid, &own, lead, OLD + 1, 21)]);
    let end = world.group(&[dial(&other, lead, OLD - 10, "3125550111")]);
    world.run_to(&end).await;
    // Its own is first in the store's order.
    assert_eq!(sweep(&world, Aged::Dials, NOON, 1).await, 1);
    let before = numbers(&world.dump());

    let end = world.group(&[log.disposition("SALE"), log.disposition("AB")]);
    world.run_to(&end).await;
    assert_eq!(numbers(&world.dump()), before);
    let dump = world.dump();
    let call = dump.calls.values().next().expect("it is kept");
    assert_eq!(call.did.as_deref(), Some("+13125550100"));
    assert_eq!(call.hangup_cause, Some(21));
}

/// Calls may be kept for longer than dials: one that is loaded late has its DID.
#[tokio::test(start_paused = true)]
async fn an_old_dial_is_not_counted_and_gives_its_call_a_did() {
    let mut world = World::new();
    let end = world.group(&[dial(&code(1, 9), 9, OLD, "3125550122")]);
    world.run_to(&end).await;
    assert_eq!(sweep(&world, Aged::Dials, NOON, 9).await, 1);

    let name = code(100, 7);
    let log = Log::at(OLD, 7, "SALE");
    world.group(&[dial(&name, 7, OLD - 10, "3125550100")]);
    world.group(&[log.insert()]);
    let end = world.group(&[link(&log.uniqueid, &name, 7, OLD)]);
    world.run_to(&end).await;
    let counters = world.numbers("+13125550100");
    assert_eq!((counters.total_calls, counters.dials), (1, 0));
}
