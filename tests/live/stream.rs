//! What a VICIdial server sends besides calls, and what must not move a number.

use crate::support::{Server, Site, wait_until};

/// What the daemon may use, whatever passes and however large the store is.
const PEAK_MIB_MAX: u64 = 100;

const ARCHIVED_ROWS: &str = "200000";

#[test]
fn latin1_text_and_odd_statements_pass() {
    let server = Server::shared();
    let site = Site::new(server, "odd_statements");
    site.calls(40, 1);
    let daemon = site.following();
    // The connection speaks UTF-8, and the server stores the one byte e9.
    site.sql(
        server,
        "UPDATE vicidial_log SET comments='José' ORDER BY call_date LIMIT 20",
    );
    let stored = site.sql(server, "SELECT DISTINCT HEX(comments) FROM vicidial_log");
    assert!(stored.contains("4A6F73E9"), "{stored}");
    // Not undone by the ROLLBACK: the table is no transactional one.
    site.sql(
        server,
        "CREATE TABLE plain (id INT) ENGINE=InnoDB;
         BEGIN;
         INSERT INTO plain VALUES (1);
         UPDATE vicidial_log SET status='SALE', length_in_sec=77 ORDER BY call_date DESC LIMIT 3;
         ROLLBACK",
    );
    site.sql(
        server,
        "OPTIMIZE TABLE vicidial_log; ANALYZE TABLE vicidial_log; FLUSH TABLES;
         FLUSH BINARY LOGS; TRUNCATE TABLE vicidial_live_agents; SAVEPOINT a; DROP TABLE plain",
    );
    site.calls(40, 2);
    site.wait_for_end(server);
    let log = daemon.stop();
    site.assert_equals_source();
    let sold: i64 = site.stored("SELECT count(*) FROM call_records WHERE duration_seconds = 77");
    assert!(sold >= 3, "a rolled back MyISAM change was lost");
    assert!(!log.contains("ERROR"), "{log}");
    assert_eq!(quarantined(&site), 0);
}

#[test]
fn a_server_restart_is_survived_and_memory_tables_may_be_emptied() {
    let server = Server::start("restart", &[]);
    let site = Site::new(&server, "asterisk");
    site.calls(40, 1);
    let mut daemon = site.following();
    site.wait_for_end(&server);
    server.stop();
    daemon.wait_for("lost the source; connecting again");
    server.start_again();
    // The first look at a MEMORY table after a restart writes a TRUNCATE.
    site.sql(&server, "SELECT count(*) FROM live_channels");
    let binlog = server.sql("SHOW BINLOG EVENTS IN 'binlog.000002'");
    let truncated = binlog.contains("TRUNCATE TABLE `asterisk`.`live_channels`");
    assert!(truncated, "this server empties no MEMORY table: {binlog}");
    site.calls(40, 2);
    site.wait_for_end(&server);
    let log = daemon.stop();
    assert!(log.contains(" WARN "), "{log}");
    assert!(!log.contains("ERROR"), "{log}");
    site.assert_equals_source();
}

#[test]
fn a_column_added_in_the_middle_is_read_past() {
    let server = Server::start("alter", &[]);
    for metadata in ["NO_LOG", "MINIMAL", "FULL"] {
        server.sql(&format!("SET GLOBAL binlog_row_metadata = {metadata}"));
        let site = Site::new(&server, &format!("alter_{}", metadata.to_lowercase()));
        site.calls(30, 1);
        // Once while it follows …
        let daemon = site.following();
        site.wait_for_end(&server);
        site.sql(
            &server,
            "ALTER TABLE vicidial_log ADD COLUMN score SMALLINT UNSIGNED DEFAULT 7 AFTER campaign_id",
        );
        site.calls(30, 2);
        site.wait_for_end(&server);
        daemon.stop();
        // … and once while it is down, with rows of both shapes to come.
        site.calls(30, 3);
        site.sql(
            &server,
            "ALTER TABLE vicidial_log ADD COLUMN note VARCHAR(40) DEFAULT 'x' AFTER lead_id",
        );
        site.calls(30, 4);
        let summary = site.catch_up();
        assert_eq!(summary["missing"], serde_json::json!([]), "{metadata}");
        assert_eq!(quarantined(&site), 0, "{metadata}");
        site.assert_equals_source();
    }
}

