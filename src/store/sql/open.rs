//! Opening a store: settings, migrations, and what must not be opened.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::SqlStore;
use super::dialect::Dialect;
use super::error::classify;
use super::intact;
use super::migrate;
use super::partitions::Partitions;
use super::server::{self, server};
use super::session::{PATIENCE, Pool, Tx};
use crate::folder;
use crate::store::StoreError;

/// Page cache of the writing connection, 6 MB; SQLite wants it negative, in
/// KiB. Those that read have SQLite's own 2 MB each. Together with the batches
/// under way this keeps the daemon under 100 MB, however large the store is.
const WRITER_CACHE_KIB: &str = "-6144";

/// Nothing is memory-mapped: mapped pages count as the daemon's memory, and a
/// damaged disk then shows as a signal instead of an error.
const MMAP_BYTES: &str = "0";

/// How long a statement waits for another process's lock before it fails as
/// busy: longer than any commit or checkpoint of the write-ahead log takes. As
/// long a connection may take to be made.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections for reading: the daemon's own look-ups and a few API requests.
const READERS_MAX: u32 = 4;

/// Statements each connection keeps prepared: five sizes of each multi-row
/// statement, and the rest, with room to spare.
pub(super) const STATEMENTS_MAX: usize = 128;

/// Pages of the write-ahead log before it is moved into the file, 64 MB: a page
/// that many batches change is then moved once.
const WAL_PAGES: &str = "16384";

/// What is left of the log once it was moved, 4 MB: a large load must not keep room that
/// nothing else needs.
const WAL_BYTES_KEPT: &str = "4194304";

/// Rows handed over from SQLite's thread before it waits for the reader.
const ROWS_BUFFERED: usize = 1024;

/// Begins to read in one snapshot.
pub(super) fn begin_reading(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "BEGIN",
        Dialect::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        Dialect::MySql => {
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; \
             START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
        }
    }
}

/// The same for look-ups by keys. Before its first statistics of a table that
/// grows fast, PostgreSQL would rather read all of it.
pub(super) fn begin_loading(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite | Dialect::MySql => begin_reading(dialect),
        Dialect::Postgres => {
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL enable_seqscan = off"
        }
    }
}

/// Begins to write; on SQLite nobody else then does.
///
/// Writers take turns, so that the lowest isolation is enough. Under a higher one,
/// that a role or a server may have as its own, who waited for a turn would be undone
/// when it comes.
pub(super) fn begin_writing(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE",
        Dialect::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL enable_seqscan = off",
        Dialect::MySql => "START TRANSACTION",
    }
}

/// The same for what no binlog brings again: once committed it outlives a power cut.
/// Servers see to that by themselves.
fn begin_lasting(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "PRAGMA synchronous = FULL; BEGIN IMMEDIATE",
        Dialect::Postgres | Dialect::MySql => begin_writing(dialect),
    }
}

impl Pool {
    /// Begins a transaction that writes what can be read again from the source.
    pub(super) async fn begin_writing(&self) -> Result<Tx, sqlx::Error> {
        self.begin(begin_writing(self.dialect()), PATIENCE).await
    }

    /// Begins one that writes what only its client or an operator knows.
    pub(super) async fn begin_lasting(&self) -> Result<Tx, sqlx::Error> {
        self.begin(begin_lasting(self.dialect()), PATIENCE).await
    }
}

impl Dialect {
    /// What an address asks for.
    pub(super) fn of_url(url: &str) -> Result<Self, StoreError> {
        match url.split_once(':') {
            Some(("sqlite", _)) => Ok(Self::Sqlite),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres),
            Some(("mysql" | "mariadb", _)) => Ok(Self::MySql),
            _ => Err(bad(
                "it begins with none of sqlite://, postgres:// and mysql://",
            )),
        }
    }
}

pub(super) fn bad(reason: &str) -> StoreError {
    StoreError::BadUrl {
        reason: reason.to_owned(),
    }
}

