//! Group ends and positions, over events made by hand.

use super::*;
use crate::binlog::{EventHeader, HEADER_BYTES};

const WATCHED: [&str; 1] = ["vicidial_log"];

fn reader(at: u64) -> Reader {
    let position = Position {
        file: BinlogFile::new("b.000001").expect("valid"),
        next: at,
    };
    Reader::new(
        Watch::new("asterisk", &WATCHED),
        position,
        GtidPosition::default(),
    )
}

fn header(code: u8, body: &[u8], end_low: u32) -> EventHeader {
    EventHeader {
        timestamp: 1_700_000_000,
        code,
        server_id: 7,
        size: HEADER_BYTES + u32::try_from(body.len()).expect("small") + 4,
        end_low,
        flags: 0,
    }
}

/// Feeds an event whose header gives no offset, as MariaDB 11.4 does in groups.
fn feed<'a>(reader: &mut Reader, code: u8, body: &'a [u8]) -> Step<'a> {
    let header = header(code, body, 0);
    reader.event(RawEvent { header, body }).expect("decodes")
}

fn gtid(sequence: u64, flags: u8) -> Vec<u8> {
    let mut body = sequence.to_le_bytes().to_vec();
    body.extend(3_u32.to_le_bytes());
    body.push(flags);
    body.extend([0; 6]);
    body
}

fn query(statement: &str) -> Vec<u8> {
    let mut body = vec![9, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0];
    body.extend(b"asterisk\0");
    body.extend(statement.as_bytes());
    body
}

#[test]
fn a_myisam_group_ends_with_query_commit() {
    let mut reader = reader(4);
    feed(&mut reader, 162, &gtid(5, 0));
    assert_eq!(reader.position().next, 4);
    assert!(reader.in_group());
    feed(&mut reader, 2, &query("COMMIT"));
    assert!(!reader.in_group());
    let size = u64::try_from(19 + 4 + 19 + 19 + 4 + 22 + 6).expect("small");
    assert_eq!(reader.position().next, 4 + size);
    assert_eq!(reader.gtid().to_string(), "3-7-5");
}

#[test]
fn a_stand_alone_group_is_one_statement() {
    let mut reader = reader(4);
    feed(&mut reader, 162, &gtid(6, 1));
    let body = query("ALTER TABLE `vicidial_log` ADD x INT");
    assert!(matches!(
        feed(&mut reader, 2, &body),
        Step::Definition { ref watched, definition: Definition::Extended } if *watched == [0]
    ));
    assert!(!reader.in_group());
    assert_eq!(reader.gtid().to_string(), "3-7-6");
}

fn mysql_gtid(number: u64) -> Vec<u8> {
    let mut body = vec![0];
    body.extend([0xaa; 16]);
    body.extend(number.to_le_bytes());
    body.extend([0; 17]);
    body
}

#[test]
fn the_transactions_of_the_files_before_are_taken_over() {
    let mut reader = reader(4);
    let mut list = 1_u32.to_le_bytes().to_vec();
    list.extend(0_u32.to_le_bytes());
    list.extend(1_u32.to_le_bytes());
    list.extend(42_u64.to_le_bytes());
    feed(&mut reader, 163, &list);
    assert_eq!(reader.gtid().to_string(), "0-1-42");
    let mut made_up = header(163, &list, 0);
    made_up.flags = ARTIFICIAL_FLAG;
    list[12] = 99;
    let event = RawEvent {
        header: made_up,
        body: &list,
    };
    reader.event(event).expect("decodes");
    assert_eq!(reader.gtid().to_string(), "0-1-42");
    let mut mysql = super::tests::reader(4);
    let mut set = 1_u64.to_le_bytes().to_vec();
    set.extend([0xaa; 16]);
    for number in [1_u64, 1, 8] {
        set.extend(number.to_le_bytes());
    }
    feed(&mut mysql, 35, &set);
    feed(&mut mysql, 33, &mysql_gtid(8));
    assert!(mysql.group_gtid().is_some());
    feed(&mut mysql, 2, &query("OPTIMIZE TABLE other"));
    let text = mysql.gtid().to_string();
    assert_eq!(text, "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa:1-8");
}

