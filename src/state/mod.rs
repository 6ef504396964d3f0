//! The local state file: checkpoint and history, status, quarantine.
//!
//! Why a local file when the store has the position too: it works while the
//! store is down, it carries what is of use to nobody but this daemon, and an
//! operator can move the position without touching the numbers. Losing it
//! loses no number; see [`crate::checkpoint`].
//!
//! The calls block, each for one small SQLite transaction without an fsync
//! (WAL, `synchronous = NORMAL`): after a power cut the file may be a few
//! seconds old, which the store's copy makes up for.

mod checkpoints;
mod error;
mod lock;
mod quarantine;
mod skipped;
mod status;
#[cfg(test)]
mod tests;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};

pub use checkpoints::HistoryEntry;
pub use error::StateError;
pub use quarantine::{QuarantinedRow, SetAside};
pub use skipped::Skipped;
pub use status::{Health, Missing, Rereads, StatusNote};

use crate::binlog::Position;
use crate::folder;
use lock::Lock;

/// Append only: a step that has been released is never edited.
const STEPS: &[M<'static>] = &[
    M::up(include_str!("../../schema/state/0001_initial.sql")),
    M::up(include_str!("../../schema/state/0002_file_begun.sql")),
    M::up(include_str!("../../schema/state/0003_archivings.sql")),
    M::up(include_str!("../../schema/state/0004_inserted.sql")),
    M::up(include_str!("../../schema/state/0005_daemon.sql")),
    M::up(include_str!("../../schema/state/0006_landmarks.sql")),
    M::up(include_str!("../../schema/state/0007_mended.sql")),
    M::up(include_str!("../../schema/state/0008_skipped.sql")),
];
const MIGRATIONS: Migrations<'static> = Migrations::from_slice(STEPS);

/// How long a statement waits for another process's write. Writes take
/// milliseconds; seconds mean a stopped process, and an error says more.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What is left of SQLite's write-ahead log once it was moved into the file, 1 MB.
const WAL_BYTES_KEPT: &str = "1048576";

/// An open state file.
#[derive(Debug)]
pub struct StateFile {
    connection: Connection,
    path: PathBuf,
    /// Shared by all that were opened beside the one that took it.
    lock: Option<Arc<Lock>>,
}

impl StateFile {
    /// Opens the file for reading, also while a daemon works with it.
    ///
    /// # Errors
    /// [`StateError::Missing`] when there is none; nothing is created.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        Self::open_existing(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    /// Opens the file to say what is missing no more, also while a daemon works with it:
    /// such a write is one small transaction, and the daemon looks for it
    /// ([`StateFile::take_mended`], [`StateFile::skipped`]). Nothing else may be written
    /// by it.
    ///
    /// # Errors
    /// As [`StateFile::open`].
    pub fn open_shared(path: &Path) -> Result<Self, StateError> {
        Self::open_existing(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    fn open_existing(path: &Path, flags: OpenFlags) -> Result<Self, StateError> {
        let missing = || StateError::Missing {
            path: path.to_owned(),
        };
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => return Err(missing()),
            Err(e) => return Err(StateError::of_io(path, &e)),
        }
        let state = Self::connect(path, flags, None)?;
        state.refuse_foreign()?;
        let version: u32 = state
            .connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(|e| state.error(&e))?;
        if version as usize > STEPS.len() {
            return Err(StateError::NewerVersion {
                path: path.to_owned(),
            });
        }
        // The file is created empty and filled in one transaction.
        if version == 0 {
            return Err(missing());
        }
        if (version as usize) < STEPS.len() {
            return Err(StateError::OlderVersion {
                path: path.to_owned(),
            });
        }
        Ok(state)
    }

    /// Opens the file for writing, creates it when there is none, and keeps
    /// every other process from doing the same until it is dropped.
    ///
    /// # Errors
    /// [`StateError::Held`] when another process has it; any other
    /// [`StateError`] when it cannot be used.
    pub fn open_exclusive(path: &Path) -> Result<Self, StateError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(folder::folder_of(path))
            .map_err(|e| StateError::of_io(path, &e))?;
        let lock = Lock::take(path)?;
        // SQLite would create it readable for all: quarantined rows hold phone numbers.
        folder::make_private(path).map_err(|e| StateError::of_io(path, &e))?;
        let mut state = Self::connect(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE,
            Some(Arc::new(lock)),
        )?;
        state.check()?;
        state.refuse_foreign()?;
        state
            .connection
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(|e| state.error(&e))?;
        state.relax()?;
        state.migrate()?;
        Ok(state)
    }

