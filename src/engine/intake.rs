//! Reads the stream into batches, ahead of the store.
//!
//! A batch is sent as soon as the stream is idle and the store is free, so that
//! a single hang-up is in the store within milliseconds. While the store is
//! busy the batch grows, and a backlog is applied in large transactions.

mod again;
mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::binlog::{
    DecodeError, Definition, Kind, Operation, Payload, Position, RawEvent, Reader, RowsEvent, Step,
};
use crate::config::BadRow;
use crate::engine::ahead::Ahead;
use crate::engine::batch::Batch;
use crate::engine::failover::History;
use crate::engine::policy::EngineError;
use crate::engine::reread::Rereader;
use crate::engine::statuses;
use crate::engine::vitals::SourceVitals;
use crate::landmark::{Landmark, Sight};
use crate::source::{EventStream, Source};
use crate::state::QuarantinedRow;
use crate::telemetry::field;
use crate::vicidial::{
    Column, Detail, Fact, Layout, LayoutError, Origin, StatusChange, StatusKey, Table,
};

pub(super) use reading::{Reading, Warned};

/// A position without rows is saved this often: a restart then reads at most
/// this much of other tables' events again.
const POSITION_INTERVAL: Duration = Duration::from_secs(2);

/// Rows of a backlog wait at most this long while the store is free: a daemon
/// that is killed again and again still gets on.
const WORK_INTERVAL: Duration = Duration::from_millis(100);

/// Events between two looks at the clock while the stream is never idle.
const EVENTS_PER_LOOK: u64 = 1024;

/// Why the intake ended in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It is at the position where it was to end.
    AtEnd,
    /// The applying side is gone, and says why.
    NobodyApplies,
}

/// The reading half of the engine.
pub(super) struct Intake<S: Source> {
    source: Arc<S>,
    reader: Reader,
    reading: Reading,
    rereader: Rereader<S>,
    batches: mpsc::Sender<Batch>,
    /// Where to end; `None`: never.
    until: Option<Position>,
    /// What the stream must be a part of.
    history: History,
    vitals: Arc<SourceVitals>,
    batch: Batch,
    sent_at: Instant,
    file_name: Arc<str>,
    /// Where the group began in which a statement deletes calls in several events.
    deleting: Option<Position>,
    /// The last look at the tables and at the binlog up to then.
    ahead: Option<Ahead>,
}

impl<S: Source> Intake<S> {
    pub(super) fn new(
        source: Arc<S>,
        reader: Reader,
        reading: Reading,
        batches: mpsc::Sender<Batch>,
        until: Option<Position>,
        history: History,
        vitals: Arc<SourceVitals>,
    ) -> Self {
        let mut batch = Batch::new(reader.position().clone(), reader.gtid().clone(), None);
        // Of a session that ended before they were durable; they are not begun again.
        batch.landmarks = reading.layouts.since(reader.position());
        Self {
            rereader: Rereader::new(Arc::clone(&source), reading.interpreter.aside()),
            source,
            file_name: Arc::from(reader.position().file.as_str()),
            reader,
            reading,
            batches,
            until,
            history,
            vitals,
            batch,
            sent_at: Instant::now(),
            deleting: None,
            ahead: None,
        }
    }

    /// Reads until `until`, a failure, or the end of the applying side, and
    /// gives back what it knows.
    ///
    /// Dropping it loses nothing: what was not sent is read again.
    pub(super) async fn run(mut self) -> (Reading, Result<Ended, EngineError>) {
        self.vitals.begin_session();
        let ended = self.read().await;
        self.vitals.disconnect(ended.is_err());
        (self.reading, ended)
    }

