//! What the daemon last said about a source, so that `didtail status` needs no
//! connection to it and works when it is down.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{StateError, StateFile, now};

/// How a source is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Every change so far is in the numbers.
    Running,
    /// It goes on, and something is missing in the numbers; `missing` names it.
    Incomplete,
    /// Another daemon has the source's lease; it takes over when that ends.
    Standby,
    /// It waits for something to be mended, or was shut down.
    #[default]
    Stopped,
}

/// How much was read again by SELECT, because the binlog has a statement or a
/// part of a row instead of the row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rereads {
    /// Statements and partial rows.
    pub changes: u64,
    /// Rows that were read.
    pub rows: u64,
    /// Statements that do not name their rows, so that those of a time were read.
    pub windows: u64,
    /// How many changes of each shape there were: a statement without its
    /// values. The first so many shapes.
    pub shapes: BTreeMap<String, u64>,
}

/// Shapes of statements that are counted each for itself; VICIdial has some dozens.
const SHAPES_MAX: usize = 64;

impl Rereads {
    /// Counts a change of this shape.
    pub fn count(&mut self, shape: &str, times: u64) {
        if let Some(count) = self.shapes.get_mut(shape) {
            *count += times;
        } else if self.shapes.len() < SHAPES_MAX {
            self.shapes.insert(shape.to_owned(), times);
        }
    }

    /// Adds what another batch needed.
    pub fn add(&mut self, other: &Self) {
        self.changes += other.changes;
        self.rows += other.rows;
        self.windows += other.windows;
        for (shape, times) in &other.shapes {
            self.count(shape, *times);
        }
    }
}

/// What was seen and cannot be counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Missing {
    /// Statements whose rows could not be read again, or not all of them.
    pub statements: u64,
    /// Events with a code that nobody knows.
    pub unrecognised: u64,
    /// Quarantined rows or events.
    pub quarantined: u64,
    /// INCIDENT events: the source says that it lost events.
    pub incidents: u64,
    /// Stretches of the binlog that nobody read: see [`super::Skipped`].
    pub skipped: u64,
}

impl Missing {
    /// True when nothing is missing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what another batch lacks.
    pub fn add(&mut self, other: Self) {
        self.statements += other.statements;
        self.unrecognised += other.unrecognised;
        self.quarantined += other.quarantined;
        self.incidents += other.incidents;
        self.skipped += other.skipped;
    }

    /// What is missing, a phrase each.
    #[must_use]
    pub fn phrases(&self) -> Vec<String> {
        let Self {
            statements,
            unrecognised,
            quarantined,
            incidents,
            skipped,
        } = *self;
        [
            (
                statements,
                "statements whose rows could not all be read again",
            ),
            (unrecognised, "events of unknown kind"),
            (quarantined, "quarantined rows"),
            (incidents, "gaps reported by the source"),
            (skipped, "skipped stretches of the binlog"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
    }
}

/// A note on one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusNote {
    /// How it is doing.
    pub health: Health,
    /// What is missing in the numbers since the source is followed.
    pub missing: Missing,
    /// What was read again by SELECT since the source is followed.
    pub rereads: Rereads,
    /// How far the numbers are behind the source, in seconds; 0 while it has nothing
    /// to say.
    pub lag_seconds: Option<i64>,
    /// Rows of watched tables applied since the daemon started.
    pub rows_applied: u64,
    /// The last error.
    pub last_error: Option<String>,
    /// When it happened, in seconds since 1970 (UTC).
    pub last_error_at: Option<i64>,
    /// When the note was written, in seconds since 1970 (UTC); set by [`StateFile::set_status`].
    pub saved_at: i64,
}

impl StateFile {
    /// Replaces the note on a source.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be written.
    pub fn set_status(&mut self, name: &str, note: &StatusNote) -> Result<(), StateError> {
        let json = serde_json::to_string(note).map_err(|e| StateError::Other {
            path: self.path.clone(),
            detail: e.to_string(),
        })?;
        self.connection
            .prepare_cached(
                "INSERT INTO status (source, note, saved_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (source) DO UPDATE SET note = excluded.note,
                     saved_at = excluded.saved_at",
            )
            .and_then(|mut upsert| upsert.execute(params![name, json, now()]))
            .map(drop)
            .map_err(|e| self.error(&e))
    }

    /// The note on a source.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub fn status(&self, name: &str) -> Result<Option<StatusNote>, StateError> {
        let found: Option<(String, i64)> = self
            .connection
            .query_row(
                "SELECT note, saved_at FROM status WHERE source = ?1",
                [name],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()
            .map_err(|e| self.error(&e))?;
        let Some((json, saved_at)) = found else {
            return Ok(None);
        };
        let mut note: StatusNote =
            serde_json::from_str(&json).map_err(|e| StateError::corrupt(&self.path, e))?;
        let quarantined = &mut note.missing.quarantined;
        *quarantined = quarantined.saturating_sub(self.mended(name)?);
        note.missing.skipped = self.skipped(name)?.len() as u64;
        Ok(Some(StatusNote { saved_at, ..note }))
    }
}