#[test]
fn a_file_that_is_loaded_as_a_statement_is_told() {
    let mut reader = reader(4);
    let plain = query("LOAD DATA INFILE 'x' INTO TABLE vicidial_log");
    let mut body = plain[..13].to_vec();
    body.extend([0; 13]);
    body.extend(&plain[13..]);
    let step = feed(&mut reader, 18, &body);
    assert!(
        matches!(step, Step::Statement(ref statement) if statement.watched == [0]),
        "{step:?}"
    );
}

#[test]
fn mysql_ddl_has_no_begin_and_no_end() {
    let mut reader = reader(4);
    feed(&mut reader, 34, &[0; 42]);
    feed(&mut reader, 2, &query("OPTIMIZE TABLE other"));
    assert!(!reader.in_group());
    feed(&mut reader, 33, &mysql_gtid(1));
    feed(&mut reader, 2, &query("BEGIN"));
    let body = query("insert into vicidial_log values (1)");
    let Step::Statement(statement) = feed(&mut reader, 2, &body) else {
        panic!("a statement");
    };
    assert_eq!((statement.watched, statement.thread_id), (vec![0], 9));
    assert!(statement.text.starts_with(b"insert into"));
    assert!(reader.in_group());
    feed(&mut reader, 16, &[0; 8]);
    assert!(!reader.in_group());
}

#[test]
fn archive_and_copy_tables_are_not_taken_for_the_log() {
    let mut reader = reader(4);
    for statement in [
        "OPTIMIZE TABLE vicidial_log_archive",
        "INSERT INTO twoday_vicidial_log SELECT 1",
    ] {
        let body = query(statement);
        assert!(matches!(feed(&mut reader, 2, &body), Step::Nothing));
    }
}

#[test]
fn offsets_pass_4_gib_and_follow_the_header() {
    let mut reader = reader(u64::from(u32::MAX) - 10);
    feed(&mut reader, 162, &gtid(1, 0));
    let body = query("COMMIT");
    // 30 bytes more than the sizes say: the server left an annotation out.
    let end = u64::from(u32::MAX) - 10 + 42 + 51 + 30;
    let low = u32::try_from(end % (1 << 32)).expect("low bits");
    let header = header(2, &body, low);
    let event = RawEvent {
        header,
        body: &body,
    };
    reader.event(event).expect("decodes");
    assert_eq!(reader.position().next, end);
}

#[test]
fn a_file_that_a_crash_ended_leaves_no_open_group() {
    let mut reader = reader(4);
    feed(&mut reader, 162, &gtid(1, 0));
    let mut body = 4_u64.to_le_bytes().to_vec();
    body.extend(b"b.000002");
    let mut header = header(4, &body, 0);
    header.timestamp = 0;
    let event = RawEvent {
        header,
        body: &body,
    };
    reader.event(event).expect("decodes");
    assert_eq!(reader.position().to_string(), "b.000002:4");
    assert!(reader.gtid().is_empty());
}

#[test]
fn heartbeats_and_unknown_codes_are_told() {
    let mut reader = reader(4);
    assert!(matches!(feed(&mut reader, 27, b"b.000001"), Step::Idle));
    assert_eq!(reader.position().next, 4);
    assert!(matches!(
        feed(&mut reader, 213, b"?"),
        Step::Unrecognised { code: 213 }
    ));
    assert!(reader.position().next > 4);
}

#[test]
fn cut_events_are_errors_and_the_reader_goes_on() {
    let mut reader = reader(4);
    for code in [2_u8, 4, 18, 33, 35, 39, 40, 42, 162, 163, 19, 165, 166] {
        for length in 0..40 {
            let body = vec![0xfe; length];
            let header = header(code, &body, 0);
            let _either = reader.event(RawEvent {
                header,
                body: &body,
            });
        }
    }
    feed(&mut reader, 16, &[0; 8]);
    assert!(!reader.in_group());
}
