//! Calls whose rows are gone or renamed by the time that a statement's rows are
//! read: what became of them follows from what is known and what it says.

use std::collections::BTreeSet;

use crate::ledger::CallKey;
use crate::ledger::rules::Rules;
use crate::ledger::working::Working;
use crate::vicidial::{CallAssigned, CallBefore, CallPatch, CallRow, Pick, Reach, second};

impl Working {
    /// The calls of a lead that began in one second, were not archived by then,
    /// and count as calls.
    pub(super) fn known_in_second(
        &self,
        lead_id: u64,
        second: &str,
        reach: &Reach,
    ) -> Vec<CallKey> {
        let was_there = |key: &&CallKey| {
            let call = self.calls.get(*key);
            call.is_some_and(|call| !call.removed && reach.has(&key.uniqueid, call.started_at))
        };
        let of_second = self.calls_of_second(second, lead_id);
        of_second.filter(was_there).cloned().collect()
    }

    /// A statement renamed or deleted one of the `known` calls of this second
    /// without saying which; see [`crate::vicidial::Detail::CallsOfSecond`].
    pub(super) fn changed_in_second(
        &mut self,
        rules: &Rules,
        (lead_id, of_second): (u64, &str),
        known: &[CallKey],
        present: &[String],
        renamed_to: Option<&String>,
    ) {
        let is_gone = |key: &&CallKey| !present.contains(&key.uniqueid);
        let Some(uniqueid) = renamed_to else {
            // Of duplicates VICIdial deletes the newest.
            if let Some(key) = known.iter().rev().find(is_gone) {
                self.deleted(rules, &key.uniqueid, lead_id);
            }
            return;
        };
        let new = CallKey {
            uniqueid: uniqueid.clone(),
            lead_id,
        };
        let is_new = present.contains(uniqueid) && !self.calls.contains_key(&new);
        let old = if is_new {
            known.iter().find(is_gone)
        } else {
            // The first gets the name, and with the second the statement fails.
            known.first().filter(|old| **old != new && is_gone(old))
        };
        if let Some(old) = old {
            self.move_call(rules, old, &new);
            if let Some(mut call) = self.calls.get(&new).cloned() {
                self.attribute(rules, &new, &mut call);
                rules.judge(&mut call);
                self.put_call(new.clone(), call);
            }
        }
        if !known.is_empty() {
            return;
        }
        // The call was read under its new name only; its dial has the old one.
        let dials = self.dials_of_lead.get(&lead_id).into_iter().flatten();
        let names = dials.filter_map(|key| self.dials.get(key)?.uniqueid.clone());
        let is_old = |name: &String| {
            second(name) == of_second && name != uniqueid && !present.contains(name)
        };
        let old: BTreeSet<String> = names.filter(is_old).collect();
        for uniqueid in old {
            self.rename_dials(&CallKey { uniqueid, lead_id }, &new);
        }
    }

    /// A row was changed. VICIdial has one row of a name: where the call is known
    /// under another lead only, what gave it this one comes later.
    pub(super) fn updated(&mut self, rules: &Rules, before: &CallBefore, row: &CallRow) {
        let key = CallKey {
            uniqueid: row.uniqueid.clone(),
            lead_id: row.lead_id,
        };
        let old = CallKey {
            uniqueid: before.uniqueid.clone(),
            lead_id: before.lead_id,
        };
        let is_known = self.calls.contains_key(&old);
        let other = self.of_another_lead(&key, row.started_at);
        let Some(other) = other.filter(|_| !is_known) else {
            return self.call(rules, Some(before), row);
        };
        let (mut before, mut row) = (before.clone(), row.clone());
        before.lead_id = other.lead_id;
        row.lead_id = other.lead_id;
        self.call(rules, Some(&before), &row);
    }

    /// See [`crate::vicidial::Detail::CallRead`].
    pub(super) fn call_read(&mut self, rules: &Rules, row: &CallRow) {
        let mut row = row.clone();
        let key = CallKey {
            uniqueid: row.uniqueid.clone(),
            lead_id: row.lead_id,
        };
        if let Some(known) = self.of_another_lead(&key, row.started_at) {
            row.lead_id = known.lead_id;
        }
        self.call(rules, None, &row);
    }

    /// See [`crate::vicidial::Detail::CallOfLead`].
    pub(super) fn call_of_lead(&mut self, rules: &Rules, row: &CallRow) {
        let key = CallKey {
            uniqueid: row.uniqueid.clone(),
            lead_id: row.lead_id,
        };
        let is_known =
            self.calls.contains_key(&key) || self.of_another_lead(&key, row.started_at).is_some();
        let of_lead = self.calls_of_lead.get(&row.lead_id).into_iter().flatten();
        let has_twin = of_lead
            .filter_map(|key| self.calls.get(key))
            .any(|call| !call.removed && call.started_at == row.started_at);
        if is_known || !has_twin {
            self.call_read(rules, row);
        }
    }

