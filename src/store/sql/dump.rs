//! The whole store as values, to compare with another backend.

use std::collections::BTreeMap;

use sqlx::Error;

use super::columns::{CALLS, DIALS};
use super::session::Tx;
use super::{SqlStore, load, progress, retention, statuses};
use crate::ledger::{Counters, DailyKey};
use crate::store::read::counters;
use crate::store::{DidNumbers, Dump, StoreError};

impl SqlStore {
    /// Everything in the store. For tests: it holds all of it in memory.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn dump(&self) -> Result<Dump, StoreError> {
        let read = async {
            let mut tx = self.begin_read().await?;
            let all = dump(&mut tx).await?;
            tx.finish(all).await
        };
        read.await.map_err(|e| self.error("reading all of it", e))
    }
}

async fn dump(tx: &mut Tx) -> Result<Dump, Error> {
    const AUDIT: &str = "SELECT t.name, a.event, a.details, a.created_at \
         FROM audit_log a JOIN tenants t ON t.id = a.tenant_id \
         WHERE a.event IS NOT NULL";
    let mut dump = Dump::default();
    let calls = load::all(tx, &CALLS, &["x.source"]);
    for mut row in tx.fetch(calls).await? {
        let (key, call) = CALLS.take(&mut row)?;
        dump.calls.insert((row.take()?, key), call);
    }
    let dials = load::all(tx, &DIALS, &["x.source"]);
    for mut row in tx.fetch(dials).await? {
        let (key, dial) = DIALS.take(&mut row)?;
        dump.dials.insert((row.take()?, key), dial);
    }
    let audit = tx.query(AUDIT);
    for mut row in tx.fetch(audit).await? {
        let key = (row.take()?, row.take()?);
        dump.audit.insert(key, (row.take()?, row.take()?));
    }
    for source in sources(tx, "SELECT DISTINCT source FROM status_flags").await? {
        let book = statuses::read(tx, &source).await?;
        dump.statuses.insert(source, book);
    }
    dump.dids = dids(tx).await?;
    dump.daily = daily(tx).await?;
    for source in sources(tx, "SELECT source FROM replication_progress").await? {
        if let Some(checkpoint) = progress::read(tx, &source).await? {
            dump.progress.insert(source, checkpoint);
        }
    }
    for source in sources(tx, "SELECT source FROM retention").await? {
        let pruned = retention::read(tx, &source).await?;
        dump.pruned.insert(source, pruned);
    }
    Ok(dump)
}

async fn sources(tx: &mut Tx, select: &str) -> Result<Vec<String>, Error> {
    let sources = tx.fetch(tx.query(select)).await?;
    sources.into_iter().map(|mut row| row.take()).collect()
}

async fn dids(tx: &mut Tx) -> Result<BTreeMap<(String, String), Option<DidNumbers>>, Error> {
    let text = format!(
        "SELECT t.name, d.phone_number, s.did_id, s.last_call_at, s.last_dial_at, s.{} \
         FROM dids d JOIN tenants t ON t.id = d.tenant_id LEFT JOIN did_stats s ON s.did_id = d.id",
        Counters::NAMES.join(", s.")
    );
    let mut dids = BTreeMap::new();
    for mut row in tx.fetch(tx.query(&text)).await? {
        let key = (row.take()?, row.take()?);
        let numbers = match row.take::<Option<i64>>()? {
            Some(_) => Some(DidNumbers {
                last_call_at: row.take()?,
                last_dial_at: row.take()?,
                counters: counters(&mut row)?,
            }),
            None => None,
        };
        dids.insert(key, numbers);
    }
    Ok(dids)
}

async fn daily(tx: &mut Tx) -> Result<BTreeMap<(String, DailyKey), Counters>, Error> {
    let text = format!(
        "SELECT t.name, d.phone_number, s.day, s.campaign_id, s.{} FROM did_daily_stats s \
         JOIN dids d ON d.id = s.did_id JOIN tenants t ON t.id = d.tenant_id",
        Counters::NAMES.join(", s.")
    );
    let mut daily = BTreeMap::new();
    for mut row in tx.fetch(tx.query(&text)).await? {
        let tenant = row.take()?;
        let key = DailyKey {
            did: row.take()?,
            day: row.take()?,
            campaign_id: row.take()?,
        };
        daily.insert((tenant, key), counters(&mut row)?);
    }
    Ok(daily)
}
