//! Everything that goes wrong on either side, and what the engine makes of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use didtail::checkpoint::Checkpoint;
use didtail::config::BadRow;
use didtail::engine::EngineError;
use didtail::ledger::{ChangeSet, Keys, Loaded};
use didtail::source::{Fault as SourceFault, SourceError};
use didtail::store::{Durable, Fault, Gate, MemoryStore, Store, StoreError};

use crate::events::{self, Part};
use crate::rows::{Log, code, dial};
use crate::stories::{DID, NUMBER};
use crate::world::{Engine, SOURCE, TENANT, World};

/// One dial and its unanswered call, a minute after the last.
fn one_call(number: i64) -> Vec<events::Change> {
    let (second, lead) = (number * 60, 100 + number);
    vec![
        dial(&code(second, lead), lead, second, NUMBER),
        Log::at(second + 20, lead, "NA").insert(),
    ]
}

fn unreachable() -> SourceError {
    SourceError::Unreachable {
        address: "scripted".to_owned(),
        detail: "cut".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_store_costs_no_number() {
    let faults = [
        Fault::Reject,
        Fault::LoseAcknowledgement,
        Fault::Slow(Duration::from_secs(90)),
    ];
    for fault in faults {
        for nth in 1..=4 {
            let mut world = World::new();
            world.store.on_commit(nth, fault.clone());
            let engine = world.start().await;
            for number in 0..5 {
                let end = world.group(&one_call(number));
                world.applied(&end).await;
            }
            let summary = engine.stop().await.expect("stops in order");
            assert_eq!(world.numbers(DID).total_calls, 5, "{fault:?} at {nth}");
            assert_eq!(world.numbers(DID).dials, 5, "{fault:?} at {nth}");
            // Without its acknowledgement nobody knows what a commit changed.
            let known = if matches!(fault, Fault::LoseAcknowledgement) {
                4
            } else {
                5
            };
            assert!(summary.results >= known, "{fault:?} at {nth}");
        }
    }
}

/// The commit is applied, its acknowledgement lost, and the store is away when
/// it is asked where it stands: its own commit is no other writer's.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_after_a_commit_is_waited_for() {
    let mut world = World::with_store(Away::default());
    let engine = world.start().await;
    let end = world.group(&one_call(0));
    world.applied(&end).await;
    world.store.lose_next.store(true, Ordering::SeqCst);
    world.group(&one_call(1));
    // Asking the store itself would end its absence.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!world.store.away.load(Ordering::SeqCst));
    let end = world.group(&one_call(2));
    world.applied(&end).await;
    engine.stop().await.expect("stops in order");
    let key = (TENANT.to_owned(), DID.to_owned());
    let numbers = world.store.inner.dump().dids[&key].expect("counted");
    assert_eq!(numbers.counters.total_calls, 3);
}

/// Applies a commit, says that it failed, and fails the next question too.
#[derive(Default)]
struct Away {
    inner: MemoryStore,
    lose_next: AtomicBool,
    away: AtomicBool,
}

impl Away {
    fn gone() -> StoreError {
        StoreError::Unreachable {
            store: "scripted".to_owned(),
            source: "away".into(),
        }
    }
}

impl Store for Away {
    async fn progress(&self, source: &str) -> Result<Option<Checkpoint>, StoreError> {
        if self.away.swap(false, Ordering::SeqCst) {
            return Err(Self::gone());
        }
        self.inner.progress(source).await
    }

    async fn load(&self, source: &str, tenant: &str, keys: &Keys) -> Result<Loaded, StoreError> {
        self.inner.load(source, tenant, keys).await
    }

    async fn commit(&self, change: &ChangeSet) -> Result<Durable, StoreError> {
        let durable = self.inner.commit(change).await?;
        if self.lose_next.swap(false, Ordering::SeqCst) {
            self.away.store(true, Ordering::SeqCst);
            return Err(Self::gone());
        }
        Ok(durable)
    }

    async fn prune_audit(&self, tenant: &str, before: i64, rows: u32) -> Result<u64, StoreError> {
        self.inner.prune_audit(tenant, before, rows).await
    }
}

/// Two daemons on one source: the second to write stops, and nothing counts twice.
#[tokio::test(start_paused = true)]
async fn another_writer_stops_the_engine() {
    let mut world = World::new();
    let engine = world.start().await;
    let end = world.group(&one_call(0));
    world.applied(&end).await;
    let mut other = World::with_store((*world.store).clone());
    other.source = world.source.clone();
    other.rewind(end, 1);
    let rival = other.start().await;
    let end = world.group(&one_call(1));
    world.applied(&end).await;
    let mut ended = [Some(engine), Some(rival)];
    let lost = loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let over = ended
            .iter_mut()
            .find(|e| e.as_ref().is_some_and(Engine::is_over));
        if let Some(engine) = over.and_then(Option::take) {
            break engine.ended().await.expect_err("one must lose");
        }
    };
    assert!(
        matches!(lost, EngineError::Store(StoreError::OtherWriter { .. })),
        "{lost}"
    );
    for engine in ended.into_iter().flatten() {
        engine.stop().await.expect("the other goes on");
    }
    assert_eq!(world.numbers(DID).total_calls, 2);
}

