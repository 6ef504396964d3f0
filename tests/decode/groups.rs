//! Where groups end and positions may stand, against the printed offsets.

use std::collections::BTreeMap;

use didtail::binlog::{FIRST_EVENT_OFFSET, GtidPosition, Position};
use didtail::source::{EventStream, FileSource, Source, SourceError};

use crate::fixture::{self, Read, TRUNCATED, WHOLE};
use crate::golden;

/// What the text says of the group after one event.
#[derive(Default)]
struct Told {
    open: bool,
    /// One statement follows and no COMMIT.
    alone: bool,
    gtid: Option<String>,
    /// The last transaction of each domain.
    reached: BTreeMap<u32, String>,
}

impl Told {
    fn see(&mut self, event: &golden::Event) {
        let ends = if let Some(gtid) = event.what.strip_prefix("GTID ") {
            self.open = true;
            self.gtid = gtid.split(' ').next().map(str::to_owned);
            let begins =
                |line: &String| line.starts_with("XA START") || line == "START TRANSACTION";
            self.alone = !event.lines.iter().any(begins);
            false
        } else if event.what.starts_with("Query") {
            let over = |line: &String| {
                line == "COMMIT"
                    || line == "ROLLBACK"
                    || line.starts_with("XA COMMIT")
                    || line.starts_with("XA ROLLBACK")
            };
            self.alone || event.lines.iter().any(over)
        } else {
            event.what.starts_with("Xid =") || event.what.starts_with("XID =")
        };
        if ends {
            self.open = false;
            if let Some(gtid) = self.gtid.take() {
                let domain = gtid.split('-').next().and_then(|d| d.parse().ok());
                self.reached.insert(domain.expect("a domain"), gtid);
            }
        }
    }

    fn gtids(&self) -> String {
        let all: Vec<_> = self.reached.values().cloned().collect();
        all.join(",")
    }
}

#[test]
fn positions_stand_at_the_ends_of_groups_and_nowhere_else() {
    for name in WHOLE.into_iter().chain([TRUNCATED]) {
        let (events, _) = fixture::events(name);
        let golden = fixture::golden(name);
        assert_eq!(events.len(), golden.len(), "{name}: events");
        let mut reader = fixture::reader(fixture::start(name), GtidPosition::default());
        let mut told = Told::default();
        let mut wanted = FIRST_EVENT_OFFSET;
        for (event, printed) in events.iter().zip(&golden) {
            let place = format!("{name} at {} {}", printed.end, printed.what);
            told.see(printed);
            drop(fixture::read(&mut reader, event));
            let next = reader.position();
            if printed.what.starts_with("Rotate to") {
                let number = next.file.number();
                assert_eq!((number, next.next), (number_of(name) + 1, 4), "{place}");
                continue;
            }
            if !told.open {
                wanted = printed.end;
            }
            assert_eq!(next.file.as_str(), name, "{place}");
            assert_eq!(next.next, wanted, "{place}");
            assert_eq!(reader.in_group(), told.open, "{place}");
        }
        assert_eq!(reader.gtid().to_string(), told.gtids(), "{name}: GTIDs");
    }
}

fn number_of(name: &str) -> u64 {
    fixture::start(name).file.number()
}

#[test]
fn gtids_are_kept_by_domain() {
    let name = "gtid-multidomain.000001";
    let (events, _) = fixture::events(name);
    let mut reader = fixture::reader(fixture::start(name), GtidPosition::default());
    for event in &events {
        drop(fixture::read(&mut reader, event));
    }
    let gtids: Vec<_> = reader
        .gtid()
        .domains()
        .map(|g| (g.domain, g.server))
        .collect();
    assert_eq!(gtids, [(0, 78), (1, 77), (2, 77)]);
}

/// MyISAM groups end by the statement COMMIT: the only XID is InnoDB's.
#[test]
fn myisam_groups_end_without_an_xid() {
    let name = "myisam-row.000001";
    let golden = fixture::golden(name);
    let commits = golden.iter().filter(|event| event.says("COMMIT")).count();
    let xids = golden
        .iter()
        .filter(|e| e.what.starts_with("Xid ="))
        .count();
    assert_eq!((commits, xids), (4, 1));
    let (events, _) = fixture::events(name);
    let codes = |code: u8| events.iter().filter(|e| e.header.code == code).count();
    assert_eq!(codes(16), xids);
}

/// What MyISAM wrote in a transaction that was rolled back stays written, and
/// this server logs it as if it had been committed.
#[test]
fn a_rolled_back_group_keeps_its_myisam_rows_and_ends() {
    let (at, rows) = rows_of("transactions.000001", "tx.my4");
    assert_eq!(rows, 1);
    let golden = fixture::golden("transactions.000001");
    let mut behind = golden.iter().skip_while(|event| event.end <= at);
    assert!(behind.next().is_some_and(|event| event.says("COMMIT")));
    // Rolled back as a whole, or to a savepoint: never in the log.
    for gone in ["tx.2", "tx.4"] {
        assert_eq!(rows_of("transactions.000001", gone).1, 0, "{gone}");
    }
}

