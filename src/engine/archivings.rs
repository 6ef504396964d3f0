//! Up to when the watched tables were archived where in the binlog: a statement
//! behind that place did not reach the rows that were gone by then.

use std::collections::{BTreeMap, BTreeSet};

use crate::binlog::Position;
use crate::state::InsertedCall;
use crate::vicidial::{Effect, KeyedRows, Table, second};

/// Archivings of one table kept in memory: nightly ones of some weeks.
const ARCHIVINGS_MAX: usize = 64;

/// Calls that are remembered although they began before an archiving: only
/// those that were being written while it ran.
const INSERTED_MAX: usize = 5_000;

/// Between two clocks that say when a call began; those that are written about
/// the time of an archiving are remembered, whichever is right.
const CLOCK_SECONDS: i64 = 3600;

/// The archivings of every watched table by position.
#[derive(Debug, Default)]
pub(super) struct Archivings {
    of_tables: BTreeMap<Table, BTreeMap<Position, i64>>,
    /// Calls by `uniqueid` that statements inserted behind an archiving although
    /// they began before it: their rows are there.
    inserted: BTreeMap<String, Inserted>,
}

/// A call that is there although an archiving reached beyond its begin.
#[derive(Debug)]
struct Inserted {
    /// Where it was inserted.
    place: Position,
    /// The leads that it had.
    leads: BTreeSet<String>,
}

impl Archivings {
    /// Rows from before a time, in seconds since 1970 (UTC), are gone behind `place`.
    pub(super) fn add(&mut self, table: Table, place: Position, before: i64) {
        if table == Table::Log {
            self.inserted.retain(|uniqueid, call| {
                call.place > place || started(uniqueid).is_some_and(|began| began > before)
            });
        }
        let of_table = self.of_tables.entry(table).or_default();
        of_table.insert(place, before);
        if of_table.len() > ARCHIVINGS_MAX {
            of_table.pop_first();
        }
    }

    /// Remembers a call that was inserted behind an archiving.
    pub(super) fn remember(&mut self, call: &InsertedCall) {
        if self.inserted.len() >= INSERTED_MAX && !self.inserted.contains_key(&call.uniqueid) {
            return;
        }
        let known = self.inserted.entry(call.uniqueid.clone());
        let known = known.or_insert_with(|| Inserted {
            place: call.position.clone(),
            leads: BTreeSet::new(),
        });
        known.place.clone_from(&call.position);
        known.leads.extend(call.lead.clone());
    }

    /// Those of a statement's calls that are there from `place` on although they
    /// began before an archiving: it inserted them, or gave one that was there
    /// another name or lead. They are remembered.
    pub(super) fn written(&mut self, rows: &KeyedRows, place: &Position) -> Vec<InsertedCall> {
        let gone_before = self.before(Table::Log, place);
        if gone_before == i64::MIN {
            return Vec::new();
        }
        let mut calls = Vec::new();
        for (uniqueid, said) in rows.values.iter().zip(&rows.inserted) {
            let value = |name: &str| {
                let cell = said.iter().find(|(column, _)| column == name);
                cell.and_then(|(_, value)| value.clone())
            };
            let start = value("start_epoch").and_then(|epoch| epoch.parse::<i64>().ok());
            let first = started(uniqueid).into_iter().chain(start).min();
            if first.is_none_or(|first| first < gone_before.saturating_add(CLOCK_SECONDS)) {
                calls.push((uniqueid.clone(), value("lead_id")));
            }
        }
        let there = self.there(rows, place);
        if let Effect::Renamed { to, .. } = &rows.effect
            && !there.is_empty()
        {
            calls.push((to.clone(), lead_of(rows)));
        }
        let lead = rows.set.iter().find(|(column, _)| column == "lead_id");
        if let Some((_, Some(lead))) = lead {
            calls.extend(there.into_iter().map(|name| (name, Some(lead.clone()))));
        }
        let calls = calls.into_iter().map(|(uniqueid, lead)| InsertedCall {
            uniqueid,
            lead,
            position: place.clone(),
        });
        let calls: Vec<InsertedCall> = calls.collect();
        calls.iter().for_each(|call| self.remember(call));
        calls
    }

