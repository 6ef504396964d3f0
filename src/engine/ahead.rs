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

/// A look that may not have come to its end yet.
#[derive(Debug)]
pub(super) struct Look {
    from: Position,
    /// What was looked at ends here.
    at: Position,
    found: Vec<Defined>,
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
    /// tables had a moment ago. `begun` is a look that a failure cut short: it is
    /// gone on with, however often that happens; and after a failure it is there
    /// again.
    ///
    /// # Errors
    /// [`SourceError`] when the binlog cannot be read.
    pub(super) async fn look<S: Source>(
        source: &S,
        watch: &Watch,
        from: &Position,
        now: BTreeMap<Table, Vec<Column>>,
        begun: &mut Option<Look>,
    ) -> Result<Self, SourceError> {
        let to = source.head().await?;
        let known = begun.take().filter(|look| look.covers(from));
        let mut look = known.unwrap_or_else(|| Look::new(from));
        if let Err(error) = look.go_on(source, watch, &to).await {
            *begun = Some(look);
            return Err(error);
        }
        Ok(Self {
            from: from.clone(),
            to,
            now,
            definitions: look.found,
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

impl Look {
    fn new(from: &Position) -> Self {
        Self {
            from: from.clone(),
            at: from.clone(),
            found: Vec::new(),
        }
    }

    fn covers(&self, from: &Position) -> bool {
        self.from <= *from && *from <= self.at
    }

    /// Looks for statements that define a watched table, up to `to`.
    async fn go_on<S: Source>(
        &mut self,
        source: &S,
        watch: &Watch,
        to: &Position,
    ) -> Result<(), SourceError> {
        if self.at >= *to {
            return Ok(());
        }
        tracing::info!(
            { field::POSITION } = %self.at,
            to = %to,
            "looking ahead for changes of the tables' columns"
        );
        let mut reader = Reader::new(watch.clone(), self.at.clone(), GtidPosition::default());
        let mut stream = source.look(&self.at).await?;
        while reader.position() < to {
            let event = match stream.try_next() {
                Some(event) => event?,
                None => stream.next().await?,
            };
            match reader.event(event) {
                Ok(Step::Payload(mut payload)) => {
                    while let Ok(Some(inner)) = payload.next_event() {
                        let step = reader.inner(inner);
                        self.note(step, reader.position());
                    }
                    reader.end_payload();
                }
                step => self.note(step, reader.position()),
            }
            if *reader.position() != self.at {
                self.at.clone_from(reader.position());
            }
        }
        Ok(())
    }

    /// Notes what a step defines. What cannot be decoded is told when it is
    /// read in earnest.
    fn note(&mut self, step: Result<Step<'_>, DecodeError>, behind: &Position) {
        let Ok(Step::Definition {
            watched,
            definition,
        }) = step
        else {
            return;
        };
        let tables = watched.into_iter().filter_map(Table::of_rank);
        self.found.extend(tables.map(|table| Defined {
            table,
            definition,
            behind: behind.clone(),
        }));
    }
}