#[test]
fn archiving_moves_no_number_and_needs_no_memory() {
    let server = Server::start("archive", &[]);
    let site = Site::new(&server, "asterisk");
    site.calls(200, 1);
    site.simulator("bulk", &["--rows", ARCHIVED_ROWS]);
    let daemon = site.following();
    site.wait_for_end(&server);
    let filling = daemon.peak_mib();
    daemon.stop();
    let calls: i64 = site.stored("SELECT count(*) FROM call_records");
    assert!(calls > 200_000, "{calls}");
    let numbers = site.numbers();
    // A fresh one shows what the archiving itself takes.
    let daemon = site.following();
    let archived = site.simulator("archive", &["--older-than", "2592000"]);
    assert!(archived.contains("deleted 200"), "{archived}");
    site.wait_for_end(&server);
    let peak = daemon.peak_mib();
    println!("peak memory: {filling} MiB with 200,000 new calls, {peak} MiB archiving them");
    let log = daemon.stop();
    assert!(!log.contains("ERROR"), "{log}");
    assert!(peak < PEAK_MIB_MAX, "{peak} MiB");
    assert!(filling < PEAK_MIB_MAX, "{filling} MiB");
    assert!(site.numbers() == numbers, "archiving moved numbers");
    site.assert_invariant();
}

#[test]
fn a_session_that_writes_statements_counts_too() {
    let server = Server::shared();
    let site = Site::new(server, "statements");
    site.calls(30, 1);
    let mut daemon = site.following();
    site.wait_for_end(server);
    site.sql(
        server,
        "SET SESSION binlog_format = STATEMENT;
         INSERT INTO vicidial_log SET uniqueid='1.1', lead_id=1, status='SALE', start_epoch=1,
             campaign_id='TEST', phone_number='2125550143', user='6001';
         UPDATE vicidial_log SET status='NI' WHERE lead_id=1 AND uniqueid LIKE '1.%'",
    );
    daemon.wait_for("the source writes statements instead of rows");
    site.calls(30, 2);
    site.wait_for_end(server);
    let call = "SELECT disposition FROM call_records WHERE uniqueid = '1.1'";
    assert_eq!(site.stored::<String>(call), "NI");
    let shapes = wait_until("the status says what was read again", || {
        let status = site.didtail(&["status", "--json"]).json();
        let rereads = &status["sources"][0]["rereads"];
        (rereads["changes"] == 2).then(|| rereads["shapes"].to_string())
    });
    assert!(
        shapes.contains("UPDATE vicidial_log by lead_id, uniqueid"),
        "{shapes}"
    );
    daemon.stop();
}

fn quarantined(site: &Site) -> i64 {
    let count = "SELECT count(*) FROM quarantine";
    let count = site.state().query_row(count, [], |row| row.get(0));
    count.expect("a number")
}

#[test]
fn a_wipe_takes_nothing_away_from_a_call_that_has_two_rows() {
    let server = Server::shared();
    let site = Site::new(server, "wiped");
    let twins = "SET @now = UNIX_TIMESTAMP() - 60;
        INSERT INTO vicidial_log SET uniqueid=CONCAT(@now, '.1'), lead_id=1, status='SALE',
            start_epoch=@now, call_date=FROM_UNIXTIME(@now), length_in_sec=50;
        INSERT INTO vicidial_log SET uniqueid=CONCAT(@now, '.2'), lead_id=1, status='NI',
            start_epoch=@now, call_date=FROM_UNIXTIME(@now);";
    site.sql(server, &format!("{twins} DELETE FROM vicidial_log;"));
    site.catch_up();
    let counted = "SELECT count(*) FROM call_records WHERE counted";
    assert_eq!(site.stored::<i64>(counted), 2, "archived");
    let other = twins.replace("lead_id=1", "lead_id=2").replace("'.", "'.9");
    let clean = "DELETE FROM vicidial_log WHERE lead_id=2 ORDER BY uniqueid DESC LIMIT 1;";
    site.sql(server, &format!("{other} {clean}"));
    site.catch_up();
    assert_eq!(site.stored::<i64>(counted), 3, "one of two was cleaned up");
}
