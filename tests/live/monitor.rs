//! What a daemon says of itself over HTTP, and what a SIGHUP changes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::statuses::{is_success, sells};
use crate::support::{Server, Site, wait_until};
pub(crate) use crate::support::{address, answering};

/// Longer than any answer takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Status and body of what is there.
#[track_caller]
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it answers");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// What `/healthz` says of the only source.
#[track_caller]
fn health(address: &str) -> (u16, serde_json::Value) {
    let (status, body) = get(address, "/healthz");
    let document: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    (status, document["sources"][0].clone())
}

/// One series of `/metrics`.
#[track_caller]
pub(crate) fn metric(address: &str, series: &str) -> Option<f64> {
    let (_, text) = get(address, "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map(|value| value.trim().parse().expect("a number"))
}

#[test]
fn health_and_metrics_say_how_it_goes() {
    let server = Server::start("monitor", &["--expire-logs-days=3"]);
    let site = Site::new(&server, "asterisk");
    answering(&site);
    let mut daemon = site.daemon();
    let address = address(&mut daemon);
    site.calls(60, 1);
    site.wait_for_end(&server);
    wait_until("all is read and stored", || {
        let (status, source) = health(&address);
        (status == 200 && source["idle"] == true).then_some(())
    });
    let (_, source) = health(&address);
    assert_eq!(source["health"], "running", "{source}");
    assert_eq!(source["lag_seconds"], 0, "{source}");
    assert_eq!(get(&address, "/readyz").0, 200);
    let number = |series: &str| metric(&address, series).unwrap_or_else(|| panic!("{series}"));
    for series in [
        "didtail_source_connected",
        "didtail_lease_held",
        "didtail_idle",
    ] {
        let series = format!("{series}{{source=\"main\"}}");
        assert!((number(&series) - 1.0).abs() < f64::EPSILON, "{series}");
    }
    let results = number("didtail_results_total{source=\"main\"}");
    assert!((results - site.stored::<f64>("SELECT count(*) FROM audit_log")).abs() < 0.5);
    let rows = number("didtail_table_rows_total{source=\"main\",table=\"vicidial_log\"}");
    assert!(
        rows >= site.stored::<f64>("SELECT count(*) FROM call_records"),
        "{rows}"
    );
    assert!(number("didtail_commit_duration_seconds_count{source=\"main\"}") > 0.5);
    let left = wait_until("the source was asked how long it keeps its binlog", || {
        metric(&address, "didtail_position_purge_seconds{source=\"main\"}")
    });
    // It is in the newest file, which is not closed yet.
    assert!((left - 3.0 * 86_400.0).abs() < 0.5, "{left}");
    let (_, metrics) = get(&address, "/metrics");
    let dids = site.store();
    let mut dids = dids.prepare("SELECT phone_number FROM dids").expect("SQL");
    let dids = dids
        .query_map([], |row| row.get::<_, String>(0))
        .expect("rows");
    for did in dids.map(|did| did.expect("a DID")) {
        assert!(
            !metrics.contains(did.trim_start_matches('+')),
            "{did} is shown"
        );
    }

    // Nobody calls, so that no commit tells of it.
    let lock = rusqlite::Connection::open(site.path("store.db")).expect("the store");
    lock.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    wait_until("the store is away", || {
        let (status, source) = health(&address);
        let reason = source["reasons"][0].as_str().unwrap_or_default();
        (status == 503 && reason.starts_with("the store cannot be used")).then_some(())
    });
    assert_eq!(get(&address, "/readyz").0, 503);
    assert!(number("didtail_store_up") < 0.5);
    drop(lock);
    wait_until("the store is back", || {
        (health(&address).0 == 200).then_some(())
    });

    server.stop();
    let reason = wait_until("the loss is seen", || {
        let (status, source) = health(&address);
        let reason = source["reasons"][0].as_str().map(str::to_owned);
        (status == 503).then_some(reason).flatten()
    });
    assert!(!reason.is_empty());
    assert_eq!(get(&address, "/readyz").0, 503);
    assert!(number("didtail_disconnects_total{source=\"main\"}") > 0.5);
    server.start_again();
    wait_until("it is followed again", || {
        let (status, source) = health(&address);
        (status == 200 && source["connected"] == true).then_some(())
    });
    daemon.stop();
    assert!(
        TcpStream::connect(&address).is_err(),
        "nobody answers any more"
    );
}

#[test]
fn an_address_that_is_taken_is_refused_before_anything_is_done() {
    let site = Site::new(Server::shared(), "taken_port");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = taken.local_addr().expect("bound");
    site.configure(&format!(
        "{}\n[api]\nlisten = \"{listen}\"\n",
        site.config()
    ));
    let refused = site.didtail(&["run"]);
    refused.fails(1, &format!("cannot listen on {listen}"), "ss -ltnp");
    refused.fails(1, "in use", "another port");
    assert_eq!(site.position(), None, "it has begun all the same");
    // Whoever ends by itself is not watched, and needs no port.
    site.catch_up();
}

#[test]
fn a_hangup_reads_the_configuration_again() {
    let server = Server::shared();
    let site = Site::new(server, "hangup");
    let with = |more: &str| site.configure(&(site.config() + more));
    let mut daemon = site.following();
    assert!(sells(&site, server, 1, "SALE"));
    assert!(!sells(&site, server, 2, "NI"));

    with(
        "[dispositions]\nsuccess = [\"NI\"]\n[log]\nlevel = \"debug\"\n[retention]\ndials_days = 7\n",
    );
    daemon.signal("HUP");
    daemon.wait_for("these keys have changed too, and hold from the next start on");
    let log = daemon.log();
    let line = |words: &str| {
        let found = log.lines().find(|line| line.contains(words));
        found
            .unwrap_or_else(|| panic!("no `{words}`: {log}"))
            .to_owned()
    };
    let changed = line("the configuration was read again");
    assert!(
        changed.contains("[\"dispositions.success\", \"log.level\"]"),
        "{changed}"
    );
    let waiting = line("hold from the next start on");
    assert!(waiting.contains("[\"retention.dials_days\"]"), "{waiting}");
    assert!(sells(&site, server, 3, "NI"));
    assert!(!sells(&site, server, 4, "SALE"));
    assert!(is_success(&site, 1), "the past is judged by recount alone");
    assert!(!is_success(&site, 2));

    with("[dispositions]\nsuccess = [\"NI\"]\ntransient = [\"NI\"]\n");
    daemon.signal("HUP");
    daemon.wait_for("is wrong; the old one stays in force");
    assert!(
        daemon.log().contains("`NI` is in `transient` too"),
        "{}",
        daemon.log()
    );
    assert!(sells(&site, server, 5, "NI"));
    daemon.stop();
    site.assert_invariant();
}
