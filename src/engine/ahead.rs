//! A look ahead in the binlog: where are tables altered next?
//!
//! The columns that a source tells are those of now. They are those of a row
//! only if no ALTER lies between the row and now, and nothing but the binlog
//! says whether one does.

use std::collections::{BTreeMap, BTreeSet};

use crate::binlog::{DecodeError, Definition, GtidPosition, Position, Reader, Step, Watch};
use crate::source::{EventStream, Source, SourceError};
use crate::telemetry::field;
use crate::vicidial::{Column, Table};

/// The columns of tables as they are now, and the statements up to now that
/// define them.
#[derive(Debug)]
pub(super) struct Ahead {
    from: Position,
    /// The end of the binlog, after the columns were asked for.
    to: Position,
    now: BTreeMap<Table, Vec<Column>>,
    definitions: Vec<Defined>,
}

/// A statement that defines a table.
#[derive(Debug)]
struct Defined {
    table: Table,
    definition: Definition,
    /// The position behind the statement.
    behind: Position,
}

impl Ahead {
    /// Reads the binlog from `from` to its end. `now` are the columns that the
    /// tables had a moment ago.
    ///
    /// # Errors
    /// [`SourceError`] when the binlog cannot be read.
    pub(super) async fn look<S: Source>(
        source: &S,
        watch: &Watch,
        from: &Position,
        now: BTreeMap<Table, Vec<Column>>,
    ) -> Result<Self, SourceError> {
        let to = source.head().await?;
        let definitions = definitions(source, watch, from, &to).await?;
        Ok(Self {
            from: from.clone(),
            to,
            now,
            definitions,
        })
    }

    /// Whether it tells of these tables from a position on.
    pub(super) fn covers(&self, position: &Position, tables: &BTreeSet<Table>) -> bool {
        let is_within = self.from <= *position && *position < self.to;
        is_within && tables.iter().all(|table| self.now.contains_key(table))
    }

    /// The columns of a table; `None` where it does not exist.
    pub(super) fn now(&self, table: Table) -> Option<&Vec<Column>> {
        let columns = self.now.get(&table);
        columns.filter(|columns| !columns.is_empty())
    }

    /// Whether a statement that defines the table ends there.
    pub(super) fn defines(&self, table: Table, behind: &Position) -> bool {
        let mut all = self.definitions.iter();
        all.any(|defined| defined.table == table && defined.behind == *behind)
    }

    /// Behind the first statement after `position` that did more to a table
    /// than append columns: those of now may have been others before.
    pub(super) fn next_change(&self, table: Table, position: &Position) -> Option<&Position> {
        let changes = |defined: &&Defined| {
            let definition = defined.definition;
            defined.table == table
                && defined.behind > *position
                && matches!(definition, Definition::Altered | Definition::Replaced)
        };
        let first = self.definitions.iter().find(changes)?;
        Some(&first.behind)
    }
}

/// The statements after `from` and up to `to` that define a watched table.
async fn definitions<S: Source>(
    source: &S,
    watch: &Watch,
    from: &Position,
    to: &Position,
) -> Result<Vec<Defined>, SourceError> {
    let mut found = Vec::new();
    if from >= to {
        return Ok(found);
    }
    tracing::info!(
        { field::POSITION } = %from,
        to = %to,
        "looking ahead for changes of the tables' columns"
    );
    let mut reader = Reader::new(watch.clone(), from.clone(), GtidPosition::default());
    let mut stream = source.look(from).await?;
    while reader.position() < to {
        let event = match stream.try_next() {
            Some(event) => event?,
            None => stream.next().await?,
        };
        match reader.event(event) {
            Ok(Step::Payload(mut payload)) => {
                while let Ok(Some(inner)) = payload.next_event() {
                    let step = reader.inner(inner);
                    note(&mut found, step, reader.position());
                }
                reader.end_payload();
            }
            step => note(&mut found, step, reader.position()),
        }
    }
    Ok(found)
}

/// Notes what a step defines. What cannot be decoded is told when it is read
/// in earnest.
fn note(found: &mut Vec<Defined>, step: Result<Step<'_>, DecodeError>, behind: &Position) {
    let Ok(Step::Definition {
        watched,
        definition,
    }) = step
    else {
        return;
    };
    let tables = watched.into_iter().filter_map(Table::of_rank);
    found.extend(tables.map(|table| Defined {
        table,
        definition,
        behind: behind.clone(),
    }));
}
