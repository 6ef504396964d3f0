//! What is said of calls beside VICIdial's tables: the DID that the dialplan really
//! used, and results that clients of the HTTP API post.
//!
//! # One call, however it is told of
//! What is posted is kept with the dial that it names: by the caller code, else by a
//! name made of the `uniqueid` that the client's channel had. A call of VICIdial's
//! finds it there as it finds the carrier's row. While VICIdial has no row, the posts
//! make a call of lead 0; it is given up for VICIdial's row as soon as that comes, by
//! the same `uniqueid`, or of the same number within [`NEAR_SECONDS`]: the channel that
//! the client saw may be another one of the same call.
//!
//! VICIdial may give a call another `uniqueid`. The old name then stays as that of a
//! dial which says the new one, so that a later post is of the same call.

use crate::ledger::call::{NEAR_SECONDS, named_second, post_name};
use crate::ledger::rules::Rules;
use crate::ledger::working::Working;
use crate::ledger::{AuditEntry, Call, CallKey, CallOrigin, Dial, DialKey};
use crate::vicidial::{CallName, Posted, Said, caller_code};

/// The lead of a call that no row of VICIdial's tells of.
const NO_LEAD: u64 = 0;

impl Working {
    /// See [`crate::vicidial::Detail::Reported`].
    pub(super) fn reported(
        &mut self,
        rules: &Rules,
        name: &CallName,
        (at, lead_id): (i64, Option<u64>),
        did: &String,
    ) {
        let did = Some(did).filter(|did| self.may_count(rules, did)).cloned();
        let (code, uniqueid) = match name {
            CallName::CallerCode(code) => (code, None),
            CallName::Uniqueid(uniqueid) => (uniqueid, Some(uniqueid)),
        };
        self.of_dial(rules, code, at, lead_id, |dial| {
            dial.reported = did;
            dial.uniqueid = uniqueid.cloned().or(dial.uniqueid.take());
        });
    }

    /// See [`crate::vicidial::Detail::Posted`].
    pub(super) fn posted(&mut self, rules: &Rules, posted: &Posted) {
        let mut said = posted.said.clone();
        said.did = said.did.filter(|(_, did)| self.may_count(rules, did));
        let code = posted.caller_code.as_ref();
        let code = code.filter(|code| caller_code::is_outbound(code));
        let own = named_second(&posted.uniqueid).unwrap_or(posted.at);
        let (name, at) = match code {
            Some(code) => (code.clone(), posted.at),
            None => (post_name(&posted.uniqueid), own),
        };
        let known = self.named(&posted.uniqueid, own);
        self.of_dial(rules, &name, at, None, |dial| {
            let mut all = dial.said();
            all.join(said);
            dial.posted = Some(all.to_text());
            if dial.uniqueid.is_none() {
                dial.uniqueid = Some(known);
            }
        });
        let dial = self.nearest(&name, at).and_then(|key| self.dials.get(&key));
        let Some(uniqueid) = dial.and_then(|dial| dial.uniqueid.clone()) else {
            return;
        };
        if code.is_some() && uniqueid != posted.uniqueid {
            // The next post may not know the code.
            self.goes_by(rules, &posted.uniqueid, &uniqueid, None, own);
        }
        let number = posted.said.phone_number.as_ref();
        let near = number.and_then(|(_, number)| self.vicidials_near(&uniqueid, number));
        if let Some(row) = near {
            self.goes_by(rules, &uniqueid, &row.uniqueid, Some(row.lead_id), own);
            return;
        }
        self.posted_call(rules, &uniqueid, code);
    }

    /// The call of VICIdial's that was made to a number when this name says, or nearly
    /// then, where none has the name itself.
    fn vicidials_near(&self, uniqueid: &str, number: &str) -> Option<CallKey> {
        let named = named_second(uniqueid)?;
        if self.has_row(uniqueid) {
            return None;
        }
        let near = self.calls.iter().filter_map(|(key, call)| {
            let distance = named_second(&key.uniqueid)?.abs_diff(named);
            let is_it = call.origin == CallOrigin::Binlog
                && call.phone_number == number
                && distance <= NEAR_SECONDS.unsigned_abs();
            is_it.then_some((distance, key))
        });
        near.min().map(|(_, key)| key.clone())
    }

    /// The `uniqueid` by which a call goes now that once had this one.
    fn named(&self, uniqueid: &str, at: i64) -> String {
        let dial = self.nearest(&post_name(uniqueid), at);
        let dial = dial.filter(|_| !self.has_row(uniqueid));
        let dial = dial.and_then(|key| self.dials.get(&key));
        let now = dial.and_then(|dial| dial.uniqueid.clone());
        now.unwrap_or_else(|| uniqueid.to_owned())
    }

    /// Whether VICIdial tells of a call of this name.
    fn has_row(&self, uniqueid: &str) -> bool {
        let named = self.calls_with(uniqueid);
        let mut named = named.iter().filter_map(|key| self.calls.get(key));
        named.any(|call| call.origin == CallOrigin::Binlog)
    }

