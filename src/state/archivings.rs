//! Up to when the watched tables were archived, from a position on.

use rusqlite::params;

use super::{StateError, StateFile};
use crate::binlog::Position;

/// Most archivings kept of one table: the nightly ones of as long as a binlog
/// is kept anywhere.
const ARCHIVINGS_MAX: u32 = 50;

/// Most calls kept that were inserted behind an archiving and began before it.
const INSERTED_MAX: u32 = 5_000;

/// A call whose row was inserted behind an archiving although it began before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsertedCall {
    /// `uniqueid`.
    pub uniqueid: String,
    /// `lead_id`, where it is known.
    pub lead: Option<String>,
    /// Where in the binlog.
    pub position: Position,
}

/// A table was archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archiving {
    /// The table.
    pub table: String,
    /// Where in the binlog.
    pub position: Position,
    /// Rows from before this are gone; seconds since 1970 (UTC).
    pub before: i64,
}

impl StateFile {
    /// The archivings of a source's tables, in the order of their positions.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub fn archivings(&self, name: &str) -> Result<Vec<Archiving>, StateError> {
        let rows: Vec<(String, String, i64)> = self
            .connection
            .prepare_cached("SELECT table_name, position, before FROM archivings WHERE source = ?1")
            .and_then(|mut query| {
                query
                    .query_map([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                    .collect()
            })
            .map_err(|e| self.error(&e))?;
        let mut archivings = Vec::with_capacity(rows.len());
        for (table, position, before) in rows {
            archivings.push(Archiving {
                table,
                position: self.position(&position)?,
                before,
            });
        }
        archivings.sort_by(|a, b| a.position.cmp(&b.position));
        Ok(archivings)
    }

    /// Remembers an archiving, and forgets the oldest beyond a limit.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be written.
    pub fn save_archiving(&mut self, name: &str, archiving: &Archiving) -> Result<(), StateError> {
        let Archiving {
            table,
            position,
            before,
        } = archiving;
        let mut write = || {
            let transaction = self.connection.transaction()?;
            transaction.execute(
                "INSERT OR REPLACE INTO archivings (source, table_name, position, before)
                 VALUES (?1, ?2, ?3, ?4)",
                params![name, table, position.to_string(), before],
            )?;
            transaction.execute(
                "DELETE FROM archivings WHERE source = ?1 AND table_name = ?2 AND id <= (
                     SELECT id FROM archivings WHERE source = ?1 AND table_name = ?2
                     ORDER BY id DESC LIMIT 1 OFFSET ?3)",
                params![name, table, ARCHIVINGS_MAX],
            )?;
            transaction.commit()
        };
        write().map_err(|e| StateError::of(&self.path, &e))
    }

    /// The calls of a source that were inserted behind an archiving, the oldest first.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub fn inserted(&self, name: &str) -> Result<Vec<InsertedCall>, StateError> {
        let rows: Vec<(String, String, String)> = self
            .connection
            .prepare_cached(
                "SELECT uniqueid, lead, position FROM inserted WHERE source = ?1 ORDER BY id",
            )
            .and_then(|mut query| {
                query
                    .query_map([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                    .collect()
            })
            .map_err(|e| self.error(&e))?;
        let call = |(uniqueid, lead, position): (String, String, String)| {
            Ok(InsertedCall {
                uniqueid,
                lead: Some(lead).filter(|lead| !lead.is_empty()),
                position: self.position(&position)?,
            })
        };
        rows.into_iter().map(call).collect()
    }

    /// Remembers calls that were inserted behind an archiving, and forgets the
    /// oldest beyond a limit.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be written.
    pub fn save_inserted(&mut self, name: &str, calls: &[InsertedCall]) -> Result<(), StateError> {
        if calls.is_empty() {
            return Ok(());
        }
        let mut write = || {
            let transaction = self.connection.transaction()?;
            for call in calls {
                transaction.execute(
                    "INSERT OR REPLACE INTO inserted (source, uniqueid, lead, position)
                     VALUES (?1, ?2, ?3, ?4)",
                    params![
                        name,
                        call.uniqueid,
                        call.lead.as_deref().unwrap_or_default(),
                        call.position.to_string()
                    ],
                )?;
            }
            transaction.execute(
                "DELETE FROM inserted WHERE source = ?1 AND id <= (
                     SELECT id FROM inserted WHERE source = ?1
                     ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                params![name, INSERTED_MAX],
            )?;
            transaction.commit()
        };
        write().map_err(|e| StateError::of(&self.path, &e))
    }
}
