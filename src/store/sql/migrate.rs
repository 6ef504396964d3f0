//! Bringing a store's schema up to date, or saying how to by hand.
//!
//! The steps run under a lock, and only when there are any: the role that the daemon
//! logs in with then needs no right to make tables. Of several that begin at once, one
//! works and the others wait, and find nothing left to do.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::mysql::MySqlConnection;

use super::dialect::Dialect;
use super::error::{classify, is_missing_table};
use super::open;
use super::session::Pool;
use crate::store::StoreError;
use crate::telemetry::field;

/// How long another one may take to bring the schema up to date.
const PATIENCE_MIGRATING: Duration = Duration::from_secs(1800);

/// Pause between two looks whether it is done.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Looks at a store's version while others change it.
const LOOKS_MAX: u32 = 10;

/// The schema's versions, built into the program.
static SQLITE: Migrator = sqlx::migrate!("schema/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("schema/postgres");
static MYSQL: Migrator = sqlx::migrate!("schema/mysql");

fn of(dialect: Dialect) -> &'static Migrator {
    match dialect {
        Dialect::Sqlite => &SQLITE,
        Dialect::Postgres => &POSTGRES,
        Dialect::MySql => &MYSQL,
    }
}

/// The newest version that this program knows.
fn version_known(dialect: Dialect) -> i64 {
    of(dialect).iter().map(|m| m.version).max().unwrap_or(0)
}

/// The newest version that a store has; 0 when it has none.
async fn version_found(store: &str, pool: &Pool) -> Result<i64, StoreError> {
    let mut tries = 1;
    loop {
        match version_seen(store, pool).await {
            // Another one is at it: the table was made while it was read.
            Err(StoreError::Conflict { .. }) if tries < LOOKS_MAX => {
                tries += 1;
                tokio::time::sleep(LOOK_PAUSE).await;
            }
            seen => return seen,
        }
    }
}

async fn version_seen(store: &str, pool: &Pool) -> Result<i64, StoreError> {
    const DOING: &str = "reading its schema version";
    const VERSION: &str = "SELECT coalesce(max(CASE WHEN success = true THEN version END), 0), ";
    const OTHERS: &str = "count(CASE WHEN version = 1 AND description <> ";
    let dialect = pool.dialect();
    let ours = of(dialect).iter().find(|step| step.version == 1);
    let ours = ours.map_or("", |step| step.description.as_ref());
    let read = async {
        let begin = open::begin_reading(dialect);
        let mut tx = pool.begin(begin, super::PATIENCE).await?;
        let query = tx.query(VERSION).sql(OTHERS).bind(ours);
        let query = query.sql(" THEN 1 END) FROM _sqlx_migrations");
        let row = tx.fetch_first(query).await?;
        let mut row = row.ok_or(sqlx::Error::RowNotFound)?;
        let found: (i64, i64) = (row.take()?, row.take()?);
        tx.finish(found).await
    };
    match read.await {
        Ok((found, 0)) => Ok(found),
        // Another program that keeps its migrations in the same way.
        Ok(_) => Err(StoreError::Foreign {
            store: store.to_owned(),
        }),
        Err(error) if is_missing_table(&error) => Ok(0),
        Err(error) => Err(classify(store, dialect, DOING, error)),
    }
}

/// How a store's schema is to this program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// It has no tables yet.
    Empty,
    /// Steps are missing.
    Older,
    /// It is this program's.
    Current,
}

/// Which of these it is.
///
/// # Errors
/// [`StoreError::NewerSchema`], and as [`version_found`].
pub(super) async fn version(store: &str, pool: &Pool) -> Result<Version, StoreError> {
    match demand_current(store, pool).await {
        Ok(()) => Ok(Version::Current),
        Err(StoreError::OlderSchema { found: 0, .. }) => Ok(Version::Empty),
        Err(StoreError::OlderSchema { .. }) => Ok(Version::Older),
        Err(error) => Err(error),
    }
}

/// Demands exactly this program's schema.
pub(super) async fn demand_current(store: &str, pool: &Pool) -> Result<(), StoreError> {
    let found = version_found(store, pool).await?;
    let known = version_known(pool.dialect());
    let store = store.to_owned();
    match found.cmp(&known) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(StoreError::NewerSchema {
            store,
            found,
            known,
        }),
        std::cmp::Ordering::Less => Err(StoreError::OlderSchema {
            store,
            found,
            known,
        }),
    }
}

