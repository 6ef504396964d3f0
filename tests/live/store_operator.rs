//! What an operator is told of a store on a server that goes away, is not there, or
//! is another daemon's: at once, once, and with what is known without it.

use std::time::{Duration, Instant};

use crate::support::{Ended, Server, Site};

/// A pool of connections gives up after ten seconds; a refusal needs no waiting.
const AT_ONCE: Duration = Duration::from_secs(9);

/// `didtail status --json` that failed as the store did.
fn status(site: &Site, arguments: &[&str]) -> (Ended, serde_json::Value) {
    let ended = site.didtail(&[&["status", "--json"], arguments].concat());
    let said = serde_json::from_str(&ended.stdout);
    let said = said.unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr));
    (ended, said)
}

#[test]
fn an_outage_is_told_at_once_and_status_shows_what_is_known() {
    let source = Server::shared();
    let server = Server::of_kind("postgres", "operator", &[]);
    let site = Site::new(source, "operator").on_store(&server.store_url("optimizer"));
    site.calls(30, 1);
    let mut daemon = site.following();
    site.wait_for_end(source);
    let known = site.position().expect("a position");
    let (ended, said) = status(&site, &[]);
    ended.good();
    assert_eq!(said["store"]["state"], "readable");
    assert_eq!(said["retention"]["dials_days"], 90);
    assert!(said["sources"][0]["complete_since"].is_null(), "{said}");

    server.stop();
    daemon.wait_for("the lease cannot be renewed; trying again");
    let began = Instant::now();
    let stats = site.didtail(&["stats"]);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    stats.fails(4, "cannot be reached", "whether the server runs");
    let causes = stats.stderr.matches("onnection refused").count();
    assert_eq!(causes, 1, "{}", stats.stderr);

    let (ended, said) = status(&site, &[]);
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert_eq!(said["store"]["state"], "failed");
    let hint = said["store"]["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("whether the server runs"), "{said}");
    assert_eq!(said["sources"][0]["running"], true);
    let place = said["sources"][0]["position"].as_str();
    let file = known.split_once(':').expect("a place").0;
    assert!(place.is_some_and(|place| place.starts_with(file)), "{said}");
    let shown = site.didtail(&["status"]);
    assert_eq!(shown.code, 4, "{}", shown.stderr);
    for words in [
        "NOT READ, so this is what the state file knows",
        "running, process",
        "calls for ever, dials 90 d",
    ] {
        assert!(shown.stdout.contains(words), "{}", shown.stdout);
    }

    // It fails for a while, and that is said once.
    std::thread::sleep(Duration::from_secs(4));
    server.start_again();
    daemon.wait_for("the lease is renewed again");
    let log = daemon.stop();
    let warned = log.matches("the lease cannot be renewed").count();
    assert_eq!(warned, 1, "{log}");

    // No server, no database.
    server.stop();
    let began = Instant::now();
    let mut daemon = site.daemon();
    daemon.wait_for("the store cannot be used; trying again");
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    drop(daemon.kill());
    server.start_again();
    let elsewhere = site.store_url().replace("/optimizer", "/nowhere");
    let shown = site.didtail(&["status", "--store-url", &elsewhere]);
    shown.fails(4, "there is no store", "CREATE DATABASE nowhere");
    assert!(
        shown.stdout.contains("CREATE DATABASE nowhere"),
        "{}",
        shown.stdout
    );
    assert!(
        !shown.stdout.contains("the daemon makes it"),
        "{}",
        shown.stdout
    );
    server.sql("CREATE DATABASE nowhere");
    let shown = site.didtail(&["status", "--store-url", &elsewhere]).good();
    assert!(shown.contains("no tables yet: `didtail run`"), "{shown}");
}
