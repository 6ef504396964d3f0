//! How the history of calls and dials is packed into rows of `change_history`.

use crate::ledger::{ChangeEntry, ChangeSet, Subject};

/// One row: the changes of one call or dial in one batch.
pub(in crate::store) struct HistoryRow<'a> {
    pub(in crate::store) kind: &'static str,
    pub(in crate::store) subject: &'a str,
    pub(in crate::store) part: i64,
    /// Time of the newest change; seconds since 1970 (UTC).
    pub(in crate::store) at: i64,
    pub(in crate::store) left: Option<&'a String>,
    /// JSON.
    pub(in crate::store) entries: String,
}

/// The key columns of a subject: kind, subject, part.
pub(in crate::store) fn key(subject: &Subject) -> (&'static str, &str, i64) {
    match subject {
        Subject::Call(key) => ("call", &key.uniqueid, key.lead_id.cast_signed()),
        Subject::Dial(key) => ("dial", &key.caller_code, key.opened_at),
    }
}

/// The rows of a change. A row names one DID that was left; where a call left
/// two in one batch it gets another row.
pub(in crate::store) fn rows(change: &ChangeSet) -> Vec<HistoryRow<'_>> {
    let mut rows = Vec::with_capacity(change.history.len());
    for (subject, entries) in &change.history {
        let (kind, name, part) = key(subject);
        let ends_row = |entry: &ChangeEntry| entry.left.is_some();
        for entries in entries.split_inclusive(ends_row) {
            rows.push(HistoryRow {
                kind,
                subject: name,
                part,
                at: entries
                    .iter()
                    .filter_map(ChangeEntry::at)
                    .max()
                    .unwrap_or(0),
                left: entries.last().and_then(|entry| entry.left.as_ref()),
                entries: serde_json::to_string(entries).unwrap_or_default(),
            });
        }
    }
    rows
}
