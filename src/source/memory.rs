//! A source made of events in memory, for tests of everything behind a source.
//!
//! It keeps the contract of a real server, down to the events a server makes
//! up, and breaks when told to. Events can be appended while streams are open.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::frame::OwnedEvent;
use super::{Column, Condition, EventStream, NextRow, Source, SourceError, TableRow};
use crate::binlog::{
    BinlogFile, EventHeader, FIRST_EVENT_OFFSET, GtidPosition, HEADER_BYTES, Position, RawEvent,
    Reader, Watch,
};
use crate::vicidial::WallClock;

/// Bytes of the checksum that each event is taken to have.
const CHECKSUM_BYTES: u32 = 4;

const FORMAT_DESCRIPTION: u8 = 15;
const ROTATE: u8 = 4;

/// What the next stream does wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Fails after so many events of the script.
    Fail {
        /// Events sent before.
        after: usize,
        /// Makes the error.
        error: fn() -> SourceError,
    },
    /// Sends nothing any more after so many events of the script.
    Hang {
        /// Events sent before.
        after: usize,
    },
}

/// A source made of events in memory. Clones share the events.
#[derive(Clone)]
pub struct MemorySource {
    shared: Arc<Shared>,
}

struct Shared {
    script: Mutex<Script>,
    /// Told of every change of the script.
    changed: watch::Sender<()>,
}

struct Script {
    /// Invariant: never empty; the last one is appended to.
    files: Vec<File>,
    columns: BTreeMap<String, Vec<Column>>,
    /// What the tables hold, for [`Source::select`]: cells by column.
    rows: BTreeMap<String, Vec<BTreeMap<String, String>>>,
    /// Answers of [`Source::threads_running`] to come.
    running: VecDeque<u32>,
    /// How often rows were selected.
    selects: u64,
    /// For the streams to come, in order.
    faults: VecDeque<Fault>,
    /// For the looks to come, in order.
    look_faults: VecDeque<Fault>,
    /// Follows the groups, for [`Source::head`].
    reader: Reader,
}

struct File {
    name: BinlogFile,
    purged: bool,
    /// The events with the offsets where they begin.
    events: Vec<(u64, Arc<OwnedEvent>)>,
    end: u64,
}

impl MemorySource {
    /// A source whose binlog begins with `file`, which holds a format description.
    #[must_use]
    pub fn new(file: BinlogFile) -> Self {
        let start = Position::start_of(file.clone());
        let script = Script {
            files: Vec::new(),
            columns: BTreeMap::new(),
            rows: BTreeMap::new(),
            running: VecDeque::new(),
            selects: 0,
            faults: VecDeque::new(),
            look_faults: VecDeque::new(),
            reader: Reader::new(Watch::new("", &[]), start, GtidPosition::default()),
        };
        let source = Self {
            shared: Arc::new(Shared {
                script: Mutex::new(script),
                changed: watch::Sender::new(()),
            }),
        };
        source.begin_file(file);
        source
    }

    /// Appends an event and returns the position behind it.
    pub fn push(&self, code: u8, flags: u16, timestamp: u32, body: &[u8]) -> Position {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let size = HEADER_BYTES.saturating_add(length);
        self.push_raw(
            EventHeader {
                timestamp,
                code,
                server_id: 1,
                size: size.saturating_add(CHECKSUM_BYTES),
                end_low: u32::MAX,
                flags,
            },
            body,
        )
    }

    /// Appends an event whose header is given; an `end_low` of `u32::MAX` is
    /// replaced by the right one. Returns the position behind it.
    pub fn push_raw(&self, mut header: EventHeader, body: &[u8]) -> Position {
        let mut script = self.script();
        let position = {
            let Some(file) = script.files.last_mut() else {
                unreachable!("a source has a file from the start");
            };
            let start = file.end;
            file.end += u64::from(header.size);
            if header.end_low == u32::MAX {
                let low = file.end & u64::from(u32::MAX);
                header.end_low = u32::try_from(low).unwrap_or(0);
            }
            let body = body.to_vec();
            let event = Arc::new(OwnedEvent { header, body });
            file.events.push((start, event));
            Position {
                file: file.name.clone(),
                next: file.end,
            }
        };
        let last = script.files.last().and_then(|file| file.events.last());
        if let Some((_, event)) = last.cloned() {
            // A script may be nonsense on purpose; the head then stays behind.
            script.reader.pass(event.raw());
        }
        drop(script);
        self.shared.changed.send_replace(());
        position
    }

