//! Pages of calls and of DIDs, for the HTTP API.
//!
//! # Why marks and no offsets
//! A page begins behind the last row of the one before, by the columns that order
//! them. So it costs the same however far it is, and rows that come in between
//! neither repeat a call nor skip one.

use crate::ledger::{Call, CallKey, Counters};
use crate::store::sql::{Query, Tx, call_columns, take_call};
use crate::store::{SqlStore, StoreError};

/// Which calls to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordQuery {
    /// Only those of this DID, as the store writes it.
    pub did: Option<String>,
    /// Only those of this campaign.
    pub campaign: Option<String>,
    /// Only those with this disposition.
    pub disposition: Option<String>,
    /// Only those that began at this second (since 1970, UTC) or later.
    pub since: Option<i64>,
    /// Only those that began before this second.
    pub until: Option<i64>,
    /// Only those behind this one.
    pub behind: Option<RecordMark>,
    /// At most so many.
    pub rows_max: u32,
}

/// The place of a call in the order: the newest first, then the one written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMark {
    /// [`Call::started_at`].
    pub started_at: i64,
    /// The id of the row.
    pub id: i64,
}

/// A row of `call_records`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRecord {
    /// The id of the row.
    pub id: i64,
    /// The source's name.
    pub source: String,
    /// What tells the call from every other of the source.
    pub key: CallKey,
    /// Its state.
    pub call: Call,
}

/// Some calls, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordPage {
    /// The calls.
    pub calls: Vec<CallRecord>,
    /// Behind what the next page begins; `None` at the end.
    pub next: Option<RecordMark>,
}

/// A DID with its numbers of all time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DidRow {
    /// The id of the row.
    pub id: i64,
    /// The DID.
    pub phone_number: String,
    /// `active`, or what an operator imported.
    pub status: String,
    /// `observed`, `imported` or `reported`.
    pub origin: String,
    /// Seconds since 1970 (UTC).
    pub created_at: i64,
    /// Its numbers.
    pub counters: Counters,
    /// Start of the newest counted call; seconds since 1970 (UTC).
    pub last_call_at: Option<i64>,
    /// The newest counted dial; seconds since 1970 (UTC).
    pub last_dial_at: Option<i64>,
}

/// Some DIDs, in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DidPage {
    /// The DIDs.
    pub dids: Vec<DidRow>,
    /// Behind what the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// One row more than asked for tells whether there is a next page.
fn and_one(rows_max: u32) -> i64 {
    i64::from(rows_max) + 1
}

