//! DIDs that are not in the stream: reported by the dialplan, or to be asked
//! from the source; and what a command rewrote beside the engine.

use didtail::ledger::{Attribution, Counters, Keys, Prefer};
use didtail::store::Store;

use crate::events::NOON;
use crate::rows::{Log, code, dial, link, shaken};
use crate::stories::{DID, NUMBER};
use crate::world::{SOURCE, TENANT, World};

const REPORTED: &str = "+13125550142";

fn attribution(world: &World) -> (Option<String>, Attribution) {
    let call = world.dump().calls.into_values().next().expect("a call");
    (call.did, call.attribution)
}

/// The dial log is plausible and wrong where the dialplan sets the caller ID.
#[tokio::test(start_paused = true)]
async fn a_reported_did_is_the_calls_where_it_is_preferred() {
    for (prefer, did, way) in [
        (Prefer::DialLog, DID, Attribution::CallerCode),
        (Prefer::Reported, REPORTED, Attribution::Reported),
    ] {
        let mut world = World::new();
        world.rules.prefer = prefer;
        let log = Log::at(20, 7, "NA");
        let mut end = world.group(&[dial(&code(0, 7), 7, 0, NUMBER)]);
        for change in [
            shaken(&code(0, 7), 5, "3125550142"),
            shaken("", 5, "3125550143"),
            log.insert(),
            link(&log.uniqueid, &code(0, 7), 7, 20),
        ] {
            end = world.group(&[change]);
        }
        world.run_to(&end).await;
        assert_eq!(attribution(&world), (Some(did.to_owned()), way));
        assert_eq!(world.numbers(did).total_calls, 1);
        assert_eq!(world.numbers(DID).dials, 1);
    }
}

/// didtail began between the dial and the call.
#[tokio::test(start_paused = true)]
async fn a_dial_from_before_the_start_is_asked_from_the_source() {
    let mut world = World::new();
    let log = Log::at(20, 7, "NA");
    let noon = |second: i64| {
        let at = jiff::Timestamp::from_second(NOON + second).expect("a time");
        at.strftime("%Y-%m-%d %H:%M:%S").to_string()
    };
    let hold = |code: &str, lead: &str, second: i64, number: &str| {
        let cid = format!("\"{code}\" <{number}>");
        world.source.hold(
            "vicidial_dial_log",
            &[
                ("caller_code", code),
                ("lead_id", lead),
                ("call_date", &noon(second)),
                ("outbound_cid", &cid),
            ],
        );
    };
    hold(&code(0, 7), "7", 0, NUMBER);
    // Dials of other times and other leads are none of this call's.
    hold("V112000000000000", "7", -90_000, "3125550101");
    hold("V112000001000000", "7", 60, "3125550102");
    hold(&code(0, 8), "8", 0, "3125550103");
    let end = world.group(&[log.insert()]);
    world.run_to(&end).await;
    assert_eq!(
        attribution(&world),
        (Some(DID.to_owned()), Attribution::Lead)
    );
    let expected = Counters {
        total_calls: 1,
        no_answer: 1,
        ..Counters::default()
    };
    assert_eq!(world.numbers(DID), expected, "no dial was seen");
    assert_eq!(world.dump().dials.len(), 1);
    let end = world.group(&[link(&log.uniqueid, &code(0, 7), 7, 20)]);
    world.run_to(&end).await;
    assert_eq!(attribution(&world).1, Attribution::CallerCode);
}

/// A command that judges calls anew raises the revision; the engine reads again
/// instead of taking it for another daemon.
#[tokio::test(start_paused = true)]
async fn what_a_command_rewrote_is_read_again() {
    let mut world = World::new();
    let engine = world.start().await;
    let mut log = Log::at(20, 7, "NA");
    let groups = [dial(&code(0, 7), 7, 0, NUMBER), log.insert()];
    let end = groups.map(|change| world.group(&[change]))[1].clone();
    world.applied(&end).await;

    let keys = Keys {
        uniqueids: [log.uniqueid.clone()].into(),
        ..Keys::default()
    };
    let loaded = world
        .store
        .load(SOURCE, TENANT, &keys)
        .await
        .expect("loads");
    let before = world.store.progress(SOURCE).await.expect("reads");
    let before = before.expect("a position");
    let mut working = didtail::ledger::Working::new(loaded);
    let mut rules = world.rules.clone();
    rules.success = didtail::ledger::Success::Set(["NA".to_owned()].into());
    let file = std::sync::Arc::from("recount");
    working.recount(
        &rules,
        &keys,
        &didtail::vicidial::Origin::new(&file, 0, 0, NOON),
    );
    let mut after = before.clone();
    after.revision += 1;
    let change = working.finish(didtail::ledger::Frame {
        landmarks: Vec::new(),
        source: SOURCE.to_owned(),
        tenant: TENANT.to_owned(),
        statuses: None,
        expected: Some(before),
        fencing_token: None,
        checkpoint: after,
    });
    world.store.commit(&change).await.expect("commits");
    assert_eq!(world.numbers(DID).successful_calls, 1);

    let end = world.group(&[log.disposition("DNC")]);
    world.applied(&end).await;
    engine.stop().await.expect("it goes on");
    let numbers = world.numbers(DID);
    assert_eq!((numbers.total_calls, numbers.successful_calls), (1, 0));
    assert_eq!(
        world.dump().recounted()[DID].counters,
        numbers,
        "the numbers are those of the calls"
    );
}
