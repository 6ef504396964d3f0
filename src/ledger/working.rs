//! The states that a batch touches, while its facts are applied to them.
//!
//! Facts arrive in the binlog's order, but what belongs together does not: the
//! caller code of a dialer's call comes after the call, that of a manual call
//! before it, and the carrier's row before or after both. So each fact changes
//! its own state and then looks at the others again.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::Checkpoint;
use crate::ledger::{
    Attribution, AuditEntry, Call, CallKey, ChangeSet, Dial, DialKey, Loaded, Rules,
};
use crate::vicidial::{CallBefore, CallRow, CarrierEnding, Detail, Fact, Origin};

/// A batch at work.
#[derive(Debug)]
pub struct Working {
    pub(super) loaded: Loaded,
    pub(super) calls: BTreeMap<CallKey, Call>,
    /// Key that the store has for a call, under the key that the call has now.
    pub(super) stored_keys: BTreeMap<CallKey, CallKey>,
    /// Stored rows whose key another call took.
    pub(super) replaced: BTreeSet<CallKey>,
    pub(super) dials: BTreeMap<DialKey, Dial>,
    pub(super) audit: Vec<AuditEntry>,
    calls_of_lead: BTreeMap<u64, BTreeSet<CallKey>>,
    dials_of_lead: BTreeMap<u64, BTreeSet<DialKey>>,
    dials_of_uniqueid: BTreeMap<String, BTreeSet<DialKey>>,
}

impl Working {
    /// Starts from what the store has.
    #[must_use]
    pub fn new(loaded: Loaded) -> Self {
        let mut working = Self {
            calls: BTreeMap::new(),
            stored_keys: BTreeMap::new(),
            replaced: BTreeSet::new(),
            dials: BTreeMap::new(),
            audit: Vec::new(),
            calls_of_lead: BTreeMap::new(),
            dials_of_lead: BTreeMap::new(),
            dials_of_uniqueid: BTreeMap::new(),
            loaded: Loaded::default(),
        };
        for (key, call) in &loaded.calls {
            working.stored_keys.insert(key.clone(), key.clone());
            working.put_call(key.clone(), call.clone());
        }
        for (key, dial) in &loaded.dials {
            working.put_dial(key.clone(), dial.clone());
        }
        working.loaded = loaded;
        working
    }

    /// Applies one fact. Facts about statuses change the rules for those behind them.
    pub fn apply(&mut self, rules: &mut Rules, fact: &Fact) {
        let origin = &fact.origin;
        match &fact.detail {
            Detail::Call { before, row } => self.call(rules, origin, before.as_ref(), row),
            Detail::CallDeleted {
                uniqueid, lead_id, ..
            } => self.deleted(rules, origin, uniqueid, *lead_id),
            Detail::Link {
                uniqueid,
                caller_code,
                lead_id,
                at,
            } => self.link(rules, origin, uniqueid, caller_code, *lead_id, *at),
            Detail::Dial {
                caller_code,
                lead_id,
                did,
                at,
                leading,
            } => {
                let did = did
                    .clone()
                    .filter(|did| rules.create_dids || self.loaded.dids.contains(did));
                let key = self.dial_key(caller_code, *at);
                self.dial(rules, origin, &key, *lead_id, did, *at, *leading);
            }
            Detail::Carrier {
                uniqueid,
                caller_code,
                lead_id,
                at,
                ending,
            } => self.carrier(
                rules,
                origin,
                uniqueid,
                caller_code.as_deref(),
                *lead_id,
                *at,
                ending,
            ),
            Detail::Status(change) => rules.statuses.apply(change),
        }
    }

