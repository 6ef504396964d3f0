//! Where the next rows are: years without calls are not read window by window.
//!
//! What counts is in `vicidial_log` and in the dial logs; rows of the other tables
//! belong to a call a few hours away. So where an index of each of these says that
//! its next row is far, the load goes on a little before that.

use crate::engine::backfill::rows::{AROUND_SECONDS, Span};
use crate::engine::selection::Selection;
use crate::source::{NextRow, Source, SourceError, archive_of};
use crate::vicidial::{Table, Zone};

/// The tables whose rows count by themselves.
const COUNTED: [Table; 3] = [Table::Log, Table::DialLog, Table::DialCidLog];

/// The wall clock at which to go on, at or behind the begin of `rest`: that, where
/// it cannot be told, and the end of it where nothing follows.
///
/// # Errors
/// [`SourceError`].
pub(super) async fn next<S: Source>(
    selection: &mut Selection<S>,
    rest: Span,
) -> Result<i64, SourceError> {
    let mut first = rest.until;
    let live = COUNTED.map(|table| (table, Some(table.name())));
    let archives = COUNTED.map(|table| (table, archive_of(table)));
    for (table, name) in live.into_iter().chain(archives) {
        let (Some(name), Some(column)) = (name, table.time_column()) else {
            continue;
        };
        if !selection.is_there(name, table).await? {
            continue;
        }
        let window = Span {
            until: first,
            ..rest
        };
        let source = selection.source();
        let found = source.next_row(name, column, window.first(), window.behind());
        match found.await? {
            NextRow::At(wall) => first = Zone::fixed(0).seconds(wall).unwrap_or(rest.from),
            NextRow::None => {}
            NextRow::Unknown => return Ok(rest.from),
        }
    }
    if first == rest.until {
        return Ok(first);
    }
    Ok((first - AROUND_SECONDS).max(rest.from))
}
