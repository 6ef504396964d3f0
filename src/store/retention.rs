//! Deleting calls and dials that are past their retention.

use crate::checkpoint::Checkpoint;
use crate::ledger::{Aged, Pruned, SPARED_SECONDS};
use crate::store::Durable;

/// Which rows may go.
#[derive(Clone, Copy, Debug)]
pub struct Prune<'a> {
    /// The source whose rows they are.
    pub source: &'a str,
    /// Its tenant.
    pub tenant: &'a str,
    /// What the store's checkpoint of the source must be.
    pub expected: &'a Checkpoint,
    /// Token of the lease that the daemon has; see [`crate::ledger::ChangeSet`].
    pub fencing_token: Option<u64>,
    /// Calls or dials.
    pub aged: Aged,
    /// Nothing older than this is kept, or made anew from now on; seconds since
    /// 1970 (UTC). What is younger than [`SPARED_SECONDS`] before it is not deleted.
    pub before: i64,
    /// At most so many rows in one go.
    pub rows_max: u32,
}

/// What was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Rows, one by one.
    pub rows: u64,
    /// Partitions that were dropped, with all rows in them. Where there are such,
    /// rows go with the last of their month.
    pub partitions: u64,
    /// Before which times rows may be deleted now.
    pub pruned: Pruned,
    /// The store's checkpoint now.
    pub durable: Durable,
}

impl Prune<'_> {
    /// The time of the rule, behind this: it never moves back.
    pub(in crate::store) fn before(&self, known: Pruned) -> i64 {
        known
            .before(self.aged)
            .unwrap_or(self.before)
            .max(self.before)
    }

    /// What is older than this is deleted; seconds since 1970 (UTC).
    pub(in crate::store) fn cutoff(&self, known: Pruned) -> i64 {
        self.before(known).saturating_sub(SPARED_SECONDS)
    }
}
