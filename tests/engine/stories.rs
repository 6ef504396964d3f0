//! VICIdial's stories, and the numbers that each must end in.

use didtail::ledger::{Attribution, Call, Outcome};

use crate::events::Change;
use crate::rows::{Log, carrier, code, dial, dial_cid, link};
use crate::world::World;

pub(crate) const NUMBER: &str = "3125550100";
pub(crate) const DID: &str = "+13125550100";
const OTHER_DID: &str = "+13125550199";

/// Applies groups, each in a transaction of its own, in one engine.
async fn told(groups: &[Vec<Change>]) -> World {
    let mut world = World::new();
    let engine = world.start().await;
    for group in groups {
        let end = world.group(group);
        world.applied(&end).await;
    }
    engine.stop().await.expect("stops in order");
    assert_eq!(world.quarantined(), []);
    world
}

fn calls(world: &World) -> Vec<Call> {
    world.dump().calls.into_values().collect()
}

fn only_call(world: &World) -> Call {
    let mut calls = calls(world);
    assert_eq!(calls.len(), 1, "{calls:?}");
    calls.remove(0)
}

/// From the dial to the sale, as the dialer and the agent's screen write it.
#[tokio::test(start_paused = true)]
async fn an_answered_call_is_one_sale() {
    let mut log = Log::at(20, 7, "QUEUE");
    let mut groups = vec![
        vec![dial(&code(0, 7), 7, 0, NUMBER)],
        vec![log.insert()],
        vec![link(&log.uniqueid, &code(0, 7), 7, 21)],
    ];
    groups.push(vec![log.update(|log| {
        log.status = "INCALL".to_owned();
        log.user = "agent1";
    })]);
    groups.push(vec![log.update(|log| log.seconds = Some(37))]);
    groups.push(vec![log.disposition("DISPO")]);
    groups.push(vec![log.disposition("SALE")]);
    let world = told(&groups).await;
    let numbers = world.numbers(DID);
    assert_eq!((numbers.dials, numbers.total_calls), (1, 1));
    assert_eq!((numbers.answered, numbers.successful_calls), (1, 1));
    assert_eq!(numbers.talk_seconds, 37);
    let call = only_call(&world);
    assert_eq!(call.attribution, Attribution::CallerCode);
    assert_eq!(call.agent_id, "agent1");
    let audit: Vec<_> = world.dump().audit.into_values().collect();
    assert_eq!(audit.len(), 1);
    assert!(
        audit[0].0.contains(r#""old":"DISPO","new":"SALE""#),
        "{audit:?}"
    );
}

/// Most calls: one INSERT that carries its result.
#[tokio::test(start_paused = true)]
async fn an_unanswered_call_is_one_insert() {
    let log = Log::at(20, 7, "NA");
    let world = told(&[
        vec![dial(&code(0, 7), 7, 0, NUMBER)],
        vec![log.insert()],
        vec![link(&log.uniqueid, &code(0, 7), 7, 20)],
    ])
    .await;
    let numbers = world.numbers(DID);
    assert_eq!((numbers.total_calls, numbers.no_answer), (1, 1));
    assert_eq!((numbers.successful_calls, numbers.talk_seconds), (0, 0));
}

/// The carrier's row comes last and says that the call was blocked.
#[tokio::test(start_paused = true)]
async fn a_blocked_call_is_told_by_the_carrier() {
    let log = Log::at(20, 7, "AB");
    for carrier_code in [code(0, 7), String::new()] {
        let world = told(&[
            vec![dial(&code(0, 7), 7, 0, NUMBER)],
            vec![log.insert()],
            vec![link(&log.uniqueid, &code(0, 7), 7, 20)],
            vec![carrier(&log.uniqueid, &carrier_code, 7, 22, 21)],
        ])
        .await;
        assert_eq!(only_call(&world).outcome, Outcome::Blocked);
        assert_eq!(world.numbers(DID).blocked, 1);
        assert_eq!(world.numbers(DID).busy, 0);
    }
}

/// The caller code arrives last, and names another dial than the lead's newest.
#[tokio::test(start_paused = true)]
async fn a_late_link_moves_the_numbers_to_the_right_did() {
    let log = Log::at(60, 7, "NA");
    let mut groups = vec![
        vec![dial(&code(0, 7), 7, 0, NUMBER)],
        vec![dial(&code(30, 7), 7, 30, "3125550199")],
        vec![log.insert()],
    ];
    let world = told(&groups).await;
    assert_eq!(world.numbers(OTHER_DID).total_calls, 1);
    groups.push(vec![link(&log.uniqueid, &code(0, 7), 7, 61)]);
    let world = told(&groups).await;
    assert_eq!(world.numbers(OTHER_DID).total_calls, 0);
    assert_eq!(world.numbers(DID).total_calls, 1);
    assert_eq!(only_call(&world).attribution, Attribution::CallerCode);
}

/// The dial log has no caller ID; its companion has, and arrives after the call.
#[tokio::test(start_paused = true)]
async fn the_cid_log_serves_where_the_dial_log_has_no_number() {
    let log = Log::at(20, 7, "NA");
    let world = told(&[
        vec![dial(&code(0, 7), 7, 0, "")],
        vec![log.insert()],
        vec![dial_cid(&code(0, 7), 0, NUMBER)],
    ])
    .await;
    assert_eq!(world.numbers(DID).total_calls, 1);
    assert_eq!(world.numbers(DID).dials, 1);
}

/// VICIdial renames the call when it finds the real channel.
#[tokio::test(start_paused = true)]
async fn a_changed_uniqueid_stays_one_call() {
    let mut log = Log::at(20, 7, "INCALL");
    let renamed = |log: &mut Log| log.uniqueid = format!("{}9", log.uniqueid);
    let groups = [
        vec![dial(&code(0, 7), 7, 0, NUMBER)],
        vec![log.insert()],
        vec![link(&log.uniqueid, &code(0, 7), 7, 21)],
        vec![log.update(renamed)],
        vec![log.disposition("SALE")],
    ];
    let world = told(&groups).await;
    assert_eq!(world.numbers(DID).total_calls, 1);
    assert_eq!(only_call(&world).attribution, Attribution::CallerCode);
}

/// A row is written twice under two keys, and one is deleted minutes later.
/// The one that stays is known by its caller code.
#[tokio::test(start_paused = true)]
async fn a_deleted_duplicate_stops_counting() {
    let log = Log::at(20, 7, "AA");
    let twin = Log {
        uniqueid: format!("{}1", log.uniqueid),
        ..log.clone()
    };
    let groups = [
        vec![dial(&code(0, 7), 7, 0, NUMBER)],
        vec![log.insert()],
        vec![link(&log.uniqueid, &code(0, 7), 7, 21)],
        vec![twin.insert()],
        vec![twin.delete()],
    ];
    let counted = told(&groups[..4]).await;
    assert_eq!(counted.numbers(DID).total_calls, 2);
    let world = told(&groups).await;
    assert_eq!(world.numbers(DID).total_calls, 1);
    assert_eq!(world.numbers(DID).machine, 1);
}

/// Rows are moved to the archive hours later: that says nothing of the calls.
#[tokio::test(start_paused = true)]
async fn archiving_changes_no_number() {
    let log = Log::at(20 - 5 * 3600, 7, "SALE");
    let groups = [
        vec![dial(&code(0, 7), 7, -5 * 3600, NUMBER)],
        vec![log.insert()],
        vec![log.delete()],
    ];
    let world = told(&groups).await;
    assert_eq!(world.numbers(DID).successful_calls, 1);
}

/// A disposition is corrected, and its numbers with it.
#[tokio::test(start_paused = true)]
async fn a_correction_moves_a_result() {
    let mut log = Log::at(20, 7, "SALE");
    let groups = [
        vec![dial(&code(0, 7), 7, 0, NUMBER)],
        vec![log.insert()],
        vec![log.disposition("DNC")],
    ];
    let world = told(&groups).await;
    let numbers = world.numbers(DID);
    assert_eq!((numbers.total_calls, numbers.successful_calls), (1, 0));
    assert_eq!(world.dump().audit.len(), 2);
}

/// What the store says of each DID is what its calls and dials add up to.
#[tokio::test(start_paused = true)]
async fn the_numbers_are_those_of_the_calls() {
    let mut groups = Vec::new();
    for call in 0..40_i64 {
        let (second, lead) = (call * 60, call % 5);
        let number = format!("312555010{}", call % 3);
        let status = ["NA", "AB", "AA", "SALE", "DROP"][usize::try_from(call % 5).expect("small")];
        groups.push(vec![
            dial(&code(second, lead), lead, second, &number),
            Log::at(second + 20, lead, status).insert(),
        ]);
    }
    let world = told(&groups).await;
    let dump = world.dump();
    let stored = dump.dids.iter();
    let stored = stored.filter_map(|((_, did), numbers)| Some((did.clone(), (*numbers)?)));
    assert_eq!(
        stored.collect::<std::collections::BTreeMap<_, _>>(),
        dump.recounted()
    );
    assert_eq!(dump.recounted().len(), 3);
}

/// The carrier's row names no code; a row that names no lead comes behind it.
#[tokio::test(start_paused = true)]
async fn a_block_without_a_code_is_kept_when_a_later_row_looks_again() {
    let mut log = Log::at(20, 7, "AB");
    for renamed in [false, true] {
        let mut groups = vec![
            vec![dial(&code(0, 7), 7, 0, NUMBER)],
            vec![log.insert()],
            vec![link(&log.uniqueid, &code(0, 7), 7, 20)],
            vec![carrier(&log.uniqueid, "", 7, 22, 21)],
        ];
        if renamed {
            groups.push(vec![log.update(|log| log.uniqueid.push('9'))]);
        }
        groups.push(vec![dial_cid(&code(0, 7), 0, NUMBER)]);
        let world = told(&groups).await;
        assert_eq!(only_call(&world).outcome, Outcome::Blocked, "{renamed}");
        assert_eq!(world.numbers(DID).blocked, 1);
    }
}
