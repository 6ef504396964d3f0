//! Going through all calls and dials by their row ids.

use sqlx::sqlite::SqliteConnection;

use crate::ledger::{Keys, LEAD_WINDOW_SECONDS};
use crate::store::{Mark, Page};

/// The rows behind the mark.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    source: &str,
    behind: Mark,
    rows_max: u32,
) -> Result<Option<Page>, sqlx::Error> {
    const CALLS: &str = "SELECT id, uniqueid, lead_id, started_at FROM call_records \
         WHERE id > ? AND source = ? ORDER BY id LIMIT ?";
    const DIALS: &str = "SELECT id, caller_code FROM dials \
         WHERE id > ? AND source = ? ORDER BY id LIMIT ?";
    let calls: Vec<(i64, String, i64, i64)> = sqlx::query_as(CALLS)
        .bind(behind.call)
        .bind(source)
        .bind(rows_max)
        .fetch_all(&mut *connection)
        .await?;
    if let Some((last, ..)) = calls.last() {
        let mark = Mark {
            call: *last,
            ..behind
        };
        let rows = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        let mut keys = Keys::default();
        for (_, uniqueid, lead_id, started_at) in calls {
            let (first, last) = keys.lead_times.unwrap_or((started_at, started_at));
            let earliest = started_at.saturating_sub(LEAD_WINDOW_SECONDS);
            keys.lead_times = Some((first.min(earliest), last.max(started_at)));
            keys.uniqueids.insert(uniqueid);
            keys.lead_ids.insert(lead_id.cast_unsigned());
        }
        return Ok(Some(Page { keys, rows, mark }));
    }
    let dials: Vec<(i64, String)> = sqlx::query_as(DIALS)
        .bind(behind.dial)
        .bind(source)
        .bind(rows_max)
        .fetch_all(connection)
        .await?;
    let Some((last, _)) = dials.last() else {
        return Ok(None);
    };
    let mark = Mark {
        dial: *last,
        ..behind
    };
    let rows = u32::try_from(dials.len()).unwrap_or(u32::MAX);
    let caller_codes = dials.into_iter().map(|(_, code)| code).collect();
    Ok(Some(Page {
        keys: Keys {
            caller_codes,
            ..Keys::default()
        },
        rows,
        mark,
    }))
}
