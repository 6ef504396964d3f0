//! Payloads made by hand, whole, cut and hostile.

use super::*;
use crate::binlog::{BinlogFile, GtidPosition, Position, Reader, Step, Watch};

/// An event as it is in a payload: without a checksum and without a place.
fn inner(code: u8, body: &[u8]) -> Vec<u8> {
    let size = HEADER_BYTES as usize + body.len();
    let mut bytes = 1_700_000_000_u32.to_le_bytes().to_vec();
    bytes.push(code);
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(u32::try_from(size).expect("small").to_le_bytes());
    bytes.extend([0; 6]);
    bytes.extend(body);
    bytes
}

/// A payload's body: its size, its compression and its expanded size, then the events.
fn payload(compression: u8, events: &[u8]) -> Vec<u8> {
    let packed = match compression {
        0 => zstd::encode_all(events, 3).expect("packed"),
        _ => events.to_vec(),
    };
    let mut body = vec![1, 9, 0xfe];
    body.extend((packed.len() as u64).to_le_bytes());
    // A field of a future version between those of this one.
    body.extend([2, 1, compression, 77, 2, 1, 1]);
    if compression == 255 {
        body.truncate(body.len() - 7);
        body.extend([2, 3, 0xfc, 255, 0]);
    }
    body.extend([3, 9, 0xfe]);
    body.extend((events.len() as u64).to_le_bytes());
    body.push(0);
    body.extend(packed);
    body
}

/// The codes, bodies and places of the events of a payload, and what ended it.
fn read(body: &[u8]) -> (Vec<(u8, usize, u32)>, Option<DecodeError>) {
    let mut found = Vec::new();
    let mut payload = match Payload::open(body) {
        Ok(payload) => payload,
        Err(error) => return (found, Some(error)),
    };
    loop {
        match payload.next_event() {
            Ok(Some(inner)) => {
                let RawEvent { header, body } = inner.event;
                found.push((header.code, body.len(), inner.before));
            }
            Ok(None) => return (found, None),
            Err(error) => {
                assert_eq!(payload.next_event().map(|_| ()), Ok(()), "it is over");
                return (found, Some(error));
            }
        }
    }
}

#[test]
fn events_come_out_one_by_one_with_their_places() {
    let events = [inner(2, &[7; 30]), inner(19, &[]), inner(16, &[0; 8])].concat();
    let expected = vec![(2, 30, 0), (19, 0, 49), (16, 8, 68)];
    for compression in [0, 255] {
        let (found, error) = read(&payload(compression, &events));
        assert_eq!((found, error), (expected.clone(), None), "{compression}");
    }
    assert_eq!(read(&payload(0, &[])), (Vec::new(), None));
}

#[test]
fn what_is_cut_or_damaged_is_an_error_behind_the_events_before() {
    let events = [inner(2, &[7; 30]), inner(16, &[0; 8])].concat();
    for cut in 1..27 {
        let (found, error) = read(&payload(0, &events[..events.len() - cut]));
        assert_eq!(found.len(), 1, "{cut}");
        assert!(error.is_some(), "{cut}");
    }
    let whole = payload(0, &events);
    for cut in 1..whole.len() {
        let (found, error) = read(&whole[..whole.len() - cut]);
        assert!(found.len() < 3 && error.is_some(), "{cut}");
    }
    for bad in [&[][..], &[0], &[2, 1, 9, 0], &[2, 1, 0, 0, 1, 2, 3]] {
        assert!(read(bad).1.is_some(), "{bad:?}");
    }
    let mut tiny = inner(16, &[]);
    tiny[9..13].copy_from_slice(&18_u32.to_le_bytes());
    assert!(read(&payload(0, &tiny)).1.is_some());
}

#[test]
fn a_bomb_takes_no_memory() {
    // An event that claims 4 GiB and has nothing behind it.
    let mut claims = inner(30, &[]);
    claims[9..13].copy_from_slice(&u32::MAX.to_le_bytes());
    let (found, error) = read(&payload(0, &claims));
    assert!(found.is_empty() && error.is_some());
    // 100 MiB in one event: passed through, and only its beginning kept.
    let large = 100 << 20;
    let mut event = inner(30, &vec![0; large]);
    event.extend(inner(16, &[0; 8]));
    let body = payload(0, &event);
    assert!(body.len() < 100_000, "{}", body.len());
    let mut payload = Payload::open(&body).expect("opens");
    let first = payload.next_event().expect("reads").expect("an event");
    assert!(!first.is_whole && first.event.body.len() == 64);
    let second = payload.next_event().expect("reads").expect("an event");
    assert_eq!(second.event.header.code, 16);
    assert_eq!(payload.next_event().map(|end| end.is_none()), Ok(true));
    assert!(payload.body.capacity() <= INNER_BYTES_KEPT);
}

fn reader() -> Reader {
    let file = BinlogFile::new("b.000001").expect("valid");
    let start = Position { file, next: 400 };
    let watch = Watch::new("asterisk", &["vicidial_log"]);
    Reader::new(watch, start, GtidPosition::default())
}

