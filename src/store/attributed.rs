//! How many calls have a DID, and how it is known.

use std::collections::BTreeMap;

use crate::ledger::Attribution;
use crate::store::{SqliteStore, StoreError};

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

impl SqliteStore {
    /// The counted calls of a source, all or those since a second (1970, UTC).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn attributed(
        &self,
        source: &str,
        since: Option<i64>,
    ) -> Result<Attributed, StoreError> {
        const ALL: &str = "SELECT attribution, count(*) FROM call_records \
             WHERE source = ? AND counted = 1 GROUP BY attribution";
        const SINCE: &str = "SELECT attribution, count(*) FROM call_records WHERE tenant_id IN \
             (SELECT id FROM tenants) AND started_at >= ?2 AND source = ?1 AND counted = 1 \
             GROUP BY attribution";
        const LOOKED_UP: &str =
            "SELECT count(*) FROM dials WHERE source = ? AND looked_up = 1 AND dialed_at >= ?";
        let read = async {
            let rows: Vec<(String, i64)> = match since {
                None => sqlx::query_as(ALL).bind(source),
                Some(since) => sqlx::query_as(SINCE).bind(source).bind(since),
            }
            .fetch_all(self.readers())
            .await?;
            let looked_up = sqlx::query_scalar(LOOKED_UP)
                .bind(source)
                .bind(since.unwrap_or(0))
                .fetch_one(self.readers())
                .await?;
            let known = |(way, count): (String, i64)| Some((Attribution::from_name(&way)?, count));
            Ok(Attributed {
                calls: rows.into_iter().filter_map(known).collect(),
                looked_up,
            })
        };
        read.await.map_err(|e| self.error("counting calls", e))
    }
}
