//! What the command line and the API ask of the store.
//!
//! All-time numbers come from `did_stats`, which is kept; numbers since a time
//! are counted from the rows, by the same rules (`contributions`).

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _};

use crate::ledger::{Counters, Outcome};
use crate::store::{SqliteStore, StoreError};

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
/// [`crate::ledger::Call::contribution`] in SQL. `from` is a condition on `at`,
/// such as `>= ?`, and is used twice.
pub(in crate::store) fn contributions(from: Option<&str>) -> String {
    let outcomes = |value: fn(&str) -> String| {
        let columns = Outcome::ALL.map(|o| format!("{} AS {}", value(o.as_str()), o.as_str()));
        columns.join(", ")
    };
    let when = |column: &str| from.map_or_else(String::new, |f| format!(" AND {column} {f}"));
    format!(
        "SELECT tenant_id, did_id, day, campaign_id, disposition, started_at AS call_at, \
         NULL AS dial_at, 0 AS dials, 1 AS total_calls, successful AS successful_calls, {}, dnc, \
         iif(outcome = 'answered', max(ifnull(duration_seconds, 0), 0), 0) AS talk_seconds \
         FROM call_records WHERE counted = 1 AND did_id IS NOT NULL{} \
         UNION ALL SELECT tenant_id, did_id, day, '', '', NULL, dialed_at, 1, 0, 0, {}, 0, 0 \
         FROM dials WHERE counted = 1 AND did_id IS NOT NULL{}",
        outcomes(|name| format!("outcome = '{name}'")),
        when("started_at"),
        outcomes(|_| "0".to_owned()),
        when("dialed_at"),
    )
}

/// `sum(counter) AS counter` for each counter.
fn sums() -> String {
    Counters::NAMES
        .map(|name| format!("sum({name}) AS {name}"))
        .join(", ")
}

/// Reads the thirteen counters from this column on.
pub(in crate::store) fn counters(row: &SqliteRow, first: usize) -> Result<Counters, sqlx::Error> {
    let mut values = [0; Counters::NAMES.len()];
    for (i, value) in values.iter_mut().enumerate() {
        *value = row.try_get_unchecked(first + i)?;
    }
    Ok(Counters::from_values(values))
}

