//! Whatever the bytes are: no panic, no hang, no loss at a resume.

use std::time::{Duration, Instant};

use didtail::binlog::{
    EventHeader, FIRST_EVENT_OFFSET, GtidPosition, Position, RawEvent, Reader, RowChange, Step,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fixture::{self, EDGE, Event, WHOLE};

/// An event of a few kilobytes is read in microseconds; one that takes this
/// long goes round in circles.
const EVENT_TIME_MAX: Duration = Duration::from_secs(2);

/// Takes the event and decodes its rows; says how long that may take.
fn take(reader: &mut Reader, header: EventHeader, body: &[u8]) {
    let began = Instant::now();
    if let Ok(Step::Rows(rows)) = reader.event(RawEvent { header, body }) {
        drop(rows.is_full_image());
        if let Ok(changes) = rows.decode() {
            // Each row takes at least a byte, its bitmap of NULLs.
            assert!(changes.len() <= rows.body.len());
        }
    }
    assert!(began.elapsed() < EVENT_TIME_MAX, "code {}", header.code);
}

fn header(code: u8, body: &[u8]) -> EventHeader {
    EventHeader {
        timestamp: 1_700_000_000,
        code,
        server_id: 77,
        size: 23 + u32::try_from(body.len()).expect("small"),
        end_low: 0,
        flags: 0,
    }
}

/// A reader in a group: outside of one, no table map is kept.
fn new_reader() -> Reader {
    let start = fixture::start("x.000001");
    let mut reader = fixture::reader(start, GtidPosition::default());
    let gtid = [0; 19];
    take(&mut reader, header(162, &gtid), &gtid);
    assert!(reader.in_group());
    reader
}

/// A table map of a watched table, plausible up to its column types.
fn table_map() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<u8> = (1..=19).chain(245..=255).collect();
    let kind = prop_oneof![20 => prop::sample::select(known), 1 => any::<u8>()];
    let metadata = prop_oneof![Just([1, 0]), Just([2, 0]), Just([10, 2]), any::<[u8; 2]>()];
    let columns = vec((kind, metadata), 1..6);
    (columns, vec(any::<u8>(), 0..30)).prop_map(|(columns, tail)| {
        let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0, 8];
        body.extend(b"asterisk\0\x04edge\0");
        body.push(u8::try_from(columns.len()).expect("few"));
        body.extend(columns.iter().map(|(kind, _)| kind));
        body.push(u8::try_from(columns.len() * 2).expect("few"));
        body.extend(columns.iter().flat_map(|(_, metadata)| metadata));
        body.extend(vec![0xff; columns.len().div_ceil(8)]);
        body.extend(tail);
        body
    })
}

/// A row event of that table, plausible up to its bitmaps.
fn rows_of(map: &[u8], bitmaps: &[u8], rows: &[u8]) -> Vec<u8> {
    let columns = map[24];
    let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0, columns];
    body.extend(
        bitmaps
            .iter()
            .cycle()
            .take(usize::from(columns).div_ceil(8)),
    );
    body.extend(rows);
    body
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bodies_of_every_code_do_no_harm(
        bodies in vec(vec(any::<u8>(), 0..200), 1..8),
    ) {
        let mut reader = new_reader();
        for body in &bodies {
            for code in 0..=u8::MAX {
                take(&mut reader, header(code, body), body);
            }
        }
    }

    #[test]
    fn arbitrary_tables_and_rows_do_no_harm(
        map in table_map(),
        bitmaps in prop_oneof![Just(vec![0xff]), vec(any::<u8>(), 1..4)],
        rows in vec(any::<u8>(), 0..300),
    ) {
        let mut reader = new_reader();
        take(&mut reader, header(19, &map), &map);
        let body = rows_of(&map, &bitmaps, &rows);
        for code in [23, 24, 25, 30, 31, 32, 166, 167, 168] {
            take(&mut reader, header(code, &body), &body);
        }
    }

    #[test]
    fn damaged_events_do_no_harm(
        name in prop::sample::select(WHOLE.to_vec()),
        damage in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cuts in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..3),
    ) {
        let (mut events, _) = fixture::events(name);
        for (event, place, value) in damage {
            let body = &mut event.get_mut(&mut events).body;
            if !body.is_empty() {
                *place.get_mut(body) = value;
            }
        }
        for (event, length) in cuts {
            let body = &mut event.get_mut(&mut events).body;
            if !body.is_empty() {
                body.truncate(length.index(body.len()));
            }
        }
        let mut reader = fixture::reader(fixture::start(name), GtidPosition::default());
        for event in &events {
            take(&mut reader, event.header, &event.body);
        }
    }

    #[test]
    fn damaged_files_end(
        name in prop::sample::select(WHOLE.to_vec()),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..10),
    ) {
        let mut bytes = fixture::bytes(name);
        for (place, value) in damage {
            *place.get_mut(&mut bytes) = value;
        }
        let (events, _) = fixture::split(name, &bytes);
        prop_assert!(events.len() * 19 <= bytes.len());
    }
}

