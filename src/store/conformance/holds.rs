//! What the right to the next commit gives, and what it keeps from others.

use std::time::Duration;

use super::change::{SOURCE, answered, empty, honest, key};
use super::{Inspect, next, put};
use crate::store::{LoadName, LoadNote, StoreError};

/// How long a commit is watched that must not come through.
const MOMENT: Duration = Duration::from_millis(300);

pub(crate) async fn who_holds_the_store_makes_the_next_commit<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    change.calls.insert(key("a", 1), answered("+1", 1));
    put(store, change).await;
    let dump = store.contents().await;
    let changed = |name: &str, next: u64| {
        let mut change = empty(&dump);
        change.calls.insert(key(name, 1), answered("+1", 2));
        change.checkpoint.position.next = next;
        honest(&dump, change)
    };
    let (mine, other) = (changed("mine", 1000), changed("other", 2000));
    let hold = store.hold(SOURCE).await.unwrap();
    let mut waiting = Box::pin(store.commit(&other));
    let early = tokio::time::timeout(MOMENT, &mut waiting).await;
    assert!(early.is_err(), "another commit came through: {early:?}");
    // Reading goes on, and finds what was there.
    let there = store.progress(SOURCE).await.unwrap();
    assert_eq!(there, mine.expected);
    let note = LoadNote {
        asked: "3d".to_owned(),
        next: 77,
        ..LoadNote::default()
    };
    let loads = Some((LoadName::Command, &note));
    let durable = store.commit_held(hold, &mine, loads).await.unwrap();
    assert_eq!(durable.checkpoint(), &mine.checkpoint);
    // The other one comes next, and no longer finds the store where it was.
    let late = waiting.await.unwrap_err();
    assert!(matches!(late, StoreError::OtherWriter { .. }), "{late:?}");
    let calls: Vec<String> = store
        .contents()
        .await
        .calls
        .into_keys()
        .map(|(_, key)| key.uniqueid)
        .collect();
    assert_eq!(calls, ["a", "mine"]);
    let noted = store.load_note(SOURCE, LoadName::Command).await.unwrap();
    assert_eq!(noted, Some(note));
}

pub(crate) async fn a_hold_that_is_dropped_changes_nothing<S: Inspect>(store: &S) {
    let change = next(store).await;
    put(store, change).await;
    let before = store.contents().await;
    drop(store.hold(SOURCE).await.unwrap());
    drop(store.hold(SOURCE).await.unwrap());
    assert_eq!(store.contents().await, before);
    // Nor does a held commit that fails, with its note.
    let mut wrong = next(store).await;
    wrong.expected = None;
    wrong.calls.insert(key("a", 1), answered("+1", 1));
    let note = LoadNote::default();
    let hold = store.hold(SOURCE).await.unwrap();
    let loads = Some((LoadName::StartAt, &note));
    assert!(store.commit_held(hold, &wrong, loads).await.is_err());
    assert_eq!(store.contents().await, before);
    assert_eq!(
        store.load_note(SOURCE, LoadName::StartAt).await.unwrap(),
        None
    );
    let mut change = next(store).await;
    change.calls.insert(key("b", 1), answered("+1", 1));
    assert_eq!(put(store, change).await.calls.len(), 1);
}
