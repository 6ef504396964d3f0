//! Numbers that are not what the rows add up to are counted anew.
//!
//! No commit leaves such numbers; somebody else's write, or a damaged file does.

use crate::ledger::Counters;
use crate::store::StoreError;
use crate::store::read::contributions;

use super::session::PATIENCE_READING;
use super::value::Field;
use super::{SqlStore, open};

impl SqlStore {
    /// Counts these DIDs anew from their calls and dials; the numbers of others
    /// are left alone. Retention must not have deleted any of their rows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count_anew(&self, dids: &[String]) -> Result<(), StoreError> {
        if dids.is_empty() {
            return Ok(());
        }
        let counters = Counters::NAMES.join(", ");
        let sums = Counters::NAMES.map(|name| format!("coalesce(sum({name}), 0)"));
        let sums = sums.join(", ");
        let delete = |table: &str| (format!("DELETE FROM {table} WHERE did_id IN "), "");
        let insert = |table: &str, key: &str, more: [&str; 2]| {
            let [columns, values] = more;
            (
                format!(
                    "INSERT INTO {table} (tenant_id, {key}, {counters}{columns}) SELECT \
                     tenant_id, {key}, {sums}{values} FROM ({}) counted WHERE did_id IN ",
                    contributions(),
                ),
                if key == "did_id" {
                    " GROUP BY tenant_id, did_id"
                } else {
                    " GROUP BY tenant_id, did_id, day, campaign_id"
                },
            )
        };
        let lasts = [
            ", last_call_at, last_dial_at",
            ", max(call_at), max(dial_at)",
        ];
        let statements = [
            delete("did_stats"),
            delete("did_daily_stats"),
            insert("did_stats", "did_id", lasts),
            insert("did_daily_stats", "did_id, day, campaign_id", ["", ""]),
        ];
        let pool = self.writer()?;
        let write = async {
            let begin = open::begin_writing(pool.dialect());
            let mut tx = pool.begin(begin, PATIENCE_READING).await?;
            for (statement, rest) in &statements {
                let statement = tx
                    .query(statement)
                    .sql("(SELECT id FROM dids WHERE phone_number")
                    .among(dids.iter().map(Field::value))
                    .sql(&format!("){rest}"));
                tx.run(statement).await?;
            }
            tx.commit().await
        };
        write.await.map_err(|e| self.error("counting DIDs anew", e))
    }
}
