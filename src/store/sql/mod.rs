//! The store in a database: SQLite, PostgreSQL, MySQL or MariaDB.
//!
//! # One form for all
//! What is written and read, and in which order, is said once; a [`Query`] carries
//! the text with its values, and [`Dialect`] is the closed list of what backends
//! say differently. A [`Tx`] is a transaction on any of them. Each backend has
//! the same tables with the same columns; `schema/README.md` documents them.
//!
//! # SQLite
//! The embedded default: one file beside the daemon. Write-ahead log,
//! `synchronous=NORMAL`: a power cut may take back the newest commits, rows and
//! position together, and they are read again from the binlog. What only a client or
//! an operator knows is on the disk before they are answered (`begin_lasting`), and
//! with it everything before. One connection writes; a few read, and never wait for it.
//!
//! # Servers
//! Writers of one source meet at its row of `source_leases` and take turns;
//! writers of different sources do not wait for each other. Reading is a snapshot.

mod api_keys;
mod backfills;
mod columns;
mod commit;
mod dialect;
mod dids;
mod dump;
mod error;
mod insert;
mod intact;
mod landmarks;
mod leases;
mod load;
mod mend;
mod migrate;
mod numbers;
mod open;
mod operator;
mod page;
mod partitions;
mod posted;
mod privileges;
mod progress;
mod query;
mod retention;
mod server;
mod session;
mod statuses;
mod value;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use sqlx::Error;

use crate::checkpoint::Checkpoint;
use crate::landmark::Landmark;
use crate::ledger::{ChangeEntry, ChangeSet, Keys, Loaded, Pruned, Subject};
use crate::store::{
    Claim, Durable, FACTS_MAX, FACTS_MAX_OF_SERVERS, Grant, Lease, LeaseState, LoadName, LoadNote,
    Mark, NewPost, Page, PostOutcome, Prune, Store, StoreError, Swept, Trail, Unattributed,
    Waiting, attributed, history,
};
use crate::vicidial::StatusBook;

use self::commit::Committed;
use self::error::classify;
use self::leases::Turn;
use self::partitions::Partitions;
use self::session::{PATIENCE, PATIENCE_READING, Pool};

pub(in crate::store) use self::dialect::Dialect;
pub(in crate::store) use self::load::{call_columns, take_call};
pub(in crate::store) use self::query::Query;
pub(in crate::store) use self::session::Tx;
pub(in crate::store) use self::value::Row;

pub use self::api_keys::{ApiKeyRecord, KeyHolder};
pub use self::dids::{DidEntries, DidEntry, DidImport, DidRecord};
pub use self::migrate::{pending_sql, whole_sql};
pub use self::operator::OperatorAction;
pub use self::privileges::{Lacking, lacking_privileges};
pub use self::session::statements_sent;

/// Pause between two looks whether nobody writes.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// A store in a database. Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub struct SqlStore {
    name: String,
    writer: Option<Pool>,
    turn: Option<Pool>,
    readers: Pool,
    partitions: Partitions,
}

