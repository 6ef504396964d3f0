//! Calls loaded by SELECT, and compared, beside an engine: interrupted, changed
//! meanwhile, archived, and between years without any.

use std::sync::Arc;
use std::time::Duration;

use didtail::engine::{Backfill, Ends, Range, Verify};
use didtail::ledger::Call;
use didtail::source::MemorySource;
use didtail::store::{Fault, Gate, LoadName, LoadNote, MemoryStore};

use crate::events::{self, Change, NOON, Row, Value};
use crate::rows::{Log, code, dial, link};
use crate::stories::{DID, NUMBER};
use crate::world::{SOURCE, TENANT, World, columns};

const LOG: &str = "vicidial_log";
const ARCHIVE: &str = "vicidial_log_archive";
const DAY: i64 = 86_400;

/// Puts what a change leaves into a table.
fn hold(source: &MemorySource, table: &str, change: &Change) {
    let (Change::Insert(row) | Change::Update(_, row)) = change else {
        panic!("nothing is left");
    };
    let Row { table: of, values } = row;
    let texts: Vec<(&str, String)> = events::columns(of)
        .iter()
        .zip(values)
        .filter_map(|((name, _), value)| {
            let text = match value {
                Value::Null => return None,
                Value::Int(number) => number.to_string(),
                Value::Text(text) => text.clone(),
                Value::Time(at) => {
                    let time = jiff::Timestamp::from_second(*at).expect("a time");
                    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
                }
            };
            Some((*name, text))
        })
        .collect();
    let cells: Vec<(&str, &str)> = texts.iter().map(|(n, t)| (*n, t.as_str())).collect();
    source.hold(table, &cells);
}

/// A source with archives, and a store that has a position.
async fn world() -> World {
    let mut world = World::new();
    world.source.define(ARCHIVE, columns(LOG));
    let end = world.group(&[dial(&code(9, 9), 9, 9, NUMBER)]);
    world.run_to(&end).await;
    world
}

fn ends(world: &World) -> Ends<MemorySource, MemoryStore> {
    Ends {
        source: Arc::new(world.source.clone()),
        store: Arc::clone(&world.store),
        name: SOURCE.to_owned(),
        tenant: TENANT.to_owned(),
        rules: world.rules.clone(),
        default_country: "US".to_owned(),
        clock: || NOON + DAY,
        fencing_token: None,
    }
}

fn backfill(world: &World) -> Backfill<MemorySource, MemoryStore> {
    Backfill::new(&ends(world), LoadName::Command, Some(3)).expect("a known country")
}

fn range(since: i64) -> Range {
    Range {
        since,
        until: Some(NOON + DAY),
        asked: format!("from {since}"),
    }
}

/// Loads everything from `since` on.
async fn load(world: &World, since: i64) -> LoadNote {
    let mut load = backfill(world);
    let note = load.begin(&range(since)).await.expect("a store");
    load.run(note, |_| {}).await.expect("loads")
}

fn call(world: &World, lead: u64) -> Call {
    let calls = world.dump().calls;
    let found = calls.iter().find(|(key, _)| key.1.lead_id == lead);
    found.expect("it is there").1.clone()
}

/// A hundred calls with their dials, one each ten minutes.
fn hold_calls(world: &World) {
    for lead in 1..=100 {
        let at = lead * 600;
        let log = Log::at(at + 20, lead, "SALE");
        hold(&world.source, LOG, &log.insert());
        let of = code(at, lead);
        hold(
            &world.source,
            "vicidial_dial_log",
            &dial(&of, lead, at, NUMBER),
        );
        let link = link(&log.uniqueid, &of, lead, at + 21);
        hold(&world.source, "vicidial_log_extended", &link);
    }
}

