//! A binlog file of more than 4 GiB, whose events' offsets do not fit the protocol.
//!
//! The file is real but for the filling, which is a hole on the disk: a server
//! would write it as one transaction of that size, and take minutes for it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};

use crate::support::{Server, Site};

/// Bytes of one filling event, and how many there are: 4.06 GiB.
const FILL_BYTES: u32 = 16 << 20;
const FILL_EVENTS: u32 = 260;

const HEADER_BYTES: usize = 19;

/// An event that a reader passes over (`IGNORABLE_LOG_EVENT`), and its flag.
const IGNORABLE: u8 = 28;
const IGNORABLE_FLAG: u16 = 0x80;

const MARIADB_GTID: u8 = 162;

/// Puts filling in front of the first group of a binlog without checksums, and
/// returns where that group is then.
fn fill(path: &str) -> u64 {
    let mut bytes = Vec::new();
    let mut file = File::open(path).expect("a binlog");
    file.read_to_end(&mut bytes).expect("it can be read");
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let mut first = 4;
    while bytes[first + 4] != MARIADB_GTID {
        first += number(first + 9) as usize;
    }
    let mut out = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .expect("a binlog");
    out.write_all(&bytes[..first]).expect("written");
    let mut at = first as u64;
    for _ in 0..FILL_EVENTS {
        let end = at + u64::from(FILL_BYTES);
        out.seek(SeekFrom::Start(at)).expect("a place");
        out.write_all(&header(
            number(first),
            IGNORABLE,
            FILL_BYTES,
            end,
            IGNORABLE_FLAG,
        ))
        .expect("written");
        at = end;
    }
    out.seek(SeekFrom::Start(at)).expect("a place");
    let shift = u64::from(FILL_BYTES) * u64::from(FILL_EVENTS);
    let mut rest = bytes[first..].to_vec();
    let mut event = 0;
    while event < rest.len() {
        let field = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().expect("four"));
        let (size, end) = (field(event + 9), field(event + 13));
        if end != 0 {
            let moved = low(u64::from(end) + shift);
            rest[event + 13..event + 17].copy_from_slice(&moved.to_le_bytes());
        }
        event += size as usize;
    }
    out.write_all(&rest).expect("written");
    at
}

fn header(time: u32, code: u8, size: u32, end: u64, flags: u16) -> [u8; HEADER_BYTES] {
    let mut header = Vec::from(time.to_le_bytes());
    header.push(code);
    header.extend(1_u32.to_le_bytes());
    header.extend(size.to_le_bytes());
    header.extend(low(end).to_le_bytes());
    header.extend(flags.to_le_bytes());
    header.try_into().expect("a header's length")
}

fn low(offset: u64) -> u32 {
    u32::try_from(offset % (1 << 32)).expect("low bits")
}

#[test]
fn reading_begins_and_goes_on_beyond_4_gib_of_a_file() {
    let server = Server::of_kind("mariadb-11.8", "beyond", &["--binlog-checksum=NONE"]);
    let site = Site::new(&server, "beyond");
    // The file is read several times, and TLS would take most of it.
    site.configure(&(site.config() + "tls = \"disabled\"\n"));
    server.sql("FLUSH BINARY LOGS");
    site.calls(20, 1);
    let end = server.binlog_end();
    let (name, _) = end.split_once(':').expect("a position");
    server.sql("FLUSH BINARY LOGS");
    let base = server.sql("SELECT @@log_bin_basename");
    let folder = base.trim().rsplit_once('/').expect("a path").0;
    server.stop();
    let first = fill(&format!("{folder}/{name}"));
    // The server's index of the file's GTIDs is of what was in it before.
    drop(std::fs::remove_file(format!("{folder}/{name}.idx")));
    server.start_again();
    assert!(first > 1 << 32, "{first}");
    let place = format!("{name}:{first}");
    site.didtail(&["checkpoint", "reset", "--to", &place, "--yes"])
        .good();
    site.catch_up();
    assert!(site.assert_equals_source() > 12);
    assert!(site.position() > Some(place));
}
