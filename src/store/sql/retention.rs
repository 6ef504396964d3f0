//! Old rows, deleted a bounded number at a time, and of calls and dials the note
//! that they were.
//!
//! On PostgreSQL whole partitions are dropped instead. One by one only those rows
//! are deleted that are in the default partition, and those whose partition could not
//! be dropped for twice as long as one spans, since somebody else keeps theirs.

use sqlx::Error;

use super::dialect::{Change, Conflict, Dialect};
use super::insert::{Insert, rows};
use super::partitions::{Parted, Partitions};
use super::progress;
use super::query::Query;
use super::session::{Pool, Tx};
use super::value::Value;
use crate::ledger::{Aged, Pruned, SPARED_SECONDS};
use crate::store::{Durable, Prune, Swept, Trail};

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
    if !ids.is_empty() || has_droppable(tx, prune, cutoff).await? {
        pruned.raise(prune.aged, prune.before);
    }
    if pruned != known {
        write(tx, prune.source, pruned).await?;
        checkpoint.revision += 1;
        progress::write(tx, prune.source, &checkpoint).await?;
    }
    let mut deleted = 0;
    if !ids.is_empty() {
        deleted = tx.run(deletion(tx, prune, cutoff, &ids)).await?;
    }
    Ok(Swept {
        rows: deleted,
        partitions: 0,
        pruned,
        durable: Durable(checkpoint),
    })
}

/// Deletes rows by their ids. SQLite would read all rows of a source that is named
/// besides; PostgreSQL finds an id by the source and within the partition.
pub(super) fn deletion<'a>(tx: &Tx, prune: &Prune<'a>, cutoff: i64, ids: &'a [i64]) -> Query<'a> {
    let table = parted(prune.aged).table();
    let ids = ids.iter().copied().map(Value::from);
    let delete = tx
        .query(&format!("DELETE FROM {table} WHERE id"))
        .among(ids);
    match tx.dialect() {
        Dialect::Sqlite | Dialect::MySql => delete,
        Dialect::Postgres => delete
            .sql(" AND source = ")
            .bind(prune.source)
            .sql(" AND opened_at < ")
            .bind(cutoff),
    }
}

fn parted(aged: Aged) -> Parted {
    match aged {
        Aged::Calls => Parted::Calls,
        Aged::Dials => Parted::Dials,
    }
}

/// True when the source has rows in partitions of which all are too old.
async fn has_droppable(tx: &mut Tx, prune: &Prune<'_>, cutoff: i64) -> Result<bool, Error> {
    let parted = parted(prune.aged);
    let first_kept = match tx.dialect() {
        Dialect::Sqlite | Dialect::MySql => None,
        Dialect::Postgres => parted.bounds(cutoff),
    };
    let Some((first_kept, _)) = first_kept else {
        return Ok(false);
    };
    let look = tx
        .query(&format!(
            "SELECT id FROM {} WHERE source = ",
            parted.table()
        ))
        .bind(prune.source)
        .sql(" AND opened_at < ")
        .bind(first_kept)
        .sql(" LIMIT 1");
    Ok(tx.fetch_first(look).await?.is_some())
}

