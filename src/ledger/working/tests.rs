//! VICIdial's orders of rows, each ending in the right state.

use std::sync::Arc;

use super::*;
use crate::binlog::GtidPosition;
use crate::ledger::{Outcome, Prefer, Success};
use crate::vicidial::{CarrierEnding, StatusBook, Zone};

const START: i64 = 1_731_412_000;
const CODE: &str = "V1112150007000012345";
const DID: &str = "+13125550100";

fn rules() -> Rules {
    Rules {
        success: Success::Set(["SALE".to_owned()].into()),
        transient: ["QUEUE", "INCALL", "DISPO"].map(str::to_owned).into(),
        create_dids: true,
        prefer: Prefer::DialLog,
        zone: Zone::fixed(0),
        statuses: StatusBook::default(),
    }
}

fn fact(number: u64, detail: Detail) -> Fact {
    let file: Arc<str> = Arc::from("b.000001");
    let time = START + 60;
    Fact {
        origin: Origin::new(&file, number, 0, time),
        detail,
    }
}

fn row(uniqueid: &str, status: &str) -> CallRow {
    CallRow {
        uniqueid: uniqueid.to_owned(),
        lead_id: 12345,
        campaign_id: "SOLAR".to_owned(),
        status: status.to_owned(),
        started_at: START,
        ..CallRow::default()
    }
}

fn call(uniqueid: &str, status: &str) -> Detail {
    Detail::Call {
        before: None,
        row: row(uniqueid, status),
    }
}

fn dial(did: &str) -> Detail {
    Detail::Dial {
        caller_code: CODE.to_owned(),
        lead_id: Some(12345),
        did: Some(did.to_owned()),
        at: START - 20,
        leading: true,
        sip: None,
    }
}

fn link(uniqueid: &str, code: &str) -> Detail {
    Detail::Link {
        uniqueid: uniqueid.to_owned(),
        caller_code: code.to_owned(),
        lead_id: Some(12345),
        at: START,
    }
}

fn blocked() -> Detail {
    Detail::Carrier {
        uniqueid: "1731411990.7".to_owned(),
        caller_code: Some(CODE.to_owned()),
        lead_id: Some(12345),
        at: START - 1,
        ending: CarrierEnding {
            hangup_cause: 21,
            dial_status: "BUSY".to_owned(),
            sip_code: Some(603),
            sip_reason: "Network Blocked".to_owned(),
        },
    }
}

fn frame() -> Frame {
    Frame {
        source: "main".to_owned(),
        tenant: "default".to_owned(),
        expected: None,
        checkpoint: Checkpoint {
            epoch: 0,
            position: "b.000001:4".parse().expect("valid"),
            gtid: GtidPosition::default(),
            event_time: None,
            revision: 0,
        },
    }
}

fn run(details: &[Detail]) -> ChangeSet {
    let mut working = Working::new(Loaded::default());
    let mut rules = rules();
    for (number, detail) in details.iter().enumerate() {
        let number = u64::try_from(number).expect("small");
        working.apply(&mut rules, &fact(number, detail.clone()));
    }
    working.finish(frame())
}

fn only_call(change: &ChangeSet) -> &Call {
    assert_eq!(change.calls.len(), 1, "{:?}", change.calls);
    change.calls.values().next().expect("one")
}

#[test]
fn every_order_of_the_four_tables_ends_the_same() {
    let rows = [dial(DID), call("17.1", "AB"), link("17.1", CODE), blocked()];
    let orders: Vec<[usize; 4]> = (0..256)
        .map(|n| [n & 3, (n >> 2) & 3, (n >> 4) & 3, (n >> 6) & 3])
        .filter(|order| order.iter().collect::<BTreeSet<_>>().len() == 4)
        .collect();
    assert_eq!(orders.len(), 24);
    for order in orders {
        let details = order.map(|i| rows[i].clone());
        let change = run(&details);
        let call = only_call(&change);
        assert_eq!(call.did.as_deref(), Some(DID), "{order:?}");
        assert_eq!(call.attribution, Attribution::CallerCode, "{order:?}");
        assert_eq!(call.outcome, Outcome::Blocked, "{order:?}");
        let stats = &change.stats[DID];
        assert_eq!(stats.counters.total_calls, 1);
        assert_eq!(stats.counters.dials, 1);
        assert_eq!(stats.counters.blocked, 1);
        assert_eq!(stats.last_call_at, Some(START));
        assert_eq!(stats.last_dial_at, Some(START - 20));
    }
}

#[test]
fn the_dial_of_the_lead_serves_until_the_code_is_known() {
    let change = run(&[dial(DID), call("17.1", "NA")]);
    assert_eq!(only_call(&change).attribution, Attribution::Lead);
    let after = Detail::Dial {
        caller_code: "V1112150107000012345".to_owned(),
        lead_id: Some(12345),
        did: Some("+13125550199".to_owned()),
        at: START + 40,
        leading: true,
        sip: None,
    };
    let change = run(&[dial(DID), call("17.1", "NA"), after]);
    assert_eq!(only_call(&change).did.as_deref(), Some(DID));
}

