//! Rows that could not be understood, kept with all that is needed to try again.

use rusqlite::types::Type;
use rusqlite::{Error, Row, params};

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
            .map_err(|e| match &e {
                Error::FromSqlConversionFailure(..) => StateError::corrupt(&self.path, e),
                _ => self.error(&e),
            })
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
