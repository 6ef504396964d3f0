//! Rows of watched tables read by SELECT, as what they say.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::binlog::{MySqlValue, Row};
use crate::checkpoint::Checkpoint;
use crate::source::{Column, Condition, SELECTED_ROWS_MAX, Source, SourceError};
use crate::vicidial::{Detail, Interpreter, Layout, SaidRow, Table};

/// Reads rows of watched tables from the source.
pub(super) struct Selection<S> {
    source: Arc<S>,
    interpreter: Interpreter,
    /// The columns of each table by its name, as they were when it was first
    /// asked; `None` for a table that is not there or lacks what is needed.
    layouts: BTreeMap<String, Option<Known>>,
}

/// A table's columns, as far as they are read.
struct Known {
    layout: Layout,
    columns: Vec<Column>,
}

/// What a SELECT found.
pub(super) struct Found {
    /// What the rows say.
    pub(super) details: Vec<Detail>,
    /// There are more than one answer can hold.
    pub(super) is_cut: bool,
}

impl<S: Source> Selection<S> {
    pub(super) fn new(source: Arc<S>, interpreter: Interpreter) -> Self {
        Self {
            source,
            interpreter,
            layouts: BTreeMap::new(),
        }
    }

    /// Where it reads from.
    pub(super) fn source(&self) -> &S {
        &self.source
    }

    /// Whether a table has what is read of it.
    ///
    /// # Errors
    /// [`SourceError`].
    pub(super) async fn is_there(&mut self, name: &str, table: Table) -> Result<bool, SourceError> {
        Ok(self.known(name, table).await?.is_some())
    }

    /// Asks for the columns anew: after a failure they may be others.
    pub(super) fn forget(&mut self) {
        self.layouts.clear();
    }

    /// As [`Source::committed`], for what a store has.
    ///
    /// # Errors
    /// [`SourceError`].
    pub(super) async fn committed(&self, store_at: &Checkpoint) -> Result<(), SourceError> {
        self.source
            .committed(&store_at.position, &store_at.gtid)
            .await
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
        Ok(self.find(name, table, condition, now).await?.details)
    }

    /// The length that a text column cuts values off at, in characters; `None`
    /// where it does not, or is not known.
    ///
    /// # Errors
    /// [`SourceError`].
    pub(super) async fn width(
        &mut self,
        table: Table,
        column: &str,
    ) -> Result<Option<usize>, SourceError> {
        let known = self.known(table.name(), table).await?;
        let mut columns = known.iter().flat_map(|known| &known.columns);
        let found = columns.find(|found| found.name == column);
        Ok(found.and_then(Column::characters_max))
    }

    /// As [`Selection::details_of`], and whether that is all.
    ///
    /// # Errors
    /// [`SourceError`].
    pub(super) async fn find(
        &mut self,
        name: &str,
        table: Table,
        condition: Condition<'_>,
        now: i64,
    ) -> Result<Found, SourceError> {
        self.known(name, table).await?;
        let Some(Some(Known { layout, columns })) = self.layouts.get(name) else {
            return Ok(Found {
                details: Vec::new(),
                is_cut: false,
            });
        };
        let columns: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let found = self.source.select(name, &columns, condition).await?;
        let is_cut = found.len() >= SELECTED_ROWS_MAX;
        let mut details = Vec::with_capacity(found.len());
        for cells in found {
            let cells = cells.into_iter().map(|cell| cell.map(MySqlValue::Blob));
            let row = Row {
                cells: cells.collect(),
            };
            details.extend(self.interpreter.selected(layout, &row, now).ok().flatten());
        }
        Ok(Found { details, is_cut })
    }

    /// The columns that are read of a table, once it was asked for rows.
    pub(super) fn columns(&self, table: Table) -> &[Column] {
        let known = self.layouts.get(table.name()).and_then(Option::as_ref);
        known.map_or(&[], |known| &known.columns)
    }

    /// What a new row says, by the values that a statement gives it, at `time`;
    /// `None` where it cannot be told. The other columns have the values that
    /// VICIdial's tables give them.
    pub(super) fn said(&self, table: Table, said: &SaidRow, time: i64) -> Option<Detail> {
        let known = self.layouts.get(table.name())?.as_ref()?;
        let cell = |column: &Column| {
            let given = said.iter().find(|(name, _)| *name == column.name);
            let text = match given {
                Some((_, value)) => value.as_ref().map(|value| column.stored(value)),
                None => table.default_of(&column.name).map(str::to_owned),
            };
            text.map(|text| MySqlValue::Blob(text.into_bytes()))
        };
        let row = Row {
            cells: known.columns.iter().map(cell).collect(),
        };
        let mut interpreter = self.interpreter.aside();
        let said = interpreter.selected(&known.layout, &row, time);
        said.ok().flatten()
    }

    async fn known(&mut self, name: &str, table: Table) -> Result<Option<&Known>, SourceError> {
        if !self.layouts.contains_key(name) {
            let layout = self.layout(name, table).await?;
            self.layouts.insert(name.to_owned(), layout);
        }
        Ok(self.layouts.get(name).and_then(Option::as_ref))
    }

    /// The columns that are read of a table, as far as it has them.
    async fn layout(&self, name: &str, table: Table) -> Result<Option<Known>, SourceError> {
        let existing = self.source.columns(name).await?;
        let columns: Vec<Column> = table
            .read()
            .into_iter()
            .filter_map(|name| existing.iter().find(|column| column.name == name).cloned())
            .collect();
        let layout = Layout::of_select(table, &columns).ok();
        Ok(layout.map(|layout| Known { layout, columns }))
    }
}
