//! `didtail verify` finds what is wrong in the store, and mends just that.

use rusqlite::Connection;
use serde_json::Value;

use crate::support::{Ended, Server, Site};

/// Runs it and returns its exit code and what it says.
fn verify(site: &Site, arguments: &[&str]) -> (i32, Value) {
    let all = [&["verify", "--json", "--since", "3d"], arguments].concat();
    let ended = site.didtail(&all);
    let said = serde_json::from_str(&ended.stdout);
    let said = said.unwrap_or_else(|e| panic!("{e}: {}{}", ended.stdout, ended.stderr));
    (ended.code, said)
}

fn differing(said: &Value) -> u64 {
    said["sources"][0]["differing"].as_u64().expect("a number")
}

/// Writes into the store behind didtail's back.
fn plant(site: &Site, statements: &str) {
    let store = Connection::open(site.path("store.db")).expect("a store");
    store.execute_batch(statements).expect("statements");
}

#[test]
fn what_is_wrong_is_found_and_mended_and_nothing_else() {
    let server = Server::shared();
    let site = Site::new(server, "verify_planted");
    site.calls(600, 1);
    site.catch_up();
    let (code, said) = verify(&site, &[]);
    assert_eq!((code, differing(&said)), (0, 0), "{said}");
    let compared = said["sources"][0]["calls"].as_u64();
    assert!(compared > Some(500), "{said}");
    let numbers = site.numbers();
    let key = |nth: u32| -> (String, i64) {
        let sql = format!(
            "SELECT uniqueid, lead_id FROM call_records WHERE counted AND did_id IS NOT NULL \
             AND NOT removed AND lead_id IN (SELECT lead_id FROM call_records GROUP BY 1 \
             HAVING count(*) = 1) ORDER BY id LIMIT 1 OFFSET {nth}"
        );
        let row = site
            .store()
            .query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
        row.expect("a call")
    };
    let planted = [
        "UPDATE call_records SET disposition = 'WRONG'",
        "UPDATE call_records SET outcome = 'busy', successful = 1",
        "UPDATE call_records SET duration_seconds = 4711",
        "UPDATE call_records SET did_id = (SELECT max(id) FROM dids WHERE id <> did_id)",
        "DELETE FROM call_records",
        "UPDATE call_records SET counted = 0",
    ];
    let mut names = Vec::new();
    for (nth, statement) in (0..).zip(planted) {
        let (uniqueid, lead) = key(40 + nth * 15);
        plant(
            &site,
            &format!("{statement} WHERE uniqueid = '{uniqueid}' AND lead_id = {lead}"),
        );
        names.push(uniqueid);
    }
    plant(
        &site,
        "UPDATE did_stats SET total_calls = total_calls + 7 WHERE did_id = 3",
    );
    let wrong = site.numbers();
    let (code, said) = verify(&site, &[]);
    assert_eq!(code, 5, "{said}");
    let found = said["sources"][0]["differences"]
        .as_array()
        .expect("a list");
    let mut found: Vec<&str> = found
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    found.sort_unstable();
    names.sort_unstable();
    assert_eq!(found, names, "{said}");
    assert_eq!(site.numbers(), wrong, "comparing changes nothing");
    let text = site.didtail(&["verify", "--since", "3d"]);
    assert!(text.stderr.contains("didtail verify --since 3d --repair"));
    for said in ["WRONG", "4711", "is missing", "do not add up"] {
        assert!(text.stdout.contains(said), "{said} in\n{}", text.stdout);
    }
    let (code, said) = verify(&site, &["--repair"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(said["sources"][0]["repaired"], names.len(), "{said}");
    assert_eq!(said["sums_repaired"], true, "{said}");
    assert_eq!(site.numbers(), numbers);
    site.assert_equals_source();
    let (code, said) = verify(&site, &[]);
    assert_eq!((code, differing(&said)), (0, 0), "{said}");
    assert_eq!(said["sums"], serde_json::json!([]), "{said}");
}

/// Calls change all the time while they are compared.
#[test]
fn what_is_only_late_is_no_difference() {
    let server = Server::start("verify-busy", &[]);
    let site = Site::new(&server, "asterisk");
    let daemon = site.following();
    let mut traffic = site.simulator_command("run");
    traffic.args(["--calls", "2500", "--noise", "2", "--connections", "3"]);
    let traffic = std::thread::spawn(move || Ended::of(&mut traffic));
    let mut looks = 0;
    while !traffic.is_finished() || looks == 0 {
        let (code, said) = verify(&site, &[]);
        assert_eq!((code, differing(&said)), (0, 0), "{said}");
        looks += 1;
    }
    println!("looked {looks} times");
    traffic.join().expect("the simulator ran").good();
    site.wait_for_end(&server);
    site.assert_equals_source();
    assert!(!daemon.stop().contains("ERROR"));
}

/// A call that is only in the archive keeps there what it was at first.
#[test]
fn an_archive_tells_of_calls_and_not_of_their_ends() {
    let server = Server::shared();
    let site = Site::new(server, "verify_archive");
    site.configure(&site.config().replace("earliest", "latest"));
    let call = |lead: u32, status: &str| {
        format!(
            "INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,status,\
             phone_code,phone_number,user,length_in_sec) SELECT CONCAT(UNIX_TIMESTAMP()-600,'.{lead}'),\
             {lead},'SOLAR',FROM_UNIXTIME(UNIX_TIMESTAMP()-600),UNIX_TIMESTAMP()-600,'{status}',\
             '1','2125550144','VDAD',7;"
        )
    };
    // Lead 1 is sold after it was archived; lead 2 is gone from the calls; of
    // lead 3 the archive has a duplicate that was cleaned up since.
    let twin = "INSERT INTO vicidial_log SELECT CONCAT(uniqueid,'9'),lead_id,list_id,campaign_id,\
                call_date,start_epoch,end_epoch,length_in_sec,status,phone_code,phone_number,user,\
                comments,processed,user_group,term_reason,alt_dial,called_count \
                FROM vicidial_log WHERE lead_id=3;";
    site.sql(
        server,
        &format!(
            "SET time_zone='+00:00'; {}{}{}{twin}\
             INSERT IGNORE INTO vicidial_log_archive SELECT * FROM vicidial_log;\
             UPDATE vicidial_log SET status='SALE' WHERE lead_id=1;\
             DELETE FROM vicidial_log WHERE lead_id=2;\
             DELETE FROM vicidial_log WHERE lead_id=3 AND uniqueid LIKE '%.39';",
            call(1, "INCALL"),
            call(2, "NI"),
            call(3, "NA")
        ),
    );
    let said = site
        .didtail(&["backfill", "--since", "1d", "--json"])
        .json();
    let tally = &said["sources"][0]["tally"];
    assert_eq!([&tally["new"], &tally["archived"]], [3, 1], "{said}");
    let states = "SELECT group_concat(lead_id || disposition || counted, ' ') \
                  FROM (SELECT * FROM call_records ORDER BY lead_id)";
    assert_eq!(site.stored::<String>(states), "1SALE1 2NI1 3NA1");
    // Everything leaves, and the archive has lead 1 as it was.
    site.sql(server, "DELETE FROM vicidial_log");
    site.catch_up();
    let (code, said) = verify(&site, &["--repair"]);
    assert_eq!((code, differing(&said)), (0, 0), "{said}");
    site.didtail(&["backfill", "--since", "1d"]).good();
    assert_eq!(site.stored::<String>(states), "1SALE1 2NI1 3NA1");
    site.assert_invariant();
}

/// Calls of before didtail are not taken for a damage.
#[test]
fn what_was_never_loaded_is_told_as_such() {
    let server = Server::shared();
    let site = Site::new(server, "verify_unloaded");
    site.calls(200, 1);
    site.configure(&site.config().replace("earliest", "latest"));
    site.catch_up();
    let (code, said) = verify(&site, &[]);
    assert_eq!((code, differing(&said)), (5, 0), "{said}");
    assert_eq!(said["equal"], false, "{said}");
    let not_loaded = said["sources"][0]["not_loaded"].as_u64();
    assert!(not_loaded > Some(150), "{said}");
    let text = site.didtail(&["verify", "--since", "3d"]);
    let nothing = format!(
        "Nothing was compared: VICIdial has {} calls in this time, and the store none of them",
        not_loaded.expect("a number")
    );
    assert_eq!(text.code, 5, "{}", text.stdout);
    for part in [&text.stdout, &text.stderr] {
        assert!(part.contains(&nothing), "{part}");
        assert!(part.contains("didtail backfill --since 3d\n"), "{part}");
    }
    // The newer half. Of the dials before it those are known that calls asked for,
    // and they do not count.
    let middle = "SELECT FROM_UNIXTIME(FLOOR((MIN(start_epoch)+MAX(start_epoch))/2),\
                  '%Y-%m-%dT%H:%i:%sZ') FROM vicidial_log";
    let middle = site.sql(server, &format!("SET time_zone='+00:00'; {middle}"));
    site.didtail(&["backfill", "--since", middle.trim()]).good();
    let known = "SELECT count(*) FROM dials WHERE NOT counted";
    assert!(site.stored::<u32>(known) > 0, "none of before");
    let (code, said) = verify(&site, &[]);
    assert_eq!((code, differing(&said)), (0, 0), "{said}");
    assert!(
        said["sources"][0]["not_loaded"].as_u64() > Some(0),
        "{said}"
    );
    site.didtail(&["backfill", "--since", "3d"]).good();
    let (code, said) = verify(&site, &[]);
    assert_eq!((code, differing(&said)), (0, 0), "{said}");
    assert_eq!(said["sources"][0]["not_loaded"], 0, "{said}");
    site.assert_equals_source();
}

/// Calls that the store should have are missing, also where the range has none of
/// them left; the conclusion comes last, and what is not printed is counted.
#[test]
fn what_the_store_lost_is_missing() {
    let server = Server::shared();
    let site = Site::new(server, "verify_lost");
    site.calls(200, 1);
    site.catch_up();
    let all: u32 = site.stored("SELECT count(*) FROM call_records WHERE NOT removed");
    // As if it had been fed for a day.
    let state = Connection::open(site.path("state.db")).expect("a state file");
    state
        .execute(
            "UPDATE checkpoint_history SET saved_at = saved_at - 86400",
            [],
        )
        .expect("a statement");
    plant(
        &site,
        "DELETE FROM call_records; DELETE FROM dials; DELETE FROM did_stats; \
         DELETE FROM did_daily_stats",
    );
    let json = site.didtail(&["verify", "--since", "12h", "--json"]);
    assert_eq!(json.code, 5, "{}", json.stderr);
    let said: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let source = &said["sources"][0];
    assert!(source["missing"].as_u64() >= Some(u64::from(all)), "{said}");
    assert_eq!(source["not_loaded"], 0, "{said}");
    assert_eq!(said["equal"], false);
    let ended = site.didtail(&["verify", "--since", "12h"]);
    assert_eq!(ended.code, 5, "{}", ended.stderr);
    let last = ended.stdout.lines().last().expect("a line");
    assert!(last.starts_with("Different: "), "{}", ended.stdout);
    let missing = ended
        .stdout
        .lines()
        .filter(|line| line.contains("is missing"));
    assert_eq!(missing.count(), 20, "{}", ended.stdout);
    assert!(
        ended.stdout.contains(" more (--json has"),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.lines().count() < 400, "{}", ended.stdout);
    let (_, command) = ended
        .stderr
        .split_once("or load what is missing: didtail ")
        .expect("named");
    let words: Vec<&str> = command.trim().split(' ').collect();
    site.didtail(&words).good();
    let (code, said) = verify(&site, &[]);
    assert_eq!((code, &said["equal"]), (0, &Value::Bool(true)), "{said}");
    site.assert_invariant();
    // What was equal just now is changed by nobody.
    let again = site
        .didtail(&["backfill", "--since", "3d", "--json"])
        .json();
    let tally = &again["sources"][0]["tally"];
    assert_eq!(tally["changed"], 0, "{again}");
    let text = site.didtail(&["verify", "--since", "3d"]).good();
    let last = text.lines().last().expect("a line");
    assert!(last.starts_with("Equal: "), "{text}");
}

/// Another server is refused, as the daemon refuses it.
#[test]
fn another_server_is_not_compared_with() {
    // Their transactions may have the same numbers, and be of the same second.
    let other = Server::start("verify-other", &["--server-id=77"]);
    let server = Server::shared();
    let site = Site::new(server, "verify_moved");
    site.calls(40, 1);
    site.catch_up();
    let there = Site::new(&other, "verify_moved");
    there.calls(40, 2);
    let (from, to) = (server.port().to_string(), other.port().to_string());
    site.configure(&site.config().replace(&from, &to));
    let numbers = site.numbers();
    let refused = site.didtail(&["run", "--until-caught-up"]);
    for arguments in [
        vec!["verify"],
        vec!["verify", "--repair"],
        vec!["backfill", "--since", "1d"],
        vec!["backfill", "--since", "1d", "--dry-run"],
    ] {
        let ended = site.didtail(&arguments);
        ended.fails(refused.code, "and is now server", "checkpoint reset");
    }
    assert_eq!(site.numbers(), numbers);
}
