//! `didtail checkpoint` against a real server: back, forth, and nothing twice.

use serde_json::Value;

use crate::support::{Server, Site, wait_until};

/// The source's clock, as `checkpoint reset --to` takes it.
const NOW: &str = "SELECT DATE_FORMAT(UTC_TIMESTAMP(), '%Y-%m-%dT%H:%i:%sZ')";

#[test]
fn going_back_replays_and_the_numbers_stay() {
    let server = Server::shared();
    let site = Site::new(server, "reset_back");
    site.calls(120, 1);
    site.catch_up();
    // The end of the database's own events: others may write meanwhile.
    let (middle, gtid) = (
        site.position().expect("a position"),
        site.stored::<String>("SELECT gtid FROM replication_progress"),
    );
    let second = server.sql(NOW);
    let time = wait_until("the next second", || {
        let now = server.sql(NOW);
        (now != second).then(|| now.trim().to_owned())
    });
    site.calls(120, 2);
    site.catch_up();
    site.assert_equals_source();
    let (numbers, audit) = (site.numbers(), audit_rows(&site));
    for (epoch, to) in (2_i64..).zip(["earliest", &middle, &gtid, &time]) {
        let before = site.position();
        let shown = reset(&site, &["--to", to, "--dry-run"]);
        assert_eq!(shown["effect"]["kind"], "replay", "{to}: {shown}");
        assert_eq!(shown["done"], false);
        assert!(shown["effect"]["events"].as_u64() > Some(100), "{shown}");
        assert_eq!(shown["effect"]["events_are_all"], true, "{shown}");
        let here = checkpoint(&site);
        assert_eq!(here["position"].as_str(), before.as_deref(), "{to}");
        let done = reset(&site, &["--to", to, "--yes"]);
        assert_eq!(done["done"], true, "{to}: {done}");
        assert_eq!(done["effect"], shown["effect"], "{to}");
        assert_eq!(checkpoint(&site)["position"], done["to"]["position"]);
        let summary = site.catch_up();
        assert!(summary["rows"].as_u64() > Some(100), "{to}: {summary}");
        assert_eq!(site.numbers(), numbers, "{to}");
        assert_eq!(audit_rows(&site), audit, "{to}");
        let stored: i64 = site.stored("SELECT epoch FROM replication_progress");
        assert_eq!(stored, epoch, "{to}");
        site.assert_equals_source();
    }
}

#[test]
fn going_forward_says_what_is_skipped_and_the_history_leads_back() {
    let server = Server::shared();
    let site = Site::new(server, "reset_forward");
    site.calls(60, 1);
    site.catch_up();
    let left = site.position();
    site.calls(60, 2);
    let calls = "SELECT count(*) FROM call_records";
    let before: i64 = site.stored(calls);
    let plan = site.didtail(&["checkpoint", "reset", "--to", "latest", "--dry-run"]);
    let text = plan.good();
    assert!(text.contains("skipped"), "{text}");
    assert!(text.contains("missing from the numbers"), "{text}");
    let done = reset(&site, &["--to", "latest", "--yes"]);
    assert_eq!(done["effect"]["kind"], "skip", "{done}");
    site.catch_up();
    assert_eq!(site.stored::<i64>(calls), before, "skipped calls were read");
    let history = site.didtail(&["checkpoint", "history", "--json"]).json();
    let entry = history
        .as_array()
        .expect("a list")
        .iter()
        .find(|entry| entry["reason"] == "checkpoint reset")
        .expect("the position that was left");
    assert_eq!(entry["position"].as_str(), left.as_deref());
    let back = format!("history:{}", entry["id"]);
    reset(&site, &["--to", &back, "--yes"]);
    site.catch_up();
    site.assert_equals_source();
    // What is not read again was applied: nothing of it is missing.
    let again = reset(&site, &["--to", "earliest", "--yes"])["undo"].clone();
    let to = again.as_str().expect("an entry");
    let plan = site.didtail(&["checkpoint", "reset", "--to", to, "--dry-run"]);
    let text = plan.good();
    assert!(text.contains("nothing is missing"), "{text}");
    reset(&site, &["--to", to, "--yes"]);
    site.catch_up();
    site.assert_equals_source();
}

