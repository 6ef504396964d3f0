//! VICIdial's orders of rows, each ending in the right state.

use std::sync::Arc;

use super::*;
use crate::binlog::GtidPosition;
use crate::ledger::{Keys, Outcome, Prefer, Success};
use crate::vicidial::{CallName, CarrierEnding, SipAnswer, StatusChange};
use crate::vicidial::{StatusFlags, StatusKey, Zone};

use self::posted::orders;

const START: i64 = 1_731_412_000;
const CODE: &str = "V1112150007000012345";
const DID: &str = "+13125550100";

fn rules() -> Rules {
    Rules {
        success: Success::Set(["SALE".to_owned()].into()),
        transient: ["QUEUE", "INCALL", "DISPO"].map(str::to_owned).into(),
        create_dids: true,
        prefer: Prefer::DialLog,
        takes_posts: true,
        zone: Zone::fixed(0),
        statuses: Arc::default(),
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
        statuses: None,
        expected: None,
        fencing_token: None,
        landmarks: Vec::new(),
        checkpoint: Checkpoint {
            server: None,
            file_begun: None,
            epoch: 0,
            position: "b.000001:4".parse().expect("valid"),
            gtid: GtidPosition::default(),
            event_time: None,
            revision: 0,
        },
    }
}

fn run(details: &[Detail]) -> ChangeSet {
    run_by(Prefer::DialLog, details)
}

