//! The whole store as values, to compare with another backend.

use std::collections::BTreeMap;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};

use crate::checkpoint::Checkpoint;
use crate::ledger::{Counters, DailyKey};
use crate::store::read::counters;
use crate::store::sqlite::load::{call, call_json, dial, dial_json};
use crate::store::sqlite::{SqliteStore, progress, statuses};
use crate::store::{DidNumbers, Dump, StoreError};

impl SqliteStore {
    /// Everything in the store. For tests: it holds all of it in memory.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn dump(&self) -> Result<Dump, StoreError> {
        let read = async {
            let mut snapshot = self.readers().begin().await?;
            let dump = dump(&mut snapshot).await?;
            snapshot.commit().await?;
            Ok(dump)
        };
        read.await.map_err(|e| self.error("reading all of it", e))
    }
}

async fn dump(connection: &mut SqliteConnection) -> Result<Dump, sqlx::Error> {
    const CALLS: &str = concat!(
        "SELECT ",
        call_json!(),
        ", c.source FROM call_records c LEFT JOIN dids d ON d.id = c.did_id"
    );
    const DIALS: &str = concat!(
        "SELECT ",
        dial_json!(),
        ", x.source FROM dials x LEFT JOIN dids d ON d.id = x.did_id"
    );
    const AUDIT: &str = "SELECT t.name, a.event, a.details, a.created_at \
         FROM audit_log a JOIN tenants t ON t.id = a.tenant_id";
    let mut dump = Dump::default();
    for row in sqlx::query(CALLS).fetch_all(&mut *connection).await? {
        let (key, call) = call(row.try_get(0)?)?;
        let source = row.try_get(1)?;
        dump.calls.insert((source, key), call);
    }
    for row in sqlx::query(DIALS).fetch_all(&mut *connection).await? {
        let (key, dial) = dial(row.try_get(0)?)?;
        let source = row.try_get(1)?;
        dump.dials.insert((source, key), dial);
    }
    for row in sqlx::query(AUDIT).fetch_all(&mut *connection).await? {
        let key = (row.try_get(0)?, row.try_get(1)?);
        dump.audit.insert(key, (row.try_get(2)?, row.try_get(3)?));
    }
    let books = "SELECT DISTINCT source FROM status_flags";
    let books: Vec<String> = sqlx::query_scalar(books)
        .fetch_all(&mut *connection)
        .await?;
    for source in books {
        let book = statuses::read(connection, &source).await?;
        dump.statuses.insert(source, book);
    }
    dump.dids = dids(connection).await?;
    dump.daily = daily(connection).await?;
    dump.progress = all_progress(connection).await?;
    Ok(dump)
}

async fn dids(
    connection: &mut SqliteConnection,
) -> Result<BTreeMap<(String, String), Option<DidNumbers>>, sqlx::Error> {
    let text = format!(
        "SELECT t.name, d.phone_number, s.did_id IS NOT NULL, s.last_call_at, s.last_dial_at, s.{} \
         FROM dids d JOIN tenants t ON t.id = d.tenant_id LEFT JOIN did_stats s ON s.did_id = d.id",
        Counters::NAMES.join(", s.")
    );
    let read = |row: &SqliteRow| {
        let numbers = if row.try_get_unchecked(2)? {
            Some(DidNumbers {
                last_call_at: row.try_get(3)?,
                last_dial_at: row.try_get(4)?,
                counters: counters(row, 5)?,
            })
        } else {
            None
        };
        Ok(((row.try_get(0)?, row.try_get(1)?), numbers))
    };
    let rows = sqlx::query(AssertSqlSafe(text)).fetch_all(connection);
    rows.await?.iter().map(read).collect()
}

async fn daily(
    connection: &mut SqliteConnection,
) -> Result<BTreeMap<(String, DailyKey), Counters>, sqlx::Error> {
    let text = format!(
        "SELECT t.name, d.phone_number, s.day, s.campaign_id, s.{} FROM did_daily_stats s \
         JOIN dids d ON d.id = s.did_id JOIN tenants t ON t.id = d.tenant_id",
        Counters::NAMES.join(", s.")
    );
    let read = |row: &SqliteRow| {
        let key = DailyKey {
            did: row.try_get(1)?,
            day: row.try_get(2)?,
            campaign_id: row.try_get(3)?,
        };
        Ok(((row.try_get(0)?, key), counters(row, 4)?))
    };
    let rows = sqlx::query(AssertSqlSafe(text)).fetch_all(connection);
    rows.await?.iter().map(read).collect()
}

async fn all_progress(
    connection: &mut SqliteConnection,
) -> Result<BTreeMap<String, Checkpoint>, sqlx::Error> {
    const SOURCES: &str = "SELECT source FROM replication_progress";
    let sources: Vec<String> = sqlx::query_scalar(SOURCES)
        .fetch_all(&mut *connection)
        .await?;
    let mut all = BTreeMap::new();
    for source in sources {
        if let Some(checkpoint) = progress::read(connection, &source).await? {
            all.insert(source, checkpoint);
        }
    }
    Ok(all)
}
