//! Writes the bytes of binlog events as MariaDB does.

use std::fmt;

use didtail::binlog::Position;
use didtail::source::MemorySource;

/// The database that is followed.
pub(crate) const DATABASE: &str = "asterisk";

/// When the scripted day begins: 2024-11-12 12:00 UTC; seconds since 1970.
pub(crate) const NOON: i64 = 1_731_412_800;

/// A value in a row.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Int(i64),
    /// Seconds since 1970, written as a DATETIME in UTC.
    Time(i64),
    Null,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text}"),
            Self::Int(value) | Self::Time(value) => write!(f, "{value}"),
            Self::Null => write!(f, "-"),
        }
    }
}

/// A row of a watched table, its values in the order of the table's columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) table: &'static str,
    pub(crate) values: Vec<Value>,
}

/// What happened to a row.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Insert(Row),
    Update(Row, Row),
    Delete(Row),
}

/// Whatever makes up one group.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Rows(Change),
    /// A statement in text.
    Statement(String),
    /// An event of any code.
    Raw(u8, Vec<u8>),
}

/// The table's columns: name, and `COLUMN_TYPE`.
pub(crate) fn columns(table: &str) -> &'static [(&'static str, &'static str)] {
    const TEXT: &str = "varchar(100)";
    const INT: &str = "int(10)";
    const TIME: &str = "datetime";
    match table {
        "vicidial_log" => &[
            ("uniqueid", TEXT),
            ("lead_id", "int(9) unsigned"),
            ("campaign_id", TEXT),
            ("call_date", TIME),
            ("start_epoch", "int(10) unsigned"),
            ("length_in_sec", INT),
            ("status", TEXT),
            ("phone_number", TEXT),
            ("user", TEXT),
        ],
        "vicidial_log_extended" => &[
            ("uniqueid", TEXT),
            ("call_date", TIME),
            ("caller_code", TEXT),
            ("lead_id", INT),
        ],
        "vicidial_dial_log" => &[
            ("caller_code", TEXT),
            ("lead_id", INT),
            ("call_date", TIME),
            ("outbound_cid", TEXT),
        ],
        "vicidial_dial_cid_log" => &[
            ("caller_code", TEXT),
            ("call_date", TIME),
            ("outbound_cid", TEXT),
        ],
        "vicidial_carrier_log" => &[
            ("uniqueid", TEXT),
            ("call_date", TIME),
            ("hangup_cause", INT),
            ("dialstatus", TEXT),
            ("lead_id", INT),
            ("caller_code", TEXT),
        ],
        "vicidial_tiltx_shaken_log" => &[
            ("db_time", TIME),
            ("caller_code", TEXT),
            ("CallerIDToUse", TEXT),
        ],
        other => panic!("no scripted table {other}"),
    }
}

/// The number that a server gives to a table.
fn table_id(table: &str) -> u64 {
    20 + table.bytes().map(u64::from).sum::<u64>()
}

pub(crate) fn table_map(row: &Row) -> Vec<u8> {
    let mut body = table_id(row.table).to_le_bytes()[..6].to_vec();
    body.extend([1, 0]);
    for name in [DATABASE, row.table] {
        body.push(u8::try_from(name.len()).expect("short"));
        body.extend(name.bytes());
        body.push(0);
    }
    let columns = columns(row.table);
    let count = columns.len();
    body.push(u8::try_from(count).expect("few"));
    let mut metadata: Vec<u8> = Vec::new();
    for (_, kind) in columns {
        let (code, of): (u8, &[u8]) = match kind.as_bytes()[0] {
            b'v' => (15, &[100, 0]),
            b'i' => (3, &[]),
            b'd' => (18, &[0]),
            _ => panic!("no code for {kind}"),
        };
        body.push(code);
        metadata.extend(of);
    }
    body.push(u8::try_from(metadata.len()).expect("short"));
    body.extend(metadata);
    body.extend(vec![0xff; count.div_ceil(8)]);
    body
}

