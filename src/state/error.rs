//! What can go wrong with the state file, told apart by what to do about it.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::folder;

/// A failure of the state file.
///
/// `Display` says what happened; [`StateError::hint`] says how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is no state file, and the command needs one.
    #[error("there is no state file {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Another process works with the file.
    #[error("the state file {} is held by {}", path.display(), holder(*.pid))]
    Held {
        /// The state file.
        path: PathBuf,
        /// The other process, where it wrote down its id.
        pid: Option<u32>,
    },
    /// The position belongs to another server's binlog.
    #[error(
        "source `{name}` was server {recorded} and is now server {actual}: the position means nothing there, and its GTIDs do not help: {reason}"
    )]
    OtherSource {
        /// Name of the source.
        name: String,
        /// Identity at the last run.
        recorded: String,
        /// Identity now.
        actual: String,
        /// Why it cannot go on behind the transactions that were read.
        reason: String,
    },
    /// The file is no SQLite database, is damaged or holds what nobody wrote.
    #[error("the state file {} is damaged: {detail}", path.display())]
    Corrupt {
        /// The state file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The file is a database of something else.
    #[error("{} is a database, but not a state file of didtail", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer didtail wrote the file.
    #[error("the state file {} was written by a newer didtail", path.display())]
    NewerVersion {
        /// The state file.
        path: PathBuf,
    },
    /// An older didtail wrote the file, and only a daemon changes it.
    #[error("the state file {} was written by an older didtail", path.display())]
    OlderVersion {
        /// The state file.
        path: PathBuf,
    },
    /// The file or its folder cannot be read and written.
    #[error("the state file {} cannot be read and written: {detail}", path.display())]
    NotWritable {
        /// The state file.
        path: PathBuf,
        /// What the operating system or SQLite said.
        detail: String,
    },
    /// No room is left.
    #[error("the disk with the state file {} is full", path.display())]
    DiskFull {
        /// The state file.
        path: PathBuf,
    },
    /// Anything else SQLite says.
    #[error("the state file {} failed: {detail}", path.display())]
    Other {
        /// The state file.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
}

impl StateError {
    /// How to mend it, with the exact command where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => {
                Some("it appears when `didtail run` first starts; --state names another".to_owned())
            }
            Self::Held { .. } => Some("stop the daemon first: `systemctl stop didtail`".to_owned()),
            Self::OtherSource { .. } => Some(
                "if the server was replaced on purpose, choose where to go on: \
                 `didtail checkpoint reset --to latest` (or a TIME or GTID that both servers have), \
                 and then `didtail verify --repair` compares with the new server"
                    .to_owned(),
            ),
            Self::Corrupt { path, .. } => Some(format!(
                "the numbers are safe in the store. Move the file away and start: `mv {0} \
                 {0}.damaged && rm -f {0}-wal {0}-shm`; the position is taken from the store",
                path.display()
            )),
            Self::Foreign { .. } => Some(
                "set [state] path to a file of its own, e.g. \"/var/lib/didtail/state.db\""
                    .to_owned(),
            ),
            Self::NewerVersion { .. } => {
                Some("install that version again: `apt-get install didtail`".to_owned())
            }
            Self::OlderVersion { .. } => {
                Some("start didtail, which upgrades it: `systemctl start didtail`".to_owned())
            }
            Self::NotWritable { path, .. } => {
                let general = || {
                    format!(
                        "run as the user that owns it (`sudo -u didtail …`), or give it to that \
                         user: `chown -R didtail: {}`",
                        folder::folder_of(path).display()
                    )
                };
                Some(folder::remedy(path).unwrap_or_else(general))
            }
            Self::DiskFull { path } => Some(format!(
                "`df -h {}` shows the disk; nothing is lost, didtail goes on when there is room",
                path.display()
            )),
            Self::Other { .. } => None,
        }
    }

    /// Classifies what SQLite said about the file at `path`.
    pub(super) fn of(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, detail) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            // SQLite says so of rows; of its side files it says only that it cannot.
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if folder::is_full(&path) => {
                Self::DiskFull { path }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { path, detail }
            }
            Some(
                ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::AuthorizationForStatementDenied,
            ) => Self::NotWritable { path, detail },
            Some(ErrorCode::DiskFull) => Self::DiskFull { path },
            _ => Self::Other { path, detail },
        }
    }

    /// Classifies what the operating system said about the file at `path`.
    pub(super) fn of_io(path: &Path, error: &std::io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path }
            }
            _ => Self::NotWritable {
                path,
                detail: error.to_string(),
            },
        }
    }

    pub(super) fn corrupt(path: &Path, detail: impl ToString) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            detail: detail.to_string(),
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}