/// Applies the steps that a store does not have yet.
pub(super) async fn run(store: &str, pool: &Pool) -> Result<(), StoreError> {
    let dialect = pool.dialect();
    let (found, known) = (version_found(store, pool).await?, version_known(dialect));
    if found == known {
        return Ok(());
    }
    if found > known {
        let store = store.to_owned();
        return Err(StoreError::NewerSchema {
            store,
            found,
            known,
        });
    }
    let deadline = Instant::now() + PATIENCE_MIGRATING;
    loop {
        let error = match apply(pool).await {
            Ok(()) => return Ok(()),
            Err(error) => migration_error(store, dialect, error),
        };
        // Whoever else is at it may take long over large tables.
        let is_busy = matches!(error, StoreError::Busy { .. });
        if !is_busy || Instant::now() >= deadline {
            return Err(error);
        }
        tracing::info!(
            { field::ADDRESS } = store,
            "waiting for who else brings the store's schema up to date, or keeps its tables"
        );
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Applies the missing steps on a connection of their own, which takes the
/// migrator's lock with it when it ends, however it ends.
async fn apply(pool: &Pool) -> Result<(), MigrateError> {
    let migrator = of(pool.dialect());
    match pool {
        // The migrator has no lock here: all steps are one transaction, which keeps
        // every other writer waiting.
        Pool::Sqlite(pool) => {
            let mut one = pool.acquire().await?;
            let mut tx = one.begin_with("BEGIN IMMEDIATE").await?;
            migrator.run(&mut *tx).await?;
            Ok(tx.commit().await?)
        }
        Pool::Postgres(pool, _) => {
            let mut one = pool.acquire().await?.detach();
            let done = migrator.run(&mut one).await;
            drop(one.close().await);
            done
        }
        Pool::MySql(pool, _) => {
            let mut one = pool.acquire().await?.detach();
            let done = apply_on_mysql(&mut one).await;
            drop(one.close().await);
            done
        }
    }
}

/// MySQL has no transactions for tables: a step that was cut off is there in part. Each
/// of its steps can be run again from its beginning; the lock is kept meanwhile.
async fn apply_on_mysql(one: &mut MySqlConnection) -> Result<(), MigrateError> {
    take_turn(one).await?;
    let version = match MYSQL.run(&mut *one).await {
        Err(MigrateError::Dirty(version)) => version,
        done => return done,
    };
    let forget = "DELETE FROM _sqlx_migrations WHERE success = false AND version = ?";
    let forget = sqlx::query(forget).bind(version);
    forget.execute(&mut *one).await?;
    MYSQL.run(one).await
}

/// Waits until nobody else changes the schema of this database. The migrator's own
/// lock does it on MySQL; MariaDB takes its endless wait for none at all.
async fn take_turn(one: &mut MySqlConnection) -> Result<(), MigrateError> {
    // A name has room for 64 characters, and is the same for the whole server.
    let take = "SELECT coalesce(get_lock(concat('didtail ', sha2(database(), 224)), ?), 0)";
    let take = sqlx::query_scalar(take).bind(PATIENCE_MIGRATING.as_secs());
    let taken: i64 = take.fetch_one(one).await?;
    if taken == 1 {
        return Ok(());
    }
    let waited = "another one has been changing this database's schema for half an hour";
    Err(MigrateError::Execute(sqlx::Error::Io(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        waited,
    ))))
}

fn migration_error(store: &str, dialect: Dialect, error: MigrateError) -> StoreError {
    const DOING: &str = "bringing its schema up to date";
    let known = version_known(dialect);
    match error {
        // Another didtail was quicker.
        MigrateError::VersionMissing(found) if found > known => StoreError::NewerSchema {
            store: store.to_owned(),
            found,
            known,
        },
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            classify(store, dialect, DOING, error)
        }
        other => StoreError::Other {
            store: store.to_owned(),
            doing: DOING,
            source: Box::new(other),
        },
    }
}

/// The SQL that brings the store at `url` up to date, empty when nothing is
/// pending; for those who run SQL by hand under another role.
///
/// # Errors
/// [`StoreError`] when the store cannot be asked what it has.
pub async fn pending_sql(url: &str) -> Result<String, StoreError> {
    let (store, pool) = open::connect(url).await?;
    let found = version_found(&store, &pool).await;
    pool.close().await;
    Ok(sql_behind(Dialect::of_url(url)?, found?))
}

/// The SQL of the whole schema for the backend that `url` names; asks nobody.
///
/// # Errors
/// [`StoreError::BadUrl`].
pub fn whole_sql(url: &str) -> Result<String, StoreError> {
    Ok(sql_behind(Dialect::of_url(url)?, 0))
}

fn sql_behind(dialect: Dialect, version: i64) -> String {
    let mut sql = String::new();
    for step in of(dialect).iter().filter(|step| step.version > version) {
        if sql.is_empty() && version == 0 {
            sql.push_str(notes(dialect));
        }
        // Writing to a text cannot fail.
        let _infallible = write!(
            sql,
            "{}\n{}\n",
            step.sql.as_str().trim(),
            noted(dialect, step)
        );
    }
    sql
}

/// The table in which the migrator notes its steps.
fn notes(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite | Dialect::MySql => {
            "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, \
             description TEXT NOT NULL, installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, \
             success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL);\n\n"
        }
        Dialect::Postgres => {
            "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT PRIMARY KEY, \
             description TEXT NOT NULL, installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), \
             success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL);\n\n"
        }
    }
}

/// Notes one step as done.
fn noted(dialect: Dialect, step: &Migration) -> String {
    let checksum = hex::encode(&step.checksum);
    let checksum = match dialect {
        Dialect::Sqlite | Dialect::MySql => format!("x'{checksum}'"),
        Dialect::Postgres => format!("'\\x{checksum}'"),
    };
    format!(
        "\nINSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)\n\
         VALUES ({}, '{}', true, {checksum}, 0);\n",
        step.version, step.description
    )
}
