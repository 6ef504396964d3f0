//! The history of calls and dials, and going through all of them.

use std::collections::BTreeSet;

use super::change::{SOURCE, TENANT, answered, dial_key, dialed, key};
use super::{Inspect, next, put};
use crate::ledger::{CallKey, ChangeEntry, Subject};
use crate::store::{LoadName, LoadNote, Mark, Trail};

fn entry(offset: u64, at: i64, left: Option<&str>) -> ChangeEntry {
    let was = serde_json::json!({ "disposition": "NA" });
    ChangeEntry {
        event: format!("b.000001:{offset}/0@{at}"),
        table: "vicidial_log".to_owned(),
        was: was.as_object().cloned(),
        left: left.map(str::to_owned),
    }
}

fn call(uniqueid: &str) -> Subject {
    Subject::Call(key(uniqueid, 7))
}

async fn events<S: Inspect>(store: &S, subject: &Subject) -> Vec<String> {
    let entries = store.history(SOURCE, subject).await.unwrap();
    assert!(entries.iter().all(|entry| entry.was.is_some()));
    entries.into_iter().map(|entry| entry.event).collect()
}

pub(crate) async fn changes_are_kept_in_order_and_follow_a_moved_call<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    change.calls.insert(key("1.1", 7), answered("+1", 10));
    change.calls.insert(key("1.2", 7), answered("+1", 11));
    let dial = Subject::Dial(dial_key("1.1", 7));
    // In one batch a call may leave more than one DID.
    let entries = vec![
        entry(1, 10, Some("+1")),
        entry(2, 11, Some("+2")),
        entry(3, 12, None),
    ];
    change.history.insert(call("1.1"), entries);
    change.history.insert(call("1.2"), vec![entry(4, 11, None)]);
    change
        .history
        .insert(dial.clone(), vec![entry(5, 12, None)]);
    change.dials.insert(dial_key("1.1", 7), dialed("+2", 7, 7));
    put(store, change).await;
    let mut change = next(store).await;
    change.history.insert(call("1.1"), vec![entry(9, 13, None)]);
    put(store, change).await;
    assert_eq!(
        events(store, &call("1.1")).await,
        [
            "b.000001:1/0@10",
            "b.000001:2/0@11",
            "b.000001:3/0@12",
            "b.000001:9/0@13"
        ]
    );

    let mut change = next(store).await;
    change.replaced.insert(key("1.2", 7));
    change.moved.insert(key("1.1", 7), key("1.2", 7));
    change.calls.insert(key("1.2", 7), answered("+1", 10));
    change
        .history
        .insert(call("1.2"), vec![entry(12, 14, None)]);
    put(store, change).await;
    assert_eq!(events(store, &call("1.1")).await, Vec::<String>::new());
    assert_eq!(events(store, &call("1.2")).await.len(), 5);
    assert_eq!(events(store, &dial).await, ["b.000001:5/0@12"]);
}

pub(crate) async fn old_history_is_pruned<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    for (uniqueid, at) in [("1.1", 10), ("1.2", 20), ("1.3", 30)] {
        change
            .history
            .insert(call(uniqueid), vec![entry(1, at, None)]);
    }
    put(store, change).await;
    let prune = |tenant, before, rows| store.prune(tenant, Trail::History, before, rows);
    assert_eq!(prune("other", 100, 100).await.unwrap(), 0);
    assert_eq!(prune(TENANT, 30, 1).await.unwrap(), 1);
    assert_eq!(prune(TENANT, 30, 100).await.unwrap(), 1);
    assert_eq!(events(store, &call("1.2")).await.len(), 0);
    assert_eq!(events(store, &call("1.3")).await.len(), 1);
}

pub(crate) async fn pages_name_every_call_and_dial_once<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    for n in 0..7 {
        let key = CallKey {
            uniqueid: format!("{n}.1"),
            lead_id: n,
        };
        change.calls.insert(key, answered("+1", 10));
        let code = format!("V{n}");
        change.dials.insert(dial_key(&code, 5), dialed("+1", n, 5));
    }
    put(store, change).await;
    let (mut mark, mut names, mut rows) = (Mark::default(), BTreeSet::new(), 0);
    while let Some(page) = store.page(SOURCE, mark, 3).await.unwrap() {
        assert!(page.rows <= 3 && page.mark != mark);
        let times = page.keys.lead_times;
        assert!(page.keys.lead_ids.is_empty() || times.is_some_and(|(from, to)| from < to));
        rows += page.rows;
        names.extend(page.keys.uniqueids);
        names.extend(page.keys.caller_codes);
        mark = page.mark;
    }
    assert_eq!((rows, names.len()), (14, 14));
    assert_eq!(store.page("other", Mark::default(), 3).await.unwrap(), None);
}

pub(crate) async fn loads_are_noted<S: Inspect>(store: &S) {
    let note = |asked: &str| LoadNote {
        asked: asked.to_owned(),
        since: -5,
        ..LoadNote::default()
    };
    let (command, start) = (LoadName::Command, LoadName::StartAt);
    assert_eq!(store.load_note(SOURCE, command).await.unwrap(), None);
    for asked in ["7d", "30d"] {
        store
            .save_load(SOURCE, command, &note(asked))
            .await
            .unwrap();
    }
    let hold = store.hold(SOURCE).await.unwrap();
    let change = next(store).await;
    let with = note("90d");
    let held = store.commit_held(hold, &change, Some((start, &with)));
    held.await.unwrap();
    assert_eq!(
        store.load_note(SOURCE, command).await.unwrap(),
        Some(note("30d"))
    );
    assert_eq!(
        store.load_note(SOURCE, start).await.unwrap(),
        Some(note("90d"))
    );
    assert_eq!(store.load_note("other", start).await.unwrap(), None);
}
