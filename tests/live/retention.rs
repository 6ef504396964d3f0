//! Calls and dials that the daemon deletes: whatever is read again afterwards, from
//! the binlog or from the tables, their numbers stay as they were.

use crate::support::{Server, Site};

/// Every number of every DID, and of every day.
fn numbers(site: &Site) -> [String; 2] {
    let all = |table: &str, order: &str| {
        let columns = "did_id || ' ' || dials || ' ' || total_calls || ' ' || successful_calls || \
             ' ' || answered || ' ' || machine || ' ' || no_answer || ' ' || busy || ' ' || dropped \
             || ' ' || failed || ' ' || blocked || ' ' || other || ' ' || dnc || ' ' || talk_seconds";
        site.stored(&format!(
            "SELECT group_concat({columns} || ' ' || {order}, char(10)) FROM \
             (SELECT * FROM {table} ORDER BY did_id, {order})"
        ))
    };
    [
        all("did_stats", "coalesce(last_call_at, 0)"),
        all("did_daily_stats", "day || campaign_id"),
    ]
}

fn rows(site: &Site, table: &str) -> i64 {
    site.stored(&format!("SELECT count(*) FROM {table}"))
}

#[test]
fn what_was_deleted_is_counted_once() {
    let server = Server::shared();
    let site = Site::new(server, "retention_once");
    let days = [
        "--calls", "300", "--seed", "11", "--noise", "1", "--days", "20",
    ];
    site.simulator("run", &days);
    // The days above are written in no order; the newest event is one of now.
    site.calls(20, 13);
    site.catch_up();
    site.assert_equals_source();
    let before = numbers(&site);
    let (calls, dials) = (rows(&site, "call_records"), rows(&site, "dials"));

    let keep = "\n[retention]\ndials_days = 3\ncall_records_days = 6\n";
    site.configure(&(site.config() + keep));
    let run = site.didtail(&["run", "--until-caught-up"]);
    let told = run.stderr.lines();
    let told: Vec<&str> = told.filter(|line| line.contains("deleted rows")).collect();
    assert_eq!(told.len(), 1, "{}", run.stderr);
    let count = |name: &str| -> i64 {
        let (_, rest) = told[0].split_once(&format!(" {name}=")).expect(name);
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        digits
            .and_then(|digits| digits.parse().ok())
            .expect("a count")
    };
    assert_eq!(count("call_records"), calls - rows(&site, "call_records"));
    assert_eq!(count("dials"), dials - rows(&site, "dials"));
    run.good();
    says_from_when_on_it_is_complete(&site);
    assert!(rows(&site, "call_records") < calls / 2);
    assert!(rows(&site, "dials") < dials / 3);
    assert!(rows(&site, "call_records") > 0 && rows(&site, "dials") > 0);
    assert_eq!(numbers(&site), before);
    site.assert_invariant();
    let kept = rows(&site, "call_records");

    // From the tables.
    let loaded = site.didtail(&["backfill", "--since", "60d"]).good();
    assert!(loaded.contains("passed over"), "{loaded}");
    assert_eq!(numbers(&site), before);
    for repair in [false, true] {
        let mut verify = vec!["verify", "--since", "60d"];
        verify.extend(repair.then_some("--repair"));
        let verified = site.didtail(&verify).good();
        assert!(verified.contains("were left out"), "{verified}");
        assert_eq!(numbers(&site), before);
    }
    site.didtail(&["recount"]).good();
    assert_eq!(numbers(&site), before);

    // From the binlog.
    let reset = ["checkpoint", "reset", "--to", "earliest", "--yes"];
    site.didtail(&reset).good();
    let again = site.didtail(&["run", "--until-caught-up"]);
    assert!(
        again.stderr.contains("passed over rows"),
        "{}",
        again.stderr
    );
    again.good();
    assert_eq!(numbers(&site), before);
    // None is there again; the newest event is newer, so a few more may be gone.
    let left = rows(&site, "call_records");
    assert!(left <= kept && left > kept / 2, "{left} of {kept}");
    site.assert_invariant();

    // It goes on as always, and what is kept is still what VICIdial has.
    site.calls(40, 12);
    site.catch_up();
    assert!(rows(&site, "call_records") >= left + 20);
    site.assert_invariant();
    site.didtail(&["verify", "--since", "60d"]).good();
}

/// Where rows were deleted, what is counted from rows says so; what is kept as a
/// number is whole.
fn says_from_when_on_it_is_complete(site: &Site) {
    let json = |arguments: &[&str]| site.didtail(&[arguments, &["--json"]].concat()).json();
    let known = json(&["status"])["sources"][0]["complete_since"].clone();
    assert!(
        known["calls"].is_string() && known["dials"].is_string(),
        "{known}"
    );
    let shown = site.didtail(&["status"]).good();
    assert!(shown.contains("complete since"), "{shown}");
    assert!(shown.contains("calls 6 d, dials 3 d"), "{shown}");
    for arguments in [["--since", "60d"], ["--by", "disposition"]] {
        let stats = [&["stats"], &arguments[..]].concat();
        assert_eq!(json(&stats)[0]["complete_since"], known, "{arguments:?}");
        let text = site.didtail(&stats).good();
        assert!(text.contains("Complete since: calls "), "{text}");
    }
    for arguments in [["--since", "1h"], ["--by", "day"]] {
        let stats = [&["stats"], &arguments[..]].concat();
        assert!(json(&stats)[0].get("complete_since").is_none());
        let text = site.didtail(&stats).good();
        assert!(!text.contains("Complete since"), "{text}");
    }
}
