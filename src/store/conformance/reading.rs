//! What the queries answer about a small store.

use super::change::{SOURCE, TENANT, answered, dial_key, dialed, empty, honest, key};
use crate::ledger::{Attribution, Call, ChangeEntry, Counters, Outcome, StatDelta, Subject};
use crate::store::{DidSummary, Dump, Filter, Split, SqlStore, Store as _, Totals};

const BUSY_DID: &str = "+12025550100";
const QUIET_DID: &str = "+12025550101";

/// Four counted calls on one DID, from second 10 to 40, and a dial on another.
async fn fill(store: &SqlStore) {
    let mut change = empty(&Dump::default());
    for (at, outcome) in [
        (10, Outcome::Answered),
        (20, Outcome::Answered),
        (30, Outcome::Blocked),
        (40, Outcome::Machine),
    ] {
        let call = Call {
            outcome,
            successful: at == 10,
            disposition: if at == 10 { "SALE" } else { "NI" }.to_owned(),
            day: if at < 30 { "2025-11-12" } else { "2025-11-13" }.to_owned(),
            duration_seconds: Some(at),
            ..answered(BUSY_DID, at)
        };
        change.calls.insert(key(&at.to_string(), 1), call);
    }
    let unknown = Call {
        did: None,
        attribution: Default::default(),
        ..answered("", 50)
    };
    change.calls.insert(key("50", 1), unknown);
    let open = Call {
        counted: false,
        ..answered(BUSY_DID, 60)
    };
    change.calls.insert(key("60", 1), open);
    change
        .dials
        .insert(dial_key("V1", 35), dialed(QUIET_DID, 1, 35));
    let change = honest(&Dump::default(), change);
    store.commit(&change).await.unwrap();
}

fn busy() -> DidSummary {
    DidSummary {
        tenant: TENANT.to_owned(),
        phone_number: BUSY_DID.to_owned(),
        dials: 0,
        total_calls: 4,
        successful_calls: 1,
        success_rate: Some(25.0),
        answer_rate: Some(50.0),
        block_rate: Some(25.0),
        average_talk_seconds: Some(15.0),
        last_call_at: Some(40),
    }
}

pub(crate) async fn summaries_are_the_view_or_counted_since(store: &SqlStore) {
    fill(store).await;
    let quiet = DidSummary {
        tenant: TENANT.to_owned(),
        phone_number: QUIET_DID.to_owned(),
        dials: 1,
        ..DidSummary::default()
    };
    let all = Filter::default();
    let expected = vec![busy(), quiet.clone()];
    assert_eq!(store.summaries(None, &all).await.unwrap(), expected);
    assert_eq!(store.summaries(Some(TENANT), &all).await.unwrap(), expected);
    assert_eq!(store.summaries(Some("other"), &all).await.unwrap(), []);
    let since_ever = Filter {
        since: Some(0),
        ..Filter::default()
    };
    assert_eq!(store.summaries(None, &since_ever).await.unwrap(), expected);
    let late = Filter {
        since: Some(31),
        ..Filter::default()
    };
    let found = store.summaries(None, &late).await.unwrap();
    assert_eq!((found[0].total_calls, found[0].answer_rate), (1, Some(0.0)));
    assert_eq!((found[0].average_talk_seconds, &found[1]), (None, &quiet));
    let one = Filter {
        did: Some(QUIET_DID.to_owned()),
        rows_max: Some(1),
        ..Filter::default()
    };
    assert_eq!(store.summaries(None, &one).await.unwrap(), [quiet]);
}

