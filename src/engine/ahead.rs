//! A look ahead in the binlog: where are tables altered next?
//!
//! The columns that a source tells are those of now. They are those of a row
//! only if no ALTER lies between the row and now, and nothing but the binlog
//! says whether one does.

use crate::binlog::{Definition, GtidPosition, Position, Reader, Step, Watch};
use crate::source::{EventStream, Source, SourceError};
use crate::telemetry::field;
use crate::vicidial::Table;

/// A statement that may have changed the columns of a table.
#[derive(Clone, Debug)]
pub(super) struct Defined {
    pub(super) table: Table,
    pub(super) definition: Definition,
    /// The position behind the statement.
    pub(super) behind: Position,
}

/// The statements after `from` and up to `to` that define a watched table.
///
/// # Errors
/// [`SourceError`] when the binlog cannot be read.
pub(super) async fn definitions<S: Source>(
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
        // What cannot be decoded is told when it is read in earnest.
        let Ok(Step::Definition {
            watched,
            definition,
        }) = reader.event(event)
        else {
            continue;
        };
        let tables = watched.into_iter().filter_map(Table::of_rank);
        found.extend(tables.map(|table| Defined {
            table,
            definition,
            behind: reader.position().clone(),
        }));
    }
    Ok(found)
}

/// Where the columns of a table that are read now may have been others before:
/// behind its first statement that did more than append to them.
pub(super) fn first_change(definitions: &[Defined], table: Table) -> Option<&Position> {
    let changes = |defined: &&Defined| {
        defined.table == table
            && matches!(
                defined.definition,
                Definition::Altered | Definition::Replaced
            )
    };
    definitions
        .iter()
        .find(changes)
        .map(|defined| &defined.behind)
}
