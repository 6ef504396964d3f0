//! From states before and after a batch to the rows and numbers to be written.

use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::working::{Frame, Working};
use crate::ledger::{ChangeSet, Contribution, Counters, DailyKey, StatDelta};

/// Which of a DID's two "last" times a contribution is about.
#[derive(Clone, Copy)]
enum Last {
    Call,
    Dial,
}

pub(super) fn settle(working: Working, frame: Frame) -> ChangeSet {
    let Working {
        loaded,
        calls,
        stored_keys,
        replaced,
        dials,
        mut audit,
        history,
        ..
    } = working;
    for entry in &mut audit {
        // The DID may have become known later in the batch.
        if let Some(call) = calls.get(&entry.key) {
            entry.did.clone_from(&call.did);
        }
    }
    let mut change = ChangeSet {
        source: frame.source,
        tenant: frame.tenant,
        moved: stored_keys
            .iter()
            .filter(|(now, stored)| now != stored)
            .map(|(now, stored)| (stored.clone(), now.clone()))
            .collect(),
        replaced,
        calls: BTreeMap::new(),
        dials: BTreeMap::new(),
        stats: BTreeMap::new(),
        daily: BTreeMap::new(),
        audit,
        history,
        statuses: frame.statuses,
        landmarks: frame.landmarks,
        posted: BTreeSet::new(),
        expected: frame.expected,
        checkpoint: frame.checkpoint,
        fencing_token: frame.fencing_token,
    };
    for gone in &change.replaced.clone() {
        let before = loaded.calls.get(gone).and_then(|call| call.contribution());
        exchange(&mut change, before, None, Last::Call);
    }
    for (key, call) in calls {
        let stored_key = stored_keys.get(&key);
        let before = stored_key.and_then(|stored| loaded.calls.get(stored));
        if before == Some(&call) && stored_key == Some(&key) {
            continue;
        }
        let old = before.and_then(|call| call.contribution());
        exchange(&mut change, old, call.contribution(), Last::Call);
        change.calls.insert(key, call);
    }
    for (key, dial) in dials {
        let before = loaded.dials.get(&key);
        if before == Some(&dial) {
            continue;
        }
        let old = before.and_then(|dial| dial.contribution());
        exchange(&mut change, old, dial.contribution(), Last::Dial);
        change.dials.insert(key, dial);
    }
    change.daily.retain(|_, counters| !counters.is_zero());
    change
        .stats
        .retain(|_, delta| *delta != StatDelta::default());
    change
}

/// Subtracts the old contribution and adds the new one.
fn exchange(
    change: &mut ChangeSet,
    old: Option<Contribution>,
    new: Option<Contribution>,
    last: Last,
) {
    if old == new {
        return;
    }
    if let Some(old) = old {
        let stays = new
            .as_ref()
            .is_some_and(|new| new.did == old.did && new.at >= old.at);
        let delta = change.stats.entry(old.did.clone()).or_default();
        delta.counters -= old.counters;
        delta.find_last_anew |= !stays;
        *daily(change, old.did, old.day, old.campaign_id) -= old.counters;
    }
    if let Some(new) = new {
        let delta = change.stats.entry(new.did.clone()).or_default();
        delta.counters += new.counters;
        let newest = match last {
            Last::Call => &mut delta.last_call_at,
            Last::Dial => &mut delta.last_dial_at,
        };
        *newest = (*newest).max(Some(new.at));
        *daily(change, new.did, new.day, new.campaign_id) += new.counters;
    }
}

fn daily(change: &mut ChangeSet, did: String, day: String, campaign_id: String) -> &mut Counters {
    let key = DailyKey {
        did,
        day,
        campaign_id,
    };
    change.daily.entry(key).or_default()
}
