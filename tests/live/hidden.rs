//! What `didtail doctor` says of triggers, functions and views that write call
//! tables behind statements that do not name them.

use crate::support::{Server, Site};

/// Outcome, what is there and what mends it.
fn finding(site: &Site) -> Option<[String; 3]> {
    let ended = site.didtail(&["doctor", "--json"]);
    let all: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let findings = all["findings"].as_array().expect("a list");
    let mut ones = findings.iter();
    let one = ones.find(|one| one["check"] == "unseen writers")?;
    Some(["outcome", "actual", "fix"].map(|name| one[name].as_str().unwrap_or("").to_owned()))
}

fn tells(kind: &'static str) {
    let server = Server::of_kind(
        kind,
        &format!("hidden-{kind}"),
        &["--log-bin-trust-function-creators=1"],
    );
    let site = Site::new(&server, "asterisk");
    assert_eq!(finding(&site), None, "rows hide nothing");
    server.sql("SET GLOBAL binlog_format = MIXED");
    // The account of the manual may read tables, and no triggers.
    let unseen = finding(&site).expect("looked for");
    assert_eq!(unseen[0], "unknown", "{unseen:?}");
    assert!(unseen[1].contains("may not see triggers"), "{unseen:?}");
    assert!(
        unseen[2].contains("information_schema.TRIGGERS"),
        "{unseen:?}"
    );
    assert!(
        unseen[2].contains("`SHOW CREATE FUNCTION/VIEW NAME`"),
        "{unseen:?}"
    );
    server.sql("GRANT TRIGGER, SHOW VIEW, EXECUTE, ALTER ROUTINE ON asterisk.* TO didtail@'%'");
    assert_eq!(finding(&site).expect("looked for")[0], "good");
    // The trigger of those who had no binlog: it fills a queue of its own.
    site.sql(
        &server,
        "CREATE TABLE call_queue (uniqueid VARCHAR(20));
         CREATE TRIGGER queue AFTER UPDATE ON vicidial_log FOR EACH ROW
             INSERT INTO call_queue VALUES (NEW.uniqueid)",
    );
    assert_eq!(finding(&site).expect("looked for")[0], "good");
    site.sql(
        &server,
        "CREATE VIEW calls AS SELECT uniqueid, status FROM vicidial_log",
    );
    let view = finding(&site).expect("looked for");
    assert_eq!(view[0], "note", "{view:?}");
    assert!(
        view[1].contains("views that can be written to: calls"),
        "{view:?}"
    );
    site.sql(
        &server,
        "CREATE TRIGGER mend AFTER INSERT ON call_queue FOR EACH ROW
             UPDATE vicidial_carrier_log SET hangup_cause=21 WHERE uniqueid=NEW.uniqueid",
    );
    let bad = finding(&site).expect("looked for");
    assert_eq!(bad[0], "bad", "{bad:?}");
    let named = "triggers: asterisk.mend on call_queue;";
    assert!(bad[1].contains(named), "{bad:?}");
    for part in ["binlog_format = 'ROW';", "then restart what keeps"] {
        assert!(bad[2].contains(part), "{bad:?}");
    }
    // ROW is set, and a session of before writes statements still.
    server.sql("SET GLOBAL binlog_format = ROW");
    assert_eq!(finding(&site), None);
    site.sql(
        &server,
        "SET SESSION binlog_format = STATEMENT;
         INSERT INTO vicidial_carrier_log SET uniqueid='1', server_ip='1', lead_id=1, call_date=NOW()",
    );
    let still = finding(&site).expect("looked for");
    assert_eq!(still[0], "note", "{still:?}");
    assert!(still[1].contains(named), "{still:?}");
    assert!(still[1].contains("sessions that still write"), "{still:?}");
    assert!(still[2].contains("restart what keeps"), "{still:?}");
}

#[test]
fn writers_that_statements_hide_are_told_on_mariadb() {
    tells("mariadb-11.8");
}

#[test]
fn writers_that_statements_hide_are_told_on_mysql() {
    tells("mysql-9");
}
