//! Rows that could not be understood, kept with all that is needed to try again.

use rusqlite::types::Type;
use rusqlite::{Error, OptionalExtension, Row, TransactionBehavior, params};

use super::{StateError, StateFile, now};
use crate::binlog::Position;

/// Seconds of a day of retention.
const DAY_SECONDS: i64 = 86_400;

/// A row that could not be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantinedRow {
    /// Where its event begins.
    pub position: Position,
    /// Number of the row in the event, from 0.
    pub row_index: u32,
    /// When the event was written, in seconds since 1970 (UTC).
    pub event_time: i64,
    /// The table.
    pub table: String,
    /// Why it could not be understood.
    pub reason: String,
    /// The event's code.
    pub event_code: u8,
    /// The event without header and checksum.
    pub body: Vec<u8>,
    /// The table map event that it refers to, likewise.
    pub table_map: Vec<u8>,
}

/// A row that is kept, with what names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Names it in commands.
    pub id: i64,
    /// The source.
    pub source: String,
    /// When it was quarantined; seconds since 1970 (UTC).
    pub saved_at: i64,
    /// The row.
    pub row: QuarantinedRow,
}

/// What [`read`] takes, and behind it what [`read_set_aside`] does.
const COLUMNS: &str = "position, row_index, event_time, table_name, reason, event_code, body, \
                       table_map, id, source, saved_at";

impl StateFile {
    /// Keeps a row. The same row of the same event is kept once.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be written.
    pub fn quarantine(&mut self, name: &str, row: &QuarantinedRow) -> Result<(), StateError> {
        self.connection
            .prepare_cached(
                "INSERT INTO quarantine (source, position, row_index, event_time, table_name,
                     reason, event_code, body, table_map, saved_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                 ON CONFLICT (source, position, row_index) DO UPDATE SET reason = excluded.reason",
            )
            .and_then(|mut insert| {
                insert.execute(params![
                    name,
                    row.position.to_string(),
                    row.row_index,
                    row.event_time,
                    row.table,
                    row.reason,
                    row.event_code,
                    row.body,
                    row.table_map,
                    now(),
                ])
            })
            .map(drop)
            .map_err(|e| self.error(&e))
    }

