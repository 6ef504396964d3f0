//! The counters' part of a commit: differences, added up in place.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use sqlx::sqlite::SqliteConnection;

use crate::ledger::{Counters, DailyKey, StatDelta};
use crate::store::sqlite::rows::{MultiRow, Row, json_list, upsert};

/// `column = column + excluded.column` for each counter.
fn additions() -> String {
    let add = |column: &str| format!("{column} = {column} + excluded.{column}");
    Counters::NAMES.map(add).join(", ")
}

/// Adds to `did_stats`.
pub(super) async fn stats(
    tx: &mut SqliteConnection,
    ids: &BTreeMap<String, i64>,
    stats: &BTreeMap<String, StatDelta>,
) -> Result<(), sqlx::Error> {
    static UPSERT: LazyLock<MultiRow> = LazyLock::new(|| {
        let raise = |last: &str| {
            format!(
                "{last} = max(ifnull({last}, excluded.{last}), ifnull(excluded.{last}, {last}))"
            )
        };
        let set = [additions(), raise("last_call_at"), raise("last_dial_at")].join(", ");
        let columns = [&Counters::NAMES[..], &["last_call_at", "last_dial_at"]].concat();
        upsert("did_stats", &["did_id"], &[], &columns, &set)
    });
    let bind = |row: &mut Row, (did, delta): (&String, &StatDelta)| {
        row.put(ids.get(did).copied());
        delta.counters.values().into_iter().for_each(|v| row.put(v));
        row.put(delta.last_call_at);
        row.put(delta.last_dial_at);
    };
    UPSERT.run(tx, stats, bind).await?;
    find_last_anew(tx, ids, stats).await
}

async fn find_last_anew(
    tx: &mut SqliteConnection,
    ids: &BTreeMap<String, i64>,
    stats: &BTreeMap<String, StatDelta>,
) -> Result<(), sqlx::Error> {
    const FIND: &str = "UPDATE did_stats SET \
         last_call_at = (SELECT c.started_at FROM call_records c WHERE c.did_id = did_stats.did_id \
         AND c.counted = 1 ORDER BY c.started_at DESC LIMIT 1), \
         last_dial_at = (SELECT x.dialed_at FROM dials x WHERE x.did_id = did_stats.did_id \
         AND x.counted = 1 ORDER BY x.dialed_at DESC LIMIT 1) \
         WHERE did_id IN (SELECT value FROM json_each(?))";
    let asked: Vec<i64> = stats
        .iter()
        .filter(|(_, delta)| delta.find_last_anew)
        .filter_map(|(did, _)| ids.get(did).copied())
        .collect();
    if asked.is_empty() {
        return Ok(());
    }
    sqlx::query(FIND)
        .bind(json_list(asked)?)
        .execute(tx)
        .await?;
    Ok(())
}

/// Adds to `did_daily_stats`, and removes the rows that come back to nothing.
pub(super) async fn daily(
    tx: &mut SqliteConnection,
    ids: &BTreeMap<String, i64>,
    daily: &BTreeMap<DailyKey, Counters>,
) -> Result<(), sqlx::Error> {
    static UPSERT: LazyLock<MultiRow> = LazyLock::new(|| {
        let key = ["did_id", "day", "campaign_id"];
        upsert("did_daily_stats", &key, &[], &Counters::NAMES, &additions())
    });
    static REMOVE_EMPTY: LazyLock<String> = LazyLock::new(|| {
        let empty = Counters::NAMES.map(|n| format!("s.{n} = 0")).join(" AND ");
        format!(
            "DELETE FROM did_daily_stats WHERE (did_id, day, campaign_id) IN \
             (SELECT s.did_id, s.day, s.campaign_id FROM json_each(?) j \
             CROSS JOIN did_daily_stats s ON s.did_id = j.value ->> 0 AND s.day = j.value ->> 1 \
             AND s.campaign_id = j.value ->> 2 WHERE {empty})"
        )
    });
    UPSERT
        .run(&mut *tx, daily, |row, (key, counters)| {
            row.put(ids.get(&key.did).copied());
            row.put(key.day.as_str());
            row.put(key.campaign_id.as_str());
            counters.values().into_iter().for_each(|v| row.put(v));
        })
        .await?;
    let lowered: Vec<_> = daily
        .iter()
        .filter(|(_, counters)| counters.values().iter().any(|v| *v < 0))
        .filter_map(|(key, _)| Some((ids.get(&key.did)?, &key.day, &key.campaign_id)))
        .collect();
    if !lowered.is_empty() {
        sqlx::query(REMOVE_EMPTY.as_str())
            .bind(json_list(lowered)?)
            .execute(tx)
            .await?;
    }
    Ok(())
}