pub(crate) async fn splits_add_up_to_the_whole(store: &SqlStore) {
    fill(store).await;
    for by in [Split::Day, Split::Campaign, Split::Disposition] {
        let split = store.split(None, &Filter::default(), by).await.unwrap();
        let calls: i64 = split.iter().map(|(_, counters)| counters.total_calls).sum();
        let dials: i64 = split.iter().map(|(_, counters)| counters.dials).sum();
        assert_eq!((calls, dials), (4, 1), "{by:?}");
    }
    let one = Filter {
        did: Some(BUSY_DID.to_owned()),
        since: Some(20),
        ..Filter::default()
    };
    let split = store.split(Some(TENANT), &one, Split::Day).await.unwrap();
    let (first, second) = (
        Counters {
            total_calls: 1,
            answered: 1,
            talk_seconds: 20,
            ..Counters::default()
        },
        Counters {
            total_calls: 2,
            blocked: 1,
            machine: 1,
            ..Counters::default()
        },
    );
    let expected = [
        ("2025-11-12".to_owned(), first),
        ("2025-11-13".to_owned(), second),
    ];
    assert_eq!(split, expected);
    let daily = store.daily(TENANT, BUSY_DID).await.unwrap();
    assert_eq!(daily.len(), 2);
    assert_eq!(
        daily[1],
        ("2025-11-13".to_owned(), "OUT".to_owned(), second)
    );
}

pub(crate) async fn totals_count_what_has_no_did_too(store: &SqlStore) {
    fill(store).await;
    let expected = Totals {
        dids: 2,
        calls: 6,
        counted: 5,
        counted_by_attribution: [("caller_code".to_owned(), 4), ("none".to_owned(), 1)].into(),
        dials: 1,
        audit_rows: 0,
    };
    assert_eq!(store.totals(None).await.unwrap(), expected);
    assert_eq!(
        store.totals(Some("other")).await.unwrap(),
        Totals::default()
    );
}

pub(crate) async fn what_is_behind_a_did_is_named(store: &SqlStore) {
    fill(store).await;
    let mut change = empty(&store.dump().await.unwrap());
    let was = serde_json::json!({ "uniqueid": "19.7" });
    let entry = ChangeEntry {
        event: "b.000001:1/0@10".to_owned(),
        table: "vicidial_log".to_owned(),
        was: was.as_object().cloned(),
        left: Some(QUIET_DID.to_owned()),
    };
    let renamed = Subject::Call(key("20", 1));
    change.history.insert(renamed.clone(), vec![entry]);
    store.commit(&change).await.unwrap();
    let behind = store.behind(QUIET_DID, 10).await.unwrap();
    let dial = Subject::Dial(dial_key("V1", 35));
    let of = |subject: &Subject| (SOURCE.to_owned(), subject.clone());
    assert_eq!(behind, [of(&renamed), of(&dial)]);
    assert_eq!(store.behind(BUSY_DID, 3).await.unwrap().len(), 3);
    let found = store.renamed(SOURCE, "19.7").await.unwrap();
    assert_eq!(found, Some(key("20", 1)));
    assert_eq!(store.renamed(SOURCE, "9.7").await.unwrap(), None);
    assert_eq!(store.sources().await.unwrap(), [SOURCE]);
}

pub(crate) async fn ways_of_attribution_are_counted(store: &SqlStore) {
    fill(store).await;
    let all = store.attributed(SOURCE, None).await.unwrap();
    let ways = [Attribution::CallerCode, Attribution::None];
    assert_eq!(ways.map(|way| all.by(way)), [4, 1]);
    let late = store.attributed(SOURCE, Some(30)).await.unwrap();
    assert_eq!(late.calls(), 3);
    assert_eq!(store.attributed("other", None).await.unwrap().calls(), 0);
}

/// What somebody else wrote into the numbers is found, and counted away.
pub(crate) async fn numbers_are_counted_anew(store: &SqlStore) {
    fill(store).await;
    let mut wrong = empty(&store.dump().await.unwrap());
    let delta = StatDelta {
        counters: Counters {
            busy: 2,
            ..Counters::default()
        },
        ..StatDelta::default()
    };
    wrong.stats.insert(BUSY_DID.to_owned(), delta);
    store.commit(&wrong).await.unwrap();
    let found = store.check_invariant().await.unwrap();
    let expected = [
        format!("{BUSY_DID}: busy is 2, counted 0"),
        format!("{BUSY_DID} summed over days: busy is 0, in all 2"),
    ];
    assert_eq!(found, expected);
    let dids = [BUSY_DID.to_owned(), QUIET_DID.to_owned()];
    store.count_anew(&dids).await.unwrap();
    assert_eq!(store.check_invariant().await.unwrap(), Vec::<String>::new());
    let all = Filter::default();
    assert_eq!(store.summaries(None, &all).await.unwrap()[0], busy());
}
