//! The DIDs' numbers of two stretches of days side by side, and day by day: what a
//! page shows that compares a DID with itself.
//!
//! Days come from `did_daily_stats`, which is kept, so that what retention deletes
//! changes nothing here; only dispositions are of the calls that are kept.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::store::read::of_calls;
use crate::store::sql::{Dialect, Query, Row, Tx};
use crate::store::{SqlStore, StoreError};

/// How often it happened on some days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Dial attempts.
    pub dials: i64,
    /// Counted calls.
    pub calls: i64,
    /// Counted calls whose disposition is a success.
    pub successful: i64,
    /// Calls that a human answered.
    pub answered: i64,
    /// Calls that the carrier or the called side blocked.
    pub blocked: i64,
    /// Talk seconds of the answered calls.
    pub talk_seconds: i64,
}

impl Tally {
    /// Their columns in `did_daily_stats`.
    const COLUMNS: [&str; 6] = [
        "dials",
        "total_calls",
        "successful_calls",
        "answered",
        "blocked",
        "talk_seconds",
    ];

    /// `sum(column) AS column` for each of them.
    fn sums(dialect: Dialect) -> String {
        let sum = |name| format!("{} AS {name}", dialect.int(&format!("sum({name})")));
        Self::COLUMNS.map(sum).join(", ")
    }

    fn take(row: &mut Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            dials: row.take()?,
            calls: row.take()?,
            successful: row.take()?,
            answered: row.take()?,
            blocked: row.take()?,
            talk_seconds: row.take()?,
        })
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        let Self {
            dials,
            calls,
            successful,
            answered,
            blocked,
            talk_seconds,
        } = other;
        self.dials += dials;
        self.calls += calls;
        self.successful += successful;
        self.answered += answered;
        self.blocked += blocked;
        self.talk_seconds += talk_seconds;
    }
}

/// Two stretches of days, one right before the other. Days are as `2026-11-23`, in
/// the dialer's zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretches {
    /// First day of the earlier one.
    pub before: String,
    /// First day of the recent one.
    pub recent: String,
    /// Last day of the recent one.
    pub until: String,
}

/// A DID on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The id of its row.
    pub id: i64,
    /// The DID.
    pub phone_number: String,
    /// `active`, or what an operator imported.
    pub status: String,
    /// Start of the newest counted call; seconds since 1970 (UTC).
    pub last_call_at: Option<i64>,
    /// On the earlier stretch.
    pub before: Tally,
    /// On the recent one.
    pub recent: Tally,
}

/// One day of a DID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DidDay {
    /// The id of the DID's row.
    pub did: i64,
    /// The day in the dialer's zone.
    pub day: String,
    /// What happened on it.
    pub tally: Tally,
}

impl SqlStore {
    /// The day of a tenant's newest call that began at `until` (seconds since 1970, UTC)
    /// or before, in the dialer's zone; `None` without one. A clock that is ahead
    /// somewhere must not decide which day it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn newest_day(&self, tenant: &str, until: i64) -> Result<Option<String>, StoreError> {
        let read = async {
            let mut tx = self.begin_look().await?;
            let look = tx
                .query(
                    "SELECT day FROM call_records WHERE tenant_id = \
                     (SELECT id FROM tenants WHERE name = ",
                )
                .bind(tenant)
                .sql(") AND started_at <= ")
                .bind(until)
                .sql(" ORDER BY started_at DESC LIMIT 1");
            let day = match tx.fetch_first(look).await? {
                Some(mut row) => Some(row.take()?),
                None => None,
            };
            tx.finish(day).await
        };
        read.await
            .map_err(|e| self.error("reading the newest day", e))
    }

    /// A tenant's DIDs on two stretches of days, in no order. Of more than `rows_max`
    /// those that were called from last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn compared(
        &self,
        tenant: &str,
        days: &Stretches,
        rows_max: u32,
    ) -> Result<Vec<Compared>, StoreError> {
        let read = async {
            let mut tx = self.begin_look().await?;
            let query = compared(&tx, tenant, days, rows_max);
            let mut dids = Vec::new();
            for mut row in tx.fetch(query).await? {
                dids.push(Compared {
                    id: row.take()?,
                    phone_number: row.take()?,
                    status: row.take()?,
                    last_call_at: row.take()?,
                    before: Tally::take(&mut row)?,
                    recent: Tally::take(&mut row)?,
                });
            }
            tx.finish(dids).await
        };
        read.await.map_err(|e| self.error("comparing DIDs", e))
    }

    /// Days of some DIDs of a tenant, from one day on; days without anything are left
    /// out. In no order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn days_of(
        &self,
        tenant: &str,
        dids: &[i64],
        since: &str,
    ) -> Result<Vec<DidDay>, StoreError> {
        if dids.is_empty() {
            return Ok(Vec::new());
        }
        let read = async {
            let mut tx = self.begin_look().await?;
            let sums = Tally::sums(tx.dialect());
            let columns = [&["did_id", "day"], &Tally::COLUMNS[..]].concat();
            let query = tx
                .select(&columns)
                .sql(&format!(
                    " FROM (SELECT did_id, day, {} FROM did_daily_stats \
                     WHERE tenant_id = (SELECT id FROM tenants WHERE name = ",
                    sums
                ))
                .bind(tenant)
                .sql(") AND did_id")
                .among(dids.iter().map(|did| (*did).into()))
                .sql(" AND day >= ")
                .bind(since)
                .sql(" GROUP BY did_id, day) x");
            let mut days = Vec::new();
            for mut row in tx.fetch(query).await? {
                days.push(DidDay {
                    did: row.take()?,
                    day: row.take()?,
                    tally: Tally::take(&mut row)?,
                });
            }
            tx.finish(days).await
        };
        read.await.map_err(|e| self.error("reading days", e))
    }

    /// The recent stretch of a tenant's DID by campaign, in no order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn campaigns_on(
        &self,
        tenant: &str,
        did: i64,
        days: &Stretches,
    ) -> Result<Vec<(String, Tally)>, StoreError> {
        let read = async {
            let tx = self.begin_look().await?;
            let sums = Tally::sums(tx.dialect());
            let query = part(&tx, "campaign_id")
                .sql(&format!("SELECT campaign_id, {sums} FROM did_daily_stats"));
            let query = on(query, tenant, did, days).sql(" GROUP BY campaign_id) x");
            taken(tx, query).await
        };
        read.await.map_err(|e| self.error("reading campaigns", e))
    }

    /// Likewise by disposition; of the calls that are kept, and without its dials.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn dispositions_on(
        &self,
        tenant: &str,
        did: i64,
        days: &Stretches,
    ) -> Result<Vec<(String, Tally)>, StoreError> {
        let read = async {
            let tx = self.begin_look().await?;
            let sums = Tally::sums(tx.dialect());
            // The index is by DID and time. No day begins and no clock is off by more.
            let (first, last) = (noon(&days.recent), noon(&days.until));
            let query = part(&tx, "disposition")
                .sql(&format!("SELECT disposition, {sums} FROM ("))
                .sql(&of_calls())
                .sql(" AND did_id = ")
                .bind(did)
                .sql(" AND started_at BETWEEN ")
                .bind(first - DAY_SECONDS_AROUND)
                .sql(" AND ")
                .bind(last + DAY_SECONDS_AROUND)
                .sql(") c");
            let query = on(query, tenant, did, days).sql(" GROUP BY disposition) x");
            taken(tx, query).await
        };
        read.await
            .map_err(|e| self.error("reading dispositions", e))
    }
}

