//! Rows of watched tables read by SELECT, as what they say.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::binlog::{MySqlValue, Row};
use crate::source::{Column, Condition, Source, SourceError};
use crate::vicidial::{Detail, Interpreter, Layout, Table};

/// What a SELECT found.
#[derive(Debug, Default)]
pub(super) struct Selected {
    /// What the rows say, as far as they say anything.
    pub(super) details: Vec<Detail>,
    /// How many rows there were.
    pub(super) rows: usize,
}

/// Reads rows of watched tables from the source.
pub(super) struct Selection<S> {
    source: Arc<S>,
    interpreter: Interpreter,
    /// The columns of each table by its name, as they were when it was first
    /// asked; `None` for a table that is not there or lacks what is needed.
    layouts: BTreeMap<String, Option<(Layout, Vec<String>)>>,
}

impl<S: Source> Selection<S> {
    pub(super) fn new(source: Arc<S>, interpreter: Interpreter) -> Self {
        Self {
            source,
            interpreter,
            layouts: BTreeMap::new(),
        }
    }

    /// Asks for the columns anew: after a failure they may be others.
    pub(super) fn forget(&mut self) {
        self.layouts.clear();
    }

    /// What the rows of `table` that meet a condition say, read at `now`. A row
    /// that cannot be one of its table says nothing.
    ///
    /// # Errors
    /// [`SourceError`].
    pub(super) async fn details(
        &mut self,
        table: Table,
        condition: Condition<'_>,
        now: i64,
    ) -> Result<Vec<Detail>, SourceError> {
        self.details_of(table.name(), table, condition, now).await
    }

    /// As [`Selection::details`], from another table with the same columns:
    /// VICIdial's archives.
    pub(super) async fn details_of(
        &mut self,
        name: &str,
        table: Table,
        condition: Condition<'_>,
        now: i64,
    ) -> Result<Vec<Detail>, SourceError> {
        Ok(self.selected(name, table, condition, now).await?.details)
    }

    /// As [`Selection::details_of`], with the number of rows: an answer of
    /// [`SELECTED_ROWS_MAX`](crate::source::SELECTED_ROWS_MAX) is cut off.
    pub(super) async fn selected(
        &mut self,
        name: &str,
        table: Table,
        condition: Condition<'_>,
        now: i64,
    ) -> Result<Selected, SourceError> {
        if !self.layouts.contains_key(name) {
            let layout = self.layout(name, table).await?;
            self.layouts.insert(name.to_owned(), layout);
        }
        let Some(Some((layout, columns))) = self.layouts.get(name) else {
            return Ok(Selected::default());
        };
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let found = self.source.select(name, &columns, condition).await?;
        let rows = found.len();
        let mut details = Vec::with_capacity(rows);
        for cells in found {
            let cells = cells.into_iter().map(|cell| cell.map(MySqlValue::Blob));
            let row = Row {
                cells: cells.collect(),
            };
            details.extend(self.interpreter.selected(layout, &row, now).ok().flatten());
        }
        Ok(Selected { details, rows })
    }

    /// The columns that are read of a table, as far as it has them.
    async fn layout(
        &self,
        name: &str,
        table: Table,
    ) -> Result<Option<(Layout, Vec<String>)>, SourceError> {
        let existing = self.source.columns(name).await?;
        let columns: Vec<Column> = table
            .read()
            .into_iter()
            .filter_map(|name| existing.iter().find(|column| column.name == name).cloned())
            .collect();
        let names = columns.iter().map(|column| column.name.clone()).collect();
        let layout = Layout::of_select(table, &columns).ok();
        Ok(layout.map(|layout| (layout, names)))
    }
}
