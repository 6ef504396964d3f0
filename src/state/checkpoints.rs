//! The checkpoint of each source, and the earlier ones.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::skipped::{self, Skipped};
use super::{StateError, StateFile, now};
use crate::checkpoint::Checkpoint;

/// Most history entries kept of one source: years of restarts and resets.
const HISTORY_MAX: u32 = 1000;

/// A checkpoint that was in force once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// For `didtail checkpoint reset --to history:ID`.
    pub id: i64,
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Why it was remembered.
    pub reason: String,
    /// When it was remembered, in seconds since 1970 (UTC).
    pub saved_at: i64,
}

impl StateFile {
    /// Names of all sources with a checkpoint, in order.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub fn sources(&self) -> Result<Vec<String>, StateError> {
        self.connection
            .prepare("SELECT source FROM checkpoints ORDER BY source")
            .and_then(|mut query| query.query_map([], |row| row.get(0))?.collect())
            .map_err(|e| self.error(&e))
    }

    /// The checkpoint of a source.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read or holds no position.
    pub fn checkpoint(&self, name: &str) -> Result<Option<Checkpoint>, StateError> {
        let found = self
            .connection
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM checkpoints WHERE source = ?1"
            ))
            .and_then(|mut query| query.query_row([name], Columns::read).optional())
            .map_err(|e| self.error(&e))?;
        found.map(|columns| self.understand(columns)).transpose()
    }

    /// Replaces the checkpoint of a source. Cheap: one row, no fsync.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be written.
    pub fn save_checkpoint(
        &mut self,
        name: &str,
        checkpoint: &Checkpoint,
    ) -> Result<(), StateError> {
        save(&self.connection, name, checkpoint).map_err(|e| self.error(&e))
    }

    /// Adds a checkpoint to the history.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be written.
    pub fn remember(
        &mut self,
        name: &str,
        checkpoint: &Checkpoint,
        reason: &str,
    ) -> Result<(), StateError> {
        remember(&self.connection, name, checkpoint, reason).map_err(|e| self.error(&e))
    }

    /// The newest entries of the history, the newest first.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub fn history(&self, name: &str, limit: u32) -> Result<Vec<HistoryEntry>, StateError> {
        self.entries("ORDER BY id DESC LIMIT ?2", name, i64::from(limit))
    }

    /// One entry of the history.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub fn history_entry(&self, name: &str, id: i64) -> Result<Option<HistoryEntry>, StateError> {
        let entries = self.entries("AND id = ?2", name, id)?;
        Ok(entries.into_iter().next())
    }

    /// Moves a source to `checkpoint`, whose epoch the caller has raised, in
    /// one transaction: the old checkpoint goes to the history. `skipped` is what lies
    /// between, if nobody read it; what was skipped behind the new place is read now.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be written; then nothing changed.
    pub fn reset(
        &mut self,
        name: &str,
        checkpoint: &Checkpoint,
        reason: &str,
        skipped: Option<Skipped>,
    ) -> Result<(), StateError> {
        let old = self.checkpoint(name)?;
        let path = self.path.clone();
        let write = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            if let Some(old) = &old {
                remember(&transaction, name, old, reason)?;
            }
            save(&transaction, name, checkpoint)?;
            if let Some(since) = checkpoint.event_time {
                let behind = Skipped {
                    since,
                    until: i64::MAX,
                    is_lost: false,
                };
                skipped::close(&transaction, name, behind)?;
            }
            if let Some(stretch) = skipped {
                skipped::skip(&transaction, name, stretch)?;
            }
            transaction.commit()
        };
        write(&mut self.connection).map_err(|e| StateError::of(&path, &e))
    }

    fn entries(
        &self,
        which: &str,
        name: &str,
        number: i64,
    ) -> Result<Vec<HistoryEntry>, StateError> {
        let sql = format!(
            "SELECT {COLUMNS}, id, reason, saved_at
             FROM checkpoint_history WHERE source = ?1 {which}"
        );
        let read = |row: &Row<'_>| Ok((Columns::read(row)?, row.get(6)?, row.get(7)?, row.get(8)?));
        let rows: Vec<(Columns, i64, String, i64)> = self
            .connection
            .prepare(&sql)
            .and_then(|mut query| query.query_map(params![name, number], read)?.collect())
            .map_err(|e| self.error(&e))?;
        rows.into_iter()
            .map(|(columns, id, reason, saved_at)| {
                Ok(HistoryEntry {
                    id,
                    checkpoint: self.understand(columns)?,
                    reason,
                    saved_at,
                })
            })
            .collect()
    }

    fn understand(&self, columns: Columns) -> Result<Checkpoint, StateError> {
        Ok(Checkpoint {
            epoch: u64::try_from(columns.epoch).map_err(|e| StateError::corrupt(&self.path, e))?,
            server: columns.server,
            file_begun: columns.file_begun,
            position: self.position(&columns.position)?,
            gtid: columns
                .gtid
                .parse()
                .map_err(|e| StateError::corrupt(&self.path, e))?,
            event_time: columns.event_time,
            revision: 0,
        })
    }
}

/// What [`Columns`] is read from, in that order.
const COLUMNS: &str = "epoch, server, position, file_begun, gtid, event_time";

/// A checkpoint as stored.
struct Columns {
    epoch: i64,
    server: Option<String>,
    file_begun: Option<i64>,
    position: String,
    gtid: String,
    event_time: Option<i64>,
}

impl Columns {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            epoch: row.get(0)?,
            server: row.get(1)?,
            position: row.get(2)?,
            file_begun: row.get(3)?,
            gtid: row.get(4)?,
            event_time: row.get(5)?,
        })
    }
}

/// SQLite's numbers are signed. Epochs count an operator's commands.
fn stored_epoch(checkpoint: &Checkpoint) -> i64 {
    i64::try_from(checkpoint.epoch).unwrap_or(i64::MAX)
}

fn save(connection: &Connection, name: &str, checkpoint: &Checkpoint) -> rusqlite::Result<()> {
    connection
        .prepare_cached(&format!(
            "INSERT OR REPLACE INTO checkpoints (source, {COLUMNS}, saved_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
        ))?
        .execute(params![
            name,
            stored_epoch(checkpoint),
            checkpoint.server,
            checkpoint.position.to_string(),
            checkpoint.file_begun,
            checkpoint.gtid.to_string(),
            checkpoint.event_time,
            now(),
        ])
        .map(drop)
}

fn remember(
    connection: &Connection,
    name: &str,
    checkpoint: &Checkpoint,
    reason: &str,
) -> rusqlite::Result<()> {
    connection.execute(
        &format!(
            "INSERT INTO checkpoint_history (source, {COLUMNS}, reason, saved_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
        ),
        params![
            name,
            stored_epoch(checkpoint),
            checkpoint.server,
            checkpoint.position.to_string(),
            checkpoint.file_begun,
            checkpoint.gtid.to_string(),
            checkpoint.event_time,
            reason,
            now(),
        ],
    )?;
    connection
        .execute(
            "DELETE FROM checkpoint_history WHERE source = ?1 AND id <= (
                 SELECT id FROM checkpoint_history WHERE source = ?1
                 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            params![name, HISTORY_MAX],
        )
        .map(drop)
}
