//! Files and events: the splitter and the reader, on damaged fixtures and on bytes
//! that are nothing.

use didtail::binlog::{EventHeader, GtidPosition, RawEvent, Reader, Step};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::fixture::{self, TRUNCATED, WHOLE};
use crate::{alone, fuzz};

/// The fixtures have some ten kilobytes, their largest value a few; a row of a
/// byte becomes a value of 32 for each of its columns.
const MEMORY_MAX: usize = 64 << 20;

/// Takes an event, and everything that is packed in it, and decodes its rows.
fn take(reader: &mut Reader, header: EventHeader, body: &[u8]) {
    match reader.event(RawEvent { header, body }) {
        Ok(Step::Payload(mut payload)) => {
            let mut inner_events = 0_usize;
            while let Ok(Some(inner)) = payload.next_event() {
                decode(reader.inner(inner));
                inner_events += 1;
                assert!(inner_events < 1 << 24, "a payload without an end");
            }
            reader.end_payload();
        }
        step => decode(step),
    }
}

fn decode(step: Result<Step<'_>, didtail::binlog::DecodeError>) {
    if let Ok(Step::Rows(rows)) = step {
        drop(rows.is_full_image());
        if let Ok(changes) = rows.decode() {
            // Each row takes at least a byte, its bitmap of NULLs.
            assert!(changes.len() <= rows.body.len());
        }
    }
}

/// A length as it stands in headers: small, huge, or next to a power of two.
fn lie() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        Just(vec![0xff; 4]),
        Just(vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        Just(vec![0xfd, 0xff, 0xff, 0xff]),
        (0_u32..32).prop_map(|bit| (1_u32 << bit).wrapping_sub(1).to_le_bytes().to_vec()),
        (0_u32..32).prop_map(|bit| (1_u32 << bit).to_le_bytes().to_vec()),
        vec(any::<u8>(), 1..12),
    ]
}

/// Puts a lie at a place.
fn tell(bytes: &mut [u8], place: Index, lie: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let from = place.index(bytes.len());
    for (byte, told) in bytes.iter_mut().skip(from).zip(lie) {
        *byte = *told;
    }
}

#[test]
fn a_reader_bears_damaged_events() {
    let damage = vec((any::<Index>(), any::<Index>(), lie()), 1..20);
    let cuts = vec((any::<Index>(), any::<Index>()), 0..3);
    let swaps = vec((any::<Index>(), any::<Index>()), 0..4);
    let codes = vec((any::<Index>(), any::<u8>()), 0..3);
    let strategy = (select(WHOLE.to_vec()), damage, cuts, swaps, codes);
    fuzz(
        &strategy,
        MEMORY_MAX,
        |(name, damage, cuts, swaps, codes)| {
            let (mut events, _) = fixture::events(name);
            for (event, place, lie) in damage {
                tell(&mut event.get_mut(&mut events).body, place, &lie);
            }
            for (event, length) in cuts {
                let body = &mut event.get_mut(&mut events).body;
                if !body.is_empty() {
                    body.truncate(length.index(body.len()));
                }
            }
            for (one, other) in swaps {
                let (one, other) = (one.index(events.len()), other.index(events.len()));
                events.swap(one, other);
            }
            for (event, code) in codes {
                event.get_mut(&mut events).header.code = code;
            }
            let mut reader = fixture::reader(fixture::start(name), GtidPosition::default());
            for event in &events {
                take(&mut reader, event.header, &event.body);
            }
        },
    );
}

#[test]
fn a_reader_bears_any_bytes() {
    let event = (
        any::<u8>(),
        any::<u32>(),
        any::<u16>(),
        vec(any::<u8>(), 0..600),
    );
    fuzz(&vec(event, 1..30), MEMORY_MAX, |events| {
        let start = fixture::start("x.000001");
        let mut reader = fixture::reader(start, GtidPosition::default());
        for (code, end_low, flags, body) in events {
            let header = EventHeader {
                timestamp: 1_700_000_000,
                code,
                server_id: 77,
                size: 19 + u32::try_from(body.len()).expect("small"),
                end_low,
                flags,
            };
            take(&mut reader, header, &body);
        }
    });
}

