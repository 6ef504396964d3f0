//! Old calls and dials go, and their numbers stay.

use super::change::{SOURCE, TENANT, answered, dial_key, dialed, key};
use super::{Inspect, next, put};
use crate::ledger::{Aged, Call, Dial, Pruned, SPARED_SECONDS};
use crate::store::{Dump, Prune, StoreError, Swept};

/// Nothing older than this is wanted. So long ago that nobody makes partitions.
const BEFORE: i64 = 10 * 86_400;

/// The first second that is spared.
const KEPT: i64 = BEFORE - SPARED_SECONDS;

const OLDEST: i64 = KEPT - 10;

async fn sweep<S: Inspect>(
    store: &S,
    aged: Aged,
    before: i64,
    rows_max: u32,
) -> Result<Swept, StoreError> {
    let expected = store.progress(SOURCE).await.unwrap().unwrap();
    let prune = Prune {
        source: SOURCE,
        tenant: TENANT,
        expected: &expected,
        fencing_token: None,
        aged,
        before,
        rows_max,
    };
    store.sweep(&prune).await
}

/// Three old calls and dials, of which one has no DID, and two that are kept; and
/// as many of another source.
async fn fill<S: Inspect>(store: &S) -> Dump {
    for source in ["second", SOURCE] {
        let mut change = next(store).await;
        for (n, at) in [
            (1, OLDEST),
            (2, KEPT - 2),
            (3, KEPT - 1),
            (4, KEPT),
            (5, BEFORE),
        ] {
            let mut call = answered("+1", at);
            let mut dial = old_dial(n, at);
            call.day = day();
            if n == 3 {
                (call.did, dial.did) = (None, None);
            }
            change.calls.insert(key(&format!("{n}.1"), n), call);
            change.dials.insert(dial_key(&format!("V{n}"), at), dial);
        }
        // Its code is young, or its dial is: both count.
        change
            .dials
            .insert(dial_key("V6", BEFORE), old_dial(6, KEPT - 1));
        change
            .dials
            .insert(dial_key("V7", KEPT - 1), old_dial(7, BEFORE));
        if source != SOURCE {
            change.source = source.to_owned();
            change.expected = None;
        }
        put(store, change).await;
    }
    store.contents().await
}

/// The day of all of them.
fn day() -> String {
    "1970-01-10".to_owned()
}

fn old_dial(lead_id: u64, dialed_at: i64) -> Dial {
    Dial {
        day: day(),
        ..dialed("+1", lead_id, dialed_at)
    }
}

fn moved_call(started_at: i64) -> Call {
    Call {
        day: day(),
        ..answered("+2", started_at)
    }
}

fn calls_of(dump: &Dump, source: &str) -> Vec<String> {
    let of = dump.calls.keys().filter(|(of, _)| of == source);
    of.map(|(_, key)| key.uniqueid.clone()).collect()
}

fn dials_of(dump: &Dump, source: &str) -> Vec<String> {
    let of = dump.dials.keys().filter(|(of, _)| of == source);
    of.map(|(_, key)| key.caller_code.clone()).collect()
}

pub(crate) async fn old_rows_go_and_their_numbers_stay<S: Inspect>(store: &S) {
    let before = fill(store).await;
    assert_eq!(store.pruned(SOURCE).await.unwrap(), Pruned::default());

    let swept = sweep(store, Aged::Calls, BEFORE, 2).await.unwrap();
    assert_eq!(swept.rows, 2);
    let swept = sweep(store, Aged::Calls, BEFORE, 100).await.unwrap();
    assert_eq!(swept.rows, 1);
    let swept = sweep(store, Aged::Dials, BEFORE, 100).await.unwrap();
    assert_eq!(swept.rows, 3);

    let after = store.contents().await;
    assert_eq!(calls_of(&after, SOURCE), ["4.1", "5.1"]);
    assert_eq!(dials_of(&after, SOURCE), ["V4", "V5", "V6", "V7"]);
    assert_eq!(calls_of(&after, "second"), calls_of(&before, "second"));
    assert_eq!(dials_of(&after, "second"), dials_of(&before, "second"));
    assert_eq!((&after.dids, &after.daily), (&before.dids, &before.daily));
    let both = Pruned {
        calls_before: Some(BEFORE),
        dials_before: Some(BEFORE),
    };
    assert_eq!(store.pruned(SOURCE).await.unwrap(), both);
    assert_eq!(store.pruned("second").await.unwrap(), Pruned::default());
}

/// Where nothing is that old nothing is noted: what is loaded then still counts.
pub(crate) async fn the_time_of_the_rule_moves_on_with_what_is_deleted<S: Inspect>(store: &S) {
    let first = fill(store).await;
    let revision = |dump: &Dump| dump.progress[SOURCE].revision;
    let swept = sweep(store, Aged::Calls, OLDEST + SPARED_SECONDS, 100).await;
    assert_eq!(swept.unwrap().pruned, Pruned::default());
    assert_eq!(store.contents().await, first);

    let swept = sweep(store, Aged::Calls, OLDEST + 1 + SPARED_SECONDS, 100).await;
    assert_eq!(swept.unwrap().rows, 1);
    let second = store.contents().await;
    assert_eq!(revision(&second), revision(&first) + 1);

    sweep(store, Aged::Calls, BEFORE, 1).await.unwrap();
    // A longer retention keeps more from now on; what may be gone may be gone.
    let swept = sweep(store, Aged::Calls, 5, 100).await.unwrap();
    assert_eq!((swept.rows, swept.pruned.calls_before), (1, Some(BEFORE)));
    assert_eq!(swept.pruned.dials_before, None);
    let last = store.contents().await;
    assert_eq!(last.progress[SOURCE], *swept.durable.checkpoint());
    assert_eq!(revision(&last), revision(&second) + 1);
}

pub(crate) async fn nobody_else_may_have_written_before_rows_go<S: Inspect>(store: &S) {
    let before = fill(store).await;
    let mut expected = before.progress[SOURCE].clone();
    expected.revision += 1;
    let prune = Prune {
        source: SOURCE,
        tenant: TENANT,
        expected: &expected,
        fencing_token: None,
        aged: Aged::Dials,
        before: BEFORE,
        rows_max: 100,
    };
    let error = store.sweep(&prune).await.unwrap_err();
    assert!(matches!(error, StoreError::OtherWriter { .. }), "{error:?}");
    assert_eq!(store.contents().await, before);
}

/// The newest call of a DID leaves, and none is left to say when the one before was.
pub(crate) async fn the_last_call_stays_where_no_row_says_better<S: Inspect>(store: &S) {
    fill(store).await;
    let mut change = next(store).await;
    change.source = "second".to_owned();
    change.expected = store.progress("second").await.unwrap();
    for n in [1, 2, 4, 5] {
        change
            .calls
            .insert(key(&format!("{n}.1"), n), moved_call(OLDEST));
    }
    put(store, change).await;
    sweep(store, Aged::Calls, BEFORE + 1, 100).await.unwrap();
    let mut change = next(store).await;
    change.calls.insert(key("5.1", 5), moved_call(BEFORE));
    let after = put(store, change).await;
    let of = |did: &str| after.dids[&(TENANT.to_owned(), did.to_owned())].unwrap();
    assert_eq!(of("+1").counters.total_calls, 3);
    assert_eq!(of("+1").last_call_at, Some(BEFORE));
    assert_eq!(of("+2").last_call_at, Some(BEFORE));
}
