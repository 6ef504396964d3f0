//! What a look-up must find.

use std::collections::BTreeSet;

use super::change::{SOURCE, TENANT, answered, dial_key, dialed, honest, key};
use super::{Inspect, entry, next, put};
use crate::ledger::{
    Attribution, AuditEntry, Call, CallOrigin, Dial, Keys, Loaded, Outcome, StatDelta,
};
use crate::store::Dump;

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
        opened_at: 1_762_956_000,
        started_at: 1_762_956_000,
        ended_at: Some(1_762_956_031),
        day: "2025-11-12".to_owned(),
        updated_at: 1_762_956_032,
        origin: CallOrigin::Posted,
    }
}

/// A call of which its name alone is known.
fn bare() -> Call {
    Call {
        opened_at: 1_762_956_000,
        ..Call::default()
    }
}

pub(crate) async fn every_field_comes_back<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    let odd = "1762956000.1'\"\\\u{e9}\u{1f600}\n";
    change.calls.insert(key("1762956000.0", 1), full_call());
    change.calls.insert(key("1762956000.0", u64::MAX), bare());
    change.calls.insert(key(odd, 0), bare());
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
        posted: Some("{\"status\":[1,\"é\"]}".to_owned()),
        ..dialed("+12025550100", u64::MAX, -1)
    };
    change.dials.insert(dial_key("V1", 1_762_950_000), dial);
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

pub(crate) async fn nothing_is_found_in_an_empty_store<S: Inspect>(store: &S) {
    let keys = Keys {
        code_times: None,
        uniqueids: BTreeSet::from(["1.1".to_owned()]),
        caller_codes: BTreeSet::from(["V1".to_owned()]),
        lead_ids: BTreeSet::from([1]),
        lead_times: Some((i64::MIN, i64::MAX)),
        dids: BTreeSet::from(["+1".to_owned()]),
        posted_seconds: BTreeSet::from([1]),
        near_numbers: BTreeSet::from([(1, "+1".to_owned())]),
    };
    let loaded = store.load(SOURCE, TENANT, &keys).await.unwrap();
    assert_eq!(loaded, Loaded::default());
    assert_eq!(store.progress(SOURCE).await.unwrap(), None);
    assert_eq!(store.contents().await, Dump::default());
}

pub(crate) async fn leads_are_found_within_their_times<S: Inspect>(store: &S) {
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
    assert_eq!(
        calls,
        [("10", 7), ("11", 7), ("12", 7), ("none", 7), ("own", 7)]
    );
    let dials: Vec<_> = loaded
        .dials
        .keys()
        .map(|k| k.caller_code.as_str())
        .collect();
    assert_eq!(dials, ["10", "11", "12"]);
    let loaded = store.load(SOURCE, TENANT, &keys(None)).await.unwrap();
    assert_eq!(loaded, Loaded::default());
}

pub(crate) async fn dids_are_said_to_exist<S: Inspect>(store: &S) {
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

pub(crate) async fn sources_are_kept_apart<S: Inspect>(store: &S) {
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

pub(crate) async fn calls_without_a_did_are_found_newest_first<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    let of = |started_at: i64, did: Option<&str>| Call {
        did: did.map(ToOwned::to_owned),
        caller_code: (started_at == 300).then(|| "V1".to_owned()),
        started_at,
        opened_at: started_at,
        ..Call::default()
    };
    for (name, call) in [
        ("a.1", of(100, None)),
        ("b.1", of(200, None)),
        ("c.1", of(300, None)),
        ("d.1", of(400, Some("+12025550100"))),
        (
            "e.1",
            Call {
                removed: true,
                ..of(500, None)
            },
        ),
        ("f.1", of(300, None)),
    ] {
        change.calls.insert(key(name, 7), call);
    }
    put(store, change).await;
    let found = store.unattributed(SOURCE, 200, 2).await.unwrap();
    let names: Vec<&str> = found
        .iter()
        .map(|call| call.key.uniqueid.as_str())
        .collect();
    assert_eq!(names, ["c.1", "f.1"]);
    assert_eq!(found[0].caller_code.as_deref(), Some("V1"));
    assert_eq!((found[1].key.lead_id, found[1].started_at), (7, 300));
    assert_eq!(store.unattributed(SOURCE, 200, 9).await.unwrap().len(), 3);
    assert_eq!(store.unattributed("other", 0, 9).await.unwrap(), []);
}
