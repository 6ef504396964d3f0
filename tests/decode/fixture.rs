//! The fixtures: real binlogs, and their text by `mariadb-binlog`.

use std::path::PathBuf;

use didtail::binlog::{
    BinlogFile, DecodeError, EventHeader, GtidPosition, Position, RawEvent, Reader, RowChange,
    Step, TableMap, Watch,
};
use didtail::source::{SourceError, Splitter};

use crate::golden;

/// Every fixture that can be read to its end.
pub(crate) const WHOLE: [&str; 18] = [
    "annotate-off.000001",
    "checksum-none.000001",
    "compressed.000001",
    "crash-in-use-flag.000001",
    "ddl-midstream-metadata-full.000001",
    "ddl-midstream.000001",
    "edge-values-no-metadata.000001",
    "edge-values.000001",
    "gtid-multidomain.000001",
    "image-minimal.000001",
    "image-noblob.000001",
    "memory-after-restart.000002",
    "memory-before-restart.000001",
    "metadata-full.000001",
    "metadata-no-log.000001",
    "mixed-statement.000001",
    "myisam-row.000001",
    "transactions.000001",
];

/// The one whose last event is cut.
pub(crate) const TRUNCATED: &str = "crash-truncated-tail.000001";

/// The two with a column of every type, and with values that the library
/// cannot decode; see `rows.rs`.
pub(crate) const EDGE: [&str; 2] = ["edge-values-no-metadata.000001", "edge-values.000001"];

/// An event taken out of a file.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) header: EventHeader,
    pub(crate) body: Vec<u8>,
}

impl Event {
    pub(crate) fn raw(&self) -> RawEvent<'_> {
        RawEvent {
            header: self.header,
            body: &self.body,
        }
    }
}

/// What reading one event came to.
#[derive(Debug)]
pub(crate) enum Read {
    Rows {
        table: std::sync::Arc<TableMap>,
        full: bool,
        changes: Result<Vec<RowChange>, DecodeError>,
    },
    Statement,
    Definition(usize),
    Failed(DecodeError),
    Other,
}

pub(crate) fn path(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/mariadb-10.11");
    PathBuf::from(folder).join(name)
}

pub(crate) fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).expect("the fixture is there")
}

pub(crate) fn golden(name: &str) -> Vec<golden::Event> {
    golden::parse(&bytes(&format!("golden/{name}.txt")))
}

pub(crate) fn start(name: &str) -> Position {
    Position::start_of(BinlogFile::new(name).expect("a binlog's name"))
}

/// The events of a file, and the error where it ends before its end.
pub(crate) fn events(name: &str) -> (Vec<Event>, Option<SourceError>) {
    split(name, &bytes(name))
}

pub(crate) fn split(name: &str, bytes: &[u8]) -> (Vec<Event>, Option<SourceError>) {
    let file = BinlogFile::new(name).expect("a binlog's name");
    let mut splitter = match Splitter::new(bytes, file, bytes.len() as u64) {
        Ok(splitter) => splitter,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut events = Vec::new();
    loop {
        match splitter.event() {
            Ok(Some(event)) => events.push(Event {
                header: event.header,
                body: event.body.to_vec(),
            }),
            Ok(None) => return (events, None),
            Err(error) => return (events, Some(error)),
        }
    }
}

/// What an event holds: itself, or what is packed into it.
pub(crate) fn read_all(reader: &mut Reader, event: &Event) -> Vec<Read> {
    match reader.event(event.raw()) {
        Ok(Step::Payload(mut payload)) => {
            let mut all = Vec::new();
            while let Some(inner) = payload.next_event().expect("a whole payload") {
                let step = reader.inner(inner);
                all.push(told(step));
            }
            reader.end_payload();
            all
        }
        step => vec![told(step)],
    }
}

/// A reader from `position` that watches every table of the fixtures.
pub(crate) fn reader(position: Position, gtid: GtidPosition) -> Reader {
    Reader::new(Watch::new("asterisk", &TABLES), position, gtid)
}

/// Every table of the fixtures; a rank is a place in here.
pub(crate) const TABLES: [&str; 5] = [
    "call_log_my",
    "call_log_inno",
    "ctas",
    "edge",
    "live_agents",
];

/// A database and tables of it.
pub(crate) type Watched = (&'static str, &'static [&'static str]);

/// Those of the fixtures.
pub(crate) const WATCHED: Watched = ("asterisk", &TABLES);

/// Lets a reader take an event.
pub(crate) fn read(reader: &mut Reader, event: &Event) -> Read {
    told(reader.event(event.raw()))
}

fn told(step: Result<Step<'_>, DecodeError>) -> Read {
    match step {
        Ok(Step::Rows(rows)) => Read::Rows {
            table: std::sync::Arc::clone(&rows.table),
            full: rows.is_full_image().expect("long enough"),
            changes: rows.decode(),
        },
        Ok(Step::Statement { .. }) => Read::Statement,
        Ok(Step::Definition { watched, .. }) => Read::Definition(watched[0]),
        Ok(Step::Nothing | Step::Idle) => Read::Other,
        Ok(step) => panic!("no fixture has this: {step:?}"),
        Err(error) => Read::Failed(error),
    }
}
