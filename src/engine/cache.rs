//! States of recent calls and dials, so that the store is asked only for others.
//!
//! A call is changed four to seven times within minutes, and its dial is named
//! by four tables. Entries are complete, as last committed: a `uniqueid` has all
//! calls of it, a caller code all dials of it that were opened within some days.

use std::collections::{BTreeMap, BTreeSet};

use quick_cache::unsync::Cache;

use crate::ledger::{Call, CallKey, ChangeSet, Dial, DialKey, Keys, Loaded};

/// `uniqueid`s kept, and caller codes kept: the calls of the last minutes of
/// the largest installation, at about a kilobyte each.
const ENTRIES_MAX: usize = 8192;

/// A time, in seconds since 1970 (UTC), and a later one.
pub(super) type Times = (i64, i64);

/// How much longer than what a batch is about the times are for which its dials are
/// loaded: so they serve the batches that come next.
const AHEAD_SECONDS: i64 = 7 * 86_400;

/// The times to load dials of, where those of `needed` are meant.
pub(super) fn times_to_load((from, until): Times) -> Times {
    (
        from.saturating_sub(AHEAD_SECONDS),
        until.saturating_add(AHEAD_SECONDS),
    )
}

/// Dials of a caller code.
#[derive(Clone, Debug)]
struct Dials {
    /// All that were opened in these times; `None`: in any.
    of: Option<Times>,
    states: Vec<(DialKey, Dial)>,
}

impl Dials {
    fn have(&self, needed: Option<Times>) -> bool {
        match (self.of, needed) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((from, until)), Some((first, last))) => from <= first && last <= until,
        }
    }
}

/// The states last committed.
#[derive(Debug)]
pub(super) struct StateCache {
    calls: Cache<String, Vec<(CallKey, Call)>>,
    dials: Cache<String, Dials>,
}

impl StateCache {
    pub(super) fn new() -> Self {
        Self {
            calls: Cache::new(ENTRIES_MAX),
            dials: Cache::new(ENTRIES_MAX),
        }
    }

    /// Forgets everything: what the store has is not certain any more.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Moves what is known into `loaded` and leaves the rest in `keys`.
    pub(super) fn take_known(&mut self, keys: &mut Keys, loaded: &mut Loaded) {
        keys.uniqueids
            .retain(|uniqueid| match self.calls.get(uniqueid) {
                Some(calls) if calls.iter().all(|(_, call)| self.is_whole(call)) => {
                    loaded.calls.extend(calls.iter().cloned());
                    false
                }
                _ => true,
            });
        let needed = keys.code_times;
        keys.caller_codes.retain(|code| match self.dials.get(code) {
            Some(dials) if dials.have(needed) => {
                loaded.dials.extend(dials.states.iter().cloned());
                false
            }
            Some(_) => {
                // It has those of another time, and is loaded anew.
                self.dials.remove(code);
                true
            }
            None => true,
        });
    }

    /// False for a call of which the store may know more than its own dial: the
    /// dial that names it, where it has no code, or a carrier's row that names
    /// no code, where its ending is not that of its dial.
    fn is_whole(&self, call: &Call) -> bool {
        let Some(code) = &call.caller_code else {
            return false;
        };
        let has_ending = call.hangup_cause.is_some() || call.sip_code.is_some();
        let dials = self.dials.get(code);
        let has_ending_too = |dials: &Dials| dials.states.iter().any(|(_, d)| d.has_ending());
        let of_dial = || dials.is_some_and(has_ending_too);
        !has_ending || of_dial()
    }

    /// Takes over a committed change. `asked` are the keys whose states were
    /// loaded completely, dials for the times that it says.
    pub(super) fn committed(&mut self, asked: &Keys, loaded: &Loaded, change: &ChangeSet) {
        let gone: BTreeSet<&CallKey> = change.moved.keys().chain(&change.replaced).collect();
        let mut calls: BTreeMap<&str, BTreeMap<&CallKey, &Call>> = BTreeMap::new();
        let kept = loaded.calls.iter().filter(|(key, _)| !gone.contains(key));
        for (key, call) in kept.chain(&change.calls) {
            let of_uniqueid = calls.entry(key.uniqueid.as_str()).or_default();
            of_uniqueid.insert(key, call);
        }
        for key in gone {
            self.calls.remove(&key.uniqueid);
        }
        for (uniqueid, states) in calls {
            if asked.uniqueids.contains(uniqueid) {
                let states = states.into_iter().map(|(k, c)| (k.clone(), c.clone()));
                self.calls.insert(uniqueid.to_owned(), states.collect());
            } else if states.keys().any(|key| change.calls.contains_key(*key)) {
                self.calls.remove(uniqueid);
            }
        }
        let mut dials: BTreeMap<&str, BTreeMap<&DialKey, &Dial>> = BTreeMap::new();
        for (key, dial) in loaded.dials.iter().chain(&change.dials) {
            let of_code = dials.entry(key.caller_code.as_str()).or_default();
            of_code.insert(key, dial);
        }
        // What was there was taken from here, and is as complete as it was.
        let of: Vec<Option<Times>> = dials
            .keys()
            .map(|code| self.dials.peek(*code).map_or(asked.code_times, |d| d.of))
            .collect();
        for ((code, states), of) in dials.into_iter().zip(of) {
            if asked.caller_codes.contains(code) {
                let states = states.into_iter().map(|(k, d)| (k.clone(), d.clone()));
                let states = states.collect();
                self.dials.insert(code.to_owned(), Dials { of, states });
            } else if states.keys().any(|key| change.dials.contains_key(*key)) {
                self.dials.remove(code);
            }
        }
    }
}
