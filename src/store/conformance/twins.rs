//! Random changes leave every backend with the same contents.

use proptest::prelude::*;

use super::Inspect;
use super::change::{SOURCE, answered, dial_key, dialed, empty, honest, key};
use crate::ledger::{Attribution, AuditEntry, Call, Dial, Outcome};
use crate::store::{MemoryStore, Store as _};

/// One row image, from so small a space that the rows meet often.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Call(u8, Call),
    Dial(u8, Dial),
    Move(u8, u8),
    Audit(u8),
}

fn did() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        1 => Just(None),
        4 => (0..3_u8).prop_map(|i| Some(format!("+1202555010{i}"))),
    ]
}

fn day() -> impl Strategy<Value = String> {
    (10..13_u8).prop_map(|day| format!("2025-11-{day}"))
}

fn call() -> impl Strategy<Value = Call> {
    let ends = (any::<bool>(), any::<bool>(), 0..8_usize, 0..4_usize);
    let length = prop::option::of(-5..40_i64);
    (did(), day(), ends, length, 0..50_i64).prop_map(|(did, day, ends, length, at)| {
        let (counted, successful, outcome, attribution) = ends;
        Call {
            did,
            day,
            counted,
            successful,
            dnc: outcome == 3,
            outcome: Outcome::ALL[outcome],
            attribution: Attribution::ALL[attribution],
            duration_seconds: length,
            campaign_id: if successful { "A" } else { "B" }.to_owned(),
            ..answered("", at)
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let dial = (did(), day(), any::<bool>(), 0..50_i64).prop_map(|(did, day, counted, at)| Dial {
        did,
        day,
        counted,
        ..dialed("", 1, at)
    });
    prop_oneof![
        4 => (0..6_u8, call()).prop_map(|(i, call)| Step::Call(i, call)),
        3 => (0..6_u8, dial).prop_map(|(i, dial)| Step::Dial(i, dial)),
        2 => (0..6_u8, 0..6_u8).prop_map(|(old, new)| Step::Move(old, new)),
        1 => any::<u8>().prop_map(Step::Audit),
    ]
}

/// Commits the steps as one change to both stores, and compares them.
async fn apply<S: Inspect>(memory: &MemoryStore, store: &S, steps: Batch) {
    let dump = memory.dump();
    let mut change = empty(&dump);
    let name = |i: u8| key(&i.to_string(), 1);
    for step in steps {
        match step {
            Step::Call(i, call) => {
                change.calls.insert(name(i), call);
            }
            Step::Dial(i, dial) => {
                change.dials.insert(dial_key(&i.to_string(), 1), dial);
            }
            Step::Audit(i) => change.audit.push(AuditEntry {
                event: i.to_string(),
                key: name(1),
                old: String::new(),
                new: i.to_string(),
                did: None,
                at: i64::from(i),
            }),
            Step::Move(old, new) => {
                let (old, new) = (name(old), name(new));
                let there = |key| dump.calls.contains_key(&(SOURCE.to_owned(), key));
                let taken = change.moved.values().any(|to| *to == new);
                if old != new && there(old.clone()) && !taken {
                    change.moved.insert(old, new);
                }
            }
        }
    }
    for (old, new) in &change.moved {
        let key = (SOURCE.to_owned(), new.clone());
        if dump.calls.contains_key(&key) && !change.moved.contains_key(new) {
            change.replaced.insert(new.clone());
        }
        let state = dump.calls[&(SOURCE.to_owned(), old.clone())].clone();
        change.calls.entry(new.clone()).or_insert(state);
    }
    let change = honest(&dump, change);
    memory.commit(&change).await.unwrap();
    store.commit(&change).await.unwrap();
    // Also checks that the kept numbers equal the counted ones.
    assert_eq!(store.contents().await, memory.dump());
}

/// Some batches of changes.
pub(crate) fn batches() -> impl Strategy<Value = Vec<Batch>> {
    prop::collection::vec(prop::collection::vec(step(), 0..12), 1..8)
}

/// What one commit changes.
pub(crate) type Batch = Vec<Step>;

/// Commits the batches to both stores, which must be equal, and keeps them so.
pub(crate) async fn keep_equal<S: Inspect>(memory: &MemoryStore, store: &S, batches: Vec<Batch>) {
    for steps in batches {
        apply(memory, store, steps).await;
    }
}
