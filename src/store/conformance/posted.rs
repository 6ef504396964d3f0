//! What a store does with posted results, and the pages that are read over HTTP.

use std::collections::BTreeSet;

use super::change::{SOURCE, TENANT, answered, honest, key};
use super::{Inspect, next, put};
use crate::ledger::{Call, CallOrigin, Keys};
use crate::store::{
    Dump, NewPost, PostOutcome, RecordQuery, SqlStore, Store as _, StoreError, Waiting,
};
use crate::vicidial::{Posted, Said};

fn post(uniqueid: &str, did: Option<&str>) -> NewPost {
    NewPost {
        tenant: TENANT.to_owned(),
        source: SOURCE.to_owned(),
        posted: Posted {
            uniqueid: uniqueid.to_owned(),
            caller_code: Some("V1'é\"".to_owned()),
            at: 7,
            said: Said {
                did: did.map(|did| (7, did.to_owned())),
                ..Said::default()
            },
        },
        once: None,
    }
}

fn names(waiting: &[Waiting]) -> Vec<&str> {
    let name = |one: &'_ Waiting| one.posted.uniqueid.clone();
    let all: Vec<String> = waiting.iter().map(name).collect();
    assert!(waiting.is_sorted_by_key(|one| one.id));
    assert_eq!(all.len(), waiting.len());
    waiting
        .iter()
        .map(|one| one.posted.uniqueid.as_str())
        .collect()
}

pub(crate) async fn results_wait_until_a_commit_takes_them<S: Inspect>(store: &S) {
    let other = NewPost {
        source: "other".to_owned(),
        tenant: "others".to_owned(),
        ..post("o", None)
    };
    let posts = [post("a", None), other, post("b", None), post("c", None)];
    let (outcomes, waiting) = store.post(&posts, true).await.unwrap();
    assert_eq!(outcomes, [PostOutcome::Recorded(None); 4]);
    assert_eq!(waiting, 4);
    let (found, all) = store.posted(SOURCE, 2).await.unwrap();
    assert_eq!((names(&found), all), (vec!["a", "b"], 4));
    assert_eq!(found[0].posted, posts[0].posted);
    let taken: BTreeSet<i64> = found.iter().map(|one| one.id).collect();

    // Who is not the writer takes nothing.
    put(store, next(store).await).await;
    let mut late = next(store).await;
    late.expected = None;
    late.posted = taken.clone();
    let refused = store.commit(&late).await.unwrap_err();
    assert!(matches!(refused, StoreError::OtherWriter { .. }));
    assert_eq!(store.posted(SOURCE, 9).await.unwrap().0.len(), 3);

    let mut change = next(store).await;
    change.posted = taken;
    put(store, change.clone()).await;
    let (found, all) = store.posted(SOURCE, 9).await.unwrap();
    assert_eq!((names(&found), all), (vec!["c"], 2));
    // An id is not given again.
    store.post(&[post("d", None)], true).await.unwrap();
    let (found, _) = store.posted(SOURCE, 9).await.unwrap();
    assert_eq!(names(&found), ["c", "d"]);
    assert!(found.iter().all(|one| !change.posted.contains(&one.id)));
    store.forget_post_keys().await.unwrap();
}

pub(crate) async fn a_key_makes_a_result_one<S: Inspect>(store: &S) {
    let with = |key: &str, body: &str, uniqueid: &str| NewPost {
        once: Some((key.to_owned(), body.to_owned())),
        ..post(uniqueid, Some("+12025550100"))
    };
    let (first, _) = store
        .post(&[with("k", "1", "a"), with("k", "1", "a")], true)
        .await
        .unwrap();
    assert!(matches!(first[0], PostOutcome::Recorded(Some(_))));
    assert_eq!(first[0], first[1]);
    let again = [
        with("k", "1", "a"),
        with("k", "2", "b"),
        with("l", "2", "b"),
    ];
    let (again, waiting) = store.post(&again, true).await.unwrap();
    assert_eq!(again[0], first[0]);
    assert_eq!(again[1], PostOutcome::OtherBody);
    assert_eq!(again[2], first[0], "the same DID");
    assert_eq!(waiting, 2);
    // Another tenant's key is another.
    let others = NewPost {
        tenant: "others".to_owned(),
        ..with("k", "3", "c")
    };
    let (others, _) = store.post(&[others], true).await.unwrap();
    assert!(matches!(others[0], PostOutcome::Recorded(Some(_))));
}

pub(crate) async fn unknown_dids_are_made_or_refused<S: Inspect>(store: &S) {
    let posts = [post("a", Some("+12025550100")), post("b", None)];
    let (outcomes, waiting) = store.post(&posts, false).await.unwrap();
    assert_eq!(outcomes[0], PostOutcome::UnknownDid);
    assert_eq!((outcomes[1], waiting), (PostOutcome::Recorded(None), 1));
    assert_eq!(store.contents().await.dids.len(), 0);
    let (made, _) = store.post(&posts, true).await.unwrap();
    assert!(matches!(made[0], PostOutcome::Recorded(Some(_))));
    let (known, _) = store.post(&posts, false).await.unwrap();
    assert_eq!(known[0], made[0]);
    assert_eq!(store.contents().await.dids.len(), 1);
}

