//! A server shows a transaction to its replicas before it shows it to readers.
//! What didtail reads again must not be what the rows were before.

use std::time::{Duration, Instant};

use crate::support::{Server, Site};

/// How long the server waits, between its binlog and its tables, for a replica
/// that never answers.
const HELD_MS: u32 = 1500;

/// A call that ends, and then gets its disposition.
const CALL: &str = "INSERT INTO vicidial_log SET uniqueid='1730635200.7', lead_id=7, \
    call_date=NOW(), start_epoch=UNIX_TIMESTAMP(), status='DISPO', phone_number='2125550107', \
    campaign_id='TESTCAMP', list_id=999, phone_code='1', user='1001', comments='AUTO', \
    processed='N', length_in_sec=0";
const DISPOSITION: &str = "UPDATE vicidial_log SET status='SALE', length_in_sec=42 \
    WHERE uniqueid='1730635200.7' AND lead_id=7";

/// Runs a statement that is in the binlog long before its rows are to be seen,
/// with didtail following; the last state must be the store's. `hold` makes
/// the server wait for a replica with the next transaction, once.
fn is_read_late(server: &Server, hold: &str) {
    let site = Site::made(server, "asterisk", &["--engine", "InnoDB"]);
    site.calls(20, 1);
    let daemon = site.following();
    site.sql(server, CALL);
    site.wait_for_end(server);
    server.sql(hold);
    let began = Instant::now();
    site.sql(server, DISPOSITION);
    let held = began.elapsed();
    assert!(
        held > Duration::from_millis(u64::from(HELD_MS) / 2),
        "the server did not hold its transactions back: {held:?}"
    );
    site.wait_for_end(server);
    let (disposition, seconds): (String, i64) = site
        .store()
        .query_row(
            "SELECT disposition, duration_seconds FROM call_records WHERE uniqueid = '1730635200.7'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .expect("the call");
    assert_eq!((disposition.as_str(), seconds), ("SALE", 42));
    let log = daemon.stop();
    assert!(
        !log.contains("ERROR") && !log.contains("lost the source"),
        "{log}"
    );
}

#[test]
fn mariadb_is_asked_for_what_it_has_committed() {
    let server = Server::start("committed", &["--binlog-format=MIXED"]);
    server.sql(&format!(
        "SET GLOBAL rpl_semi_sync_master_wait_point = AFTER_SYNC, \
         GLOBAL rpl_semi_sync_master_wait_no_slave = ON, \
         GLOBAL rpl_semi_sync_master_timeout = {HELD_MS}"
    ));
    let hold = "SET GLOBAL rpl_semi_sync_master_enabled = OFF; \
                SET GLOBAL rpl_semi_sync_master_enabled = ON";
    is_read_late(&server, hold);
}

#[test]
fn mysql_is_asked_for_what_it_has_committed() {
    let arguments = [
        "--binlog-format=MIXED",
        "--gtid-mode=ON",
        "--enforce-gtid-consistency=ON",
    ];
    let server = Server::of_kind("mysql-9", "committed-mysql", &arguments);
    server.sql(&format!(
        "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'; \
         SET GLOBAL rpl_semi_sync_source_wait_no_replica = ON, \
         GLOBAL rpl_semi_sync_source_timeout = {HELD_MS}"
    ));
    let hold = "SET GLOBAL rpl_semi_sync_source_enabled = OFF; \
                SET GLOBAL rpl_semi_sync_source_enabled = ON";
    is_read_late(&server, hold);
}
