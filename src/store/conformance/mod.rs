//! What every backend must do, run on each of them.

pub(crate) mod change;
mod twins;

use std::collections::BTreeSet;

use crate::ledger::{Attribution, AuditEntry, Call, ChangeSet, Dial, Keys, Outcome, StatDelta};
use crate::store::{Dump, MemoryStore, SqliteStore, Store, StoreError};

use self::change::{SOURCE, TENANT, answered, checkpoint, dial_key, dialed, empty, honest, key};

/// A store whose contents a test can see whole.
pub(crate) trait Inspect: Store {
    async fn contents(&self) -> Dump;
}

impl Inspect for MemoryStore {
    async fn contents(&self) -> Dump {
        self.dump()
    }
}

impl Inspect for SqliteStore {
    async fn contents(&self) -> Dump {
        assert_eq!(self.check_invariant().await.unwrap(), Vec::<String>::new());
        self.dump().await.unwrap()
    }
}

/// A SQLite store in a folder that is removed with the guard.
pub(crate) async fn sqlite() -> (SqliteStore, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/optimizer.db", folder.path().display());
    (SqliteStore::open(&url).await.unwrap(), folder)
}

macro_rules! on_every_backend {
    ($($case:ident),+ $(,)?) => {
        mod memory { $(
            #[tokio::test]
            async fn $case() { super::$case(&super::MemoryStore::new()).await; }
        )+ }
        mod sqlite { $(
            #[tokio::test]
            async fn $case() {
                let (store, _folder) = super::sqlite().await;
                super::$case(&store).await;
            }
        )+ }
    };
}

on_every_backend!(
    every_field_comes_back,
    nothing_is_found_in_an_empty_store,
    leads_are_found_within_their_times,
    dids_are_said_to_exist,
    sources_are_kept_apart,
    calls_move_in_chains_and_swaps,
    a_replaced_row_makes_room,
    a_move_onto_a_call_is_refused_whole,
    deltas_add_up,
    the_newest_is_found_anew,
    audit_rows_are_written_once_and_pruned_oldest_first,
    another_writer_is_noticed,
    a_failed_commit_leaves_nothing,
    ten_thousand_rows_are_one_commit,
);

async fn put<S: Inspect>(store: &S, change: ChangeSet) -> Dump {
    let change = honest(&store.contents().await, change);
    let durable = store.commit(&change).await.unwrap();
    assert_eq!(durable.checkpoint(), &change.checkpoint);
    store.contents().await
}

async fn next<S: Inspect>(store: &S) -> ChangeSet {
    empty(&store.contents().await)
}

fn full_call() -> Call {
    Call {
        caller_code: Some("V1112150007000012345".to_owned()),
        did: Some("+12025550100".to_owned()),
        attribution: Attribution::Lead,
        phone_number: "+12025550143".to_owned(),
        campaign_id: "José's \"Kampagne\"".to_owned(),
        agent_id: "VDAD".to_owned(),
        list_id: Some(u64::MAX),
        disposition: "ADC".to_owned(),
        outcome: Outcome::NoAnswer,
        successful: true,
        dnc: true,
        counted: true,
        removed: true,
        duration_seconds: Some(-7),
        term_reason: "CALLER".to_owned(),
        hangup_cause: Some(u16::MAX),
        sip_code: Some(603),
        sip_reason: "Network Blocked".to_owned(),
        called_count: Some(u32::MAX),
        started_at: 1_762_956_000,
        ended_at: Some(1_762_956_031),
        day: "2025-11-12".to_owned(),
        updated_at: 1_762_956_032,
    }
}

