//! The counters' part of a commit: differences, added up in place.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Error;

use super::commit::Owner;
use super::dialect::{Change, Conflict};
use super::insert::{Insert, rows};
use super::session::Tx;
use super::value::{Field, Value};
use crate::ledger::{Counters, DailyKey, StatDelta};

/// Each counter, to be added to.
fn additions() -> impl Iterator<Item = (&'static str, Change)> {
    Counters::NAMES.into_iter().map(|name| (name, Change::Add))
}

fn put(row: &mut Vec<Value<'_>>, counters: &Counters) {
    row.extend(counters.values().into_iter().map(Value::from));
}

/// Adds to `did_stats`.
pub(super) async fn stats(
    tx: &mut Tx,
    owner: &Owner<'_>,
    stats: &BTreeMap<String, StatDelta>,
) -> Result<(), Error> {
    let lasts = ["last_call_at", "last_dial_at"];
    let raises = lasts.map(|last| (last, Change::Raise));
    let changes: Vec<_> = additions().chain(raises).collect();
    let key = ["tenant_id", "did_id"];
    let upsert = Insert {
        table: "did_stats",
        columns: &[&key[..], &Counters::NAMES, &lasts].concat(),
        fixed: &[],
        key: &key,
        then: Conflict::Change(&changes),
    };
    tx.insert(
        &upsert,
        rows(stats, |row, (did, delta)| {
            row.push(owner.tenant_id.into());
            row.push(owner.did_id(Some(did)).into());
            put(row, &delta.counters);
            row.push(delta.last_call_at.into());
            row.push(delta.last_dial_at.into());
        }),
    )
    .await?;
    find_last_anew(tx, owner, stats).await
}

async fn find_last_anew(
    tx: &mut Tx,
    owner: &Owner<'_>,
    stats: &BTreeMap<String, StatDelta>,
) -> Result<(), Error> {
    // Where all rows that would tell are deleted, it stays.
    const FIND: &str = "UPDATE did_stats SET last_call_at = coalesce(\
         (SELECT c.started_at FROM call_records c WHERE c.did_id = did_stats.did_id \
         AND c.counted = 1 ORDER BY c.started_at DESC LIMIT 1), \
         CASE WHEN total_calls > 0 THEN last_call_at END), last_dial_at = coalesce(\
         (SELECT x.dialed_at FROM dials x WHERE x.did_id = did_stats.did_id \
         AND x.counted = 1 ORDER BY x.dialed_at DESC LIMIT 1), \
         CASE WHEN dials > 0 THEN last_dial_at END) WHERE tenant_id = ";
    let asked: Vec<Value<'_>> = stats
        .iter()
        .filter(|(_, delta)| delta.find_last_anew)
        .map(|(did, _)| owner.did_id(Some(did)).into())
        .collect();
    if asked.is_empty() {
        return Ok(());
    }
    let find = tx.query(FIND).bind(owner.tenant_id);
    tx.run(find.sql(" AND did_id").among(asked)).await?;
    Ok(())
}

/// Adds to `did_daily_stats`, and removes the rows that come back to nothing.
pub(super) async fn daily(
    tx: &mut Tx,
    owner: &Owner<'_>,
    daily: &BTreeMap<DailyKey, Counters>,
) -> Result<(), Error> {
    let key = ["tenant_id", "did_id", "day", "campaign_id"];
    let upsert = Insert {
        table: "did_daily_stats",
        columns: &[&key[..], &Counters::NAMES].concat(),
        fixed: &[],
        key: &key,
        then: Conflict::Change(&additions().collect::<Vec<_>>()),
    };
    tx.insert(
        &upsert,
        rows(daily, |row, (key, counters)| {
            row.push(owner.tenant_id.into());
            row.push(owner.did_id(Some(&key.did)).into());
            row.push((&key.day).into());
            row.push((&key.campaign_id).into());
            put(row, counters);
        }),
    )
    .await?;
    let is_lowered = |counters: &Counters| counters.values().iter().any(|v| *v < 0);
    let lowered = daily.iter().filter(|(_, counters)| is_lowered(counters));
    let lowered: Vec<&DailyKey> = lowered.map(|(key, _)| key).collect();
    if lowered.is_empty() {
        return Ok(());
    }
    let dids: BTreeSet<Option<i64>> = lowered
        .iter()
        .map(|key| owner.did_id(Some(&key.did)))
        .collect();
    let days: BTreeSet<&String> = lowered.iter().map(|key| &key.day).collect();
    let empty = Counters::NAMES.map(|name| format!(" AND {name} = 0"));
    let remove = tx
        .query("DELETE FROM did_daily_stats WHERE tenant_id = ")
        .bind(owner.tenant_id)
        .sql(" AND did_id")
        .among(dids.into_iter().map(Value::from))
        .sql(" AND day")
        .among(days.into_iter().map(Field::value))
        .sql(&empty.concat());
    tx.run(remove).await?;
    Ok(())
}
