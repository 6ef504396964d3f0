//! Turns the stream of events into groups: what belongs together, where the
//! position may stand, and which rows are worth decoding.
//!
//! # Why positions move at group ends only
//! A MyISAM statement, a transaction and a DDL are each one group. Resuming
//! inside one would lose its table maps and the rows before. So
//! [`Reader::position`] stands between groups, however far the stream is, and
//! a group of millions of rows is applied in parts without moving it.
//!
//! # Why positions are computed
//! Header positions have 32 bits, and MariaDB 11.4 and newer writes 0 inside
//! groups. The offset is carried in 64 bits from event sizes, and corrected by
//! the header's low 32 bits where it has them: events that the server leaves
//! out of the stream (annotations) are in the file all the same.

use std::borrow::Cow;

use crate::binlog::bytes::Bytes;
use crate::binlog::kind::RowsKind;
use crate::binlog::query::{Definition, Meaning, Query};
use crate::binlog::table_map::TableMaps;
use crate::binlog::{
    ARTIFICIAL_FLAG, BinlogFile, DecodeError, FIRST_EVENT_OFFSET, Gtid, GtidPosition, Kind,
    Position, RawEvent, RowsEvent, Watch, compressed,
};

/// Flag of a MariaDB GTID event: no COMMIT follows (`FL_STANDALONE`).
const STANDALONE_FLAG: u64 = 1;

/// What one event means.
#[derive(Debug)]
pub enum Step<'a> {
    /// Nothing to do: not watched, or only the position moved.
    Nothing,
    /// The source is idle and alive.
    Idle,
    /// Rows of a watched table, to be decoded.
    Rows(RowsEvent<'a>),
    /// A statement that changed rows, perhaps of a watched table, without row images.
    Statement(Statement),
    /// A statement of another kind that names watched tables: DDL, TRUNCATE.
    Definition {
        /// Ranks of the tables in the [`Watch`] list.
        watched: Vec<usize>,
        /// What it does to them.
        definition: Definition,
    },
    /// An event code that is in no list.
    Unrecognised {
        /// The code.
        code: u8,
    },
    /// The source says that events are missing here (`INCIDENT`).
    Incident,
    /// An event of a kind that this version cannot read: MySQL's compressed transactions.
    Unsupported {
        /// What it is.
        what: &'static str,
    },
}

/// A statement that names watched tables and is in the binlog as its text.
#[derive(Debug)]
pub struct Statement {
    /// Ranks in the [`Watch`] list of the tables that it names.
    pub watched: Vec<usize>,
    /// The session that ran it.
    pub thread_id: u32,
    /// The text, in the session's character set.
    pub text: Vec<u8>,
    /// Offset of its event in the binlog file.
    pub offset: u64,
    /// When it began, by the source's clock; seconds since 1970.
    pub timestamp: u32,
}

#[derive(Debug)]
struct OpenGroup {
    gtid: Option<Gtid>,
    /// COMMIT or another end follows; else the group is one statement.
    has_end: bool,
}

/// Reads one source's events in order.
#[derive(Debug)]
pub struct Reader {
    watch: Watch,
    file: BinlogFile,
    /// Offset behind the last event, inside a group or not.
    offset: u64,
    /// Where the last event begins.
    event_start: u64,
    /// Invariant: between groups; see the module's header.
    position: Position,
    gtid: GtidPosition,
    event_time: Option<i64>,
    group: Option<OpenGroup>,
    tables: TableMaps,
}

impl Reader {
    /// Reads on from `position`, where `gtid` was reached.
    #[must_use]
    pub fn new(watch: Watch, position: Position, gtid: GtidPosition) -> Self {
        Self {
            watch,
            file: position.file.clone(),
            offset: position.next,
            event_start: position.next,
            position,
            gtid,
            event_time: None,
            group: None,
            tables: TableMaps::default(),
        }
    }

    /// The tables that it watches.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The end of the last complete group.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The last transaction of each domain before [`Reader::position`].
    #[must_use]
    pub fn gtid(&self) -> &GtidPosition {
        &self.gtid
    }