impl SqlStore {
    /// Opens a store for writing, and brings its schema up to date:
    /// `sqlite:///ABSOLUTE/PATH`, which is made where it is missing, readable by
    /// its owner alone; or `postgres://` or `mysql://USER:PASSWORD@HOST/DATABASE`.
    ///
    /// # Errors
    /// [`StoreError`]; among others when a newer didtail has written it, or its
    /// folder or database does not exist.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        open::for_writing(url, false).await
    }

    /// The same for who alone keeps the store open for writing: a file that was not
    /// closed in order is first looked through, which can take 20 seconds.
    ///
    /// # Errors
    /// As [`SqlStore::open`]; [`StoreError::Corrupt`] when the file is damaged.
    pub async fn open_alone(url: &str) -> Result<Self, StoreError> {
        open::for_writing(url, true).await
    }

    /// Opens an existing store for writing beside the daemon that keeps it. Its schema is
    /// not changed.
    ///
    /// # Errors
    /// [`StoreError`]; among others when there is none, or its schema is not
    /// exactly the one of this program.
    pub async fn open_beside(url: &str) -> Result<Self, StoreError> {
        open::beside(url).await
    }

    /// Demands that the schema is still exactly the one of this program.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`], [`StoreError::OlderSchema`], or what keeps it from
    /// being looked at.
    pub async fn demand_current(&self) -> Result<(), StoreError> {
        migrate::demand_current(&self.name, &self.readers).await
    }

    /// Opens an existing store for reading; it may be in use by a daemon.
    ///
    /// # Errors
    /// [`StoreError`]; among others when there is none, or its schema is not
    /// exactly the one of this program.
    pub async fn open_read(url: &str) -> Result<Self, StoreError> {
        open::for_reading(url).await
    }

    /// Closes the connections; SQLite's write-ahead log is moved into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        for writer in [&self.turn, &self.writer].into_iter().flatten() {
            writer.close().await;
        }
    }

    /// How long a statement that somebody waits for may take before it counts as lost.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.readers.patience(PATIENCE)
    }

    pub(in crate::store) fn dialect(&self) -> Dialect {
        self.readers.dialect()
    }

    /// Begins to read in one snapshot, however long it takes.
    pub(in crate::store) async fn begin_read(&self) -> Result<Tx, Error> {
        let begin = open::begin_reading(self.dialect());
        self.readers.begin(begin, PATIENCE_READING).await
    }

    /// Begins to read a few rows in one snapshot.
    pub(in crate::store) async fn begin_look(&self) -> Result<Tx, Error> {
        let begin = open::begin_reading(self.dialect());
        self.readers.begin(begin, PATIENCE).await
    }

    /// Classes a driver's error of this store.
    pub(in crate::store) fn error(&self, doing: &'static str, error: Error) -> StoreError {
        classify(&self.name, self.dialect(), doing, error)
    }

    fn committed(
        &self,
        done: Result<Committed, Error>,
        change: &ChangeSet,
    ) -> Result<Durable, StoreError> {
        match done {
            Ok(Committed::Done) => Ok(Durable(change.checkpoint.clone())),
            Ok(Committed::NotExpected(found)) => Err(other_writer(&change.source, found)),
            Ok(Committed::LeaseLost(holder)) => Err(lease_lost(&change.source, holder)),
            Err(e) => Err(self.error("writing a batch", e)),
        }
    }

    fn writer(&self) -> Result<&Pool, StoreError> {
        self.writer.as_ref().ok_or_else(|| StoreError::NotWritable {
            store: self.name.clone(),
            source: "it was opened for reading".into(),
        })
    }
}

/// A transaction that keeps every other writer waiting; dropped, it is undone.
#[derive(Debug)]
pub struct Hold(Tx);

impl Store for SqlStore {
    type Hold = Hold;

    fn facts_max(&self) -> usize {
        match self.dialect() {
            Dialect::Sqlite => FACTS_MAX,
            Dialect::Postgres | Dialect::MySql => FACTS_MAX_OF_SERVERS,
        }
    }

    async fn progress(&self, source: &str) -> Result<Option<Checkpoint>, StoreError> {
        let read = async {
            let mut tx = self.begin_look().await?;
            let found = progress::read(&mut tx, source).await?;
            tx.finish(found).await
        };
        read.await
            .map_err(|e| self.error("reading its progress", e))
    }

    async fn load(&self, source: &str, tenant: &str, keys: &Keys) -> Result<Loaded, StoreError> {
        let load = async {
            let begin = open::begin_loading(self.dialect());
            let mut tx = self.readers.begin(begin, PATIENCE).await?;
            let loaded = Box::pin(load::load(&mut tx, source, tenant, keys)).await?;
            tx.finish(loaded).await
        };
        load.await.map_err(|e| self.error("looking calls up", e))
    }

    async fn commit(&self, change: &ChangeSet) -> Result<Durable, StoreError> {
        let pool = self.writer()?;
        self.partitions.make_for(pool, change).await;
        let commit = async {
            let mut tx = pool.begin_writing().await?;
            commit::take_turn(&mut tx, change).await?;
            finish(tx, change, None).await
        };
        self.committed(commit.await, change)
    }

