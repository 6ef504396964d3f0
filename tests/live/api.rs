//! The HTTP API of a running daemon, on each kind of store: results posted for the calls
//! that the binlog brings too, while it brings them, twice and in another order.

use serde_json::json;

use crate::client::{RESULTS, ask};
use crate::monitor::{address, answering, metric};
use crate::support::{Server, Site, wait_until};

/// Calls of a day.
const CALLS: u32 = 60;

/// Results of every call of the source, each three times, in another order than that of
/// the calls. Of what VICIdial knows nothing of it may be kept.
fn results(site: &Site, server: &Server) -> Vec<String> {
    let rows = site.sql(
        server,
        "SELECT uniqueid, phone_number, start_epoch FROM vicidial_log ORDER BY uniqueid",
    );
    let result = |row: &str| {
        let mut cells = row.split('\t');
        let mut cell = || cells.next().expect("three columns").to_owned();
        let (uniqueid, number, start) = (cell(), cell(), cell());
        let start: i64 = start.parse().expect("a time");
        json!({
            "uniqueid": uniqueid, "phoneNumber": number, "disposition": "POSTED",
            "duration": 1, "campaignId": "POSTED", "timestamp": start + 60,
        })
    };
    let once: Vec<String> = rows.lines().map(|row| result(row).to_string()).collect();
    let mut all: Vec<String> = once.iter().rev().cloned().collect();
    all.extend(once.iter().skip(once.len() / 2).cloned());
    all.extend(once.iter().take(once.len() / 2).cloned());
    all.extend(once);
    all
}

#[track_caller]
fn posts_are_one_with_the_binlog(site: &Site, server: &Server) {
    answering(site);
    site.calls(CALLS, 1);
    let key = site.didtail(&["api-key", "create", "--label", "test", "--json"]);
    let key = key.json()["key"].as_str().expect("a key").to_owned();
    let results = results(site, server);
    assert!(results.len() > 90, "{}", results.len());
    let mut daemon = site.daemon();
    let address = address(&mut daemon);
    wait_until("the store is open", || {
        let (status, _) = ask(&address, "GET", "/api/v1/dids", &key, "");
        (status == 200).then_some(())
    });
    for result in &results {
        let (status, answer) = ask(&address, "POST", RESULTS, &key, result);
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["message"], "Call result recorded");
    }
    site.wait_for_end(server);
    let all_taken = || {
        wait_until("every result is taken", || {
            let waiting = metric(&address, "didtail_posted_results_waiting");
            waiting.filter(|waiting| *waiting < 0.5).map(drop)
        });
    };
    all_taken();
    assert!(site.assert_equals_source() > 30);
    let alone = "SELECT count(*) FROM call_records WHERE origin = 'posted'";
    assert_eq!(site.stored::<i64>(alone), 0);

    // A call that VICIdial does not tell of, until it does.
    let result = json!({
        "uniqueid": "1772366400.77", "phoneNumber": "2025550143", "didUsed": "3125550177",
        "disposition": "17", "timestamp": 1_772_366_420,
    });
    let (status, answer) = ask(&address, "POST", RESULTS, &key, &result.to_string());
    assert_eq!(status, 200, "{answer}");
    assert!(answer["data"]["didId"].is_i64(), "{answer}");
    let path = "/api/v1/call-records?did=3125550177";
    let record = || {
        let (status, page) = ask(&address, "GET", path, &key, "");
        assert_eq!(status, 200, "{page}");
        let data = page["data"].as_array().expect("a page");
        assert!(data.len() < 2, "{page}");
        data.first().cloned()
    };
    let posted = wait_until("it is a call", record);
    assert_eq!(posted["outcome"], "busy");
    assert_eq!(posted["recordId"], answer["data"]["recordId"]);
    site.sql(
        server,
        "INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,status,\
         phone_number,user,length_in_sec) values('1772366400.77','990077','SALESEST',\
         FROM_UNIXTIME(1772366402),'1772366402','NI','2025550143','6001','5')",
    );
    site.wait_for_end(server);
    let known = record().expect("it is there");
    assert_eq!(known["disposition"], "NI");
    assert_eq!(known["leadId"], 990_077);
    assert_eq!(known["hangupCause"], 17);
    let (_, stats) = ask(&address, "GET", "/api/v1/dids/3125550177/stats", &key, "");
    assert_eq!(stats["data"]["total"]["totalCalls"], 1, "{stats}");
    let (status, _) = ask(&address, "GET", path, "didtail_none", "");
    assert_eq!(status, 401);
    // What was posted is no difference to VICIdial.
    let said = site.didtail(&["verify", "--since", "2026-02-01T00:00:00Z"]);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    let log = daemon.stop();
    assert!(!log.contains(&key) && !log.contains("5550143"), "{log}");
    assert!(!log.contains("ERROR"), "{log}");
    site.assert_invariant();
}

#[test]
fn posts_are_one_with_the_binlog_in_a_file() {
    let server = Server::start("api-file", &[]);
    let site = Site::new(&server, "asterisk");
    posts_are_one_with_the_binlog(&site, &server);
}

#[test]
fn posts_are_one_with_the_binlog_on_postgres() {
    let server = Server::start("api-postgres", &[]);
    let store = Server::of_kind("postgres", "api-postgres-store", &[]);
    let site = Site::new(&server, "asterisk").on_store(&store.store_url("optimizer"));
    posts_are_one_with_the_binlog(&site, &server);
}

#[test]
fn posts_are_one_with_the_binlog_on_mariadb() {
    let server = Server::start("api-mariadb", &[]);
    let site = Site::new(&server, "asterisk").on_store(&server.store_url("optimizer"));
    posts_are_one_with_the_binlog(&site, &server);
}