/// The rows of an XA transaction are in the group that its PREPARE ends. They
/// are reported there, also those of the one that is rolled back later: VICIdial
/// uses no XA, and a reader that waits for the outcome would have to keep them.
#[test]
fn xa_rows_are_read_at_prepare() {
    for id in ["xa.1", "xa.2"] {
        assert_eq!(rows_of("transactions.000001", id).1, 1, "{id}");
    }
}

/// Where the rows with this key begin, and how many there are.
fn rows_of(name: &str, key: &str) -> (u64, usize) {
    let (events, _) = fixture::events(name);
    let mut reader = fixture::reader(fixture::start(name), GtidPosition::default());
    let (mut at, mut count) = (0, 0);
    for event in &events {
        if let Read::Rows { changes, .. } = fixture::read(&mut reader, event) {
            let needle = format!("{:?}", key.as_bytes());
            let needle = needle.trim_matches(['[', ']']).to_owned();
            let changes = changes.expect("decodes");
            let found = changes.iter().filter(|c| {
                let shown = format!("{c:?}");
                shown.contains(&format!("Blob([{needle}])"))
            });
            let found = found.count();
            if found > 0 && !TABLES_OF_COPIES.contains(&reader_table(name, event)) {
                at = u64::from(event.header.end_low);
                count += found;
            }
        }
    }
    (at, count)
}

/// `ctas` is a copy of the InnoDB table.
const TABLES_OF_COPIES: [&str; 1] = ["ctas"];

fn reader_table(name: &str, event: &fixture::Event) -> &'static str {
    let golden = fixture::golden(name);
    let end = u64::from(event.header.end_low);
    let printed = golden.iter().find(|printed| printed.end == end);
    let table = printed.and_then(|printed| printed.rows.first());
    let table = table.map_or("", |row| row.table.as_str());
    fixture::TABLES
        .into_iter()
        .find(|t| *t == table)
        .unwrap_or("")
}

#[test]
fn a_cut_file_ends_in_a_clear_error_before_its_open_group() {
    let (events, error) = fixture::events(TRUNCATED);
    let error = error.expect("the file is cut");
    assert!(matches!(error, SourceError::Truncated { .. }), "{error}");
    let mut reader = fixture::reader(fixture::start(TRUNCATED), GtidPosition::default());
    for event in &events {
        drop(fixture::read(&mut reader, event));
    }
    assert!(reader.in_group());
    let golden = fixture::golden(TRUNCATED);
    let last_group = golden.iter().rev().find(|e| e.what.starts_with("GTID "));
    let begin = last_group.expect("a group").end - 42;
    assert_eq!(reader.position().next, begin);
}

/// Cut anywhere, a file yields its whole events and then says that it is cut.
#[test]
fn a_file_cut_at_any_byte_ends() {
    let name = "myisam-row.000001";
    let bytes = fixture::bytes(name);
    let (all, none) = fixture::split(name, &bytes);
    assert!(none.is_none());
    let ends: Vec<u64> = all.iter().map(|e| u64::from(e.header.end_low)).collect();
    for length in 0..bytes.len() {
        let (events, error) = fixture::split(name, &bytes[..length]);
        let whole = ends.iter().filter(|end| **end <= length as u64).count();
        assert_eq!(events.len(), whole, "{length} bytes");
        let at_boundary = length == 4 || ends.contains(&(length as u64));
        assert_eq!(error.is_none(), at_boundary, "{length} bytes: {error:?}");
    }
}

/// A file source sends what the splitter reads, from the start and from every
/// group's end.
#[tokio::test]
async fn a_file_source_resumes_at_every_group_end() {
    for name in ["myisam-row.000001", "checksum-none.000001"] {
        let source = FileSource::open(&[fixture::path(name)]).expect("opens");
        let (events, _) = fixture::events(name);
        let mut reader = fixture::reader(fixture::start(name), GtidPosition::default());
        for at in 0..events.len() {
            let position = reader.position().clone();
            if position.file.as_str() == name && !reader.in_group() {
                let sent = bodies(&source, &position).await;
                let wanted: Vec<_> = events[at..].iter().map(|e| e.body.clone()).collect();
                assert!(sent.ends_with(&wanted), "{name} from {position}");
                // A made-up ROTATE and FORMAT_DESCRIPTION at most.
                assert!(sent.len() <= wanted.len() + 2);
            }
            drop(fixture::read(&mut reader, &events[at]));
        }
    }
}

async fn bodies(source: &FileSource, from: &Position) -> Vec<Vec<u8>> {
    let mut stream = source.stream(from).await.expect("streams");
    let mut bodies = Vec::new();
    while let Some(event) = stream.try_next() {
        bodies.push(event.expect("whole").body.to_vec());
    }
    bodies
}
