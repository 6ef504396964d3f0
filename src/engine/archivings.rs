//! Up to when the watched tables were archived where in the binlog: a statement
//! behind that place did not reach the rows that were gone by then.

use std::collections::{BTreeMap, BTreeSet};

use crate::binlog::Position;
use crate::vicidial::{KeyedRows, Table, second};

/// Archivings of one table kept in memory: nightly ones of some weeks.
const ARCHIVINGS_MAX: usize = 64;

/// Calls that were inserted behind the newest archiving and are remembered, so
/// that their rows are known to be there, however long ago they began: of the
/// calls of an hour of the largest installation.
const INSERTED_MAX: usize = 50_000;

/// The archivings of every watched table by position.
#[derive(Debug, Default)]
pub(super) struct Archivings {
    of_tables: BTreeMap<Table, BTreeMap<Position, i64>>,
    /// Names of calls that statements inserted behind the newest archiving of
    /// calls: `uniqueid`s, their seconds, and leads.
    inserted: BTreeSet<String>,
}

impl Archivings {
    /// Rows from before a time, in seconds since 1970 (UTC), are gone behind `place`.
    pub(super) fn add(&mut self, table: Table, place: Position, before: i64) {
        if table == Table::Log {
            self.inserted.clear();
        }
        let of_table = self.of_tables.entry(table).or_default();
        of_table.insert(place, before);
        if of_table.len() > ARCHIVINGS_MAX {
            of_table.pop_first();
        }
    }

    /// A statement inserted these calls.
    pub(super) fn inserted(&mut self, rows: &KeyedRows) {
        for (uniqueid, said) in rows.values.iter().zip(&rows.inserted) {
            if self.inserted.len() >= INSERTED_MAX {
                return;
            }
            self.inserted.insert(uniqueid.clone());
            self.inserted.insert(of_second(uniqueid));
            let lead = said.iter().find(|(column, _)| column == "lead_id");
            if let Some((_, Some(lead))) = lead {
                self.inserted.insert(of_lead(lead));
            }
        }
    }

    /// Rows from before this are gone at a place, among those that a statement
    /// names; seconds since 1970 (UTC).
    pub(super) fn before(&self, table: Table, rows: &KeyedRows, place: &Position) -> i64 {
        let is_there = |name: &String| self.inserted.contains(name);
        let are_there = table == Table::Log
            && match (rows.column, &rows.among.prefix) {
                ("uniqueid", _) => rows.values.iter().any(is_there),
                (_, Some(prefix)) => is_there(&of_second(prefix)),
                (_, None) => rows.values.iter().any(|lead| is_there(&of_lead(lead))),
            };
        if are_there {
            return i64::MIN;
        }
        let of_table = self.of_tables.get(&table).into_iter();
        let earlier = of_table.flat_map(|of_table| of_table.range(..=place));
        earlier.map(|(_, before)| *before).max().unwrap_or(i64::MIN)
    }
}

fn of_second(uniqueid: &str) -> String {
    format!("second {}", second(uniqueid))
}

fn of_lead(lead: &str) -> String {
    format!("lead {lead}")
}
