//! The invariant of the numbers, checked: kept counters equal counted rows.
//!
//! Rows that retention has deleted count here as missing; a caller that prunes
//! must say so.

use sqlx::{AssertSqlSafe, Row as _};

use crate::ledger::Counters;
use crate::store::read::{contributions, sums};
use crate::store::{SqliteStore, StoreError};

/// Differences told before the check stops; more tell nothing new.
const DIFFERENCES_MAX: usize = 1000;

/// `did_stats` against the same counts over calls and dials.
fn stats_against_rows() -> String {
    format!(
        "SELECT d.phone_number, {} FROM dids d LEFT JOIN did_stats k ON k.did_id = d.id \
         LEFT JOIN (SELECT did_id, max(call_at) AS last_call_at, max(dial_at) AS last_dial_at, {} \
         FROM ({}) GROUP BY did_id) r ON r.did_id = d.id WHERE {} ORDER BY 1",
        pairs(&stat_columns()),
        sums(),
        contributions(None),
        differing(&stat_columns()),
    )
}

/// `did_daily_stats` against the same counts over calls and dials.
fn daily_against_rows() -> String {
    format!(
        "SELECT d.phone_number || ' on ' || ifnull(k.day, r.day) || ' in campaign `' || \
         ifnull(k.campaign_id, r.campaign_id) || '`', {} FROM did_daily_stats k FULL JOIN \
         (SELECT did_id, day, campaign_id, {} FROM ({}) GROUP BY did_id, day, campaign_id) r \
         ON r.did_id = k.did_id AND r.day = k.day AND r.campaign_id = k.campaign_id \
         JOIN dids d ON d.id = ifnull(k.did_id, r.did_id) WHERE {} ORDER BY 1",
        pairs(&Counters::NAMES),
        sums(),
        contributions(None),
        differing(&Counters::NAMES),
    )
}

/// The sums over `did_daily_stats` against `did_stats`.
fn daily_against_stats() -> String {
    format!(
        "SELECT d.phone_number || ' summed over days', {} FROM dids d \
         LEFT JOIN (SELECT did_id, {} FROM did_daily_stats GROUP BY did_id) k ON k.did_id = d.id \
         LEFT JOIN did_stats r ON r.did_id = d.id WHERE {} ORDER BY 1",
        pairs(&Counters::NAMES),
        sums(),
        differing(&Counters::NAMES),
    )
}

fn stat_columns() -> Vec<&'static str> {
    [&Counters::NAMES[..], &["last_call_at", "last_dial_at"]].concat()
}

/// Kept and counted value of each column, side by side.
fn pairs(columns: &[&str]) -> String {
    let pair = |c: &&str| format!("ifnull(k.{c}, 0), ifnull(r.{c}, 0)");
    columns.iter().map(pair).collect::<Vec<_>>().join(", ")
}

fn differing(columns: &[&str]) -> String {
    let differs = |c: &&str| format!("ifnull(k.{c}, 0) <> ifnull(r.{c}, 0)");
    let any = columns.iter().map(differs).collect::<Vec<_>>();
    format!("({})", any.join(" OR "))
}

impl SqliteStore {
    /// Counts every DID anew and says in words where the kept numbers differ;
    /// empty when the invariant holds. Reads every call and dial.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn check_invariant(&self) -> Result<Vec<String>, StoreError> {
        let check = async {
            let mut found = Vec::new();
            // One snapshot, or a commit in between would look like a difference.
            let mut snapshot = self.readers().begin().await?;
            for (text, columns) in [
                (stats_against_rows(), stat_columns()),
                (daily_against_rows(), Counters::NAMES.to_vec()),
                (daily_against_stats(), Counters::NAMES.to_vec()),
            ] {
                let rows = sqlx::query(AssertSqlSafe(text)).fetch_all(&mut *snapshot);
                for row in rows.await? {
                    let of: String = row.try_get(0)?;
                    for (i, column) in columns.iter().enumerate() {
                        let kept: i64 = row.try_get_unchecked(1 + 2 * i)?;
                        let counted: i64 = row.try_get_unchecked(2 + 2 * i)?;
                        if kept != counted && found.len() < DIFFERENCES_MAX {
                            found.push(format!("{of}: {column} is {kept}, counted {counted}"));
                        }
                    }
                }
            }
            snapshot.commit().await?;
            Ok(found)
        };
        check
            .await
            .map_err(|e| self.error("checking its numbers", e))
    }
}
