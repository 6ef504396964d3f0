//! Posted results: one call, in whatever order it is told of and whoever tells.

use super::*;
use crate::ledger::CallOrigin;
use crate::vicidial::{Posted, Said};

/// The channel that clients see, and the one of VICIdial's row.
const SEEN: &str = "1731412000.5";
const ROW: &str = "1731412001.9";
const NUMBER: &str = "+12025550143";
const POSTED_DID: &str = "+13125550177";

/// Every order of the details.
pub(super) fn orders(details: &[Detail]) -> Vec<Vec<Detail>> {
    let Some((first, rest)) = details.split_first() else {
        return vec![Vec::new()];
    };
    let mut all = Vec::new();
    for order in orders(rest) {
        for place in 0..=order.len() {
            let mut order = order.clone();
            order.insert(place, first.clone());
            all.push(order);
        }
    }
    all
}

fn post(uniqueid: &str, code: Option<&str>, at: i64, said: Said) -> Detail {
    Detail::Posted(Box::new(Posted {
        uniqueid: uniqueid.to_owned(),
        caller_code: code.map(str::to_owned),
        at,
        said: Said {
            first_at: Some(at),
            phone_number: Some((at, NUMBER.to_owned())),
            ..said
        },
    }))
}

fn cause(uniqueid: &str, code: Option<&str>, at: i64, cause: u16) -> Detail {
    let said = Said {
        hangup_cause: Some((at, cause)),
        did: Some((at, POSTED_DID.to_owned())),
        duration: Some((at, 30)),
        ..Said::default()
    };
    post(uniqueid, code, at, said)
}

fn status(uniqueid: &str, at: i64, status: &str) -> Detail {
    let said = Said {
        status: Some((at, status.to_owned())),
        campaign_id: Some((at, "POSTED".to_owned())),
        ..Said::default()
    };
    post(uniqueid, None, at, said)
}

fn row_of(uniqueid: &str, status: &str) -> Detail {
    Detail::Call {
        before: None,
        row: CallRow {
            phone_number: NUMBER.to_owned(),
            ..row(uniqueid, status)
        },
    }
}

/// Runs each order in one batch, and each detail in a batch of its own; every call
/// once, and the same in all.
fn same_in_every_order(prefer: Prefer, details: &[Detail]) -> Call {
    let mut ended: Option<Call> = None;
    for order in orders(details) {
        let whole = run_by(prefer, &order);
        let counted: i64 = whole.stats.values().map(|of| of.counters.total_calls).sum();
        let call = only_call(&whole);
        assert_eq!(
            counted,
            i64::from(call.did.is_some() && call.counted),
            "{order:?}"
        );
        let split = one_by_one(prefer, &order);
        for call in [call, &split] {
            let call = Call {
                updated_at: 0,
                ..call.clone()
            };
            let before = ended.get_or_insert_with(|| call.clone());
            assert_eq!(*before, call, "{order:?}");
        }
    }
    ended.expect("an order")
}

/// The only call that is there when each detail was a batch of its own.
fn one_by_one(prefer: Prefer, details: &[Detail]) -> Call {
    let mut store = Loaded::default();
    let mut rules = Rules { prefer, ..rules() };
    let mut total = 0;
    for (number, detail) in (0..).zip(details) {
        let facts = [fact(number, detail.clone())];
        let asked = crate::ledger::keys(&facts);
        let mut loaded = of(&store, &asked);
        let further = crate::ledger::further_keys(&facts, &asked, &loaded);
        let more = of(&store, &further);
        loaded.calls.extend(more.calls);
        loaded.dials.extend(more.dials);
        let mut working = Working::new(loaded);
        working.apply(&mut rules, &facts[0]);
        let change = working.finish(frame());
        for gone in change.moved.keys().chain(&change.replaced) {
            store.calls.remove(gone);
        }
        store.calls.extend(change.calls);
        store.dials.extend(change.dials);
        total += change
            .stats
            .values()
            .map(|of| of.counters.total_calls)
            .sum::<i64>();
    }
    assert_eq!(
        store.calls.len(),
        1,
        "{:?} of {details:?}",
        store.calls.keys()
    );
    let call = store.calls.into_values().next().expect("one");
    assert_eq!(
        total,
        i64::from(call.did.is_some() && call.counted),
        "{details:?}"
    );
    call
}

/// What a store would load.
fn of(store: &Loaded, keys: &Keys) -> Loaded {
    let calls = store
        .calls
        .iter()
        .filter(|(key, call)| keys.want_call(key, call));
    let dials = store
        .dials
        .iter()
        .filter(|(key, dial)| keys.want_dial(key, dial));
    Loaded {
        calls: calls
            .map(|(key, call)| (key.clone(), call.clone()))
            .collect(),
        dials: dials
            .map(|(key, dial)| (key.clone(), dial.clone()))
            .collect(),
        ..Loaded::default()
    }
}

#[test]
fn the_same_call_by_row_and_posts_is_one_and_vicidials_word_wins() {
    let details = [
        row_of(SEEN, "NI"),
        cause(SEEN, None, START + 40, 16),
        cause(SEEN, None, START + 40, 16),
        status(SEEN, START + 50, "SALE"),
    ];
    let call = same_in_every_order(Prefer::DialLog, &details);
    assert_eq!(
        (call.disposition.as_str(), call.origin),
        ("NI", CallOrigin::Binlog)
    );
    assert_eq!(
        call.did.as_deref(),
        Some(POSTED_DID),
        "nobody else knows it"
    );
    assert_eq!(call.attribution, Attribution::Reported);
    assert_eq!(call.hangup_cause, Some(16), "kept beside VICIdial's word");
    assert_eq!(call.campaign_id, "SOLAR");
}