/// The body of a row event with these columns present in the last image.
pub(crate) fn rows_event(change: &Change, present: u16) -> Vec<u8> {
    let (table, images): (_, Vec<&Row>) = match change {
        Change::Insert(row) | Change::Delete(row) => (row.table, vec![row]),
        Change::Update(before, after) => (after.table, vec![before, after]),
    };
    let count = columns(table).len();
    let bytes = count.div_ceil(8);
    let mut body = table_id(table).to_le_bytes()[..6].to_vec();
    body.extend([1, 0]);
    body.push(u8::try_from(count).expect("few"));
    let all = u16::MAX;
    let bitmaps = vec![all; images.len() - 1].into_iter().chain([present]);
    let bitmaps: Vec<u16> = bitmaps.map(|bits| bits & ((1 << count) - 1)).collect();
    for bits in &bitmaps {
        body.extend(&bits.to_le_bytes()[..bytes]);
    }
    for (row, bits) in images.into_iter().zip(bitmaps) {
        image(row, bits, &mut body);
    }
    body
}

fn image(row: &Row, present: u16, body: &mut Vec<u8>) {
    let columns = columns(row.table);
    assert_eq!(row.values.len(), columns.len(), "{row:?}");
    let kept = (0..columns.len()).filter(|i| present >> i & 1 == 1);
    let values: Vec<&Value> = kept.map(|i| &row.values[i]).collect();
    let mut nulls = vec![0_u8; values.len().div_ceil(8)];
    for (i, _) in values
        .iter()
        .enumerate()
        .filter(|(_, v)| ***v == Value::Null)
    {
        nulls[i / 8] |= 1 << (i % 8);
    }
    body.extend(nulls);
    for value in values {
        match value {
            Value::Text(text) => {
                body.push(u8::try_from(text.len()).expect("short"));
                body.extend(text.bytes());
            }
            Value::Int(v) => body.extend(&v.to_le_bytes()[..4]),
            Value::Time(seconds) => body.extend(datetime(*seconds)),
            Value::Null => {}
        }
    }
}

/// DATETIME as MySQL 5.6 and newer pack it.
fn datetime(seconds: i64) -> [u8; 5] {
    let timestamp = jiff::Timestamp::from_second(seconds).expect("in range");
    let time = jiff::tz::TimeZone::UTC.to_datetime(timestamp);
    let month = i64::from(time.year()) * 13 + i64::from(time.month());
    let day = month << 5 | i64::from(time.day());
    let clock = i64::from(time.hour()) << 12 | i64::from(time.minute()) << 6;
    let packed = (day << 17 | clock | i64::from(time.second())) | 1 << 39;
    let [_, _, _, bytes @ ..] = packed.to_be_bytes();
    bytes
}

pub(crate) fn query(statement: &str) -> Vec<u8> {
    let mut body = vec![9, 0, 0, 0, 0, 0, 0, 0];
    body.push(u8::try_from(DATABASE.len()).expect("short"));
    body.extend([0; 4]);
    body.extend(DATABASE.bytes());
    body.push(0);
    body.extend(statement.bytes());
    body
}

pub(crate) fn gtid(sequence: u64, stand_alone: bool) -> Vec<u8> {
    let mut body = sequence.to_le_bytes().to_vec();
    body.extend(0_u32.to_le_bytes());
    body.push(u8::from(stand_alone));
    body.extend([0; 6]);
    body
}

/// Writes one part of an open group.
pub(crate) fn push_part(source: &MemorySource, time: u32, part: &Part) -> Position {
    match part {
        Part::Rows(change) => push_rows(source, time, change, u16::MAX),
        Part::Statement(text) => source.push(2, 0, time, &query(text)),
        Part::Raw(code, body) => source.push(*code, 0, time, body),
    }
}

/// Writes a table map and a row event; `present` as in [`rows_event`].
pub(crate) fn push_rows(
    source: &MemorySource,
    time: u32,
    change: &Change,
    present: u16,
) -> Position {
    let (code, row) = match change {
        Change::Insert(row) => (23, row),
        Change::Update(_, row) => (24, row),
        Change::Delete(row) => (25, row),
    };
    source.push(19, 0, time, &table_map(row));
    source.push(code, 0, time, &rows_event(change, present))
}
