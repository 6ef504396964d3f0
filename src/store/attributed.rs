//! How many calls have a DID, and how it is known.

use std::collections::BTreeMap;

use crate::ledger::{Attribution, CallKey};
use crate::store::sql::Tx;
use crate::store::{SqlStore, StoreError, Unattributed};

/// Counted calls of a source by the way their DIDs are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributed {
    calls: BTreeMap<Attribution, i64>,
    /// Dials that were not seen in the binlog and were found by SELECT.
    pub looked_up: i64,
}

impl Attributed {
    /// Counted calls whose DID is known in this way.
    #[must_use]
    pub fn by(&self, way: Attribution) -> i64 {
        self.calls.get(&way).copied().unwrap_or(0)
    }

    /// All counted calls.
    #[must_use]
    pub fn calls(&self) -> i64 {
        self.calls.values().sum()
    }
}

#[cfg(test)]
impl Attributed {
    /// So many calls in each way.
    pub(crate) fn of(calls: impl IntoIterator<Item = (Attribution, i64)>, looked_up: i64) -> Self {
        Self {
            calls: calls.into_iter().collect(),
            looked_up,
        }
    }
}

impl SqlStore {
    /// The counted calls of a source, all or those since a second (1970, UTC).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn attributed(
        &self,
        source: &str,
        since: Option<i64>,
    ) -> Result<Attributed, StoreError> {
        let read = async {
            let mut tx = self.begin_read().await?;
            let calls = tx
                .query("SELECT attribution, count(*) FROM call_records WHERE counted = 1")
                .sql(" AND source = ")
                .bind(source);
            let calls = match since {
                None => calls,
                // By the index of times.
                Some(since) => calls
                    .sql(" AND tenant_id IN (SELECT id FROM tenants) AND started_at >= ")
                    .bind(since),
            };
            let mut attributed = Attributed::default();
            for mut row in tx.fetch(calls.sql(" GROUP BY attribution")).await? {
                attributed.calls.insert(row.take()?, row.take()?);
            }
            let looked_up = tx
                .query("SELECT count(*) FROM dials WHERE looked_up = 1 AND source = ")
                .bind(source)
                .sql(" AND dialed_at >= ")
                .bind(since.unwrap_or(0));
            if let Some(mut row) = tx.fetch_first(looked_up).await? {
                attributed.looked_up = row.take()?;
            }
            tx.finish(attributed).await
        };
        read.await.map_err(|e| self.error("counting calls", e))
    }
}

/// See [`crate::store::Store::unattributed`].
pub(in crate::store) async fn unattributed(
    tx: &mut Tx,
    source: &str,
    since: i64,
    rows_max: u32,
) -> Result<Vec<Unattributed>, sqlx::Error> {
    let read = tx
        .query("SELECT uniqueid, lead_id, caller_code, started_at FROM call_records")
        .sql(" WHERE did_id IS NULL AND removed = 0 AND source = ")
        .bind(source)
        // By the index of times.
        .sql(" AND tenant_id IN (SELECT id FROM tenants) AND started_at >= ")
        .bind(since)
        .sql(" ORDER BY started_at DESC, uniqueid, lead_id LIMIT ")
        .bind(rows_max);
    let mut found = Vec::new();
    for mut row in tx.fetch(read).await? {
        found.push(Unattributed {
            key: CallKey {
                uniqueid: row.take()?,
                lead_id: row.take()?,
            },
            caller_code: row.take()?,
            started_at: row.take()?,
        });
    }
    Ok(found)
}
