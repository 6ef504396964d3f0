//! Turns what SQLite and its driver say into what to do about it.

use crate::store::StoreError;

/// Primary result codes, <https://www.sqlite.org/rescode.html>.
mod code {
    pub(super) const PERM: i32 = 3;
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const NOMEM: i32 = 7;
    pub(super) const READONLY: i32 = 8;
    pub(super) const IOERR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const NOTADB: i32 = 26;
}

/// Classes an error of the driver; `doing` tells what failed if it is none of
/// the expected kinds.
pub(super) fn classify(store: &str, doing: &'static str, error: sqlx::Error) -> StoreError {
    let store = store.to_owned();
    let source = Box::new(error);
    match source.as_ref() {
        sqlx::Error::PoolTimedOut => StoreError::Busy { store, source },
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed => {
            StoreError::Unreachable { store, source }
        }
        sqlx::Error::Database(database) => {
            // SQLite's driver gives the extended code as a number; its low byte
            // is the primary code.
            let extended: i32 = database
                .code()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0);
            match extended & 0xff {
                code::BUSY | code::LOCKED => StoreError::Busy { store, source },
                code::FULL => StoreError::DiskFull { store, source },
                code::READONLY | code::PERM => StoreError::NotWritable { store, source },
                code::CORRUPT | code::NOTADB => StoreError::Corrupt { store, source },
                code::IOERR | code::CANTOPEN | code::NOMEM => {
                    StoreError::Unreachable { store, source }
                }
                _ => StoreError::Other {
                    store,
                    doing,
                    source,
                },
            }
        }
        _ => StoreError::Other {
            store,
            doing,
            source,
        },
    }
}
