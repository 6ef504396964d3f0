//! One change set, written in one transaction.
//!
//! Order matters in five places: a server is asked for the source's turn before
//! its progress is read, rows leave before others take their keys, DIDs are
//! there before rows name them, the newest call and dial are looked for after the
//! rows are written, and the statistics follow all rows of this source alone: the
//! other sources of a tenant write the same ones, and wait for them until COMMIT.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Error;

use super::columns::{CALLS, DIALS, Table};
use super::dialect::{Change, Conflict, Dialect};
use super::insert::{Insert, rows};
use super::leases::{self, Turn};
use super::query::Query;
use super::session::Tx;
use super::value::{Field, Value};
use super::{landmarks, load, numbers, posted, progress, statuses};
use crate::checkpoint::Checkpoint;
use crate::ledger::{CallKey, ChangeSet, OPENED_WITHIN_SECONDS, named_second};
use crate::store::audit::details;
use crate::store::history;

/// What a commit came to.
pub(super) enum Committed {
    /// Everything is durable.
    Done,
    /// The store was not at the expected checkpoint; nothing was changed.
    NotExpected(Option<Checkpoint>),
    /// The lease that the change was made under is over, and this one has it now;
    /// nothing was changed.
    LeaseLost(String),
}

/// Waits until it may write the change.
pub(super) async fn take_turn(tx: &mut Tx, change: &ChangeSet) -> Result<(), Error> {
    match change.fencing_token {
        // The lease is renewed first of all, and that locks the same row.
        Some(_) => Ok(()),
        None => leases::take_turn(tx, &change.source).await,
    }
}

/// Writes the change in a transaction whose turn it is, unless the store is
/// elsewhere or the lease is over.
pub(super) async fn write(tx: &mut Tx, change: &ChangeSet) -> Result<Committed, Error> {
    if let Some(token) = change.fencing_token
        && let Turn::Lost(holder) = leases::take_turn_under(tx, &change.source, token).await?
    {
        return Ok(Committed::LeaseLost(holder));
    }
    let found = progress::read(tx, &change.source).await?;
    if found != change.expected {
        return Ok(Committed::NotExpected(found));
    }
    let tenant_id = tenant(tx, &change.tenant).await?;
    let owner = Owner {
        tenant_id,
        source: &change.source,
        dids: dids(tx, tenant_id, change).await?,
    };
    rekey(tx, change).await?;
    let did = |call: &crate::ledger::Call| owner.did_id(call.did.as_ref());
    states(tx, &owner, &CALLS, &change.calls, did).await?;
    let did = |dial: &crate::ledger::Dial| owner.did_id(dial.did.as_ref());
    states(tx, &owner, &DIALS, &change.dials, did).await?;
    audit(tx, &owner, change).await?;
    history(tx, &owner, change).await?;
    if let Some(book) = &change.statuses {
        statuses::write(tx, &change.source, book).await?;
    }
    landmarks::write(tx, change).await?;
    posted::delete(tx, &change.source, &change.posted).await?;
    numbers::stats(tx, &owner, &change.stats).await?;
    numbers::daily(tx, &owner, &change.daily).await?;
    progress::write(tx, &change.source, &change.checkpoint).await?;
    Ok(Committed::Done)
}

/// Whose rows are written, and the ids of the DIDs they name.
pub(super) struct Owner<'a> {
    pub(super) tenant_id: i64,
    source: &'a str,
    dids: BTreeMap<String, i64>,
}

impl Owner<'_> {
    pub(super) fn did_id(&self, did: Option<&String>) -> Option<i64> {
        did.and_then(|did| self.dids.get(did).copied())
    }
}

/// The id of a tenant, which is made where it is not there yet.
pub(super) async fn tenant(tx: &mut Tx, name: &str) -> Result<i64, Error> {
    const CREATE: Insert<'_> = Insert {
        table: "tenants",
        columns: &["name"],
        fixed: &[],
        key: &["name"],
        then: Conflict::Keep,
    };
    if let Some(id) = find_tenant(tx, name).await? {
        return Ok(id);
    }
    let put = |row: &mut Vec<_>, name| row.push(Value::Text(Some(name)));
    tx.insert(&CREATE, rows([name], put)).await?;
    find_tenant(tx, name).await?.ok_or(Error::RowNotFound)
}

/// The id of a tenant, `None` where it has no row yet.
pub(super) async fn find_tenant(tx: &mut Tx, name: &str) -> Result<Option<i64>, Error> {
    let find = tx.query("SELECT id FROM tenants WHERE name = ").bind(name);
    match tx.fetch_first(find).await? {
        Some(mut row) => Ok(Some(row.take()?)),
        None => Ok(None),
    }
}