    async fn read(&mut self) -> Result<Ended, EngineError> {
        let mut stream = self.source.stream(self.reader.position()).await?;
        // Before the first event: a position of another server may be one here too.
        self.history.check_server(stream.server())?;
        self.settle(Table::ALL.into()).await?;
        loop {
            if self.is_at_end() {
                let sent = self.send().await?;
                return Ok(if sent {
                    Ended::AtEnd
                } else {
                    Ended::NobodyApplies
                });
            }
            if (self.batch.is_full(&self.reading.size) || self.is_due()) && !self.send().await? {
                return Ok(Ended::NobodyApplies);
            }
            match stream.try_next() {
                Some(event) => {
                    if !self.take(event?).await? {
                        return Ok(Ended::NobodyApplies);
                    }
                }
                None => {
                    if !self.wait(&mut stream).await? {
                        return Ok(Ended::NobodyApplies);
                    }
                }
            }
        }
    }

    /// The stream is idle: sends what there is when the store is free, else
    /// waits for whatever comes first. False when nobody applies any more.
    async fn wait(&mut self, stream: &mut S::Stream) -> Result<bool, EngineError> {
        let batches = self.batches.clone();
        let has_work = self.batch.has_work();
        let position_due = self.sent_at + POSITION_INTERVAL;
        let moved = self.has_moved();
        self.vitals.set_idle(!has_work);
        tokio::select! {
            biased;
            permit = batches.reserve(), if has_work => {
                let Ok(permit) = permit else { return Ok(false) };
                self.read_again().await?;
                permit.send(self.next_batch());
            }
            event = stream.next() => {
                let event = event?;
                let is_heartbeat = Kind::of(event.header.code) == Kind::Heartbeat;
                self.vitals.heard(is_heartbeat);
                return self.take(event).await;
            }
            () = tokio::time::sleep_until(position_due), if moved => {
                return self.send().await;
            }
            () = batches.closed() => return Ok(false),
        }
        Ok(true)
    }

    fn is_at_end(&self) -> bool {
        (self.until.as_ref()).is_some_and(|end| self.reader.position() >= end)
    }

    fn has_moved(&self) -> bool {
        *self.reader.position() != self.batch.position
    }

    /// On a stream that is never idle: looks at the clock now and then, so that
    /// neither rows nor the position wait for long.
    fn is_due(&self) -> bool {
        if self.batch.tally.events % EVENTS_PER_LOOK != EVENTS_PER_LOOK - 1 {
            return false;
        }
        self.vitals.busy();
        let age = self.sent_at.elapsed();
        if self.batch.has_work() {
            age >= WORK_INTERVAL && self.batches.capacity() > 0
        } else {
            age >= POSITION_INTERVAL && self.has_moved()
        }
    }

    async fn send(&mut self) -> Result<bool, EngineError> {
        self.read_again().await?;
        let batch = self.next_batch();
        Ok(self.batches.send(batch).await.is_ok())
    }

    /// Takes the batch out, with the position as it is now, and begins another.
    fn next_batch(&mut self) -> Batch {
        let position = self.reader.position().clone();
        let gtid = self.reader.gtid().clone();
        let event_time = self.reader.event_time();
        let next = Batch::new(position.clone(), gtid.clone(), event_time);
        let mut batch = std::mem::replace(&mut self.batch, next);
        batch.position = position;
        batch.gtid = gtid;
        batch.event_time = event_time.or(batch.event_time);
        batch.file_begun = self.reader.file_begun();
        batch.number = self.vitals.next_batch();
        self.sent_at = Instant::now();
        batch.read_at = self.sent_at.into_std();
        batch
    }

    /// Takes an event, and what is packed in it. False when nobody applies any more.
    async fn take(&mut self, event: RawEvent<'_>) -> Result<bool, EngineError> {
        self.batch.tally.events += 1;
        match self.reader.event(event) {
            Ok(Step::Payload(payload)) => self.payload(payload, event).await,
            step => {
                self.step(step, event, 0).await?;
                if Kind::of(event.header.code) == Kind::FormatDescription {
                    // Each stream begins with one.
                    self.vitals.connect();
                    let place = self.reader.event_place();
                    self.history.check_file(&place, self.reader.file_begun())?;
                }
                Ok(true)
            }
        }
    }