/// A hole in the numbers is told until it is closed, by whatever closes it.
#[test]
fn what_was_skipped_is_told_until_it_was_made_up_for() {
    let server = Server::shared();
    let site = Site::new(server, "reset_skipped");
    site.calls(60, 1);
    site.catch_up();
    site.calls(60, 2);
    reset(&site, &["--to", "latest", "--yes"]);
    let text = site.didtail(&["status"]).good();
    assert!(text.contains("moved there by an operator"), "{text}");
    site.catch_up();
    let told = |site: &Site| {
        let status = site.didtail(&["status", "--json"]).json();
        let source = status["sources"][0].clone();
        assert_eq!(source["moved"], false, "{source}");
        let stretches = source["skipped"].as_array().map(Vec::len);
        let missing = source["missing"]["skipped"].as_u64();
        (stretches, missing)
    };
    assert_eq!(told(&site), (Some(1), Some(1)));
    let text = site.didtail(&["status"]).good();
    assert!(
        text.contains("1 skipped stretches of the binlog")
            && text.contains("didtail verify --since"),
        "{text}"
    );
    // Looking alone closes nothing.
    assert_eq!(site.didtail(&["verify", "--since", "3d"]).code, 5);
    assert_eq!(told(&site), (Some(1), Some(1)));
    let daemon = site.following();
    // Nor does what leaves out calls of the day before.
    site.didtail(&["verify", "--since", "2h", "--repair"]);
    assert_eq!(told(&site), (Some(1), Some(1)));
    let said = site.didtail(&["verify", "--since", "3d", "--repair"]);
    assert!(
        said.stdout
            .contains("What was skipped of the binlog is in the numbers, for calls since"),
        "{}",
        said.stdout
    );
    assert_eq!(told(&site), (Some(0), Some(0)));
    daemon.stop();
    assert_eq!(told(&site), (Some(0), Some(0)), "the daemon knows it too");
    site.assert_equals_source();

    // A new store beside the old state file has nothing of before.
    for end in ["", "-wal", "-shm"] {
        let file = site.path(&format!("store.db{end}"));
        drop(std::fs::remove_file(file));
    }
    // The first stretch began with the first start: a second later at the least.
    site.calls(5, 3);
    site.catch_up();
    assert_eq!(told(&site), (Some(1), Some(1)));
    let said = site.didtail(&["backfill", "--since", "3d"]).good();
    assert!(
        said.contains("is in the numbers, for calls since"),
        "{said}"
    );
    assert_eq!(told(&site), (Some(0), Some(0)));
    site.assert_equals_source();
}

#[test]
fn a_reset_needs_a_stopped_daemon_and_a_yes() {
    let server = Server::shared();
    let site = Site::new(server, "reset_refused");
    site.calls(20, 1);
    let daemon = site.following();
    site.wait_for_end(server);
    let held = format!("is held by process {}", daemon.pid());
    site.didtail(&["checkpoint", "reset", "--to", "earliest", "--yes"])
        .fails(1, &held, "stop the daemon first");
    // Before it asks anything.
    site.didtail(&["checkpoint", "reset", "--to", "earliest"])
        .fails(1, &held, "stop the daemon first");
    let shown = checkpoint(&site);
    assert_eq!(shown["held_by_pid"], daemon.pid(), "{shown}");
    daemon.stop();
    site.didtail(&["checkpoint", "reset", "--to", "earliest"])
        .fails(1, "no terminal", "--yes");
    for (to, error) in [
        ("binlog.000001:5", "there is no event at binlog.000001:5"),
        ("binlog.000999:4", "binlog.000999"),
        ("history:4711", "4711"),
        ("30d", "the source's binlog does not reach back to"),
    ] {
        let refused = site.didtail(&["checkpoint", "reset", "--to", to, "--yes"]);
        assert!([1, 3].contains(&refused.code), "{to}: {}", refused.stderr);
        refused.fails(refused.code, error, "");
        assert_eq!(checkpoint(&site)["epoch"], 1, "{to}");
    }
    site.catch_up();
    site.assert_equals_source();
}

/// `checkpoint reset` with these arguments, and what it says.
#[track_caller]
fn reset(site: &Site, arguments: &[&str]) -> Value {
    let all = [&["checkpoint", "reset", "--json"], arguments].concat();
    site.didtail(&all).json()
}

/// `checkpoint show` of the only source.
#[track_caller]
fn checkpoint(site: &Site) -> Value {
    site.didtail(&["checkpoint", "show", "--json"]).json()[0].clone()
}

fn audit_rows(site: &Site) -> i64 {
    site.stored("SELECT count(*) FROM audit_log")
}