    fn call(&mut self, rules: &Rules, origin: &Origin, before: Option<&CallBefore>, row: &CallRow) {
        let key = CallKey {
            uniqueid: row.uniqueid.clone(),
            lead_id: row.lead_id,
        };
        let old_key = before.map(|before| CallKey {
            uniqueid: before.uniqueid.clone(),
            lead_id: before.lead_id,
        });
        let renamed = old_key.is_some_and(|old| {
            let renamed = old != key;
            if renamed {
                self.move_call(&old, &key);
            }
            renamed
        });
        let known = self.take_call(&key);
        let is_new = known.is_none();
        let mut call = known.unwrap_or_default();
        let mut previous = std::mem::replace(&mut call.disposition, row.status.clone());
        let moved = call.started_at != row.started_at;
        call.phone_number.clone_from(&row.phone_number);
        call.campaign_id.clone_from(&row.campaign_id);
        call.agent_id.clone_from(&row.user);
        call.list_id = row.list_id;
        call.duration_seconds = row.length_in_sec;
        call.term_reason.clone_from(&row.term_reason);
        call.called_count = row.called_count;
        call.ended_at = row.ended_at;
        call.updated_at = call.updated_at.max(origin.time);
        if is_new || moved {
            call.started_at = row.started_at;
            call.day = rules.zone.day(row.started_at);
        }
        if is_new || moved || renamed || call.attribution == Attribution::None {
            self.attribute(&key, &mut call);
        }
        // VICIdial writes a row again only when the call is there.
        call.removed = false;
        rules.judge(&mut call);
        // What the row image says, not what is known: so a replay over newer
        // states writes the same entries and no others.
        if let Some(before) = before {
            previous.clone_from(&before.status);
        }
        if previous != call.disposition && rules.is_final(&call.disposition) {
            self.audit.push(AuditEntry {
                event: origin.to_event(),
                key: key.clone(),
                old: previous,
                new: call.disposition.clone(),
                did: call.did.clone(),
                at: origin.time,
            });
        }
        self.put_call(key, call);
    }

    /// The duplicate of a call that VICIdial removes stops counting: another row
    /// of the same lead began in the same second. Any other row was archived.
    fn deleted(&mut self, rules: &Rules, origin: &Origin, uniqueid: &str, lead_id: u64) {
        let key = CallKey {
            uniqueid: uniqueid.to_owned(),
            lead_id,
        };
        let second = |uniqueid: &str| uniqueid.split('.').next().map(str::to_owned);
        let has_twin = self
            .calls_of_lead
            .get(&lead_id)
            .into_iter()
            .flatten()
            .filter(|other| **other != key && second(&other.uniqueid) == second(uniqueid))
            .any(|other| self.calls.get(other).is_some_and(|call| !call.removed));
        if !has_twin {
            return;
        }
        if let Some(mut call) = self.take_call(&key) {
            call.removed = true;
            call.updated_at = call.updated_at.max(origin.time);
            rules.judge(&mut call);
            self.put_call(key, call);
        }
    }