    /// Rows from before this are gone at a place; seconds since 1970 (UTC).
    pub(super) fn before(&self, table: Table, place: &Position) -> i64 {
        let of_table = self.of_tables.get(&table).into_iter();
        let earlier = of_table.flat_map(|of_table| of_table.range(..=place));
        earlier.map(|(_, before)| *before).max().unwrap_or(i64::MIN)
    }

    /// The `uniqueid`s of calls that are there at a place all the same, among
    /// those that a statement may be about.
    pub(super) fn there(&self, rows: &KeyedRows, place: &Position) -> Vec<String> {
        let is_of = |uniqueid: &String, call: &Inserted| match (rows.column, &rows.among.prefix) {
            ("uniqueid", _) => rows.values.contains(uniqueid),
            (_, Some(prefix)) => second(uniqueid) == second(prefix),
            (_, None) => rows.values.iter().any(|lead| call.leads.contains(lead)),
        };
        let inserted = self.inserted.iter();
        let there = inserted.filter(|(name, call)| call.place <= *place && is_of(name, call));
        there.map(|(name, _)| name.clone()).collect()
    }
}

/// When a call began, by its name; seconds since 1970 (UTC).
fn started(uniqueid: &str) -> Option<i64> {
    second(uniqueid).parse().ok()
}

/// The lead of a statement's calls, where it names one.
fn lead_of(rows: &KeyedRows) -> Option<String> {
    match rows.values.as_slice() {
        [lead] if rows.column == "lead_id" => Some(lead.clone()),
        _ => rows.among.lead_id.map(|lead| lead.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        format!("b.000001:{offset}").parse().expect("valid")
    }

    fn inserted(uniqueid: &str) -> KeyedRows {
        KeyedRows {
            column: "uniqueid",
            values: vec![uniqueid.to_owned()],
            inserted: vec![vec![("lead_id".to_owned(), Some("7".to_owned()))]],
            ..KeyedRows::default()
        }
    }

    fn of_lead() -> KeyedRows {
        KeyedRows {
            column: "lead_id",
            values: vec!["7".to_owned()],
            ..KeyedRows::default()
        }
    }

    /// Also after a restart, which knows no more than what was saved.
    #[test]
    fn a_call_that_is_inserted_behind_a_wipe_is_there() {
        let mut before = Archivings::default();
        before.add(Table::Log, at(100), 5_000);
        let saved = before.written(&inserted("4990.1"), &at(200));
        assert_eq!(saved.len(), 1);
        let mut after = Archivings::default();
        saved.iter().for_each(|call| after.remember(call));
        after.add(Table::Log, at(100), 5_000);
        for archivings in [&before, &after] {
            assert_eq!(archivings.there(&of_lead(), &at(300)), ["4990.1"]);
            assert!(archivings.there(&of_lead(), &at(150)).is_empty());
        }
        // Its next name is there too, and the next wipe takes both.
        let renamed = KeyedRows {
            effect: Effect::Renamed {
                to: "5003.2".to_owned(),
                from: None,
            },
            ..of_lead()
        };
        assert_eq!(after.written(&renamed, &at(400)).len(), 1);
        assert_eq!(after.there(&of_lead(), &at(400)).len(), 2);
        after.add(Table::Log, at(500), 6_000);
        assert!(after.there(&of_lead(), &at(600)).is_empty());
    }

    #[test]
    fn calls_that_began_behind_the_archiving_need_no_memory() {
        let mut archivings = Archivings::default();
        assert!(archivings.written(&inserted("10.1"), &at(50)).is_empty());
        archivings.add(Table::Log, at(100), 5_000);
        let later = archivings.written(&inserted("90000.1"), &at(200));
        assert!(later.is_empty());
    }
}
