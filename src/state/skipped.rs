//! Stretches of a source's binlog that nobody read: an operator moved the position past
//! them, or the store that had them is gone. They are missing in the numbers until the
//! calls of their time were read from VICIdial's tables, or the position is moved back.

use rusqlite::{Connection, TransactionBehavior, params};

use super::{StateError, StateFile};

/// From the time of the last change that was applied to that of the first one which is
/// read again; seconds since 1970 (UTC), by the source's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The first second of it.
    pub since: i64,
    /// The first second behind it.
    pub until: i64,
    /// It was read, and what was made of it is lost with the store.
    pub is_lost: bool,
}

impl Skipped {
    /// What lies between; `None` where nothing does.
    #[must_use]
    pub fn between(since: i64, until: i64) -> Option<Self> {
        let is_lost = false;
        (since < until).then_some(Self {
            since,
            until,
            is_lost,
        })
    }
}

impl StateFile {
    /// The stretches of a source, the first first.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub fn skipped(&self, name: &str) -> Result<Vec<Skipped>, StateError> {
        let query = "SELECT since, until, lost FROM skipped WHERE source = ?1 ORDER BY since";
        self.connection
            .prepare_cached(query)
            .and_then(|mut query| {
                let stretch = |row: &rusqlite::Row<'_>| {
                    Ok(Skipped {
                        since: row.get(0)?,
                        until: row.get(1)?,
                        is_lost: row.get(2)?,
                    })
                };
                query.query_map([name], stretch)?.collect()
            })
            .map_err(|e| self.error(&e))
    }

    /// Takes note of a stretch.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be written.
    pub fn skip(&mut self, name: &str, stretch: Skipped) -> Result<(), StateError> {
        skip(&self.connection, name, stretch).map_err(|e| self.error(&e))
    }

    /// The numbers have every call of this time again: what is left of the stretches is
    /// what it does not reach.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be written.
    pub fn close_skipped(&mut self, name: &str, read: Skipped) -> Result<(), StateError> {
        let behavior = TransactionBehavior::Immediate;
        let mut write = || {
            let tx = self.connection.transaction_with_behavior(behavior)?;
            close(&tx, name, read)?;
            tx.commit()
        };
        let written: rusqlite::Result<()> = write();
        written.map_err(|e| self.error(&e))
    }
}

/// One that begins where another does takes its place where it is longer.
pub(super) fn skip(connection: &Connection, name: &str, stretch: Skipped) -> rusqlite::Result<()> {
    let Skipped {
        since,
        until,
        is_lost,
    } = stretch;
    let upsert = "INSERT INTO skipped (source, since, until, lost) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (source, since) DO UPDATE SET until = max(until, excluded.until),
             lost = max(lost, excluded.lost)";
    connection
        .execute(upsert, params![name, since, until, is_lost])
        .map(drop)
}

/// What was read in the middle of a stretch leaves it as it is.
pub(super) fn close(
    connection: &Connection,
    name: &str,
    Skipped { since, until, .. }: Skipped,
) -> rusqlite::Result<()> {
    for statement in [
        "DELETE FROM skipped WHERE source = ?1 AND since >= ?2 AND until <= ?3",
        "UPDATE skipped SET until = ?2
         WHERE source = ?1 AND since < ?2 AND until > ?2 AND until <= ?3",
        "UPDATE OR REPLACE skipped SET since = ?3
         WHERE source = ?1 AND since >= ?2 AND since < ?3 AND until > ?3",
    ] {
        connection.execute(statement, params![name, since, until])?;
    }
    Ok(())
}
