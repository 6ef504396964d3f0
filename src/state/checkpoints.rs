//! The checkpoint of each source, the earlier ones, and which server it was of.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{StateError, StateFile, now};
use crate::checkpoint::Checkpoint;

/// Most history entries kept of one source: years of restarts and resets.
const HISTORY_MAX: u32 = 1000;

/// What is known of a source apart from its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRecord {
    /// The server it was when last followed; `None` after a reset.
    pub identity: Option<String>,
    /// Epoch of its checkpoint; 0 without one.
    pub epoch: u64,
}

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
    /// What is known of a source; `None` when nothing is.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub fn source(&self, name: &str) -> Result<Option<SourceRecord>, StateError> {
        let identity: Option<String> = self
            .connection
            .query_row(
                "SELECT identity FROM sources WHERE name = ?1",
                [name],
                |row| row.get(0),
            )
            .optional()
            .map_err(|e| self.error(&e))?;
        let checkpoint = self.checkpoint(name)?;
        if identity.is_none() && checkpoint.is_none() {
            return Ok(None);
        }
        Ok(Some(SourceRecord {
            identity,
            epoch: checkpoint.map_or(0, |checkpoint| checkpoint.epoch),
        }))
    }

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

    /// Remembers which server a source is, or checks that it still is that one.
    ///
    /// # Errors
    /// [`StateError::OtherSource`] when it is another.
    pub fn bind(&mut self, name: &str, identity: &str) -> Result<(), StateError> {
        match self.source(name)?.and_then(|source| source.identity) {
            Some(recorded) if recorded == identity => Ok(()),
            Some(recorded) => Err(StateError::OtherSource {
                name: name.to_owned(),
                recorded,
                actual: identity.to_owned(),
                reason: "nobody asked for that".to_owned(),
            }),
            None => self
                .connection
                .execute(
                    "INSERT INTO sources (name, identity) VALUES (?1, ?2)",
                    [name, identity],
                )
                .map(drop)
                .map_err(|e| self.error(&e)),
        }
    }

    /// The checkpoint of a source.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read or holds no position.
    pub fn checkpoint(&self, name: &str) -> Result<Option<Checkpoint>, StateError> {
        let found = self
            .connection
            .prepare_cached(
                "SELECT epoch, position, gtid, event_time FROM checkpoints WHERE source = ?1",
            )
            .and_then(|mut query| query.query_row([name], Columns::read).optional())
            .map_err(|e| self.error(&e))?;
        found.map(|columns| self.understand(columns)).transpose()
    }

    /// When the binlog file of a source's checkpoint was begun, by the source's
    /// clock, in seconds since 1970; `None` where it was not noted.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub fn file_begun(&self, name: &str) -> Result<Option<i64>, StateError> {
        self.connection
            .query_row(
                "SELECT file_begun FROM checkpoints WHERE source = ?1",
                [name],
                |row| row.get(0),
            )
            .optional()
            .map(Option::flatten)
            .map_err(|e| self.error(&e))
    }

    /// Replaces the checkpoint of a source, and when its binlog file was begun.
    /// Cheap: one row, no fsync.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be written.
    pub fn save_checkpoint(
        &mut self,
        name: &str,
        checkpoint: &Checkpoint,
        file_begun: Option<i64>,
    ) -> Result<(), StateError> {
        save(&self.connection, name, checkpoint, file_begun).map_err(|e| self.error(&e))
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
        self.entries(
            "SELECT epoch, position, gtid, event_time, id, reason, saved_at
             FROM checkpoint_history WHERE source = ?1 ORDER BY id DESC LIMIT ?2",
            name,
            i64::from(limit),
        )
    }

    /// One entry of the history.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub fn history_entry(&self, name: &str, id: i64) -> Result<Option<HistoryEntry>, StateError> {
        let entries = self.entries(
            "SELECT epoch, position, gtid, event_time, id, reason, saved_at
             FROM checkpoint_history WHERE source = ?1 AND id = ?2",
            name,
            id,
        )?;
        Ok(entries.into_iter().next())
    }

    /// Moves a source to `checkpoint`, whose epoch the caller has raised, in
    /// one transaction: the old checkpoint goes to the history, and the source
    /// may be another server from now on.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be written; then nothing changed.
    pub fn reset(
        &mut self,
        name: &str,
        checkpoint: &Checkpoint,
        reason: &str,
    ) -> Result<(), StateError> {
        let old = self.checkpoint(name)?;
        let path = self.path.clone();
        let write = |connection: &mut Connection| {
            let transaction = connection.transaction()?;
            if let Some(old) = &old {
                remember(&transaction, name, old, reason)?;
            }
            save(&transaction, name, checkpoint, None)?;
            transaction.execute("DELETE FROM sources WHERE name = ?1", [name])?;
            transaction.commit()
        };
        write(&mut self.connection).map_err(|e| StateError::of(&path, &e))
    }

    fn entries(&self, sql: &str, name: &str, number: i64) -> Result<Vec<HistoryEntry>, StateError> {
        let read = |row: &Row<'_>| Ok((Columns::read(row)?, row.get(4)?, row.get(5)?, row.get(6)?));
        let rows: Vec<(Columns, i64, String, i64)> = self
            .connection
            .prepare(sql)
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

/// A checkpoint as stored.
struct Columns {
    epoch: i64,
    position: String,
    gtid: String,
    event_time: Option<i64>,
}

impl Columns {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            epoch: row.get(0)?,
            position: row.get(1)?,
            gtid: row.get(2)?,
            event_time: row.get(3)?,
        })
    }
}

/// SQLite's numbers are signed. Epochs count an operator's commands.
fn stored_epoch(checkpoint: &Checkpoint) -> i64 {
    i64::try_from(checkpoint.epoch).unwrap_or(i64::MAX)
}

fn save(
    connection: &Connection,
    name: &str,
    checkpoint: &Checkpoint,
    file_begun: Option<i64>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO checkpoints (source, epoch, position, gtid, event_time, saved_at, file_begun)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (source) DO UPDATE SET epoch = excluded.epoch,
                 position = excluded.position, gtid = excluded.gtid,
                 event_time = excluded.event_time, saved_at = excluded.saved_at,
                 file_begun = excluded.file_begun",
        )?
        .execute(params![
            name,
            stored_epoch(checkpoint),
            checkpoint.position.to_string(),
            checkpoint.gtid.to_string(),
            checkpoint.event_time,
            now(),
            file_begun,
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
        "INSERT INTO checkpoint_history (source, epoch, position, gtid, event_time, reason, saved_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            name,
            stored_epoch(checkpoint),
            checkpoint.position.to_string(),
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