    /// Takes the events of a compressed transaction, and sends them on the way
    /// as they fill batches: the transaction may be of any size.
    async fn payload(
        &mut self,
        mut payload: Payload<'_>,
        whole: RawEvent<'_>,
    ) -> Result<bool, EngineError> {
        loop {
            let number = payload.read_up_to();
            match payload.next_event() {
                Ok(Some(inner)) => {
                    let step = self.reader.inner(inner);
                    self.step(step, inner.event, inner.before).await?;
                }
                Ok(None) => break,
                Err(error) => {
                    self.step(Err(error), whole, number).await?;
                    break;
                }
            }
            if self.batch.is_full(&self.reading.size) && !self.send().await? {
                return Ok(false);
            }
        }
        self.reader.end_payload();
        Ok(true)
    }

    /// Does what a step says; `number` is that of the event's first row.
    async fn step(
        &mut self,
        step: Result<Step<'_>, DecodeError>,
        event: RawEvent<'_>,
        number: u32,
    ) -> Result<(), EngineError> {
        match step {
            Ok(Step::Nothing | Step::Idle) => {}
            Ok(Step::Rows(rows)) => self.rows(&rows).await?,
            Ok(Step::Statement(statement)) => self.statement(&statement).await?,
            Ok(Step::Definition {
                watched,
                definition,
            }) => {
                for table in watched.into_iter().filter_map(Table::of_rank) {
                    self.defined(table, definition).await?;
                }
            }
            Ok(Step::Unrecognised { code }) => {
                self.batch.missing.unrecognised += 1;
                if self.reading.warned.codes.insert(code) {
                    tracing::warn!(
                        { field::EVENT_CODE } = code,
                        { field::POSITION } = %self.reader.position(),
                        "passed over an event of a kind that didtail does not know"
                    );
                }
            }
            Ok(Step::Incident) => {
                self.batch.missing.incidents += 1;
                tracing::error!(
                    { field::POSITION } = %self.reader.position(),
                    "the source reports that it lost binlog events here"
                );
            }
            Ok(Step::Payload(_)) => {
                return Err(EngineError::Bug("a payload in a payload".to_owned()));
            }
            Err(error) => {
                let place = self.reader.event_place();
                self.set_aside_event(place, event, number, &error)?;
            }
        }
        Ok(())
    }

