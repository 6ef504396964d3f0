//! The optimizer store: what every backend promises.

mod audit;
mod dump;
mod error;
mod invariant;
mod memory;
mod read;
mod sqlite;

#[cfg(test)]
mod conformance;

pub use dump::{DidNumbers, Dump};
pub use error::StoreError;
pub use memory::{Fault, Gate, MemoryStore};
pub use read::{DidSummary, Filter, Split, Totals};
pub use sqlite::SqliteStore;

use crate::checkpoint::Checkpoint;
use crate::ledger::{ChangeSet, Keys, Loaded};

/// Proof that a checkpoint is durable together with everything before it. Only
/// a store makes one, and only it moves the position that didtail reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable(pub(in crate::store) Checkpoint);

impl Durable {
    /// The durable checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.0
    }
}

/// Where the numbers are kept.
///
/// # Contract
/// - [`Store::commit`] is atomic: rows, statistics, audit and checkpoint are
///   there together or not at all, whatever crashes. After an error the caller
///   cannot know which: it reads [`Store::progress`] before it goes on.
/// - A commit costs a bounded number of statements, whatever its size.
/// - One writer a source: a commit whose `expected` is not the store's present
///   checkpoint fails with [`StoreError::OtherWriter`] and changes nothing.
pub trait Store: Send + Sync + 'static {
    /// The checkpoint of a source, `None` before its first commit.
    fn progress(
        &self,
        source: &str,
    ) -> impl Future<Output = Result<Option<Checkpoint>, StoreError>> + Send;

    /// The present states of these keys of a source.
    fn load(
        &self,
        source: &str,
        tenant: &str,
        keys: &Keys,
    ) -> impl Future<Output = Result<Loaded, StoreError>> + Send;

    /// Applies a change in one transaction.
    fn commit(
        &self,
        change: &ChangeSet,
    ) -> impl Future<Output = Result<Durable, StoreError>> + Send;

    /// Deletes audit rows of a tenant older than `before` (seconds since 1970),
    /// at most `rows_max` of them; returns how many.
    fn prune_audit(
        &self,
        tenant: &str,
        before: i64,
        rows_max: u32,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;
}
