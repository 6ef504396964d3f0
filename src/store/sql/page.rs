//! Going through all calls and dials by their row ids.

use sqlx::Error;

use super::session::Tx;
use super::value::Row;
use crate::ledger::{Keys, LEAD_WINDOW_SECONDS};
use crate::store::{Mark, Page};

/// The rows behind the mark.
pub(super) async fn read(
    tx: &mut Tx,
    source: &str,
    behind: Mark,
    rows_max: u32,
) -> Result<Option<Page>, Error> {
    const CALLS: &str = "SELECT id, uniqueid, lead_id, started_at FROM call_records";
    const DIALS: &str = "SELECT id, caller_code FROM dials";
    let (mut keys, mut mark) = (Keys::default(), behind);
    let mut rows = next(tx, CALLS, source, behind.call, rows_max).await?;
    let count = rows.len();
    for row in &mut rows {
        mark.call = row.take()?;
        keys.uniqueids.insert(row.take()?);
        keys.lead_ids.insert(row.take()?);
        let started_at: i64 = row.take()?;
        let (first, last) = keys.lead_times.unwrap_or((started_at, started_at));
        let earliest = started_at.saturating_sub(LEAD_WINDOW_SECONDS);
        keys.lead_times = Some((first.min(earliest), last.max(started_at)));
    }
    if count > 0 {
        let rows = u32::try_from(count).unwrap_or(u32::MAX);
        return Ok(Some(Page { keys, rows, mark }));
    }
    let mut rows = next(tx, DIALS, source, behind.dial, rows_max).await?;
    let count = rows.len();
    for row in &mut rows {
        mark.dial = row.take()?;
        keys.caller_codes.insert(row.take()?);
    }
    let rows = u32::try_from(count).unwrap_or(u32::MAX);
    Ok((rows > 0).then_some(Page { keys, rows, mark }))
}

async fn next(
    tx: &mut Tx,
    select: &str,
    source: &str,
    behind: i64,
    rows_max: u32,
) -> Result<Vec<Row>, Error> {
    let read = tx
        .query(select)
        .sql(" WHERE source = ")
        .bind(source)
        .sql(" AND id > ")
        .bind(behind)
        .sql(" ORDER BY id LIMIT ")
        .bind(rows_max);
    tx.fetch(read).await
}