impl SqliteStore {
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
        const COLUMNS: &str = "tenant, phone_number, dials, total_calls, successful_calls, \
             success_rate, answer_rate, block_rate, average_talk_seconds, last_call_at";
        let from = if filter.since.is_some() {
            format!(
                "(SELECT t.name AS tenant, d.phone_number, s.dials, s.total_calls, \
                 s.successful_calls, 100.0 * s.successful_calls / nullif(s.total_calls, 0) \
                 AS success_rate, 100.0 * s.answered / nullif(s.total_calls, 0) AS answer_rate, \
                 100.0 * s.blocked / nullif(s.total_calls, 0) AS block_rate, \
                 1.0 * s.talk_seconds / nullif(s.answered, 0) AS average_talk_seconds, \
                 s.last_call_at FROM (SELECT did_id, max(call_at) AS last_call_at, {} \
                 FROM ({}) GROUP BY did_id) s JOIN dids d ON d.id = s.did_id \
                 JOIN tenants t ON t.id = d.tenant_id)",
                sums(),
                contributions(Some(">= ?4")),
            )
        } else {
            "did_summary".to_owned()
        };
        let text = format!(
            "SELECT {COLUMNS} FROM {from} WHERE (?1 IS NULL OR tenant = ?1) \
             AND (?2 IS NULL OR phone_number = ?2) \
             ORDER BY total_calls DESC, dials DESC, phone_number, tenant LIMIT ?3"
        );
        let rows = sqlx::query(AssertSqlSafe(text))
            .bind(tenant)
            .bind(&filter.did)
            .bind(filter.rows_max.map_or(-1, i64::from))
            .bind(filter.since)
            .fetch_all(self.readers())
            .await
            .map_err(|e| self.error("reading the summary", e))?;
        let read = |row: &SqliteRow| {
            Ok(DidSummary {
                tenant: row.try_get(0)?,
                phone_number: row.try_get(1)?,
                dials: row.try_get(2)?,
                total_calls: row.try_get(3)?,
                successful_calls: row.try_get(4)?,
                success_rate: row.try_get(5)?,
                answer_rate: row.try_get(6)?,
                block_rate: row.try_get(7)?,
                average_talk_seconds: row.try_get(8)?,
                last_call_at: row.try_get(9)?,
            })
        };
        let summaries: Result<_, sqlx::Error> = rows.iter().map(read).collect();
        summaries.map_err(|e| self.error("reading the summary", e))
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
        let text = format!(
            "SELECT s.{by}, {} FROM ({}) s JOIN dids d ON d.id = s.did_id \
             JOIN tenants t ON t.id = d.tenant_id WHERE (?1 IS NULL OR t.name = ?1) \
             AND (?2 IS NULL OR d.phone_number = ?2) GROUP BY s.{by} ORDER BY s.{by} LIMIT ?3",
            sums(),
            contributions(filter.since.map(|_| ">= ?4")),
            by = by.column(),
        );
        let rows = sqlx::query(AssertSqlSafe(text))
            .bind(tenant)
            .bind(&filter.did)
            .bind(filter.rows_max.map_or(-1, i64::from))
            .bind(filter.since)
            .fetch_all(self.readers())
            .await
            .map_err(|e| self.error("counting calls", e))?;
        let read = |row: &SqliteRow| Ok((row.try_get(0)?, counters(row, 1)?));
        let split: Result<_, sqlx::Error> = rows.iter().map(read).collect();
        split.map_err(|e| self.error("counting calls", e))
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
             WHERE t.name = ? AND d.phone_number = ? ORDER BY s.day, s.campaign_id",
            Counters::NAMES.join(", s."),
        );
        let rows = sqlx::query(AssertSqlSafe(text))
            .bind(tenant)
            .bind(did)
            .fetch_all(self.readers())
            .await
            .map_err(|e| self.error("reading daily numbers", e))?;
        let read = |row: &SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?, counters(row, 2)?));
        let daily: Result<_, sqlx::Error> = rows.iter().map(read).collect();
        daily.map_err(|e| self.error("reading daily numbers", e))
    }

    /// How many rows there are; of one tenant or of all. Reads every call.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn totals(&self, tenant: Option<&str>) -> Result<Totals, StoreError> {
        const COUNTS: &str = "WITH mine AS (SELECT id FROM tenants WHERE ?1 IS NULL OR name = ?1) \
             SELECT (SELECT count(*) FROM dids WHERE tenant_id IN mine), \
             (SELECT count(*) FROM dials WHERE tenant_id IN mine), \
             (SELECT count(*) FROM audit_log WHERE tenant_id IN mine)";
        const CALLS: &str = "SELECT attribution, count(*), coalesce(sum(counted), 0) \
             FROM call_records WHERE tenant_id IN \
             (SELECT id FROM tenants WHERE ?1 IS NULL OR name = ?1) GROUP BY attribution";
        let read = async {
            let (dids, dials, audit_rows) = sqlx::query_as(COUNTS)
                .bind(tenant)
                .fetch_one(self.readers())
                .await?;
            let calls: Vec<(String, i64, i64)> = sqlx::query_as(CALLS)
                .bind(tenant)
                .fetch_all(self.readers())
                .await?;
            Ok(Totals {
                dids,
                dials,
                audit_rows,
                calls: calls.iter().map(|(_, all, _)| all).sum(),
                counted: calls.iter().map(|(_, _, counted)| counted).sum(),
                counted_by_attribution: calls.into_iter().map(|(way, _, n)| (way, n)).collect(),
            })
        };
        read.await.map_err(|e| self.error("counting its rows", e))
    }
}
