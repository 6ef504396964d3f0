//! Every kind of server, with the settings that change what its binlog looks
//! like: a day of traffic is followed, and equals the truth.

use crate::support::{Server, Site};

/// Tables whose rows the engine reads.
const WATCHED: [&str; 5] = [
    "vicidial_log",
    "vicidial_log_extended",
    "vicidial_dial_log",
    "vicidial_dial_cid_log",
    "vicidial_carrier_log",
];

/// Demands that the server wrote events of such a name.
#[track_caller]
fn assert_has_events(server: &Server, name: &str) {
    let files = server.sql("SHOW BINARY LOGS");
    let files = files.lines().filter_map(|line| line.split('\t').next());
    let found = files
        .map(|file| server.sql(&format!("SHOW BINLOG EVENTS IN '{file}'")))
        .any(|events| events.contains(name));
    assert!(found, "the server wrote no {name}");
}

/// Sets the globals, writes traffic behind each, and compares.
#[track_caller]
fn follows(server: &Server, site: &Site, settings: &[&str]) {
    let daemon = site.following();
    for (seed, setting) in (1_u32..).zip(settings) {
        // New sessions see it; the simulator opens its own.
        server.sql(setting);
        site.calls(40, seed);
    }
    site.wait_for_end(server);
    assert!(site.assert_equals_source() > 25 * settings.len());
    // Nothing was quarantined, and nothing is missing.
    let status = site.didtail(&["status", "--json"]).json();
    let source = &status["sources"][0];
    assert_eq!(source["health"], "running", "{source}");
    assert_eq!(source["quarantined_rows"], 0, "{source}");
    daemon.stop();
    // The same once more, from the start, changes nothing.
    let numbers = site.numbers();
    site.didtail(&["checkpoint", "reset", "--to", "earliest", "--yes"])
        .good();
    site.catch_up();
    assert!(site.numbers() == numbers, "a replay changed a number");
}

#[test]
fn mysql_9_in_every_form_of_its_binlog() {
    let server = Server::of_kind(
        "mysql-9",
        "mysql",
        &["--performance-schema=OFF", "--sync-binlog=0"],
    );
    let site = Site::new(&server, "nine");
    // Only what can be rolled back is compressed.
    for table in WATCHED {
        site.sql(&server, &format!("ALTER TABLE {table} ENGINE=InnoDB"));
    }
    follows(
        &server,
        &site,
        &[
            "SET GLOBAL binlog_transaction_compression = ON",
            "SET GLOBAL binlog_row_metadata = FULL",
            "SET GLOBAL binlog_transaction_compression = OFF",
            "SET GLOBAL binlog_checksum = NONE, GLOBAL binlog_row_metadata = MINIMAL",
            "SET GLOBAL binlog_transaction_compression = ON",
        ],
    );
    assert_has_events(&server, "Transaction_payload");
    // A transaction with a tag, and one that is far larger than it is packed.
    site.sql(
        &server,
        "SET SESSION gtid_next = 'AUTOMATIC:didtail'; \
         INSERT INTO vicidial_campaign_stats (campaign_id) VALUES ('TAGGED')",
    );
    let wide = "INSERT INTO vicidial_dial_log (caller_code,lead_id,server_ip,call_date,outbound_cid) \
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 100000) \
         SELECT CONCAT('V30108', LPAD(n, 14, '0')), n, '10.0.0.1', '2026-03-01 12:00:00', \
         '\"x\" <3125550100>' FROM n";
    let set = "SET SESSION cte_max_recursion_depth = 200000";
    site.sql(&server, &format!("{set}; {wide}"));
    let daemon = site.following();
    site.wait_for_end(&server);
    let dials = "SELECT count(*) FROM dials WHERE caller_code LIKE 'V30108%'";
    assert_eq!(site.stored::<i64>(dials), 100_000);
    assert!(daemon.peak_mib() < 150, "{} MiB", daemon.peak_mib());
    let stored: String = site.stored("SELECT gtid FROM replication_progress");
    let executed = server.sql("SELECT @@GLOBAL.gtid_executed");
    assert_eq!(stored, executed.trim().replace("\\n", ""));
    assert!(stored.contains(":didtail:1"), "{stored}");
}

#[test]
fn mariadb_11_8_in_every_form_of_its_binlog() {
    let server = Server::of_kind("mariadb-11.8", "mariadb", &[]);
    let site = Site::new(&server, "eleven");
    follows(
        &server,
        &site,
        &[
            "SET GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10",
            "SET GLOBAL binlog_row_metadata = FULL",
            "SET GLOBAL log_bin_compress = OFF",
            "SET GLOBAL binlog_checksum = NONE, GLOBAL binlog_row_metadata = MINIMAL",
        ],
    );
    assert_has_events(&server, "Write_rows_compressed_v1");
}
