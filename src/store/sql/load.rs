//! Reading the states that a batch needs, in a bounded number of statements.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Error;

use super::columns::{CALLS, DIALS, Table};
use super::dialect::Dialect;
use super::query::{Query, array};
use super::session::Tx;
use super::value::{Field, Row, Value};
use crate::ledger::{
    CODE_WINDOW_SECONDS, Call, CallKey, Keys, Loaded, OPENED_WITHIN_SECONDS, named_second,
};

/// How far a row may lie from the time that is known of it where that is another
/// table's or another clock's.
const MONTH_SECONDS: i64 = 31 * 86_400;

/// How far the time that a row says of a call may lie from that which its name says.
const NEAR_ROWS_SECONDS: i64 = 300;

/// Times with a longer pause between them are looked for apart.
const PAUSE_SECONDS: i64 = 600;

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
            let wanted = by_name(tx, &CALLS, source, names);
            let wanted = wanted.opened(times, OPENED_WITHIN_SECONDS).query();
            take(tx, &CALLS, wanted, calls).await?;
            let wanted = by_name(tx, &DIALS, source, names);
            let wanted = wanted.opened(times, MONTH_SECONDS).query();
            take(tx, &DIALS, wanted, dials).await?;
        }
    }
    if !keys.caller_codes.is_empty() {
        let codes = keys.caller_codes.iter().map(Field::value);
        let wanted = Wanted::of(tx, &DIALS, source, "caller_code", codes);
        let wanted = wanted.opened(keys.code_times, 0).query();
        take(tx, &DIALS, wanted, dials).await?;
    }
    if let (Some(times), false) = (keys.lead_times, keys.lead_ids.is_empty()) {
        let leads = || keys.lead_ids.iter().map(Field::value);
        let wanted = Wanted::of(tx, &CALLS, source, "lead_id", leads());
        let wanted = wanted.within("started_at", times);
        let wanted = wanted.opened(Some(times), MONTH_SECONDS).query();
        take(tx, &CALLS, wanted, calls).await?;
        let wanted = Wanted::of(tx, &DIALS, source, "lead_id", leads());
        let wanted = wanted.within("dialed_at", times);
        let wanted = wanted.opened(Some(times), CODE_WINDOW_SECONDS).query();
        take(tx, &DIALS, wanted, dials).await?;
    }
    if let Some(times) = span(keys.posted_seconds.iter().copied()) {
        let wanted = Wanted::of(tx, &CALLS, source, "lead_id", [0_i64.value()]);
        let seconds = keys.posted_seconds.iter().map(Field::value);
        let wanted = Wanted(wanted.0.sql(" AND x.started_at").among(seconds));
        let wanted = wanted.opened(Some(times), OPENED_WITHIN_SECONDS);
        let wanted = Wanted(wanted.0.sql(" AND x.origin = 'posted'")).query();
        take(tx, &CALLS, wanted, calls).await?;
    }
    for (times, numbers) in of_stretches(&keys.near_numbers) {
        let (first, last) = times;
        let near = select(tx, &CALLS, &[])
            .sql(&from(&CALLS, ""))
            .sql(" WHERE x.tenant_id = (SELECT id FROM tenants WHERE name = ")
            .bind(tenant)
            .sql(") AND x.source = ")
            .bind(source)
            .sql(" AND x.phone_number")
            .among(numbers.into_iter().map(Value::from));
        let near = Wanted(near).within(
            "started_at",
            (
                first.saturating_sub(NEAR_ROWS_SECONDS),
                last.saturating_add(NEAR_ROWS_SECONDS),
            ),
        );
        let near = near.opened(Some(times), OPENED_WITHIN_SECONDS).0;
        take(tx, &CALLS, near, calls).await?;
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

/// Times in order, in stretches without long pauses: first, last, and the numbers of
/// each. What is posted late does not make the database look at all that lies between.
fn of_stretches(near: &BTreeSet<(i64, String)>) -> Vec<((i64, i64), BTreeSet<&str>)> {
    let mut all: Vec<((i64, i64), BTreeSet<&str>)> = Vec::new();
    for (at, number) in near {
        match all.last_mut() {
            Some(((_, last), numbers)) if *at - *last <= PAUSE_SECONDS => {
                *last = *at;
                numbers.insert(number);
            }
            _ => all.push(((*at, *at), BTreeSet::from([number.as_str()]))),
        }
    }
    all
}

/// First and last of some times.
pub(super) fn span(times: impl Iterator<Item = i64>) -> Option<(i64, i64)> {
    times.fold(None, |span, at| {
        let (first, last) = span.unwrap_or((at, at));
        Some((at.min(first), at.max(last)))
    })
}

/// The states of a source that have one of some values in a column, to be narrowed
/// down.
pub(super) struct Wanted<'a>(Query<'a>);

