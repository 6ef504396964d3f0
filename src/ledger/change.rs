//! What one batch needs from the store, and what it changes there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::checkpoint::Checkpoint;
use crate::landmark::Landmark;
use crate::ledger::call::NEAR_SECONDS;
use crate::ledger::{
    Call, CallKey, CallOrigin, ChangeEntry, Counters, Dial, DialKey, Pruned, Subject, named_second,
};
use crate::vicidial::StatusBook;

/// The states a batch must see before it can be applied.
///
/// Every set is bounded by the batch's own size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Load every call with one of these `uniqueid`s, whatever its lead.
    pub uniqueids: BTreeSet<String>,
    /// Load every dial with one of these caller codes in [`Keys::code_times`], and
    /// every dial whose [`Dial::uniqueid`] is one of [`Keys::uniqueids`] (where those
    /// name a time, only dials of within a month of it).
    pub caller_codes: BTreeSet<String>,
    /// First and last second of [`DialKey::opened_at`] for the look-up by code: a
    /// code comes again within a year, and other uses of it are not meant. `None`:
    /// whatever its time; seconds since 1970 (UTC).
    pub code_times: Option<(i64, i64)>,
    /// Load the dials and the calls of these leads that lie in [`Keys::lead_times`].
    pub lead_ids: BTreeSet<u64>,
    /// First and last second of [`Dial::dialed_at`] and [`Call::started_at`] for
    /// the look-up by lead; seconds since 1970 (UTC). Calls whose
    /// [`Call::opened_at`] is more than a month from them need not be found.
    pub lead_times: Option<(i64, i64)>,
    /// Say which of these DIDs exist.
    pub dids: BTreeSet<String>,
    /// Load the calls that only posts tell of and that began in one of these seconds;
    /// since 1970 (UTC).
    pub posted_seconds: BTreeSet<i64>,
    /// Load VICIdial's calls whose names begin with a second near one of these, since
    /// 1970 (UTC), and that are of the number beside it.
    pub near_numbers: BTreeSet<(i64, String)>,
}

/// What the store has of the asked [`Keys`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Calls.
    pub calls: BTreeMap<CallKey, Call>,
    /// Dials.
    pub dials: BTreeMap<DialKey, Dial>,
    /// Those of [`Keys::dids`] that exist.
    pub dids: BTreeSet<String>,
    /// What was deleted, and is therefore not to be made anew. Not filled in by
    /// [`crate::store::Store::load`]: see [`crate::store::Store::pruned`].
    pub pruned: Pruned,
}

/// How a DID's numbers change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatDelta {
    /// To be added.
    pub counters: Counters,
    /// Raise `last_call_at` to this; seconds since 1970 (UTC).
    pub last_call_at: Option<i64>,
    /// Raise `last_dial_at` to this; seconds since 1970 (UTC).
    pub last_dial_at: Option<i64>,
    /// A call or dial left, or became older: both `last_…` must be found anew
    /// among what remains, after the rows of this change are written.
    pub find_last_anew: bool,
}

/// One row of `did_daily_stats`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DailyKey {
    /// The DID.
    pub did: String,
    /// `YYYY-MM-DD` in the dialer's zone.
    pub day: String,
    /// The campaign; empty for dials.
    pub campaign_id: String,
}

/// A disposition that was applied, for `audit_log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Names the row image that brought it, `FILE:OFFSET/ROW@SECONDS`; the same
    /// on every replay, and unique within the source.
    pub event: String,
    /// The call.
    pub key: CallKey,
    /// The disposition before; empty for a call not seen before.
    pub old: String,
    /// The disposition applied.
    pub new: String,
    /// The DID the call is counted for, if any.
    pub did: Option<String>,
    /// When the source wrote it; seconds since 1970 (UTC).
    pub at: i64,
}

