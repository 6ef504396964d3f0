//! The invariant of the numbers, checked: kept counters equal counted rows.
//!
//! Where retention has deleted rows, the numbers stay: kept counters are then not
//! less than what is left adds up to, and equal to it on the days of which nothing
//! was deleted.

use crate::ledger::{Counters, Pruned};
use crate::store::read::contributions;
use crate::store::sql::{Dialect, Tx};
use crate::store::{SqlStore, StoreError};
use crate::vicidial::Zone;

/// Seconds behind the time of [`Pruned`] by which it is another day in every zone.
const NEXT_DAY_SECONDS: i64 = 2 * 86_400;

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
    /// The second way is by rows, which retention may have deleted.
    by_rows: bool,
}

/// Before which times rows of any source may have been deleted.
pub(in crate::store) async fn pruned(tx: &mut Tx) -> Result<Pruned, sqlx::Error> {
    let read = tx.query("SELECT max(calls_before), max(dials_before) FROM retention");
    let Some(mut row) = tx.fetch_first(read).await? else {
        return Ok(Pruned::default());
    };
    Ok(Pruned {
        calls_before: row.take()?,
        dials_before: row.take()?,
    })
}

/// True for what is counted from dials; the rest is from calls.
pub(in crate::store) fn is_of_dials(column: &str) -> bool {
    matches!(column, "dials" | "last_dial_at")
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
            by_rows: true,
        },
        Comparison {
            key: &["day", "campaign_id"],
            label: " || ' on ' || day || ' in campaign `' || campaign_id || '`'",
            columns: Counters::NAMES.to_vec(),
            kept: daily(),
            counted: rows,
            counted_word: "counted",
            by_rows: true,
        },
        Comparison {
            key: &[],
            label: " || ' summed over days'",
            columns: Counters::NAMES.to_vec(),
            kept: daily(),
            counted: stats(),
            counted_word: "in all",
            by_rows: false,
        },
    ]
}

impl Comparison {
    /// Both ways' rows one after the other and grouped: one sort, where a join
    /// of two large results would compare each row with each.
    fn text(&self, dialect: Dialect, pruned: Pruned) -> String {
        // More than what is left is right where rows were deleted.
        let is_right = |c: &str| {
            let before = if is_of_dials(c) {
                pruned.dials_before
            } else {
                pruned.calls_before
            };
            match before.filter(|_| self.by_rows) {
                None => "1 = 0".to_owned(),
                Some(_) if self.key.is_empty() => format!("k_{c} > r_{c}"),
                Some(before) => {
                    let day = Zone::fixed(0).day(before.saturating_add(NEXT_DAY_SECONDS));
                    format!("k_{c} > r_{c} AND day < '{day}'")
                }
            }
        };
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
            pairs = list(
                &|c| format!("k_{c}, CASE WHEN {} THEN k_{c} ELSE r_{c} END", is_right(c)),
                ", "
            ),
            columns = self.columns.join(", "),
            kept = self.kept,
            counted = self.counted,
            differing = list(
                &|c| format!("(k_{c} <> r_{c} AND NOT ({}))", is_right(c)),
                " OR "
            ),
        )
    }
}

impl SqlStore {
    /// Counts every DID anew and says in words where the kept numbers differ;
    /// empty when the invariant holds, as far as rows are kept. Reads every call
    /// and dial.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn check_invariant(&self) -> Result<Vec<String>, StoreError> {
        let check = async {
            let mut found = Vec::new();
            // One snapshot, or a commit in between would look like a difference.
            let mut tx = self.begin_read().await?;
            let pruned = pruned(&mut tx).await?;
            for comparison in comparisons() {
                let query = tx.query(&comparison.text(tx.dialect(), pruned));
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
