//! What rows of VICIdial's archive tables are good for: what nobody else says.
//!
//! An archiver copies every row with INSERT IGNORE at each of its runs, so an
//! archive keeps the state that a row had at the first run after it was written,
//! and whatever happened to the row later is not there: a disposition is still
//! INCALL, a carrier's answer is missing, and the duplicate of a call that
//! VICIdial has removed since is still there.

use crate::ledger::rules::Rules;
use crate::ledger::working::Working;
use crate::ledger::{CallKey, Dial, DialKey};
use crate::vicidial::{CallName, Detail, Fact};

impl Working {
    /// Applies a row of an archive table as if its INSERT were seen now, but only
    /// where nothing is known in its place. True when it was applied.
    pub fn apply_archived(&mut self, rules: &mut Rules, fact: &Fact) -> bool {
        let adds = match &fact.detail {
            Detail::Call { row, .. } => {
                let key = CallKey {
                    uniqueid: row.uniqueid.clone(),
                    lead_id: row.lead_id,
                };
                !self.calls.contains_key(&key)
                    && !self.has_twin(&key)
                    && self.of_another_lead(&key, row.started_at).is_none()
            }
            Detail::Link {
                caller_code, at, ..
            } => self
                .dial(caller_code, *at)
                .is_none_or(|dial| dial.uniqueid.is_none()),
            Detail::Dial {
                caller_code,
                at,
                leading,
                sip,
                ..
            } => self.dial(caller_code, *at).is_none_or(|dial| {
                // A dial is copied each night, and its answer may have come in between.
                let is_answered = sip.is_some() && dial.sip_code.is_none();
                !dial.counted || is_answered || (dial.did.is_none() && !leading)
            }),
            Detail::Carrier {
                uniqueid,
                caller_code,
                at,
                ..
            } => self
                .dial(caller_code.as_ref().unwrap_or(uniqueid), *at)
                .is_none_or(|dial| dial.hangup_cause.is_none()),
            Detail::Reported { name, at, .. } => {
                let (CallName::CallerCode(code) | CallName::Uniqueid(code)) = name;
                self.dial(code, *at)
                    .is_none_or(|dial| dial.reported.is_none())
            }
            // There is no archive of what these say.
            Detail::CallRead(_)
            | Detail::CallOfLead(_)
            | Detail::CallDeleted { .. }
            | Detail::CallsOfSecond { .. }
            | Detail::CallAssigned(_)
            | Detail::Posted(_)
            | Detail::LookedUp(_)
            | Detail::Status(_) => false,
        };
        let too_old = self.too_old;
        if adds {
            self.apply(rules, fact);
        }
        adds && self.too_old == too_old
    }

    fn dial(&self, code: &str, at: i64) -> Option<&Dial> {
        let key: DialKey = self.nearest(code, at)?;
        self.dials.get(&key)
    }

    /// Another row of the same call is known: this one is its duplicate, which
    /// VICIdial has removed since it was copied.
    fn has_twin(&self, key: &CallKey) -> bool {
        self.calls_of_second(&key.uniqueid, key.lead_id)
            .filter(|other| *other != key)
            .any(|other| self.calls.get(other).is_some_and(|call| !call.removed))
    }
}
