//! Reading the states that a batch needs, in a bounded number of statements.

use std::collections::BTreeMap;

use sqlx::Error;

use super::columns::{CALLS, DIALS, Table};
use super::query::Query;
use super::session::Tx;
use super::value::{Field, Value};
use crate::ledger::{Keys, Loaded};

/// Loads the keys in one snapshot.
pub(super) async fn load(
    tx: &mut Tx,
    source: &str,
    tenant: &str,
    keys: &Keys,
) -> Result<Loaded, Error> {
    let mut loaded = Loaded::default();
    let (calls, dials) = (&mut loaded.calls, &mut loaded.dials);
    if !keys.uniqueids.is_empty() {
        let names = || keys.uniqueids.iter().map(Field::value);
        let wanted = of(tx, &CALLS, source).sql(" AND x.uniqueid").among(names());
        take(tx, &CALLS, wanted, calls).await?;
        let wanted = of(tx, &DIALS, source).sql(" AND x.uniqueid").among(names());
        take(tx, &DIALS, wanted, dials).await?;
    }
    if !keys.caller_codes.is_empty() {
        let codes = keys.caller_codes.iter().map(Field::value);
        let wanted = of(tx, &DIALS, source)
            .sql(" AND x.caller_code")
            .among(codes);
        take(tx, &DIALS, wanted, dials).await?;
    }
    if let (Some(times), false) = (keys.lead_times, keys.lead_ids.is_empty()) {
        let wanted = by_lead(of(tx, &CALLS, source), keys, times, "x.started_at");
        take(tx, &CALLS, wanted, calls).await?;
        let wanted = by_lead(of(tx, &DIALS, source), keys, times, "x.dialed_at");
        take(tx, &DIALS, wanted, dials).await?;
    }
    if !keys.dids.is_empty() {
        let find = tx
            .query("SELECT phone_number FROM dids WHERE tenant_id = (SELECT id FROM tenants")
            .sql(" WHERE name = ")
            .bind(tenant)
            .sql(") AND phone_number")
            .among(keys.dids.iter().map(Field::value));
        for mut row in tx.fetch(find).await? {
            loaded.dids.insert(row.take()?);
        }
    }
    Ok(loaded)
}

/// The states of a source, to be narrowed down.
pub(super) fn of<'a, K: Default, S: Default>(
    tx: &Tx,
    table: &Table<K, S>,
    source: &'a str,
) -> Query<'a> {
    all(tx, table, &[]).sql(" WHERE x.source = ").bind(source)
}

pub(super) fn by_lead<'a>(
    query: Query<'a>,
    keys: &'a Keys,
    (first, last): (i64, i64),
    at: &str,
) -> Query<'a> {
    query
        .sql(" AND x.lead_id")
        .among(keys.lead_ids.iter().map(Field::value))
        .sql(&format!(" AND {at} BETWEEN "))
        .bind(Value::from(first))
        .sql(" AND ")
        .bind(Value::from(last))
}

async fn take<K: Default + Ord, S: Default>(
    tx: &mut Tx,
    table: &Table<K, S>,
    wanted: Query<'_>,
    states: &mut BTreeMap<K, S>,
) -> Result<(), Error> {
    for mut row in tx.fetch(wanted).await? {
        let (key, state) = table.take(&mut row)?;
        states.insert(key, state);
    }
    Ok(())
}

/// All states of a table, to be read with [`Table::take`], and then these columns.
pub(super) fn all<'a, K: Default, S: Default>(
    tx: &Tx,
    table: &Table<K, S>,
    more: &[&str],
) -> Query<'a> {
    let own = table.read();
    let columns: Vec<&str> = own.iter().map(String::as_str).collect();
    let from = format!(" FROM {} x LEFT JOIN dids d ON d.id = x.did_id", table.name);
    tx.select(&[&columns[..], more].concat()).sql(&from)
}