/// Opens for writing, and brings the schema up to date; who writes alone looks
/// whether the last one was cut off.
pub(super) async fn for_writing(url: &str, is_alone: bool) -> Result<SqlStore, StoreError> {
    if Dialect::of_url(url)? == Dialect::Sqlite {
        return sqlite_for_writing(url, is_alone).await;
    }
    let (name, readers) = connect(url).await?;
    refuse_foreign_tables(&name, &readers).await?;
    migrate::run(&name, &readers).await?;
    Ok(SqlStore {
        name,
        writer: Some(server(url)?),
        turn: Some(server(url)?),
        readers,
        partitions: Partitions::default(),
    })
}

/// Opens an existing store of exactly this version's schema for writing.
pub(super) async fn beside(url: &str) -> Result<SqlStore, StoreError> {
    let (name, readers) = connect(url).await?;
    migrate::demand_current(&name, &readers).await?;
    let writer = match readers.dialect() {
        Dialect::Sqlite => {
            let path = path_of(url)?;
            make_private(&path, &name)?;
            Pool::Sqlite(pool(1).connect_lazy_with(writing(&path)))
        }
        Dialect::Postgres | Dialect::MySql => server(url)?,
    };
    Ok(SqlStore {
        name,
        writer: Some(writer),
        turn: None,
        readers,
        partitions: Partitions::default(),
    })
}

/// Opens an existing store of exactly this version's schema for reading.
pub(super) async fn for_reading(url: &str) -> Result<SqlStore, StoreError> {
    let (name, pool) = connect(url).await?;
    migrate::demand_current(&name, &pool).await?;
    Ok(SqlStore {
        name,
        writer: None,
        turn: None,
        readers: pool,
        partitions: Partitions::default(),
    })
}

/// Connects to what is there already: the store's name, without credentials, and
/// connections that read.
pub(super) async fn connect(url: &str) -> Result<(String, Pool), StoreError> {
    let dialect = Dialect::of_url(url)?;
    let name = match dialect {
        Dialect::Sqlite => return sqlite_for_reading(url).await,
        Dialect::Postgres => server::name("postgres", url),
        Dialect::MySql => server::name("mysql", url),
    };
    let pool = server(url)?;
    let tried = match pool.begin(begin_reading(dialect), PATIENCE).await {
        Ok(tx) => tx.commit().await,
        Err(error) => Err(error),
    };
    match tried {
        Ok(()) => Ok((name, pool)),
        Err(error) => {
            pool.close().await;
            Err(classify(&name, dialect, "opening it", error))
        }
    }
}

/// A database with other tables of our names must not get ours beside them.
async fn refuse_foreign_tables(store: &str, pool: &Pool) -> Result<(), StoreError> {
    let schema = match pool.dialect() {
        Dialect::Sqlite => return Ok(()),
        Dialect::Postgres => "current_schema()",
        Dialect::MySql => "database()",
    };
    let looked = async {
        let mut tx = pool.begin(begin_reading(pool.dialect()), PATIENCE).await?;
        let look = tx.query(&format!(
            "SELECT count(*), coalesce(max(CASE WHEN table_name = '_sqlx_migrations' THEN 1 \
             ELSE 0 END), 0) FROM information_schema.tables WHERE table_schema = {schema} \
             AND table_name IN ('_sqlx_migrations', 'tenants', 'dids', 'call_records', 'dials')"
        ));
        let row = tx.fetch_first(look).await?;
        let mut row = row.ok_or(sqlx::Error::RowNotFound)?;
        let found: (i64, i64) = (row.take()?, row.take()?);
        tx.finish(found).await
    };
    match looked.await {
        Ok((tables, ours)) if tables > 0 && ours == 0 => Err(StoreError::Foreign {
            store: store.to_owned(),
        }),
        Ok(_) => Ok(()),
        Err(error) => Err(classify(
            store,
            pool.dialect(),
            "looking at its tables",
            error,
        )),
    }
}

