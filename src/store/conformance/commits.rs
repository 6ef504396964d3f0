//! What a commit must change, and what it must leave alone.

use super::change::{SOURCE, TENANT, answered, checkpoint, dial_key, dialed, empty, honest, key};
use super::{Inspect, entry, next, put};
use crate::ledger::{AuditEntry, Call, Keys, Outcome};
use crate::store::{DidNumbers, StoreError, Trail};

pub(crate) async fn calls_move_in_chains_and_swaps<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    let named = ["a", "b", "c", "x", "y"];
    for (i, name) in named.into_iter().enumerate() {
        let call = Call {
            disposition: name.to_owned(),
            ..answered("+1", i as i64)
        };
        change.calls.insert(key(name, 1), call);
    }
    let before = put(store, change).await;
    let mut change = next(store).await;
    for (old, new) in [("a", "b"), ("b", "c"), ("c", "d"), ("x", "y"), ("y", "x")] {
        change
            .moved
            .insert(key(old, 1), key(new, 2 - u64::from(new != "d")));
        let call = before.calls[&(SOURCE.to_owned(), key(old, 1))].clone();
        change
            .calls
            .insert(key(new, 2 - u64::from(new != "d")), call);
    }
    let after = put(store, change).await;
    let names: Vec<_> = after
        .calls
        .iter()
        .map(|((_, key), call)| (key.uniqueid.as_str(), call.disposition.as_str()))
        .collect();
    assert_eq!(
        names,
        [("b", "a"), ("c", "b"), ("d", "c"), ("x", "y"), ("y", "x")]
    );
    assert_eq!(after.dids, before.dids);
    // A key that the store does not have moves nothing.
    let mut change = next(store).await;
    change.moved.insert(key("unknown", 1), key("z", 1));
    change.calls.insert(key("z", 1), answered("+1", 9));
    assert_eq!(put(store, change).await.calls.len(), 6);
}

pub(crate) async fn a_replaced_row_makes_room<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    change.calls.insert(key("a", 1), answered("+1", 1));
    change.calls.insert(key("b", 1), answered("+2", 2));
    put(store, change).await;
    let mut change = next(store).await;
    change.moved.insert(key("a", 1), key("b", 1));
    change.replaced.insert(key("b", 1));
    change.calls.insert(key("b", 1), answered("+1", 1));
    let dump = put(store, change).await;
    let calls: Vec<_> = dump.calls.values().collect();
    assert_eq!(calls, [&answered("+1", 1)]);
    let stale = dump.dids[&(TENANT.to_owned(), "+2".to_owned())].unwrap();
    assert_eq!(stale, DidNumbers::default());
    assert_eq!(dump.daily.len(), 1, "a row without numbers is removed");
}

pub(crate) async fn a_move_onto_a_call_is_refused_whole<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    change.calls.insert(key("a", 1), answered("+1", 1));
    change.calls.insert(key("b", 1), answered("+1", 2));
    let before = put(store, change).await;
    let mut change = next(store).await;
    change.moved.insert(key("a", 1), key("b", 1));
    change.calls.insert(key("b", 1), answered("+1", 1));
    let error = store.commit(&change).await.unwrap_err();
    assert!(matches!(error, StoreError::Other { .. }), "{error:?}");
    assert_eq!(store.contents().await, before);
}

pub(crate) async fn deltas_add_up<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    change.calls.insert(key("a", 1), answered("+1", 1));
    change.calls.insert(key("b", 1), answered("+1", 2));
    change.dials.insert(dial_key("V1", 1), dialed("+1", 1, 1));
    put(store, change).await;
    let mut change = next(store).await;
    let negative = Call {
        duration_seconds: Some(-5),
        ..answered("+1", 2)
    };
    change.calls.insert(key("b", 1), negative);
    let machine = Call {
        outcome: Outcome::Machine,
        dnc: true,
        ..answered("+1", 3)
    };
    change.calls.insert(key("c", 1), machine);
    let dump = put(store, change).await;
    let numbers = dump.dids[&(TENANT.to_owned(), "+1".to_owned())].unwrap();
    assert_eq!(
        numbers.counters.values(),
        [1, 3, 3, 2, 1, 0, 0, 0, 0, 0, 0, 1, 30]
    );
    assert_eq!(
        (numbers.last_call_at, numbers.last_dial_at),
        (Some(3), Some(1))
    );
    assert_eq!(dump.recounted()["+1"], numbers);
    assert_eq!(dump.daily.len(), 2);
}

