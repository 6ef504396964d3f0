//! Everything that goes wrong on either side, and what the engine makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use didtail::checkpoint::Checkpoint;
use didtail::engine::EngineError;
use didtail::ledger::{ChangeSet, Frame, Keys, Loaded, Working};
use didtail::source::{Fault as SourceFault, SourceError};
use didtail::state::Health;
use didtail::store::{Claim, Durable, Fault, Gate, Grant, MemoryStore, Store, StoreError};

use crate::events::{self, Part};
use crate::forward::forward;
use crate::rows::{Log, code, dial};
use crate::stories::{DID, NUMBER};
use crate::world::{Engine, SOURCE, TENANT, World};

/// One dial and its unanswered call, a minute after the last.
pub(crate) fn one_call(number: i64) -> Vec<events::Change> {
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

/// `didtail status` reads the note, being a process of its own.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_waited_for_is_noted() {
    let mut world = World::with_store(Full::default());
    let engine = world.start().await;
    let end = world.group(&one_call(0));
    world.applied(&end).await;
    world.store.full.store(true, Ordering::SeqCst);
    let end = world.group(&one_call(1));
    let mut note = world.note();
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        note = world.note();
        if note.last_error.is_some() {
            break;
        }
    }
    let said = note.last_error.expect("it is noted");
    assert!(said.contains("is full"), "{said}");
    assert_eq!(note.health, Health::Stopped);
    world.store.full.store(false, Ordering::SeqCst);
    world.applied(&end).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.note().last_error, None, "it works again");
    engine.stop().await.expect("stops in order");
}

/// Takes nothing while its disk is full, as one on a server.
#[derive(Default)]
struct Full {
    inner: MemoryStore,
    full: AtomicBool,
}

impl Store for Full {
    forward!(hold posts leases commit_held save_load load_note landmarks unattributed load statuses history page prune pruned sweep progress);

    async fn commit(&self, change: &ChangeSet) -> Result<Durable, StoreError> {
        if self.full.load(Ordering::SeqCst) {
            return Err(StoreError::DiskFull {
                store: "postgres://didtail@db/optimizer".to_owned(),
                source: "no space left".into(),
            });
        }
        self.inner.commit(change).await
    }
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
    forward!(hold posts leases commit_held save_load load_note landmarks unattributed load statuses history page prune pruned sweep);

    async fn progress(&self, source: &str) -> Result<Option<Checkpoint>, StoreError> {
        if self.away.swap(false, Ordering::SeqCst) {
            return Err(Self::gone());
        }
        self.inner.progress(source).await
    }

    async fn commit(&self, change: &ChangeSet) -> Result<Durable, StoreError> {
        let durable = self.inner.commit(change).await?;
        if self.lose_next.swap(false, Ordering::SeqCst) {
            self.away.store(true, Ordering::SeqCst);
            return Err(Self::gone());
        }
        Ok(durable)
    }
}

/// Commands that rewrite the store all the time: each makes the daemon read it
/// again, and by then there is another.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_rewritten_all_the_time_takes_what_comes() {
    let mut world = World::with_store(SlowToRead::default());
    let engine = world.start().await;
    let end = world.group(&one_call(0));
    world.applied(&end).await;
    let store = Arc::clone(&world.store);
    let writer = didtail::telemetry::spawn_named("writer", async move {
        loop {
            tokio::time::sleep(READING / 10).await;
            let hold = store.hold(SOURCE).await.expect("free some time");
            let progress = store.progress(SOURCE).await.expect("there");
            let expected = progress.expect("begun");
            let mut checkpoint = expected.clone();
            checkpoint.revision += 1;
            let change = Working::new(Loaded::default()).finish(Frame {
                landmarks: Vec::new(),
                source: SOURCE.to_owned(),
                tenant: TENANT.to_owned(),
                statuses: None,
                expected: Some(expected),
                fencing_token: None,
                checkpoint,
            });
            let committed = store.commit_held(hold, &change, None).await;
            committed.expect("nobody else comes through");
        }
    });
    for number in 1..5 {
        let end = world.group(&one_call(number));
        let applied = tokio::time::timeout(READING * 20, world.applied(&end));
        applied.await.expect("the daemon has its turn too");
    }
    writer.abort();
    engine.stop().await.expect("stops in order");
    let key = (TENANT.to_owned(), DID.to_owned());
    let numbers = world.store.inner.dump().dids[&key].expect("counted");
    assert_eq!(numbers.counters.total_calls, 5);
}

/// How long [`SlowToRead`] takes to say what it has.
const READING: Duration = Duration::from_millis(100);

/// Takes long enough to read for somebody else to write.
#[derive(Default)]
struct SlowToRead {
    inner: MemoryStore,
}

impl Store for SlowToRead {
    forward!(hold posts leases commit_held save_load load_note landmarks unattributed progress commit statuses history page prune pruned sweep);

    async fn load(&self, source: &str, tenant: &str, keys: &Keys) -> Result<Loaded, StoreError> {
        tokio::time::sleep(READING).await;
        self.inner.load(source, tenant, keys).await
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

/// A daemon that was paused for longer than its lease wakes up and has rows to
/// apply: the store refuses them, although nothing was written meanwhile.
#[tokio::test(start_paused = true)]
async fn who_lost_the_lease_stops_and_writes_nothing() {
    let mut world = World::new();
    let claim = |holder| Claim {
        holder,
        restarts: false,
        seconds: 60,
    };
    let held = |grant| match grant {
        Grant::Held(lease) => lease,
        taken @ Grant::Taken { .. } => panic!("{taken:?}"),
    };
    let store = (*world.store).clone();
    let one = held(store.claim(SOURCE, &claim("one")).await.expect("a claim"));
    world.fencing_token = Some(one.fencing_token);
    let engine = world.start().await;
    let end = world.group(&one_call(0));
    world.applied(&end).await;
    store.release(SOURCE, &one).await.expect("given back");
    held(store.claim(SOURCE, &claim("two")).await.expect("a claim"));
    let before = store.dump();
    world.group(&one_call(1));
    let lost = engine.ended().await.expect_err("it must stop");
    assert!(
        matches!(lost, EngineError::Store(StoreError::LeaseLost { ref holder, .. }) if holder == "two"),
        "{lost}"
    );
    assert_eq!(store.dump(), before);
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

/// The stream knows where it began; the operator hears where it was to go on.
#[tokio::test(start_paused = true)]
async fn a_log_that_is_purged_later_is_named_by_the_present_position() {
    let mut world = World::new();
    world.source.inject(SourceFault::Fail {
        after: 12,
        error: || SourceError::Purged {
            wanted: "x.000001:4".to_owned(),
            detail: "gone".to_owned(),
        },
    });
    for number in 0..4 {
        world.group(&one_call(number));
    }
    let error = world.start().await.ended().await.expect_err("stops");
    let stored = world.store.progress(SOURCE).await.expect("answers");
    let stands = stored.expect("a group was applied").position;
    assert!(
        error
            .to_string()
            .contains(&format!("needed next ({stands})")),
        "{stands}: {error}"
    );
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
