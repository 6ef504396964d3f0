//! What the command line and the API ask of the store.
//!
//! All-time numbers come from `did_stats` and `did_daily_stats`, which are kept;
//! numbers since a time and by disposition are counted from the rows that retention
//! has left, by the same rules (`contributions`).

use std::collections::BTreeMap;

use crate::ledger::{Counters, Outcome, Pruned, percent, share};
use crate::store::sql::{Dialect, Query, Row, Tx};
use crate::store::{SqlStore, StoreError};

/// Which DIDs to read, and from when on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this DID, as the store writes it.
    pub did: Option<String>,
    /// Only calls and dials from this second on (since 1970, UTC).
    pub since: Option<i64>,
    /// At most so many rows, those with the most calls.
    pub rows_max: Option<u32>,
}

/// A row of `did_summary`; rates in percent of `total_calls`.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct DidSummary {
    /// The tenant's name.
    pub tenant: String,
    /// The DID.
    pub phone_number: String,
    /// Dial attempts.
    pub dials: i64,
    /// Counted calls.
    pub total_calls: i64,
    /// Counted calls whose disposition is a success.
    pub successful_calls: i64,
    /// Percent; `None` without calls.
    pub success_rate: Option<f64>,
    /// Percent; `None` without calls.
    pub answer_rate: Option<f64>,
    /// Percent; `None` without calls.
    pub block_rate: Option<f64>,
    /// Talk seconds an answered call; `None` without answered calls.
    pub average_talk_seconds: Option<f64>,
    /// Start of the newest counted call; seconds since 1970 (UTC).
    pub last_call_at: Option<i64>,
}

/// What a DID's numbers are split by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// The day in the dialer's zone.
    Day,
    /// The campaign; dials, whose campaign no log tells, are under the empty one.
    Campaign,
    /// The disposition; dials are under the empty one.
    Disposition,
}

impl Split {
    fn column(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Campaign => "campaign_id",
            Self::Disposition => "disposition",
        }
    }
}

/// How many rows the store has, for totals and checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// DIDs.
    pub dids: i64,
    /// Calls, counted or not.
    pub calls: i64,
    /// Counted calls.
    pub counted: i64,
    /// Counted calls by the name of [`crate::ledger::Attribution`]; `none` are
    /// those without a DID.
    pub counted_by_attribution: BTreeMap<String, i64>,
    /// Dial attempts, counted or not.
    pub dials: i64,
    /// Rows of `audit_log`.
    pub audit_rows: i64,
}

/// One row a counted call or dial with a DID, with its counters as columns:
/// [`crate::ledger::Call::contribution`] in SQL.
pub(in crate::store) fn contributions() -> String {
    format!("{} UNION ALL {}", of_calls(), of_dials())
}

/// Those of calls alone.
pub(in crate::store) fn of_calls() -> String {
    let outcome = Outcome::ALL.map(|o| {
        let name = o.as_str();
        format!("CASE WHEN outcome = '{name}' THEN 1 ELSE 0 END AS {name}")
    });
    format!(
        "SELECT tenant_id, did_id, day, campaign_id, disposition, started_at AS call_at, \
         NULL AS dial_at, 0 AS dials, 1 AS total_calls, successful AS successful_calls, {}, dnc, \
         CASE WHEN outcome = 'answered' AND duration_seconds > 0 THEN duration_seconds ELSE 0 END \
         AS talk_seconds FROM call_records WHERE counted = 1 AND did_id IS NOT NULL",
        outcome.join(", "),
    )
}

/// Those of dials alone.
pub(in crate::store) fn of_dials() -> String {
    format!(
        "SELECT tenant_id, did_id, day, '' AS campaign_id, '' AS disposition, NULL AS call_at, \
         dialed_at AS dial_at, 1 AS dials, 0 AS total_calls, 0 AS successful_calls, {}, 0 AS dnc, \
         0 AS talk_seconds FROM dials WHERE counted = 1 AND did_id IS NOT NULL",
        Outcome::ALL
            .map(|o| format!("0 AS {}", o.as_str()))
            .join(", "),
    )
}

/// The contributions as a table `s`, all or those since a time.
fn counted<'a>(query: Query<'a>, since: Option<i64>) -> Query<'a> {
    let query = query.sql("(").sql(&of_calls());
    let query = match since {
        None => query.sql(" UNION ALL ").sql(&of_dials()),
        Some(since) => query
            .sql(" AND started_at >= ")
            .bind(since)
            .sql(" UNION ALL ")
            .sql(&of_dials())
            .sql(" AND dialed_at >= ")
            .bind(since),
    };
    query.sql(") s")
}