/// Behind [`sweep`]: drops what every source has given up.
pub(super) async fn drop_partitions(
    pool: &Pool,
    partitions: &Partitions,
    prune: &Prune<'_>,
    mut swept: Swept,
) -> Swept {
    if let Some(before) = swept.pruned.before(prune.aged) {
        let cutoff = before.saturating_sub(SPARED_SECONDS);
        let parted = parted(prune.aged);
        swept.partitions = partitions.drop(pool, parted, 0, cutoff).await;
    }
    swept
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

/// Where rows are deleted one by one, and those older than what.
fn places(dialect: Dialect, parted: Parted, before: i64) -> Vec<(String, i64)> {
    let table = parted.table();
    match dialect {
        Dialect::Sqlite | Dialect::MySql => vec![(table.to_owned(), before)],
        Dialect::Postgres => vec![
            (format!("{table}_default"), before),
            (table.to_owned(), before.saturating_sub(parted.patience())),
        ],
    }
}

/// The ids of old rows.
async fn old(tx: &mut Tx, prune: &Prune<'_>, cutoff: i64) -> Result<Vec<i64>, Error> {
    let mut queries = Vec::new();
    for (table, cutoff) in places(tx.dialect(), parted(prune.aged), cutoff) {
        queries.push(of_dids(tx, prune, &table, cutoff));
        queries.push(without_did(tx, prune, &table, cutoff));
    }
    let mut ids = Vec::new();
    for query in queries {
        let found = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let left = prune.rows_max.saturating_sub(found);
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
pub(super) fn of_dids<'a>(tx: &Tx, prune: &Prune<'a>, table: &str, cutoff: i64) -> Query<'a> {
    let join = match tx.dialect() {
        // DIDs first, whatever the planner thinks.
        Dialect::Sqlite => "CROSS JOIN",
        Dialect::MySql => "STRAIGHT_JOIN",
        Dialect::Postgres => "JOIN",
    };
    let query = tx.query(&format!(
        "SELECT x.id FROM dids d {join} {table} x ON x.did_id = d.id WHERE d.tenant_id = \
         (SELECT id FROM tenants WHERE name = "
    ));
    aged(query.bind(prune.tenant).sql(")"), prune, cutoff)
}

/// Those without.
pub(super) fn without_did<'a>(tx: &Tx, prune: &Prune<'a>, table: &str, cutoff: i64) -> Query<'a> {
    let query = tx.query(&format!(
        "SELECT x.id FROM {table} x WHERE x.did_id IS NULL"
    ));
    aged(query, prune, cutoff)
}

fn aged<'a>(query: Query<'a>, prune: &Prune<'a>, cutoff: i64) -> Query<'a> {
    let at = match prune.aged {
        Aged::Calls => "started_at",
        Aged::Dials => "dialed_at",
    };
    query
        .sql(" AND x.source = ")
        .bind(prune.source)
        .sql(&format!(" AND x.{at} < "))
        .bind(cutoff)
        .sql(" AND x.opened_at < ")
        .bind(cutoff)
}

/// Deletes rows of a trail of a tenant.
pub(super) async fn prune(
    pool: &Pool,
    partitions: &Partitions,
    tenant: &str,
    trail: Trail,
    before: i64,
    rows_max: u32,
) -> Result<u64, Error> {
    let (parted, at) = match trail {
        Trail::Audit => (Parted::Audit, "created_at"),
        Trail::History => (Parted::History, "at"),
    };
    let mut tx = pool.begin_writing().await?;
    let now = tx.dialect().now();
    let find = tx
        .query(&format!("SELECT id, {now} FROM tenants WHERE name = "))
        .bind(tenant);
    let Some(mut row) = tx.fetch_first(find).await? else {
        return tx.finish(0).await;
    };
    let (tenant_id, now): (i64, i64) = (row.take()?, row.take()?);
    let mut pruned = 0;
    for (table, before) in places(tx.dialect(), parted, before) {
        let left = u64::from(rows_max).saturating_sub(pruned);
        // The rows to go are a table of their own, or MySQL refuses it.
        let prune = tx
            .query(&format!("DELETE FROM {table} WHERE {at} < "))
            .bind(before)
            .sql(&format!(
                " AND id IN (SELECT id FROM (SELECT id FROM {table} WHERE tenant_id = "
            ))
            .bind(tenant_id)
            .sql(&format!(" AND {at} < "))
            .bind(before)
            .sql(&format!(" ORDER BY {at}, id LIMIT "))
            .bind(i64::try_from(left).unwrap_or(i64::MAX))
            .sql(") old)");
        pruned += tx.run(prune).await?;
    }
    tx.commit().await?;
    partitions.drop(pool, parted, tenant_id, before).await;
    partitions.make_ahead(pool, now).await;
    Ok(pruned)
}
