//! What stands behind a DID's numbers: the calls and dials that count for it,
//! and those that did.

use crate::ledger::{CallKey, DialKey, Subject};
use crate::store::{SqliteStore, StoreError};

impl SqliteStore {
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
        const ROWS: &str = "WITH mine AS (SELECT id FROM dids WHERE phone_number = ?1) \
             SELECT * FROM (SELECT source, 'call', uniqueid, lead_id FROM call_records \
               WHERE did_id IN mine AND counted = 1 ORDER BY started_at DESC LIMIT ?2) \
             UNION SELECT * FROM (SELECT source, 'dial', caller_code, opened_at FROM dials \
               WHERE did_id IN mine AND counted = 1 ORDER BY dialed_at DESC LIMIT ?2) \
             UNION SELECT * FROM (SELECT source, kind, subject, part FROM change_history \
               WHERE left_did_id IN mine ORDER BY id DESC LIMIT ?2)";
        let rows: Result<Vec<(String, String, String, i64)>, sqlx::Error> = sqlx::query_as(ROWS)
            .bind(did)
            .bind(rows_max)
            .fetch_all(self.readers())
            .await;
        let rows = rows.map_err(|e| self.error("reading the calls of a DID", e))?;
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
        const FIND: &str = "SELECT subject, part FROM change_history \
             WHERE source = ? AND kind = 'call' AND instr(entries, ?) > 0 ORDER BY id DESC LIMIT 1";
        let was = format!("\"uniqueid\":{}", serde_json::Value::from(uniqueid));
        let found: Option<(String, i64)> = sqlx::query_as(FIND)
            .bind(source)
            .bind(was)
            .fetch_optional(self.readers())
            .await
            .map_err(|e| self.error("looking through the history", e))?;
        Ok(found.map(|(uniqueid, lead)| CallKey {
            uniqueid,
            lead_id: lead.cast_unsigned(),
        }))
    }

    /// The names of the sources that the store knows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sources(&self) -> Result<Vec<String>, StoreError> {
        sqlx::query_scalar("SELECT source FROM replication_progress ORDER BY source")
            .fetch_all(self.readers())
            .await
            .map_err(|e| self.error("reading its sources", e))
    }
}