/// Cut off after each window in turn, it goes on behind that, and ends as one that
/// nobody disturbed.
#[tokio::test(start_paused = true)]
async fn cut_off_after_any_window_it_goes_on_and_counts_each_call_once() {
    let calm = world().await;
    hold_calls(&calm);
    let whole = load(&calm, NOON - DAY).await;
    assert_eq!((whole.tally.calls, whole.tally.new), (100, 100));
    assert_eq!(calm.numbers(DID).successful_calls, 100);
    assert_eq!(calm.numbers(DID).dials, 101);

    let rough = world().await;
    hold_calls(&rough);
    let mut cuts = 0;
    let ended = loop {
        let mut load = backfill(&rough);
        let note = load.begin(&range(NOON - DAY)).await.expect("a store");
        let begun_at = note.next;
        let cut = tokio::sync::Notify::new();
        let run = load.run(note, |note| {
            if !note.finished {
                assert!(note.next > begun_at, "it makes way");
                cut.notify_one();
            }
        });
        tokio::select! {
            biased;
            () = cut.notified() => cuts += 1,
            ended = run => break ended.expect("loads"),
        }
    };
    assert!(cuts > 5, "{cuts} cuts");
    assert_eq!(ended.tally.new, 100, "{:?}", ended.tally);
    assert_eq!(ended.tally.changed, 0, "{:?}", ended.tally);
    assert_eq!(rough.numbers(DID), calm.numbers(DID));
    assert_eq!(rough.dump().daily, calm.dump().daily);
    // Asked again, it reads everything and changes nothing.
    let again = load(&rough, NOON - DAY).await;
    assert_eq!((again.tally.unchanged, again.tally.new), (100, 0));
    assert_eq!(rough.numbers(DID), calm.numbers(DID));
}

/// An archive has a call as it was when it was archived: the live row wins, and
/// so does what the store knows; a call that is only there is taken from there.
#[tokio::test(start_paused = true)]
async fn live_rows_win_over_archived_ones() {
    let mut world = world().await;
    let end = world.group(&[Log::at(300, 3, "SALE").insert()]);
    world.run_to(&end).await;
    for (lead, status) in [(1, "INCALL"), (2, "NI"), (3, "NA")] {
        hold(
            &world.source,
            ARCHIVE,
            &Log::at(lead * 100, lead, status).insert(),
        );
    }
    hold(&world.source, LOG, &Log::at(100, 1, "SALE").insert());
    let done = load(&world, NOON - DAY).await;
    assert_eq!(done.tally.archived, 1, "{:?}", done.tally);
    let dispositions = [1, 2, 3].map(|lead| call(&world, lead).disposition);
    assert_eq!(dispositions, ["SALE", "NI", "SALE"]);
}

/// A call that changes between the read and the commit ends as it was changed to,
/// and nobody else commits in between.
#[tokio::test(start_paused = true)]
async fn a_call_changed_between_the_read_and_the_commit_ends_changed() {
    let mut world = world().await;
    let mut log = Log::at(20, 7, "INCALL");
    hold(&world.source, LOG, &log.insert());
    // The window with the call is held in front of its commit.
    let mut load = backfill(&world);
    let note = load.begin(&range(NOON - 600)).await.expect("a store");
    let gate = Gate::default();
    for nth in 1..40 {
        world
            .store
            .on_commit(world.store.commits() + nth, Fault::Hold(gate.clone()));
    }
    let loading = didtail::telemetry::spawn_named("load", async move {
        load.run(note, |_| {}).await.expect("loads")
    });
    let mut held = 0;
    loop {
        gate.entered().await;
        held += 1;
        if held == 4 {
            break;
        }
        gate.release();
    }
    let change = log.disposition("SALE");
    world.source.empty(LOG);
    hold(&world.source, LOG, &change);
    let end = world.group(&[change]);
    let engine = world.start().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!world.has_applied(&end).await, "the store stands still");
    for _ in 0..80 {
        gate.release();
    }
    loading.await.expect("no panic");
    world.applied(&end).await;
    engine.stop().await.expect("stops in order");
    assert_eq!(call(&world, 7).disposition, "SALE");
    assert!(call(&world, 7).counted);
}

