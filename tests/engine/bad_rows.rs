//! Rows, statements and events that cannot be counted: each is told, none is
//! passed over in silence, and the rest goes on.

use std::sync::atomic::{AtomicUsize, Ordering};

use didtail::config::BadRow;
use didtail::engine::EngineError;
use didtail::landmark::{Landmark, Sight};
use didtail::source::{Column, Fault, SourceError};
use didtail::store::Store;
use didtail::vicidial::Table;

use crate::events::{self, Part};
use crate::faults::one_call;
use crate::rows::{Log, code, dial};
use crate::stories::{DID, NUMBER};
use crate::world::{SOURCE, World};

/// Rows of a watched table that make no sense are kept whole, and the stream
/// goes on: two events of one group, at their own places.
#[tokio::test(start_paused = true)]
async fn bad_rows_are_set_aside_with_their_bytes() {
    let mut world = World::new();
    let engine = world.start().await;
    world.group(&one_call(0));
    let log = Log::at(90, 7, "SALE").row();
    let map = events::table_map(&log);
    let mut rows = events::rows_event(&events::Change::Insert(log), u16::MAX);
    rows.truncate(rows.len() - 3);
    let mut broken_map = map.clone();
    broken_map.truncate(map.len() - 6);
    world.parts(&[Part::Raw(19, map.clone()), Part::Raw(23, rows.clone())]);
    world.parts(&[
        Part::Raw(19, broken_map.clone()),
        Part::Raw(23, rows.clone()),
    ]);
    let end = world.group(&one_call(1));
    world.applied(&end).await;
    let summary = engine.stop().await.expect("goes on");
    let kept = world.quarantined();
    let bodies: Vec<_> = kept.iter().map(|row| (row.event_code, &row.body)).collect();
    assert_eq!(bodies, [(23, &rows), (19, &broken_map), (23, &rows)]);
    assert_eq!(kept[0].table, "vicidial_log");
    assert_eq!(kept[0].table_map, map);
    let places: std::collections::BTreeSet<_> = kept.iter().map(|r| &r.position).collect();
    assert_eq!(places.len(), 3, "each at its own place");
    assert_eq!(summary.missing.quarantined, 3);
    assert_eq!(world.numbers(DID).total_calls, 2);
}

#[tokio::test(start_paused = true)]
async fn bad_rows_stop_the_engine_where_it_is_told_so() {
    let mut world = World::new();
    world.bad_row = BadRow::Stop;
    let before = world.group(&one_call(0));
    let engine = world.start().await;
    world.applied(&before).await;
    let log = Log::at(90, 7, "SALE").row();
    let map = events::table_map(&log);
    let mut rows = events::rows_event(&events::Change::Insert(log), u16::MAX);
    rows.truncate(12);
    world.parts(&[Part::Raw(19, map), Part::Raw(23, rows)]);
    let error = engine.ended().await.expect_err("stops");
    assert!(matches!(error, EngineError::BadRow { .. }), "{error}");
    let stored = world.store.progress(SOURCE).await.expect("answers");
    assert_eq!(stored.expect("known").position, before);
}

/// A row without a key is quarantined; the others of its group count.
#[tokio::test(start_paused = true)]
async fn a_row_without_its_key_is_set_aside_alone() {
    let mut world = World::new();
    let mut group = one_call(0);
    let nameless = Log {
        uniqueid: String::new(),
        ..Log::at(30, 7, "NA")
    };
    group.insert(1, nameless.insert());
    let end = world.group(&group);
    let summary = world.run_to(&end).await;
    assert_eq!(summary.missing.quarantined, 1);
    assert!(world.quarantined()[0].reason.contains("no uniqueid"));
    assert_eq!(world.numbers(DID).total_calls, 1);
}

