//! One daemon of several writes a source, and one that lost its lease does not.

use std::time::Duration;

use super::change::{SOURCE, answered, key};
use super::{Inspect, next, put};
use crate::store::{Claim, Grant, LEASE_SECONDS, Lease, StoreError};

fn first(holder: &str) -> Claim<'_> {
    Claim {
        holder,
        restarts: false,
        seconds: LEASE_SECONDS,
    }
}

async fn held<S: Inspect>(store: &S, claim: Claim<'_>) -> Lease {
    match store.claim(SOURCE, &claim).await.unwrap() {
        Grant::Held(lease) => lease,
        taken @ Grant::Taken { .. } => panic!("{taken:?}"),
    }
}

async fn refused<S: Inspect>(store: &S, claim: Claim<'_>) -> (String, i64) {
    match store.claim(SOURCE, &claim).await.unwrap() {
        Grant::Taken { holder, ends_in } => (holder, ends_in),
        held @ Grant::Held(_) => panic!("{held:?}"),
    }
}

pub(crate) async fn one_has_the_lease<S: Inspect>(store: &S) {
    assert_eq!(store.lease(SOURCE).await.unwrap(), None);
    let one = held(store, first("one")).await;
    assert_eq!(one.fencing_token, 1);
    let (holder, ends_in) = refused(store, first("two")).await;
    assert_eq!(holder, "one");
    assert!(
        (1..=i64::from(LEASE_SECONDS)).contains(&ends_in),
        "{ends_in}"
    );
    // Not even another of its own name, unless it was started again.
    refused(store, first("one")).await;
    let restarted = Claim {
        restarts: true,
        ..first("one")
    };
    let again = held(store, restarted).await;
    assert_eq!(again.fencing_token, 2);
    assert!(!store.renew(SOURCE, &one).await.unwrap());
    // Twice within one second, which changes nothing in the row.
    assert!(store.renew(SOURCE, &again).await.unwrap());
    assert!(store.renew(SOURCE, &again).await.unwrap());
    let state = store.lease(SOURCE).await.unwrap().unwrap();
    assert_eq!((state.holder.as_str(), state.fencing_token), ("one", 2));
    assert!(state.is_held() && state.acquired_at > 0, "{state:?}");
    // Who lost it has nothing to give back.
    store.release(SOURCE, &one).await.unwrap();
    refused(store, first("two")).await;
    store.release(SOURCE, &again).await.unwrap();
    assert!(!store.lease(SOURCE).await.unwrap().unwrap().is_held());
    assert_eq!(held(store, first("two")).await.fencing_token, 3);
    // Another source's is another.
    let other = store.claim("other", &first("one")).await.unwrap();
    assert!(matches!(other, Grant::Held(_)), "{other:?}");
}

pub(crate) async fn a_lease_ends_by_itself<S: Inspect>(store: &S) {
    let short = Claim {
        seconds: 1,
        ..first("one")
    };
    let one = held(store, short).await;
    refused(store, first("two")).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert!(!store.lease(SOURCE).await.unwrap().unwrap().is_held());
    // Nobody has taken it: it can still be renewed.
    assert!(store.renew(SOURCE, &one).await.unwrap());
    refused(store, first("two")).await;
}

pub(crate) async fn who_lost_the_lease_writes_nothing<S: Inspect>(store: &S) {
    let short = Claim {
        seconds: 1,
        ..first("one")
    };
    let one = held(store, short).await;
    let mut change = next(store).await;
    change.calls.insert(key("a", 1), answered("+1", 1));
    change.fencing_token = Some(one.fencing_token);
    put(store, change).await;
    // A commit renews it.
    let state = store.lease(SOURCE).await.unwrap().unwrap();
    assert!(state.expires_at >= state.now + 2, "{state:?}");
    store.release(SOURCE, &one).await.unwrap();
    let two = held(store, first("two")).await;
    let before = store.contents().await;
    let mut late = next(store).await;
    late.calls.insert(key("b", 1), answered("+1", 2));
    late.fencing_token = Some(one.fencing_token);
    let lost = |error: StoreError| match error {
        StoreError::LeaseLost { holder, .. } => assert_eq!(holder, "two"),
        other => panic!("{other:?}"),
    };
    lost(store.commit(&late).await.unwrap_err());
    let hold = store.hold(SOURCE).await.unwrap();
    lost(store.commit_held(hold, &late, None).await.unwrap_err());
    assert_eq!(store.contents().await, before);
    // Commands that only rewrite what is there need none.
    let mut beside = next(store).await;
    beside.calls.insert(key("c", 1), answered("+1", 3));
    put(store, beside).await;
    let mut change = next(store).await;
    change.calls.insert(key("b", 1), answered("+1", 2));
    change.fencing_token = Some(two.fencing_token);
    assert_eq!(put(store, change).await.calls.len(), 3);
}