async fn every_field_comes_back<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    let odd = "1762956000.1'\"\\\u{e9}\u{1f600}\n";
    change.calls.insert(key("1762956000.0", 1), full_call());
    change
        .calls
        .insert(key("1762956000.0", u64::MAX), Call::default());
    change.calls.insert(key(odd, 0), Call::default());
    for (i, outcome) in Outcome::ALL.into_iter().enumerate() {
        let attribution = Attribution::ALL[i % 4];
        let call = Call {
            outcome,
            attribution,
            ..full_call()
        };
        change.calls.insert(key("1762956000.2", i as u64), call);
    }
    let dial = Dial {
        uniqueid: Some(odd.to_owned()),
        dial_status: "BUSY".to_owned(),
        hangup_cause: Some(17),
        sip_code: Some(486),
        sip_reason: "Busy Here".to_owned(),
        ..dialed("+12025550100", u64::MAX, -1)
    };
    change.dials.insert(dial_key("V1", 5), dial);
    change.dials.insert(dial_key("V1", 6), Dial::default());
    change.dials.insert(dial_key("V2", 7), Dial::default());
    change.checkpoint.event_time = None;
    change.checkpoint.gtid = "0-1-5,3-2-18446744073709551615".parse().unwrap();
    let (calls, dials) = (change.calls.clone(), change.dials.clone());
    let last = change.checkpoint.clone();
    put(store, change).await;

    let texts = |all: &[&str]| all.iter().map(|&t| t.to_owned()).collect::<BTreeSet<_>>();
    let keys = Keys {
        uniqueids: texts(&["1762956000.0", odd, "1762956000.2", "unknown"]),
        caller_codes: texts(&["V1"]),
        ..Keys::default()
    };
    let loaded = store.load(SOURCE, TENANT, &keys).await.unwrap();
    assert_eq!(loaded.calls, calls);
    let of_v1 = dials.into_iter().filter(|(key, _)| key.caller_code == "V1");
    assert_eq!(loaded.dials, of_v1.collect());
    let by_call = Keys {
        uniqueids: texts(&[odd]),
        ..Keys::default()
    };
    let loaded = store.load(SOURCE, TENANT, &by_call).await.unwrap();
    assert_eq!((loaded.calls.len(), loaded.dials.len()), (1, 1));
    assert_eq!(store.progress(SOURCE).await.unwrap(), Some(last));
}

async fn nothing_is_found_in_an_empty_store<S: Inspect>(store: &S) {
    let keys = Keys {
        uniqueids: BTreeSet::from(["1.1".to_owned()]),
        caller_codes: BTreeSet::from(["V1".to_owned()]),
        lead_ids: BTreeSet::from([1]),
        lead_times: Some((i64::MIN, i64::MAX)),
        dids: BTreeSet::from(["+1".to_owned()]),
    };
    let loaded = store.load(SOURCE, TENANT, &keys).await.unwrap();
    assert_eq!(loaded, crate::ledger::Loaded::default());
    assert_eq!(store.progress(SOURCE).await.unwrap(), None);
    assert_eq!(store.contents().await, Dump::default());
}

async fn leads_are_found_within_their_times<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    for at in 9..=13 {
        let name = at.to_string();
        let attribution = Attribution::Lead;
        let call = Call {
            attribution,
            ..answered("+1", at)
        };
        change.calls.insert(key(&name, 7), call.clone());
        change.calls.insert(key(&name, 8), call);
        change.dials.insert(dial_key(&name, 0), dialed("+1", 7, at));
    }
    // Known by its own caller code: of no use to others of the lead.
    change.calls.insert(key("own", 7), answered("+1", 11));
    change.calls.insert(
        key("none", 7),
        Call {
            started_at: 11,
            ..Call::default()
        },
    );
    change.dials.insert(
        dial_key("no lead", 0),
        Dial {
            lead_id: None,
            ..dialed("+1", 0, 11)
        },
    );
    put(store, change).await;
    let keys = |times| Keys {
        lead_ids: BTreeSet::from([7, 9]),
        lead_times: times,
        ..Keys::default()
    };
    let loaded = store
        .load(SOURCE, TENANT, &keys(Some((10, 12))))
        .await
        .unwrap();
    let calls: Vec<_> = loaded
        .calls
        .keys()
        .map(|k| (k.uniqueid.as_str(), k.lead_id))
        .collect();
    assert_eq!(calls, [("10", 7), ("11", 7), ("12", 7), ("none", 7)]);
    let dials: Vec<_> = loaded
        .dials
        .keys()
        .map(|k| k.caller_code.as_str())
        .collect();
    assert_eq!(dials, ["10", "11", "12"]);
    let loaded = store.load(SOURCE, TENANT, &keys(None)).await.unwrap();
    assert_eq!(loaded, crate::ledger::Loaded::default());
}

