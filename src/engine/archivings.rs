//! Up to when the watched tables were archived where in the binlog: a statement
//! behind that place did not reach the rows that were gone by then.

use std::collections::{BTreeMap, BTreeSet};

use crate::binlog::Position;
use crate::landmark::{Landmark, Sight};
use crate::vicidial::{KeyedRows, Table, second};

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
    /// they began before it: their rows are there. From where on, and with which
    /// lead; a statement may give a call another, or take a name again.
    inserted: BTreeMap<String, BTreeSet<(Position, BTreeSet<String>)>>,
    /// Entries in that.
    inserted_count: usize,
}

impl Archivings {
    /// What landmarks say.
    pub(super) fn of(landmarks: &[Landmark]) -> Self {
        let mut archivings = Self::default();
        // An archiving takes calls that are known by then.
        for Landmark { place, sight } in landmarks {
            if let Sight::Inserted { uniqueid, leads } = sight {
                archivings.remember(uniqueid, place, leads);
            }
        }
        for Landmark { place, sight } in landmarks {
            if let Sight::Archived { table, before } = sight {
                archivings.add(*table, place.clone(), *before);
            }
        }
        archivings
    }

    /// The landmarks at a place of another server's binlog that is behind the same
    /// transactions as `from`.
    pub(super) fn carried(&self, from: &Position, to: &Position) -> Vec<Landmark> {
        let at = |sight| Landmark {
            place: to.clone(),
            sight,
        };
        let archived = Table::ALL.into_iter().filter_map(|table| {
            let before = self.before(table, from);
            (before > i64::MIN).then(|| at(Sight::Archived { table, before }))
        });
        let inserted = self.inserted.iter().filter_map(|(uniqueid, entries)| {
            let earlier = entries.iter().filter(|(place, _)| place <= from);
            let leads: Vec<&BTreeSet<String>> = earlier.map(|(_, leads)| leads).collect();
            (!leads.is_empty()).then(|| {
                at(Sight::Inserted {
                    uniqueid: uniqueid.clone(),
                    leads: leads.into_iter().flatten().cloned().collect(),
                })
            })
        });
        archived.chain(inserted).collect()
    }

    /// Rows from before a time, in seconds since 1970 (UTC), are gone behind `place`.
    pub(super) fn add(&mut self, table: Table, place: Position, before: i64) {
        if table == Table::Log {
            self.inserted.retain(|uniqueid, entries| {
                let is_later = started(uniqueid).is_some_and(|began| began > before);
                entries.retain(|(from, _)| *from > place || is_later);
                !entries.is_empty()
            });
            self.inserted_count = self.inserted.values().map(BTreeSet::len).sum();
        }
        let of_table = self.of_tables.entry(table).or_default();
        of_table.insert(place, before);
        if of_table.len() > ARCHIVINGS_MAX {
            of_table.pop_first();
        }
    }

    /// Remembers a call that was inserted behind an archiving.
    fn remember(&mut self, uniqueid: &str, place: &Position, leads: &BTreeSet<String>) {
        if self.inserted_count >= INSERTED_MAX {
            return;
        }
        let entries = self.inserted.entry(uniqueid.to_owned()).or_default();
        let is_new = entries.insert((place.clone(), leads.clone()));
        self.inserted_count += usize::from(is_new);
    }

