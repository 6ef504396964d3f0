//! Which columns a table had where in the binlog, and the layouts of its rows.
//!
//! `information_schema` knows the present only, and a reader may be days behind
//! it. So the columns are kept by position: from a statement that may have
//! changed them to the next one they are one era.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::binlog::{Position, TableMap};
use crate::landmark::{Landmark, Sight};
use crate::vicidial::{Column, Layout, LayoutError, Table};

/// Eras of one table kept in memory; a table changes with a VICIdial upgrade.
const ERAS_MAX: usize = 64;

/// Layouts kept: one a table map.
const LAYOUTS_MAX: usize = 64;

/// The columns of every watched table by position.
#[derive(Debug, Default)]
pub(super) struct Layouts {
    /// The columns from a position on; none where they could not be found out.
    eras: BTreeMap<Table, BTreeMap<Position, Vec<Column>>>,
    known: Vec<(Arc<TableMap>, Arc<Layout>)>,
}

impl Layouts {
    /// What landmarks say.
    pub(super) fn of(landmarks: &[Landmark]) -> Self {
        let mut layouts = Self::default();
        for landmark in landmarks {
            if let Sight::Columns { table, columns } = &landmark.sight {
                layouts.begin(*table, &landmark.place, columns.clone());
            }
        }
        layouts
    }

    /// The landmarks from a place on.
    pub(super) fn since(&self, place: &Position) -> Vec<Landmark> {
        let eras = self.eras.iter().flat_map(|(table, eras)| {
            let eras = eras.range(place..);
            eras.map(|(first, columns)| (*table, first.clone(), columns.clone()))
        });
        let landmarks = eras.map(|(table, place, columns)| Landmark {
            place,
            sight: Sight::Columns { table, columns },
        });
        landmarks.collect()
    }

    /// The landmarks at a place of another server's binlog that is behind the same
    /// transactions as `from`.
    pub(super) fn carried(&self, from: &Position, to: &Position) -> Vec<Landmark> {
        let tables = Table::ALL.into_iter();
        let known = tables.filter_map(|table| Some((table, self.at(table, from)?)));
        let carried = known.map(|(table, columns)| Landmark {
            place: to.clone(),
            sight: Sight::Columns {
                table,
                columns: columns.clone(),
            },
        });
        carried.collect()
    }

    /// Takes the columns that a table has from `first` on; none: not known.
    pub(super) fn begin(&mut self, table: Table, first: &Position, columns: Vec<Column>) {
        self.known.retain(|(_, layout)| layout.table != table);
        let eras = self.eras.entry(table).or_default();
        eras.insert(first.clone(), columns);
        if eras.len() > ERAS_MAX {
            eras.pop_first();
        }
    }

    /// True when an era of the table begins exactly there, and its columns are known.
    pub(super) fn begins_at(&self, table: Table, position: &Position) -> bool {
        let era = self.eras.get(&table).and_then(|eras| eras.get(position));
        era.is_some_and(|columns| !columns.is_empty())
    }

    /// The columns at a position; `None` when they are not known.
    pub(super) fn at(&self, table: Table, position: &Position) -> Option<&Vec<Column>> {
        let mut eras = self.eras.get(&table)?.range(..=position);
        let (_, columns) = eras.next_back()?;
        Some(columns).filter(|columns| !columns.is_empty())
    }

    /// The columns of the newest era that begins before a position.
    pub(super) fn before(&self, table: Table, position: &Position) -> Option<&Vec<Column>> {
        let mut eras = self.eras.get(&table)?.range(..position);
        let (_, columns) = eras.next_back()?;
        Some(columns).filter(|columns| !columns.is_empty())
    }

    /// True when an era is known that begins behind a position: the reader
    /// went back.
    pub(super) fn reaches_behind(&self, position: &Position) -> bool {
        let mut eras = self.eras.values().flat_map(BTreeMap::keys);
        eras.any(|first| first > position)
    }

    /// Of the eras behind a position, keeps those that `is_true` confirms.
    pub(super) fn keep_behind(
        &mut self,
        position: &Position,
        is_true: impl Fn(Table, &Position) -> bool,
    ) {
        for (table, eras) in &mut self.eras {
            eras.retain(|first, _| first <= position || is_true(*table, first));
        }
    }

    /// The layout of a map whose rows stand behind `position`.
    pub(super) fn find(
        &mut self,
        table: Table,
        map: &Arc<TableMap>,
        position: &Position,
    ) -> Result<Arc<Layout>, LayoutError> {
        let mut known = self.known.iter();
        if let Some((_, layout)) = known.find(|(other, _)| Arc::ptr_eq(other, map)) {
            return Ok(Arc::clone(layout));
        }
        let columns = match self.at(table, position) {
            Some(columns) => columns.as_slice(),
            None if map.column_names.is_some() => &[],
            None => {
                let table = table.name();
                return Err(LayoutError::Ambiguous { table });
            }
        };
        let layout = Arc::new(Layout::of(table, map, columns)?);
        if self.known.len() == LAYOUTS_MAX {
            self.known.remove(0);
        }
        self.known.push((Arc::clone(map), Arc::clone(&layout)));
        Ok(layout)
    }

    /// The layout by the columns of other times, for a row that does not fit
    /// its own: a server writes no ALTER of a session without `sql_log_bin`.
    /// Only where all that fit read the row alike.
    pub(super) fn guess(&self, table: Table, map: &TableMap) -> Option<Arc<Layout>> {
        let eras = self.eras.get(&table)?.values();
        let same_count = eras.filter(|columns| columns.len() == map.column_types.len());
        let mut fitting = same_count.filter_map(|columns| Layout::of(table, map, columns).ok());
        let first = fitting.next()?;
        fitting.all(|other| other == first).then(|| Arc::new(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(next: u64) -> Position {
        format!("binlog.000001:{next}").parse().expect("a position")
    }

    fn columns(name: &str) -> Vec<Column> {
        vec![Column {
            name: name.to_owned(),
            column_type: "int(10)".to_owned(),
            charset: None,
        }]
    }

    #[test]
    fn columns_hold_from_their_position_to_the_next() {
        let mut layouts = Layouts::default();
        layouts.begin(Table::Log, &at(100), columns("a"));
        layouts.begin(Table::Log, &at(300), Vec::new());
        layouts.begin(Table::Log, &at(500), columns("c"));
        let name = |next| {
            let columns = layouts.at(Table::Log, &at(next));
            columns.map(|columns| columns[0].name.as_str())
        };
        assert_eq!(name(99), None);
        assert_eq!(name(100), Some("a"));
        assert_eq!(name(299), Some("a"));
        assert_eq!(name(300), None, "altered, and not known how");
        assert_eq!(name(9000), Some("c"));
        assert_eq!(layouts.before(Table::Log, &at(100)), None);
        assert!(layouts.before(Table::Log, &at(300)).is_some());
        assert!(layouts.at(Table::DialLog, &at(100)).is_none());
        assert!(layouts.reaches_behind(&at(400)));
        layouts.keep_behind(&at(200), |_, first| *first == at(500));
        let columns = layouts.at(Table::Log, &at(400)).expect("known");
        assert_eq!(columns[0].name, "a", "nothing was altered at 300");
    }
}