#[test]
fn a_splitter_bears_damaged_files() {
    let names: Vec<&str> = WHOLE.into_iter().chain([TRUNCATED]).collect();
    let damage = vec((any::<Index>(), lie()), 0..10);
    let strategy = (select(names), damage, any::<Index>(), any::<bool>());
    fuzz(&strategy, MEMORY_MAX, |(name, damage, length, is_cut)| {
        let mut bytes = fixture::bytes(name);
        for (place, lie) in damage {
            tell(&mut bytes, place, &lie);
        }
        if is_cut {
            bytes.truncate(length.index(bytes.len()));
        }
        // Either it ends at the end, or with a definite error.
        let (events, error) = fixture::split(name, &bytes);
        assert!(events.len() * 19 <= bytes.len());
        if let Some(error) = error {
            assert!(!error.to_string().is_empty() && error.hint().is_some());
        }
    });
}

#[test]
fn a_splitter_bears_any_bytes() {
    let magic = prop_oneof![4 => Just(b"\xfebin".to_vec()), 1 => vec(any::<u8>(), 0..6)];
    fuzz(
        &(magic, vec(any::<u8>(), 0..4000)),
        MEMORY_MAX,
        |(magic, rest)| {
            let bytes = [magic, rest].concat();
            let (events, _) = fixture::split("x.000001", &bytes);
            assert!(events.len() * 19 <= bytes.len());
        },
    );
}

/// An event that claims a gigabyte, in a file that claims to have it, takes what
/// is there.
#[test]
fn a_claimed_gigabyte_is_not_taken() {
    let mut bytes = fixture::bytes("myisam-row.000001");
    bytes.truncate(4000);
    let claim = |bytes: &mut Vec<u8>, size: u32| {
        // The second event's size, behind the format description's.
        let first = u32::from_le_bytes(bytes[13..17].try_into().expect("four")) as usize;
        bytes[4 + first + 9..4 + first + 13].copy_from_slice(&size.to_le_bytes());
    };
    for size in [1 << 30, (1 << 30) + 1, u32::MAX, 18, 0] {
        let mut bytes = bytes.clone();
        claim(&mut bytes, size);
        alone(8 << 20, || {
            let file = fixture::start("x.000001").file;
            let splitter = didtail::source::Splitter::new(&bytes[..], file, 4 << 30);
            let mut splitter = splitter.expect("a binlog");
            assert!(splitter.event().is_ok_and(|event| event.is_some()));
            let told = splitter.event().map(|_| ()).expect_err("a lie");
            assert!(told.hint().is_some(), "{told}");
        });
    }
}

/// A compressed event whose header promises a gigabyte and whose bytes hold a few.
#[test]
fn a_promised_gigabyte_is_not_taken() {
    // MariaDB's QUERY_COMPRESSED and WRITE_ROWS_COMPRESSED: lengths of 1 to 4 bytes.
    for code in [165_u8, 166, 167, 168, 169, 170, 171] {
        for lengths in [
            &[0x84_u8, 0x3f, 0xff, 0xff, 0xff][..],
            &[0x83, 0xff, 0xff, 0xff],
        ] {
            let mut body = vec![0_u8; 13];
            body.extend(lengths);
            body.extend([0x78, 0x9c, 0x03, 0x00, 0x00, 0x00, 0x00, 0x01]);
            alone(8 << 20, || {
                let start = fixture::start("x.000001");
                let mut reader = fixture::reader(start, GtidPosition::default());
                let header = EventHeader {
                    timestamp: 0,
                    code,
                    server_id: 1,
                    size: 19 + u32::try_from(body.len()).expect("small"),
                    end_low: 0,
                    flags: 0,
                };
                take(&mut reader, header, &body);
            });
        }
    }
}
