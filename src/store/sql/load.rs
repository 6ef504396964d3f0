//! Reading the states that a batch needs, in a bounded number of statements.

use std::collections::BTreeMap;

use sqlx::Error;

use super::columns::{CALLS, DIALS, Table};
use super::query::Query;
use super::session::Tx;
use super::value::{Field, Value};
use crate::ledger::{CODE_WINDOW_SECONDS, Keys, Loaded, OPENED_WITHIN_SECONDS, named_second};

/// How far a row may lie from the time that is known of it where that is another
/// table's or another clock's.
const MONTH_SECONDS: i64 = 31 * 86_400;

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
        // Those that name a time, and those that have to be looked for everywhere.
        let (timed, others): (Vec<_>, Vec<_>) = keys
            .uniqueids
            .iter()
            .partition(|uniqueid| named_second(uniqueid).is_some());
        for names in [timed, others].iter().filter(|names| !names.is_empty()) {
            let named = names.iter().filter_map(|uniqueid| named_second(uniqueid));
            let times = span(named);
            let wanted = by_name(of(tx, &CALLS, source), names, times, OPENED_WITHIN_SECONDS);
            take(tx, &CALLS, wanted, calls).await?;
            let wanted = by_name(of(tx, &DIALS, source), names, times, MONTH_SECONDS);
            take(tx, &DIALS, wanted, dials).await?;
        }
    }
    if !keys.caller_codes.is_empty() {
        let codes = keys.caller_codes.iter().map(Field::value);
        let wanted = of(tx, &DIALS, source)
            .sql(" AND x.caller_code")
            .among(codes);
        let wanted = opened(wanted, keys.code_times, 0);
        take(tx, &DIALS, wanted, dials).await?;
    }
    if let (Some(times), false) = (keys.lead_times, keys.lead_ids.is_empty()) {
        let wanted = by_lead(of(tx, &CALLS, source), keys, times, "x.started_at");
        let wanted = opened(wanted, Some(times), MONTH_SECONDS);
        take(tx, &CALLS, wanted, calls).await?;
        let wanted = by_lead(of(tx, &DIALS, source), keys, times, "x.dialed_at");
        let wanted = opened(wanted, Some(times), CODE_WINDOW_SECONDS);
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

/// First and last of some times.
pub(super) fn span(times: impl Iterator<Item = i64>) -> Option<(i64, i64)> {
    times.fold(None, |span, at| {
        let (first, last) = span.unwrap_or((at, at));
        Some((at.min(first), at.max(last)))
    })
}

/// The rows that were opened within so many seconds of some times: where there are
/// partitions, no others are looked at.
pub(super) fn opened(query: Query<'_>, times: Option<(i64, i64)>, within: i64) -> Query<'_> {
    let Some((first, last)) = times else {
        return query;
    };
    query
        .sql(" AND x.opened_at BETWEEN ")
        .bind(Value::from(first.saturating_sub(within)))
        .sql(" AND ")
        .bind(Value::from(last.saturating_add(within)))
}

fn by_name<'a>(
    query: Query<'a>,
    names: &[&'a String],
    times: Option<(i64, i64)>,
    within: i64,
) -> Query<'a> {
    let names = names.iter().map(|name| Value::from(*name));
    opened(query.sql(" AND x.uniqueid").among(names), times, within)
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
