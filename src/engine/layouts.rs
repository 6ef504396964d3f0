//! Which layout the rows of a table map have, remembered from map to map.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::binlog::TableMap;
use crate::vicidial::{Column, Layout, LayoutError, Table};

/// Versions of one table's columns kept in memory.
const VERSIONS_MAX: usize = 16;

/// Layouts kept: one a table map.
const LAYOUTS_MAX: usize = 64;

/// The known versions of every watched table, oldest first.
#[derive(Debug, Default)]
pub(super) struct Layouts {
    versions: BTreeMap<Table, Vec<Vec<Column>>>,
    known: Vec<(Arc<TableMap>, Arc<Layout>)>,
}

impl Layouts {
    /// Adds a version, which is from now on the newest; false if it is that already.
    pub(super) fn learn(&mut self, table: Table, columns: Vec<Column>) -> bool {
        let versions = self.versions.entry(table).or_default();
        if versions.last() == Some(&columns) || columns.is_empty() {
            return false;
        }
        versions.retain(|version| *version != columns);
        if versions.len() == VERSIONS_MAX {
            versions.remove(0);
        }
        versions.push(columns);
        true
    }

    /// Forgets which layout belongs to which map of a table: it was altered.
    pub(super) fn forget(&mut self, table: Table) {
        self.known.retain(|(_, layout)| layout.table != table);
    }

    /// The layout already found for a map.
    pub(super) fn known(&self, map: &Arc<TableMap>) -> Option<Arc<Layout>> {
        self.known
            .iter()
            .find(|(other, _)| Arc::ptr_eq(other, map))
            .map(|(_, layout)| Arc::clone(layout))
    }

    /// Finds the layout of a map among the known versions and remembers it.
    pub(super) fn find(
        &mut self,
        table: Table,
        map: &Arc<TableMap>,
    ) -> Result<Arc<Layout>, LayoutError> {
        let versions = self.versions.get(&table).map_or(&[][..], Vec::as_slice);
        let layout = Arc::new(Layout::of(table, map, versions)?);
        if self.known.len() == LAYOUTS_MAX {
            self.known.remove(0);
        }
        self.known.push((Arc::clone(map), Arc::clone(&layout)));
        Ok(layout)
    }
}
