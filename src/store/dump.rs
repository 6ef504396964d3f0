//! Everything a store keeps that must be the same in every backend, to compare.
//!
//! Left out: row ids and the times at which rows were made, which backends may
//! choose. For tests; it holds the whole store in memory.

use std::collections::BTreeMap;

use crate::checkpoint::Checkpoint;
use crate::ledger::{Call, CallKey, Contribution, Counters, DailyKey, Dial, DialKey, Pruned};
use crate::vicidial::StatusBook;

/// The contents of a store. Compares equal with that of another backend after
/// the same commits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// State of each call, by source.
    pub calls: BTreeMap<(String, CallKey), Call>,
    /// State of each dial, by source.
    pub dials: BTreeMap<(String, DialKey), Dial>,
    /// Every DID of every tenant, with its numbers; `None` before its first.
    pub dids: BTreeMap<(String, String), Option<DidNumbers>>,
    /// Rows of `did_daily_stats` by tenant.
    pub daily: BTreeMap<(String, DailyKey), Counters>,
    /// Audit rows by tenant and event, with details and time; what operators did has no
    /// event, and is left out.
    pub audit: BTreeMap<(String, String), (String, i64)>,
    /// What the statuses of each source mean.
    pub statuses: BTreeMap<String, StatusBook>,
    /// The checkpoint of each source.
    pub progress: BTreeMap<String, Checkpoint>,
    /// What was deleted of each source, if anything was.
    pub pruned: BTreeMap<String, Pruned>,
}

/// A row of `did_stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DidNumbers {
    /// The counters.
    pub counters: Counters,
    /// Start of the newest counted call; seconds since 1970 (UTC).
    pub last_call_at: Option<i64>,
    /// The newest counted dial; seconds since 1970 (UTC).
    pub last_dial_at: Option<i64>,
}

impl Dump {
    /// Counts every DID of one tenant anew from its calls and dials: what
    /// `did_stats` must say. Every source of the dump must belong to that tenant.
    #[must_use]
    pub fn recounted(&self) -> BTreeMap<String, DidNumbers> {
        let mut numbers: BTreeMap<String, DidNumbers> = BTreeMap::new();
        for Contribution {
            did, counters, at, ..
        } in self.calls.values().filter_map(Call::contribution)
        {
            let of = numbers.entry(did).or_default();
            of.counters += counters;
            of.last_call_at = of.last_call_at.max(Some(at));
        }
        for Contribution {
            did, counters, at, ..
        } in self.dials.values().filter_map(Dial::contribution)
        {
            let of = numbers.entry(did).or_default();
            of.counters += counters;
            of.last_dial_at = of.last_dial_at.max(Some(at));
        }
        numbers
    }
}