pub(crate) async fn calls_of_posts_are_found_by_their_seconds<S: Inspect>(store: &S) {
    let mut change = next(store).await;
    for (name, lead, at, origin) in [
        ("a", 0, 10, CallOrigin::Posted),
        ("b", 0, 11, CallOrigin::Posted),
        ("c", 0, 12, CallOrigin::Posted),
        ("d", 0, 10, CallOrigin::Binlog),
        ("e", 5, 10, CallOrigin::Posted),
    ] {
        let call = Call {
            origin,
            opened_at: at,
            ..answered("+1", at)
        };
        change.calls.insert(key(name, lead), call);
    }
    put(store, change).await;
    let keys = Keys {
        posted_seconds: BTreeSet::from([9, 10, 12]),
        ..Keys::default()
    };
    let loaded = store.load(SOURCE, TENANT, &keys).await.unwrap();
    let found: Vec<_> = loaded.calls.keys().cloned().collect();
    assert_eq!(found, [key("a", 0), key("c", 0)]);
}

pub(crate) async fn calls_are_found_by_number_and_second<S: Inspect>(store: &S) {
    const SECOND: i64 = 1_762_956_000;
    let mut change = next(store).await;
    for (lead, second, number) in [
        (1, SECOND, "+12025550143"),
        (2, SECOND, "+12025550144"),
        (3, SECOND + 3900, "+12025550143"),
        (4, SECOND + 7800, "+12025550144"),
    ] {
        let call = Call {
            phone_number: number.to_owned(),
            opened_at: second,
            ..answered("+1", second)
        };
        let name = format!("{second}.{lead}");
        change.calls.insert(key(&name, lead), call);
    }
    let calls = change.calls.clone();
    put(store, change).await;
    let near = |second, number: &str| (second, number.to_owned());
    let keys = Keys {
        near_numbers: BTreeSet::from([
            near(SECOND + 1, "+12025550143"),
            near(SECOND + 7801, "+12025550144"),
        ]),
        ..Keys::default()
    };
    let loaded = store.load(SOURCE, TENANT, &keys).await.unwrap();
    let wanted = calls
        .into_iter()
        .filter(|(key, _)| [1, 4].contains(&key.lead_id));
    assert_eq!(loaded.calls, wanted.collect());
}

pub(crate) async fn pages_of_calls_and_dids(store: &SqlStore) {
    let mut change = super::change::empty(&Dump::default());
    for (name, did, at) in [
        ("1", "+12025550100", 10),
        ("2", "+12025550100", 20),
        ("3", "+12025550101", 20),
        ("4", "+12025550101", 20),
        ("5", "+12025550102", 30),
    ] {
        change.calls.insert(key(name, 1), answered(did, at));
    }
    let gone = Call {
        removed: true,
        counted: false,
        ..answered("+12025550100", 25)
    };
    change.calls.insert(key("6", 1), gone);
    let change = honest(&Dump::default(), change);
    store.commit(&change).await.unwrap();
    let mut query = RecordQuery {
        rows_max: 2,
        ..RecordQuery::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = store.call_records(TENANT, &query).await.unwrap();
        assert!(page.calls.len() <= 2);
        for record in &page.calls {
            assert_eq!(record.call, change.calls[&record.key]);
            seen.push((record.call.started_at, record.id));
        }
        query.behind = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
    assert!(seen.is_sorted_by(|a, b| a > b), "{seen:?}");
    let only = RecordQuery {
        did: Some("+12025550101".to_owned()),
        campaign: Some("OUT".to_owned()),
        disposition: Some("SALE".to_owned()),
        since: Some(20),
        until: Some(21),
        rows_max: 9,
        ..RecordQuery::default()
    };
    assert_eq!(
        store.call_records(TENANT, &only).await.unwrap().calls.len(),
        2
    );
    let others = store.call_records("others", &only).await.unwrap();
    assert_eq!(others.calls, []);
    let page = store.did_page(TENANT, None, 2).await.unwrap();
    let numbers: Vec<&str> = page
        .dids
        .iter()
        .map(|did| did.phone_number.as_str())
        .collect();
    assert_eq!(numbers, ["+12025550100", "+12025550101"]);
    assert_eq!(page.dids[0].counters.total_calls, 2);
    let rest = store
        .did_page(TENANT, page.next.as_deref(), 2)
        .await
        .unwrap();
    assert_eq!((rest.dids.len(), rest.next), (1, None));
    assert_eq!(store.did_row("others", "+12025550100").await.unwrap(), None);
    let own = store.did_row(TENANT, "+12025550100").await.unwrap();
    assert_eq!(own.map(|did| did.id), Some(page.dids[0].id));
}