/// Finds every DID that the change names, and creates the missing ones.
async fn dids(
    tx: &mut Tx,
    tenant_id: i64,
    change: &ChangeSet,
) -> Result<BTreeMap<String, i64>, Error> {
    let entries = change.history.values().flatten();
    let left = entries.filter_map(|entry| entry.left.as_ref());
    let named = change
        .calls
        .values()
        .filter_map(|call| call.did.as_ref())
        .chain(change.dials.values().filter_map(|dial| dial.did.as_ref()))
        .chain(change.stats.keys())
        .chain(change.daily.keys().map(|key| &key.did))
        .chain(change.audit.iter().filter_map(|entry| entry.did.as_ref()))
        .chain(left)
        .map(String::as_str);
    dids_named(tx, tenant_id, named.collect(), Some(&[])).await
}

/// The ids of DIDs. Missing ones are made, with these values of further columns; `None`:
/// they stay missing.
pub(super) async fn dids_named(
    tx: &mut Tx,
    tenant_id: i64,
    named: BTreeSet<&str>,
    creates: Option<&[(&str, &str)]>,
) -> Result<BTreeMap<String, i64>, Error> {
    let created_at = [("created_at", tx.dialect().now())];
    let fixed = [&created_at[..], creates.unwrap_or_default()].concat();
    let create = Insert {
        table: "dids",
        columns: &["tenant_id", "phone_number"],
        fixed: &fixed,
        key: &["tenant_id", "phone_number"],
        then: Conflict::Keep,
    };
    let mut found = BTreeMap::new();
    for is_created in [false, true] {
        let missing = named.iter().copied();
        let missing: Vec<&str> = missing.filter(|did| !found.contains_key(*did)).collect();
        if missing.is_empty() || (is_created && creates.is_none()) {
            break;
        }
        if is_created {
            let put = |row: &mut Vec<_>, did| row.extend([tenant_id.into(), Value::from(did)]);
            tx.insert(&create, rows(missing.iter().copied(), put))
                .await?;
        }
        let find = tx
            .query("SELECT phone_number, id FROM dids WHERE tenant_id = ")
            .bind(tenant_id)
            .sql(" AND phone_number")
            .among(missing.into_iter().map(Value::from));
        for mut row in tx.fetch(find).await? {
            found.insert(row.take()?, row.take()?);
        }
    }
    Ok(found)
}

/// A table whose rows are named by calls: its name, the two columns that name one,
/// and a condition.
type OfCalls = (&'static str, &'static str, &'static str, &'static str);

pub(super) const TABLES: [OfCalls; 2] = [
    ("call_records", "uniqueid", "lead_id", ""),
    ("change_history", "subject", "part", " AND kind = 'call'"),
];

/// Removes the replaced rows and gives the moved ones their new keys, through a
/// source that no source is called, so that swaps and chains cannot collide.
async fn rekey(tx: &mut Tx, change: &ChangeSet) -> Result<(), Error> {
    let source = &change.source;
    if !change.replaced.is_empty() {
        let replaced: Vec<Vec<Value<'_>>> = change.replaced.iter().map(values).collect();
        for table in TABLES {
            let removal = removal(tx, table, source, &change.replaced, &replaced);
            tx.run(removal).await?;
        }
    }
    if !change.moved.is_empty() {
        let moves = change.moved.iter();
        let moves: Vec<Vec<Value<'_>>> = moves
            .map(|(old, new)| {
                let call = change.calls.get(new);
                let opened_at = call.map_or(0, |call| call.opened_at);
                [values(old), values(new), vec![opened_at.into()]].concat()
            })
            .collect();
        let lifted = format!("~{source}");
        for table in TABLES {
            let old = change.moved.keys();
            let lift = lift(tx, table, (source, &lifted), old, &moves);
            tx.run(lift).await?;
            let settle = tx
                .query(&format!("UPDATE {} SET source = ", table.0))
                .bind(source)
                .sql(" WHERE source = ")
                .bind(&lifted);
            tx.run(settle).await?;
        }
    }
    Ok(())
}

/// Deletes the rows of calls. The names alone narrow it down by the key; not every
/// backend does that with pairs.
pub(super) fn removal<'a>(
    tx: &Tx,
    (table, name, part, of_calls): OfCalls,
    source: &'a str,
    keys: impl IntoIterator<Item = &'a CallKey> + Clone,
    calls: &[Vec<Value<'a>>],
) -> Query<'a> {
    let names = keys.clone().into_iter().map(|key| key.uniqueid.value());
    let removal = tx
        .query(&format!("DELETE FROM {table} WHERE source = "))
        .bind(source)
        .sql(&format!("{of_calls} AND {name}"))
        .among(names);
    opened(removal, table, keys)
        .sql(&format!(" AND ({name}, {part}) IN (SELECT a, b FROM "))
        .rows("k", &["a", "b"], calls)
        .sql(")")
}

