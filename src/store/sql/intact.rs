//! Whether a SQLite file is whole, looked at where there is a doubt.
//!
//! # When
//! Who closes a store in order moves its write-ahead log into the file and deletes it.
//! A log that is there when a daemon starts, which alone writes the store, was left by
//! a crash, a kill or a power cut. SQLite mends that by itself, unless the disk or its
//! cache lied about what it had written; the look finds that before numbers are built
//! on it. Where another process has the store open, such as `didtail serve`, the log is
//! there too, and the look is made without need.
//!
//! # How long
//! The look reads the whole file. After [`CHECK_MAX`] it is left off and the daemon
//! starts: what SQLite comes across later it still says.

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::sqlite::SqlitePool;

use super::dialect::Dialect;
use super::error::classify;
use crate::store::StoreError;
use crate::telemetry::field;

/// How long the look may take.
const CHECK_MAX: Duration = Duration::from_secs(20);

/// Steps of SQLite's machine between two looks at the clock: under a millisecond.
const STEPS: i32 = 10_000;

/// Damages that are told; one is enough to know.
const FOUND_MAX: u32 = 3;

const DOING: &str = "checking it";

/// Whether the file was not closed in order.
pub(super) fn is_doubtful(file: &Path) -> bool {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|log| log.len() > 0)
}

/// What a look came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing is wrong with it.
    Intact,
    /// It took too long.
    LeftOff,
}

/// Looks through the file, and says so: it can take a while.
pub(super) async fn demand(
    store: &str,
    pool: &SqlitePool,
    at_most: Option<Duration>,
) -> Result<Look, StoreError> {
    let begun = Instant::now();
    tracing::info!(
        { field::ADDRESS } = store,
        "the store was not closed in order the last time; looking whether it is whole"
    );
    let deadline = begun + at_most.unwrap_or(CHECK_MAX);
    let looked = quick_check(pool, deadline).await;
    match looked {
        Ok(found) if found == ["ok"] => {
            let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!({ field::ADDRESS } = store, ms, "the store is whole");
            Ok(Look::Intact)
        }
        Ok(found) => Err(StoreError::Corrupt {
            store: store.to_owned(),
            source: found.join("; ").into(),
        }),
        Err(error) if is_interrupted(&error) => {
            tracing::warn!(
                { field::ADDRESS } = store,
                { field::HINT } =
                    format!("look when there is time: sqlite3 {store} 'PRAGMA quick_check'"),
                "the store is large; the look whether it is whole was left off"
            );
            Ok(Look::LeftOff)
        }
        Err(error) => Err(classify(store, Dialect::Sqlite, DOING, error)),
    }
}

async fn quick_check(pool: &SqlitePool, deadline: Instant) -> Result<Vec<String>, sqlx::Error> {
    let mut one = pool.acquire().await?;
    let in_time = move || Instant::now() < deadline;
    one.lock_handle()
        .await?
        .set_progress_handler(STEPS, in_time);
    let check = sqlx::AssertSqlSafe(format!("PRAGMA quick_check({FOUND_MAX})"));
    let found = sqlx::query_scalar(check).fetch_all(&mut *one).await;
    one.lock_handle().await?.remove_progress_handler();
    found
}

/// `SQLITE_INTERRUPT`.
fn is_interrupted(error: &sqlx::Error) -> bool {
    let said = error.as_database_error().and_then(|said| said.code());
    said.as_deref() == Some("9")
}
