//! What differs between the store and VICIdial, and what that comes to.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::engine::backfill::merge::{Merging, NO_NUMBERS};
use crate::ledger::{
    Call, CallKey, Contribution, Counters, Dial, DialKey, Keys, LEAD_WINDOW_SECONDS, Tracked,
};
use crate::source::Finding;
use crate::vicidial::{CallName, Detail, caller_code};

/// Differences told one by one; more are counted.
const TOLD_MAX: usize = 1000;

/// What is compared of a dial: what counts. The rest is part of its call's.
const DIAL_NUMBERS: [&str; 3] = ["did", "counted", "day"];

/// A DID, what a call or dial adds to its counters, and whether it should.
type Move = (String, Counters, bool);

/// How a call or a dial differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The store does not have the call.
    CallMissing,
    /// The store has the call otherwise.
    CallDiffers,
    /// The store does not have the dial.
    DialMissing,
    /// The store has the dial otherwise.
    DialDiffers,
}

/// One field in which a call or a dial differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Its name in the store.
    pub field: String,
    /// What the store has; `None` where it does not have the row.
    pub store: Option<Value>,
    /// What VICIdial's row makes of it.
    pub source: Value,
}

/// A call or a dial that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// How.
    pub kind: Kind,
    /// `uniqueid` of a call, caller code of a dial.
    pub name: String,
    /// The lead, where it is known.
    pub lead_id: Option<u64>,
    /// When the call began, or the dial was made; seconds since 1970 (UTC).
    pub at: i64,
    /// In what.
    pub fields: Vec<Field>,
    /// It was mended.
    pub repaired: bool,
    /// What it takes from a DID's numbers and adds to another's.
    #[serde(skip)]
    moves: Vec<Move>,
}

#[cfg(test)]
impl Difference {
    /// One of these fields, which moves no number.
    pub(crate) fn of(kind: Kind, name: &str, at: i64, fields: Vec<Field>) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            lead_id: Some(42),
            at,
            fields,
            repaired: false,
            moves: Vec::new(),
        }
    }
}

/// What comparing came to.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// The source.
    pub source: String,
    /// Calls from this wall clock of the dialer on, in seconds as if it showed UTC.
    pub since: i64,
    /// And before this one.
    pub until: i64,
    /// Seconds of it that are compared.
    #[serde(skip)]
    pub done: i64,
    /// Calls that were compared.
    pub calls: u64,
    /// Calls that VICIdial has from before the first one that the store has.
    pub not_loaded: u64,
    /// Rows about calls and dials that are older than what is kept, and are not
    /// compared: see [`crate::ledger::Pruned`].
    pub too_old: u64,
    /// When that first one began; seconds since 1970 (UTC).
    pub first_known: Option<i64>,
    /// From when on the store should have every call, whether it has one of that
    /// time or not; seconds since 1970 (UTC).
    pub known_since: Option<i64>,
    /// Calls and dials that the store should have and does not have, and when the
    /// first and the last of them was; seconds since 1970 (UTC).
    pub missing: u64,
    /// When the first of those was.
    pub missing_from: Option<i64>,
    /// When the last of those was.
    pub missing_to: Option<i64>,
    /// Calls and dials that differ.
    pub differing: u64,
    /// Those of them that were mended.
    pub repaired: u64,
    /// The first of them, one by one.
    pub differences: Vec<Difference>,
    /// Those that are not told one by one.
    pub more: u64,
    /// By DID, how its counters would change.
    pub dids: BTreeMap<String, Counters>,
    /// Nobody applies the binlog's newest changes to the store.
    pub is_behind: bool,
    /// Tables that were not read, and what lets them be.
    pub unreadable: Vec<Finding>,
}

/// What differs in a window.
pub(super) struct Window {
    calls: BTreeSet<CallKey>,
    not_loaded: u64,
    too_old: u64,
    /// By name, lead and time.
    differences: BTreeMap<(String, u64, i64), Difference>,
}

impl Verified {
    /// Nothing compared yet.
    pub(crate) fn new(source: &str, since: i64, until: i64) -> Self {
        Self {
            source: source.to_owned(),
            since,
            until,
            done: 0,
            calls: 0,
            not_loaded: 0,
            too_old: 0,
            first_known: None,
            known_since: None,
            missing: 0,
            missing_from: None,
            missing_to: None,
            differing: 0,
            repaired: 0,
            differences: Vec::new(),
            more: 0,
            dids: BTreeMap::new(),
            is_behind: false,
            unreadable: Vec::new(),
        }
    }

