//! What every source must do, run on the twins that need no server.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::timeout;

use super::file::{FileSource, Splitter};
use super::frame::tests::{event, format};
use super::{EventStream, Fault, MemorySource, Source, SourceError};
use crate::binlog::{BinlogFile, EventHeader, Position, RawEvent};

const QUERY: u8 = 2;
const ROTATE: u8 = 4;
const XID: u8 = 16;
const GTID: u8 = 162;

fn file(number: u32) -> BinlogFile {
    BinlogFile::new(&format!("b.{number:06}")).expect("valid")
}

/// Two files: a transaction, a stand-alone statement, a rotation, a transaction.
fn script() -> Vec<Vec<(u8, Vec<u8>)>> {
    let mut rotate = 4_u64.to_le_bytes().to_vec();
    rotate.extend(b"b.000002");
    let gtid = |sequence: u8, flags: u8| vec![sequence, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, flags];
    let query = [&[0; 8][..], &[1, 0, 0, 0, 0], b"d\0FLUSH TABLES"].concat();
    vec![
        vec![
            (GTID, gtid(1, 0)),
            (XID, vec![7; 8]),
            (GTID, gtid(2, 1)),
            (QUERY, query),
            (ROTATE, rotate),
        ],
        vec![(GTID, gtid(3, 0)), (XID, vec![8; 8])],
    ]
}

/// An event as compared: its end says where it is.
type Seen = (u8, u32, Vec<u8>);

fn seen(event: &RawEvent<'_>) -> Seen {
    (event.header.code, event.header.end_low, event.body.to_vec())
}

fn read_all(stream: &mut impl EventStream) -> Vec<Seen> {
    let mut all = Vec::new();
    while let Some(event) = stream.try_next() {
        all.push(seen(&event.expect("a whole script")));
    }
    all
}

/// Everything behind the opening: the made-up ROTATE and format description.
fn behind_opening(all: &[Seen]) -> &[Seen] {
    let opening = all
        .iter()
        .take_while(|(code, end, _)| *end == 0 && matches!(code, 4 | 15));
    &all[opening.count()..]
}

async fn conforms<S: Source>(source: S, boundaries: Vec<Position>) {
    let start = Position::start_of(file(1));
    let mut stream = source.stream(&start).await.expect("the start");
    let all = read_all(&mut stream);
    assert_eq!(all[0].0, ROTATE, "a made-up ROTATE comes first");
    assert_eq!(&all[0].2[8..], b"b.000001");
    assert_eq!(all[1].0, 15, "then the format description");
    let idle = timeout(Duration::from_millis(5), stream.next()).await;
    assert!(
        idle.is_err(),
        "the end of the binlog is no end of the stream"
    );
    assert!(stream.try_next().is_none());

    for from in &boundaries {
        let mut stream = source.stream(from).await.expect("a boundary");
        let some = read_all(&mut stream);
        assert_eq!(some[0].0, ROTATE);
        assert_eq!(&some[0].2[8..], from.file.as_str().as_bytes(), "{from}");
        assert_eq!(some[0].2[..8], from.next.to_le_bytes(), "{from}");
        assert!(all.ends_with(behind_opening(&some)), "{from}");
    }
    let head = source.head().await.expect("a head");
    assert_eq!(
        Some(&head),
        boundaries.last(),
        "the head ends the last group"
    );

    for nowhere in [
        Position {
            file: file(1),
            next: 5,
        },
        Position {
            file: file(2),
            next: 1 << 40,
        },
        Position::start_of(file(9)),
    ] {
        let refused = source.stream(&nowhere).await.err();
        let refused = refused.unwrap_or_else(|| panic!("{nowhere} was accepted"));
        assert!(!refused.is_transient(), "{refused}");
        assert!(refused.hint().is_some(), "{refused}");
    }
    assert!(
        source
            .columns("no_such_table")
            .await
            .expect("an answer")
            .is_empty()
    );
}

fn memory() -> (MemorySource, Vec<Position>) {
    let source = MemorySource::new(file(1));
    let mut boundaries = Vec::new();
    for (number, events) in script().into_iter().enumerate() {
        if number > 0 {
            boundaries.push(Position::start_of(file(2)));
        }
        for (code, body) in events {
            if code == ROTATE {
                source.rotate(file(2), 1_700_000_000);
            } else {
                boundaries.push(source.push(code, 0, 1_700_000_000, &body));
            }
        }
    }
    (source, boundaries)
}

/// The script as the bytes of two files, and its event boundaries.
fn files() -> (Vec<Vec<u8>>, Vec<Position>) {
    let mut boundaries = Vec::new();
    let mut all = Vec::new();
    for (number, events) in (1..).zip(script()) {
        let mut bytes = b"\xfebin".to_vec();
        let end = u32::try_from(4 + format(1, 0).len()).expect("small");
        bytes.extend(format(1, end));
        for (code, body) in events {
            let next = bytes.len() as u64;
            boundaries.push(Position {
                file: file(number),
                next,
            });
            let size = 19 + body.len() + 4;
            let end = u32::try_from(bytes.len() + size).expect("small");
            bytes.extend(event(code, 0, end, &body, true));
        }
        let next = bytes.len() as u64;
        boundaries.push(Position {
            file: file(number),
            next,
        });
        all.push(bytes);
    }
    (all, boundaries)
}