    /// Ends the file with a ROTATE and begins `next`; returns its start.
    pub fn rotate(&self, next: BinlogFile, timestamp: u32) -> Position {
        let start = Position::start_of(next.clone());
        let rotate = OwnedEvent::rotate_to(&start);
        self.push(ROTATE, 0, timestamp, &rotate.body);
        self.begin_file(next);
        start
    }

    /// Deletes the files before `file`.
    pub fn purge_before(&self, file: &BinlogFile) {
        for old in &mut self.script().files {
            old.purged |= old.name < *file;
        }
    }

    /// Sets the columns of a table.
    pub fn define(&self, table: &str, columns: Vec<Column>) {
        self.script().columns.insert(table.to_owned(), columns);
    }

    /// Puts a row into a table, to be found by SELECT.
    pub fn hold(&self, table: &str, row: &[(&str, &str)]) {
        let cells = row.iter().map(|(c, v)| ((*c).to_owned(), (*v).to_owned()));
        let mut script = self.script();
        let rows = script.rows.entry(table.to_owned()).or_default();
        rows.push(cells.collect());
    }

    /// Takes every row out of a table that SELECT would find.
    pub fn empty(&self, table: &str) {
        self.script().rows.remove(table);
    }

    /// How often rows were asked for by a condition.
    #[must_use]
    pub fn selects(&self) -> u64 {
        self.script().selects
    }

    /// The next answers to how many threads are at work; behind them it says
    /// nothing of it.
    pub fn be_busy(&self, threads: &[u32]) {
        self.script().running.extend(threads);
    }

    /// Makes the next stream that has no fault yet go wrong.
    pub fn inject(&self, fault: Fault) {
        self.script().faults.push_back(fault);
    }

    /// The same for the next [`Source::look`].
    pub fn inject_look(&self, fault: Fault) {
        self.script().look_faults.push_back(fault);
    }

    fn begin_file(&self, name: BinlogFile) {
        self.script().files.push(File {
            name,
            purged: false,
            events: Vec::new(),
            end: FIRST_EVENT_OFFSET,
        });
        self.push(FORMAT_DESCRIPTION, 0, 0, &[4, 0]);
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        let script = self.shared.script.lock();
        script.unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, from: &Position, fault: Option<Fault>) -> Result<MemoryStream, SourceError> {
        let script = self.script();
        let found = script.files.iter().position(|file| file.name == from.file);
        let found = found.filter(|at| script.files.get(*at).is_some_and(|file| !file.purged));
        let Some((at, file)) = found.and_then(|at| Some((at, script.files.get(at)?))) else {
            return Err(SourceError::Purged {
                wanted: from.to_string(),
                detail: "no such file".to_owned(),
            });
        };
        let next = file
            .events
            .iter()
            .position(|(start, _)| *start == from.next);
        let next = next.or((from.next == file.end).then_some(file.events.len()));
        let Some(next) = next else {
            return Err(SourceError::ImpossiblePosition {
                position: from.to_string(),
                detail: "no event begins there".to_owned(),
            });
        };
        let mut opening = VecDeque::from([Arc::new(OwnedEvent::rotate_to(from))]);
        if let Some((_, format)) = file.events.first().filter(|_| next > 0) {
            let format = OwnedEvent::clone(format).repeated();
            opening.push_back(Arc::new(format));
        }
        drop(script);
        Ok(MemoryStream {
            source: self.clone(),
            changed: self.shared.changed.subscribe(),
            opening,
            file: at,
            next,
            sent: 0,
            fault,
            broken: false,
            last: Arc::new(OwnedEvent::rotate_to(from)),
        })
    }
}

impl Source for MemorySource {
    type Stream = MemoryStream;

    async fn stream(&self, from: &Position) -> Result<MemoryStream, SourceError> {
        let fault = self.script().faults.pop_front();
        self.open(from, fault)
    }

    async fn look(&self, from: &Position) -> Result<MemoryStream, SourceError> {
        let fault = self.script().look_faults.pop_front();
        self.open(from, fault)
    }