    /// The same file once more, for another part of this process: it stays held
    /// until the last of them is dropped.
    ///
    /// # Errors
    /// [`StateError`] when it cannot be used.
    pub fn beside(&self) -> Result<Self, StateError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let state = Self::connect(&self.path, flags, self.lock.clone())?;
        state.relax()?;
        Ok(state)
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the daemon that keeps this file, as leases have it: `HOST/ID`.
    ///
    /// # Errors
    /// [`StateError`] when the file cannot be read.
    pub fn daemon_name(&self) -> Result<String, StateError> {
        let id: String = self
            .connection
            .query_row("SELECT id FROM daemon", [], |row| row.get(0))
            .map_err(|e| self.error(&e))?;
        // A copy of the file on another host is another daemon.
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Ok(format!("{}/{id}", host.trim()))
    }

    /// The process that holds the file at `path` for writing. The inner `None`
    /// is one that wrote down no id.
    #[must_use]
    pub fn holder(path: &Path) -> Option<Option<u32>> {
        lock::holder(path)
    }

    fn connect(path: &Path, flags: OpenFlags, lock: Option<Arc<Lock>>) -> Result<Self, StateError> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)
            .and_then(|connection| connection.busy_timeout(BUSY_TIMEOUT).map(|()| connection))
            .map_err(|e| StateError::of(path, &e))?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            lock,
        })
    }

    /// A database with tables of something else must not get ours beside them.
    fn refuse_foreign(&self) -> Result<(), StateError> {
        let look = "SELECT count(*) > 0 AND count(*) FILTER (WHERE name = 'checkpoint_history') = 0 \
             FROM sqlite_schema WHERE type = 'table'";
        let is_foreign = self.connection.query_row(look, [], |row| row.get(0));
        if is_foreign.map_err(|e| self.error(&e))? {
            return Err(StateError::Foreign {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    /// Writes without waiting for the disk, and keeps little of a log that was long.
    fn relax(&self) -> Result<(), StateError> {
        let set = |name, value: &str| self.connection.pragma_update(None, name, value);
        set("synchronous", "NORMAL")
            .and_then(|()| set("journal_size_limit", WAL_BYTES_KEPT))
            .map_err(|e| self.error(&e))
    }

    fn check(&self) -> Result<(), StateError> {
        let verdict: String = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|e| self.error(&e))?;
        match verdict.as_str() {
            "ok" => Ok(()),
            detail => Err(StateError::corrupt(&self.path, detail)),
        }
    }

    fn migrate(&mut self) -> Result<(), StateError> {
        use rusqlite_migration::{Error, MigrationDefinitionError};
        MIGRATIONS
            .to_latest(&mut self.connection)
            .map_err(|e| match e {
                Error::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead) => {
                    StateError::NewerVersion {
                        path: self.path.clone(),
                    }
                }
                Error::RusqliteError { err, .. } => StateError::of(&self.path, &err),
                other => StateError::corrupt(&self.path, other),
            })
    }

    /// Reads a position that was written here.
    fn position(&self, text: &str) -> Result<Position, StateError> {
        text.parse().map_err(|e| StateError::corrupt(&self.path, e))
    }

    fn error(&self, error: &rusqlite::Error) -> StateError {
        StateError::of(&self.path, error)
    }
}

/// Seconds since 1970 (UTC), for the `saved_at` columns.
#[expect(
    clippy::disallowed_methods,
    reason = "says when the file was written, and decides nothing"
)]
fn now() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_secs()).ok())
        .unwrap_or(0)
}
