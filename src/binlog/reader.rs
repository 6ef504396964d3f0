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
use crate::binlog::gtid::{DomainGtid, SourceGtid};
use crate::binlog::kind::RowsKind;
use crate::binlog::payload::{InnerEvent, Payload};
use crate::binlog::query::{Definition, Meaning, Query};
use crate::binlog::table_map::TableMaps;
use crate::binlog::{
    ARTIFICIAL_FLAG, BinlogFile, DecodeError, EventHeader, FIRST_EVENT_OFFSET, Gtid, GtidPosition,
    Kind, Position, RawEvent, RowsEvent, Watch, compressed,
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
    /// A compressed transaction: its events go to [`Reader::inner`] one by one,
    /// and then comes [`Reader::end_payload`].
    Payload(Payload<'a>),
}

/// Where rows are, by which they are named.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    first_row: u32,
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
    /// Offset of its event in the binlog file; see [`RowsEvent::offset`].
    pub offset: u64,
    /// See [`RowsEvent::first_row`].
    pub first_row: u32,
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
    /// Inside of a compressed transaction, whose end alone ends the group.
    in_payload: bool,
    /// When the present file was begun; see [`Reader::file_begun`].
    file_begun: Option<i64>,
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
            in_payload: false,
            file_begun: None,
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

    /// The transactions before [`Reader::position`].
    #[must_use]
    pub fn gtid(&self) -> &GtidPosition {
        &self.gtid
    }

    /// When the newest event was written, by the source's clock; seconds since 1970.
    #[must_use]
    pub fn event_time(&self) -> Option<i64> {
        self.event_time
    }

    /// When the file at [`Reader::position`] was begun, by the source's clock, in
    /// seconds since 1970: tells it from another of that name. `None` before
    /// its format description, which every stream begins with.
    #[must_use]
    pub fn file_begun(&self) -> Option<i64> {
        self.file_begun
    }

    /// True inside a group.
    #[must_use]
    pub fn in_group(&self) -> bool {
        self.group.is_some()
    }

    /// The transaction that the open group is; `None` between groups, and
    /// where the source numbers none.
    #[must_use]
    pub fn group_gtid(&self) -> Option<&Gtid> {
        self.group.as_ref().and_then(|group| group.gtid.as_ref())
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
        if self.in_payload {
            self.end_payload();
        }
        let kind = Kind::of(event.header.code);
        let start = self.advance(kind, &event);
        self.event_start = start;
        let place = Place {
            offset: start,
            first_row: 0,
        };
        let step = self.interpret(kind, event, place);
        self.settle();
        step
    }

    /// Takes an event and everything inside of it, for whoever wants nothing
    /// of it but the position behind it.
    pub fn pass(&mut self, event: RawEvent<'_>) {
        // What cannot be decoded has a place all the same.
        if let Ok(Step::Payload(_)) = self.event(event) {
            self.end_payload();
        }
    }

    /// Takes the next event of the payload that the last event was.
    ///
    /// # Errors
    /// [`DecodeError`] about this event alone.
    pub fn inner<'p>(&mut self, inner: InnerEvent<'p>) -> Result<Step<'p>, DecodeError> {
        let event = inner.event;
        let kind = Kind::of(event.header.code);
        if event.header.timestamp != 0 {
            self.event_time = Some(i64::from(event.header.timestamp));
        }
        let place = Place {
            offset: self.event_start,
            first_row: inner.before,
        };
        let is_rows = matches!(
            kind,
            Kind::Rows(_) | Kind::CompressedRows(_) | Kind::PartialJsonRows
        );
        if !inner.is_whole && (!is_rows || self.watched_rows(event.body)?.is_some()) {
            let size = event.header.size;
            return Err(DecodeError::TooLarge { size });
        }
        match kind {
            Kind::FormatDescription
            | Kind::Rotate
            | Kind::Stop
            | Kind::MysqlGtid
            | Kind::MysqlTaggedGtid
            | Kind::MysqlAnonymous
            | Kind::MariadbGtid
            | Kind::MariadbGtidList
            | Kind::PreviousGtids
            | Kind::TransactionPayload => {
                Err(DecodeError::Malformed("the kind of an event in a payload"))
            }
            Kind::Query
            | Kind::LoadQuery
            | Kind::Xid
            | Kind::TableMap
            | Kind::Rows(_)
            | Kind::PartialJsonRows
            | Kind::Incident
            | Kind::Heartbeat
            | Kind::XaPrepare
            | Kind::CompressedQuery
            | Kind::CompressedRows(_)
            | Kind::Passed
            | Kind::Unrecognised(_) => self.interpret(kind, event, place),
        }
    }

    /// Ends the payload, and with it the group: it is a whole transaction.
    pub fn end_payload(&mut self) {
        self.in_payload = false;
        self.end();
        self.settle();
    }

    /// Between groups, moves the position behind the last event.
    fn settle(&mut self) {
        if self.group.is_some() {
            return;
        }
        self.tables.end_group();
        if self.position.next != self.offset || self.position.file != self.file {
            self.position = Position {
                file: self.file.clone(),
                next: self.offset,
            };
        }
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
        // Of changes: a server that is idle begins files too.
        let is_of_group = !matches!(
            kind,
            Kind::FormatDescription
                | Kind::Rotate
                | Kind::Stop
                | Kind::PreviousGtids
                | Kind::MariadbGtidList
                | Kind::Passed
                // Of the last statement: a replica does not tell when it was committed.
                | Kind::Xid
        );
        if header.timestamp != 0 && is_of_group {
            self.event_time = Some(i64::from(header.timestamp));
        }
        self.offset = end_of(self.offset, header);
        self.offset.saturating_sub(u64::from(header.size))
    }

    fn interpret<'a>(
        &mut self,
        kind: Kind,
        event: RawEvent<'a>,
        place: Place,
    ) -> Result<Step<'a>, DecodeError> {
        let body = event.body;
        match kind {
            Kind::Passed | Kind::Stop => {}
            Kind::FormatDescription => {
                let begun = i64::from(event.header.timestamp);
                self.file_begun = Some(begun).filter(|begun| *begun != 0);
            }
            // The list at the start of a file; those made up on the way are
            // about what the server leaves out for a replica.
            Kind::MariadbGtidList if event.header.flags & ARTIFICIAL_FLAG == 0 => {
                self.gtid.merge(&GtidPosition::decode_list(body)?);
            }
            Kind::MariadbGtidList => {}
            Kind::PreviousGtids => {
                self.gtid.merge(&GtidPosition::decode_previous(body)?);
            }
            Kind::Heartbeat => return Ok(Step::Idle),
            Kind::Rotate => self.rotate(body)?,
            Kind::MariadbGtid => {
                let mut bytes = Bytes::new(body);
                let sequence = bytes.uint(8)?;
                let domain = bytes.uint(4)?;
                let flags = bytes.uint(1)?;
                self.group = Some(OpenGroup {
                    gtid: Some(Gtid::MariaDb(DomainGtid {
                        domain: u32::try_from(domain).unwrap_or(0),
                        server: event.header.server_id,
                        sequence,
                    })),
                    has_end: flags & STANDALONE_FLAG == 0,
                });
            }
            Kind::MysqlGtid => self.begin_mysql(SourceGtid::decode(body).map(Some))?,
            Kind::MysqlTaggedGtid => {
                self.begin_mysql(SourceGtid::decode_tagged(body).map(Some))?;
            }
            Kind::MysqlAnonymous => self.begin_mysql(Ok(None))?,
            Kind::Xid | Kind::XaPrepare => self.end(),
            Kind::TableMap => self.tables.see(body, &self.watch)?,
            Kind::Rows(rows) => return self.rows(Cow::Borrowed(body), rows, &event, place),
            Kind::CompressedRows(rows) => {
                if self.watched_rows(body)?.is_none() {
                    return Ok(Step::Nothing);
                }
                let body = Cow::Owned(compressed::rows(body, rows)?);
                return self.rows(body, rows, &event, place);
            }
            Kind::PartialJsonRows => {
                if self.watched_rows(body)?.is_some() {
                    return Err(DecodeError::PartialJson);
                }
            }
            Kind::Query => return self.query(Query::decode(body)?, &event, place),
            Kind::LoadQuery => {
                let plain = load_query(body)?;
                return self.query(Query::decode(&plain)?, &event, place);
            }
            Kind::CompressedQuery => {
                let expanded = compressed::query(body)?;
                return self.query(Query::decode(&expanded)?, &event, place);
            }
            Kind::Incident => return Ok(Step::Incident),
            Kind::TransactionPayload => {
                self.begin(true);
                self.in_payload = true;
                return match Payload::open(body) {
                    Ok(payload) => Ok(Step::Payload(payload)),
                    Err(error) => {
                        self.end_payload();
                        Err(error)
                    }
                };
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
            self.file_begun = None;
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

    /// A GTID event begins a group also where it cannot be understood itself.
    fn begin_mysql(
        &mut self,
        gtid: Result<Option<SourceGtid>, DecodeError>,
    ) -> Result<(), DecodeError> {
        let (gtid, error) = match gtid {
            Ok(gtid) => (gtid, None),
            Err(error) => (None, Some(error)),
        };
        self.group = Some(OpenGroup {
            gtid: gtid.map(Gtid::MySql),
            has_end: false,
        });
        error.map_or(Ok(()), Err)
    }

    fn end(&mut self) {
        if self.in_payload {
            return;
        }
        if let Some(gtid) = self.group.take().and_then(|group| group.gtid) {
            self.gtid.advance(&gtid);
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
        place: Place,
    ) -> Result<Step<'a>, DecodeError> {
        let Some(table) = self.watched_rows(&body)? else {
            return Ok(Step::Nothing);
        };
        Ok(Step::Rows(RowsEvent {
            table: std::sync::Arc::clone(table),
            kind,
            code: event.header.code,
            body,
            offset: place.offset,
            first_row: place.first_row,
            timestamp: event.header.timestamp,
        }))
    }

    fn query<'a>(
        &mut self,
        query: Query<'_>,
        event: &RawEvent<'_>,
        place: Place,
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
                        offset: place.offset,
                        first_row: place.first_row,
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

/// A statement that loads a file is a Query event with 13 more bytes between
/// its fixed fields and its variables (`EXECUTE_LOAD_QUERY_EXTRA_HEADER_LEN`).
fn load_query(body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut bytes = Bytes::new(body);
    let mut plain = bytes.take(13)?.to_vec();
    bytes.take(13)?;
    plain.extend(bytes.rest());
    Ok(plain)
}

/// Where an event ends that comes next at an offset.
pub(crate) fn end_of(offset: u64, header: &EventHeader) -> u64 {
    nearest(offset + u64::from(header.size), header.end_low)
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