fn run_by(prefer: Prefer, details: &[Detail]) -> ChangeSet {
    let mut working = Working::new(Loaded::default());
    let mut rules = Rules { prefer, ..rules() };
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
    let orders = orders(&[dial(DID), call("17.1", "AB"), link("17.1", CODE), blocked()]);
    assert_eq!(orders.len(), 24);
    for order in orders {
        let change = run(&order);
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
    let mut working = Working::new(loaded(&change));
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
        lead_id: Some(12345),
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
    let mut working = Working::new(loaded(&change));
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

const REPORTED: &str = "+13125550142";

fn reported(name: CallName) -> Detail {
    Detail::Reported {
        name,
        lead_id: None,
        did: REPORTED.to_owned(),
        at: START - 10,
    }
}

#[test]
fn a_reported_did_wins_where_it_is_preferred_and_serves_where_none_is_dialled() {
    let by_code = || reported(CallName::CallerCode(CODE.to_owned()));
    let by_uniqueid = || reported(CallName::Uniqueid("17.1".to_owned()));
    for report in [by_code(), by_uniqueid()] {
        for order in orders(&[
            dial(DID),
            call("17.1", "NA"),
            link("17.1", CODE),
            report.clone(),
        ]) {
            for (prefer, did, way) in [
                (Prefer::DialLog, DID, Attribution::CallerCode),
                (Prefer::Reported, REPORTED, Attribution::Reported),
            ] {
                let change = run_by(prefer, &order);
                let call = only_call(&change);
                assert_eq!(call.did.as_deref(), Some(did), "{order:?}");
                assert_eq!(call.attribution, way, "{order:?}");
                assert_eq!(change.stats[did].counters.total_calls, 1);
                assert_eq!(change.stats[DID].counters.dials, 1);
            }
        }
        for order in orders(&[call("17.1", "NA"), link("17.1", CODE), report]) {
            let change = run_by(Prefer::DialLog, &order);
            assert_eq!(only_call(&change).did.as_deref(), Some(REPORTED));
            assert_eq!(only_call(&change).attribution, Attribution::Reported);
        }
    }
}

#[test]
fn a_carrier_row_without_a_code_finds_its_call_by_uniqueid_or_second() {
    for channel in ["17.1", "17.2"] {
        let mut unnamed = blocked();
        if let Detail::Carrier {
            uniqueid,
            caller_code,
            ..
        } = &mut unnamed
        {
            *uniqueid = channel.to_owned();
            *caller_code = None;
        }
        for order in orders(&[dial(DID), call("17.1", "AB"), link("17.1", CODE), unnamed]) {
            let change = run(&order);
            assert_eq!(only_call(&change).outcome, Outcome::Blocked, "{order:?}");
            assert_eq!(only_call(&change).caller_code.as_deref(), Some(CODE));
            assert_eq!(change.stats[DID].counters.dials, 1);
        }
    }
}

#[test]
fn the_dial_logs_answer_serves_where_there_is_no_carrier_row() {
    let mut answered = dial(DID);
    if let Detail::Dial { sip, .. } = &mut answered {
        *sip = Some(SipAnswer {
            code: 608,
            reason: "Rejected".to_owned(),
        });
    }
    let mut silent = blocked();
    if let Detail::Carrier { ending, .. } = &mut silent {
        *ending = CarrierEnding {
            hangup_cause: 127,
            ..CarrierEnding::default()
        };
    }
    let rows = [answered, call("17.1", "NA"), link("17.1", CODE)];
    for order in orders(&rows) {
        assert_eq!(only_call(&run(&order)).outcome, Outcome::Blocked);
    }
    for order in orders(&[rows.to_vec(), vec![silent]].concat()) {
        let change = run(&order);
        assert_eq!(only_call(&change).sip_code, None, "{order:?}");
        assert_eq!(only_call(&change).hangup_cause, Some(127));
    }
}

#[test]
fn a_dial_that_was_looked_up_gives_the_did_and_is_no_dial() {
    let change = run(&[call("17.1", "NA")]);
    let mut working = Working::new(loaded(&change));
    assert_eq!(working.calls_without_a_dial().count(), 0, "nothing changed");
    working.apply(&mut rules(), &fact(1, call("17.1", "AB")));
    assert_eq!(working.calls_without_a_dial().count(), 1);
    working.apply(
        &mut rules(),
        &fact(2, Detail::LookedUp(Box::new(dial(DID)))),
    );
    assert_eq!(working.calls_without_a_dial().count(), 0);
    let change = working.finish(frame());
    assert_eq!(only_call(&change).did.as_deref(), Some(DID));
    let counters = change.stats[DID].counters;
    assert_eq!((counters.total_calls, counters.dials), (1, 0));
    // The row itself, in a replay from before it.
    let mut working = Working::new(loaded(&change));
    working.apply(&mut rules(), &fact(3, dial(DID)));
    let change = working.finish(frame());
    assert_eq!(change.stats[DID].counters.dials, 1);
    assert!(!change.dials.values().any(|dial| dial.looked_up));
}

#[test]
fn recounting_judges_by_the_rules_of_today() {
    let change = run(&[dial(DID), call("17.1", "UPSELL"), link("17.1", CODE)]);
    assert_eq!(change.stats[DID].counters.successful_calls, 0);
    let mut today = rules();
    today.success = Success::Set(["UPSELL".to_owned()].into());
    today.zone = Zone::fixed(-14 * 3600);
    let mut working = Working::new(loaded(&change));
    let mut page = Keys {
        uniqueids: ["17.2".to_owned()].into(),
        ..Keys::default()
    };
    let origin = Origin::new(&Arc::from("recount"), 0, 0, START);
    working.recount(&today, &page, &origin);
    assert!(working.history.is_empty(), "another page's");
    page.uniqueids.insert("17.1".to_owned());
    page.caller_codes.insert(CODE.to_owned());
    working.recount(&today, &page, &origin);
    let change = working.finish(frame());
    assert_eq!(change.stats[DID].counters.successful_calls, 1);
    assert_eq!(change.stats[DID].counters.total_calls, 0);
    assert_eq!(only_call(&change).day, "2024-11-11");
    assert!(change.dials.values().all(|dial| dial.day == "2024-11-11"));
    let entries: Vec<_> = change.history.values().flatten().collect();
    assert!(entries.iter().all(|entry| entry.table == "recount"));
    assert_eq!(entries.len(), 2);
}

/// The newest dial of the lead is that of another call, which went out later.
#[test]
fn a_call_dialled_without_a_caller_id_does_not_take_a_newer_dials() {
    let bare = Detail::Dial {
        caller_code: "V1112149507000012345".to_owned(),
        lead_id: Some(12345),
        did: None,
        at: START - 30,
        leading: true,
        sip: None,
    };
    for order in orders(&[
        dial(DID),
        bare,
        call("17.1", "NA"),
        link("17.1", "V1112149507000012345"),
    ]) {
        let change = run(&order);
        assert_eq!(only_call(&change).did, None, "{order:?}");
        assert_eq!(change.stats[DID].counters.total_calls, 0);
    }
}

#[test]
fn the_companion_serves_only_where_the_dial_log_has_no_number() {
    let companion = Detail::Dial {
        caller_code: CODE.to_owned(),
        lead_id: None,
        did: Some(REPORTED.to_owned()),
        at: START - 20,
        leading: false,
        sip: None,
    };
    for order in orders(&[
        dial(DID),
        companion.clone(),
        call("17.1", "NA"),
        link("17.1", CODE),
    ]) {
        let change = run(&order);
        assert_eq!(only_call(&change).did.as_deref(), Some(DID), "{order:?}");
        assert_eq!(change.stats[DID].counters.dials, 1);
    }
    for order in orders(&[companion, call("17.1", "NA"), link("17.1", CODE)]) {
        let change = run(&order);
        assert_eq!(only_call(&change).did.as_deref(), Some(REPORTED));
    }
}

/// The call began before the dialer's midnight, its row was written behind it,
/// and UTC had the later day all the time.
#[test]
fn a_call_counts_on_the_dialers_day_on_which_it_began_however_late_it_is_written() {
    let zone = Zone::fixed(i32::try_from(86_400 - 30 - START % 86_400).expect("small") - 86_400);
    let mut rules = Rules { zone, ..rules() };
    assert_eq!(rules.zone.day(START), "2024-11-11");
    assert_eq!(rules.zone.day(START + 60), "2024-11-12");
    let mut corrected = call("17.1", "SALE");
    if let Detail::Call { before, .. } = &mut corrected {
        *before = Some(CallBefore {
            uniqueid: "17.1".to_owned(),
            lead_id: 12345,
            status: "NI".to_owned(),
        });
    }
    let mut working = Working::new(Loaded::default());
    for (number, detail) in (0..).zip([dial(DID), call("17.1", "NI"), corrected]) {
        working.apply(&mut rules, &fact(number, detail));
    }
    let change = working.finish(frame());
    let days: Vec<_> = change.daily.iter().collect();
    assert_eq!(days.len(), 2, "{days:?}");
    assert!(days.iter().all(|(key, _)| key.day == "2024-11-11"));
    assert_eq!(change.stats[DID].counters.successful_calls, 1);
}

/// An admin's new flag is of effect for the calls judged behind it.
#[test]
fn a_sale_by_flag_is_one_in_its_own_campaign_only() {
    let flag = |campaign: &str, sale| {
        Detail::Status(StatusChange::Set {
            key: StatusKey::new("UPSELL", campaign),
            renamed_from: None,
            flags: StatusFlags {
                human_answered: true,
                sale,
                ..StatusFlags::default()
            },
        })
    };
    let successes = |details: &[Detail]| {
        let mut working = Working::new(Loaded::default());
        let mut rules = rules();
        rules.success = Success::SaleFlag;
        for (number, detail) in (0..).zip(details) {
            working.apply(&mut rules, &fact(number, detail.clone()));
        }
        let counters = working.finish(frame()).stats[DID].counters;
        (counters.answered, counters.successful_calls)
    };
    let upsell = || [dial(DID), call("17.1", "UPSELL")];
    let behind = |flags: &[Detail]| successes(&[flags, &upsell()].concat());
    assert_eq!(behind(&[flag("", true)]), (1, 1));
    assert_eq!(behind(&[flag("", true), flag("SOLAR", false)]), (1, 0));
    assert_eq!(behind(&[flag("", false), flag("SOLAR", true)]), (1, 1));
    assert_eq!(behind(&[flag("", false), flag("WATER", true)]), (1, 0));
    let before = [&upsell()[..], &[flag("", true)]].concat();
    assert_eq!(successes(&before), (0, 0));
}

/// Two servers count the same number in the same second, and an archiver takes
/// the first call's row away before the second's is written.
#[test]
fn a_name_that_another_lead_had_in_the_same_second_is_another_call() {
    let mut second = call("17.1", "NI");
    if let Detail::Call { row, .. } = &mut second {
        row.lead_id = 777;
    }
    let change = run(&[dial(DID), call("17.1", "SALE"), second]);
    let calls = change.calls.iter();
    let calls: Vec<_> = calls
        .map(|(key, c)| (key.lead_id, c.did.as_deref()))
        .collect();
    assert_eq!(calls, [(777, None), (12345, Some(DID))]);
}

#[test]
fn only_answered_calls_talk_and_never_less_than_nothing() {
    let talked = |status: &str, seconds| {
        let mut call = call("17.1", status);
        if let Detail::Call { row, .. } = &mut call {
            row.length_in_sec = seconds;
        }
        run(&[dial(DID), call]).stats[DID].counters.talk_seconds
    };
    assert_eq!(talked("SALE", Some(83)), 83);
    for (status, seconds) in [
        ("SALE", Some(-7)),
        ("SALE", None),
        ("AA", Some(9)),
        ("NA", Some(9)),
    ] {
        assert_eq!(talked(status, seconds), 0, "{status} {seconds:?}");
    }
}

fn loaded(change: &ChangeSet) -> Loaded {
    Loaded {
        pruned: crate::ledger::Pruned::default(),
        calls: change.calls.clone(),
        dials: change.dials.clone(),
        dids: BTreeSet::new(),
    }
}

mod archived;
mod history;
mod posted;
