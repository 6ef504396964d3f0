//! Changes that the binlog has a statement or a part of a row for: what they
//! touch is read from the tables before the batch is applied.

use std::sync::Arc;

use crate::binlog::{Definition, Position, Row, RowChange, RowsEvent, Statement};
use crate::engine::intake::Intake;
use crate::engine::policy::EngineError;
use crate::engine::reread::Pending;
use crate::landmark::{Landmark, Sight};
use crate::source::Source;
use crate::telemetry::field;
use crate::vicidial::{
    Effect, Fact, Interpreter, KeyedRows, Layout, Origin, Table, WallClock, WrittenRows, written,
};

/// A row without a key is looked for among those written so shortly before.
const AROUND_SECONDS: i64 = 3600;

/// Facts that a partial row becomes, at most: each needs a name of its own.
const FACTS_A_CHANGE: u32 = 8;

/// Shapes remembered as warned about; VICIdial has a handful.
const SHAPES_WARNED_MAX: usize = 64;

impl<S: Source> Intake<S> {
    /// Puts the facts of changes that are without row images where they belong.
    pub(super) async fn read_again(&mut self) -> Result<(), EngineError> {
        if self.batch.pending.is_empty() {
            return Ok(());
        }
        self.committed().await?;
        let read = self.rereader.keyed(&mut self.batch.pending).await?;
        self.batch.rereads.rows += read.rows;
        self.batch.missing.statements += read.incomplete;
        let pending = std::mem::take(&mut self.batch.pending);
        let mut seen = std::mem::take(&mut self.batch.facts).into_iter();
        let mut taken = 0;
        for (change, again) in pending.into_iter().zip(read.facts) {
            let before = seen.by_ref().take(change.at.saturating_sub(taken));
            self.batch.facts.extend(before);
            taken = change.at;
            self.batch.facts.extend(again);
        }
        self.batch.facts.extend(seen);
        Ok(())
    }

    /// A statement changed rows, perhaps of watched tables.
    pub(super) async fn statement(&mut self, statement: &Statement) -> Result<(), EngineError> {
        let ranks = statement.watched.iter().copied();
        let named: Vec<Table> = ranks.filter_map(Table::of_rank).collect();
        let time = i64::from(statement.timestamp);
        let position = self.reader.position().clone();
        let layouts = &self.reading.layouts;
        let columns = |table| {
            let columns = layouts.at(table, &position).into_iter().flatten();
            columns.map(|column| column.name.clone()).collect()
        };
        let changes = written(&statement.text, &named, columns, time);
        if changes.is_empty() {
            return Ok(());
        }
        if !std::mem::replace(&mut self.reading.warned.statements, true) {
            tracing::info!(
                { field::POSITION } = %position,
                thread_id = statement.thread_id,
                "the source writes statements instead of rows; what they change is read from its tables"
            );
        }
        let place = self.reader.place_of(statement.offset);
        let origin = self.origin(&place, statement.first_row, time);
        for change in changes {
            self.batch.rereads.changes += 1;
            self.batch.rereads.count(&change.shape, 1);
            self.batch.tally.rows += 1;
            match change.rows {
                WrittenRows::Keyed(rows) => self.again(change.table, *rows, &origin),
                WrittenRows::Link(link) => {
                    let detail = self.rereader.link(&link, time);
                    let origin = origin.clone();
                    self.batch.facts.push(Fact { origin, detail });
                }
                WrittenRows::Window { from, until } => {
                    if self.warns_of(&change.shape) {
                        tracing::warn!(
                            { field::POSITION } = %place,
                            shape = change.shape,
                            "a statement does not name the rows that it changes; those of the time are read again"
                        );
                    }
                    self.window(change.table, from, until, &origin).await?;
                }
                WrittenRows::Archived { before } => {
                    let before = before.and_then(|wall| self.rereader.zone().seconds(wall));
                    self.archived(change.table, place.clone(), before.unwrap_or(time));
                }
                WrittenRows::All => {
                    self.statuses_anew(change.table, Definition::Replaced)
                        .await?
                }
            }
        }
        Ok(())
    }

    fn warns_of(&mut self, shape: &str) -> bool {
        let warned = &mut self.reading.warned.shapes;
        warned.len() < SHAPES_WARNED_MAX && warned.insert(shape.to_owned())
    }

    fn origin(&mut self, place: &Position, row: u32, time: i64) -> Origin {
        if *self.file_name != *place.file.as_str() {
            self.file_name = Arc::from(place.file.as_str());
        }
        Origin::new(&self.file_name, place.next, row, time)
    }

    /// Rows that are to be read again before the batch is applied.
    fn again(&mut self, table: Table, rows: KeyedRows, origin: &Origin) {
        let archivings = &mut self.reading.archivings;
        let place = self.reader.event_place();
        let mut there = Vec::new();
        if table == Table::Log {
            let inserted = archivings.written(&rows, &place);
            self.batch.landmarks.extend(inserted);
            there = archivings.there(&rows, &place);
        }
        self.batch.pending.push(Pending {
            at: self.batch.facts.len(),
            table,
            gone_before: archivings.before(table, &place),
            there,
            rows,
            origin: origin.clone(),
        });
    }