pub(crate) async fn the_newest_is_found_anew<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    for at in [10, 20, 30] {
        change
            .calls
            .insert(key(&at.to_string(), 1), answered("+1", at));
        change
            .dials
            .insert(dial_key(&at.to_string(), 0), dialed("+1", 1, at));
    }
    put(store, change).await;
    let mut change = next(store).await;
    change.calls.insert(key("30", 1), answered("+2", 30));
    change.calls.insert(
        key("20", 1),
        Call {
            counted: false,
            ..answered("+1", 20)
        },
    );
    change.dials.insert(dial_key("30", 0), dialed("+1", 1, 15));
    let dump = put(store, change).await;
    let of = |did: &str| dump.dids[&(TENANT.to_owned(), did.to_owned())].unwrap();
    assert_eq!(
        (of("+1").last_call_at, of("+1").last_dial_at),
        (Some(10), Some(20))
    );
    assert_eq!(
        (of("+2").last_call_at, of("+2").last_dial_at),
        (Some(30), None)
    );
    let mut change = next(store).await;
    change.calls.insert(
        key("10", 1),
        Call {
            counted: false,
            ..answered("+1", 10)
        },
    );
    let dump = put(store, change).await;
    let numbers = dump.dids[&(TENANT.to_owned(), "+1".to_owned())].unwrap();
    assert_eq!(
        (numbers.last_call_at, numbers.last_dial_at),
        (None, Some(20))
    );
}

pub(crate) async fn audit_rows_are_written_once_and_pruned_oldest_first<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    change.audit = (0..10).map(|i| entry(&format!("b.1:{i}/0@5"), i)).collect();
    put(store, change).await;
    let mut change = next(store).await;
    let again = AuditEntry {
        new: "XFER".to_owned(),
        ..entry("b.1:3/0@5", 3)
    };
    change.audit = vec![again, entry("b.1:10/0@5", 10)];
    let dump = put(store, change).await;
    assert_eq!(dump.audit.len(), 11);
    let row = &dump.audit[&(TENANT.to_owned(), "main/b.1:3/0@5".to_owned())];
    let details = "{\"event\":\"b.1:3/0@5\",\"source\":\"main\",\"uniqueid\":\"1.1\",\
         \"lead_id\":7,\"old\":\"\",\"new\":\"SALE\",\"did\":null}";
    assert_eq!(row, &(details.to_owned(), 3));

    assert_eq!(
        store.prune("other", Trail::Audit, 100, 100).await.unwrap(),
        0
    );
    assert_eq!(store.prune(TENANT, Trail::Audit, 8, 3).await.unwrap(), 3);
    assert_eq!(store.prune(TENANT, Trail::Audit, 8, 100).await.unwrap(), 5);
    let left = store.contents().await.audit;
    assert_eq!(left.values().map(|(_, at)| *at).min(), Some(8));
}

pub(crate) async fn another_writer_is_noticed<S: Inspect>(store: &S) {
    let first = next(store).await;
    put(store, first.clone()).await;
    let mut late = first.clone();
    late.calls.insert(key("a", 1), answered("+1", 1));
    let before = store.contents().await;
    for wrong in [None, Some(checkpoint(77))] {
        late.expected = wrong;
        let error = store.commit(&late).await.unwrap_err();
        assert!(matches!(error, StoreError::OtherWriter { .. }), "{error:?}");
        assert!(
            error.to_string().ends_with("it is at mysql-bin.000001:4"),
            "{error}"
        );
        assert!(!error.is_transient());
    }
    let mut epoch = first.checkpoint.clone();
    epoch.epoch += 1;
    late.expected = Some(epoch);
    assert!(store.commit(&late).await.is_err());
    assert_eq!(store.contents().await, before);
}

pub(crate) async fn a_failed_commit_leaves_nothing<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    change.calls.insert(key("a", 1), answered("+1", 1));
    let before = put(store, change).await;
    let mut change = next(store).await;
    change.tenant = "new".to_owned();
    change.moved.insert(key("a", 1), key("b", 1));
    change.calls.insert(key("b", 1), answered("+2", 1));
    change.dials.insert(dial_key("V1", 1), dialed("+3", 1, 1));
    change.audit.push(entry("e", 1));
    let mut change = honest(&before, change);
    let (mut daily, counters) = change.daily.pop_last().unwrap();
    daily.day = "no day".to_owned();
    change.daily.insert(daily, counters);
    assert!(store.commit(&change).await.is_err());
    assert_eq!(store.contents().await, before);
    let after = next(store).await;
    put(store, after).await;
}

pub(crate) async fn ten_thousand_rows_are_one_commit<S: Inspect>(store: &S) {
    let mut dump = store.contents().await;
    for round in 0..2 {
        let mut change = empty(&dump);
        for i in 0..10_000_u64 {
            let (at, name) = (i64::try_from(i).unwrap(), i.to_string());
            let did = format!("+1202555{:04}", i % 997);
            let (call, dial) = (answered(&did, at + round), dialed(&did, i, at + round));
            change.calls.insert(key(&name, i), call);
            change.dials.insert(dial_key(&name, 0), dial);
            change.audit.push(entry(&format!("{round}:{i}"), at));
        }
        store.commit(&honest(&dump, change)).await.unwrap();
        dump = store.contents().await;
    }
    assert_eq!((dump.calls.len(), dump.dials.len()), (10_000, 10_000));
    assert_eq!((dump.dids.len(), dump.audit.len()), (997, 20_000));
    let keys = Keys {
        uniqueids: (0..10_000).map(|i| i.to_string()).collect(),
        lead_ids: (0..10_000).collect(),
        lead_times: Some((0, 20_000)),
        ..Keys::default()
    };
    let loaded = store.load(SOURCE, TENANT, &keys).await.unwrap();
    assert_eq!((loaded.calls.len(), loaded.dials.len()), (10_000, 10_000));
}