/// Twenty years without a row are some questions, not 44,000 windows.
#[tokio::test(start_paused = true)]
async fn years_without_rows_are_passed_over() {
    let world = world().await;
    let years = 20 * 365 * DAY;
    hold(
        &world.source,
        LOG,
        &Log::at(-years + 5 * DAY, 1, "NA").insert(),
    );
    hold(&world.source, LOG, &Log::at(-years / 2, 2, "SALE").insert());
    hold(&world.source, LOG, &Log::at(20, 3, "SALE").insert());
    let before = world.source.selects();
    let done = load(&world, NOON - years).await;
    assert_eq!(done.tally.new, 3, "{:?}", done.tally);
    let selects = world.source.selects() - before;
    assert!(selects < 1000, "{selects} reads");
}

/// A busy source is left alone for a while, and not for ever.
#[tokio::test(start_paused = true)]
async fn a_busy_source_is_waited_for() {
    let world = world().await;
    hold_calls(&world);
    world.source.be_busy(&[40; 7]);
    let begun = tokio::time::Instant::now();
    let done = load(&world, NOON - DAY).await;
    assert_eq!(done.tally.new, 100);
    assert!(
        begun.elapsed() >= Duration::from_secs(7),
        "{:?}",
        begun.elapsed()
    );
    let begun = tokio::time::Instant::now();
    world.source.be_busy(&[40; 2000]);
    load(&world, NOON).await;
    assert!(
        begun.elapsed() < Duration::from_secs(1900),
        "{:?}",
        begun.elapsed()
    );
}

/// What differs is found and mended, and nothing else; interrupted, what was
/// mended stays, and the rest is found the next time.
#[tokio::test(start_paused = true)]
async fn what_differs_is_mended_also_in_two_goes() {
    let mut world = world().await;
    let mut changes = Vec::new();
    for lead in 1..=40 {
        let log = Log::at(lead * 1800, lead, "NA");
        changes.push(log.insert());
        // Every fourth was sold, and nobody told the stream.
        let status = if lead % 4 == 0 { "SALE" } else { "NA" };
        hold(
            &world.source,
            LOG,
            &Log::at(lead * 1800, lead, status).insert(),
        );
    }
    let end = world.group(&changes);
    world.run_to(&end).await;
    let range = range(NOON - 600);
    let found = Verify::new(&ends(&world), false).expect("a known country");
    let found = { found }.run(&range, &mut |_| {}).await.expect("compares");
    assert_eq!((found.calls, found.differing, found.repaired), (40, 10, 0));
    let mut repair = Verify::new(&ends(&world), true).expect("a known country");
    let cut = tokio::sync::Notify::new();
    let mut progress = |done: &didtail::engine::Verified| {
        if done.repaired > 2 {
            cut.notify_one();
        }
    };
    tokio::select! {
        biased;
        () = cut.notified() => {}
        ended = repair.run(&range, &mut progress) => panic!("not cut: {ended:?}"),
    }
    let sold = |world: &World| {
        let calls = world.dump().calls;
        calls
            .values()
            .filter(|call| call.disposition == "SALE")
            .count()
    };
    let mended = sold(&world);
    assert!((3..10).contains(&mended), "{mended}");
    let mut repair = Verify::new(&ends(&world), true).expect("a known country");
    let done = repair.run(&range, &mut |_| {}).await.expect("mends");
    assert_eq!(
        (done.differing, done.repaired),
        (10 - mended as u64, 10 - mended as u64)
    );
    assert_eq!(sold(&world), 10);
    let mut look = Verify::new(&ends(&world), false).expect("a known country");
    let equal = look.run(&range, &mut |_| {}).await.expect("compares");
    assert!(equal.is_equal() && equal.calls == 40, "{equal:?}");
    let again = load(&world, NOON - 600).await;
    assert_eq!((again.tally.changed, again.tally.unchanged), (0, 40));
}
