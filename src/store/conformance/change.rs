//! Change sets for tests, with the deltas that the ledger would make.

use std::collections::BTreeMap;

use crate::checkpoint::Checkpoint;
use crate::ledger::{
    Attribution, Call, CallKey, ChangeSet, Contribution, Counters, DailyKey, Dial, DialKey,
    Outcome, StatDelta,
};
use crate::store::Dump;

pub(crate) const SOURCE: &str = "main";
pub(crate) const TENANT: &str = "default";

pub(crate) fn key(uniqueid: &str, lead_id: u64) -> CallKey {
    CallKey {
        uniqueid: uniqueid.to_owned(),
        lead_id,
    }
}

pub(crate) fn dial_key(caller_code: &str, opened_at: i64) -> DialKey {
    DialKey {
        caller_code: caller_code.to_owned(),
        opened_at,
    }
}

/// An answered, counted call of 30 seconds.
pub(crate) fn answered(did: &str, started_at: i64) -> Call {
    Call {
        did: Some(did.to_owned()),
        attribution: Attribution::CallerCode,
        phone_number: "+12025550143".to_owned(),
        campaign_id: "OUT".to_owned(),
        agent_id: "6001".to_owned(),
        disposition: "SALE".to_owned(),
        outcome: Outcome::Answered,
        successful: true,
        counted: true,
        duration_seconds: Some(30),
        started_at,
        day: "2025-11-12".to_owned(),
        updated_at: started_at + 31,
        ..Call::default()
    }
}

/// A counted dial.
pub(crate) fn dialed(did: &str, lead_id: u64, dialed_at: i64) -> Dial {
    Dial {
        lead_id: Some(lead_id),
        did: Some(did.to_owned()),
        dialed_at,
        day: "2025-11-12".to_owned(),
        counted: true,
        ..Dial::default()
    }
}

pub(crate) fn checkpoint(next: u64) -> Checkpoint {
    Checkpoint {
        server: next.is_multiple_of(2).then(|| "server-a".to_owned()),
        file_begun: next.is_multiple_of(3).then_some(1_762_800_000),
        epoch: 1,
        position: format!("mysql-bin.000001:{}", next + 4)
            .parse()
            .expect("valid"),
        gtid: format!("0-1-{next}").parse().expect("valid"),
        event_time: Some(1_762_900_000 + i64::try_from(next).expect("small")),
        revision: 0,
    }
}

/// A change that only moves the position, from what the store has now.
pub(crate) fn empty(dump: &Dump) -> ChangeSet {
    let expected = dump.progress.get(SOURCE).cloned();
    let next = expected.as_ref().map_or(0, |c| c.position.next);
    ChangeSet {
        source: SOURCE.to_owned(),
        tenant: TENANT.to_owned(),
        moved: BTreeMap::new(),
        replaced: std::collections::BTreeSet::new(),
        calls: BTreeMap::new(),
        dials: BTreeMap::new(),
        stats: BTreeMap::new(),
        daily: BTreeMap::new(),
        audit: Vec::new(),
        history: BTreeMap::new(),
        statuses: None,
        landmarks: Vec::new(),
        posted: std::collections::BTreeSet::new(),
        expected,
        checkpoint: checkpoint(next),
        fencing_token: None,
    }
}

/// Fills in the deltas that lead from the store's present contents to the
/// change's calls and dials.
pub(crate) fn honest(dump: &Dump, mut change: ChangeSet) -> ChangeSet {
    let of = |key: &CallKey| dump.calls.get(&(change.source.clone(), key.clone()));
    let old_key = |new: &CallKey| change.moved.iter().find(|(_, to)| *to == new);
    let mut steps: Vec<(Option<Contribution>, Option<Contribution>, bool)> = Vec::new();
    for key in &change.replaced {
        steps.push((of(key).and_then(Call::contribution), None, true));
    }
    for (key, call) in &change.calls {
        let old = old_key(key).map_or(key, |(old, _)| old);
        // What stood here before has left or moved away.
        let gone = old == key && (change.replaced.contains(key) || change.moved.contains_key(key));
        let before = if gone { None } else { of(old) };
        let before = before.and_then(Call::contribution);
        steps.push((before, call.contribution(), true));
    }
    for (key, dial) in &change.dials {
        let before = dump.dials.get(&(change.source.clone(), key.clone()));
        let before = before.and_then(Dial::contribution);
        steps.push((before, dial.contribution(), false));
    }
    for (old, new, is_call) in steps {
        add(&mut change, old.as_ref(), new.as_ref(), is_call);
    }
    change
}

fn add(
    change: &mut ChangeSet,
    old: Option<&Contribution>,
    new: Option<&Contribution>,
    is_call: bool,
) {
    if let Some(old) = old {
        let stat = change.stats.entry(old.did.clone()).or_default();
        stat.counters -= old.counters;
        stat.find_last_anew |= new.is_none_or(|new| new.did != old.did || new.at < old.at);
        *daily(change, old) -= old.counters;
    }
    if let Some(new) = new {
        let stat: &mut StatDelta = change.stats.entry(new.did.clone()).or_default();
        stat.counters += new.counters;
        let last = if is_call {
            &mut stat.last_call_at
        } else {
            &mut stat.last_dial_at
        };
        *last = (*last).max(Some(new.at));
        *daily(change, new) += new.counters;
    }
}

fn daily<'a>(change: &'a mut ChangeSet, of: &Contribution) -> &'a mut Counters {
    let key = DailyKey {
        did: of.did.clone(),
        day: of.day.clone(),
        campaign_id: of.campaign_id.clone(),
    };
    change.daily.entry(key).or_default()
}