/// A bitmap of columns whose only bits are padding: rows of no bytes, for ever.
#[test]
fn padding_in_a_bitmap_is_no_column() {
    let mut map = vec![9, 0, 0, 0, 0, 0, 1, 0, 8];
    map.extend(b"asterisk\0\x04edge\0\x02\x01\x01\x00\xff");
    let mut reader = new_reader();
    take(&mut reader, header(19, &map), &map);
    let mut told = |bitmap: u8| {
        let body = rows_of(&map, &[bitmap], &[0, 1, 1]);
        let header = header(23, &body);
        let step = reader.event(RawEvent {
            header,
            body: &body,
        });
        let Ok(Step::Rows(rows)) = step else {
            panic!("{step:?}");
        };
        (
            rows.is_full_image().expect("long enough"),
            rows.decode().is_ok(),
        )
    };
    assert_eq!(told(0b1111_1100), (false, false));
    assert_eq!(told(0b1111_1111), (true, true));
    assert!(!told(0b1111_1101).0, "a column is missing");
}

/// Split at any event, a new reader at the position reads the same rows after
/// it: nothing is lost, and what comes again is of the open group only.
#[test]
fn a_reader_resumes_at_any_event_without_loss() {
    for name in WHOLE.into_iter().filter(|name| !EDGE.contains(name)) {
        let (events, _) = fixture::events(name);
        let last = events.len() - usize::from(events.last().is_some_and(|e| e.header.code == 4));
        let all = rows_with_offsets(&mut reader_at(name, FIRST_EVENT_OFFSET), &events[..last]);
        for split in 0..=last {
            let mut first = reader_at(name, FIRST_EVENT_OFFSET);
            let before = rows_with_offsets(&mut first, &events[..split]);
            let resume = first.position().next;
            let from = events.iter().position(|e| start_of(e) >= resume);
            let rest = &events[from.unwrap_or(last).min(last)..last];
            let after = rows_with_offsets(&mut reader_at(name, resume), rest);
            let kept = before.into_iter().filter(|(at, _)| *at < resume);
            let joined: Vec<_> = kept.chain(after).collect();
            assert_eq!(joined, all, "{name} split at event {split}");
        }
    }
}

fn start_of(event: &Event) -> u64 {
    u64::from(event.header.end_low) - u64::from(event.header.size)
}

fn reader_at(name: &str, next: u64) -> Reader {
    let file = fixture::start(name).file;
    fixture::reader(Position { file, next }, GtidPosition::default())
}

fn rows_with_offsets(reader: &mut Reader, events: &[Event]) -> Vec<(u64, String)> {
    let mut rows = Vec::new();
    for event in events {
        if let Ok(Step::Rows(found)) = reader.event(event.raw()) {
            let changes: Vec<RowChange> = found.decode().expect("decodes");
            let shown = changes.iter().map(|change| format!("{change:?}"));
            rows.extend(shown.map(|row| (found.offset, row)));
        }
    }
    rows
}

/// Lengths inside a table map that no bytes follow: refused before anything is
/// allocated by them.
#[test]
fn lengths_that_cannot_be_are_refused() {
    let start = |kind: u8, metadata: &[u8]| {
        let mut map = vec![9, 0, 0, 0, 0, 0, 1, 0, 8];
        map.extend(b"asterisk\0\x04edge\0\x01");
        map.push(kind);
        map.push(u8::try_from(metadata.len()).expect("short"));
        map.extend(metadata);
        map.push(0xff);
        map
    };
    let mut names = start(1, &[]);
    names.extend([4, 9, 0xfe, 0, 0, 0, 0, 0, 1, 0, 0]);
    for map in [start(252, &[8]), start(252, &[0]), names] {
        let mut reader = new_reader();
        let header = header(19, &map);
        let told = reader.event(RawEvent { header, body: &map });
        assert!(told.is_err(), "{told:?}");
    }
}

/// A newer server's field in the table map costs neither rows nor names.
#[test]
fn fields_of_newer_servers_are_passed_over() {
    let mut map = vec![9, 0, 0, 0, 0, 0, 1, 0, 8];
    map.extend(b"asterisk\0\x04edge\0\x01\x01\x00\xff");
    map.extend([200, 2, 1, 1]);
    map.extend(b"\x04\x03\x02id");
    let mut reader = new_reader();
    take(&mut reader, header(19, &map), &map);
    let body = rows_of(&map, &[0xff], &[0xfe, 7]);
    let header = header(23, &body);
    let step = reader.event(RawEvent {
        header,
        body: &body,
    });
    let Ok(Step::Rows(rows)) = step else {
        panic!("{step:?}");
    };
    assert_eq!(rows.table.column_names, Some(vec!["id".to_owned()]));
    assert_eq!(rows.decode().expect("decodes").len(), 1);
}
