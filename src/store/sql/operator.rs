//! What an operator's command did, written down beside what the daemon applied.

use sqlx::Error;

use super::SqlStore;
use super::commit;
use super::dialect::Conflict;
use super::insert::Insert;
use super::session::Tx;
use super::value::Value;
use crate::store::StoreError;

/// What an operator did that is no write to the store by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorAction {
    /// Rows that had been quarantined were read again.
    RowsRetried,
    /// Rows that had been quarantined were given up.
    RowsDiscarded,
}

impl OperatorAction {
    /// As `audit_log.action` has it.
    fn as_str(self) -> &'static str {
        match self {
            Self::RowsRetried => "ROWS_RETRIED",
            Self::RowsDiscarded => "ROWS_DISCARDED",
        }
    }
}

impl SqlStore {
    /// Writes down what an operator did for a tenant; `details` hold no phone numbers.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_action(
        &self,
        tenant: &str,
        action: OperatorAction,
        details: &serde_json::Value,
    ) -> Result<(), StoreError> {
        let pool = self.writer()?;
        let write = async {
            let mut tx = pool.begin_lasting().await?;
            let tenant_id = commit::tenant(&mut tx, tenant).await?;
            audit(&mut tx, tenant_id, action.as_str(), details).await?;
            tx.commit().await
        };
        write
            .await
            .map_err(|e| self.error("writing down what was done", e))
    }
}

/// Writes a row of `audit_log`, in the transaction of what it tells about. `details`
/// are JSON.
pub(super) async fn audit(
    tx: &mut Tx,
    tenant_id: i64,
    action: &'static str,
    details: &serde_json::Value,
) -> Result<(), Error> {
    let now = tx.dialect().now();
    let insert = Insert {
        table: "audit_log",
        columns: &["tenant_id", "action", "details"],
        fixed: &[("created_at", now)],
        key: &[],
        then: Conflict::Fail,
    };
    let details = details.to_string();
    let values = vec![tenant_id.into(), action.into(), Value::from(&details)];
    tx.insert(&insert, values).await
}

/// Now, by the store's clock; seconds since 1970 (UTC).
pub(super) async fn now(tx: &mut Tx) -> Result<i64, Error> {
    let ask = tx.query(&format!("SELECT {}", tx.dialect().now()));
    let row = tx.fetch_first(ask).await?;
    row.ok_or(Error::RowNotFound)?.take()
}
