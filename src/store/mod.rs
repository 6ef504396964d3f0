//! The optimizer store: what every backend promises.

mod api_key;
mod attributed;
mod audit;
mod backfill;
mod behind;
mod board;
mod dump;
mod error;
mod history;
mod invariant;
mod landmark;
mod lease;
mod memory;
mod page;
mod posted;
mod read;
mod records;
mod retention;
mod sql;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
pub(crate) mod tests;

pub use api_key::{ApiKey, random_hex};
pub use attributed::Attributed;
pub use backfill::{LoadName, LoadNote, LoadTally};
pub use board::{Compared, DidDay, Stretches, Tally};
pub use dump::{DidNumbers, Dump};
pub use error::StoreError;
pub use lease::{Claim, Grant, LEASE_SECONDS, Lease, LeaseState};
pub use memory::{Fault, Gate, MemoryStore};
pub use page::{Mark, Page};
pub use posted::{NewPost, POSTED_MAX, PostOutcome, Waiting};
pub use read::{DidSummary, Filter, Split, Totals};
pub use records::{CallRecord, DidPage, DidRow, RecordMark, RecordPage, RecordQuery};
pub use retention::{Prune, Swept};
pub use sql::{
    ApiKeyRecord, DidEntries, DidEntry, DidImport, DidRecord, KeyHolder, Lacking, OperatorAction,
    SqlStore, lacking_privileges, pending_sql, statements_sent, whole_sql,
};

use crate::checkpoint::Checkpoint;
use crate::landmark::Landmark;
use crate::ledger::{Call, CallKey, ChangeEntry, ChangeSet, Keys, Loaded, Pruned, Subject};
use crate::vicidial::StatusBook;

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

/// A call whose DID is not known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unattributed {
    /// The call.
    pub key: CallKey,
    /// Its caller code, where that is known.
    pub caller_code: Option<String>,
    /// Its start; seconds since 1970 (UTC).
    pub started_at: i64,
}

impl Unattributed {
    /// What a state says of its call.
    #[must_use]
    pub fn new(key: &CallKey, call: &Call) -> Self {
        Self {
            key: key.clone(),
            caller_code: call.caller_code.clone(),
            started_at: call.started_at,
        }
    }
}

/// [`Store::facts_max`] of a store without round trips.
pub(crate) const FACTS_MAX: usize = 2048;

/// The same of a server, which half as large batches cost a quarter of its speed.
pub(crate) const FACTS_MAX_OF_SERVERS: usize = 4096;

