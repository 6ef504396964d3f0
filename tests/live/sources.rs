//! Several VICIdial databases, one daemon, one store.

use crate::support::{Server, Site};

/// One site's configuration with another's source as well.
fn both(first: &Site, second: &Site) -> String {
    let config = second.config();
    let (_, source) = config.split_once("[[source]]").expect("a source");
    let source = source.replace("\"main\"", "\"other\"");
    format!("{}\n[[source]]{source}", first.config())
}

/// How many calls of each source differ from it.
fn differing(site: &Site) -> Vec<u64> {
    let said = site.didtail(&["verify", "--since", "7d", "--json"]).json();
    let sources = said["sources"].as_array().expect("sources");
    let differing = |source: &serde_json::Value| source["differing"].as_u64().expect("a number");
    sources.iter().map(differing).collect()
}

#[test]
fn two_sources_fill_one_store_and_one_that_is_away_holds_nobody_up() {
    let (near, far) = (Server::shared(), Server::start("sources", &[]));
    let site = Site::new(near, "sources_near");
    let other = Site::new(&far, "sources_far");
    site.configure(&both(&site, &other));
    site.calls(60, 1);
    other.calls(50, 2);
    let said = site.catch_up();
    let names = [&said["sources"][0]["source"], &said["sources"][1]["source"]];
    assert_eq!(names, ["main", "other"], "{said}");
    assert_eq!(differing(&site), [0, 0]);
    site.assert_invariant();
    let count = |source: &str| -> i64 {
        site.stored(&format!(
            "SELECT count(*) FROM call_records WHERE source = '{source}'"
        ))
    };
    assert!(count("main") >= 60 && count("other") >= 50);

    // What is for one source asks which.
    let reset = ["checkpoint", "reset", "--to", "earliest", "--yes"];
    site.didtail(&reset)
        .fails(1, "there are 2 sources", "--source: main, other");
    let numbers = site.numbers();
    let named = [&reset[..], &["--source", "other"]].concat();
    site.didtail(&named).good();
    site.catch_up();
    assert_eq!(site.numbers(), numbers);
    site.didtail(&["verify", "--source", "third"]).fails(
        1,
        "no [[source]] is named `third`",
        "main, other",
    );

    // One goes away while both are followed, and is still away at the next start.
    let mut daemon = site.following();
    daemon.wait_for_times("following the binlog", 2);
    far.stop();
    daemon.wait_for("lost the source");
    site.calls(30, 3);
    site.wait_for_end(near);
    daemon.stop();
    let mut daemon = site.daemon();
    daemon.wait_for("this source is not followed; the others are");
    site.calls(30, 4);
    site.wait_for_end(near);
    let status = site.didtail(&["status", "--json"]).json();
    assert_eq!(status["sources"][0]["health"], "running", "{status}");
    assert_eq!(status["sources"][1]["health"], "stopped", "{status}");
    assert!(daemon.is_running());
    daemon.stop();
    the_others_are_looked_at(&site);
    far.start_again();
    other.calls(20, 5);
    site.catch_up();
    assert_eq!(differing(&site), [0, 0]);
    site.assert_invariant();

    // The same database twice would count everything twice.
    let twice = both(&site, &site);
    site.configure(&twice);
    site.didtail(&["config", "check"])
        .fails(1, "`main` and `other` are the same database", "");
}

/// Commands for all sources do what they can, and say which they could not.
fn the_others_are_looked_at(site: &Site) {
    let doctor = site.didtail(&["doctor", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&doctor.stdout).expect("JSON");
    let findings = said["findings"].as_array().expect("findings").iter();
    let store: Vec<_> = findings.filter(|one| one["check"] == "store").collect();
    assert_eq!(store.len(), 1, "it is all sources': {said:#}");
    assert!(store[0]["source"].is_null());
    for (arguments, words) in [
        (vec!["verify", "--since", "7d"], "compared"),
        (vec!["recount", "--dry-run"], "looked at"),
        (vec!["backfill", "--since", "7d", "--dry-run"], "would load"),
    ] {
        let ended = site.didtail(&arguments);
        ended.fails(3, "source `other`: ", "");
        assert!(!ended.stderr.contains("`main`"), "{}", ended.stderr);
        assert!(
            ended.stdout.contains(words),
            "{arguments:?}: {}",
            ended.stdout
        );
        let json = site.didtail(&[&arguments[..], &["--json"]].concat());
        let said: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
        assert_eq!(said["failed"][0]["source"], "other", "{said}");
        assert_eq!(json.code, 3);
    }
}
