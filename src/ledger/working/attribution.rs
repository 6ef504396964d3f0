//! Which dial a call is of: by its own caller code, else by its lead.

use std::collections::BTreeSet;

use crate::ledger::rules::{CODE_WINDOW_SECONDS, LEAD_WINDOW_SECONDS, Prefer, Rules};
use crate::ledger::working::Working;
use crate::ledger::{Attribution, Call, CallKey, Dial, DialKey};
use crate::vicidial::{caller_code, second};

/// The DID of a call and how it is known; the DID is `None` where its dial is
/// known to have gone out without one.
fn choose<'d>(
    prefer: Prefer,
    reported: Option<&'d String>,
    by_code: Option<&'d Dial>,
    by_lead: Option<&'d Dial>,
) -> Option<(Option<&'d String>, Attribution)> {
    let reported = reported.map(|did| (Some(did), Attribution::Reported));
    let by_code = by_code.filter(|dial| dial.did.is_some() || dial.is_logged());
    let dialled = match by_code {
        Some(dial) if dial.did.is_some() => Some((dial.did.as_ref(), Attribution::CallerCode)),
        // It went out without a caller ID: an earlier dial of the lead has
        // nothing to say of this call.
        Some(_) => Some((None, Attribution::Lead)),
        None => by_lead.map(|dial| {
            let did = match prefer {
                Prefer::DialLog => dial.did.as_ref().or(dial.reported.as_ref()),
                Prefer::Reported => dial.reported.as_ref().or(dial.did.as_ref()),
            };
            (did, Attribution::Lead)
        }),
    };
    let is_sure = dialled.is_some_and(|(_, way)| way == Attribution::CallerCode);
    match prefer {
        Prefer::DialLog if is_sure => dialled,
        Prefer::DialLog | Prefer::Reported => reported.or(dialled),
    }
}

impl Working {
    /// Looks again at every call that this dial may be the dial of.
    pub(super) fn look_again(&mut self, rules: &Rules, key: &DialKey) {
        let Some(dial) = self.dials.get(key) else {
            return;
        };
        let mut keys: BTreeSet<CallKey> = BTreeSet::new();
        if let Some(uniqueid) = &dial.uniqueid {
            keys.extend(self.calls_with(uniqueid));
        }
        if let Some(lead) = dial.lead_id {
            let span = dial.dialed_at..=dial.dialed_at.saturating_add(LEAD_WINDOW_SECONDS);
            let of_lead = self.calls_of_lead.get(&lead).into_iter().flatten();
            let began_in = |key: &&CallKey| {
                let call = self.calls.get(*key);
                call.is_some_and(|call| span.contains(&call.started_at))
            };
            keys.extend(of_lead.filter(began_in).cloned());
            if let Some(uniqueid) = dial.uniqueid.as_ref().filter(|u| **u == key.caller_code) {
                keys.extend(self.calls_of_second(uniqueid, lead).cloned());
            }
        }
        for key in keys {
            if let Some(mut call) = self.calls.get(&key).cloned() {
                self.attribute(rules, &key, &mut call);
                rules.judge(&mut call);
                self.put_call(key, call);
            }
        }
    }

    /// Finds the call's dial and takes the DID and the carrier's answer from it.
    /// What is known already is kept where nothing better is found: the dial may
    /// be too old to be kept.
    pub(super) fn attribute(&self, rules: &Rules, key: &CallKey, call: &mut Call) {
        if call.caller_code.is_none() {
            call.caller_code = self.code_of(key);
        }
        let by_code = call
            .caller_code
            .as_ref()
            .and_then(|code| self.nearest(code, call.started_at))
            .and_then(|key| self.dials.get(&key));
        // Its own dial may be deleted, and one of its lead be left.
        let is_old = self.loaded.pruned.has_dial(call.started_at);
        let keeps = is_old && self.stored_keys.contains_key(key);
        let by_lead = self.newest_of_lead(key.lead_id, call.started_at);
        let by_lead = by_lead.filter(|_| !keeps);
        let unnamed = self.said_of(key);
        let mut own = by_code.into_iter().chain(unnamed);
        let said = self.said(key, call);
        let own_ending = own.clone().find(|dial| dial.has_ending());
        let ending = own_ending.or(match by_code {
            // Its own dial has no answer, or none yet: what the call has may be
            // that of another dial, taken while nothing better was known.
            Some(_) => by_code,
            None => by_lead,
        });
        let has_answer = call.hangup_cause.is_some() || call.sip_code.is_some();
        if let Some(dial) = ending.filter(|dial| dial.has_ending() || !(is_old && has_answer)) {
            call.hangup_cause = dial.hangup_cause;
            call.sip_code = dial.sip_code;
            call.sip_reason.clone_from(&dial.sip_reason);
        }
        // The carrier's row says more, and is VICIdial's word.
        if let Some((_, cause)) = said.hangup_cause
            && own_ending.is_none()
            && !(is_old && has_answer)
        {
            call.hangup_cause = Some(cause);
            call.sip_code = None;
            call.sip_reason.clear();
        }
        let posted = said.did.map(|(_, did)| did);
        let reported = own.find_map(|dial| dial.reported.as_ref());
        let reported = reported.or(posted.as_ref());
        if let Some((did, way)) = self::choose(rules.prefer, reported, by_code, by_lead)
            && rules.prefer.rank(way) >= rules.prefer.rank(call.attribution)
        {
            call.attribution = if did.is_some() {
                way
            } else {
                Attribution::None
            };
            call.did = did.cloned();
        }
    }

