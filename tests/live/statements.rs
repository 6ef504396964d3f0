//! Statements of a real server, read late: the store is that of the rows.

use crate::support::{Server, Site};

/// Two calls of one dial, and what is done to them. `{T}` is a second.
const SCRIPT: &str = "
    INSERT INTO vicidial_dial_log SET caller_code='V1112150007000000007', lead_id=7,
        call_date=FROM_UNIXTIME({T}-20), outbound_cid='\"V1112150007000000007\" <3125550100>';
    INSERT INTO vicidial_log SET uniqueid='{T}.1', lead_id=7, status='QUEUE', start_epoch={T},
        call_date=FROM_UNIXTIME({T}), campaign_id='TEST', phone_number='2125550143', user='VDAD';
    INSERT INTO vicidial_log_extended SET uniqueid='{T}.1', lead_id=7,
        call_date=FROM_UNIXTIME({T}), caller_code='V1112150007000000007';
    UPDATE vicidial_log SET status='SALE', length_in_sec=60 WHERE uniqueid='{T}.1' OR uniqueid='{T}.9';
    UPDATE vicidial_log SET lead_id=8 WHERE uniqueid='{T}.1';
    UPDATE vicidial_log SET uniqueid='{T}.2' WHERE uniqueid='{T}.1';
    UPDATE vicidial_log SET uniqueid=CONCAT(uniqueid,'3') WHERE uniqueid='{T}.2';
    UPDATE vicidial_log SET lead_id=9, status='NI' WHERE lead_id=8;
    CALL correct('{T}.23', 'SALE');
    UPDATE vicidial_log l, vicidial_campaign_statuses s SET l.user='6001' WHERE l.uniqueid='{T}.23';
    INSERT INTO vicidial_log SET uniqueid='{T}.5', lead_id=7, status='NA', start_epoch={T},
        call_date=FROM_UNIXTIME({T}), campaign_id='TEST', phone_number='2125550144', user='VDAD';
    UPDATE vicidial_log SET uniqueid='{T}.6', status='AA' WHERE lead_id=7 AND uniqueid LIKE '{T}%';
    UPDATE vicidial_log SET lead_id=10 WHERE (uniqueid, lead_id) IN (('{T}.6', 7));";

const PROCEDURE: &str = "
    INSERT IGNORE INTO vicidial_campaign_statuses SET status='X', campaign_id='X';
    CREATE PROCEDURE correct(name VARCHAR(20), result VARCHAR(6))
        UPDATE vicidial_log SET status=result WHERE uniqueid=name";

/// What the calls and the numbers are, for people.
fn stored(site: &Site) -> String {
    let calls: String = site.stored(
        "SELECT group_concat(line, char(10)) FROM (SELECT uniqueid || ' ' || lead_id || ' ' ||
         disposition || ' ' || coalesce((SELECT d.phone_number FROM dids d WHERE d.id = did_id), '-') || ' ' || counted || ' ' || agent_id AS line
         FROM call_records ORDER BY uniqueid, lead_id)",
    );
    let numbers: String = site.stored(
        "SELECT group_concat(phone_number || ' ' || total_calls || ' ' || successful_calls || ' ' || dials,
         char(10)) FROM did_summary",
    );
    format!("{calls}\n{numbers}")
}

fn runs(kind: &'static str) {
    let server = Server::of_kind(kind, &format!("statements-{kind}"), &[]);
    let now = server.sql("SELECT UNIX_TIMESTAMP() - 600");
    let now = now.trim();
    let mut rows = None;
    for format in ["ROW", "MIXED", "STATEMENT"] {
        server.sql(&format!("SET GLOBAL binlog_format = {format}"));
        let site = Site::new(&server, &format!("said_{}", format.to_lowercase()));
        site.sql(&server, PROCEDURE);
        site.catch_up();
        site.sql(&server, &SCRIPT.replace("{T}", now));
        let summary = site.catch_up();
        assert_eq!(summary["missing"], serde_json::json!([]), "{format}");
        site.assert_invariant();
        let found = stored(&site);
        let rows = rows.get_or_insert_with(|| found.clone());
        assert_eq!(found, *rows, "{kind} {format}");
    }
    let rows = rows.expect("a first format");
    assert!(
        rows.contains(&format!("{now}.23 9 SALE +13125550100 1 6001")),
        "{rows}"
    );
    assert!(rows.contains(&format!("{now}.6 10 AA")), "{rows}");
    assert_eq!(rows.lines().count(), 3, "{rows}");
}

#[test]
fn calls_that_get_other_keys_are_those_of_the_rows_on_mariadb() {
    runs("mariadb-11.8");
}

#[test]
fn calls_that_get_other_keys_are_those_of_the_rows_on_mysql() {
    runs("mysql-9");
}
