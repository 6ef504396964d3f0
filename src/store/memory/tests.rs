//! Faults happen to the commit they are meant for, before or after it applies.

use std::time::Duration;

use crate::store::conformance::change::{SOURCE, empty};
use crate::store::{Dump, Fault, Gate, MemoryStore, Store as _, StoreError};

#[tokio::test(start_paused = true)]
async fn faults_come_when_they_are_scripted() {
    let store = MemoryStore::new();
    store.on_commit(1, Fault::Reject);
    store.on_commit(2, Fault::LoseAcknowledgement);
    store.on_commit(3, Fault::Slow(Duration::from_secs(7)));
    let change = empty(&Dump::default());
    let error = store.commit(&change).await.unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error:?}");
    assert_eq!(store.dump(), Dump::default());
    let error = store.commit(&change).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    let applied = store.progress(SOURCE).await.unwrap();
    assert_eq!(applied.as_ref(), Some(&change.checkpoint));
    let started = tokio::time::Instant::now();
    store.commit(&empty(&store.dump())).await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(7));
    assert_eq!(store.commits(), 3);
}

#[tokio::test]
async fn a_held_commit_is_applied_when_it_is_released() {
    let store = MemoryStore::new();
    let gate = Gate::default();
    store.on_commit(1, Fault::Hold(gate.clone()));
    let change = empty(&Dump::default());
    let test = async {
        gate.entered().await;
        assert_eq!(store.dump(), Dump::default());
        gate.release();
    };
    let (committed, ()) = tokio::join!(store.commit(&change), test);
    assert_eq!(committed.unwrap().checkpoint(), &change.checkpoint);
}
