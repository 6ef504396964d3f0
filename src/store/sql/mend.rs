//! Numbers that are not what the rows add up to are counted anew.
//!
//! No commit leaves such numbers; somebody else's write, or a damaged file does.
//! Only what is whole can be counted: where retention has deleted dials, their
//! counter is left alone, and where it has deleted calls, theirs are.

use crate::ledger::Counters;
use crate::store::StoreError;
use crate::store::invariant::{is_of_dials, pruned};
use crate::store::read::{of_calls, of_dials};

use super::dialect::{Change, Conflict};
use super::session::PATIENCE_READING;
use super::value::Field;
use super::{SqlStore, open};

impl SqlStore {
    /// Counts these DIDs anew from their calls and dials, as far as no row was
    /// ever deleted; the numbers of others are left alone. False where nothing
    /// can be counted anew.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count_anew(&self, dids: &[String]) -> Result<bool, StoreError> {
        if dids.is_empty() {
            return Ok(true);
        }
        let pool = self.writer()?;
        let write = async {
            let begin = open::begin_writing(pool.dialect());
            let mut tx = pool.begin(begin, PATIENCE_READING).await?;
            let pruned = pruned(&mut tx).await?;
            let is_whole = |column: &str| match is_of_dials(column) {
                true => pruned.dials_before.is_none(),
                false => pruned.calls_before.is_none(),
            };
            let statements = statements(tx.dialect(), &is_whole);
            let counts = !statements.is_empty();
            for (statement, rest) in statements {
                let statement = tx
                    .query(&statement)
                    .sql(" WHERE did_id IN (SELECT id FROM dids WHERE phone_number")
                    .among(dids.iter().map(Field::value))
                    .sql(&format!("){rest}"));
                tx.run(statement).await?;
            }
            tx.commit().await?;
            Ok(counts)
        };
        write.await.map_err(|e| self.error("counting DIDs anew", e))
    }
}

/// The statements, before and behind the condition which DIDs.
fn statements(dialect: super::Dialect, is_whole: &dyn Fn(&str) -> bool) -> Vec<(String, String)> {
    let whole = |names: &[&'static str]| -> Vec<&'static str> {
        let names = names.iter().copied();
        names.filter(|name| is_whole(name)).collect()
    };
    let lasts = whole(&["last_call_at", "last_dial_at"]);
    let rows = [("last_call_at", of_calls()), ("last_dial_at", of_dials())];
    let rows = rows.into_iter().filter(|(of, _)| is_whole(of));
    let rows: Vec<String> = rows.map(|(_, rows)| rows).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let rows = rows.join(" UNION ALL ");
    let counters = whole(&Counters::NAMES);
    let sets = |columns: &[&str], value: &str| {
        let sets = columns.iter().map(|column| format!("{column} = {value}"));
        sets.collect::<Vec<_>>().join(", ")
    };
    let mut statements = Vec::new();
    for (table, key, lasts) in [
        ("did_stats", vec!["tenant_id", "did_id"], lasts),
        (
            "did_daily_stats",
            vec!["tenant_id", "did_id", "day", "campaign_id"],
            Vec::new(),
        ),
    ] {
        let mut nothing = sets(&counters, "0");
        if !lasts.is_empty() {
            nothing.push_str(", ");
            nothing.push_str(&sets(&lasts, "NULL"));
        }
        statements.push((format!("UPDATE {table} SET {nothing}"), String::new()));
        let columns = [&key[..], &Counters::NAMES, &lasts].concat().join(", ");
        let sums = Counters::NAMES.map(|name| {
            // MySQL makes decimals of sums, which the columns take.
            format!("coalesce(sum({name}), 0)")
        });
        let newest = lasts.iter().map(|last| match is_of_dials(last) {
            true => "max(dial_at)".to_owned(),
            false => "max(call_at)".to_owned(),
        });
        let values: Vec<String> = key
            .iter()
            .map(|name| (*name).to_owned())
            .chain(sums)
            .chain(newest)
            .collect();
        let adds = Counters::NAMES.map(|name| (name, Change::Add));
        let raises = lasts.iter().map(|last| (*last, Change::Raise));
        let changes: Vec<_> = adds.into_iter().chain(raises).collect();
        let then = dialect.on_conflict(table, &key, Conflict::Change(&changes));
        statements.push((
            format!(
                "INSERT INTO {table} ({columns}) SELECT {} FROM ({rows}) counted",
                values.join(", ")
            ),
            format!(" GROUP BY {} {then}", key.join(", ")),
        ));
    }
    let empty = Counters::NAMES.map(|name| format!(" AND {name} = 0"));
    statements.push(("DELETE FROM did_daily_stats".to_owned(), empty.concat()));
    statements
}