/// While a commit hangs nothing else is written; then everything is.
#[tokio::test(start_paused = true)]
async fn a_held_commit_holds_the_position() {
    let mut world = World::new();
    let gate = Gate::default();
    world.store.on_commit(2, Fault::Hold(gate.clone()));
    let engine = world.start().await;
    world.group(&one_call(0));
    gate.entered().await;
    let end = world.group(&one_call(1));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.store.commits(), 2);
    assert_eq!(world.numbers(DID).total_calls, 0);
    gate.release();
    world.applied(&end).await;
    engine.stop().await.expect("stops in order");
    assert_eq!(world.numbers(DID).total_calls, 2);
}

/// Cut after any number of events, the stream is taken up where it was applied.
#[tokio::test(start_paused = true)]
async fn a_cut_stream_is_taken_up_again() {
    for after in 0..22 {
        let mut world = World::new();
        world.source.inject(SourceFault::Fail {
            after,
            error: unreachable,
        });
        let mut end = None;
        for number in 0..4 {
            end = Some(world.group(&one_call(number)));
        }
        world.run_to(&end.expect("four groups")).await;
        assert_eq!(world.numbers(DID).total_calls, 4, "cut after {after}");
        assert_eq!(world.numbers(DID).dials, 4, "cut after {after}");
    }
}

/// A source that says that it sent nothing for too long is connected to again.
#[tokio::test(start_paused = true)]
async fn a_silent_source_is_connected_to_again() {
    let mut world = World::new();
    world.source.inject(SourceFault::Fail {
        after: 3,
        error: || SourceError::Silent { seconds: 30 },
    });
    let end = world.group(&one_call(0));
    world.run_to(&end).await;
    assert_eq!(world.numbers(DID).total_calls, 1);
}

/// A source that only hangs does not keep the engine from stopping.
#[tokio::test(start_paused = true)]
async fn a_hanging_source_does_not_hold_up_a_shutdown() {
    let mut world = World::new();
    world.source.inject(SourceFault::Hang { after: 3 });
    world.group(&one_call(0));
    let engine = world.start().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    engine.stop().await.expect("stops in order");
}

/// What no retry mends ends the engine with its reason.
#[tokio::test(start_paused = true)]
async fn a_purged_log_stops_the_engine() {
    let world = World::new();
    world.source.inject(SourceFault::Fail {
        after: 0,
        error: || SourceError::Purged {
            wanted: "x.000001:4".to_owned(),
            detail: "gone".to_owned(),
        },
    });
    let error = world.start().await.ended().await.expect_err("stops");
    assert!(matches!(
        error,
        EngineError::Source(SourceError::Purged { .. })
    ));
}