    /// When the newest event was written, by the source's clock; seconds since 1970.
    #[must_use]
    pub fn event_time(&self) -> Option<i64> {
        self.event_time
    }

    /// True inside a group.
    #[must_use]
    pub fn in_group(&self) -> bool {
        self.group.is_some()
    }

    /// Where the last event begins, also inside a group.
    #[must_use]
    pub fn event_place(&self) -> Position {
        self.place_of(self.event_start)
    }

    /// The file and offset of an event's start, for messages and quarantine.
    #[must_use]
    pub fn place_of(&self, offset: u64) -> Position {
        Position {
            file: self.file.clone(),
            next: offset,
        }
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// [`DecodeError`] about this event alone: the position is right behind it,
    /// and the reader can go on.
    pub fn event<'a>(&mut self, event: RawEvent<'a>) -> Result<Step<'a>, DecodeError> {
        let kind = Kind::of(event.header.code);
        let start = self.advance(kind, &event);
        self.event_start = start;
        let step = self.interpret(kind, event, start);
        if self.group.is_none() {
            self.tables.end_group();
            if self.position.next != self.offset || self.position.file != self.file {
                self.position = Position {
                    file: self.file.clone(),
                    next: self.offset,
                };
            }
        }
        step
    }

    /// Moves the offset behind the event and returns where it starts.
    fn advance(&mut self, kind: Kind, event: &RawEvent<'_>) -> u64 {
        let header = &event.header;
        let made_up = header.flags & ARTIFICIAL_FLAG != 0
            || kind == Kind::Heartbeat
            || (kind == Kind::Rotate && header.timestamp == 0)
            // Sent again at the start of every stream, from the head of the file.
            || (kind == Kind::FormatDescription && self.offset > FIRST_EVENT_OFFSET);
        if made_up {
            return self.offset;
        }
        if header.timestamp != 0 {
            self.event_time = Some(i64::from(header.timestamp));
        }
        let size = u64::from(header.size);
        self.offset = nearest(self.offset + size, header.end_low);
        self.offset.saturating_sub(size)
    }

    fn interpret<'a>(
        &mut self,
        kind: Kind,
        event: RawEvent<'a>,
        start: u64,
    ) -> Result<Step<'a>, DecodeError> {
        let body = event.body;
        match kind {
            Kind::Passed | Kind::FormatDescription | Kind::Stop | Kind::MariadbGtidList => {}
            Kind::Heartbeat => return Ok(Step::Idle),
            Kind::Rotate => self.rotate(body)?,
            Kind::MariadbGtid => {
                let mut bytes = Bytes::new(body);
                let sequence = bytes.uint(8)?;
                let domain = bytes.uint(4)?;
                let flags = bytes.uint(1)?;
                self.group = Some(OpenGroup {
                    gtid: Some(Gtid {
                        domain: u32::try_from(domain).unwrap_or(0),
                        server: event.header.server_id,
                        sequence,
                    }),
                    has_end: flags & STANDALONE_FLAG == 0,
                });
            }
            Kind::MysqlGtid => self.begin(false),
            Kind::Xid | Kind::XaPrepare => self.end(),
            Kind::TableMap => self.tables.see(body, &self.watch)?,
            Kind::Rows(rows) => return self.rows(Cow::Borrowed(body), rows, &event, start),
            Kind::CompressedRows(rows) => {
                if self.watched_rows(body)?.is_none() {
                    return Ok(Step::Nothing);
                }
                let body = Cow::Owned(compressed::rows(body, rows)?);
                return self.rows(body, rows, &event, start);
            }
            Kind::Query => return self.query(Query::decode(body)?, &event, start),
            Kind::CompressedQuery => {
                let expanded = compressed::query(body)?;
                return self.query(Query::decode(&expanded)?, &event, start);
            }
            Kind::Incident => return Ok(Step::Incident),
            Kind::TransactionPayload => {
                return Ok(Step::Unsupported {
                    what: "a MySQL compressed transaction (binlog_transaction_compression)",
                });
            }
            Kind::Unrecognised(code) => return Ok(Step::Unrecognised { code }),
        }
        Ok(Step::Nothing)
    }

    /// A real rotation ends the file; a made-up one at the start of a stream
    /// names the file, and another one when the server ended it by crashing.
    fn rotate(&mut self, body: &[u8]) -> Result<(), DecodeError> {
        let mut bytes = Bytes::new(body);
        let next = bytes.uint(8)?;
        let name = std::str::from_utf8(bytes.rest())
            .ok()
            .and_then(|name| BinlogFile::new(name.trim_end_matches('\0')).ok())
            .ok_or(DecodeError::Malformed("the next file's name"))?;
        if name != self.file {
            self.file = name;
            self.offset = next.max(FIRST_EVENT_OFFSET);
            // A group cut off by a crash has no end and is not in the next file.
            self.group = None;
        }
        Ok(())
    }

    fn begin(&mut self, has_end: bool) {
        match &mut self.group {
            Some(group) => group.has_end |= has_end,
            None => {
                self.group = Some(OpenGroup {
                    gtid: None,
                    has_end,
                });
            }
        }
    }

    fn end(&mut self) {
        if let Some(gtid) = self.group.take().and_then(|group| group.gtid) {
            self.gtid.advance(gtid);
        }
    }

    fn watched_rows(
        &self,
        body: &[u8],
    ) -> Result<Option<&std::sync::Arc<crate::binlog::TableMap>>, DecodeError> {
        let table_id = Bytes::new(body).uint(6)?;
        self.tables.find(table_id)
    }

    fn rows<'a>(
        &self,
        body: Cow<'a, [u8]>,
        kind: RowsKind,
        event: &RawEvent<'_>,
        start: u64,
    ) -> Result<Step<'a>, DecodeError> {
        let Some(table) = self.watched_rows(&body)? else {
            return Ok(Step::Nothing);
        };
        Ok(Step::Rows(RowsEvent {
            table: std::sync::Arc::clone(table),
            kind,
            code: event.header.code,
            body,
            offset: start,
            timestamp: event.header.timestamp,
        }))
    }

    fn query<'a>(
        &mut self,
        query: Query<'_>,
        event: &RawEvent<'_>,
        start: u64,
    ) -> Result<Step<'a>, DecodeError> {
        let meaning = query.meaning();
        match meaning {
            Meaning::Begin => self.begin(true),
            Meaning::End => self.end(),
            Meaning::Nothing => {}
            Meaning::ChangesRows | Meaning::Other => {
                if self.group.as_ref().is_none_or(|group| !group.has_end) {
                    self.end();
                }
                let watched = self.watch.named_in(query.database, query.statement);
                if watched.is_empty() {
                    return Ok(Step::Nothing);
                }
                if meaning == Meaning::ChangesRows {
                    return Ok(Step::Statement(Statement {
                        watched,
                        thread_id: query.thread_id,
                        text: query.statement.to_vec(),
                        offset: start,
                        timestamp: event.header.timestamp,
                    }));
                }
                if let Some(definition) = query.definition() {
                    let watched = self.watch.named_in(query.database, query.defining_part());
                    if watched.is_empty() {
                        return Ok(Step::Nothing);
                    }
                    return Ok(Step::Definition {
                        watched,
                        definition,
                    });
                }
            }
        }
        Ok(Step::Nothing)
    }
}

/// The offset with these low 32 bits that is nearest to the computed one; the
/// computed one where the header does not say.
fn nearest(computed: u64, end_low: u32) -> u64 {
    const WRAP: u64 = 1 << 32;
    if end_low == 0 {
        return computed;
    }
    let same = (computed & !(WRAP - 1)) | u64::from(end_low);
    [Some(same), same.checked_add(WRAP), same.checked_sub(WRAP)]
        .into_iter()
        .flatten()
        .min_by_key(|candidate| candidate.abs_diff(computed))
        .unwrap_or(computed)
}

#[cfg(test)]
mod tests;
