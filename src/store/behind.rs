//! What stands behind a DID's numbers: the calls and dials that count for it,
//! and those that did.

use crate::ledger::{CallKey, DialKey, Subject};
use crate::store::{SqlStore, StoreError};

impl SqlStore {
    /// The newest calls and the newest dials that count for a DID, and those
    /// that stopped counting for it, as far as the history goes: at most
    /// `rows_max` of each, with their sources.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn behind(
        &self,
        did: &str,
        rows_max: u32,
    ) -> Result<Vec<(String, Subject)>, StoreError> {
        const MINE: &str = "IN (SELECT id FROM dids WHERE phone_number = ";
        const PARTS: [[&str; 3]; 3] = [
            [
                "source, 'call' AS kind, uniqueid AS subject, lead_id AS part FROM call_records",
                "counted = 1 AND did_id",
                "started_at",
            ],
            [
                "source, 'dial' AS kind, caller_code AS subject, opened_at AS part FROM dials",
                "counted = 1 AND did_id",
                "dialed_at",
            ],
            [
                "source, kind, subject, part FROM change_history",
                "left_did_id",
                "id",
            ],
        ];
        let read = async {
            let mut tx = self.begin_read().await?;
            let mut query = tx.query("");
            for (i, [select, whose, newest]) in PARTS.into_iter().enumerate() {
                let between = if i == 0 { "" } else { " UNION " };
                query = query
                    .sql(&format!(
                        "{between}SELECT * FROM (SELECT {select} WHERE {whose} {MINE}"
                    ))
                    .bind(did)
                    .sql(&format!(") ORDER BY {newest} DESC LIMIT "))
                    .bind(rows_max)
                    .sql(&format!(") p{i}"));
            }
            let mut rows: Vec<(String, String, String, i64)> = Vec::new();
            for mut row in tx.fetch(query).await? {
                rows.push((row.take()?, row.take()?, row.take()?, row.take()?));
            }
            // SQLite's UNION sorts; another's need not.
            rows.sort();
            tx.finish(rows).await
        };
        let rows = read
            .await
            .map_err(|e| self.error("reading the calls of a DID", e))?;
        let subject = |kind: String, name: String, part: i64| {
            if kind == "call" {
                Subject::Call(CallKey {
                    uniqueid: name,
                    lead_id: part.cast_unsigned(),
                })
            } else {
                Subject::Dial(DialKey {
                    caller_code: name,
                    opened_at: part,
                })
            }
        };
        Ok(rows
            .into_iter()
            .map(|(source, kind, name, part)| (source, subject(kind, name, part)))
            .collect())
    }

    /// The present key of a call that had this `uniqueid` once, as far as the
    /// history goes. Looks through all of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renamed(
        &self,
        source: &str,
        uniqueid: &str,
    ) -> Result<Option<CallKey>, StoreError> {
        let was = format!("\"uniqueid\":{}", serde_json::Value::from(uniqueid));
        let read = async {
            let mut tx = self.begin_read().await?;
            let [before, after] = tx.dialect().found_in("entries");
            let query = tx
                .query("SELECT subject, part FROM change_history WHERE kind = 'call'")
                .sql(" AND source = ")
                .bind(source)
                .sql(&format!(" AND {before}"))
                .bind(&was)
                .sql(&after)
                .sql(" ORDER BY id DESC LIMIT 1");
            let found = match tx.fetch_first(query).await? {
                Some(mut row) => Some(CallKey {
                    uniqueid: row.take()?,
                    lead_id: row.take()?,
                }),
                None => None,
            };
            tx.finish(found).await
        };
        read.await
            .map_err(|e| self.error("looking through the history", e))
    }

    /// The names of the sources that the store knows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sources(&self) -> Result<Vec<String>, StoreError> {
        let read = async {
            let mut tx = self.begin_read().await?;
            let query = tx.query("SELECT source FROM replication_progress ORDER BY source");
            let mut sources = Vec::new();
            for mut row in tx.fetch(query).await? {
                sources.push(row.take()?);
            }
            tx.finish(sources).await
        };
        read.await.map_err(|e| self.error("reading its sources", e))
    }
}