#[test]
fn the_preferred_did_wins() {
    let details = [
        dial(DID),
        row_of(SEEN, "NI"),
        link(SEEN, CODE),
        cause(SEEN, Some(CODE), START + 40, 16),
    ];
    let call = same_in_every_order(Prefer::DialLog, &details);
    assert_eq!(call.did.as_deref(), Some(DID));
    let call = same_in_every_order(Prefer::Reported, &details);
    assert_eq!(call.did.as_deref(), Some(POSTED_DID));
}

#[test]
fn of_two_dids_the_one_that_was_said_first_counts() {
    let other = Said {
        did: Some((START + 30, DID.to_owned())),
        ..Said::default()
    };
    let details = [
        cause(SEEN, None, START + 40, 17),
        post(SEEN, None, START + 30, other),
        row_of(SEEN, "AB"),
    ];
    let call = same_in_every_order(Prefer::Reported, &details);
    assert_eq!(call.did.as_deref(), Some(DID));
}

#[test]
fn posts_alone_make_a_call_with_the_newest_status() {
    let details = [
        cause(SEEN, None, START + 60, 17),
        status(SEEN, START + 50, "NI"),
        status(SEEN, START + 55, "SALE"),
    ];
    let call = same_in_every_order(Prefer::DialLog, &details);
    assert_eq!(
        (call.disposition.as_str(), call.origin),
        ("SALE", CallOrigin::Posted)
    );
    assert!(call.counted && call.successful);
    assert_eq!(call.started_at, START);
    assert_eq!(call.campaign_id, "POSTED");
    for (number, disposition, outcome) in [
        (16, "HUC16", Outcome::Other),
        (17, "HUC17", Outcome::Busy),
        (19, "HUC19", Outcome::NoAnswer),
        (21, "HUC21", Outcome::Blocked),
        (34, "HUC34", Outcome::Failed),
    ] {
        let change = run(&[cause(SEEN, None, START, number)]);
        let call = only_call(&change);
        assert_eq!(call.disposition, disposition);
        assert_eq!(call.outcome, outcome, "{number}");
        assert!(call.counted);
        assert_eq!(change.audit.len(), 1);
    }
}

#[test]
fn another_channel_of_the_call_is_the_same_call() {
    // By the number and the second, whichever comes first.
    for code in [None, Some(CODE)] {
        let details = [cause(SEEN, code, START + 40, 16), row_of(ROW, "NI")];
        for order in orders(&details) {
            let whole = run(&order);
            for call in [only_call(&whole), &one_by_one(Prefer::DialLog, &order)] {
                assert_eq!(call.disposition, "NI", "{order:?}");
                assert_eq!(call.did.as_deref(), Some(POSTED_DID), "{order:?}");
            }
        }
    }
    // By the caller code, in every order.
    let details = [
        dial(DID),
        row_of(ROW, "NI"),
        link(ROW, CODE),
        cause(SEEN, Some(CODE), START + 40, 16),
    ];
    for order in orders(&details) {
        // Without the row only the code tells.
        let call = one_by_one(Prefer::Reported, &order);
        assert_eq!(call.did.as_deref(), Some(POSTED_DID), "{order:?}");
        assert_eq!(call.disposition, "NI");
    }
}

#[test]
fn another_call_of_the_second_is_another_call() {
    let other = Detail::Call {
        before: None,
        row: row(ROW, "NI"),
    };
    let change = run(&[cause(SEEN, None, START + 40, 16), other]);
    assert_eq!(change.calls.len(), 2, "it went to another number");
}

#[test]
fn a_late_post_of_a_renamed_call_is_of_that_call() {
    let renamed = Detail::Call {
        before: Some(CallBefore {
            uniqueid: SEEN.to_owned(),
            lead_id: 12345,
            status: "INCALL".to_owned(),
        }),
        row: CallRow {
            phone_number: NUMBER.to_owned(),
            ..row("1731412009.1", "SALE")
        },
    };
    let inserted = row_of(SEEN, "INCALL");
    let posted = cause(SEEN, None, START + 90, 16);
    for details in [
        [inserted.clone(), renamed.clone(), posted.clone()],
        [inserted.clone(), posted.clone(), renamed.clone()],
        [posted, inserted, renamed],
    ] {
        let whole = run(&details);
        let whole = only_call(&whole);
        let split = one_by_one(Prefer::DialLog, &details);
        for call in [whole, &split] {
            assert_eq!(call.disposition, "SALE", "{details:?}");
            assert_eq!(call.did.as_deref(), Some(POSTED_DID), "{details:?}");
            assert_eq!(call.hangup_cause, Some(16), "{details:?}");
        }
    }
}

#[test]
fn the_carriers_row_says_more_than_a_posted_cause() {
    let details = [
        row_of(SEEN, "AB"),
        link(SEEN, CODE),
        blocked(),
        cause(SEEN, Some(CODE), START + 40, 17),
    ];
    let call = same_in_every_order(Prefer::DialLog, &details);
    assert_eq!(call.hangup_cause, Some(21));
    assert_eq!(call.outcome, Outcome::Blocked);
}