    /// The call's caller code: the first that names its `uniqueid`, since later
    /// ones are those of transfers.
    fn code_of(&self, key: &CallKey) -> Option<String> {
        let codes = self.dials_of_uniqueid.get(&key.uniqueid).into_iter();
        let of_lead = |code: &&DialKey| {
            let lead = self.dials.get(*code).and_then(|dial| dial.lead_id);
            lead.is_none_or(|lead| lead == key.lead_id)
        };
        codes
            .flatten()
            .filter(|code| caller_code::is_outbound(&code.caller_code))
            .filter(of_lead)
            .min_by_key(|code| (code.opened_at, &code.caller_code))
            .map(|code| code.caller_code.clone())
    }

    /// What rows without a caller code say of the call: by its `uniqueid`, or by
    /// that of another channel of the lead's call in the same second.
    fn said_of(&self, key: &CallKey) -> Option<&Dial> {
        let of_lead = self.dials_of_lead.get(&key.lead_id).into_iter().flatten();
        let second = second(&key.uniqueid);
        let by_uniqueid = self
            .dials_of_uniqueid
            .get(&key.uniqueid)
            .into_iter()
            .flatten();
        let by_uniqueid = by_uniqueid.filter(|code| {
            let lead = self.dials.get(code).and_then(|dial| dial.lead_id);
            lead.is_none_or(|lead| lead == key.lead_id)
        });
        let by_second = of_lead.filter(|code| self::second(&code.caller_code) == second);
        by_uniqueid
            .chain(by_second)
            .filter(|code| !caller_code::is_outbound(&code.caller_code))
            .filter_map(|code| self.dials.get(code))
            .find(|dial| dial.has_ending() || dial.reported.is_some())
    }

    /// The calls for which no dial is known at all: only the source can tell.
    pub fn calls_without_a_dial(&self) -> impl Iterator<Item = (&CallKey, &Call)> {
        self.calls.iter().filter(|(key, call)| {
            let changed = self.loaded.calls.get(*key) != Some(*call);
            let of_code = || {
                let code = call.caller_code.as_ref()?;
                self.dials.get(&self.nearest(code, call.started_at)?)
            };
            changed
                && call.did.is_none()
                && !of_code().is_some_and(Dial::is_logged)
                && self.newest_of_lead(key.lead_id, call.started_at).is_none()
        })
    }

    fn newest_of_lead(&self, lead_id: u64, started_at: i64) -> Option<&Dial> {
        let span = started_at.saturating_sub(LEAD_WINDOW_SECONDS)..=started_at;
        self.dials_of_lead
            .get(&lead_id)?
            .iter()
            .filter_map(|key| Some((key, self.dials.get(key)?)))
            .filter(|(_, dial)| dial.is_logged() && span.contains(&dial.dialed_at))
            .max_by_key(|(key, dial)| (dial.dialed_at, *key))
            .map(|(_, dial)| dial)
    }

    /// The use of a caller code that is nearest to a time, within a day.
    pub(super) fn nearest(&self, code: &str, at: i64) -> Option<DialKey> {
        let first = DialKey {
            caller_code: code.to_owned(),
            opened_at: i64::MIN,
        };
        self.dials
            .range(first..)
            .take_while(|(key, _)| key.caller_code == code)
            .map(|(key, _)| (key.opened_at.abs_diff(at), key))
            .filter(|(distance, _)| *distance <= CODE_WINDOW_SECONDS.unsigned_abs())
            .min()
            .map(|(_, key)| key.clone())
    }
}