/// Where the numbers are kept.
///
/// # Contract
/// - [`Store::commit`] is atomic: rows, statistics, audit and checkpoint are
///   there together or not at all, whatever crashes. After an error the caller
///   cannot know which: it reads [`Store::progress`] before it goes on.
/// - A commit costs a bounded number of statements, whatever its size.
/// - One writer a source: a commit whose `expected` is not the store's present
///   checkpoint fails with [`StoreError::OtherWriter`] and changes nothing.
/// - A commit under a fencing token renews that lease, and fails with
///   [`StoreError::LeaseLost`] and changes nothing once another one was given.
/// - From [`Store::hold`] until it is used up or dropped, no other commit of
///   the source by any process comes through: those wait. Reading does not.
pub trait Store: Send + Sync + 'static {
    /// The right to make the next commit.
    type Hold: Send;

    /// Facts that a batch may have at most. Enough that a backlog is written in large
    /// transactions, few enough that one takes a fraction of a second and some
    /// megabytes.
    fn facts_max(&self) -> usize {
        FACTS_MAX
    }

    /// Takes the right to make the next commit of a source. Whoever has it reads
    /// the source while the store stands still, and must be quick: others wait.
    fn hold(&self, source: &str) -> impl Future<Output = Result<Self::Hold, StoreError>> + Send;

    /// As [`Store::commit`], by who has the right to it, together with a note of
    /// how far a load has got.
    fn commit_held(
        &self,
        hold: Self::Hold,
        change: &ChangeSet,
        note: Option<(LoadName, &LoadNote)>,
    ) -> impl Future<Output = Result<Durable, StoreError>> + Send;

    /// Asks for the lease of a source.
    fn claim(
        &self,
        source: &str,
        claim: &Claim<'_>,
    ) -> impl Future<Output = Result<Grant, StoreError>> + Send;

    /// Makes a lease last again for [`LEASE_SECONDS`]; false when another one was
    /// given since.
    fn renew(
        &self,
        source: &str,
        lease: &Lease,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Gives a lease back, so that nobody has to wait for its end.
    fn release(
        &self,
        source: &str,
        lease: &Lease,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The lease of a source; `None` where none was ever given.
    fn lease(
        &self,
        source: &str,
    ) -> impl Future<Output = Result<Option<LeaseState>, StoreError>> + Send;

    /// Notes how far a load of a source has got.
    fn save_load(
        &self,
        source: &str,
        name: LoadName,
        note: &LoadNote,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// How far a load of a source has got; `None` when there never was one.
    fn load_note(
        &self,
        source: &str,
        name: LoadName,
    ) -> impl Future<Output = Result<Option<LoadNote>, StoreError>> + Send;

    /// The checkpoint of a source, `None` before its first commit.
    fn progress(
        &self,
        source: &str,
    ) -> impl Future<Output = Result<Option<Checkpoint>, StoreError>> + Send;

    /// What was seen in a source's binlog in one epoch, in the order of the places:
    /// those of another epoch cannot be compared.
    fn landmarks(
        &self,
        source: &str,
        epoch: u64,
    ) -> impl Future<Output = Result<Vec<Landmark>, StoreError>> + Send;

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

    /// What a source's statuses mean at its progress; empty before the first commit.
    fn statuses(&self, source: &str)
    -> impl Future<Output = Result<StatusBook, StoreError>> + Send;

    /// The newest calls of a source whose DIDs are not known and that began at
    /// `since` (seconds since 1970, UTC) or later: at most `rows_max`.
    fn unattributed(
        &self,
        source: &str,
        since: i64,
        rows_max: u32,
    ) -> impl Future<Output = Result<Vec<Unattributed>, StoreError>> + Send;

    /// Changes of a call or a dial as far as they are kept, the oldest first.
    fn history(
        &self,
        source: &str,
        subject: &Subject,
    ) -> impl Future<Output = Result<Vec<ChangeEntry>, StoreError>> + Send;

    /// Keeps results that clients post, in one transaction; says what became of each,
    /// and how many wait then. Of DIDs that are not known it makes rows, or refuses
    /// what names them.
    fn post(
        &self,
        posts: &[NewPost],
        creates_dids: bool,
    ) -> impl Future<Output = Result<(Vec<PostOutcome>, u64), StoreError>> + Send;

    /// The oldest posted results that wait of a source, at most `rows_max`, and how many
    /// wait of all sources. Those that a commit names ([`ChangeSet::posted`]) wait no
    /// more.
    fn posted(
        &self,
        source: &str,
        rows_max: u32,
    ) -> impl Future<Output = Result<(Vec<Waiting>, u64), StoreError>> + Send;

    /// Forgets idempotency keys that came more than a day ago.
    fn forget_post_keys(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

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

    /// Before which times calls and dials of a source may have been deleted.
    fn pruned(&self, source: &str) -> impl Future<Output = Result<Pruned, StoreError>> + Send;

    /// Deletes old calls or dials of a source; their numbers stay.
    ///
    /// In one transaction, which is a commit of the source: it takes its turn, is
    /// [`StoreError::OtherWriter`] unless the store is at the expected checkpoint,
    /// and where it moves the time of [`Store::pruned`] on it raises the revision.
    /// Where nothing is that old it changes nothing.
    fn sweep(&self, prune: &Prune<'_>) -> impl Future<Output = Result<Swept, StoreError>> + Send;
}
