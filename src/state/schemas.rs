//! The columns that a watched table had from a position on.

use rusqlite::params;

use super::{StateError, StateFile};
use crate::binlog::Position;
use crate::vicidial::Column;

/// Most versions kept of one table. A table changes with a VICIdial upgrade, so
/// these outlast every binlog.
const VERSIONS_MAX: u32 = 50;

/// The columns of one table, in order, from a position on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSchema {
    /// Where they began to hold.
    pub first_position: Position,
    /// The columns.
    pub columns: Vec<Column>,
}

impl StateFile {
    /// The versions of a table, in the order of their positions.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub fn schemas(&self, name: &str, table: &str) -> Result<Vec<TableSchema>, StateError> {
        let rows: Vec<(String, String)> = self
            .connection
            .prepare_cached(
                "SELECT first_position, columns FROM table_schemas
                 WHERE source = ?1 AND table_name = ?2",
            )
            .and_then(|mut query| {
                query
                    .query_map([name, table], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .map_err(|e| self.error(&e))?;
        let mut schemas = Vec::with_capacity(rows.len());
        for (position, columns) in rows {
            schemas.push(TableSchema {
                first_position: self.position(&position)?,
                columns: serde_json::from_str(&columns)
                    .map_err(|e| StateError::corrupt(&self.path, e))?,
            });
        }
        schemas.sort_by(|a, b| a.first_position.cmp(&b.first_position));
        Ok(schemas)
    }

    /// Remembers the columns of a table from a position on, replacing what was
    /// known for that position, and forgets the oldest beyond a limit.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be written.
    pub fn save_schema(
        &mut self,
        name: &str,
        table: &str,
        first: &Position,
        columns: &[Column],
    ) -> Result<(), StateError> {
        let path = self.path.clone();
        let json = serde_json::to_string(columns).map_err(|e| StateError::Other {
            path: path.clone(),
            detail: e.to_string(),
        })?;
        let mut write = || {
            let transaction = self.connection.transaction()?;
            // A new row instead of an update: the newest are those saved last.
            transaction.execute(
                "INSERT OR REPLACE INTO table_schemas (source, table_name, first_position, columns)
                 VALUES (?1, ?2, ?3, ?4)",
                params![name, table, first.to_string(), json],
            )?;
            transaction.execute(
                "DELETE FROM table_schemas WHERE source = ?1 AND table_name = ?2 AND id <= (
                     SELECT id FROM table_schemas WHERE source = ?1 AND table_name = ?2
                     ORDER BY id DESC LIMIT 1 OFFSET ?3)",
                params![name, table, VERSIONS_MAX],
            )?;
            transaction.commit()
        };
        write().map_err(|e| StateError::of(&path, &e))
    }
}
