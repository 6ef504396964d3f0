//! Old calls and dials, deleted a bounded number at a time, and the note that
//! they were.

use sqlx::Error;

use super::dialect::{Change, Conflict, Dialect};
use super::insert::{Insert, rows};
use super::progress;
use super::query::Query;
use super::session::Tx;
use super::value::Value;
use crate::ledger::{Aged, Pruned};
use crate::store::{Durable, Prune, Swept};

/// Before which times rows of a source may have been deleted.
pub(super) async fn read(tx: &mut Tx, source: &str) -> Result<Pruned, Error> {
    let read = tx
        .query("SELECT calls_before, dials_before FROM retention WHERE source = ")
        .bind(source);
    let Some(mut row) = tx.fetch_first(read).await? else {
        return Ok(Pruned::default());
    };
    Ok(Pruned {
        calls_before: row.take()?,
        dials_before: row.take()?,
    })
}

/// Deletes rows, in a transaction whose turn it is.
pub(super) async fn sweep(tx: &mut Tx, prune: &Prune<'_>) -> Result<Swept, Error> {
    let known = read(tx, prune.source).await?;
    let (mut pruned, mut checkpoint) = (known, prune.expected.clone());
    let cutoff = prune.cutoff(known);
    let ids = old(tx, prune, cutoff).await?;
    if !ids.is_empty() {
        pruned.raise(prune.aged, prune.before);
    }
    if pruned != known {
        write(tx, prune.source, pruned).await?;
        checkpoint.revision += 1;
        progress::write(tx, prune.source, &checkpoint).await?;
    }
    let mut deleted = 0;
    if !ids.is_empty() {
        let ids = ids.iter().copied().map(Value::from);
        let delete = tx
            .query(&format!(
                "DELETE FROM {} WHERE source = ",
                table(prune.aged)
            ))
            .bind(prune.source)
            .sql(" AND id")
            .among(ids);
        deleted = tx.run(delete).await?;
    }
    Ok(Swept {
        rows: deleted,
        pruned,
        durable: Durable(checkpoint),
    })
}

fn table(aged: Aged) -> &'static str {
    match aged {
        Aged::Calls => "call_records",
        Aged::Dials => "dials",
    }
}

async fn write(tx: &mut Tx, source: &str, pruned: Pruned) -> Result<(), Error> {
    const UPSERT: Insert<'_> = Insert {
        table: "retention",
        columns: &["source", "calls_before", "dials_before"],
        fixed: &[],
        key: &["source"],
        then: Conflict::Change(&[
            ("calls_before", Change::Raise),
            ("dials_before", Change::Raise),
        ]),
    };
    tx.insert(
        &UPSERT,
        rows([pruned], |row, pruned| {
            row.push(source.into());
            row.push(pruned.calls_before.into());
            row.push(pruned.dials_before.into());
        }),
    )
    .await
}

/// The ids of old rows.
async fn old(tx: &mut Tx, prune: &Prune<'_>, cutoff: i64) -> Result<Vec<i64>, Error> {
    let mut ids = Vec::new();
    for query in [of_dids(tx, prune, cutoff), without_did(tx, prune, cutoff)] {
        let left = prune
            .rows_max
            .saturating_sub(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        if left == 0 {
            break;
        }
        for mut row in tx.fetch(query.sql(" LIMIT ").bind(left)).await? {
            ids.push(row.take()?);
        }
    }
    Ok(ids)
}

/// Those with a DID. They are found DID by DID, by the index that the newest call
/// of a DID is found by: no other has the time in it, and one more would cost at
/// every row that is written.
pub(super) fn of_dids<'a>(tx: &Tx, prune: &Prune<'a>, cutoff: i64) -> Query<'a> {
    let join = match tx.dialect() {
        // DIDs first, whatever the planner thinks.
        Dialect::Sqlite => "CROSS JOIN",
        Dialect::MySql => "STRAIGHT_JOIN",
        Dialect::Postgres => "JOIN",
    };
    let table = table(prune.aged);
    let query = tx.query(&format!(
        "SELECT x.id FROM dids d {join} {table} x ON x.did_id = d.id WHERE d.tenant_id = \
         (SELECT id FROM tenants WHERE name = "
    ));
    aged(query.bind(prune.tenant).sql(")"), prune, cutoff)
}

/// Those without.
pub(super) fn without_did<'a>(tx: &Tx, prune: &Prune<'a>, cutoff: i64) -> Query<'a> {
    let table = table(prune.aged);
    let query = tx.query(&format!(
        "SELECT x.id FROM {table} x WHERE x.did_id IS NULL"
    ));
    aged(query, prune, cutoff)
}

fn aged<'a>(query: Query<'a>, prune: &Prune<'a>, cutoff: i64) -> Query<'a> {
    let query = query.sql(" AND x.source = ").bind(prune.source);
    match prune.aged {
        Aged::Calls => query.sql(" AND x.started_at < ").bind(cutoff),
        Aged::Dials => query
            .sql(" AND x.dialed_at < ")
            .bind(cutoff)
            .sql(" AND x.opened_at < ")
            .bind(cutoff),
    }
}
