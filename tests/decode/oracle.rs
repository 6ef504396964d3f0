//! The servers' own programs as independent oracles, run for real: what didtail
//! decodes of a binlog is what `mariadb-binlog -vv` or `mysqlbinlog -vv` prints of
//! it, row by row and value by value.
//!
//! The stored texts beside the fixtures are compared elsewhere and need no program.
//! Here the fixtures are printed anew, and files that a real server writes during
//! the test, of versions that no fixture is of.

use std::path::Path;

use crate::fixture::{self, Event, TRUNCATED, WATCHED, WHOLE, Watched};
use crate::golden;
use crate::rows::{compare, mended};
use crate::support::{Server, Site};

/// The tables whose rows a day of calls has; the last one has every type of
/// column that VICIdial's have, at its limits.
const TABLES: [&str; 7] = [
    "vicidial_log",
    "vicidial_log_extended",
    "vicidial_dial_log",
    "vicidial_dial_cid_log",
    "vicidial_carrier_log",
    "vicidial_campaign_statuses",
    "limits",
];
const DAY: Watched = ("asterisk", &TABLES);

/// What a day of the simulator does not write.
const LIMITS: &str = "CREATE TABLE limits (id INT UNSIGNED PRIMARY KEY, tiny TINYINT, small SMALLINT UNSIGNED,
      medium MEDIUMINT, big BIGINT UNSIGNED, whole INT, price DECIMAL(10,2), at DATETIME, day DATE,
      clock TIMESTAMP NULL, kind ENUM('Y','N'), word VARCHAR(300), code CHAR(3), note TEXT, raw BLOB, share DOUBLE, ratio FLOAT);
   INSERT INTO limits VALUES (0, -128, 65535, -8388608, 18446744073709551615, -2147483648, -12345678.90,
      '0000-00-00 00:00:00', '0000-00-00', NULL, '', '', '', '', '', -0.5, 1.5);
   INSERT INTO limits VALUES (1, 127, 0, 8388607, 0, 2147483647, 99999999.99, '9999-12-31 23:59:59',
      '2024-02-29', '2024-11-15 12:00:00', 'N', repeat('w', 300), 'abc', repeat('t', 70000), x'00ff01c3', 1e100, -2.25);
   INSERT INTO limits (id) VALUES (4294967295);
   UPDATE limits SET id = id - 1, word = NULL, kind = 'Y' WHERE id > 1;
   DELETE FROM limits WHERE id = 0";

/// What the program of a kind of server prints of a file. That it fails behind
/// a cut event does not matter: what it printed until then does.
fn printed(kind: &'static str, file: &Path) -> Vec<golden::Event> {
    let mut program = Server::printer_of(kind, &["-vv", "--base64-output=DECODE-ROWS"]);
    let output = program.arg(file).output();
    let output = output.expect("the program runs");
    assert!(
        output.stdout.len() > 100,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    golden::parse(&output.stdout)
}

#[test]
fn the_fixtures_are_what_mariadb_binlog_prints_of_them() {
    let mut rows = 0;
    for name in WHOLE.into_iter().chain([TRUNCATED]) {
        let (events, _) = fixture::events(name);
        let events: Vec<Event> = events.into_iter().map(mended).collect();
        let printed = printed("mariadb-10.11", &fixture::path(name));
        rows += compare(name, &events, &printed, WATCHED);
    }
    assert!(rows > 100, "{rows} rows");
}

/// Writes a day and the limits on a server, and compares all of its files.
fn day(kind: &'static str, name: &str, arguments: &[&str], engine: &str) -> Vec<u8> {
    let server = Server::of_kind(kind, &format!("oracle-{name}"), arguments);
    let site = Site::made(&server, "asterisk", &["--engine", engine]);
    site.calls(60, 3);
    site.sql(&server, &format!("SET SESSION sql_mode = ''; {LIMITS}"));
    server.sql("FLUSH BINARY LOGS");
    let (mut rows, mut codes) = (0, Vec::new());
    for path in server.binlogs() {
        let file = path.file_name().and_then(|name| name.to_str());
        let file = file.expect("a binlog's name");
        let bytes = std::fs::read(&path).expect("a binlog");
        let (events, error) = fixture::split(file, &bytes);
        assert!(error.is_none(), "{file}: {error:?}");
        codes.extend(events.iter().map(|event| event.header.code));
        rows += compare(file, &events, &printed(kind, &path), DAY);
    }
    assert!(rows > 400, "{name}: {rows} rows");
    codes
}

#[test]
fn a_day_of_mysql_is_what_mysqlbinlog_prints() {
    const COMPRESSION: &str = "--binlog-transaction-compression=ON";
    const PAYLOAD: u8 = 40;
    let metadata = ["--binlog-row-metadata=FULL", "--performance-schema=OFF"];
    let codes = day("mysql-9", "mysql", &metadata, "MyISAM");
    assert!(!codes.contains(&PAYLOAD));
    let codes = day(
        "mysql-9",
        "mysql-compressed",
        &[COMPRESSION, metadata[0], metadata[1]],
        "InnoDB",
    );
    assert!(codes.contains(&PAYLOAD));
}

#[test]
fn a_day_of_mariadb_is_what_mariadb_binlog_prints() {
    const WRITE_COMPRESSED: u8 = 166;
    let compressed = [
        "--log-bin-compress=ON",
        "--log-bin-compress-min-len=10",
        "--binlog-row-metadata=FULL",
    ];
    for kind in ["mariadb-11.8", "mariadb-10.11"] {
        let codes = day(kind, kind, &compressed, "MyISAM");
        assert!(codes.contains(&WRITE_COMPRESSED), "{kind}");
    }
    day("mariadb-11.8", "nameless", &[], "InnoDB");
}
