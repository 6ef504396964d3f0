//! Up to when the watched tables were archived, from a position on.

use rusqlite::params;

use super::{StateError, StateFile};
use crate::binlog::Position;

/// Most archivings kept of one table: the nightly ones of as long as a binlog
/// is kept anywhere.
const ARCHIVINGS_MAX: u32 = 50;

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
                position: position
                    .parse()
                    .map_err(|e| StateError::corrupt(&self.path, e))?,
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
}
