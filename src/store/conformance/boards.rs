//! DIDs beside themselves on the days before, and day by day.

use super::change::{TENANT, answered, dial_key, dialed, empty, honest, key};
use crate::ledger::{Call, Dial, Outcome};
use crate::store::{Dump, SqlStore, Store as _, Stretches, Tally};

const DID: &str = "+12025550100";
const QUIET: &str = "+12025550101";

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