    /// The call of this name that only posts tell of, anew from all of them.
    fn posted_call(&mut self, rules: &Rules, uniqueid: &str, code: Option<&String>) {
        if self.has_row(uniqueid) {
            return;
        }
        let key = CallKey {
            uniqueid: uniqueid.to_owned(),
            lead_id: NO_LEAD,
        };
        let known = self.calls.get(&key).cloned();
        let is_new = known.is_none();
        let mut call = known.unwrap_or_default();
        call.caller_code = call.caller_code.take().or(code.cloned());
        let said = self.said(&key, &call);
        let first = said.first_at.unwrap_or(self.origin.time);
        call.started_at = named_second(uniqueid).unwrap_or(first);
        // With the dials went the names that calls had before.
        let pruned = &self.loaded.pruned;
        if is_new && (pruned.has_call(call.started_at) || pruned.has_dial(call.started_at)) {
            self.too_old += 1;
            return;
        }
        if is_new {
            call.opened_at = key.opened_at(call.started_at);
        }
        let previous = std::mem::replace(&mut call.disposition, said.disposition());
        let text = |word: Option<(i64, String)>| word.map(|(_, text)| text).unwrap_or_default();
        call.origin = CallOrigin::Posted;
        call.day = rules.zone.day(call.started_at);
        call.duration_seconds = said.duration.map(|(_, seconds)| seconds);
        call.phone_number = text(said.phone_number);
        call.campaign_id = text(said.campaign_id);
        call.agent_id = text(said.agent_id);
        self.attribute(rules, &key, &mut call);
        rules.judge(&mut call);
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

    /// A row of VICIdial's was seen for the first time: calls that posts have made of
    /// it are given up, and what they said is of this one.
    pub(super) fn takes_posts(&mut self, rules: &Rules, key: &CallKey, number: &str) {
        let second = named_second(&key.uniqueid);
        let of_posts = self.calls_of_lead.get(&NO_LEAD).into_iter().flatten();
        let is_same = |other: &&CallKey| {
            let Some(call) = self.calls.get(*other) else {
                return false;
            };
            let distance = second.map(|second| second.abs_diff(call.started_at));
            let is_near = distance.is_some_and(|distance| distance <= NEAR_SECONDS.unsigned_abs())
                && named_second(&other.uniqueid).is_some()
                && !number.is_empty()
                && call.phone_number == number;
            call.origin == CallOrigin::Posted
                && *other != key
                && (other.uniqueid == key.uniqueid || is_near)
        };
        let same: Vec<CallKey> = of_posts.filter(is_same).cloned().collect();
        for other in same {
            let at = named_second(&other.uniqueid).unwrap_or(self.origin.time);
            self.goes_by(rules, &other.uniqueid, &key.uniqueid, Some(key.lead_id), at);
        }
    }

    /// A dial says another `uniqueid` than before: what was posted of that name is of
    /// this one.
    pub(super) fn follow_posts(&mut self, rules: &Rules, before: Option<String>, key: &DialKey) {
        let Some((before, dial)) = before.zip(self.dials.get(key)) else {
            return;
        };
        let now = dial.uniqueid.clone().filter(|now| *now != before);
        if let Some(now) = now.filter(|_| dial.posted.is_some()) {
            let (at, code) = (dial.dialed_at, key.caller_code.clone());
            self.goes_by(rules, &before, &now, None, at);
            let code = Some(&code).filter(|code| caller_code::is_outbound(code));
            self.posted_call(rules, &now, code);
        }
    }

    /// A call has another name from now on: who knows the old one finds it, and the
    /// call that posts made of that is given up.
    pub(super) fn goes_by(
        &mut self,
        rules: &Rules,
        old: &str,
        new: &str,
        lead_id: Option<u64>,
        at: i64,
    ) {
        let gone = CallKey {
            uniqueid: old.to_owned(),
            lead_id: NO_LEAD,
        };
        let of_posts = self.calls.get(&gone);
        let is_given_up = of_posts.is_some_and(|call| call.origin == CallOrigin::Posted);
        if is_given_up {
            self.give_up(&gone);
        }
        if old == new {
            return;
        }
        let of_old = self.dials_of_uniqueid.get(old).into_iter().flatten();
        let of_old: Vec<DialKey> = of_old.cloned().collect();
        for key in of_old {
            if let Some(mut dial) = self.dials.get(&key).cloned()
                && dial.posted.is_some()
            {
                dial.uniqueid = Some(new.to_owned());
                self.put_dial(key, dial);
            }
        }
        let key = self.dial_key(&post_name(old), named_second(old).unwrap_or(at));
        let mut dial = self.dials.get(&key).cloned().unwrap_or_else(|| Dial {
            dialed_at: key.opened_at,
            day: rules.zone.day(key.opened_at),
            lead_id,
            ..Dial::default()
        });
        dial.uniqueid = Some(new.to_owned());
        self.put_dial(key.clone(), dial);
        self.look_again(rules, &key);
    }

    fn give_up(&mut self, key: &CallKey) {
        self.take_call(key);
        self.history
            .remove(&crate::ledger::Subject::Call(key.clone()));
        if let Some(stored) = self.stored_keys.remove(key) {
            self.replaced.insert(stored);
        }
    }

    /// What was posted of a call, by its own dial and by its `uniqueid`.
    pub(super) fn said(&self, key: &CallKey, call: &Call) -> Said {
        let mut said = Said::default();
        let code = call.caller_code.as_ref();
        let by_code = code.and_then(|code| self.nearest(code, call.started_at));
        let by_code = by_code.and_then(|code| self.dials.get(&code));
        let of_uniqueid = self.dials_of_uniqueid.get(&key.uniqueid);
        let named = of_uniqueid.into_iter().flatten();
        let named = named.filter_map(|code| self.dials.get(code));
        let named = named.filter(|dial| dial.lead_id.is_none_or(|lead| lead == key.lead_id));
        for dial in named.chain(by_code) {
            if dial.posted.is_some() {
                said.join(dial.said());
            }
        }
        said
    }
}