/// A folder that goes when the test ends.
struct Folder(std::path::PathBuf);

impl Folder {
    fn with(files: &[Vec<u8>], name: &str) -> (Self, Vec<std::path::PathBuf>) {
        let folder = std::env::temp_dir().join(format!("didtail-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut paths = Vec::new();
        for (number, bytes) in (1..).zip(files) {
            let path = folder.join(file(number).as_str());
            std::fs::write(&path, bytes).expect("a file");
            paths.push(path);
        }
        (Self(folder), paths)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[tokio::test]
async fn memory_conforms() {
    let (source, boundaries) = memory();
    conforms(source, boundaries).await;
}

#[tokio::test]
async fn files_conform() {
    let (bytes, boundaries) = files();
    let (_folder, paths) = Folder::with(&bytes, "conform");
    conforms(FileSource::open(&paths).expect("binlogs"), boundaries).await;
}

#[tokio::test]
async fn memory_wakes_a_waiting_stream() {
    let (source, boundaries) = memory();
    let head = boundaries.last().expect("some");
    let mut stream = source.stream(head).await.expect("the head");
    read_all(&mut stream);
    let appended = async {
        tokio::task::yield_now().await;
        source.push(XID, 0, 1, b"12345678");
    };
    let (event, ()) = tokio::join!(stream.next(), appended);
    assert_eq!(event.expect("the event").body, b"12345678");
}

#[tokio::test]
async fn memory_breaks_as_told() {
    let (source, _) = memory();
    let start = Position::start_of(file(1));
    source.inject(Fault::Fail {
        after: 2,
        error: || SourceError::Silent { seconds: 30 },
    });
    source.inject(Fault::Hang { after: 0 });
    let mut stream = source.stream(&start).await.expect("a stream");
    for _ in 0..3 {
        stream.next().await.expect("an event");
    }
    assert!(matches!(
        stream.next().await,
        Err(SourceError::Silent { .. })
    ));
    assert!(stream.next().await.is_err(), "it stays broken");
    let mut hung = source.stream(&start).await.expect("a stream");
    assert_eq!(read_all(&mut hung).len(), 1);
    source.purge_before(&file(2));
    let refused = source.stream(&start).await.err();
    assert!(matches!(refused, Some(SourceError::Purged { .. })));
}

#[tokio::test]
async fn a_group_that_a_crash_cut_off_is_not_in_the_head() {
    let (source, boundaries) = memory();
    source.push(GTID, 0, 1, &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let head = source.head().await.expect("a head");
    assert_eq!(Some(&head), boundaries.last());
}

#[test]
fn a_file_cut_anywhere_is_truncated_and_never_loops() {
    let (bytes, boundaries) = files();
    let whole = &bytes[0];
    let ends: Vec<u64> = boundaries
        .iter()
        .filter(|b| b.file == file(1))
        .map(|b| b.next)
        .collect();
    for cut in 4..whole.len() {
        let cut_bytes = &whole[..cut];
        let mut splitter = Splitter::new(cut_bytes, file(1), cut as u64).expect("a binlog");
        let error = loop {
            match splitter.event() {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        let clean = cut == 4 || ends.contains(&(cut as u64));
        match error {
            None => assert!(clean, "{cut}"),
            Some(SourceError::Truncated { .. }) => assert!(!clean, "{cut}"),
            Some(other) => panic!("{cut}: {other}"),
        }
    }
}

#[test]
fn lying_sizes_and_foreign_files_are_refused() {
    let header = |size: u32| {
        let mut bytes = b"\xfebin".to_vec();
        bytes.extend([0; 9]);
        bytes.extend(size.to_le_bytes());
        bytes.extend([0; 40]);
        bytes
    };
    for size in [0, 18, u32::MAX] {
        let bytes = header(size);
        let length = bytes.len() as u64;
        let mut splitter = Splitter::new(&bytes[..], file(1), length).expect("a binlog");
        assert!(
            matches!(splitter.event(), Err(SourceError::NotABinlog { .. })),
            "{size}"
        );
    }
    // A file that pretends to be long does not make it allocate.
    let bytes = header(1 << 30);
    let mut splitter = Splitter::new(&bytes[..], file(1), 1 << 40).expect("a binlog");
    assert!(matches!(
        splitter.event(),
        Err(SourceError::Truncated { .. })
    ));
    for foreign in [&b"\xfdbin"[..], b"SQLi", b"", b"\xfe"] {
        assert!(Splitter::new(foreign, file(1), 4).is_err());
    }
}

proptest! {
    /// Whatever is in a file, splitting it ends, and says what is wrong.
    #[test]
    fn changed_files_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = files().0.concat();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let length = bytes.len() as u64;
        if let Ok(mut splitter) = Splitter::new(&bytes[..], file(1), length) {
            let mut events = 0;
            while let Ok(Some(_)) = splitter.event() {
                events += 1;
            }
            prop_assert!(events < 100);
        }
    }
}

#[test]
fn a_header_is_read_little_endian() {
    let bytes = event(XID, 0x20, 77, b"12345678", false);
    let expected = EventHeader {
        timestamp: 1_700_000_000,
        code: XID,
        server_id: 1,
        size: 27,
        end_low: 77,
        flags: 0x20,
    };
    assert_eq!(super::frame::header(&bytes), Some(expected));
}
