//! DIDs beside themselves on the days before, and day by day.

use super::change::{TENANT, answered, dial_key, dialed, empty, honest, key};
use crate::ledger::{Call, Dial, Outcome};
use crate::store::{Dump, SqlStore, Store as _, Stretches, Tally};

const DID: &str = "+12025550100";
const QUIET: &str = "+12025550101";

/// 2026-01-04, noon in UTC.
const NOON: i64 = 1_767_528_000;

pub(crate) async fn a_dids_days_have_their_campaigns_and_dispositions(store: &SqlStore) {
    let mut change = empty(&Dump::default());
    // The dialer is far in the west, then far in the east: its days are not those of UTC.
    for (number, day, at, campaign, disposition) in [
        (1, "2026-01-02", NOON - 3 * 86_400 + 43_199, "A", "SALE"),
        (2, "2026-01-03", NOON - 86_400 + 80_000, "A", "SALE"),
        (3, "2026-01-03", NOON - 2 * 86_400 + 36_000, "A", "NI"),
        (4, "2026-01-04", NOON, "B", "SALE"),
        (5, "2026-01-04", NOON + 70_000, "", "NI"),
        (6, "2026-01-05", NOON + 86_400, "B", "SALE"),
    ] {
        let call = Call {
            day: day.to_owned(),
            campaign_id: campaign.to_owned(),
            disposition: disposition.to_owned(),
            successful: disposition == "SALE",
            ..answered(DID, at)
        };
        change.calls.insert(key(&format!("1.{number}"), 1), call);
    }
    let waits = Call {
        day: "2026-01-04".to_owned(),
        counted: false,
        successful: false,
        disposition: "INCALL".to_owned(),
        ..answered(DID, NOON)
    };
    change.calls.insert(key("1.7", 1), waits);
    let elsewhere = Call {
        day: "2026-01-04".to_owned(),
        ..answered(QUIET, NOON)
    };
    change.calls.insert(key("1.8", 1), elsewhere);
    let dial = Dial {
        day: "2026-01-04".to_owned(),
        ..dialed(DID, 1, NOON)
    };
    change.dials.insert(dial_key("V1", NOON), dial);
    let change = honest(&Dump::default(), change);
    store.commit(&change).await.unwrap();

    let did = store.did_named(TENANT, DID, None).await.unwrap().unwrap();
    let days = Stretches {
        before: "2026-01-01".to_owned(),
        recent: "2026-01-03".to_owned(),
        until: "2026-01-04".to_owned(),
    };
    let tally = |calls, successful, dials| Tally {
        dials,
        calls,
        successful,
        answered: calls,
        blocked: 0,
        talk_seconds: 30 * calls,
    };
    let named = |parts: &[(&str, Tally)]| -> Vec<(String, Tally)> {
        parts.iter().map(|(n, t)| ((*n).to_owned(), *t)).collect()
    };
    let mut campaigns = store.campaigns_on(TENANT, did.id, &days).await.unwrap();
    campaigns.sort_by(|a, b| a.0.cmp(&b.0));
    let wanted = [
        ("", tally(1, 0, 1)),
        ("A", tally(2, 1, 0)),
        ("B", tally(1, 1, 0)),
    ];
    assert_eq!(campaigns, named(&wanted));
    let mut dispositions = store.dispositions_on(TENANT, did.id, &days).await.unwrap();
    dispositions.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        dispositions,
        named(&[("NI", tally(2, 0, 0)), ("SALE", tally(2, 2, 0))])
    );
    let others = store.campaigns_on("others", did.id, &days).await.unwrap();
    assert_eq!(others, []);
    let others = store
        .dispositions_on("others", did.id, &days)
        .await
        .unwrap();
    assert_eq!(others, []);
}

pub(crate) async fn dids_are_compared_with_the_days_before(store: &SqlStore) {
    let mut change = empty(&Dump::default());
    let days = [
        ("2026-01-01", 1, 0),
        ("2026-01-02", 2, 1),
        ("2026-01-03", 3, 0),
        ("2026-01-04", 2, 2),
    ];
    let mut at = 100;
    for (day, calls, blocked) in days {
        for number in 0..calls {
            at += 10;
            let mut call = Call {
                day: day.to_owned(),
                campaign_id: format!("C{number}"),
                ..answered(DID, at)
            };
            if number < blocked {
                call.outcome = Outcome::Blocked;
                call.successful = false;
            }
            change.calls.insert(key(&format!("1.{at}"), 1), call);
        }
    }
    let dial = Dial {
        day: "2026-01-04".to_owned(),
        ..dialed(DID, 1, at)
    };
    change.dials.insert(dial_key("V1", at), dial);
    let quiet = Call {
        day: "2025-06-01".to_owned(),
        ..answered(QUIET, 5)
    };
    change.calls.insert(key("1.5", 2), quiet);
    let change = honest(&Dump::default(), change);
    store.commit(&change).await.unwrap();

    for (until, day) in [
        (at, Some("2026-01-04")),
        (at - 20, Some("2026-01-03")),
        (4, None),
    ] {
        let newest = store.newest_day(TENANT, until).await.unwrap();
        assert_eq!(newest.as_deref(), day, "{until}");
    }
    assert_eq!(store.newest_day("others", at).await.unwrap(), None);
    let stretches = Stretches {
        before: "2026-01-02".to_owned(),
        recent: "2026-01-03".to_owned(),
        until: "2026-01-04".to_owned(),
    };
    let tally = |calls, blocked, dials| Tally {
        dials,
        calls,
        successful: calls - blocked,
        answered: calls - blocked,
        blocked,
        talk_seconds: 30 * (calls - blocked),
    };
    let mut compared = store.compared(TENANT, &stretches, 9).await.unwrap();
    compared.sort_by(|a, b| a.phone_number.cmp(&b.phone_number));
    let [did, quiet] = &compared[..] else {
        panic!("{compared:?}");
    };
    assert_eq!(
        (did.phone_number.as_str(), quiet.phone_number.as_str()),
        (DID, QUIET)
    );
    assert_eq!((did.before, did.recent), (tally(2, 1, 0), tally(5, 2, 1)));
    assert_eq!(did.last_call_at, Some(at));
    assert_eq!((quiet.before, quiet.recent), Default::default());
    // Of many those that were called from last.
    let one = store.compared(TENANT, &stretches, 1).await.unwrap();
    assert_eq!(one, std::slice::from_ref(did));
    assert_eq!(store.compared("others", &stretches, 9).await.unwrap(), []);

    let ids = [did.id, quiet.id];
    let mut days = store.days_of(TENANT, &ids, "2026-01-02").await.unwrap();
    days.sort_by(|a, b| a.day.cmp(&b.day));
    let seen: Vec<(i64, &str, Tally)> = days
        .iter()
        .map(|day| (day.did, day.day.as_str(), day.tally))
        .collect();
    assert_eq!(
        seen,
        [
            (did.id, "2026-01-02", tally(2, 1, 0)),
            (did.id, "2026-01-03", tally(3, 0, 0)),
            (did.id, "2026-01-04", tally(2, 2, 1)),
        ]
    );
    assert_eq!(
        store
            .days_of("others", &[did.id], "2026-01-02")
            .await
            .unwrap(),
        []
    );
    assert_eq!(store.days_of(TENANT, &[], "2026-01-02").await.unwrap(), []);
}
