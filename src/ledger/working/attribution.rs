//! Which dial a call is of: by its own caller code, else by its lead.

use std::collections::BTreeSet;

use crate::ledger::rules::{CODE_WINDOW_SECONDS, LEAD_WINDOW_SECONDS, Rules};
use crate::ledger::working::Working;
use crate::ledger::{Attribution, Call, CallKey, Dial, DialKey};
use crate::vicidial::Origin;

impl Working {
    /// Looks again at every call that this dial may be the dial of.
    pub(super) fn look_again(&mut self, rules: &Rules, origin: &Origin, key: &DialKey) {
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
            keys.extend(
                of_lead
                    .filter(|key| {
                        self.calls
                            .get(key)
                            .is_some_and(|call| span.contains(&call.started_at))
                    })
                    .cloned(),
            );
        }
        for key in keys {
            if let Some(call) = self.calls.get(&key) {
                let mut looked = call.clone();
                self.attribute(&key, &mut looked);
                rules.judge(&mut looked);
                if self.calls.get(&key) != Some(&looked) {
                    looked.updated_at = looked.updated_at.max(origin.time);
                    self.put_call(key, looked);
                }
            }
        }
    }

    /// Finds the call's dial and takes the DID and the carrier's answer from it.
    /// What is known already is kept where nothing better is found: the dial may
    /// be too old to be kept.
    pub(super) fn attribute(&self, key: &CallKey, call: &mut Call) {
        if call.caller_code.is_none() {
            let codes = self.dials_of_uniqueid.get(&key.uniqueid);
            call.caller_code = codes
                .into_iter()
                .flatten()
                .filter(|code| {
                    let lead = self.dials.get(code).and_then(|dial| dial.lead_id);
                    lead.is_none_or(|lead| lead == key.lead_id)
                })
                .min_by_key(|code| (code.opened_at, &code.caller_code))
                .map(|code| code.caller_code.clone());
        }
        let by_code = call
            .caller_code
            .as_ref()
            .and_then(|code| self.nearest(code, call.started_at))
            .and_then(|key| self.dials.get(&key));
        let by_lead = || self.newest_of_lead(key.lead_id, call.started_at);
        // Without an ending of its own, what the call has may be that of another
        // dial of the lead, taken while nothing better was known. Where the
        // carrier's rows name no codes no dial has one, and the call's stays.
        if let Some(dial) = by_code.or_else(by_lead)
            && (dial.hangup_cause.is_some() || self.has_endings(key.lead_id))
        {
            call.hangup_cause = dial.hangup_cause;
            call.sip_code = dial.sip_code;
            call.sip_reason.clone_from(&dial.sip_reason);
        }
        let (dial, way) = match by_code {
            Some(dial) if dial.did.is_some() => (dial, Attribution::CallerCode),
            // The dial log has the dial, and it went out without a caller ID:
            // an earlier dial of the lead has nothing to say of this call.
            Some(dial) if dial.counted => (dial, Attribution::Lead),
            Some(_) | None => match by_lead() {
                Some(dial) => (dial, Attribution::Lead),
                None => return,
            },
        };
        if way >= call.attribution {
            call.did.clone_from(&dial.did);
            call.attribution = match dial.did {
                Some(_) => way,
                None => Attribution::None,
            };
        }
    }

    fn has_endings(&self, lead_id: u64) -> bool {
        let dials = self.dials_of_lead.get(&lead_id).into_iter().flatten();
        dials
            .filter_map(|key| self.dials.get(key))
            .any(|dial| dial.hangup_cause.is_some())
    }

    fn newest_of_lead(&self, lead_id: u64, started_at: i64) -> Option<&Dial> {
        let span = started_at.saturating_sub(LEAD_WINDOW_SECONDS)..=started_at;
        self.dials_of_lead
            .get(&lead_id)?
            .iter()
            .filter_map(|key| Some((key, self.dials.get(key)?)))
            .filter(|(_, dial)| dial.counted && span.contains(&dial.dialed_at))
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