    /// Those of a statement's calls that are there from `place` on although they
    /// began before an archiving: it inserted them, or gave one that was there
    /// another name or lead. They are remembered.
    pub(super) fn written(&mut self, rows: &KeyedRows, place: &Position) -> Vec<Landmark> {
        let gone_before = self.before(Table::Log, place);
        if gone_before == i64::MIN {
            return Vec::new();
        }
        let mut calls: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (uniqueid, said) in rows.values.iter().zip(&rows.inserted) {
            let value = |name: &str| {
                let cell = said.iter().find(|(column, _)| column == name);
                cell.and_then(|(_, value)| value.clone())
            };
            let start = value("start_epoch").and_then(|epoch| epoch.parse::<i64>().ok());
            let first = started(uniqueid).into_iter().chain(start).min();
            if first.is_none_or(|first| first < gone_before.saturating_add(CLOCK_SECONDS)) {
                let leads = calls.entry(uniqueid.clone()).or_default();
                leads.extend(value("lead_id"));
            }
        }
        let set = |name: &str| {
            let cell = rows.set.iter().find(|(column, _)| column == name);
            cell.and_then(|(_, value)| value.clone())
        };
        let (name, lead) = (set("uniqueid"), set("lead_id"));
        if name.is_some() || lead.is_some() {
            for (known, had) in self.entries(rows, place) {
                let leads = calls.entry(name.as_ref().unwrap_or(known).clone());
                match &lead {
                    Some(lead) => leads.or_default().extend([lead.clone()]),
                    None => leads.or_default().extend(had.iter().cloned()),
                }
            }
        }
        let written = calls.into_iter().map(|(uniqueid, leads)| {
            self.remember(&uniqueid, place, &leads);
            Landmark {
                place: place.clone(),
                sight: Sight::Inserted { uniqueid, leads },
            }
        });
        written.collect()
    }

    /// Rows from before this are gone at a place; seconds since 1970 (UTC).
    pub(super) fn before(&self, table: Table, place: &Position) -> i64 {
        let of_table = self.of_tables.get(&table).into_iter();
        let earlier = of_table.flat_map(|of_table| of_table.range(..=place));
        earlier.map(|(_, before)| *before).max().unwrap_or(i64::MIN)
    }

    /// The `uniqueid`s of calls that are there all the same when the statement at
    /// a place runs, among those that it may be about. What it writes itself is
    /// not there yet.
    pub(super) fn there(&self, rows: &KeyedRows, place: &Position) -> Vec<String> {
        let names: BTreeSet<&String> = self.entries(rows, place).map(|(name, _)| name).collect();
        names.into_iter().cloned().collect()
    }

    /// The same calls, each with the leads that it had.
    fn entries<'a>(
        &'a self,
        rows: &'a KeyedRows,
        place: &'a Position,
    ) -> impl Iterator<Item = (&'a String, &'a BTreeSet<String>)> {
        let is_of =
            |uniqueid: &String, leads: &BTreeSet<String>| match (rows.column, &rows.among.prefix) {
                ("uniqueid", _) => rows.values.contains(uniqueid),
                (_, Some(prefix)) => second(uniqueid) == second(prefix),
                (_, None) => rows.values.iter().any(|lead| leads.contains(lead)),
            };
        let inserted = self.inserted.iter();
        let entries = inserted.flat_map(|(name, entries)| {
            let earlier = entries.iter().filter(|(from, _)| from < place);
            earlier.map(move |(_, leads)| (name, leads))
        });
        entries.filter(move |(name, leads)| is_of(name, leads))
    }
}

/// When a call began, by its name; seconds since 1970 (UTC).
fn started(uniqueid: &str) -> Option<i64> {
    second(uniqueid).parse().ok()
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
        let archived = Landmark {
            place: at(100),
            sight: Sight::Archived {
                table: Table::Log,
                before: 5_000,
            },
        };
        let mut after = Archivings::of(&[vec![archived], saved].concat());
        for archivings in [&before, &after] {
            assert_eq!(archivings.there(&of_lead(), &at(300)), ["4990.1"]);
            assert!(archivings.there(&of_lead(), &at(150)).is_empty());
            assert!(archivings.there(&of_lead(), &at(200)).is_empty());
        }
        // Its next name is there too, and the next wipe takes both.
        let renamed = KeyedRows {
            set: vec![("uniqueid".to_owned(), Some("5003.2".to_owned()))],
            ..of_lead()
        };
        assert_eq!(after.written(&renamed, &at(400)).len(), 1);
        assert_eq!(after.there(&of_lead(), &at(400)), ["4990.1"]);
        assert_eq!(after.there(&of_lead(), &at(401)).len(), 2);
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
