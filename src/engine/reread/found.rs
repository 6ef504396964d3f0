//! Rows that were read, by the keys that they were asked for by.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::SELECTED_ROWS_MAX;
use crate::vicidial::{Detail, Table};

/// Rows by the key that they were asked for by.
#[derive(Default)]
pub(super) struct FoundRows {
    pub(super) rows: BTreeMap<(Table, &'static str, String), Vec<Detail>>,
    /// Rows of archives, of keys without rows in the table itself.
    pub(super) archived: BTreeMap<(Table, &'static str, String), Vec<Detail>>,
    /// Keys that have more rows than one answer holds.
    pub(super) cut: BTreeSet<(Table, String)>,
}

impl FoundRows {
    pub(super) fn add(&mut self, table: Table, column: &'static str, detail: Detail) {
        if let Some(value) = value_of(&detail, column) {
            let rows = self.rows.entry((table, column, key(&value))).or_default();
            if rows.len() < SELECTED_ROWS_MAX {
                rows.push(detail);
            }
        }
    }

    pub(super) fn of(&self, table: Table, column: &'static str, value: &str) -> &[Detail] {
        let rows = self.rows.get(&(table, column, key(value)));
        rows.map_or(&[], Vec::as_slice)
    }

    pub(super) fn archived(&self, table: Table, column: &'static str, value: &str) -> &[Detail] {
        let rows = self.archived.get(&(table, column, key(value)));
        rows.map_or(&[], Vec::as_slice)
    }
}

/// A key as the server compares it: without regard to case, and numbers as such.
pub(super) fn key(value: &str) -> String {
    match value.parse::<u64>() {
        Ok(number) => number.to_string(),
        Err(_) => value.to_ascii_lowercase(),
    }
}

fn value_of(detail: &Detail, column: &str) -> Option<String> {
    let lead = |lead_id: Option<u64>| lead_id.map(|lead| lead.to_string());
    match (detail, column) {
        (Detail::Call { row, .. }, "uniqueid") => Some(row.uniqueid.clone()),
        (Detail::Call { row, .. }, "lead_id") => Some(row.lead_id.to_string()),
        (Detail::Link { uniqueid, .. } | Detail::Carrier { uniqueid, .. }, "uniqueid") => {
            Some(uniqueid.clone())
        }
        (Detail::Dial { caller_code, .. }, "caller_code") => Some(caller_code.clone()),
        (Detail::Dial { lead_id, .. } | Detail::Carrier { lead_id, .. }, "lead_id") => {
            lead(*lead_id)
        }
        _ => None,
    }
}
