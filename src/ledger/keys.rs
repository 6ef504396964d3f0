//! Which stored states a batch must see: those its facts are about, and those
//! that these lead to.

use std::collections::BTreeSet;

use crate::ledger::call::post_name;
use crate::ledger::rules::{CODE_WINDOW_SECONDS, LEAD_WINDOW_SECONDS};
use crate::ledger::{CallOrigin, Keys, Loaded, named_second};
use crate::vicidial::{CallName, Detail, Fact};

/// The states that these facts are about.
#[must_use]
pub fn keys(facts: &[Fact]) -> Keys {
    let mut keys = Keys::default();
    for fact in facts {
        let detail = match &fact.detail {
            Detail::LookedUp(detail) => detail,
            Detail::Call { .. }
            | Detail::CallRead(_)
            | Detail::CallOfLead(_)
            | Detail::CallDeleted { .. }
            | Detail::CallsOfSecond { .. }
            | Detail::CallAssigned(_)
            | Detail::Link { .. }
            | Detail::Dial { .. }
            | Detail::Reported { .. }
            | Detail::Posted(_)
            | Detail::Carrier { .. }
            | Detail::Status(_) => &fact.detail,
        };
        let (lead, at) = match detail {
            Detail::Call { before, row } => {
                keys.uniqueids.insert(row.uniqueid.clone());
                match before {
                    Some(before) => {
                        keys.uniqueids.insert(before.uniqueid.clone());
                    }
                    None => keys.posted_near(&row.uniqueid),
                }
                (Some(row.lead_id), row.started_at)
            }
            Detail::CallRead(row) | Detail::CallOfLead(row) => {
                keys.uniqueids.insert(row.uniqueid.clone());
                keys.posted_near(&row.uniqueid);
                (Some(row.lead_id), row.started_at)
            }
            Detail::CallDeleted {
                uniqueid,
                lead_id,
                started_at,
            } => {
                keys.uniqueids.insert(uniqueid.clone());
                (*lead_id, *started_at)
            }
            Detail::CallsOfSecond {
                lead_id,
                second,
                reach: _,
                present,
                renamed_to,
            } => {
                keys.uniqueids.extend(present.iter().cloned());
                keys.uniqueids.extend(renamed_to.clone());
                (Some(*lead_id), second.parse().unwrap_or(fact.origin.time))
            }
            Detail::CallAssigned(assigned) => {
                let time = fact.origin.time;
                keys.uniqueids.extend(assigned.uniqueids.iter().cloned());
                keys.uniqueids.extend(assigned.set.uniqueid.clone());
                keys.lead_ids.extend(assigned.set.lead_id);
                for (uniqueid, lead) in &assigned.moved {
                    keys.uniqueids.insert(uniqueid.clone());
                    keys.lead_ids.insert(*lead);
                }
                let second = assigned
                    .second
                    .as_ref()
                    .and_then(|second| second.parse().ok());
                let first: i64 = second.unwrap_or(assigned.since);
                // From the first that it may be about to the last.
                let (from, until) = keys.lead_times.unwrap_or((first, time));
                keys.lead_times = Some((from.min(first), until.max(time)));
                (
                    assigned.lead_id.filter(|_| assigned.uniqueids.is_empty()),
                    first,
                )
            }
            Detail::Link {
                uniqueid,
                caller_code,
                lead_id,
                at,
            } => {
                keys.uniqueids.insert(uniqueid.clone());
                keys.caller_codes.insert(caller_code.clone());
                // Also of a code that was named before: its time may be another.
                keys.code_times = around(keys.code_times, *at);
                (*lead_id, *at)
            }
            Detail::Dial {
                caller_code,
                lead_id,
                did,
                at,
                ..
            } => {
                keys.caller_codes.insert(caller_code.clone());
                keys.dids.extend(did.clone());
                keys.code_times = around(keys.code_times, *at);
                (*lead_id, *at)
            }
            Detail::Carrier {
                uniqueid,
                caller_code,
                lead_id,
                at,
                ..
            } => {
                match caller_code {
                    Some(code) => keys.caller_codes.insert(code.clone()),
                    None => {
                        keys.caller_codes.insert(uniqueid.clone());
                        keys.uniqueids.insert(uniqueid.clone())
                    }
                };
                keys.code_times = around(keys.code_times, *at);
                (*lead_id, *at)
            }
            Detail::Reported {
                name,
                lead_id,
                did,
                at,
            } => {
                keys.dids.insert(did.clone());
                match name {
                    CallName::CallerCode(code) => keys.caller_codes.insert(code.clone()),
                    CallName::Uniqueid(uniqueid) => {
                        keys.caller_codes.insert(uniqueid.clone());
                        keys.uniqueids.insert(uniqueid.clone())
                    }
                };
                keys.code_times = around(keys.code_times, *at);
                (*lead_id, *at)
            }
            Detail::Posted(posted) => {
                keys.uniqueids.insert(posted.uniqueid.clone());
                keys.caller_codes.insert(post_name(&posted.uniqueid));
                keys.caller_codes.extend(posted.caller_code.clone());
                // The client may have seen another channel of the call.
                if let (Some(second), Some((_, number))) =
                    (named_second(&posted.uniqueid), &posted.said.phone_number)
                {
                    keys.near_numbers.insert((second, number.clone()));
                }
                keys.dids
                    .extend(posted.said.did.clone().map(|(_, did)| did));
                keys.code_times = around(keys.code_times, posted.at);
                let own = named_second(&posted.uniqueid).unwrap_or(posted.at);
                keys.code_times = around(keys.code_times, own);
                (None, posted.at)
            }
            Detail::Status(_) | Detail::LookedUp(_) => continue,
        };
        if let Some(lead) = lead {
            keys.lead_ids.insert(lead);
            let (first, last) = keys.lead_times.unwrap_or((at, at));
            keys.lead_times = Some((first.min(at), last.max(at)));
        }
    }
    if let Some((first, last)) = keys.lead_times {
        keys.lead_times = Some((
            first.saturating_sub(LEAD_WINDOW_SECONDS),
            last.saturating_add(LEAD_WINDOW_SECONDS),
        ));
    }
    keys
}