    /// A statement set columns of calls that were archived or renamed since, or
    /// moved them to another lead.
    pub(super) fn assigned(&mut self, rules: &Rules, assigned: &CallAssigned) {
        for (uniqueid, lead_id) in &assigned.moved {
            self.is_of_lead(rules, uniqueid, *lead_id);
        }
        let named = assigned
            .uniqueids
            .iter()
            .flat_map(|name| self.calls_with(name));
        let of_lead = assigned.lead_id.filter(|_| assigned.uniqueids.is_empty());
        let of_lead = of_lead.and_then(|lead| self.calls_of_lead.get(&lead));
        let known: BTreeSet<CallKey> = named
            .chain(of_lead.into_iter().flatten().cloned())
            .collect();
        let meets = |key: &&CallKey| {
            let of_second = assigned.second.as_deref();
            assigned.lead_id.is_none_or(|lead| lead == key.lead_id)
                && of_second.is_none_or(|wanted| wanted == second(&key.uniqueid))
                && self.calls.get(*key).is_some_and(|call| {
                    !call.removed
                        && call.started_at >= assigned.since
                        && assigned.reach.has(&key.uniqueid, call.started_at)
                        && was(&row(key, call), assigned)
                })
        };
        let meeting = known.iter().filter(meets);
        let time = |key: &&CallKey| self.calls.get(*key).map(|call| call.started_at);
        let reached: Vec<CallKey> = match assigned.pick {
            Pick::All => meeting.cloned().collect(),
            Pick::GreatestUniqueid => meeting.max().cloned().into_iter().collect(),
            Pick::LeastUniqueid => meeting.min().cloned().into_iter().collect(),
            // Of several the server takes the first that it finds.
            Pick::Newest => meeting
                .rev()
                .max_by_key(time)
                .cloned()
                .into_iter()
                .collect(),
            Pick::Oldest => meeting.min_by_key(time).cloned().into_iter().collect(),
        };
        for key in reached {
            let mut present = assigned.present.iter();
            if present.any(|(name, lead)| *name == key.uniqueid && *lead == key.lead_id) {
                continue;
            }
            if let Some(call) = self.calls.get(&key) {
                let mut row = row(&key, call);
                let before = CallBefore {
                    uniqueid: key.uniqueid.clone(),
                    lead_id: key.lead_id,
                    status: row.status.clone(),
                };
                set(&mut row, &assigned.set);
                self.call(rules, Some(&before), &row);
            }
        }
    }

    /// The one row of a `uniqueid` has this lead: the call that had another one
    /// until now has moved.
    fn is_of_lead(&mut self, rules: &Rules, uniqueid: &str, lead_id: u64) {
        let known = self.calls_with(uniqueid).into_iter();
        let others = known.filter(|key| {
            let call = self.calls.get(key);
            key.lead_id != lead_id && call.is_some_and(|call| !call.removed)
        });
        let others: Vec<CallKey> = others.collect();
        for key in others {
            if let Some(call) = self.calls.get(&key) {
                let mut row = row(&key, call);
                let before = CallBefore {
                    uniqueid: key.uniqueid.clone(),
                    lead_id: key.lead_id,
                    status: row.status.clone(),
                };
                row.lead_id = lead_id;
                self.call(rules, Some(&before), &row);
            }
        }
    }
}

/// A call as its row was.
fn row(key: &CallKey, call: &crate::ledger::Call) -> CallRow {
    CallRow {
        uniqueid: key.uniqueid.clone(),
        lead_id: key.lead_id,
        list_id: call.list_id,
        campaign_id: call.campaign_id.clone(),
        status: call.disposition.clone(),
        phone_number: call.phone_number.clone(),
        user: call.agent_id.clone(),
        term_reason: call.term_reason.clone(),
        length_in_sec: call.duration_seconds,
        called_count: call.called_count,
        started_at: call.started_at,
        ended_at: call.ended_at,
    }
}

/// Whether a row was as the statement's conditions want it; texts are compared
/// without regard to case, as the server does.
fn was(row: &CallRow, assigned: &CallAssigned) -> bool {
    let CallPatch {
        uniqueid: _,
        lead_id: _,
        status: _,
        user,
        campaign_id,
        term_reason,
        list_id,
        called_count,
        length_in_sec,
        ended_at,
    } = &assigned.was;
    let text = |wanted: &Option<String>, is: &str| {
        let wanted = wanted.as_ref();
        wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(is))
    };
    let mut statuses = assigned.statuses.iter();
    (assigned.statuses.is_empty() || statuses.any(|one| one.eq_ignore_ascii_case(&row.status)))
        && text(user, &row.user)
        && text(campaign_id, &row.campaign_id)
        && text(term_reason, &row.term_reason)
        && list_id.is_none_or(|wanted| row.list_id == Some(wanted))
        && called_count.is_none_or(|wanted| row.called_count == Some(wanted))
        && length_in_sec.is_none_or(|wanted| row.length_in_sec == Some(wanted))
        && ended_at.is_none_or(|wanted| row.ended_at == Some(wanted))
}

fn set(row: &mut CallRow, patch: &CallPatch) {
    let CallPatch {
        uniqueid,
        lead_id,
        status,
        user,
        campaign_id,
        term_reason,
        list_id,
        called_count,
        length_in_sec,
        ended_at,
    } = patch.clone();
    row.uniqueid = uniqueid.unwrap_or(std::mem::take(&mut row.uniqueid));
    row.lead_id = lead_id.unwrap_or(row.lead_id);
    row.status = status.unwrap_or(std::mem::take(&mut row.status));
    row.user = user.unwrap_or(std::mem::take(&mut row.user));
    row.campaign_id = campaign_id.unwrap_or(std::mem::take(&mut row.campaign_id));
    row.term_reason = term_reason.unwrap_or(std::mem::take(&mut row.term_reason));
    row.list_id = list_id.or(row.list_id);
    row.called_count = called_count.or(row.called_count);
    row.length_in_sec = length_in_sec.or(row.length_in_sec);
    row.ended_at = ended_at.filter(|epoch| *epoch > 0).or(row.ended_at);
}
