//! The states that a batch touches, while its facts are applied to them.
//!
//! Facts arrive in the binlog's order, but what belongs together does not: the
//! caller code of a dialer's call comes after the call, that of a manual call
//! before it, and the carrier's row before or after both. So each fact changes
//! its own state and then looks at the others again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::checkpoint::Checkpoint;
use crate::landmark::Landmark;
use crate::ledger::{
    Attribution, AuditEntry, Call, CallKey, CallOrigin, ChangeEntry, ChangeSet, Dial, DialKey,
    Keys, Loaded, Rules, Subject, Tracked as _,
};
use crate::vicidial::{CallBefore, CallRow, Detail, Fact, Origin, StatusBook, second};

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
    pub(super) history: BTreeMap<Subject, Vec<ChangeEntry>>,
    /// The row image at work, and its table.
    origin: Origin,
    table: &'static str,
    /// The rows at work were found by SELECT.
    looks_up: bool,
    /// Rows about calls and dials that may have been deleted.
    too_old: u64,
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
            history: BTreeMap::new(),
            origin: Origin::new(&Arc::from(""), 0, 0, 0),
            table: "",
            looks_up: false,
            too_old: 0,
            calls_of_lead: BTreeMap::new(),
            dials_of_lead: BTreeMap::new(),
            dials_of_uniqueid: BTreeMap::new(),
            loaded: Loaded::default(),
        };
        for (key, call) in &loaded.calls {
            working.stored_keys.insert(key.clone(), key.clone());
            working.hold_call(key.clone(), call.clone());
        }
        for (key, dial) in &loaded.dials {
            working.hold_dial(key.clone(), dial.clone());
        }
        working.loaded = loaded;
        working
    }

    /// Takes over states that were not loaded before; those at work stay.
    pub fn load_more(&mut self, more: &Loaded) {
        for (key, call) in &more.calls {
            if !self.loaded.calls.contains_key(key) && !self.calls.contains_key(key) {
                self.stored_keys.insert(key.clone(), key.clone());
                self.hold_call(key.clone(), call.clone());
                self.loaded.calls.insert(key.clone(), call.clone());
            }
        }
        for (key, dial) in &more.dials {
            if !self.dials.contains_key(key) {
                self.hold_dial(key.clone(), dial.clone());
                self.loaded.dials.insert(key.clone(), dial.clone());
            }
        }
        self.loaded.dids.extend(more.dids.iter().cloned());
    }

    /// How many rows were about a call or a dial that is older than what is kept
    /// ([`crate::ledger::Pruned`]), and not known: they count for nothing.
    #[must_use]
    pub fn too_old(&self) -> u64 {
        self.too_old
    }

    /// True for a call that is in the store or will be.
    #[must_use]
    pub fn knows(&self, key: &CallKey) -> bool {
        self.calls.contains_key(key)
    }

    /// Applies one fact. Facts about statuses change the rules for those behind them.
    pub fn apply(&mut self, rules: &mut Rules, fact: &Fact) {
        self.origin = fact.origin.clone();
        self.table = fact.detail.table();
        self.take(rules, &fact.detail);
    }

    fn take(&mut self, rules: &mut Rules, detail: &Detail) {
        match detail {
            Detail::Call { before, row } => match before {
                Some(before) => self.updated(rules, before, row),
                None => self.call(rules, None, row),
            },
            Detail::CallRead(row) => self.call_read(rules, row),
            Detail::CallOfLead(row) => self.call_of_lead(rules, row),
            Detail::CallDeleted {
                uniqueid, lead_id, ..
            } => {
                let lead_ids = match lead_id {
                    Some(lead_id) => vec![*lead_id],
                    None => self
                        .calls_with(uniqueid)
                        .into_iter()
                        .map(|key| key.lead_id)
                        .collect(),
                };
                for lead_id in lead_ids {
                    self.deleted(rules, uniqueid, lead_id);
                }
            }
            Detail::CallsOfSecond {
                lead_id,
                second,
                reach,
                present,
                renamed_to,
            } => {
                let known = self.known_in_second(*lead_id, second, reach);
                let to = renamed_to.as_ref();
                self.changed_in_second(rules, (*lead_id, second), &known, present, to);
            }
            Detail::CallAssigned(assigned) => self.assigned(rules, assigned),
            Detail::Link {
                uniqueid,
                caller_code,
                lead_id,
                at,
            } => self.of_dial(rules, caller_code, *at, *lead_id, |dial| {
                // The newest: the call may have changed its uniqueid since.
                dial.uniqueid = Some(uniqueid.clone());
            }),
            Detail::Dial {
                caller_code,
                lead_id,
                did,
                at,
                leading,
                sip,
            } => {
                let did = did.as_ref().filter(|did| self.may_count(rules, did));
                let looked_up = self.looks_up || self.was_deleted(caller_code, *at);
                self.of_dial(rules, caller_code, *at, *lead_id, |dial| {
                    if let Some(did) = did.filter(|_| *leading || dial.did.is_none()) {
                        dial.did = Some(did.clone());
                    }
                    // A carrier row decides alone: VICIdial finds its dial log
                    // rows by a code that comes again a year later.
                    if let Some(sip) = sip.as_ref().filter(|_| dial.hangup_cause.is_none()) {
                        dial.sip_code = Some(sip.code);
                        dial.sip_reason.clone_from(&sip.reason);
                    }
                    if *leading || !dial.is_logged() {
                        dial.dialed_at = *at;
                        dial.day = rules.zone.day(*at);
                    }
                    dial.counted |= !looked_up;
                    dial.looked_up = looked_up && !dial.counted;
                });
            }
            Detail::Reported {
                name,
                lead_id,
                did,
                at,
            } => self.reported(rules, name, (*at, *lead_id), did),
            Detail::Posted(posted) => self.posted(rules, posted),
            Detail::Carrier {
                uniqueid,
                caller_code,
                lead_id,
                at,
                ending,
            } => {
                let code = caller_code.as_ref().unwrap_or(uniqueid);
                self.of_dial(rules, code, *at, *lead_id, |dial| {
                    if caller_code.is_none() {
                        dial.uniqueid = Some(uniqueid.clone());
                    }
                    dial.hangup_cause = Some(ending.hangup_cause);
                    dial.dial_status.clone_from(&ending.dial_status);
                    dial.sip_code = ending.sip_code;
                    dial.sip_reason.clone_from(&ending.sip_reason);
                });
            }
            Detail::Status(change) => Arc::make_mut(&mut rules.statuses).apply(change),
            Detail::LookedUp(detail) => {
                self.looks_up = true;
                self.take(rules, detail);
                self.looks_up = false;
            }
        }
    }

    /// Judges and attributes the calls and dials that `page` names anew, after
    /// the rules or the zone have changed; others are loaded to compare with.
    pub fn recount(&mut self, rules: &Rules, page: &Keys, origin: &Origin) {
        self.origin = origin.clone();
        self.table = "recount";
        for (key, mut dial) in self.dials.clone() {
            if !page.caller_codes.contains(&key.caller_code) {
                continue;
            }
            dial.day = rules.zone.day(dial.dialed_at);
            self.put_dial(key, dial);
        }
        for (key, mut call) in self.calls.clone() {
            if !page.uniqueids.contains(&key.uniqueid) {
                continue;
            }
            call.day = rules.zone.day(call.started_at);
            self.attribute(rules, &key, &mut call);
            rules.judge(&mut call);
            self.put_call(key, call);
        }
    }

    /// True for a dial that is not known as counted and too old to become so: it
    /// may have been counted, and deleted since.
    fn was_deleted(&mut self, code: &str, at: i64) -> bool {
        let known = self.nearest(code, at);
        let known = known.and_then(|key| self.dials.get(&key));
        let is_old = self.loaded.pruned.has_dial(at) && known.is_none_or(|dial| !dial.counted);
        self.too_old += u64::from(is_old && !self.looks_up);
        is_old
    }

    fn may_count(&self, rules: &Rules, did: &str) -> bool {
        rules.create_dids || self.loaded.dids.contains(did)
    }

    fn call(&mut self, rules: &Rules, before: Option<&CallBefore>, row: &CallRow) {
        let key = CallKey {
            uniqueid: row.uniqueid.clone(),
            lead_id: row.lead_id,
        };
        // An INSERT of a known name makes another call, unless its lead is known to
        // change behind it: the former row was archived.
        let old_key = before.map(|before| CallKey {
            uniqueid: before.uniqueid.clone(),
            lead_id: before.lead_id,
        });
        let renamed = old_key.is_some_and(|old| {
            let renamed = old != key;
            if renamed {
                self.move_call(rules, &old, &key);
            }
            renamed
        });
        let known = self.calls.get(&key).cloned();
        let is_new = known.is_none();
        if is_new && self.looks_up {
            return;
        }
        if is_new && self.loaded.pruned.has_call(row.started_at) {
            self.too_old += 1;
            return;
        }
        if is_new {
            self.takes_posts(rules, &key, &row.phone_number);
        }
        let mut call = known.unwrap_or_default();
        call.origin = CallOrigin::Binlog;
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
        // Also when nothing changes: a replay then ends in the same state.
        call.updated_at = call.updated_at.max(self.origin.time);
        if is_new {
            call.opened_at = key.opened_at(row.started_at);
        }
        if is_new || moved {
            call.started_at = row.started_at;
            call.day = rules.zone.day(row.started_at);
        }
        if is_new || moved || renamed || call.attribution == Attribution::None {
            self.attribute(rules, &key, &mut call);
        }
        // VICIdial writes a row again only when the call is there. Of an old one a
        // replay may say so, and the twin that would tell again is deleted.
        call.removed &= self.loaded.pruned.has_call(call.started_at);
        rules.judge(&mut call);
        // What the row image says, not what is known: so a replay over newer
        // states writes the same entries and no others.
        if let Some(before) = before {
            previous.clone_from(&before.status);
        }
        if previous != call.disposition && rules.is_final(&call.disposition) {
            self.audit.push(AuditEntry {
                event: self.origin.to_event(),
                key: key.clone(),
                old: previous,
                new: call.disposition.clone(),
                did: call.did.clone(),
                at: self.origin.time,
            });
        }
        self.put_call(key, call);
    }

    /// The key of a call with the name and the start of one that is not known.
    pub(super) fn of_another_lead(&self, key: &CallKey, started_at: i64) -> Option<CallKey> {
        if self.calls.contains_key(key) {
            return None;
        }
        let mut others = self.calls_with(&key.uniqueid).into_iter();
        others.find(|other| {
            let call = self.calls.get(other);
            call.is_some_and(|call| !call.removed && call.started_at == started_at)
        })
    }

    /// The duplicate of a call that VICIdial removes stops counting: another row
    /// of the same lead began in the same second. Any other row was archived.
    fn deleted(&mut self, rules: &Rules, uniqueid: &str, lead_id: u64) {
        let key = CallKey {
            uniqueid: uniqueid.to_owned(),
            lead_id,
        };
        let has_twin = self
            .calls_of_second(uniqueid, lead_id)
            .filter(|other| **other != key)
            .any(|other| self.calls.get(other).is_some_and(|call| !call.removed));
        if !has_twin {
            return;
        }
        if let Some(mut call) = self.calls.get(&key).cloned() {
            call.removed = true;
            rules.judge(&mut call);
            self.put_call(key, call);
        }
    }

    /// Changes what is known of a dial, and of the calls that it is the dial of.
    fn of_dial(
        &mut self,
        rules: &Rules,
        code: &str,
        at: i64,
        lead_id: Option<u64>,
        change: impl FnOnce(&mut Dial),
    ) {
        let key = self.dial_key(code, at);
        let known = self.dials.get(&key).cloned();
        let mut dial = known.unwrap_or_else(|| Dial {
            dialed_at: key.opened_at,
            day: rules.zone.day(key.opened_at),
            ..Dial::default()
        });
        dial.lead_id = dial.lead_id.or(lead_id);
        let uniqueid = dial.uniqueid.clone();
        change(&mut dial);
        self.put_dial(key.clone(), dial);
        self.follow_posts(rules, uniqueid, &key);
        self.look_again(rules, &key);
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

    /// The calls of a lead that began in the second that a `uniqueid` names:
    /// VICIdial itself takes them for one call (`uniqueid LIKE "epoch%"`).
    pub(super) fn calls_of_second(
        &self,
        uniqueid: &str,
        lead_id: u64,
    ) -> impl Iterator<Item = &CallKey> {
        let wanted = second(uniqueid).to_owned();
        let of_lead = self.calls_of_lead.get(&lead_id).into_iter().flatten();
        of_lead.filter(move |key| second(&key.uniqueid) == wanted)
    }

    fn move_call(&mut self, rules: &Rules, old: &CallKey, new: &CallKey) {
        self.rename_dials(old, new);
        if rules.takes_posts && old.uniqueid != new.uniqueid {
            let (from, to, lead) = (&old.uniqueid, &new.uniqueid, Some(new.lead_id));
            self.goes_by(rules, from, to, lead, self.origin.time);
        }
        let Some(mut call) = self.take_call(old) else {
            return;
        };
        let before = call.clone();
        call.opened_at = new.opened_at(call.opened_at);
        let mut left = None;
        let subject = |key: &CallKey| Subject::Call(key.clone());
        let mut history = self.history.remove(&subject(old)).unwrap_or_default();
        if let Some(taken) = self.take_call(new) {
            self.history.remove(&subject(new));
            if let Some(stored) = self.stored_keys.remove(new) {
                self.replaced.insert(stored);
            }
            left = taken.did.clone().filter(|_| taken.counted);
            keep_links(&mut call, taken);
        }
        if let Some(stored) = self.stored_keys.remove(old) {
            self.stored_keys.insert(new.clone(), stored);
        }
        let mut was = call.replaced(&before);
        was.insert("uniqueid".to_owned(), Value::from(old.uniqueid.as_str()));
        was.insert("lead_id".to_owned(), Value::from(old.lead_id));
        history.push(self.entry(Some(was), left));
        self.history.insert(subject(new), history);
        self.hold_call(new.clone(), call);
    }

    /// Later rows of the carrier log find the call through its dial. The call
    /// itself may have moved already, before a replay.
    fn rename_dials(&mut self, old: &CallKey, new: &CallKey) {
        let of_old = self.dials_of_uniqueid.get(&old.uniqueid).cloned();
        for key in of_old.unwrap_or_default() {
            let Some(mut dial) = self.dials.get(&key).cloned() else {
                continue;
            };
            if dial.lead_id.is_none_or(|lead| lead == old.lead_id) {
                dial.uniqueid = Some(new.uniqueid.clone());
                self.put_dial(key, dial);
            }
        }
    }

    fn take_call(&mut self, key: &CallKey) -> Option<Call> {
        if let Some(keys) = self.calls_of_lead.get_mut(&key.lead_id) {
            keys.remove(key);
        }
        self.calls.remove(key)
    }

    /// Puts a state in the place of the one before, and notes what it replaced.
    fn put_call(&mut self, key: CallKey, mut call: Call) {
        let before = self.calls.get(&key);
        if before == Some(&call) {
            return;
        }
        let was = before.map(|before| call.replaced(before));
        if was.as_ref().is_none_or(|was| !was.is_empty()) {
            let left = before.filter(|b| b.counted).and_then(|b| b.did.clone());
            let left = left.filter(|did| !call.counted || call.did.as_ref() != Some(did));
            let entry = self.entry(was, left);
            let entries = self.history.entry(Subject::Call(key.clone()));
            entries.or_default().push(entry);
        }
        call.updated_at = call.updated_at.max(self.origin.time);
        self.hold_call(key, call);
    }

    fn hold_call(&mut self, key: CallKey, call: Call) {
        let of_lead = self.calls_of_lead.entry(key.lead_id).or_default();
        of_lead.insert(key.clone());
        self.calls.insert(key, call);
    }

    fn put_dial(&mut self, key: DialKey, dial: Dial) {
        let before = self.dials.get(&key);
        if before == Some(&dial) {
            return;
        }
        let was = before.map(|before| dial.replaced(before));
        let left = before.filter(|b| b.counted).and_then(|b| b.did.clone());
        let left = left.filter(|did| !dial.counted || dial.did.as_ref() != Some(did));
        let entry = self.entry(was, left);
        let entries = self.history.entry(Subject::Dial(key.clone()));
        entries.or_default().push(entry);
        self.hold_dial(key, dial);
    }

    fn hold_dial(&mut self, key: DialKey, dial: Dial) {
        let before = self.dials.get(&key);
        let (old_lead, old_uniqueid) = before
            .map(|before| (before.lead_id, before.uniqueid.clone()))
            .unwrap_or_default();
        if old_lead != dial.lead_id {
            if let Some(keys) = old_lead.and_then(|lead| self.dials_of_lead.get_mut(&lead)) {
                keys.remove(&key);
            }
            if let Some(lead) = dial.lead_id {
                let keys = self.dials_of_lead.entry(lead).or_default();
                keys.insert(key.clone());
            }
        }
        if old_uniqueid != dial.uniqueid {
            let of_old = old_uniqueid.and_then(|old| self.dials_of_uniqueid.get_mut(&old));
            if let Some(keys) = of_old {
                keys.remove(&key);
            }
            if let Some(uniqueid) = &dial.uniqueid {
                let keys = self.dials_of_uniqueid.entry(uniqueid.clone()).or_default();
                keys.insert(key.clone());
            }
        }
        self.dials.insert(key, dial);
    }

    fn entry(&self, was: Option<Map<String, Value>>, left: Option<String>) -> ChangeEntry {
        ChangeEntry {
            event: self.origin.to_event(),
            table: self.table.to_owned(),
            was,
            left,
        }
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
    /// What statuses mean behind the change, where that is not in the store.
    pub statuses: Option<StatusBook>,
    /// What was seen on the way.
    pub landmarks: Vec<Landmark>,
    /// The store's checkpoint as last seen.
    pub expected: Option<Checkpoint>,
    /// The checkpoint behind the change.
    pub checkpoint: Checkpoint,
    /// As [`ChangeSet::fencing_token`].
    pub fencing_token: Option<u64>,
}

impl Working {
    /// The difference between what was loaded and what is now.
    #[must_use]
    pub fn finish(self, frame: Frame) -> ChangeSet {
        super::settle::settle(self, frame)
    }
}

mod archived;
mod attribution;
mod differing;
mod gone;
mod posted;
#[cfg(test)]
mod tests;