    /// Whether this row of this event is kept already.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub fn has_set_aside(&self, name: &str, row: &QuarantinedRow) -> Result<bool, StateError> {
        let query =
            "SELECT 1 FROM quarantine WHERE source = ?1 AND position = ?2 AND row_index = ?3";
        self.connection
            .prepare_cached(query)
            .and_then(|mut query| {
                query.exists(params![name, row.position.to_string(), row.row_index])
            })
            .map_err(|e| self.error(&e))
    }

    /// Number of rows kept.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub fn quarantine_count(&self, name: &str) -> Result<u64, StateError> {
        self.connection
            .query_row(
                "SELECT count(*) FROM quarantine WHERE source = ?1",
                [name],
                |row| row.get::<_, i64>(0),
            )
            .map(i64::unsigned_abs)
            .map_err(|e| self.error(&e))
    }

    /// The rows kept, the first first.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub fn quarantined(&self, name: &str, limit: u32) -> Result<Vec<QuarantinedRow>, StateError> {
        self.connection
            .prepare(
                "SELECT position, row_index, event_time, table_name, reason, event_code, body,
                     table_map
                 FROM quarantine WHERE source = ?1 ORDER BY id LIMIT ?2",
            )
            .and_then(|mut query| query.query_map(params![name, limit], read)?.collect())
            .map_err(|e| self.unreadable(&e))
    }

    /// The rows of all sources behind the one named `behind` (0: from the first on), at
    /// most `limit` of them.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub fn set_aside(&self, behind: i64, limit: u32) -> Result<Vec<SetAside>, StateError> {
        let query = format!("SELECT {COLUMNS} FROM quarantine WHERE id > ?1 ORDER BY id LIMIT ?2");
        self.connection
            .prepare(&query)
            .and_then(|mut query| {
                let rows = query.query_map(params![behind, limit], read_set_aside)?;
                rows.collect()
            })
            .map_err(|e| self.unreadable(&e))
    }

    /// The row of this name.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub fn set_aside_row(&self, id: i64) -> Result<Option<SetAside>, StateError> {
        let query = format!("SELECT {COLUMNS} FROM quarantine WHERE id = ?1");
        self.connection
            .query_row(&query, [id], read_set_aside)
            .optional()
            .map_err(|e| self.unreadable(&e))
    }

    /// Forgets rows that were dealt with: the numbers do not lack them any more, or
    /// nobody wants them. Says how many were there still.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be written; then all are there.
    pub fn forget_set_aside(&mut self, ids: &[i64]) -> Result<u64, StateError> {
        let mut forget = || {
            let behavior = TransactionBehavior::Immediate;
            let tx = self.connection.transaction_with_behavior(behavior)?;
            let mut count = 0;
            for id in ids {
                let note = "INSERT INTO mended (source, rows)
                     SELECT source, 1 FROM quarantine WHERE id = ?1
                     ON CONFLICT (source) DO UPDATE SET rows = rows + 1";
                tx.execute(note, [id])?;
                count += tx.execute("DELETE FROM quarantine WHERE id = ?1", [id])?;
            }
            tx.commit()?;
            Ok(count as u64)
        };
        let forgotten: rusqlite::Result<u64> = forget();
        forgotten.map_err(|e| self.error(&e))
    }

    /// How many rows of a source were dealt with since the daemon took note of it.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub(super) fn mended(&self, name: &str) -> Result<u64, StateError> {
        let query = "SELECT rows FROM mended WHERE source = ?1";
        let rows = self.connection.query_row(query, [name], |row| row.get(0));
        let rows: Option<i64> = rows.optional().map_err(|e| self.error(&e))?;
        Ok(rows.unwrap_or(0).unsigned_abs())
    }

    /// Takes note of the rows that were dealt with: the kept note on the source counts
    /// so many less from here on. Says how many.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be written.
    pub fn take_mended(&mut self, name: &str) -> Result<u64, StateError> {
        if self.mended(name)? == 0 {
            return Ok(0);
        }
        let mut take = || {
            let behavior = TransactionBehavior::Immediate;
            let tx = self.connection.transaction_with_behavior(behavior)?;
            let rows: i64 = tx.query_row(
                "DELETE FROM mended WHERE source = ?1 RETURNING rows",
                [name],
                |row| row.get(0),
            )?;
            let count = "UPDATE status SET note = json_set(note, '$.missing.quarantined',
                     max(0, coalesce(note ->> '$.missing.quarantined', 0) - ?2))
                 WHERE source = ?1";
            tx.execute(count, params![name, rows])?;
            tx.commit()?;
            Ok(rows.unsigned_abs())
        };
        let taken: rusqlite::Result<u64> = take();
        taken.map_err(|e| self.error(&e))
    }

    fn unreadable(&self, error: &Error) -> StateError {
        match error {
            Error::FromSqlConversionFailure(..) => StateError::corrupt(&self.path, error),
            _ => self.error(error),
        }
    }

    /// Forgets rows that were kept for longer than `days` days; 0 forgets none.
    /// Says how many.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be written.
    pub fn prune_quarantine(&mut self, days: u32) -> Result<u64, StateError> {
        if days == 0 {
            return Ok(0);
        }
        let before = now() - i64::from(days) * DAY_SECONDS;
        self.connection
            .execute("DELETE FROM quarantine WHERE saved_at < ?1", [before])
            .map(|count| count as u64)
            .map_err(|e| self.error(&e))
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<QuarantinedRow> {
    let position: Position = row
        .get::<_, String>(0)?
        .parse()
        .map_err(|e| Error::FromSqlConversionFailure(0, Type::Text, Box::new(e)))?;
    Ok(QuarantinedRow {
        position,
        row_index: row.get(1)?,
        event_time: row.get(2)?,
        table: row.get(3)?,
        reason: row.get(4)?,
        event_code: row.get(5)?,
        body: row.get(6)?,
        table_map: row.get(7)?,
    })
}

fn read_set_aside(row: &Row<'_>) -> rusqlite::Result<SetAside> {
    Ok(SetAside {
        id: row.get(8)?,
        source: row.get(9)?,
        saved_at: row.get(10)?,
        row: read(row)?,
    })
}