    /// Reads the rows of a time, in parts that a batch can hold.
    async fn window(
        &mut self,
        table: Table,
        from: Option<WallClock>,
        until: Option<WallClock>,
        origin: &Origin,
    ) -> Result<(), EngineError> {
        self.read_again().await?;
        self.committed().await?;
        self.batch.rereads.windows += 1;
        let (whole, is_all) = self.rereader.window(from, until, origin.time);
        self.batch.missing.statements += u64::from(!is_all);
        let mut slices = vec![whole];
        while !slices.is_empty() {
            let read = self.rereader.slice(table, &mut slices, origin).await?;
            self.batch.rereads.rows += read.rows;
            self.batch.missing.statements += read.incomplete;
            for fact in read.facts.into_iter().flatten() {
                self.batch.facts.push(fact);
                if self.batch.is_full(&self.reading.size) {
                    // Whether anybody still applies shows with the next batch.
                    self.send().await?;
                }
            }
        }
        Ok(())
    }

    /// Rows whose image has only some of their columns: the rest is read from
    /// the table, by the key that every image has.
    pub(super) async fn partial(
        &mut self,
        table: Table,
        layout: &Layout,
        rows: &RowsEvent<'_>,
        place: Position,
    ) -> Result<(), EngineError> {
        let changes = match rows.decode() {
            Ok(changes) => changes,
            Err(error) => return self.set_aside(place, rows, rows.first_row, error.to_string()),
        };
        if !std::mem::replace(&mut self.reading.warned.images, true) {
            tracing::info!(
                { field::POSITION } = %place,
                "the source writes only some columns of a row (binlog_row_image); the others are read from its tables"
            );
        }
        let time = i64::from(rows.timestamp);
        if matches!(table, Table::Statuses | Table::CampaignStatuses) {
            return self.statuses_anew(table, Definition::Replaced).await;
        }
        if self.is_archived(table, rows, changes.len()) {
            return Ok(());
        }
        let origin = self.origin(&place, rows.first_row, time);
        let Some(column) = key_column(table) else {
            let from = self.rereader.zone().wall_clock(time - AROUND_SECONDS);
            return self.window(table, Some(from), None, &origin).await;
        };
        for (number, change) in (0_u32..).zip(&changes) {
            self.batch.tally.rows += 1;
            self.batch.rereads.changes += 1;
            let key = |row: &Row| Interpreter::text(layout, row, column);
            let (old, new) = match change {
                RowChange::Insert { after } => (None, key(after)),
                RowChange::Update { before, after } => (key(before), key(after)),
                RowChange::Delete { before } => (key(before), None),
            };
            let is_deleted = matches!(change, RowChange::Delete { .. });
            if is_deleted && table != Table::Log {
                continue;
            }
            let effect = match (&old, &new) {
                _ if is_deleted => Effect::Deleted,
                (Some(old), Some(new)) if old != new && table == Table::Log => Effect::Renamed {
                    to: new.clone(),
                    from: Some(old.clone()),
                },
                _ => Effect::None,
            };
            let values: Vec<String> = old.into_iter().chain(new).collect();
            if values.is_empty() {
                let reason = format!("its partial image has no {column}");
                let number = rows.first_row.saturating_add(number);
                self.set_aside(place.clone(), rows, number, reason)?;
                continue;
            }
            let origin = Origin {
                row: rows
                    .first_row
                    .saturating_add(number.saturating_mul(FACTS_A_CHANGE)),
                ..origin.clone()
            };
            // What it has of a row that is gone by the time it is read again.
            let (inserted, set) = match change {
                RowChange::Insert { after } => (vec![Interpreter::said(layout, after)], vec![]),
                RowChange::Update { after, .. } => (vec![], Interpreter::said(layout, after)),
                RowChange::Delete { .. } => (vec![], vec![]),
            };
            let rows = KeyedRows {
                column,
                values,
                effect,
                inserted,
                set,
                ..KeyedRows::default()
            };
            self.again(table, rows, &origin);
        }
        Ok(())
    }

    /// The rows of a table from before a time are gone from here on.
    pub(super) fn archived(&mut self, table: Table, place: Position, before: i64) {
        self.reading.archivings.add(table, place.clone(), before);
        self.batch.landmarks.push(Landmark {
            place,
            sight: Sight::Archived { table, before },
        });
    }
}

/// The column of a table that every image of a row has: its key, or any of a
/// table without one.
fn key_column(table: Table) -> Option<&'static str> {
    match table {
        Table::Log | Table::LogExtended | Table::CarrierLog => Some("uniqueid"),
        Table::DialLog | Table::DialCidLog => Some("caller_code"),
        // Found by its time alone, or read whole.
        Table::ShakenLog | Table::Statuses | Table::CampaignStatuses => None,
    }
}