/// Gives the rows of calls their new names, in another source.
pub(super) fn lift<'a>(
    tx: &Tx,
    (table, name, part, of_calls): OfCalls,
    (source, lifted): (&'a str, &'a str),
    keys: impl IntoIterator<Item = &'a CallKey> + Clone,
    moves: &[Vec<Value<'a>>],
) -> Query<'a> {
    let opened_at = match table {
        "call_records" => ", opened_at = k.e",
        _ => "",
    };
    let set = format!("{name} = k.c, {part} = k.d{opened_at}, source = ");
    let on = format!("{table}.{name} = k.a AND {table}.{part} = k.b{of_calls}");
    let columns = ["a", "b", "c", "d", "e"];
    let lift = match tx.dialect() {
        Dialect::Sqlite | Dialect::Postgres => tx
            .query(&format!("UPDATE {table} SET {set}"))
            .bind(lifted)
            .sql(" FROM ")
            .rows("k", &columns, moves)
            .sql(&format!(" WHERE {on}")),
        Dialect::MySql => tx
            .query(&format!("UPDATE {table} JOIN "))
            .rows("k", &columns, moves)
            .sql(&format!(" ON {on} SET {set}"))
            .bind(lifted)
            .sql(" WHERE 1 = 1"),
    };
    // Named twice, because SQLite would else look at every row of the table.
    let names = keys.clone().into_iter().map(|key| key.uniqueid.value());
    let lift = lift
        .sql(&format!(" AND {table}.source = "))
        .bind(source)
        .sql(&format!(" AND {table}.{name}"))
        .among(names);
    opened(lift, table, keys)
}

/// Narrows calls down to the times that all of their names name.
fn opened<'a>(
    query: Query<'a>,
    table: &str,
    keys: impl IntoIterator<Item = &'a CallKey>,
) -> Query<'a> {
    let times: Option<Vec<i64>> = keys
        .into_iter()
        .map(|key| named_second(&key.uniqueid))
        .collect();
    let times = times.and_then(|times| load::span(times.into_iter()));
    match times.filter(|_| table == "call_records") {
        Some((first, last)) => query
            .sql(&format!(" AND {table}.opened_at BETWEEN "))
            .bind(first.saturating_sub(OPENED_WITHIN_SECONDS))
            .sql(" AND ")
            .bind(last.saturating_add(OPENED_WITHIN_SECONDS)),
        None => query,
    }
}

fn values(key: &CallKey) -> Vec<Value<'_>> {
    vec![key.uniqueid.value(), key.lead_id.value()]
}

async fn states<K: Default + Sync, S: Default + Sync>(
    tx: &mut Tx,
    owner: &Owner<'_>,
    table: &Table<K, S>,
    states: &BTreeMap<K, S>,
    did_id: impl Fn(&S) -> Option<i64> + Send + Sync,
) -> Result<(), Error> {
    let changing: Vec<_> = table.changing();
    let changing = changing.into_iter().map(|column| (column, Change::Replace));
    let upsert = Insert {
        table: table.name,
        columns: &table.written(),
        fixed: &[],
        key: &table.key(),
        then: Conflict::Change(&changing.collect::<Vec<_>>()),
    };
    let put = |row: &mut Vec<_>, (key, state)| {
        row.push(owner.source.into());
        row.push(owner.tenant_id.into());
        row.push(did_id(state).into());
        table.put(row, key, state);
    };
    tx.insert(&upsert, rows(states, put)).await
}

async fn audit(tx: &mut Tx, owner: &Owner<'_>, change: &ChangeSet) -> Result<(), Error> {
    const INSERT: Insert<'_> = Insert {
        table: "audit_log",
        columns: &["tenant_id", "event", "details", "created_at"],
        fixed: &[("action", "'CALL_RESULT_REPORTED'")],
        key: &["tenant_id", "event", "created_at"],
        then: Conflict::Keep,
    };
    let entries = change.audit.iter().map(|entry| {
        let event = format!("{}/{}", owner.source, entry.event);
        (event, details(entry, owner.source), entry.at)
    });
    let entries: Vec<_> = entries.collect();
    tx.insert(
        &INSERT,
        rows(&entries, |row, (event, details, at)| {
            row.extend([
                owner.tenant_id.value(),
                event.value(),
                details.value(),
                at.value(),
            ]);
        }),
    )
    .await
}

async fn history(tx: &mut Tx, owner: &Owner<'_>, change: &ChangeSet) -> Result<(), Error> {
    const INSERT: Insert<'_> = Insert {
        table: "change_history",
        columns: &[
            "tenant_id",
            "source",
            "kind",
            "subject",
            "part",
            "at",
            "left_did_id",
            "entries",
        ],
        fixed: &[],
        key: &[],
        then: Conflict::Fail,
    };
    let entries = history::rows(change);
    let entries = entries.iter().map(|row| (row, owner.did_id(row.left)));
    tx.insert(
        &INSERT,
        rows(entries, |values, (row, left)| {
            values.push(owner.tenant_id.into());
            values.push(owner.source.into());
            values.push(row.kind.into());
            values.push(row.subject.into());
            values.push(row.part.into());
            values.push(row.at.into());
            values.push(left.into());
            values.push((&row.entries).into());
        }),
    )
    .await
}