/// Everything one batch changes, to be committed in one transaction together
/// with the position behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeSet {
    /// The source's name.
    pub source: String,
    /// The tenant that the source belongs to.
    pub tenant: String,
    /// Keys that calls had in the store before this change and have no more:
    /// the row keeps its id and takes the new key. New keys are among [`ChangeSet::calls`].
    pub moved: BTreeMap<CallKey, CallKey>,
    /// Rows whose key another call has taken by a move.
    pub replaced: BTreeSet<CallKey>,
    /// New state of each changed call.
    pub calls: BTreeMap<CallKey, Call>,
    /// New state of each changed dial.
    pub dials: BTreeMap<DialKey, Dial>,
    /// Changes of `did_stats` by DID. Every DID named in any part of the change
    /// is created where it is missing, with the origin `observed`.
    pub stats: BTreeMap<String, StatDelta>,
    /// Changes of `did_daily_stats`; `last_…` are not kept there.
    pub daily: BTreeMap<DailyKey, Counters>,
    /// Rows for `audit_log`; an entry that is there already is left alone.
    pub audit: Vec<AuditEntry>,
    /// What brought each change, in order; under the keys that calls have now.
    pub history: BTreeMap<Subject, Vec<ChangeEntry>>,
    /// What statuses mean at [`ChangeSet::checkpoint`], where that changed.
    pub statuses: Option<StatusBook>,
    /// What was seen on the way to [`ChangeSet::checkpoint`], in its epoch; a
    /// landmark that is there already is replaced.
    pub landmarks: Vec<Landmark>,
    /// Posted results that are in this change, by their ids: they wait no more.
    pub posted: BTreeSet<i64>,
    /// What the store's checkpoint of this source must be now; anything else
    /// means that another daemon writes this source.
    pub expected: Option<Checkpoint>,
    /// The position behind this change.
    pub checkpoint: Checkpoint,
    /// Token of the lease that the daemon has; `None` from commands beside it, which
    /// only rewrite what is there.
    pub fencing_token: Option<u64>,
}

/// The seconds that two names of one call may begin with, where one begins with this.
fn seconds_near(second: i64) -> RangeInclusive<i64> {
    second.saturating_sub(NEAR_SECONDS)..=second.saturating_add(NEAR_SECONDS)
}

impl Keys {
    /// True when nothing is asked for, whatever the times.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            uniqueids,
            caller_codes,
            code_times: _,
            lead_ids,
            lead_times: _,
            dids,
            posted_seconds,
            near_numbers,
        } = self;
        uniqueids.is_empty()
            && caller_codes.is_empty()
            && lead_ids.is_empty()
            && dids.is_empty()
            && posted_seconds.is_empty()
            && near_numbers.is_empty()
    }

    /// Adds the seconds in which a call that only posts tell of may be the one with
    /// this name.
    pub(super) fn posted_near(&mut self, uniqueid: &str) {
        if let Some(second) = named_second(uniqueid) {
            self.posted_seconds.extend(seconds_near(second));
        }
    }

    /// Whether it is a call of VICIdial's that is asked for by its number.
    #[must_use]
    pub fn want_near(&self, key: &CallKey, call: &Call) -> bool {
        if self.near_numbers.is_empty() || call.origin != CallOrigin::Binlog {
            return false;
        }
        let near = named_second(&key.uniqueid).map(seconds_near);
        let mut near = near.into_iter().flatten();
        near.any(|at| self.near_numbers.contains(&(at, call.phone_number.clone())))
    }

    /// Whether a call is among the states that are asked for.
    #[must_use]
    pub fn want_call(&self, key: &CallKey, call: &Call) -> bool {
        let by_lead = self.lead_ids.contains(&key.lead_id) && self.within(call.started_at);
        let is_posted = key.lead_id == 0 && call.origin == CallOrigin::Posted;
        let by_second = is_posted && self.posted_seconds.contains(&call.started_at);
        by_lead || by_second || self.want_near(key, call) || self.uniqueids.contains(&key.uniqueid)
    }

    /// The same for a dial.
    #[must_use]
    pub fn want_dial(&self, key: &DialKey, dial: &Dial) -> bool {
        let by_lead = dial.lead_id.is_some_and(|id| self.lead_ids.contains(&id));
        let by_call = dial.uniqueid.as_ref();
        let times = self.code_times;
        let in_time = times.is_none_or(|(from, to)| (from..=to).contains(&key.opened_at));
        in_time && self.caller_codes.contains(&key.caller_code)
            || by_call.is_some_and(|id| self.uniqueids.contains(id))
            || by_lead && self.within(dial.dialed_at)
    }

    fn within(&self, at: i64) -> bool {
        let times = self.lead_times;
        times.is_some_and(|(first, last)| (first..=last).contains(&at))
    }
}

impl ChangeSet {
    /// Makes of states that were loaded before this change those behind it.
    pub fn bring_up_to_date(&self, keys: &Keys, loaded: &mut Loaded) {
        for gone in self.moved.keys().chain(&self.replaced) {
            loaded.calls.remove(gone);
        }
        for (key, call) in &self.calls {
            if loaded.calls.contains_key(key) || keys.want_call(key, call) {
                loaded.calls.insert(key.clone(), call.clone());
            }
        }
        for (key, dial) in &self.dials {
            if loaded.dials.contains_key(key) || keys.want_dial(key, dial) {
                loaded.dials.insert(key.clone(), dial.clone());
            }
        }
        if !keys.dids.is_empty() {
            let named = self
                .stats
                .keys()
                .chain(self.daily.keys().map(|key| &key.did));
            loaded
                .dids
                .extend(named.filter(|did| keys.dids.contains(*did)).cloned());
        }
    }
}