/// Of a row image with some columns the rest is read from the table.
#[tokio::test(start_paused = true)]
async fn partial_images_are_completed_by_a_select() {
    let mut world = World::new();
    world.open_group();
    let mut log = Log::at(20, 7, "QUEUE");
    let change = log.disposition("SALE");
    events::push_rows(&world.source, 1_731_412_900, &change, 0b100_0001);
    let end = world.close_group();
    let start = log.start.to_string();
    world.source.hold(
        "vicidial_log",
        &[
            ("uniqueid", &log.uniqueid),
            ("lead_id", "7"),
            ("campaign_id", "SOLAR"),
            ("start_epoch", &start),
            ("length_in_sec", "83"),
            ("status", "SALE"),
            ("user", "6001"),
        ],
    );
    let summary = world.run_to(&end).await;
    assert!(summary.missing.is_none(), "{:?}", summary.missing);
    let calls: Vec<_> = world.dump().calls.into_values().collect();
    let calls = (
        calls[0].disposition.clone(),
        calls[0].agent_id.clone(),
        calls.len(),
    );
    assert_eq!(calls, ("SALE".to_owned(), "6001".to_owned(), 1));
}

/// Columns that fit no known version of the table.
#[tokio::test(start_paused = true)]
async fn rows_of_unknown_columns_are_set_aside() {
    let mut world = World::new();
    let mut columns = crate::world::columns("vicidial_log");
    columns.truncate(8);
    world.source.define("vicidial_log", columns);
    let end = world.group(&one_call(0));
    let summary = world.run_to(&end).await;
    assert_eq!(summary.missing.quarantined, 1);
    assert!(world.quarantined()[0].reason.contains("altered"));
}

/// An ALTER in the stream: rows before it and behind it are both read right.
#[tokio::test(start_paused = true)]
async fn columns_may_change_mid_stream() {
    let mut world = World::new();
    let mut older = crate::world::columns("vicidial_log");
    older.truncate(8);
    world.source.define("vicidial_log", older);
    let engine = world.start().await;
    let dialed = world.group(&[dial(&code(60, 101), 101, 60, NUMBER)]);
    world.applied(&dialed).await;
    world
        .source
        .define("vicidial_log", crate::world::columns("vicidial_log"));
    world.ddl("ALTER TABLE `vicidial_log` ADD `user` VARCHAR(100)");
    let end = world.group(&[Log::at(80, 101, "NA").insert()]);
    world.applied(&end).await;
    let summary = engine.stop().await.expect("goes on");
    assert!(summary.missing.is_none(), "{:?}", summary.missing);
    assert_eq!(world.numbers(DID).total_calls, 1);
    // After a restart the older version is still known from the store.
    let known = world.store.landmarks(SOURCE, 1).await.expect("reads");
    let is_era = |one: &&Landmark| {
        matches!(
            one.sight,
            Sight::Columns {
                table: Table::Log,
                ..
            }
        )
    };
    assert!(known.iter().filter(is_era).count() >= 2);
}

/// A connection that never lives for long: a look ahead for ALTERs goes on where
/// the last one was cut off.
#[tokio::test(start_paused = true)]
async fn a_look_ahead_gets_on_over_lost_connections() {
    static CUTS: AtomicUsize = AtomicUsize::new(0);
    fn cut() -> SourceError {
        CUTS.fetch_add(1, Ordering::Relaxed);
        SourceError::Unreachable {
            address: "scripted".to_owned(),
            detail: "cut".to_owned(),
        }
    }
    let mut world = World::new();
    for number in 0..100 {
        world.group(&one_call(number));
    }
    let mut newer = crate::world::columns("vicidial_log");
    newer.push(Column {
        name: "note".to_owned(),
        column_type: "varchar(100)".to_owned(),
        charset: Some("latin1".to_owned()),
    });
    world.source.define("vicidial_log", newer);
    let end = world.ddl("ALTER TABLE `vicidial_log` ADD `note` VARCHAR(100)");
    for _ in 0..100 {
        let (after, error) = (60, cut as fn() -> SourceError);
        world.source.inject_look(Fault::Fail { after, error });
    }
    let summary = world.run_to(&end).await;
    assert_eq!(world.numbers(DID).total_calls, 100);
    assert!(summary.missing.is_none(), "{:?}", summary.missing);
    let cuts = CUTS.load(Ordering::Relaxed);
    assert!((2..40).contains(&cuts), "it was cut off {cuts} times");
}