impl SqlStore {
    /// A tenant's calls, the newest first; not the duplicates that VICIdial removed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn call_records(
        &self,
        tenant: &str,
        wanted: &RecordQuery,
    ) -> Result<RecordPage, StoreError> {
        let read = async {
            let mut tx = self.begin_look().await?;
            let query = calls(&tx, tenant, wanted);
            let mut page = RecordPage::default();
            for mut row in tx.fetch(query).await? {
                let (key, call) = take_call(&mut row)?;
                let (source, id) = (row.take()?, row.take()?);
                page.calls.push(CallRecord {
                    id,
                    source,
                    key,
                    call,
                });
            }
            tx.finish(page).await
        };
        let mut page = read
            .await
            .map_err(|e| self.error("reading call records", e))?;
        if page.calls.len() > wanted.rows_max as usize {
            page.calls.truncate(wanted.rows_max as usize);
            page.next = page.calls.last().map(|last| RecordMark {
                started_at: last.call.started_at,
                id: last.id,
            });
        }
        Ok(page)
    }

    /// A tenant's DIDs behind one, in the order of their numbers; or one alone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn did_page(
        &self,
        tenant: &str,
        behind: Option<&str>,
        rows_max: u32,
    ) -> Result<DidPage, StoreError> {
        let mut dids = self
            .did_rows(
                tenant,
                |query| match behind {
                    Some(behind) => query.sql(" AND d.phone_number > ").bind(behind),
                    None => query,
                },
                rows_max,
            )
            .await?;
        let more = dids.len() > rows_max as usize;
        dids.truncate(rows_max as usize);
        let next = dids.last().filter(|_| more);
        let next = next.map(|last| last.phone_number.clone());
        Ok(DidPage { dids, next })
    }

    /// One DID of a tenant; `None` where there is none of this number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn did_row(&self, tenant: &str, did: &str) -> Result<Option<DidRow>, StoreError> {
        let found = self
            .did_rows(
                tenant,
                |query| query.sql(" AND d.phone_number = ").bind(did),
                1,
            )
            .await?;
        Ok(found.into_iter().next())
    }

    /// The DID that somebody names: the one that is written so in the store, e.g. in an
    /// answer of ours, or else that of this number in its one form (`normal`). A number
    /// that is none is kept by its digits, which can be another's without country code.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn did_named(
        &self,
        tenant: &str,
        said: &str,
        normal: Option<&str>,
    ) -> Result<Option<DidRow>, StoreError> {
        if let Some(row) = self.did_row(tenant, said).await? {
            return Ok(Some(row));
        }
        match normal {
            Some(normal) => self.did_row(tenant, normal).await,
            None => Ok(None),
        }
    }

    async fn did_rows<'a>(
        &self,
        tenant: &'a str,
        narrow: impl FnOnce(Query<'a>) -> Query<'a> + Send,
        rows_max: u32,
    ) -> Result<Vec<DidRow>, StoreError> {
        let counters = Counters::NAMES.map(|name| format!("coalesce(s.{name}, 0)"));
        let text = format!(
            "SELECT d.id, d.phone_number, d.status, d.origin, d.created_at, {}, \
             s.last_call_at, s.last_dial_at FROM dids d \
             LEFT JOIN did_stats s ON s.did_id = d.id WHERE d.tenant_id = \
             (SELECT id FROM tenants WHERE name = ",
            counters.join(", ")
        );
        let read = async {
            let mut tx = self.begin_look().await?;
            let query = narrow(tx.query(&text).bind(tenant).sql(")"));
            let query = query
                .sql(" ORDER BY d.phone_number LIMIT ")
                .bind(and_one(rows_max));
            let mut found = Vec::new();
            for mut row in tx.fetch(query).await? {
                found.push(DidRow {
                    id: row.take()?,
                    phone_number: row.take()?,
                    status: row.take()?,
                    origin: row.take()?,
                    created_at: row.take()?,
                    counters: crate::store::read::counters(&mut row)?,
                    last_call_at: row.take()?,
                    last_dial_at: row.take()?,
                });
            }
            tx.finish(found).await
        };
        read.await.map_err(|e| self.error("reading DIDs", e))
    }
}

fn calls<'a>(tx: &Tx, tenant: &'a str, wanted: &'a RecordQuery) -> Query<'a> {
    let text = format!(
        "SELECT {}, x.source, x.id FROM call_records x LEFT JOIN dids d ON d.id = x.did_id \
         WHERE x.removed = 0 AND x.tenant_id = (SELECT id FROM tenants WHERE name = ",
        call_columns().join(", ")
    );
    let mut query = tx.query(&text).bind(tenant).sql(")");
    if let Some(did) = &wanted.did {
        query = query
            .sql(
                " AND x.did_id = (SELECT o.id FROM dids o JOIN tenants t ON t.id = o.tenant_id \
                 WHERE t.name = ",
            )
            .bind(tenant)
            .sql(" AND o.phone_number = ")
            .bind(did)
            .sql(")");
    }
    if let Some(campaign) = &wanted.campaign {
        query = query.sql(" AND x.campaign_id = ").bind(campaign);
    }
    if let Some(disposition) = &wanted.disposition {
        query = query.sql(" AND x.disposition = ").bind(disposition);
    }
    if let Some(since) = wanted.since {
        query = query.sql(" AND x.started_at >= ").bind(since);
    }
    if let Some(until) = wanted.until {
        query = query.sql(" AND x.started_at < ").bind(until);
    }
    if let Some(RecordMark { started_at, id }) = wanted.behind {
        // Said twice, so that the index is read from there on.
        query = query
            .sql(" AND x.started_at <= ")
            .bind(started_at)
            .sql(" AND (x.started_at < ")
            .bind(started_at)
            .sql(" OR x.id < ")
            .bind(id)
            .sql(")");
    }
    query
        .sql(" ORDER BY x.started_at DESC, x.id DESC LIMIT ")
        .bind(and_one(wanted.rows_max))
}
