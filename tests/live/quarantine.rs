//! Rows that were quarantined, and what an operator can do about them.

use crate::support::{Server, Site, wait_until};

/// A site with rows in the quarantine: `vicidial_log` was altered twice while nobody
/// followed, so that the columns between are known to nobody.
fn with_rows_aside(server: &Server, database: &str) -> (Site, u64) {
    server.sql("SET GLOBAL binlog_row_metadata = NO_LOG");
    let site = Site::new(server, database);
    site.calls(30, 1);
    site.catch_up();
    site.sql(
        server,
        "ALTER TABLE vicidial_log ADD queue VARCHAR(6) DEFAULT 'SALE' AFTER length_in_sec",
    );
    site.calls(25, 2);
    site.sql(
        server,
        "ALTER TABLE vicidial_log DROP queue, ADD agent VARCHAR(20) AFTER user",
    );
    site.calls(30, 3);
    let said = site.catch_up();
    let list = site.didtail(&["quarantine", "list", "--json"]).json();
    let count = list["count"].as_u64().expect("a count");
    assert!(count > 0, "{said} {list}");
    (site, count)
}

fn missing(site: &Site) -> u64 {
    let said = site.didtail(&["status", "--json"]).json();
    let missing = &said["sources"][0]["missing"]["quarantined"];
    missing.as_u64().unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn rows_are_tried_again_beside_the_daemon_and_the_numbers_are_exact() {
    let server = Server::start("quarantine", &[]);
    let (site, count) = with_rows_aside(&server, "asterisk");
    assert_eq!(missing(&site), count);
    let list = site.didtail(&["quarantine", "list"]).good();
    assert!(
        list.contains("vicidial_log") && list.contains("altered more than once"),
        "{list}"
    );
    let id = site.didtail(&["quarantine", "list", "--json"]).json()["rows"][0]["id"].to_string();
    let shown = site.didtail(&["quarantine", "show", &id]).good();
    assert!(
        shown.contains("position") && !shown.contains("table map"),
        "{shown}"
    );
    let bytes = site
        .didtail(&["quarantine", "show", &id, "--bytes", "--json"])
        .json();
    assert!(
        bytes["event"].as_str().is_some_and(|hex| hex.len() > 100),
        "{bytes}"
    );

    // Nobody is there to say yes.
    site.didtail(&["quarantine", "retry", "--all"])
        .fails(1, "no terminal to ask", "--yes");
    let plan = site
        .didtail(&["quarantine", "retry", "--all", "--dry-run", "--json"])
        .json();
    assert_eq!(
        plan["mended"].as_array().map(Vec::len),
        usize::try_from(count).ok(),
        "{plan}"
    );
    assert_eq!(missing(&site), count, "a dry run changes nothing");
    // Going by them once more does not make them more.
    let reset = ["checkpoint", "reset", "--to", "earliest", "--yes"];
    site.didtail(&reset).good();
    site.catch_up();
    assert_eq!(missing(&site), count);

    let daemon = site.following();
    site.calls(20, 4);
    let done = site
        .didtail(&["quarantine", "retry", "--all", "--yes", "--json"])
        .json();
    assert_eq!(done["stay"], serde_json::json!([]), "{done}");
    assert_eq!(done["dids"], plan["dids"], "as it was said before");
    assert!(done["changed"].as_u64() > Some(0), "{done}");
    site.wait_for_end(&server);
    wait_until("the daemon knows that nothing is missing", || {
        let said = site.didtail(&["status", "--json"]).json();
        (said["sources"][0]["health"] == "running").then_some(())
    });
    daemon.stop();
    assert_eq!(missing(&site), 0);
    site.assert_equals_source();
    let actions: i64 = site.stored("SELECT count(*) FROM audit_log WHERE action = 'ROWS_RETRIED'");
    assert_eq!(actions, 1);
    let nothing = site.didtail(&["quarantine", "retry", "--all"]).good();
    assert!(nothing.contains("No row is quarantined"), "{nothing}");
}

/// What a script in the dialplan reported stands in a table without a key.
#[test]
fn a_report_of_the_dialplan_is_found_by_its_caller_code() {
    let server = Server::start("quarantine-report", &[]);
    server.sql("SET GLOBAL binlog_row_metadata = NO_LOG");
    let site = Site::new(&server, "asterisk");
    site.configure(&(site.config() + "\n[attribution]\nprefer = \"reported\"\n"));
    site.calls(30, 1);
    site.catch_up();
    let code: String = site
        .stored("SELECT caller_code FROM call_records WHERE attribution = 'caller_code' LIMIT 1");
    let table = "vicidial_tiltx_shaken_log";
    site.sql(
        &server,
        &format!(
            "ALTER TABLE {table} ADD one INT AFTER CallerIDToUse; \
             INSERT INTO {table} (db_time,server_ip,url_log_id,caller_code,CallerIDToUse) \
             VALUES (NOW(),'10.0.0.1',1,'{code}','3125550142'); \
             ALTER TABLE {table} DROP one, ADD two VARCHAR(9) AFTER CallerIDToUse"
        ),
    );
    site.catch_up();
    let reported = "SELECT count(*) FROM call_records c JOIN dids ON dids.id = c.did_id \
                    WHERE attribution = 'reported' AND dids.phone_number = '+13125550142'";
    assert_eq!(site.stored::<i64>(reported), 0);
    let list = site.didtail(&["quarantine", "list", "--json"]).json();
    assert_eq!(list["rows"][0]["table"], table, "{list}");
    let done = site
        .didtail(&["quarantine", "retry", "--all", "--yes", "--json"])
        .json();
    assert_eq!(done["stay"], serde_json::json!([]), "{done}");
    assert_eq!(site.stored::<i64>(reported), 1, "{done}");
    site.assert_invariant();
}

#[test]
fn rows_that_are_in_no_table_any_more_stay_until_they_are_given_up() {
    let server = Server::start("quarantine-gone", &[]);
    let (site, count) = with_rows_aside(&server, "asterisk");
    site.sql(&server, "TRUNCATE TABLE vicidial_log");
    let before = site.numbers();
    let done = site
        .didtail(&["quarantine", "retry", "--all", "--yes", "--json"])
        .json();
    assert_eq!(done["mended"], serde_json::json!([]), "{done}");
    assert_eq!(
        done["stay"].as_array().map(Vec::len),
        usize::try_from(count).ok(),
        "{done}"
    );
    assert!(
        done["advice"]
            .as_str()
            .is_some_and(|advice| advice.contains("verify --since"))
    );
    assert!(site.numbers() == before, "a number moved");
    site.didtail(&["quarantine", "discard", "99999", "--yes"])
        .fails(1, "no row 99999 is quarantined", "quarantine list");
    site.didtail(&["quarantine", "discard", "--all"])
        .fails(1, "no terminal to ask", "--yes");
    let said = site
        .didtail(&["quarantine", "discard", "--all", "--yes"])
        .good();
    assert!(
        said.contains(&format!("{count} rows were given up")),
        "{said}"
    );
    assert_eq!(missing(&site), 0);
    assert!(site.numbers() == before, "a number moved");
    let said = site.didtail(&["quarantine", "list"]).good();
    assert!(said.contains("No row is quarantined"), "{said}");
}
