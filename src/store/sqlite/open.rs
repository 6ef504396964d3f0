//! Opening the store's file: settings, migrations, and what must not be opened.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::store::StoreError;
use crate::store::sqlite::error::classify;

/// The schema's versions, built into the program.
static MIGRATOR: Migrator = sqlx::migrate!("schema/sqlite");

/// Page cache of the writing connection, 16 MB; SQLite wants it negative, in
/// KiB. Those that read have SQLite's own 2 MB each. Together with the batches
/// under way this keeps the daemon under 100 MB, however large the store is.
const WRITER_CACHE_KIB: &str = "-16384";

/// Nothing is memory-mapped: mapped pages count as the daemon's memory, and a
/// damaged disk then shows as a signal instead of an error.
const MMAP_BYTES: &str = "0";

/// How long a statement waits for another process's lock before it fails as
/// busy: longer than any commit or checkpoint of the write-ahead log takes.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections for reading: the daemon's own look-ups and a few API requests.
const READERS_MAX: u32 = 4;

/// Statements each connection keeps prepared: five sizes of each multi-row
/// statement, and the rest, with room to spare.
const STATEMENTS_MAX: usize = 128;

/// Pages of the write-ahead log before it is moved into the file, 64 MB: a page
/// that many batches change is then moved once.
const WAL_PAGES: &str = "16384";

/// Rows handed over from SQLite's thread before it waits for the reader.
const ROWS_BUFFERED: usize = 1024;

/// The two ways into one file.
pub(super) struct Connections {
    /// Shown in errors and hints.
    pub(super) store: String,
    /// One connection; `None` when opened for reading only.
    pub(super) writer: Option<SqlitePool>,
    /// One connection for who asks for the next turn; opened when that is needed,
    /// and `None` like the other.
    pub(super) turn: Option<SqlitePool>,
    /// Read-only connections.
    pub(super) readers: SqlitePool,
}

/// Opens for writing: makes the file where it is missing and brings its schema
/// up to date.
pub(super) async fn for_writing(url: &str) -> Result<Connections, StoreError> {
    let path = path_of(url)?;
    let store = path.display().to_string();
    make_private(&path, &store)?;
    let options = settings(&path)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("cache_size", WRITER_CACHE_KIB)
        .pragma("wal_autocheckpoint", WAL_PAGES)
        .synchronous(SqliteSynchronous::Normal);
    let turn = options.clone().busy_timeout(Duration::ZERO);
    let writer = pool(1)
        .connect_with(options)
        .await
        .map_err(|e| classify(&store, "opening it", e))?;
    refuse_foreign(&store, &writer).await?;
    MIGRATOR
        .run(&writer)
        .await
        .map_err(|e| migration_error(&store, e))?;
    let readers = pool(READERS_MAX).connect_lazy_with(settings(&path).read_only(true));
    Ok(Connections {
        store,
        writer: Some(writer),
        turn: Some(pool(1).connect_lazy_with(turn)),
        readers,
    })
}

/// Opens an existing store of exactly this version's schema for reading.
pub(super) async fn for_reading(url: &str) -> Result<Connections, StoreError> {
    let path = path_of(url)?;
    let store = path.display().to_string();
    if !path.exists() {
        return Err(StoreError::Missing { store });
    }
    let readers = pool(READERS_MAX)
        .connect_with(settings(&path).read_only(true))
        .await
        .map_err(|e| classify(&store, "opening it", e))?;
    refuse_foreign(&store, &readers).await?;
    let found: i64 = sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
        .fetch_one(&readers)
        .await
        .map_err(|e| classify(&store, "reading its schema version", e))?;
    let known = version_known();
    if found > known {
        return Err(StoreError::NewerSchema {
            store,
            found,
            known,
        });
    }
    if found < known {
        return Err(StoreError::OlderSchema {
            store,
            found,
            known,
        });
    }
    Ok(Connections {
        store,
        writer: None,
        turn: None,
        readers,
    })
}

fn version_known() -> i64 {
    MIGRATOR.iter().map(|m| m.version).max().unwrap_or(0)
}

fn path_of(url: &str) -> Result<PathBuf, StoreError> {
    let bad = |reason: &str| StoreError::BadUrl {
        reason: reason.to_owned(),
    };
    if !url.starts_with("sqlite:") {
        return Err(bad("this backend wants sqlite:///ABSOLUTE/PATH"));
    }
    let options =
        SqliteConnectOptions::from_str(url).map_err(|_| bad("it is no sqlite:///ABSOLUTE/PATH"))?;
    let path = options.get_filename();
    if path.as_os_str().is_empty() || url.contains(":memory:") {
        return Err(bad(
            "the store must be a file: its numbers outlive the process",
        ));
    }
    Ok(path.to_owned())
}

/// Makes the file readable by its owner alone, since it holds phone numbers;
/// SQLite gives its side files the same mode.
fn make_private(path: &Path, store: &str) -> Result<(), StoreError> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => {
            let (store, kind) = (store.to_owned(), e.kind());
            let source = Box::new(e);
            Err(match kind {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                    StoreError::Missing { store }
                }
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    StoreError::NotWritable { store, source }
                }
                std::io::ErrorKind::StorageFull => StoreError::DiskFull { store, source },
                _ => StoreError::Unreachable { store, source },
            })
        }
    }
}

fn settings(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS_MAX)
        .row_buffer_size(ROWS_BUFFERED)
        .pragma("mmap_size", MMAP_BYTES)
        .pragma("temp_store", "memory")
        .disable_statement_logging()
}

fn pool(connections_max: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(BUSY_TIMEOUT)
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// A file with tables of something else must not get ours beside them: the
/// state file, most likely.
async fn refuse_foreign(store: &str, pool: &SqlitePool) -> Result<(), StoreError> {
    let (tables, ours): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE name = '_sqlx_migrations') \
         FROM sqlite_schema WHERE type = 'table'",
    )
    .fetch_one(pool)
    .await
    .map_err(|e| classify(store, "looking at its tables", e))?;
    if tables > 0 && ours == 0 {
        return Err(StoreError::Foreign {
            store: store.to_owned(),
        });
    }
    Ok(())
}

fn migration_error(store: &str, error: MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMissing(found) if found > version_known() => StoreError::NewerSchema {
            store: store.to_owned(),
            found,
            known: version_known(),
        },
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            classify(store, "bringing its schema up to date", error)
        }
        other => StoreError::Other {
            store: store.to_owned(),
            doing: "bringing its schema up to date",
            source: Box::new(other),
        },
    }
}
