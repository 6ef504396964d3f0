//! The invariant of the numbers, checked: kept counters equal counted rows.
//!
//! Rows that retention has deleted count here as missing; a caller that prunes
//! must say so.

use crate::ledger::Counters;
use crate::store::read::contributions;
use crate::store::sql::Dialect;
use crate::store::{SqlStore, StoreError};

/// Differences told before the check stops; more tell nothing new.
const DIFFERENCES_MAX: usize = 1000;

/// Two ways to the same numbers.
struct Comparison {
    /// What the numbers are of, besides the DID.
    key: &'static [&'static str],
    /// Words for it, after the DID.
    label: &'static str,
    columns: Vec<&'static str>,
    kept: String,
    counted: String,
    /// What the second way is called.
    counted_word: &'static str,
}

fn comparisons() -> [Comparison; 3] {
    let stats = || "did_stats".to_owned();
    let daily = || "did_daily_stats".to_owned();
    let rows = format!(
        "(SELECT did_id, day, campaign_id, {}, call_at AS last_call_at, dial_at AS last_dial_at \
         FROM ({}) counted)",
        Counters::NAMES.join(", "),
        contributions()
    );
    [
        Comparison {
            key: &[],
            label: "",
            columns: [&Counters::NAMES[..], &["last_call_at", "last_dial_at"]].concat(),
            kept: stats(),
            counted: rows.clone(),
            counted_word: "counted",
        },
        Comparison {
            key: &["day", "campaign_id"],
            label: " || ' on ' || day || ' in campaign `' || campaign_id || '`'",
            columns: Counters::NAMES.to_vec(),
            kept: daily(),
            counted: rows,
            counted_word: "counted",
        },
        Comparison {
            key: &[],
            label: " || ' summed over days'",
            columns: Counters::NAMES.to_vec(),
            kept: daily(),
            counted: stats(),
            counted_word: "in all",
        },
    ]
}

impl Comparison {
    /// Both ways' rows one after the other and grouped: one sort, where a join
    /// of two large results would compare each row with each.
    fn text(&self, dialect: Dialect) -> String {
        let list = |sides: &dyn Fn(&str) -> String, between: &str| {
            let columns = self.columns.iter().map(|column| sides(column));
            columns.collect::<Vec<_>>().join(between)
        };
        let key = [&["did_id"], self.key].concat().join(", ");
        let values = list(
            &|c| {
                let total = if c.starts_with("last_") { "max" } else { "sum" };
                let side = |n: u8| {
                    let value = format!("{total}(CASE WHEN side = {n} THEN {c} END)");
                    dialect.int(&format!("coalesce({value}, 0)"))
                };
                format!("{} AS k_{c}, {} AS r_{c}", side(0), side(1))
            },
            ", ",
        );
        format!(
            "SELECT d.phone_number{label}, {pairs} FROM (SELECT {key}, {values} FROM \
             (SELECT 0 AS side, {key}, {columns} FROM {kept} k UNION ALL \
             SELECT 1, {key}, {columns} FROM {counted} c) sides GROUP BY {key}) pairs \
             JOIN dids d ON d.id = did_id WHERE {differing} ORDER BY 1",
            label = self.label,
            pairs = list(&|c| format!("k_{c}, r_{c}"), ", "),
            columns = self.columns.join(", "),
            kept = self.kept,
            counted = self.counted,
            differing = list(&|c| format!("k_{c} <> r_{c}"), " OR "),
        )
    }
}

impl SqlStore {
    /// Counts every DID anew and says in words where the kept numbers differ;
    /// empty when the invariant holds. Reads every call and dial.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn check_invariant(&self) -> Result<Vec<String>, StoreError> {
        let check = async {
            let mut found = Vec::new();
            // One snapshot, or a commit in between would look like a difference.
            let mut tx = self.begin_read().await?;
            for comparison in comparisons() {
                let query = tx.query(&comparison.text(tx.dialect()));
                for mut row in tx.fetch(query).await? {
                    let of: String = row.take()?;
                    for column in &comparison.columns {
                        let (kept, counted): (i64, i64) = (row.take()?, row.take()?);
                        if kept != counted && found.len() < DIFFERENCES_MAX {
                            let word = comparison.counted_word;
                            found.push(format!("{of}: {column} is {kept}, {word} {counted}"));
                        }
                    }
                }
            }
            tx.finish(found).await
        };
        check
            .await
            .map_err(|e| self.error("checking its numbers", e))
    }
}
