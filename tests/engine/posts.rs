//! Posted results between two commits: each is taken once, whatever becomes of them.

use std::time::Duration;

use didtail::ledger::{CallKey, CallOrigin};
use didtail::store::{Fault, NewPost, PostOutcome, Store as _};
use didtail::vicidial::{Posted, Said};

use crate::events::NOON;
use crate::faults::one_call;
use crate::rows::Log;
use crate::world::{SOURCE, TENANT, World};

const DID: &str = "+13125550177";

fn post(uniqueid: &str) -> NewPost {
    let at = NOON + 60;
    NewPost {
        tenant: TENANT.to_owned(),
        source: SOURCE.to_owned(),
        posted: Posted {
            uniqueid: uniqueid.to_owned(),
            at,
            said: Said {
                first_at: Some(at),
                status: Some((at, "SALE".to_owned())),
                did: Some((at, DID.to_owned())),
                ..Said::default()
            },
            ..Posted::default()
        },
        once: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_store_loses_and_doubles_no_post() {
    for fault in [
        Fault::Reject,
        Fault::LoseAcknowledgement,
        Fault::Slow(Duration::from_secs(90)),
    ] {
        for nth in 1..=4 {
            let mut world = World::new();
            world.store.on_commit(nth, fault.clone());
            // The row of the first is in the binlog too, that of the second never.
            let known = Log::at(20, 100, "NA").uniqueid;
            let alone = format!("{}.77", NOON + 500);
            let posts = [post(&known), post(&known), post(&alone)];
            let (outcomes, _) = world.store.post(&posts, true).await.expect("kept");
            let kept = |outcome: &PostOutcome| matches!(outcome, PostOutcome::Recorded(Some(_)));
            assert!(outcomes.iter().all(kept));
            let engine = world.start().await;
            for number in 0..3 {
                let end = world.group(&one_call(number));
                world.applied(&end).await;
            }
            engine.stop().await.expect("stops in order");
            let (waiting, _) = world.store.posted(SOURCE, 9).await.expect("read");
            assert_eq!(waiting, [], "{fault:?} at {nth}");
            let dump = world.dump();
            assert_eq!(dump.calls.len(), 4, "{fault:?} at {nth}");
            let call = |uniqueid: &str, lead_id| {
                let key = CallKey {
                    uniqueid: uniqueid.to_owned(),
                    lead_id,
                };
                dump.calls[&(SOURCE.to_owned(), key)].clone()
            };
            let (known, alone) = (call(&known, 100), call(&alone, 0));
            assert_eq!(known.disposition, "NA", "VICIdial's word");
            assert_eq!(known.origin, CallOrigin::Binlog);
            assert_eq!(alone.disposition, "SALE");
            assert_eq!(alone.origin, CallOrigin::Posted);
            // A reported DID says more than the lead's newest dial.
            assert_eq!(known.did.as_deref(), Some(DID));
            assert_eq!(world.numbers(DID).total_calls, 2, "{fault:?} at {nth}");
            let recounted = dump.recounted();
            for ((_, did), numbers) in &dump.dids {
                let counted = recounted.get(did).copied().unwrap_or_default();
                assert_eq!(numbers.unwrap_or_default(), counted, "{fault:?} at {nth}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_lost_the_lease_takes_no_post() {
    let mut world = World::new();
    let end = world.group(&one_call(0));
    world.run_to(&end).await;
    world.store.post(&[post("1.1")], true).await.expect("kept");
    // A lease that was never given.
    world.fencing_token = Some(7);
    let engine = world.start().await;
    assert!(engine.ended().await.is_err());
    let (waiting, _) = world.store.posted(SOURCE, 9).await.expect("read");
    assert_eq!(waiting.len(), 1);
    world.fencing_token = None;
    let end = world.group(&one_call(1));
    world.run_to(&end).await;
    let (waiting, _) = world.store.posted(SOURCE, 9).await.expect("read");
    assert_eq!(waiting, []);
}
