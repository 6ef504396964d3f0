//! What each row changed in a call or a dial, so that a number can be explained.
//!
//! # Why only old values
//! The present state is in the store. Going back from it, entry by entry, each
//! with the values that it replaced, gives every earlier state and therefore
//! what the call counted for at any time. So an entry costs a few bytes a
//! changed field, and nothing is kept twice.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ledger::{Call, CallKey, Dial, DialKey};

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A call.
    Call(CallKey),
    /// A dial.
    Dial(DialKey),
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeEntry {
    /// Names the row image that brought it, `FILE:OFFSET/ROW@SECONDS`.
    pub event: String,
    /// The table of the row; `recount` for a change of rules.
    pub table: String,
    /// The values that were replaced, by field of [`Call`] or [`Dial`]; `None`
    /// for what was not known before.
    pub was: Option<Map<String, Value>>,
    /// The DID that it stopped counting for.
    #[serde(skip)]
    pub left: Option<String>,
}

impl ChangeEntry {
    /// When the source wrote the row; seconds since 1970 (UTC).
    #[must_use]
    pub fn at(&self) -> Option<i64> {
        self.event.rsplit('@').next()?.parse().ok()
    }
}

/// A state whose changes are kept.
pub trait Tracked {
    /// The old values of the fields in which `self` differs from `before`.
    fn replaced(&self, before: &Self) -> Map<String, Value>;

    /// Puts old values back.
    ///
    /// # Errors
    /// When a value is none of its field.
    fn restore(&mut self, was: &Map<String, Value>) -> Result<(), serde_json::Error>;
}

macro_rules! tracked {
    ($state:ty: $($field:ident),+ $(,)?) => {
        impl Tracked for $state {
            fn replaced(&self, before: &Self) -> Map<String, Value> {
                let mut was = Map::new();
                $(if self.$field != before.$field {
                    // Numbers, texts and flags always are JSON.
                    let old = serde_json::to_value(&before.$field).unwrap_or_default();
                    was.insert(stringify!($field).to_owned(), old);
                })+
                was
            }

            fn restore(&mut self, was: &Map<String, Value>) -> Result<(), serde_json::Error> {
                $(if let Some(old) = was.get(stringify!($field)) {
                    self.$field = serde_json::from_value(old.clone())?;
                })+
                Ok(())
            }
        }
    };
}

// Not the customer's number, which explains nothing, nor `updated_at`, which
// every entry tells by itself.
tracked!(Call: caller_code, did, attribution, campaign_id, agent_id, list_id, disposition, outcome,
    successful, dnc, counted, removed, duration_seconds, term_reason, hangup_cause, sip_code,
    sip_reason, called_count, started_at, ended_at, day, origin);
tracked!(Dial: lead_id, did, reported, looked_up, dialed_at, day, counted, uniqueid, dial_status,
    hangup_cause, sip_code, sip_reason, posted);

/// One change with the states around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<T> {
    /// The change.
    pub entry: ChangeEntry,
    /// The state before; `None` before the first.
    pub before: Option<T>,
    /// The state behind it.
    pub after: T,
}

/// Goes back from the present state through its history, the oldest first.
///
/// # Errors
/// When a kept value is none of its field.
pub fn steps<T: Tracked + Clone>(
    present: &T,
    entries: Vec<ChangeEntry>,
) -> Result<Vec<Step<T>>, serde_json::Error> {
    let mut state = present.clone();
    let mut steps = Vec::with_capacity(entries.len());
    for entry in entries.into_iter().rev() {
        let after = state.clone();
        if let Some(was) = &entry.was {
            state.restore(was)?;
        }
        steps.push(Step {
            before: entry.was.as_ref().map(|_| state.clone()),
            after,
            entry,
        });
    }
    steps.reverse();
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Attribution, Outcome};

    #[test]
    fn old_values_lead_back_to_the_old_state() {
        let before = Call {
            disposition: "INCALL".to_owned(),
            day: "2026-03-01".to_owned(),
            ..Call::default()
        };
        let after = Call {
            did: Some("+13125550100".to_owned()),
            attribution: Attribution::CallerCode,
            disposition: "SALE".to_owned(),
            outcome: Outcome::Answered,
            duration_seconds: Some(-3),
            counted: true,
            ..before.clone()
        };
        let was = after.replaced(&before);
        assert_eq!(
            serde_json::to_string(&was).expect("JSON"),
            r#"{"attribution":"none","counted":false,"did":null,"disposition":"INCALL","duration_seconds":null,"outcome":"other"}"#
        );
        let mut back = after.clone();
        back.restore(&was).expect("its own values");
        assert_eq!(back, before);
        assert!(after.replaced(&after).is_empty());
    }

    #[test]
    fn foreign_values_are_refused() {
        let was = serde_json::from_str(r#"{"counted":"yes"}"#).expect("JSON");
        assert!(Dial::default().restore(&was).is_err());
    }
}