    async fn rows(&mut self, rows: &RowsEvent<'_>) -> Result<(), EngineError> {
        let place = self.reader.place_of(rows.offset);
        let Some(table) = Table::of_rank(rows.table.watched) else {
            return Err(EngineError::Bug(
                "a row of a table that is not watched".to_owned(),
            ));
        };
        let layout = match self.layout(table, rows).await? {
            Ok(layout) => layout,
            Err(error) => return self.set_aside(place, rows, rows.first_row, error.to_string()),
        };
        match rows.is_full_image() {
            Ok(true) => {}
            Ok(false) => return self.partial(table, &layout, rows, place).await,
            Err(error) => return self.set_aside(place, rows, rows.first_row, error.to_string()),
        }
        let changes = match rows.decode() {
            Ok(changes) => changes,
            Err(error) => return self.set_aside(place, rows, rows.first_row, error.to_string()),
        };
        self.batch.count(rows.table.watched, changes.len());
        if *self.file_name != *place.file.as_str() {
            self.file_name = Arc::from(place.file.as_str());
        }
        if self.is_archived(table, rows, changes.len()) {
            self.batch.tally.rows += changes.len() as u64;
            return Ok(());
        }
        let time = i64::from(rows.timestamp);
        for (number, change) in (rows.first_row..).zip(&changes) {
            self.batch.tally.rows += 1;
            let origin = Origin::new(&self.file_name, rows.offset, number, time);
            match self.reading.interpreter.fact(&layout, change, origin) {
                Ok(fact) => self.batch.facts.extend(fact),
                Err(error) => {
                    self.set_aside(place.clone(), rows, number, error.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// True for calls that a statement deletes together: VICIdial's clean-up
    /// removes one duplicate at a time, and an archive says nothing about calls.
    fn is_archived(&mut self, table: Table, rows: &RowsEvent<'_>, count: usize) -> bool {
        if table != Table::Log || rows.kind.operation != Operation::Delete {
            return false;
        }
        let group = self.reader.position();
        let continues = self.deleting.as_ref() == Some(group);
        if !rows.ends_statement() {
            self.deleting = Some(group.clone());
        }
        count != 1 || continues || !rows.ends_statement()
    }

    /// The layout of a row event. Where its columns do not fit what is known of
    /// the table, the source is asked for the table as it is now.
    async fn layout(
        &mut self,
        table: Table,
        rows: &RowsEvent<'_>,
    ) -> Result<Result<Arc<Layout>, LayoutError>, EngineError> {
        let position = self.reader.position().clone();
        let layouts = &mut self.reading.layouts;
        let misfit = match layouts.find(table, &rows.table, &position) {
            Err(misfit @ LayoutError::Unknown { .. }) => misfit,
            found => return Ok(found),
        };
        let now = self.source.columns(table.name()).await?;
        if Layout::of(table, &rows.table, &now).is_ok() {
            self.begin_era(table, now);
            let layouts = &mut self.reading.layouts;
            return Ok(layouts.find(table, &rows.table, &position));
        }
        Ok(self.reading.layouts.guess(table, &rows.table).ok_or(misfit))
    }

    /// A statement did something to a watched table.
    async fn defined(&mut self, table: Table, definition: Definition) -> Result<(), EngineError> {
        let is_status = matches!(table, Table::Statuses | Table::CampaignStatuses);
        if is_status && matches!(definition, Definition::Emptied | Definition::Replaced) {
            self.statuses_anew(table, definition).await?;
        }
        self.rereader.forget();
        if definition == Definition::Emptied {
            let time = self.reader.event_time().unwrap_or(0);
            let place = self.reader.event_place();
            self.archived(table, place, time);
        }
        let position = self.reader.position().clone();
        let layouts = &mut self.reading.layouts;
        if definition == Definition::Emptied || layouts.begins_at(table, &position) {
            return Ok(());
        }
        tracing::info!(
            { field::TABLE } = table.name(),
            { field::POSITION } = %position,
            "a statement may have changed the table's columns; they are read again"
        );
        let kept = match definition {
            Definition::Extended => layouts.at(table, &position).cloned(),
            Definition::Emptied | Definition::Altered | Definition::Replaced => None,
        };
        self.begin_era(table, kept.unwrap_or_default());
        self.committed().await?;
        self.settle([table].into()).await?;
        if self.reading.layouts.at(table, &position).is_none() {
            tracing::warn!(
                { field::TABLE } = table.name(),
                { field::POSITION } = %position,
                "the table was altered again since, so that its columns between are not known; its rows between are quarantined unless binlog_row_metadata = FULL says the columns"
            );
        }
        Ok(())
    }

    /// Waits until the source's tables show everything that was read.
    async fn committed(&self) -> Result<(), EngineError> {
        let mut gtid = self.reader.gtid().clone();
        let open = self.reader.group_gtid();
        let position = match open {
            // Its start: whatever ends behind that has the whole group.
            Some(open) => {
                gtid.advance(open);
                self.reader.event_place()
            }
            None => self.reader.position().clone(),
        };
        Ok(self.source.committed(&position, &gtid).await?)
    }

    /// Finds out the columns that these tables have at the present position.
    ///
    /// The source tells those of now. They are right if the table was not
    /// altered in between; else the ones known before are, up to the ALTER.
    async fn settle(&mut self, tables: BTreeSet<Table>) -> Result<(), EngineError> {
        let position = self.reader.position().clone();
        let ahead = match self.ahead.take() {
            Some(ahead) if ahead.covers(&position, &tables) => ahead,
            _ => {
                let mut now = BTreeMap::new();
                for table in &tables {
                    now.insert(*table, self.source.columns(table.name()).await?);
                }
                let layouts = &self.reading.layouts;
                let is_known = |(table, columns): (&Table, &Vec<Column>)| {
                    columns.is_empty() || layouts.at(*table, &position) == Some(columns)
                };
                if now.iter().all(is_known) && !layouts.reaches_behind(&position) {
                    return Ok(());
                }
                let (source, watch) = (self.source.as_ref(), self.reader.watch());
                let begun = &mut self.reading.look;
                Ahead::look(source, watch, &position, now, begun).await?
            }
        };
        // After RESET MASTER old places are in another history.
        let layouts = &mut self.reading.layouts;
        layouts.keep_behind(&position, |table, first| ahead.defines(table, first));
        for table in tables {
            let now = ahead.now(table);
            let columns = match ahead.next_change(table, &position) {
                None => now,
                Some(behind) => self.reading.layouts.before(table, behind),
            };
            let known = self.reading.layouts.at(table, &position);
            // A table that is gone, or may not be looked at any more, says nothing.
            if let Some(columns) =
                columns.filter(|columns| now.is_some() && Some(*columns) != known)
            {
                let columns = columns.clone();
                self.begin_era(table, columns);
            }
        }
        self.ahead = Some(ahead);
        Ok(())
    }

    /// The columns of a table from the present position on, also for later starts.
    fn begin_era(&mut self, table: Table, columns: Vec<Column>) {
        let position = self.reader.position().clone();
        let layouts = &mut self.reading.layouts;
        layouts.begin(table, &position, columns.clone());
        self.batch.landmarks.push(Landmark {
            place: position,
            sight: Sight::Columns { table, columns },
        });
    }

    /// The rows of a status table are gone. After a TRUNCATE the new ones are in
    /// the binlog; another table in its place may have brought its own.
    async fn statuses_anew(
        &mut self,
        table: Table,
        definition: Definition,
    ) -> Result<(), EngineError> {
        let place = self.reader.event_place();
        let time = self.reader.event_time().unwrap_or(0);
        let campaigns = table == Table::CampaignStatuses;
        let mut changes = vec![StatusChange::Emptied { campaigns }];
        if definition == Definition::Replaced {
            self.committed().await?;
            let rows = statuses::rows(self.source.as_ref(), table).await?;
            changes.extend(rows.into_iter().map(|row| StatusChange::Set {
                key: StatusKey::new(&row.status, &row.campaign_id),
                renamed_from: None,
                flags: row.flags,
            }));
        }
        let file: Arc<str> = Arc::from(place.file.as_str());
        let facts = (0_u32..).zip(changes).map(|(number, change)| Fact {
            origin: Origin::new(&file, place.next, number, time),
            detail: Detail::Status(change),
        });
        self.batch.facts.extend(facts);
        Ok(())
    }

    fn set_aside(
        &mut self,
        place: Position,
        rows: &RowsEvent<'_>,
        number: u32,
        reason: String,
    ) -> Result<(), EngineError> {
        let table = Table::of_rank(rows.table.watched).map_or("", Table::name);
        self.quarantine(QuarantinedRow {
            position: place,
            row_index: number,
            event_time: i64::from(rows.timestamp),
            table: table.to_owned(),
            reason,
            event_code: rows.code,
            body: rows.body.to_vec(),
            table_map: rows.table.body.clone(),
        })
    }

    fn set_aside_event(
        &mut self,
        place: Position,
        event: RawEvent<'_>,
        number: u32,
        error: &DecodeError,
    ) -> Result<(), EngineError> {
        self.quarantine(QuarantinedRow {
            position: place,
            row_index: number,
            event_time: i64::from(event.header.timestamp),
            table: String::new(),
            reason: error.to_string(),
            event_code: event.header.code,
            body: event.body.to_vec(),
            table_map: Vec::new(),
        })
    }

    fn quarantine(&mut self, row: QuarantinedRow) -> Result<(), EngineError> {
        match self.reading.bad_row {
            BadRow::Stop => Err(EngineError::BadRow {
                table: row.table,
                position: row.position.to_string(),
                reason: row.reason,
            }),
            BadRow::Quarantine => {
                self.batch.missing.quarantined += 1;
                self.batch.bad.push(row);
                Ok(())
            }
        }
    }
}