/// Between two ALTERs in the past nobody knows the columns, and a restart in
/// between must not make it believe those of before.
#[tokio::test(start_paused = true)]
async fn columns_between_two_alters_stay_unknown_over_a_restart() {
    let mut world = World::new();
    let before = world.group(&one_call(0));
    world.run_to(&before).await;
    let alter = "ALTER TABLE `vicidial_log` CHANGE `user` `user` VARCHAR(100)";
    world.group(&one_call(1));
    world.ddl(alter);
    let middle = world.group(&one_call(2));
    let later = world.group(&one_call(3));
    world.ddl(alter);
    let end = world.group(&one_call(4));
    world.until = Some(middle.clone());
    world.start().await.ended().await.expect("ends there");
    assert_eq!(world.quarantined().len(), 1);
    world.until = Some(later);
    world.start().await.ended().await.expect("ends there");
    assert_eq!(world.quarantined().len(), 2);
    world.until = None;
    let summary = world.run_to(&end).await;
    assert_eq!(summary.missing.quarantined, 2);
    let reasons = world.quarantined();
    assert!(
        reasons
            .iter()
            .all(|row| row.reason.contains("more than once"))
    );
    assert_eq!(world.numbers(DID).total_calls, 3);
    // The eras are known now: going back asks nobody. The row that is quarantined again
    // is the same one.
    world.rewind(middle, 4);
    assert_eq!(world.run_to(&end).await.missing.quarantined, 2);
    assert_eq!(world.quarantined().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn unknown_events_and_statements_are_told() {
    let mut world = World::new();
    let end = world.parts(&[
        Part::Raw(213, vec![1, 2, 3]),
        Part::Statement("UPDATE vicidial_log SET status='A' WHERE lead_id=7".to_owned()),
        Part::Statement("UPDATE vicidial_list SET status='A' WHERE lead_id=7".to_owned()),
        Part::Raw(26, vec![1, 0, 0]),
    ]);
    let summary = world.run_to(&end).await;
    assert_eq!(summary.missing.unrecognised, 1);
    assert_eq!(summary.missing.statements, 0, "no row of the lead is there");
    assert_eq!(summary.missing.incidents, 1);
}

/// MySQL's compressed transactions may hide rows: never passed over.
#[tokio::test(start_paused = true)]
async fn a_compressed_transaction_that_cannot_be_read_is_set_aside() {
    let mut world = World::new();
    let end = world.parts(&[Part::Raw(40, vec![0; 20])]);
    let summary = world.run_to(&end).await;
    assert_eq!(summary.missing.quarantined, 1);
}

thread_local! {
    /// What is logged on this thread, which is a test's.
    static LOGGED: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

struct Logged;

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.extend(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Of thousands the log tells a few, and then how many there were.
#[tokio::test(start_paused = true)]
async fn many_bad_rows_are_a_few_lines() {
    // For all threads: what is logged is decided once for all of them.
    let log = tracing_subscriber::fmt().with_ansi(false);
    let log = log.with_writer(|| Logged).finish();
    tracing::subscriber::set_global_default(log).expect("nobody else logs");
    let mut world = World::new();
    let nameless = Log {
        uniqueid: String::new(),
        ..Log::at(30, 7, "NA")
    };
    let mut end = world.group(&one_call(0));
    for _ in 0..40 {
        end = world.group(&vec![nameless.insert(); 50]);
    }
    let summary = world.run_to(&end).await;
    assert_eq!(summary.missing.quarantined, 2000);
    let bytes = LOGGED.take();
    let text = String::from_utf8(bytes).expect("text");
    let told: Vec<&str> = text.lines().filter(|line| line.contains("ERROR")).collect();
    assert!((2..=10).contains(&told.len()), "{}:\n{text}", told.len());
    let last = told.last().expect("a line");
    assert!(
        last.contains("quarantined more rows") && last.contains("rows=1995"),
        "{last}"
    );
}