    /// SQLite's own waiting sleeps up to a tenth of a second between two looks. A
    /// daemon that commits one batch after the other leaves gaps of milliseconds.
    /// Servers wake who waits.
    async fn hold(&self, source: &str) -> Result<Hold, StoreError> {
        let turn = self.turn.as_ref().unwrap_or(self.writer()?);
        let deadline = Instant::now() + open::BUSY_TIMEOUT;
        loop {
            let begun = async {
                let mut tx = turn.begin_writing().await?;
                leases::take_turn(&mut tx, source).await?;
                Ok(tx)
            };
            let error = match begun.await {
                Ok(tx) => return Ok(Hold(tx)),
                Err(error) => self.error("waiting for its turn", error),
            };
            let is_busy = matches!(error, StoreError::Busy { .. });
            if !is_busy || Instant::now() >= deadline {
                return Err(error);
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    async fn commit_held(
        &self,
        hold: Hold,
        change: &ChangeSet,
        note: Option<(LoadName, &LoadNote)>,
    ) -> Result<Durable, StoreError> {
        self.partitions.make_for(self.writer()?, change).await;
        self.committed(finish(hold.0, change, note).await, change)
    }

    async fn save_load(
        &self,
        source: &str,
        name: LoadName,
        note: &LoadNote,
    ) -> Result<(), StoreError> {
        let pool = self.writer()?;
        let write = async {
            let mut tx = pool.begin_writing().await?;
            backfills::write(&mut tx, source, name, note).await?;
            tx.commit().await
        };
        write
            .await
            .map_err(|e| self.error("noting how far a load is", e))
    }

    async fn load_note(
        &self,
        source: &str,
        name: LoadName,
    ) -> Result<Option<LoadNote>, StoreError> {
        let read = async {
            let mut tx = self.begin_look().await?;
            let found = backfills::read(&mut tx, source, name).await?;
            tx.finish(found).await
        };
        read.await
            .map_err(|e| self.error("reading how far a load is", e))
    }

    async fn claim(&self, source: &str, claim: &Claim<'_>) -> Result<Grant, StoreError> {
        let pool = self.writer()?;
        let work = async {
            let mut tx = pool.begin_writing().await?;
            let grant = leases::claim(&mut tx, source, claim).await?;
            tx.finish(grant).await
        };
        work.await.map_err(|e| self.error("taking a lease", e))
    }

    async fn renew(&self, source: &str, lease: &Lease) -> Result<bool, StoreError> {
        let pool = self.writer()?;
        let work = async {
            let mut tx = pool.begin_writing().await?;
            let is_ours = leases::renew(&mut tx, source, lease.fencing_token).await?;
            tx.finish(is_ours).await
        };
        work.await.map_err(|e| self.error("renewing a lease", e))
    }

    async fn release(&self, source: &str, lease: &Lease) -> Result<(), StoreError> {
        let pool = self.writer()?;
        let work = async {
            let mut tx = pool.begin_writing().await?;
            leases::release(&mut tx, source, lease).await?;
            tx.commit().await
        };
        work.await.map_err(|e| self.error("giving a lease back", e))
    }

    async fn lease(&self, source: &str) -> Result<Option<LeaseState>, StoreError> {
        let work = async {
            let mut tx = self.begin_look().await?;
            let found = leases::read(&mut tx, source).await?;
            tx.finish(found).await
        };
        work.await.map_err(|e| self.error("reading a lease", e))
    }

    async fn landmarks(&self, source: &str, epoch: u64) -> Result<Vec<Landmark>, StoreError> {
        let read = async {
            let mut tx = self.begin_look().await?;
            let found = landmarks::read(&mut tx, source, epoch).await?;
            tx.finish(found).await
        };
        read.await
            .map_err(|e| self.error("reading its landmarks", e))
    }

    async fn statuses(&self, source: &str) -> Result<StatusBook, StoreError> {
        let read = async {
            let mut tx = self.begin_look().await?;
            let found = statuses::read(&mut tx, source).await?;
            tx.finish(found).await
        };
        read.await
            .map_err(|e| self.error("reading its statuses", e))
    }

    async fn unattributed(
        &self,
        source: &str,
        since: i64,
        rows_max: u32,
    ) -> Result<Vec<Unattributed>, StoreError> {
        let read = async {
            let mut tx = self.begin_look().await?;
            let found = attributed::unattributed(&mut tx, source, since, rows_max).await?;
            tx.finish(found).await
        };
        read.await
            .map_err(|e| self.error("looking for calls without a DID", e))
    }

    async fn history(
        &self,
        source: &str,
        subject: &Subject,
    ) -> Result<Vec<ChangeEntry>, StoreError> {
        let (kind, name, part) = history::key(subject);
        let read = async {
            let mut tx = self.begin_look().await?;
            let read = tx
                .query("SELECT entries FROM change_history WHERE source = ")
                .bind(source)
                .sql(" AND kind = ")
                .bind(kind)
                .sql(" AND subject = ")
                .bind(name)
                .sql(" AND part = ")
                .bind(part)
                .sql(" ORDER BY id");
            let mut all = Vec::new();
            for mut row in tx.fetch(read).await? {
                let entries: String = row.take()?;
                let entries: Vec<ChangeEntry> =
                    serde_json::from_str(&entries).map_err(|e| Error::Decode(Box::new(e)))?;
                all.extend(entries);
            }
            tx.finish(all).await
        };
        read.await
            .map_err(|e| self.error("reading the history of a call", e))
    }

    async fn post(
        &self,
        posts: &[NewPost],
        creates_dids: bool,
    ) -> Result<(Vec<PostOutcome>, u64), StoreError> {
        let pool = self.writer()?;
        let write = async {
            let mut tx = pool.begin_lasting().await?;
            let written = Box::pin(posted::write(&mut tx, posts, creates_dids)).await?;
            tx.finish(written).await
        };
        write
            .await
            .map_err(|e| self.error("keeping posted results", e))
    }

    async fn posted(&self, source: &str, rows_max: u32) -> Result<(Vec<Waiting>, u64), StoreError> {
        let read = async {
            let mut tx = self.begin_look().await?;
            let found = posted::read(&mut tx, source, rows_max).await?;
            let waiting = posted::waiting(&mut tx).await?;
            tx.finish((found, waiting)).await
        };
        read.await
            .map_err(|e| self.error("reading posted results", e))
    }

    async fn forget_post_keys(&self) -> Result<(), StoreError> {
        let pool = self.writer()?;
        let work = async {
            let mut tx = pool.begin_writing().await?;
            posted::forget(&mut tx).await?;
            tx.commit().await
        };
        work.await
            .map_err(|e| self.error("forgetting old idempotency keys", e))
    }

    async fn page(
        &self,
        source: &str,
        behind: Mark,
        rows_max: u32,
    ) -> Result<Option<Page>, StoreError> {
        let read = async {
            let mut tx = self.begin_look().await?;
            let found = page::read(&mut tx, source, behind, rows_max).await?;
            tx.finish(found).await
        };
        read.await.map_err(|e| self.error("reading its calls", e))
    }

    async fn prune(
        &self,
        tenant: &str,
        trail: Trail,
        before: i64,
        rows_max: u32,
    ) -> Result<u64, StoreError> {
        let doing = match trail {
            Trail::Audit => "deleting old audit rows",
            Trail::History => "deleting old history",
        };
        let pool = self.writer()?;
        let pruned = retention::prune(pool, &self.partitions, tenant, trail, before, rows_max);
        pruned.await.map_err(|e| self.error(doing, e))
    }

    async fn pruned(&self, source: &str) -> Result<Pruned, StoreError> {
        let read = async {
            let mut tx = self.begin_look().await?;
            let found = retention::read(&mut tx, source).await?;
            tx.finish(found).await
        };
        read.await
            .map_err(|e| self.error("reading what was deleted", e))
    }

    async fn sweep(&self, prune: &Prune<'_>) -> Result<Swept, StoreError> {
        let pool = self.writer()?;
        let sweep = async {
            let mut tx = pool.begin_writing().await?;
            if let Some(token) = prune.fencing_token {
                let turn = leases::take_turn_under(&mut tx, prune.source, token).await?;
                if let Turn::Lost(holder) = turn {
                    return Ok(Err(lease_lost(prune.source, holder)));
                }
            } else {
                leases::take_turn(&mut tx, prune.source).await?;
            }
            let found = progress::read(&mut tx, prune.source).await?;
            if found.as_ref() != Some(prune.expected) {
                return Ok(Err(other_writer(prune.source, found)));
            }
            let swept = retention::sweep(&mut tx, prune).await?;
            tx.commit().await?;
            Ok(Ok(swept))
        };
        let swept = sweep.await;
        let swept = swept.map_err(|e| self.error("deleting old calls and dials", e))??;
        Ok(retention::drop_partitions(pool, &self.partitions, prune, swept).await)
    }
}

fn lease_lost(source: &str, holder: String) -> StoreError {
    StoreError::LeaseLost {
        source_name: source.to_owned(),
        holder,
    }
}

fn other_writer(source: &str, found: Option<Checkpoint>) -> StoreError {
    StoreError::OtherWriter {
        source_name: source.to_owned(),
        actual: found.map_or_else(|| "no position".to_owned(), |c| c.position.to_string()),
    }
}

/// Writes the change in a transaction whose turn it is, and makes it durable.
async fn finish(
    mut tx: Tx,
    change: &ChangeSet,
    note: Option<(LoadName, &LoadNote)>,
) -> Result<Committed, Error> {
    let written = Box::pin(commit::write(&mut tx, change)).await?;
    if matches!(written, Committed::Done) {
        if let Some((name, note)) = note {
            backfills::write(&mut tx, &change.source, name, note).await?;
        }
        tx.commit().await?;
    }
    Ok(written)
}