async fn dids_are_said_to_exist<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    change.calls.insert(
        key("1.1", 1),
        Call {
            counted: false,
            ..answered("+11", 5)
        },
    );
    change.dials.insert(dial_key("V1", 1), dialed("+12", 1, 5));
    change.stats.insert("+13".to_owned(), StatDelta::default());
    change.audit.push(AuditEntry {
        did: Some("+14".to_owned()),
        ..entry("e", 1)
    });
    let dump = put(store, change).await;
    assert_eq!(dump.dids[&(TENANT.to_owned(), "+11".to_owned())], None);
    let dids = ["+10", "+11", "+12", "+13", "+14"].map(str::to_owned);
    let keys = Keys {
        dids: BTreeSet::from(dids),
        ..Keys::default()
    };
    let loaded = store.load(SOURCE, TENANT, &keys).await.unwrap();
    assert_eq!(
        loaded.dids,
        BTreeSet::from(["+11", "+12", "+13", "+14"].map(str::to_owned))
    );
    assert!(
        store
            .load(SOURCE, "other", &keys)
            .await
            .unwrap()
            .dids
            .is_empty()
    );
}

async fn sources_are_kept_apart<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    change.calls.insert(key("1.1", 1), answered("+1", 5));
    put(store, change.clone()).await;
    change.source = "second".to_owned();
    change.tenant = "other".to_owned();
    let honest = honest(&Dump::default(), change);
    store.commit(&honest).await.unwrap();
    let dump = store.contents().await;
    assert_eq!(
        (dump.calls.len(), dump.dids.len(), dump.progress.len()),
        (2, 2, 2)
    );
    let keys = Keys {
        uniqueids: BTreeSet::from(["1.1".to_owned()]),
        ..Keys::default()
    };
    assert_eq!(
        store
            .load("second", "other", &keys)
            .await
            .unwrap()
            .calls
            .len(),
        1
    );
    assert!(
        store
            .load("third", TENANT, &keys)
            .await
            .unwrap()
            .calls
            .is_empty()
    );
}

async fn calls_move_in_chains_and_swaps<S: Inspect>(store: &S) {
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

async fn a_replaced_row_makes_room<S: Inspect>(store: &S) {
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
    assert_eq!(stale, crate::store::DidNumbers::default());
    assert_eq!(dump.daily.len(), 1, "a row without numbers is removed");
}

async fn a_move_onto_a_call_is_refused_whole<S: Inspect>(store: &S) {
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

async fn deltas_add_up<S: Inspect>(store: &S) {
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

async fn the_newest_is_found_anew<S: Inspect>(store: &S) {
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

fn entry(event: &str, at: i64) -> AuditEntry {
    AuditEntry {
        event: event.to_owned(),
        key: key("1.1", 7),
        old: String::new(),
        new: "SALE".to_owned(),
        did: None,
        at,
    }
}

async fn audit_rows_are_written_once_and_pruned_oldest_first<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    change.audit = (0..10).map(|i| entry(&format!("b.1:{i}/0@5"), i)).collect();
    put(store, change).await;
    let mut change = next(store).await;
    let again = AuditEntry {
        new: "XFER".to_owned(),
        ..entry("b.1:3/0@5", 99)
    };
    change.audit = vec![again, entry("b.1:10/0@5", 10)];
    let dump = put(store, change).await;
    assert_eq!(dump.audit.len(), 11);
    let row = &dump.audit[&(TENANT.to_owned(), "main/b.1:3/0@5".to_owned())];
    let details = "{\"event\":\"b.1:3/0@5\",\"source\":\"main\",\"uniqueid\":\"1.1\",\
         \"lead_id\":7,\"old\":\"\",\"new\":\"SALE\",\"did\":null}";
    assert_eq!(row, &(details.to_owned(), 3));

    assert_eq!(store.prune_audit("other", 100, 100).await.unwrap(), 0);
    assert_eq!(store.prune_audit(TENANT, 8, 3).await.unwrap(), 3);
    assert_eq!(store.prune_audit(TENANT, 8, 100).await.unwrap(), 5);
    let left = store.contents().await.audit;
    assert_eq!(left.values().map(|(_, at)| *at).min(), Some(8));
}

async fn another_writer_is_noticed<S: Inspect>(store: &S) {
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

async fn a_failed_commit_leaves_nothing<S: Inspect>(store: &S) {
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

async fn ten_thousand_rows_are_one_commit<S: Inspect>(store: &S) {
    for round in 0..2 {
        let mut change = next(store).await;
        for i in 0..10_000_u64 {
            let at = i64::try_from(i).unwrap();
            let did = format!("+1202555{:04}", i % 997);
            change
                .calls
                .insert(key(&i.to_string(), i), answered(&did, at + round));
            change
                .dials
                .insert(dial_key(&i.to_string(), 0), dialed(&did, i, at + round));
            change.audit.push(entry(&format!("{round}:{i}"), at));
        }
        put(store, change).await;
    }
    let dump = store.contents().await;
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