/// Times, and those within which a code named at this one means the same dial.
fn around(times: Option<(i64, i64)>, at: i64) -> Option<(i64, i64)> {
    let from = at.saturating_sub(CODE_WINDOW_SECONDS);
    let until = at.saturating_add(CODE_WINDOW_SECONDS);
    let (first, last) = times.unwrap_or((from, until));
    Some((first.min(from), last.max(until)))
}

/// What the loaded states lead to: the calls of the loaded dials and the dials
/// of the loaded calls, as far as they were not asked for before. A dial leads to
/// its lead's calls and dials too: `vicidial_dial_cid_log` does not name the lead,
/// and what is known of a call may stand in a row that names no caller code. A
/// call that is deleted by its `uniqueid` alone leads to its twins, and one that
/// gets another key to what else is of its lead.
#[must_use]
pub fn further_keys(facts: &[Fact], asked: &Keys, loaded: &Loaded) -> Keys {
    let uniqueids = loaded.dials.values().filter_map(|d| d.uniqueid.as_ref());
    // A code that was asked for may have been so for another year's dial.
    let has_asked = |code: &String, at| {
        let covers = |(from, until)| around(None, at).is_some_and(|(a, b)| from <= a && b <= until);
        asked.caller_codes.contains(code) && asked.code_times.is_none_or(covers)
    };
    let mut caller_codes = BTreeSet::new();
    let mut code_times = None;
    for call in loaded.calls.values() {
        if let Some(code) = &call.caller_code
            && !has_asked(code, call.started_at)
        {
            caller_codes.insert(code.clone());
            code_times = around(code_times, call.started_at);
        }
    }
    let mut of_posts = BTreeSet::new();
    for (key, call) in &loaded.calls {
        // Should it be another's, what was posted of it is that one's too.
        let is_asked = asked.uniqueids.contains(&key.uniqueid);
        if !is_asked && asked.want_near(key, call) {
            of_posts.insert(key.uniqueid.clone());
        }
        if call.origin == CallOrigin::Posted && !is_asked {
            of_posts.insert(key.uniqueid.clone());
            caller_codes.insert(post_name(&key.uniqueid));
            code_times = around(code_times, call.started_at);
        }
    }
    let mut lead_ids = BTreeSet::new();
    let mut lead_times: Option<(i64, i64)> = None;
    for dial in loaded.dials.values().filter(|dial| dial.posted.is_some()) {
        // It may have a name of its own, under which more was posted.
        if let Some(uniqueid) = &dial.uniqueid
            && !has_asked(&post_name(uniqueid), dial.dialed_at)
        {
            caller_codes.insert(post_name(uniqueid));
            code_times = around(code_times, dial.dialed_at);
        }
    }
    for (key, dial) in &loaded.dials {
        let Some(lead) = dial.lead_id else {
            continue;
        };
        let first = dial.dialed_at.saturating_sub(LEAD_WINDOW_SECONDS);
        let last = dial.dialed_at.saturating_add(LEAD_WINDOW_SECONDS);
        let is_asked = asked.lead_ids.contains(&lead)
            && asked
                .lead_times
                .is_some_and(|(from, to)| from <= first && last <= to);
        if asked.caller_codes.contains(&key.caller_code) && !is_asked {
            lead_ids.insert(lead);
            let (earliest, latest) = lead_times.unwrap_or((first, last));
            lead_times = Some((first.min(earliest), last.max(latest)));
        }
    }
    let mut named: BTreeSet<&String> = BTreeSet::new();
    for fact in facts {
        if let Detail::CallDeleted {
            uniqueid,
            lead_id: None,
            ..
        } = &fact.detail
        {
            named.insert(uniqueid);
        }
        if let Detail::CallAssigned(assigned) = &fact.detail {
            for (uniqueid, lead) in &assigned.moved {
                named.insert(uniqueid);
                lead_ids.insert(*lead);
            }
            if assigned.set.moves() {
                lead_ids.extend(assigned.set.lead_id);
                named.extend(&assigned.uniqueids);
            }
        }
    }
    for (key, call) in &loaded.calls {
        if named.contains(&key.uniqueid) {
            lead_ids.insert(key.lead_id);
            let first = call.started_at.saturating_sub(LEAD_WINDOW_SECONDS);
            let last = call.started_at.saturating_add(LEAD_WINDOW_SECONDS);
            let (earliest, latest) = lead_times.unwrap_or((first, last));
            lead_times = Some((first.min(earliest), last.max(latest)));
        }
    }
    Keys {
        lead_ids,
        lead_times,
        code_times,
        uniqueids: uniqueids
            .filter(|uniqueid| !asked.uniqueids.contains(*uniqueid))
            .cloned()
            .chain(of_posts)
            .collect(),
        caller_codes,
        ..Keys::default()
    }
}
