//! Up to when the watched tables were archived where in the binlog: a statement
//! behind that place did not reach the rows that were gone by then.

use std::collections::BTreeMap;

use crate::binlog::Position;
use crate::vicidial::Table;

/// Archivings of one table kept in memory: nightly ones of some weeks.
const ARCHIVINGS_MAX: usize = 64;

/// The archivings of every watched table by position.
#[derive(Debug, Default)]
pub(super) struct Archivings {
    of_tables: BTreeMap<Table, BTreeMap<Position, i64>>,
}

impl Archivings {
    /// Rows from before a time, in seconds since 1970 (UTC), are gone behind `place`.
    pub(super) fn add(&mut self, table: Table, place: Position, before: i64) {
        let of_table = self.of_tables.entry(table).or_default();
        of_table.insert(place, before);
        if of_table.len() > ARCHIVINGS_MAX {
            of_table.pop_first();
        }
    }

    /// Rows from before this are gone at a place; seconds since 1970 (UTC).
    pub(super) fn before(&self, table: Table, place: &Position) -> i64 {
        let of_table = self.of_tables.get(&table).into_iter();
        let earlier = of_table.flat_map(|of_table| of_table.range(..=place));
        earlier.map(|(_, before)| *before).max().unwrap_or(i64::MIN)
    }
}
