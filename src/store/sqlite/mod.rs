//! The embedded default backend: one SQLite file beside the daemon.
//!
//! Write-ahead log, `synchronous=NORMAL`: a power cut may take back the newest
//! commits, rows and position together, and they are read again from the
//! binlog. One connection writes; a few read, and never wait for it.

mod backfills;
mod commit;
mod dump;
mod error;
mod load;
mod mend;
mod numbers;
mod open;
mod page;
mod progress;
mod rows;
mod statuses;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use sqlx::sqlite::{Sqlite, SqlitePool};
use sqlx::{Error, Transaction};

use crate::checkpoint::Checkpoint;
use crate::ledger::{ChangeEntry, ChangeSet, Keys, Loaded, Subject};
use crate::store::{Durable, LoadName, LoadNote, Mark, Page, Store, StoreError, Trail, history};
use crate::vicidial::StatusBook;

use self::commit::Committed;
use self::error::classify;

/// Pause between two looks whether nobody writes.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// A store in a SQLite file. Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    name: String,
    writer: Option<SqlitePool>,
    turn: Option<SqlitePool>,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens `sqlite:///ABSOLUTE/PATH` for writing: makes the file, readable
    /// by its owner alone, where it is missing, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError`]; among others when a newer didtail has written the file,
    /// or its folder does not exist.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Ok(Self::over(open::for_writing(url).await?))
    }

    /// Opens an existing store for reading; it may be in use by a daemon.
    ///
    /// # Errors
    /// [`StoreError`]; among others when there is none, or its schema is not
    /// exactly the one of this program.
    pub async fn open_read(url: &str) -> Result<Self, StoreError> {
        Ok(Self::over(open::for_reading(url).await?))
    }

    /// Closes the connections, moving the write-ahead log into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        for writer in [&self.turn, &self.writer].into_iter().flatten() {
            writer.close().await;
        }
    }

    /// The connections for reading, for queries beside the [`Store`] contract.
    pub(in crate::store) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// Classes a driver's error of this store.
    pub(in crate::store) fn error(&self, doing: &'static str, error: sqlx::Error) -> StoreError {
        classify(&self.name, doing, error)
    }

    fn over(connections: open::Connections) -> Self {
        Self {
            name: connections.store,
            writer: connections.writer,
            turn: connections.turn,
            readers: connections.readers,
        }
    }

    fn committed(
        &self,
        done: Result<Committed, Error>,
        change: &ChangeSet,
    ) -> Result<Durable, StoreError> {
        match done {
            Ok(Committed::Done) => Ok(Durable(change.checkpoint.clone())),
            Ok(Committed::NotExpected(found)) => Err(StoreError::OtherWriter {
                source_name: change.source.clone(),
                actual: found.map_or_else(|| "no position".to_owned(), |c| c.position.to_string()),
            }),
            Err(e) => Err(self.error("writing a batch", e)),
        }
    }

    fn writer(&self) -> Result<&SqlitePool, StoreError> {
        self.writer.as_ref().ok_or_else(|| StoreError::NotWritable {
            store: self.name.clone(),
            source: "it was opened for reading".into(),
        })
    }
}