    /// From when on a call that the store lacks is missing, and was not merely
    /// never loaded.
    #[must_use]
    pub fn begins(&self) -> Option<i64> {
        let both = [self.first_known, self.known_since];
        both.into_iter().flatten().min()
    }

    /// VICIdial has calls in this time, and the store none: equal is not the word.
    #[must_use]
    pub fn compared_nothing(&self) -> bool {
        self.calls == 0 && self.not_loaded > 0
    }

    /// Takes over what differs.
    pub(super) fn take(&mut self, window: Window) {
        for (_, difference) in window.differences {
            self.differing += 1;
            for (did, counters, is_added) in &difference.moves {
                let of_did = self.dids.entry(did.clone()).or_default();
                if *is_added {
                    *of_did += *counters;
                } else {
                    *of_did -= *counters;
                }
            }
            if matches!(difference.kind, Kind::CallMissing | Kind::DialMissing) {
                let at = difference.at;
                self.missing += 1;
                self.missing_from = Some(self.missing_from.map_or(at, |from| from.min(at)));
                self.missing_to = Some(self.missing_to.map_or(at, |to| to.max(at)));
            }
            if self.differences.len() < TOLD_MAX {
                self.differences.push(difference);
            } else {
                self.more += 1;
            }
        }
        self.dids.retain(|_, counters| !counters.is_zero());
    }

    /// Those of a window were mended.
    pub(super) fn repaired(&mut self, window: &mut Window) {
        for difference in window.differences.values_mut() {
            difference.repaired = true;
            self.repaired += 1;
        }
    }

    pub(super) fn counted(&mut self, window: &Window) {
        self.calls += u64::try_from(window.calls.len()).unwrap_or(u64::MAX);
        self.not_loaded += window.not_loaded;
        self.too_old += window.too_old;
    }

    /// Nothing differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differing == 0
    }
}

impl Window {
    /// What a merge changes. Calls of before the first one that the store has
    /// were never loaded.
    pub(super) fn of(merging: &Merging, verified: &mut Verified) -> Self {
        let known = merging.calls.iter();
        let known = known.filter_map(|key| merging.loaded.calls.get(key));
        let first = known.map(|call| call.started_at).min();
        verified.first_known = verified.first_known.or(first);
        let first_known = verified.begins().unwrap_or(i64::MAX);
        // The first call's dial may be some hours older than it.
        let of_calls = verified.first_known.unwrap_or(i64::MAX);
        let dials_since = of_calls
            .saturating_sub(LEAD_WINDOW_SECONDS)
            .min(first_known);
        let mut window = Self {
            calls: merging.calls.clone(),
            not_loaded: 0,
            too_old: merging.tally.too_old,
            differences: BTreeMap::new(),
        };
        for (before, (key, call)) in merging.working.differing_calls() {
            if before.is_none() && call.started_at < first_known {
                window.calls.remove(key);
                window.not_loaded += 1;
            } else {
                window.call(before, key, call);
            }
        }
        // A dial of before the first call is known where a call asked for it; its
        // own row was never loaded, as those calls were not.
        let not_loaded =
            |known: &Dial, dial: &Dial| known.looked_up && dial.dialed_at < first_known;
        for (before, (key, dial)) in merging.working.differing_dials() {
            let not_loaded = before.is_some_and(|known| not_loaded(known, dial));
            if dial.dialed_at >= dials_since && !not_loaded {
                window.dial(before, key, dial);
            }
        }
        window
    }

    fn call(&mut self, before: Option<(&CallKey, &Call)>, key: &CallKey, call: &Call) {
        let stored = before.map(|(_, call)| call);
        let mut fields = fields(stored, call, |name| !NO_NUMBERS.contains(&name));
        if let Some((stored, _)) = before.filter(|(stored, _)| *stored != key) {
            fields.push(Field {
                field: "uniqueid".to_owned(),
                store: Some(Value::from(stored.uniqueid.as_str())),
                source: Value::from(key.uniqueid.as_str()),
            });
        }
        let moves = [
            (stored.and_then(Call::contribution), false),
            (call.contribution(), true),
        ];
        self.add(Difference {
            kind: stored.map_or(Kind::CallMissing, |_| Kind::CallDiffers),
            name: key.uniqueid.clone(),
            lead_id: Some(key.lead_id),
            at: call.started_at,
            fields,
            repaired: false,
            moves: moves.into_iter().filter_map(moved).collect(),
        });
    }