impl<'a> Wanted<'a> {
    /// Servers judge by what they counted of a table some time ago: while it fills up
    /// they take it for small, and read all of it. So they are told how to look.
    /// PostgreSQL takes one value after the other, MySQL the index.
    pub(super) fn of<K: Default, S: Default>(
        tx: &Tx,
        table: &Table<K, S>,
        source: &'a str,
        column: &str,
        values: impl IntoIterator<Item = Value<'a>>,
    ) -> Self {
        let query = select(tx, table, &[]);
        Self(match tx.dialect() {
            Dialect::Postgres => query
                .sql(" FROM unnest(")
                .parameter(array(values.into_iter().collect()))
                .sql(") k (wanted) CROSS JOIN LATERAL (SELECT * FROM ")
                .sql(table.name)
                .sql(" x WHERE x.source = ")
                .bind(source)
                .sql(&format!(" AND x.{column} = k.wanted")),
            Dialect::Sqlite | Dialect::MySql => {
                let index = table
                    .index(column)
                    .filter(|_| tx.dialect() == Dialect::MySql);
                let force = index.map(|index| format!(" FORCE INDEX ({index})"));
                query
                    .sql(&from(table, &force.unwrap_or_default()))
                    .sql(" WHERE x.source = ")
                    .bind(source)
                    .sql(&format!(" AND x.{column}"))
                    .among(values)
            }
        })
    }

    /// Those whose time in a column is in a span, with both its ends.
    pub(super) fn within(self, column: &str, (first, last): (i64, i64)) -> Self {
        let query = self
            .0
            .sql(&format!(" AND x.{column} BETWEEN "))
            .bind(Value::from(first));
        Self(query.sql(" AND ").bind(Value::from(last)))
    }

    /// Those that were opened within so many seconds of some times: where there are
    /// partitions, no others are looked at.
    fn opened(self, times: Option<(i64, i64)>, within: i64) -> Self {
        match times {
            Some((first, last)) => self.within(
                "opened_at",
                (first.saturating_sub(within), last.saturating_add(within)),
            ),
            None => self,
        }
    }

    /// The finished statement.
    pub(super) fn query(self) -> Query<'a> {
        match self.0.dialect {
            // Without the OFFSET it would be joined in any other way.
            Dialect::Postgres => self.0.sql(" OFFSET 0) x").sql(DIDS),
            Dialect::Sqlite | Dialect::MySql => self.0,
        }
    }
}

fn by_name<'a, K: Default, S: Default>(
    tx: &Tx,
    table: &Table<K, S>,
    source: &'a str,
    names: &[&'a String],
) -> Wanted<'a> {
    let names = names.iter().map(|name| Value::from(*name));
    Wanted::of(tx, table, source, "uniqueid", names)
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

/// The DIDs' numbers beside the states.
const DIDS: &str = " LEFT JOIN dids d ON d.id = x.did_id";

fn select<'a, K: Default, S: Default>(tx: &Tx, table: &Table<K, S>, more: &[&str]) -> Query<'a> {
    let own = table.read();
    let columns: Vec<&str> = own.iter().map(String::as_str).collect();
    tx.select(&[&columns[..], more].concat())
}

fn from<K, S>(table: &Table<K, S>, how: &str) -> String {
    format!(" FROM {} x{how}{DIDS}", table.name)
}

/// All states of a table, to be read with [`Table::take`], and then these columns.
pub(super) fn all<'a, K: Default, S: Default>(
    tx: &Tx,
    table: &Table<K, S>,
    more: &[&str],
) -> Query<'a> {
    select(tx, table, more).sql(&from(table, ""))
}

/// What [`take_call`] reads, of `call_records` as `x` and its DID as `d`.
pub(in crate::store) fn call_columns() -> Vec<String> {
    CALLS.read()
}

/// Takes the columns of a call.
pub(in crate::store) fn take_call(row: &mut Row) -> Result<(CallKey, Call), Error> {
    CALLS.take(row)
}
