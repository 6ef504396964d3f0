//! Numbers that are not what the rows add up to are counted anew.
//!
//! No commit leaves such numbers; somebody else's write, or a damaged file does.

use sqlx::AssertSqlSafe;

use crate::ledger::Counters;
use crate::store::StoreError;
use crate::store::read::contributions;
use crate::store::sqlite::rows::json_list;
use crate::store::sqlite::{SqliteStore, commit};

impl SqliteStore {
    /// Counts these DIDs anew from their calls and dials; the numbers of others
    /// are left alone. Retention must not have deleted any of their rows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count_anew(&self, dids: &[String]) -> Result<(), StoreError> {
        let counters = Counters::NAMES.join(", ");
        let sums = Counters::NAMES.map(|name| format!("ifnull(sum({name}), 0)"));
        let sums = sums.join(", ");
        const CHOSEN: &str = "(SELECT id FROM dids WHERE phone_number IN \
             (SELECT value FROM json_each(?)))";
        let rows = contributions(None);
        let statements = [
            format!("DELETE FROM did_stats WHERE did_id IN {CHOSEN}"),
            format!("DELETE FROM did_daily_stats WHERE did_id IN {CHOSEN}"),
            format!(
                "INSERT INTO did_stats (did_id, {counters}, last_call_at, last_dial_at) \
                 SELECT did_id, {sums}, max(call_at), max(dial_at) FROM ({rows}) \
                 WHERE did_id IN {CHOSEN} GROUP BY did_id"
            ),
            format!(
                "INSERT INTO did_daily_stats (did_id, day, campaign_id, {counters}) \
                 SELECT did_id, day, campaign_id, {sums} FROM ({rows}) \
                 WHERE did_id IN {CHOSEN} GROUP BY did_id, day, campaign_id"
            ),
        ];
        let pool = self.writer()?;
        let write = async {
            let list = json_list(dids)?;
            let mut tx = pool.begin_with(commit::BEGIN).await?;
            for statement in statements {
                let statement = sqlx::query(AssertSqlSafe(statement)).bind(&list);
                statement.execute(&mut *tx).await?;
            }
            tx.commit().await
        };
        write.await.map_err(|e| self.error("counting DIDs anew", e))
    }
}