    fn dial(&mut self, before: Option<&Dial>, key: &DialKey, dial: &Dial) {
        if before.is_none() && !dial.counted {
            return;
        }
        let moves = [
            (before.and_then(Dial::contribution), false),
            (dial.contribution(), true),
        ];
        self.add(Difference {
            kind: before.map_or(Kind::DialMissing, |_| Kind::DialDiffers),
            name: key.caller_code.clone(),
            lead_id: dial.lead_id.or_else(|| caller_code::lead(&key.caller_code)),
            at: dial.dialed_at,
            fields: fields(before, dial, |name| DIAL_NUMBERS.contains(&name)),
            repaired: false,
            moves: moves.into_iter().filter_map(moved).collect(),
        });
    }

    fn add(&mut self, difference: Difference) {
        if !difference.fields.is_empty() {
            let lead_id = difference.lead_id.unwrap_or(0);
            let key = (difference.name.clone(), lead_id, difference.at);
            self.differences.insert(key, difference);
        }
    }

    pub(super) fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }

    /// The differences that were the same before, and the others.
    pub(super) fn split(&self, before: &Self) -> (Self, Self) {
        let (mut same, mut others) = (self.without(), self.without());
        for (key, difference) in &self.differences {
            let side = if before.differences.get(key) == Some(difference) {
                &mut same
            } else {
                &mut others
            };
            side.differences.insert(key.clone(), difference.clone());
        }
        (same, others)
    }

    fn without(&self) -> Self {
        Self {
            calls: self.calls.clone(),
            not_loaded: self.not_loaded,
            too_old: self.too_old,
            differences: BTreeMap::new(),
        }
    }

    /// Whether a row belongs to a call or a dial that differs.
    pub(super) fn is_about(&self, detail: &Detail) -> bool {
        let (lead_id, name) = match detail {
            Detail::Call { row, .. } => (Some(row.lead_id), &row.uniqueid),
            Detail::Link {
                uniqueid, lead_id, ..
            }
            | Detail::Carrier {
                uniqueid, lead_id, ..
            } => (*lead_id, uniqueid),
            Detail::Dial {
                caller_code,
                lead_id,
                ..
            } => (
                lead_id.or_else(|| caller_code::lead(caller_code)),
                caller_code,
            ),
            Detail::Reported { lead_id, name, .. } => {
                let (CallName::CallerCode(name) | CallName::Uniqueid(name)) = name;
                (*lead_id, name)
            }
            Detail::CallRead(_)
            | Detail::CallOfLead(_)
            | Detail::CallDeleted { .. }
            | Detail::CallsOfSecond { .. }
            | Detail::CallAssigned(_)
            | Detail::Posted(_)
            | Detail::LookedUp(_)
            | Detail::Status(_) => return false,
        };
        let mut differing = self.differences.values();
        differing.any(|of| lead_id.is_some_and(|lead| of.lead_id == Some(lead)) || of.name == *name)
    }
}

/// The fields of these names in which two states differ; of a state that the
/// store does not have, all that say something.
fn fields<T: Tracked + Serialize>(
    before: Option<&T>,
    now: &T,
    is_compared: impl Fn(&str) -> bool,
) -> Vec<Field> {
    let values = serde_json::to_value(now).unwrap_or_default();
    let source = |name: &str| values.get(name).cloned().unwrap_or_default();
    if let Some(before) = before {
        let was: Map<String, Value> = now.replaced(before);
        let differing = was.into_iter().filter(|(name, _)| is_compared(name));
        let field = |(field, store): (String, Value)| Field {
            source: source(&field),
            field,
            store: Some(store),
        };
        return differing.map(field).collect();
    }
    let told = [
        "disposition",
        "outcome",
        "did",
        "counted",
        "duration_seconds",
    ];
    let told = told.iter().filter(|name| values.get(**name).is_some());
    let field = |name: &&str| Field {
        field: (*name).to_owned(),
        store: None,
        source: source(name),
    };
    told.map(field).collect()
}

fn moved((contribution, is_added): (Option<Contribution>, bool)) -> Option<Move> {
    contribution.map(|one| (one.did, one.counters, is_added))
}

/// The calls of these keys, to be judged anew.
pub(super) fn page(calls: &[CallKey]) -> Keys {
    Keys {
        uniqueids: calls.iter().map(|key| key.uniqueid.clone()).collect(),
        ..Keys::default()
    }
}