    fn link(
        &mut self,
        rules: &Rules,
        origin: &Origin,
        uniqueid: &str,
        caller_code: &str,
        lead_id: Option<u64>,
        at: i64,
    ) {
        let key = self.dial_key(caller_code, at);
        let mut dial = self.take_dial(rules, &key);
        dial.lead_id = dial.lead_id.or(lead_id);
        // The newest: the call may have changed its uniqueid since.
        dial.uniqueid = Some(uniqueid.to_owned());
        self.put_dial(key.clone(), dial);
        self.look_again(rules, origin, &key);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one fact")]
    fn dial(
        &mut self,
        rules: &Rules,
        origin: &Origin,
        key: &DialKey,
        lead_id: Option<u64>,
        did: Option<String>,
        at: i64,
        leading: bool,
    ) {
        let mut dial = self.take_dial(rules, key);
        dial.lead_id = dial.lead_id.or(lead_id);
        if did.is_some() && (leading || dial.did.is_none()) {
            dial.did = did;
        }
        if leading || !dial.counted {
            dial.dialed_at = at;
            dial.day = rules.zone.day(at);
        }
        dial.counted = true;
        self.put_dial(key.clone(), dial);
        self.look_again(rules, origin, key);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one fact")]
    fn carrier(
        &mut self,
        rules: &Rules,
        origin: &Origin,
        uniqueid: &str,
        caller_code: Option<&str>,
        lead_id: Option<u64>,
        at: i64,
        ending: &CarrierEnding,
    ) {
        if let Some(code) = caller_code {
            let key = self.dial_key(code, at);
            let mut dial = self.take_dial(rules, &key);
            dial.lead_id = dial.lead_id.or(lead_id);
            dial.hangup_cause = Some(ending.hangup_cause);
            dial.dial_status.clone_from(&ending.dial_status);
            dial.sip_code = ending.sip_code;
            dial.sip_reason.clone_from(&ending.sip_reason);
            self.put_dial(key.clone(), dial);
            self.look_again(rules, origin, &key);
            return;
        }
        for key in self.calls_with(uniqueid) {
            if let Some(mut call) = self.take_call(&key) {
                call.hangup_cause = Some(ending.hangup_cause);
                call.sip_code = ending.sip_code;
                call.sip_reason.clone_from(&ending.sip_reason);
                rules.judge(&mut call);
                self.put_call(key, call);
            }
        }
    }

    fn dial_key(&self, code: &str, at: i64) -> DialKey {
        self.nearest(code, at).unwrap_or_else(|| DialKey {
            caller_code: code.to_owned(),
            opened_at: at,
        })
    }

    fn calls_with(&self, uniqueid: &str) -> Vec<CallKey> {
        let first = CallKey {
            uniqueid: uniqueid.to_owned(),
            lead_id: 0,
        };
        self.calls
            .range(first..)
            .take_while(|(key, _)| key.uniqueid == uniqueid)
            .map(|(key, _)| key.clone())
            .collect()
    }

    fn move_call(&mut self, old: &CallKey, new: &CallKey) {
        self.rename_dials(old, new);
        let Some(mut call) = self.take_call(old) else {
            return;
        };
        if let Some(taken) = self.take_call(new) {
            if let Some(stored) = self.stored_keys.remove(new) {
                self.replaced.insert(stored);
            }
            keep_links(&mut call, taken);
        }
        if let Some(stored) = self.stored_keys.remove(old) {
            self.stored_keys.insert(new.clone(), stored);
        }
        self.put_call(new.clone(), call);
    }

    /// Later rows of the carrier log find the call through its dial. The call
    /// itself may have moved already, before a replay.
    fn rename_dials(&mut self, old: &CallKey, new: &CallKey) {
        let of_old = self.dials_of_uniqueid.remove(&old.uniqueid);
        for key in of_old.unwrap_or_default() {
            let Some(mut dial) = self.dials.remove(&key) else {
                continue;
            };
            if dial.lead_id.is_none_or(|lead| lead == old.lead_id) {
                dial.uniqueid = Some(new.uniqueid.clone());
            }
            self.put_dial(key, dial);
        }
    }

    fn take_call(&mut self, key: &CallKey) -> Option<Call> {
        if let Some(keys) = self.calls_of_lead.get_mut(&key.lead_id) {
            keys.remove(key);
        }
        self.calls.remove(key)
    }

    fn put_call(&mut self, key: CallKey, call: Call) {
        self.calls_of_lead
            .entry(key.lead_id)
            .or_default()
            .insert(key.clone());
        self.calls.insert(key, call);
    }

    fn take_dial(&mut self, rules: &Rules, key: &DialKey) -> Dial {
        let Some(dial) = self.dials.remove(key) else {
            return Dial {
                dialed_at: key.opened_at,
                day: rules.zone.day(key.opened_at),
                ..Dial::default()
            };
        };
        if let Some(keys) = dial.lead_id.and_then(|l| self.dials_of_lead.get_mut(&l)) {
            keys.remove(key);
        }
        let uniqueid = dial.uniqueid.as_ref();
        if let Some(keys) = uniqueid.and_then(|u| self.dials_of_uniqueid.get_mut(u)) {
            keys.remove(key);
        }
        dial
    }

    fn put_dial(&mut self, key: DialKey, dial: Dial) {
        if let Some(lead) = dial.lead_id {
            let keys = self.dials_of_lead.entry(lead).or_default();
            keys.insert(key.clone());
        }
        if let Some(uniqueid) = &dial.uniqueid {
            let keys = self.dials_of_uniqueid.entry(uniqueid.clone()).or_default();
            keys.insert(key.clone());
        }
        self.dials.insert(key, dial);
    }
}

/// What other tables said of a call, taken over from the state that had its key
/// before: VICIdial has one row a key, so it is the same call, read twice.
fn keep_links(call: &mut Call, before: Call) {
    call.caller_code = before.caller_code.or(call.caller_code.take());
    if before.attribution > call.attribution {
        call.attribution = before.attribution;
        call.did = before.did;
    }
    if call.hangup_cause.is_none() {
        call.hangup_cause = before.hangup_cause;
        call.sip_code = before.sip_code;
        call.sip_reason = before.sip_reason;
    }
    call.updated_at = call.updated_at.max(before.updated_at);
}

/// What is around a change: whose it is, and the positions before and behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The source's name.
    pub source: String,
    /// Its tenant.
    pub tenant: String,
    /// The store's checkpoint as last seen.
    pub expected: Option<Checkpoint>,
    /// The checkpoint behind the change.
    pub checkpoint: Checkpoint,
}

impl Working {
    /// The difference between what was loaded and what is now.
    #[must_use]
    pub fn finish(self, frame: Frame) -> ChangeSet {
        super::settle::settle(self, frame)
    }
}

mod attribution;
#[cfg(test)]
mod tests;