/// Makes the file where it is missing.
async fn sqlite_for_writing(url: &str, is_alone: bool) -> Result<SqlStore, StoreError> {
    let path = path_of(url)?;
    let name = path.display().to_string();
    let is_doubtful = is_alone && intact::is_doubtful(&path);
    make_private(&path, &name)?;
    let options = writing(&path);
    let turn = options.clone().busy_timeout(Duration::ZERO);
    let writer = pool(1)
        .connect_with(options)
        .await
        .map_err(|e| classify(&name, Dialect::Sqlite, "opening it", e))?;
    if is_doubtful {
        intact::demand(&name, &writer, None).await?;
    }
    let writer = Pool::Sqlite(writer);
    if !is_foreign(&name, &writer).await? {
        migrate::run(&name, &writer).await?;
        let readers = pool(READERS_MAX).connect_lazy_with(settings(&path).read_only(true));
        return Ok(SqlStore {
            name,
            writer: Some(writer),
            turn: Some(Pool::Sqlite(pool(1).connect_lazy_with(turn))),
            readers: Pool::Sqlite(readers),
            partitions: Partitions::default(),
        });
    }
    Err(StoreError::Foreign { store: name })
}

async fn sqlite_for_reading(url: &str) -> Result<(String, Pool), StoreError> {
    let path = path_of(url)?;
    let name = path.display().to_string();
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => return Err(StoreError::Missing { store: name }),
        Err(error) => {
            let source = Box::new(error);
            return Err(StoreError::Unreachable {
                store: name,
                source,
            });
        }
    }
    let readers = pool(READERS_MAX)
        .connect_with(settings(&path).read_only(true))
        .await
        .map_err(|e| classify(&name, Dialect::Sqlite, "opening it", e))?;
    let readers = Pool::Sqlite(readers);
    if is_foreign(&name, &readers).await? {
        return Err(StoreError::Foreign { store: name });
    }
    Ok((name, readers))
}

fn path_of(url: &str) -> Result<PathBuf, StoreError> {
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

/// Makes the file readable by its owner alone, since it holds phone numbers, and sees
/// whether it may be written; SQLite gives its side files the same mode and owner.
fn make_private(path: &Path, store: &str) -> Result<(), StoreError> {
    folder::make_private(path).map_err(|error| of_io(store, error))
}

/// What the operating system says of the file.
fn of_io(store: &str, error: std::io::Error) -> StoreError {
    let (store, kind) = (store.to_owned(), error.kind());
    let source = Box::new(error);
    match kind {
        ErrorKind::NotFound | ErrorKind::NotADirectory => StoreError::Missing { store },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            StoreError::NotWritable { store, source }
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::DiskFull { store, source },
        _ => StoreError::Unreachable { store, source },
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
        .disable_statement_logging()
}

/// Of the one connection that writes.
fn writing(path: &Path) -> SqliteConnectOptions {
    settings(path)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("cache_size", WRITER_CACHE_KIB)
        .pragma("wal_autocheckpoint", WAL_PAGES)
        .pragma("journal_size_limit", WAL_BYTES_KEPT)
        // Where all calls are sorted it is left to files, or the sort is all in memory.
        .pragma("temp_store", "memory")
        .synchronous(SqliteSynchronous::Normal)
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
async fn is_foreign(store: &str, pool: &Pool) -> Result<bool, StoreError> {
    let looked = async {
        let mut tx = pool.begin(begin_reading(Dialect::Sqlite), PATIENCE).await?;
        let look = tx.query(
            "SELECT count(*), count(*) FILTER (WHERE name = '_sqlx_migrations') \
             FROM sqlite_schema WHERE type = 'table'",
        );
        let row = tx.fetch_first(look).await?;
        let mut row = row.ok_or(sqlx::Error::RowNotFound)?;
        let (tables, ours): (i64, i64) = (row.take()?, row.take()?);
        tx.finish(tables > 0 && ours == 0).await
    };
    looked
        .await
        .map_err(|e| classify(store, Dialect::Sqlite, "looking at its tables", e))
}