/// Archiving writes groups of any size: they are applied in parts, and the
/// position waits for the end. A crash in between costs nothing.
#[tokio::test(start_paused = true)]
async fn a_large_group_is_applied_in_parts() {
    const CALLS: i64 = 5000;
    let mut world = World::new();
    let engine = world.start().await;
    let before = world.group(&one_call(0));
    world.applied(&before).await;
    world.open_group();
    for number in 1..CALLS {
        for change in one_call(number) {
            world.part(&Part::Rows(change));
        }
    }
    while world.numbers(DID).total_calls < CALLS {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stored = world.store.progress(SOURCE).await.expect("answers");
    assert_eq!(stored.expect("known").position, before);
    engine.crash().await;
    let end = world.close_group();
    world.run_to(&end).await;
    assert_eq!(world.numbers(DID).total_calls, CALLS);
    assert_eq!(world.numbers(DID).dials, CALLS);
}

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

/// A row without a key is set aside; the others of its group count.
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

#[tokio::test(start_paused = true)]
async fn partial_images_are_set_aside() {
    let mut world = World::new();
    world.open_group();
    let mut log = Log::at(20, 7, "QUEUE");
    let change = log.disposition("SALE");
    events::push_rows(&world.source, 1_731_412_900, &change, 0b100_0001);
    let end = world.close_group();
    let summary = world.run_to(&end).await;
    assert_eq!(summary.missing.quarantined, 1);
    assert!(world.quarantined()[0].reason.contains("partial"));
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
    // After a restart the older version is still known from the state file.
    assert!(
        world
            .state()
            .schemas(SOURCE, "vicidial_log")
            .expect("reads")
            .len()
            >= 2
    );
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
    assert_eq!(summary.missing.statements, 1);
    assert_eq!(summary.missing.incidents, 1);
}

/// MySQL's compressed transactions may hide rows: never passed over.
#[tokio::test(start_paused = true)]
async fn a_compressed_transaction_stops_the_engine() {
    let mut world = World::new();
    world.parts(&[Part::Raw(40, vec![0; 20])]);
    let error = world.start().await.ended().await.expect_err("stops");
    assert!(matches!(error, EngineError::Unsupported { .. }), "{error}");
    assert!(error.hint().is_some());
}

/// Groups of other tables move the position all the same, within seconds.
#[tokio::test(start_paused = true)]
async fn a_position_without_rows_is_saved() {
    let mut world = World::new();
    let engine = world.start().await;
    let end = world.parts(&[Part::Statement("INSERT INTO noise VALUES (1)".to_owned())]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.has_applied(&end).await);
    let stored = world.store.progress(SOURCE).await.expect("answers");
    assert_eq!(stored.expect("known").gtid, world.gtid());
    engine.stop().await.expect("stops in order");
    let local = world.state().checkpoint(SOURCE).expect("reads");
    assert_eq!(local.expect("known").position, end);
}

/// The position follows the source into its next file.
#[tokio::test(start_paused = true)]
async fn a_rotation_is_followed() {
    let mut world = World::new();
    let engine = world.start().await;
    world.group(&one_call(0));
    let next = crate::world::file("mysql-bin.000002");
    world.source.rotate(next.clone(), 1_731_412_900);
    let end = world.group(&one_call(1));
    assert_eq!(end.file, next);
    world.applied(&end).await;
    engine.stop().await.expect("stops in order");
    assert_eq!(world.numbers(DID).total_calls, 2);
}

/// `until` ends at its position: before what comes behind it.
#[tokio::test(start_paused = true)]
async fn it_ends_where_it_is_told_to() {
    let mut world = World::new();
    let end = world.group(&one_call(0));
    world.group(&one_call(1));
    world.until = Some(end.clone());
    let summary = world.start().await.ended().await.expect("ends");
    assert_eq!(summary.position, end.to_string());
    assert_eq!(world.numbers(DID).total_calls, 1);
}

/// A shutdown waits for the transaction at work, and not for ever.
#[tokio::test(start_paused = true)]
async fn a_shutdown_finishes_the_transaction_at_work() {
    for (slow, applied) in [(3, 1), (300, 0)] {
        let mut world = World::new();
        let slow = Fault::Slow(Duration::from_secs(slow));
        world.store.on_commit(2, slow);
        let engine = world.start().await;
        let end = world.group(&one_call(0));
        while world.store.commits() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        engine.ask_to_stop();
        engine.ended().await.expect("stops in order");
        assert_eq!(world.numbers(DID).total_calls, applied);
        world.run_to(&end).await;
        assert_eq!(world.numbers(DID).total_calls, 1);
    }
}

/// A batch that was given up takes those behind it along: applied alone, the
/// later one would move the position past rows that are in no store.
#[tokio::test(start_paused = true)]
async fn nothing_is_applied_behind_a_batch_that_was_given_up() {
    let mut world = World::new();
    world
        .store
        .on_commit(2, Fault::Slow(Duration::from_secs(300)));
    let engine = world.start().await;
    world.group(&one_call(0));
    while world.store.commits() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let end = world.group(&one_call(1));
    // Time for the second batch to be read and to wait.
    tokio::time::sleep(Duration::from_secs(1)).await;
    engine.ask_to_stop();
    engine.ended().await.expect("stops in order");
    assert_eq!(world.numbers(DID).total_calls, 0);
    world.run_to(&end).await;
    assert_eq!(world.numbers(DID).total_calls, 2);
}