/// Lets a reader take a payload as an event of its own, and what is in it.
fn take(reader: &mut Reader, body: &[u8]) -> Vec<Result<String, DecodeError>> {
    let header = EventHeader {
        timestamp: 1_700_000_000,
        code: 40,
        server_id: 1,
        size: HEADER_BYTES + u32::try_from(body.len()).expect("small") + 4,
        end_low: 0,
        flags: 0,
    };
    let step = reader.event(RawEvent { header, body });
    let Ok(Step::Payload(mut payload)) = step else {
        panic!("no payload: {step:?}");
    };
    let mut steps = Vec::new();
    while let Ok(Some(inner)) = payload.next_event() {
        let step = reader.inner(inner).map(|step| {
            if let Step::Rows(rows) = &step {
                format!("rows {}/{}", rows.offset, rows.first_row)
            } else {
                format!("{step:?}")
            }
        });
        steps.push(step);
        assert!(reader.in_group(), "the payload is not over");
        assert_eq!(reader.position().next, 400);
    }
    reader.end_payload();
    steps
}

/// A table map of one INT column.
fn table_map(table: &str) -> Vec<u8> {
    let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0, 8];
    body.extend(b"asterisk\0");
    body.push(u8::try_from(table.len()).expect("short"));
    body.extend(table.as_bytes());
    body.extend([0, 1, 3, 0, 0]);
    body
}

const ROWS: [u8; 17] = [9, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 1, 0, 7, 0, 0, 0];

#[test]
fn the_group_ends_with_the_payload_and_rows_are_named_by_their_place_in_it() {
    let events = [
        inner(19, &table_map("vicidial_log")),
        inner(30, &ROWS),
        inner(30, &ROWS),
        inner(16, &[0; 8]),
    ];
    let mut reader = reader();
    let mut gtid = vec![0];
    gtid.extend([0xaa; 16]);
    gtid.extend(5_u64.to_le_bytes());
    gtid.extend([0; 20]);
    let header = EventHeader {
        timestamp: 1_700_000_000,
        code: 33,
        server_id: 1,
        size: 0,
        end_low: 0,
        flags: 0,
    };
    let body = &gtid;
    assert!(reader.event(RawEvent { header, body }).is_ok());
    let steps = take(&mut reader, &payload(0, &events.concat()));
    let map = events[0].len();
    let row = |before: usize| Ok(format!("rows 400/{before}"));
    let nothing = || Ok("Nothing".to_owned());
    let expected = [nothing(), row(map), row(map + events[1].len()), nothing()];
    assert_eq!(steps, expected);
    assert!(!reader.in_group());
    assert!(reader.position().next > 400);
    let text = reader.gtid().to_string();
    assert_eq!(text, "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa:5");
}

#[test]
fn a_bad_event_of_a_payload_is_told_and_the_next_is_read() {
    let events = [
        inner(19, &table_map("vicidial_log")),
        inner(39, &ROWS),
        inner(33, &[0; 42]),
        inner(40, &[0; 42]),
        inner(30, &ROWS),
    ];
    let steps = take(&mut reader(), &payload(0, &events.concat()));
    assert_eq!(steps[1], Err(DecodeError::PartialJson));
    assert!(steps[2].is_err() && steps[3].is_err());
    assert!(steps[4].as_ref().is_ok_and(|step| step.starts_with("rows")));
}

#[test]
fn a_large_event_counts_only_where_its_table_is_watched() {
    let mut large = ROWS.to_vec();
    large.resize(65 << 20, 0);
    for (table, told) in [("vicidial_log", true), ("recording_log", false)] {
        let events = [inner(19, &table_map(table)), inner(30, &large)].concat();
        let steps = take(&mut reader(), &payload(0, &events));
        assert_eq!(steps[1].is_err(), told, "{table}: {:?}", steps[1]);
    }
}

#[test]
fn a_payload_that_cannot_be_opened_is_one_error_and_the_reader_goes_on() {
    let mut reader = reader();
    let header = EventHeader {
        timestamp: 1,
        code: 40,
        server_id: 1,
        size: 60,
        end_low: 0,
        flags: 0,
    };
    let body = &[2, 1, 9, 0][..];
    assert!(reader.event(RawEvent { header, body }).is_err());
    assert!(!reader.in_group());
    assert_eq!(reader.position().next, 460);
}

#[test]
fn no_damaged_byte_is_more_than_an_error() {
    let events = [
        inner(19, &table_map("vicidial_log")),
        inner(30, &ROWS),
        inner(16, &[0; 8]),
    ]
    .concat();
    for compression in [0, 255] {
        let whole = payload(compression, &events);
        for (at, bit) in (0..whole.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bad = whole.clone();
            bad[at] ^= 1 << bit;
            let mut reader = reader();
            let Ok(mut payload) = Payload::open(&bad) else {
                continue;
            };
            let mut steps = 0;
            while let Ok(Some(inner)) = payload.next_event() {
                let _either = reader.inner(inner).map(|_| ());
                steps += 1;
                assert!(steps <= events.len(), "{compression} {at} {bit}");
            }
            assert!(payload.body.capacity() <= INNER_BYTES_KEPT);
        }
    }
}