    async fn head(&self) -> Result<Position, SourceError> {
        Ok(self.script().reader.position().clone())
    }

    async fn columns(&self, table: &str) -> Result<Vec<Column>, SourceError> {
        let columns = self.script().columns.get(table).cloned();
        Ok(columns.unwrap_or_default())
    }

    async fn select(
        &self,
        table: &str,
        columns: &[&str],
        condition: Condition<'_>,
    ) -> Result<Vec<TableRow>, SourceError> {
        let mut script = self.script();
        script.selects += 1;
        let rows = script.rows.get(table).into_iter().flatten();
        let asked = |row: &&BTreeMap<String, String>| {
            let has_key = condition.key.is_none_or(|(key, values)| {
                row.get(key).is_some_and(|value| values.contains(value))
            });
            let is_inside = condition.window.is_none_or(|(column, from, until)| {
                let wall = row.get(column).and_then(|text| WallClock::parse(text));
                wall.is_some_and(|wall| from <= wall && wall < until)
            });
            has_key && is_inside
        };
        let cells = |row: &BTreeMap<String, String>| {
            let cell = |column: &&str| row.get(*column).map(|text| text.clone().into_bytes());
            columns.iter().map(cell).collect()
        };
        Ok(rows.filter(asked).map(cells).collect())
    }

    /// It has events, and no tables behind them.
    async fn rows(&self, _table: &str, _columns: &[&str]) -> Result<Vec<TableRow>, SourceError> {
        Ok(Vec::new())
    }

    async fn next_row(
        &self,
        table: &str,
        column: &str,
        from: WallClock,
        until: WallClock,
    ) -> Result<NextRow, SourceError> {
        let script = self.script();
        let rows = script.rows.get(table).into_iter().flatten();
        let walls = rows.filter_map(|row| WallClock::parse(row.get(column)?));
        let first = walls.filter(|wall| from <= *wall && *wall < until).min();
        Ok(first.map_or(NextRow::None, NextRow::At))
    }

    async fn threads_running(&self) -> Result<Option<u32>, SourceError> {
        Ok(self.script().running.pop_front())
    }
}

/// A stream of a [`MemorySource`].
pub struct MemoryStream {
    source: MemorySource,
    changed: watch::Receiver<()>,
    /// Events made up for this stream, before the script's.
    opening: VecDeque<Arc<OwnedEvent>>,
    file: usize,
    next: usize,
    /// Events of the script sent so far.
    sent: usize,
    fault: Option<Fault>,
    broken: bool,
    /// The event that was handed out last.
    last: Arc<OwnedEvent>,
}

impl MemoryStream {
    /// Moves to the next event; `None` when there is none yet.
    fn advance(&mut self) -> Option<Result<(), SourceError>> {
        if self.broken {
            return Some(Err(SourceError::Unreachable {
                address: "memory".to_owned(),
                detail: "the stream has failed before".to_owned(),
            }));
        }
        if let Some(event) = self.opening.pop_front() {
            self.last = event;
            return Some(Ok(()));
        }
        match self.fault {
            Some(Fault::Fail { after, error }) if self.sent >= after => {
                self.broken = true;
                return Some(Err(error()));
            }
            Some(Fault::Hang { after }) if self.sent >= after => return None,
            _ => {}
        }
        let script = self.source.script();
        let file = script.files.get(self.file)?;
        if let Some((_, event)) = file.events.get(self.next) {
            self.last = Arc::clone(event);
            self.next += 1;
        } else {
            let following = script.files.get(self.file + 1)?;
            let start = Position::start_of(following.name.clone());
            self.last = Arc::new(OwnedEvent::rotate_to(&start));
            self.file += 1;
            self.next = 0;
        }
        drop(script);
        self.sent += 1;
        Some(Ok(()))
    }
}

impl EventStream for MemoryStream {
    async fn next(&mut self) -> Result<RawEvent<'_>, SourceError> {
        loop {
            // Before the look, so that an event appended after it wakes us.
            self.changed.borrow_and_update();
            if let Some(moved) = self.advance() {
                moved?;
                return Ok(self.last.raw());
            }
            if self.changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn try_next(&mut self) -> Option<Result<RawEvent<'_>, SourceError>> {
        let moved = self.advance()?;
        Some(moved.map(|()| self.last.raw()))
    }
}