/// Seconds from noon (UTC) of a date to where that date is surely not yet, or no more,
/// anywhere on earth.
const DAY_SECONDS_AROUND: i64 = 36 * 3600;

/// Noon of a day in UTC, in seconds since 1970; 0 for what is none.
fn noon(day: &str) -> i64 {
    let noon = |date: Date| date.at(12, 0, 0, 0).to_zoned(TimeZone::UTC).ok();
    let noon = day.parse().ok().and_then(noon);
    noon.map_or(0, |noon| noon.timestamp().as_second())
}

/// Begins to ask for parts of a name and their tallies.
fn part<'a>(tx: &Tx, name: &str) -> Query<'a> {
    let columns = [&[name], &Tally::COLUMNS[..]].concat();
    tx.select(&columns).sql(" FROM (")
}

/// Keeps to a tenant's DID and its recent days.
fn on<'a>(query: Query<'a>, tenant: &'a str, did: i64, days: &'a Stretches) -> Query<'a> {
    query
        .sql(" WHERE tenant_id = (SELECT id FROM tenants WHERE name = ")
        .bind(tenant)
        .sql(") AND did_id = ")
        .bind(did)
        .sql(" AND day >= ")
        .bind(days.recent.as_str())
        .sql(" AND day <= ")
        .bind(days.until.as_str())
}

async fn taken(mut tx: Tx, query: Query<'_>) -> Result<Vec<(String, Tally)>, sqlx::Error> {
    let mut parts = Vec::new();
    for mut row in tx.fetch(query).await? {
        parts.push((row.take()?, Tally::take(&mut row)?));
    }
    tx.finish(parts).await
}

fn compared<'a>(tx: &Tx, tenant: &'a str, days: &'a Stretches, rows_max: u32) -> Query<'a> {
    let dialect = tx.dialect();
    let named = |stretch: &str| Tally::COLUMNS.map(|name| format!("{stretch}_{name}"));
    let (before, recent) = (named("before"), named("recent"));
    let mut columns = vec!["id", "phone_number", "status", "last_call_at"];
    columns.extend(before.iter().chain(&recent).map(String::as_str));
    let mut query = tx.select(&columns).sql(
        " FROM (SELECT d.id AS id, d.phone_number AS phone_number, d.status AS status, \
         s.last_call_at AS last_call_at",
    );
    for (names, is_of) in [(&before, "<"), (&recent, ">=")] {
        for (name, column) in names.iter().zip(Tally::COLUMNS) {
            let sum = dialect.int("sum(?)");
            let (sum, end) = sum.split_once('?').unwrap_or_default();
            query = query
                .sql(&format!(", {sum}CASE WHEN w.day {is_of} "))
                .bind(days.recent.as_str())
                .sql(&format!(" THEN w.{column} ELSE 0 END{end} AS {name}"));
        }
    }
    // Of each DID its last days are read, and nothing of before.
    query
        .sql(
            " FROM dids d LEFT JOIN did_stats s ON s.did_id = d.id \
             LEFT JOIN did_daily_stats w ON w.tenant_id = d.tenant_id AND w.did_id = d.id \
             AND w.day >= ",
        )
        .bind(days.before.as_str())
        .sql(" AND w.day <= ")
        .bind(days.until.as_str())
        .sql(" WHERE d.tenant_id = (SELECT id FROM tenants WHERE name = ")
        .bind(tenant)
        .sql(
            ") GROUP BY d.id, d.phone_number, d.status, s.last_call_at \
             ORDER BY coalesce(s.last_call_at, 0) DESC, d.id LIMIT ",
        )
        .bind(i64::from(rows_max))
        .sql(") x")
}
