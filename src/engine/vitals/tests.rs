//! What is told of a source as it speaks, falls silent and is lost.

use super::*;

const NOON: i64 = 1_800_000_000;

fn vitals() -> Arc<SourceVitals> {
    SourceVitals::unwatched("main", || NOON)
}

fn batch(number: u64) -> Batch {
    let position = "b.000001:4".parse().expect("a position");
    let mut batch = Batch::new(position, crate::binlog::GtidPosition::default(), None);
    batch.number = number;
    batch
}

#[test]
fn a_quiet_source_is_not_behind() {
    let vitals = vitals();
    assert_eq!(vitals.lag_seconds(), None, "nothing is known yet");
    // Its last event is of an hour ago.
    vitals.begin(Missing::default(), Rereads::default(), Some(NOON - 3600));
    assert_eq!(vitals.lag_seconds(), Some(3600), "not connected");
    vitals.begin_session();
    vitals.connect();
    assert_eq!(vitals.lag_seconds(), Some(3600), "not yet read to the end");
    vitals.set_idle(true);
    assert_eq!((vitals.is_idle(), vitals.lag_seconds()), (true, Some(0)));
    // The first call after the quiet hour is not an hour late.
    vitals.heard(false);
    assert_eq!((vitals.is_idle(), vitals.lag_seconds()), (false, Some(0)));
    vitals.disconnect(true);
    assert_eq!(vitals.lag_seconds(), Some(0), "complete up to this second");
    assert_eq!(vitals.disconnects(), (1, 0));
    vitals.disconnect(true);
    assert_eq!(vitals.disconnects(), (1, 1));
}

#[test]
fn a_quiet_source_that_is_lost_is_behind_since_then() {
    static NOW: AtomicI64 = AtomicI64::new(NOON);
    let pass = |seconds| NOW.fetch_add(seconds, Ordering::Relaxed);
    let vitals = SourceVitals::unwatched("main", || NOW.load(Ordering::Relaxed));
    vitals.begin(Missing::default(), Rereads::default(), Some(NOON - 3600));
    vitals.begin_session();
    vitals.connect();
    vitals.set_idle(true);
    pass(100);
    vitals.disconnect(true);
    assert_eq!(vitals.lag_seconds(), Some(0), "complete up to the loss");
    pass(7);
    vitals.disconnect(true);
    assert_eq!(
        vitals.lag_seconds(),
        Some(7),
        "not the hour of the last event"
    );
    // The next stream is not yet read to its end.
    vitals.begin_session();
    vitals.connect();
    assert_eq!(vitals.lag_seconds(), Some(7));
    // It is lost while a batch waits for the store: complete when that is durable.
    vitals.set_idle(true);
    vitals.heard(false);
    let number = vitals.next_batch();
    vitals.set_idle(true);
    pass(20);
    vitals.disconnect(true);
    assert_eq!(vitals.lag_seconds(), Some(20), "since the source spoke");
    vitals.durable(&batch(number), 0, Some(NOON));
    assert_eq!(vitals.lag_seconds(), Some(0));
    // A batch that is lost with its stream is not in the numbers.
    vitals.begin_session();
    vitals.connect();
    vitals.next_batch();
    vitals.set_idle(true);
    pass(30);
    vitals.disconnect(true);
    assert_eq!(vitals.lag_seconds(), Some(30));
    vitals.begin_session();
    assert_eq!(vitals.lag_seconds(), Some(30));
}

#[test]
fn what_waits_for_the_store_is_lag() {
    let vitals = vitals();
    vitals.begin(Missing::default(), Rereads::default(), Some(NOON - 50));
    vitals.begin_session();
    vitals.connect();
    let number = vitals.next_batch();
    // The stream is empty, and the store does not answer.
    vitals.set_idle(true);
    assert!(!vitals.is_idle());
    assert_eq!(vitals.lag_seconds(), Some(50));
    vitals.durable(&batch(number), 0, Some(NOON - 1));
    assert_eq!((vitals.is_idle(), vitals.lag_seconds()), (true, Some(0)));
    // A batch that was lost with its stream is read again by the next one.
    vitals.next_batch();
    assert!(!vitals.is_idle());
    vitals.begin_session();
    vitals.set_idle(true);
    assert!(vitals.is_idle());
}

#[test]
fn a_store_that_works_again_has_no_failure() {
    let vitals = Vitals::new(["a", "b"], || NOON);
    vitals.sources()[0].store_failed(&"no room");
    assert_eq!(vitals.store_failure().as_deref(), Some("no room"));
    vitals.sources()[1].store_works();
    assert_eq!((vitals.store_failure(), vitals.store_errors()), (None, 1));
}

#[test]
fn a_batch_is_counted_when_it_is_durable() {
    let vitals = vitals();
    let mut batch = batch(vitals.next_batch());
    batch.tally.events = 7;
    batch.tables[0] = (2, 5);
    vitals.durable(&batch, 3, None);
    vitals.durable(&batch, 1, None);
    let counts = vitals.counts();
    assert_eq!((counts.events, counts.results), (14, 4));
    assert_eq!(counts.tables[0], (4, 10));
}
