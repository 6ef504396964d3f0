//! Every row of every fixture, against the text of `mariadb-binlog`.

use std::collections::BTreeMap;

use didtail::binlog::{DecodeError, GtidPosition, Reader, Row, RowChange, Watch};

use crate::fixture::{self, EDGE, Event, Read, TABLES, TRUNCATED, WHOLE, Watched};
use crate::golden;
use crate::render::assert_same;

/// Type code of a compressed VARCHAR, which the library does not know, and of
/// the plain one, whose bytes are laid out alike.
const VARCHAR_COMPRESSED: u8 = 141;
const VARCHAR: u8 = 15;

/// The two negative TIMEs of the fixtures as stored, and the zero that stands
/// for them below.
const NEGATIVE_TIMES: [(&[u8], &[u8]); 2] = [
    (&[0x4b, 0x91, 0x05], &[0x80, 0, 0]),
    (
        &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x80, 0, 0, 0, 0, 0],
    ),
];

#[test]
fn every_value_of_every_row_is_the_one_that_the_server_printed() {
    for name in WHOLE.into_iter().chain([TRUNCATED]) {
        let (events, _) = fixture::events(name);
        let events: Vec<_> = events.into_iter().map(mended).collect();
        let known = golden::tables(&fixture::golden(name));
        assert!(known.iter().all(|table| TABLES.contains(&table.as_str())));
        compare(name, &events, &fixture::golden(name), fixture::WATCHED);
    }
}

/// Reads the events and compares all rows in order with those printed. Returns
/// how many there are.
pub(crate) fn compare(
    name: &str,
    events: &[Event],
    golden: &[golden::Event],
    watched: Watched,
) -> usize {
    let (database, tables) = watched;
    let mut printed = golden.iter().filter(|event| {
        let mut rows = event.rows.iter();
        event.is_rows() && rows.any(|row| tables.contains(&row.table.as_str()))
    });
    let watch = Watch::new(database, tables);
    let mut reader = Reader::new(watch, fixture::start(name), GtidPosition::default());
    let mut rows_by_table: BTreeMap<&str, usize> = BTreeMap::new();
    for read in events
        .iter()
        .flat_map(|event| fixture::read_all(&mut reader, event))
    {
        let Read::Rows {
            table,
            full,
            changes,
        } = read
        else {
            assert!(!matches!(read, Read::Failed(_)), "{name}: {read:?}");
            continue;
        };
        let printed = printed.next().expect("as many row events as printed");
        let place = format!("{name}:{}", printed.end);
        assert_eq!(printed.table_id(), Some(table.table_id), "{place}");
        let changes = changes.unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(changes.len(), printed.rows.len(), "{place}");
        let columns = table.column_types.len();
        for (change, row) in changes.iter().zip(&printed.rows) {
            assert_eq!(tables[table.watched], row.table, "{place}");
            compare_change(change, row, &place);
            let images = [&row.before, &row.after];
            let whole = images.iter().all(|i| i.is_empty() || i.len() == columns);
            assert_eq!(full, whole, "{place}: is the image full");
        }
        *rows_by_table.entry(tables[table.watched]).or_default() += changes.len();
    }
    assert!(printed.next().is_none(), "{name}: a row event was not seen");
    let mut wanted: BTreeMap<&str, usize> = BTreeMap::new();
    let rows = golden.iter().flat_map(|event| &event.rows);
    for row in rows.filter(|row| tables.contains(&row.table.as_str())) {
        *wanted.entry(&row.table).or_default() += 1;
    }
    assert_eq!(rows_by_table, wanted, "{name}: rows of each table");
    wanted.values().sum()
}

fn compare_change(change: &RowChange, row: &golden::Row, place: &str) {
    let (verb, before, after) = match change {
        RowChange::Insert { after } => ("INSERT", None, Some(after)),
        RowChange::Update { before, after } => ("UPDATE", Some(before), Some(after)),
        RowChange::Delete { before } => ("DELETE", Some(before), None),
    };
    assert_eq!(verb, row.verb, "{place}");
    compare_image(before, &row.before, place);
    compare_image(after, &row.after, place);
}

fn compare_image(image: Option<&Row>, printed: &[golden::Cell], place: &str) {
    let cells = image.map_or(&[][..], |row| &row.cells);
    assert_eq!(cells.is_empty(), printed.is_empty(), "{place}");
    let mut absent: Vec<_> = (0..cells.len()).collect();
    for cell in printed {
        absent.retain(|column| *column != cell.column);
        // Mended below; that it cannot be decoded as sent is a test of its own.
        if cell.kind.starts_with("TIME(") && cell.text.starts_with(b"'-") {
            continue;
        }
        assert_same(cells[cell.column].as_ref(), cell, place);
    }
    for column in absent {
        assert!(cells[column].is_none(), "{place} @{}", column + 1);
    }
}

/// The event with what the library cannot decode replaced by what it can, so
/// that everything else in the row is compared all the same.
pub(crate) fn mended(mut event: Event) -> Event {
    if event.header.code == 19 && event.body.windows(5).any(|five| five == b"\x04edge") {
        replace(&mut event.body, &[VARCHAR_COMPRESSED], &[VARCHAR]);
    }
    if matches!(event.header.code, 23 | 24) {
        for (negative, zero) in NEGATIVE_TIMES {
            replace(&mut event.body, negative, zero);
        }
    }
    event
}

fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    let mut from = 0;
    while let Some(found) = bytes[from..].windows(old.len()).position(|w| w == old) {
        from += found;
        bytes[from..from + new.len()].copy_from_slice(new);
    }
}

/// A compressed column makes its table undecodable; the rows are refused one
/// by one, for a reason, and the reader goes on. No table of VICIdial has one.
#[test]
fn a_compressed_column_is_refused_and_says_so() {
    for name in EDGE {
        let (events, _) = fixture::events(name);
        let mut reader = fixture::reader(fixture::start(name), GtidPosition::default());
        let (mut maps, mut rows) = (0, 0);
        for event in &events {
            match fixture::read(&mut reader, event) {
                Read::Failed(DecodeError::Refused(why)) => {
                    assert!(why.contains("141"), "{name}: {why}");
                    maps += 1;
                }
                Read::Failed(DecodeError::NoTableMap(_)) => rows += 1,
                Read::Failed(other) => panic!("{name}: {other}"),
                _ => {}
            }
        }
        let golden = fixture::golden(name);
        let printed = golden.iter().filter(|event| event.is_rows()).count();
        assert_eq!((maps, rows), (printed, printed), "{name}");
    }
}

/// The row with negative TIMEs is refused, before and after image alike, and
/// no other row is.
#[test]
fn a_negative_time_is_refused_and_says_so() {
    for name in EDGE {
        let (mut events, _) = fixture::events(name);
        for event in events.iter_mut().filter(|event| event.header.code == 19) {
            *event = mended(event.clone());
        }
        let mut reader = fixture::reader(fixture::start(name), GtidPosition::default());
        let golden = fixture::golden(name);
        let mut printed = golden.iter().filter(|event| event.is_rows());
        for event in &events {
            let Read::Rows { changes, .. } = fixture::read(&mut reader, event) else {
                continue;
            };
            let rows = &printed.next().expect("as many as printed").rows;
            let mut cells = rows
                .iter()
                .flat_map(|row| row.before.iter().chain(&row.after));
            let negative = cells.any(|c| c.kind.starts_with("TIME(") && c.text.starts_with(b"'-"));
            match changes {
                Ok(_) => assert!(!negative, "{name}"),
                Err(DecodeError::Refused(why)) => {
                    assert!(negative && why.contains("negative TIME"), "{name}: {why}");
                }
                Err(other) => panic!("{name}: {other}"),
            }
        }
    }
}

/// The same statements on the same server, written in other ways.
#[test]
fn compression_checksums_and_annotations_change_no_row() {
    let plain = rows_as_text("myisam-row.000001");
    assert!(plain.len() > 5);
    for name in [
        "annotate-off.000001",
        "checksum-none.000001",
        "compressed.000001",
        "crash-in-use-flag.000001",
        "metadata-full.000001",
        "metadata-no-log.000001",
    ] {
        assert_eq!(rows_as_text(name), plain, "{name}");
    }
}

pub(crate) fn rows_as_text(name: &str) -> Vec<String> {
    let (events, _) = fixture::events(name);
    let mut reader = fixture::reader(fixture::start(name), GtidPosition::default());
    let read = events.iter().map(|event| fixture::read(&mut reader, event));
    read.filter_map(|read| match read {
        Read::Rows { table, changes, .. } => Some((table, changes.expect("decodes"))),
        _ => None,
    })
    .flat_map(|(table, changes)| {
        let table = TABLES[table.watched];
        changes
            .into_iter()
            .map(move |change| format!("{table} {change:?}"))
    })
    .collect()
}

#[test]
fn names_of_columns_come_with_full_metadata_only() {
    for (name, has_names) in [
        ("metadata-full.000001", true),
        ("metadata-no-log.000001", false),
    ] {
        let (events, _) = fixture::events(name);
        let mut reader = fixture::reader(fixture::start(name), GtidPosition::default());
        let mut seen = 0;
        for event in &events {
            if let Read::Rows { table, .. } = fixture::read(&mut reader, event) {
                seen += 1;
                let names = table.column_names.as_deref();
                assert_eq!(names.is_some(), has_names, "{name}");
                if let Some(names) = names {
                    assert_eq!(names[..3], ["uniqueid", "lead_id", "campaign_id"]);
                    assert_eq!(names.len(), 13);
                }
            }
        }
        assert!(seen > 0);
    }
}

/// Columns as they were when each row was written, after every kind of ALTER.
#[test]
fn columns_change_names_mid_stream_where_the_log_has_them() {
    let name = "ddl-midstream-metadata-full.000001";
    let (events, _) = fixture::events(name);
    let mut reader = fixture::reader(fixture::start(name), GtidPosition::default());
    let mut seen = Vec::new();
    for event in &events {
        if let Read::Rows { table, .. } = fixture::read(&mut reader, event) {
            let names = table.column_names.clone().expect("full metadata");
            seen.push((names.len(), names.contains(&"disposition".to_owned())));
        }
    }
    assert_eq!(
        seen,
        [
            (13, false),
            (14, false),
            (14, false),
            (14, true),
            (14, true),
            (14, true)
        ]
    );
}