/// A transaction that keeps every other writer waiting; dropped, it is undone.
#[derive(Debug)]
pub struct Hold(Transaction<'static, Sqlite>);

impl Store for SqliteStore {
    type Hold = Hold;

    async fn progress(&self, source: &str) -> Result<Option<Checkpoint>, StoreError> {
        let read = async {
            let mut connection = self.readers.acquire().await?;
            progress::read(&mut connection, source).await
        };
        read.await
            .map_err(|e| self.error("reading its progress", e))
    }

    async fn load(&self, source: &str, tenant: &str, keys: &Keys) -> Result<Loaded, StoreError> {
        let load = async {
            let mut connection = self.readers.acquire().await?;
            load::load(&mut connection, source, tenant, keys).await
        };
        load.await.map_err(|e| self.error("looking calls up", e))
    }

    async fn commit(&self, change: &ChangeSet) -> Result<Durable, StoreError> {
        let pool = self.writer()?;
        let commit = async {
            let mut connection = pool.acquire().await?;
            let done = commit::commit(&mut connection, change).await;
            // SQLite ends a transaction by itself on a full disk; the driver
            // believes it open and would begin no other on this connection.
            if done.is_err() {
                connection.close_on_drop();
            }
            done
        };
        self.committed(commit.await, change)
    }

    /// SQLite's own waiting sleeps up to a tenth of a second between two looks. A
    /// daemon that commits one batch after the other leaves gaps of milliseconds.
    async fn hold(&self) -> Result<Hold, StoreError> {
        let turn = self.turn.as_ref().unwrap_or(self.writer()?);
        let deadline = Instant::now() + open::BUSY_TIMEOUT;
        loop {
            let begun = turn.begin_with(commit::BEGIN).await;
            let error = match begun {
                Ok(begun) => return Ok(Hold(begun)),
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
        let commit = async {
            let mut tx = hold.0;
            let written = commit::write(&mut tx, change).await?;
            if matches!(written, Committed::Done) {
                if let Some((name, note)) = note {
                    backfills::write(&mut tx, &change.source, name, note).await?;
                }
                tx.commit().await?;
            }
            Ok(written)
        };
        self.committed(commit.await, change)
    }

    async fn save_load(
        &self,
        source: &str,
        name: LoadName,
        note: &LoadNote,
    ) -> Result<(), StoreError> {
        let pool = self.writer()?;
        let write = async {
            let mut connection = pool.acquire().await?;
            backfills::write(&mut connection, source, name, note).await
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
            let mut connection = self.readers.acquire().await?;
            backfills::read(&mut connection, source, name).await
        };
        read.await
            .map_err(|e| self.error("reading how far a load is", e))
    }

    async fn statuses(&self, source: &str) -> Result<StatusBook, StoreError> {
        let read = async {
            let mut connection = self.readers.acquire().await?;
            statuses::read(&mut connection, source).await
        };
        read.await
            .map_err(|e| self.error("reading its statuses", e))
    }

    async fn history(
        &self,
        source: &str,
        subject: &Subject,
    ) -> Result<Vec<ChangeEntry>, StoreError> {
        const READ: &str = "SELECT entries FROM change_history \
             WHERE source = ? AND kind = ? AND subject = ? AND part = ? ORDER BY id";
        let (kind, name, part) = history::key(subject);
        let read = async {
            let rows: Vec<String> = sqlx::query_scalar(READ)
                .bind(source)
                .bind(kind)
                .bind(name)
                .bind(part)
                .fetch_all(&self.readers)
                .await?;
            let mut all = Vec::new();
            for row in rows {
                let entries: Vec<ChangeEntry> =
                    serde_json::from_str(&row).map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
                all.extend(entries);
            }
            Ok(all)
        };
        read.await
            .map_err(|e| self.error("reading the history of a call", e))
    }

    async fn page(
        &self,
        source: &str,
        behind: Mark,
        rows_max: u32,
    ) -> Result<Option<Page>, StoreError> {
        let read = async {
            let mut connection = self.readers.acquire().await?;
            page::read(&mut connection, source, behind, rows_max).await
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
        const AUDIT: &str = "DELETE FROM audit_log WHERE id IN (SELECT id FROM audit_log \
             WHERE tenant_id = (SELECT id FROM tenants WHERE name = ?) AND created_at < ? \
             ORDER BY created_at, id LIMIT ?)";
        const HISTORY: &str = "DELETE FROM change_history WHERE id IN (SELECT id \
             FROM change_history \
             WHERE tenant_id = (SELECT id FROM tenants WHERE name = ?) AND at < ? \
             ORDER BY at, id LIMIT ?)";
        let (statement, doing) = match trail {
            Trail::Audit => (AUDIT, "deleting old audit rows"),
            Trail::History => (HISTORY, "deleting old history"),
        };
        let prune = sqlx::query(statement)
            .bind(tenant)
            .bind(before)
            .bind(rows_max);
        let done = prune.execute(self.writer()?).await;
        done.map(|done| done.rows_affected())
            .map_err(|e| self.error(doing, e))
    }
}