#[test]
fn the_first_code_of_a_call_is_kept() {
    let other = "M1112150007000012345";
    let change = run(&[
        dial(DID),
        call("17.1", "XFER"),
        link("17.1", CODE),
        link("17.1", other),
    ]);
    assert_eq!(only_call(&change).caller_code.as_deref(), Some(CODE));
}

#[test]
fn a_result_is_audited_once_and_transient_ones_never() {
    let change = run(&[
        call("17.1", "QUEUE"),
        call("17.1", "INCALL"),
        call("17.1", "SALE"),
        call("17.1", "SALE"),
        call("17.1", "NI"),
    ]);
    let steps: Vec<_> = change
        .audit
        .iter()
        .map(|entry| (entry.old.as_str(), entry.new.as_str()))
        .collect();
    assert_eq!(steps, [("INCALL", "SALE"), ("SALE", "NI")]);
}

#[test]
fn a_changed_uniqueid_moves_the_call_and_its_numbers() {
    let change = run(&[dial(DID), call("17.1", "INCALL"), link("17.1", CODE)]);
    let loaded = Loaded {
        calls: change.calls.clone(),
        dials: change.dials.clone(),
        dids: BTreeSet::new(),
    };
    let mut working = Working::new(loaded);
    let moved = Detail::Call {
        before: Some(CallBefore {
            uniqueid: "17.1".to_owned(),
            lead_id: 12345,
            status: "INCALL".to_owned(),
        }),
        row: row("17.9", "SALE"),
    };
    let mut rules = rules();
    working.apply(&mut rules, &fact(9, moved));
    working.apply(&mut rules, &fact(10, blocked()));
    let change = working.finish(frame());
    assert_eq!(change.moved.len(), 1);
    let (key, call) = change.calls.first_key_value().expect("one");
    assert_eq!(key.uniqueid, "17.9");
    assert_eq!(call.caller_code.as_deref(), Some(CODE));
    assert_eq!(call.hangup_cause, Some(21));
    assert_eq!(change.stats[DID].counters.successful_calls, 1);
}

#[test]
fn a_removed_duplicate_stops_counting_and_an_archived_row_does_not() {
    let gone = |uniqueid: &str| Detail::CallDeleted {
        uniqueid: uniqueid.to_owned(),
        lead_id: 12345,
        started_at: START,
    };
    let twins = [dial(DID), call("17.1", "AA"), call("17.2", "AA")];
    let mut details = twins.to_vec();
    details.push(gone("17.2"));
    assert_eq!(run(&details).stats[DID].counters.total_calls, 1);
    details.push(gone("17.1"));
    assert_eq!(run(&details).stats[DID].counters.total_calls, 1);
}

#[test]
fn a_correction_moves_the_numbers_of_its_own_day() {
    let change = run(&[dial(DID), call("17.1", "NI")]);
    let loaded = Loaded {
        calls: change.calls.clone(),
        dials: change.dials.clone(),
        dids: BTreeSet::new(),
    };
    let mut working = Working::new(loaded);
    working.apply(&mut rules(), &fact(9, call("17.1", "SALE")));
    let change = working.finish(frame());
    let (key, counters) = change.daily.first_key_value().expect("one");
    assert_eq!(
        (key.day.as_str(), key.campaign_id.as_str()),
        ("2024-11-12", "SOLAR")
    );
    assert_eq!(counters.successful_calls, 1);
    assert_eq!(counters.total_calls, 0);
    assert!(!change.stats[DID].find_last_anew);
}

#[test]
fn a_code_that_comes_again_after_months_is_another_dial() {
    let later = Detail::Dial {
        caller_code: CODE.to_owned(),
        lead_id: Some(12345),
        did: Some("+13125550199".to_owned()),
        at: START + 90 * 86_400,
        leading: true,
        sip: None,
    };
    let change = run(&[dial(DID), call("17.1", "NA"), link("17.1", CODE), later]);
    assert_eq!(change.dials.len(), 2);
    assert_eq!(only_call(&change).did.as_deref(), Some(DID));
}

#[test]
fn a_call_dialled_without_a_caller_id_does_not_take_an_earlier_dials() {
    let bare = Detail::Dial {
        caller_code: "V1112150107000012345".to_owned(),
        lead_id: Some(12345),
        did: None,
        at: START - 5,
        leading: true,
        sip: None,
    };
    let link = link("17.1", "V1112150107000012345");
    // The earlier dial serves only while the call's own is not known.
    for order in [
        [dial(DID), bare.clone(), call("17.1", "NA"), link.clone()],
        [dial(DID), call("17.1", "NA"), link, bare],
    ] {
        let change = run(&order);
        let call = only_call(&change);
        assert_eq!(call.did, None);
        assert_eq!(call.attribution, Attribution::None);
    }
}