/// Keeps to the tenant and the DID that are asked for.
fn narrowed<'a>(query: Query<'a>, tenant: Option<&'a str>, filter: &'a Filter) -> Query<'a> {
    let mut query = query.sql(" WHERE 1 = 1");
    if let Some(tenant) = tenant {
        query = query.sql(" AND t.name = ").bind(tenant);
    }
    if let Some(did) = &filter.did {
        query = query.sql(" AND d.phone_number = ").bind(did);
    }
    query
}

/// Keeps to as many rows as are asked for.
fn limited<'a>(query: Query<'a>, filter: &Filter) -> Query<'a> {
    let rows_max = filter.rows_max.map_or(i64::MAX, i64::from);
    query.sql(" LIMIT ").bind(rows_max)
}

/// `sum(counter) AS counter` for each counter.
fn sums(dialect: Dialect) -> String {
    let sum = |name: &str| format!("{} AS {name}", dialect.int(&format!("sum({name})")));
    Counters::NAMES.map(sum).join(", ")
}

/// Takes the thirteen counters from a row.
pub(in crate::store) fn counters(row: &mut Row) -> Result<Counters, sqlx::Error> {
    let mut values = [0; Counters::NAMES.len()];
    for value in &mut values {
        *value = row.take()?;
    }
    Ok(Counters::from_values(values))
}

impl SqlStore {
    /// Before which times calls and dials may have been deleted, of whichever source
    /// that is latest; seconds since 1970 (UTC).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn pruned_anywhere(&self) -> Result<Pruned, StoreError> {
        let read = async {
            let mut tx = self.begin_read().await?;
            let look = tx.query("SELECT max(calls_before), max(dials_before) FROM retention");
            let row = tx.fetch_first(look).await?;
            let mut row = row.ok_or(sqlx::Error::RowNotFound)?;
            let pruned = Pruned {
                calls_before: row.take()?,
                dials_before: row.take()?,
            };
            tx.finish(pruned).await
        };
        read.await
            .map_err(|e| self.error("reading what was deleted", e))
    }

    /// The DIDs' numbers, most calls first. With [`Filter::since`], only DIDs
    /// that were used since.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn summaries(
        &self,
        tenant: Option<&str>,
        filter: &Filter,
    ) -> Result<Vec<DidSummary>, StoreError> {
        let read = async {
            let mut tx = self.begin_read().await?;
            let query = summaries(&tx, tenant, filter);
            let mut found = Vec::new();
            for mut row in tx.fetch(query).await? {
                found.push(summary(&mut row)?);
            }
            tx.finish(found).await
        };
        read.await.map_err(|e| self.error("reading the summary", e))
    }

    /// The numbers split by day, campaign or disposition, in the order of
    /// their names; of one DID or of all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn split(
        &self,
        tenant: Option<&str>,
        filter: &Filter,
        by: Split,
    ) -> Result<Vec<(String, Counters)>, StoreError> {
        let by = by.column();
        let read = async {
            let mut tx = self.begin_read().await?;
            let query = tx.query(&format!("SELECT s.{by}, {} FROM ", sums(tx.dialect())));
            // What is kept of each day is whole, also where rows were deleted.
            let is_kept = filter.since.is_none() && by != "disposition";
            let query = match is_kept {
                true => query.sql("did_daily_stats s"),
                false => counted(query, filter.since),
            };
            let query =
                query.sql(" JOIN dids d ON d.id = s.did_id JOIN tenants t ON t.id = d.tenant_id");
            let query =
                narrowed(query, tenant, filter).sql(&format!(" GROUP BY s.{by} ORDER BY s.{by}"));
            let mut split = Vec::new();
            for mut row in tx.fetch(limited(query, filter)).await? {
                split.push((row.take()?, counters(&mut row)?));
            }
            tx.finish(split).await
        };
        read.await.map_err(|e| self.error("counting calls", e))
    }

    /// The rows of `did_daily_stats` of one DID, by day and campaign.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn daily(
        &self,
        tenant: &str,
        did: &str,
    ) -> Result<Vec<(String, String, Counters)>, StoreError> {
        let text = format!(
            "SELECT s.day, s.campaign_id, s.{} FROM tenants t \
             JOIN dids d ON d.tenant_id = t.id JOIN did_daily_stats s ON s.did_id = d.id \
             WHERE t.name = ",
            Counters::NAMES.join(", s."),
        );
        let read = async {
            let mut tx = self.begin_read().await?;
            let query = tx
                .query(&text)
                .bind(tenant)
                .sql(" AND d.phone_number = ")
                .bind(did)
                .sql(" ORDER BY s.day, s.campaign_id");
            let mut daily = Vec::new();
            for mut row in tx.fetch(query).await? {
                daily.push((row.take()?, row.take()?, counters(&mut row)?));
            }
            tx.finish(daily).await
        };
        read.await
            .map_err(|e| self.error("reading daily numbers", e))
    }

    /// The calls of a source whose newest change was written at `since` (seconds since
    /// 1970, UTC) or later, counted by DID, those with the most first; `None` are calls
    /// without a DID.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn changed_since(
        &self,
        source: &str,
        since: i64,
    ) -> Result<Vec<(Option<String>, i64)>, StoreError> {
        let read = async {
            let mut tx = self.begin_read().await?;
            let query = tx
                .query(
                    "SELECT d.phone_number, count(*) AS calls FROM call_records c \
                     LEFT JOIN dids d ON d.id = c.did_id WHERE c.source = ",
                )
                .bind(source)
                .sql(" AND c.updated_at >= ")
                .bind(since)
                .sql(" GROUP BY d.phone_number ORDER BY calls DESC, d.phone_number");
            let mut found = Vec::new();
            for mut row in tx.fetch(query).await? {
                found.push((row.take()?, row.take()?));
            }
            tx.finish(found).await
        };
        read.await.map_err(|e| self.error("counting calls", e))
    }

    /// How many rows there are; of one tenant or of all. Reads every call.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn totals(&self, tenant: Option<&str>) -> Result<Totals, StoreError> {
        let read = async {
            let mut tx = self.begin_read().await?;
            let mut counts = [0; 3];
            for (count, table) in counts.iter_mut().zip(["dids", "dials", "audit_log"]) {
                let query = tx.query(&format!("SELECT count(*) FROM {table}"));
                for mut row in tx.fetch(of_tenant(query, tenant)).await? {
                    *count = row.take()?;
                }
            }
            let counted = tx.dialect().int("sum(counted)");
            let query = tx.query(&format!(
                "SELECT attribution, count(*), {counted} FROM call_records"
            ));
            let query = of_tenant(query, tenant).sql(" GROUP BY attribution");
            let [dids, dials, audit_rows] = counts;
            let mut totals = Totals {
                dids,
                dials,
                audit_rows,
                ..Totals::default()
            };
            for mut row in tx.fetch(query).await? {
                let (way, calls, counted): (String, i64, i64) =
                    (row.take()?, row.take()?, row.take()?);
                totals.calls += calls;
                totals.counted += counted;
                totals.counted_by_attribution.insert(way, counted);
            }
            tx.finish(totals).await
        };
        read.await.map_err(|e| self.error("counting its rows", e))
    }
}

