//! The optimizer store: what every backend promises.

mod attributed;
mod audit;
mod behind;
mod dump;
mod error;
mod history;
mod invariant;
mod memory;
mod page;
mod read;
mod sqlite;

#[cfg(test)]
mod conformance;

pub use attributed::Attributed;
pub use dump::{DidNumbers, Dump};
pub use error::StoreError;
pub use memory::{Fault, Gate, MemoryStore};
pub use page::{Mark, Page};
pub use read::{DidSummary, Filter, Split, Totals};
pub use sqlite::SqliteStore;

use crate::checkpoint::Checkpoint;
use crate::ledger::{ChangeEntry, ChangeSet, Keys, Loaded, Subject};

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

/// What is kept for a limited time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trail {
    /// `audit_log`.
    Audit,
    /// `change_history`.
    History,
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

    /// Changes of a call or a dial as far as they are kept, the oldest first.
    fn history(
        &self,
        source: &str,
        subject: &Subject,
    ) -> impl Future<Output = Result<Vec<ChangeEntry>, StoreError>> + Send;

    /// The next calls, and after all calls the next dials, of a source behind a
    /// mark: at most `rows_max` of them. `None` behind the last.
    fn page(
        &self,
        source: &str,
        behind: Mark,
        rows_max: u32,
    ) -> impl Future<Output = Result<Option<Page>, StoreError>> + Send;

    /// Deletes rows of a trail of a tenant older than `before` (seconds since
    /// 1970), at most `rows_max` of them; returns how many.
    fn prune(
        &self,
        tenant: &str,
        trail: Trail,
        before: i64,
        rows_max: u32,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;
}