fn of_tenant<'a>(query: Query<'a>, tenant: Option<&'a str>) -> Query<'a> {
    match tenant {
        None => query,
        Some(tenant) => query
            .sql(" WHERE tenant_id = (SELECT id FROM tenants WHERE name = ")
            .bind(tenant)
            .sql(")"),
    }
}

/// The columns that [`summary`] takes, of kept numbers or of counted ones.
fn summaries<'a>(tx: &Tx, tenant: Option<&'a str>, filter: &'a Filter) -> Query<'a> {
    const COLUMNS: [&str; 7] = [
        "dials",
        "total_calls",
        "successful_calls",
        "answered",
        "blocked",
        "talk_seconds",
        "last_call_at",
    ];
    const DIDS: &str = "dids d JOIN tenants t ON t.id = d.tenant_id";
    let columns = COLUMNS.map(|name| match name {
        "last_call_at" => format!("s.{name}"),
        _ => format!("coalesce(s.{name}, 0) AS {name}"),
    });
    let query = tx.query(&format!(
        "SELECT t.name, d.phone_number, {} FROM {DIDS}",
        columns.join(", ")
    ));
    let query = match filter.since {
        None => query.sql(" LEFT JOIN did_stats s ON s.did_id = d.id"),
        Some(_) => {
            let sums = sums(tx.dialect());
            let sums = format!("SELECT did_id, {sums}, max(call_at) AS last_call_at FROM ");
            let query = query.sql(&format!(" JOIN ({sums}"));
            counted(query, filter.since).sql(" GROUP BY did_id) s ON s.did_id = d.id")
        }
    };
    let order = " ORDER BY total_calls DESC, dials DESC, d.phone_number, t.name";
    limited(narrowed(query, tenant, filter).sql(order), filter)
}

fn summary(row: &mut Row) -> Result<DidSummary, sqlx::Error> {
    let (tenant, phone_number) = (row.take()?, row.take()?);
    let (dials, total_calls, successful_calls) = (row.take()?, row.take()?, row.take()?);
    let (answered, blocked, talk_seconds) = (row.take()?, row.take()?, row.take()?);
    Ok(DidSummary {
        tenant,
        phone_number,
        dials,
        total_calls,
        successful_calls,
        success_rate: percent(successful_calls, total_calls),
        answer_rate: percent(answered, total_calls),
        block_rate: percent(blocked, total_calls),
        average_talk_seconds: share(talk_seconds, answered),
        last_call_at: row.take()?,
    })
}
