//! Calls of the past are loaded by SELECT while calls go on, and everything ends
//! as the source has it.

use std::process::Command;

use serde_json::Value;

use crate::support::{Ended, Server, Site, wait_until};

/// Calls before didtail, and as many while it loads; `BACKFILL_CALLS` for more.
fn calls() -> u32 {
    let said = std::env::var("BACKFILL_CALLS").ok();
    said.map_or(1200, |calls| calls.parse().expect("a number"))
}

/// A database with calls that no didtail has seen, and a didtail that begins now.
fn with_a_past(server: &Server, database: &str, calls: u32) -> Site {
    let site = Site::new(server, database);
    site.configure(&site.config().replace("earliest", "latest"));
    site.simulator(
        "run",
        &[
            "--calls",
            &calls.to_string(),
            "--noise",
            "0",
            "--connections",
            "6",
        ],
    );
    site
}

/// Calls that are written meanwhile, others than those before.
fn traffic(site: &Site, calls: u32) -> std::thread::JoinHandle<Ended> {
    let mut run: Command = site.simulator_command("run");
    let calls = calls.to_string();
    run.args(["--calls", &calls, "--seed", "2", "--noise", "1"]);
    std::thread::spawn(move || Ended::of(&mut run))
}

#[track_caller]
fn load(site: &Site, arguments: &[&str]) -> Value {
    let all = [&["backfill", "--json"], arguments].concat();
    let said = site.didtail(&all).json();
    assert_eq!(said["differences"], serde_json::json!([]), "{said}");
    said["sources"][0].clone()
}

#[test]
fn beside_traffic_it_ends_as_the_source_has_it() {
    beside_traffic(&Server::start("backfill", &[]));
}

/// Where the stream has statements, whose rows are read again meanwhile.
#[test]
fn beside_statements_it_ends_as_the_source_has_it() {
    beside_traffic(&Server::start("backfill-mixed", &["--binlog-format=MIXED"]));
}

#[test]
fn beside_mysql_s_traffic_it_ends_as_the_source_has_it() {
    beside_traffic(&Server::of_kind("mysql-9", "backfill-mysql", &[]));
}

fn beside_traffic(server: &Server) {
    let site = with_a_past(server, "asterisk", calls());
    let daemon = site.following();
    let traffic = traffic(&site, calls());
    let said = load(&site, &["--since", "3d"]);
    traffic.join().expect("the simulator ran").good();
    assert!(
        said["tally"]["calls"].as_u64() > Some(u64::from(calls() / 2)),
        "{said}"
    );
    assert_eq!(said["resumed_at"], Value::Null);
    site.wait_for_end(server);
    site.assert_equals_source();
    // Again, now that everything is there: at most a call's code is found that
    // the stream did not tell, and then nothing changes any more.
    let numbers = site.numbers();
    load(&site, &["--since", "3d"]);
    let said = load(&site, &["--since", "3d"]);
    let tally = &said["tally"];
    assert_eq!(
        [&tally["new"], &tally["changed"], &tally["dials"]],
        [0, 0, 0],
        "{said}"
    );
    assert_eq!(tally["calls"], tally["unchanged"], "{said}");
    assert_eq!(site.numbers(), numbers);
    let log = daemon.stop();
    assert!(!log.contains("ERROR"), "{log}");
}

/// Killed and asked again, a load goes on where it was; also without a daemon.
#[test]
fn killed_in_the_middle_it_goes_on() {
    let server = Server::start("backfill-kill", &[]);
    let site = with_a_past(&server, "asterisk", calls());
    let traffic = traffic(&site, calls());
    let mut resumed = 0;
    for kill in 0..40 {
        let mut load = site.command(&["backfill", "--since", "3d", "--json"]);
        load.stdout(std::process::Stdio::null());
        let mut load = load.spawn().expect("didtail runs");
        std::thread::sleep(std::time::Duration::from_millis(300 + kill * 41 % 400));
        load.kill().expect("it is ours");
        load.wait().expect("it was killed");
        let note = "SELECT ifnull(max(json_extract(note, '$.next') > \
                    json_extract(note, '$.since')), 0) FROM backfills";
        let is_there = "SELECT count(*) FROM sqlite_schema WHERE name = 'backfills'";
        let store = site.store();
        let is_there: u32 = store.query_row(is_there, [], |row| row.get(0)).unwrap_or(0);
        let begun = is_there > 0 && site.stored::<bool>(note);
        resumed += u32::from(begun);
        if begun && kill > 2 {
            break;
        }
    }
    assert!(resumed > 0, "it was never killed in the middle");
    let said = load(&site, &["--since", "3d"]);
    println!("{said}");
    assert!(said["resumed_at"].is_i64(), "{said}");
    traffic.join().expect("the simulator ran").good();
    site.catch_up();
    site.assert_equals_source();
}

/// `start_at = "backfill:2d"`: fresh numbers at once, and those of before while
/// they come; killed in between, it goes on.
#[test]
fn a_first_start_loads_the_past_beside_the_stream() {
    let server = Server::start("backfill-start", &[]);
    let site = with_a_past(&server, "asterisk", calls());
    site.configure(
        &(site.config().replace("earliest", "backfill:2d")
            + "[log]\nlevel = \"info,didtail::engine::backfill=debug\"\n"),
    );
    let traffic = traffic(&site, calls());
    let mut killed_under_way = 0;
    for _ in 0..4 {
        let daemon = site.following();
        wait_until("a part is loaded", || (percent(&site)? > 0).then_some(()));
        drop(daemon.kill());
        killed_under_way += u32::from(percent(&site) < Some(100));
    }
    println!("killed {killed_under_way} times while it loaded");
    let daemon = site.following();
    // However long it takes, as long as it moves on.
    let mut rows = None;
    while percent(&site) != Some(100) {
        rows = wait_until("the load moves on", || {
            let status = site.didtail(&["status", "--json"]).json();
            let load = &status["sources"][0]["loads"][0];
            let now = load["tally"]["rows"].as_u64();
            (now != rows || load["percent"] == 100).then_some(now)
        });
    }
    let status = site.didtail(&["status", "--json"]).json();
    let load = &status["sources"][0]["loads"][0];
    assert_eq!(load["asked_by"], "start_at", "{load}");
    assert_eq!(load["asked"], "backfill:2d", "{load}");
    assert!(load["tally"]["calls"].as_u64() > Some(u64::from(calls() / 2)));
    traffic.join().expect("the simulator ran").good();
    site.wait_for_end(&server);
    site.assert_equals_source();
    let log = daemon.stop();
    assert!(!log.contains("ERROR"), "{log}");
    // It is asked for once.
    let daemon = site.following();
    assert!(!daemon.stop().contains("the past"));
}

/// How much of the past the daemon has loaded; `None` before it has a store.
fn percent(site: &Site) -> Option<i64> {
    let status = site.didtail(&["status", "--json"]).json();
    status["sources"][0]["loads"][0]["percent"].as_i64()
}

/// The binlog that is needed next is deleted while didtail is away. The failure
/// names the gap and the commands that close it, and these do.
#[test]
fn a_purge_is_mended_by_what_the_failure_says() {
    let server = Server::start("purge", &[]);
    let site = Site::new(&server, "asterisk");
    site.calls(400, 1);
    // In the middle of calls, so that some change in the gap.
    let running = site.following();
    let under_way = traffic(&site, 1500);
    wait_until("some calls are applied", || {
        let applied: i64 = site.stored("SELECT count(*) FROM call_records");
        (applied > 700).then_some(())
    });
    running.stop();
    under_way.join().expect("the simulator ran").good();
    server.sql("FLUSH BINARY LOGS");
    server.purge();
    site.simulator("run", &["--calls", "300", "--seed", "3", "--noise", "1"]);
    let failed = site.didtail(&["run", "--until-caught-up"]);
    assert_eq!(failed.code, 3, "{}", failed.stderr);
    let hint = failed.stderr.split("hint: ").nth(1).expect("a hint");
    assert!(hint.contains("cannot be read any more"), "{hint}");
    let quoted: Vec<&str> = hint.split('`').skip(1).step_by(2).collect();
    assert_eq!(quoted.len(), 2, "{hint}");
    for command in quoted {
        println!("{command}");
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        let asks = words.first() == Some(&"checkpoint");
        let yes: &[&str] = if asks { &["--yes"] } else { &[] };
        site.didtail(&[words.as_slice(), yes].concat()).good();
        if asks {
            site.catch_up();
        }
    }
    site.catch_up();
    site.assert_equals_source();
}

/// `--dry-run` says what would be read, and changes nothing, not even a store.
#[test]
fn a_dry_run_reads_no_call() {
    for kind in ["mariadb-10.11", "mysql-9"] {
        let server = Server::of_kind(kind, &format!("dry-{kind}"), &[]);
        let site = with_a_past(&server, "asterisk", 300);
        let said = site
            .didtail(&["backfill", "--since", "3d", "--dry-run", "--json"])
            .json();
        let tables = said["sources"][0]["tables"].as_array().expect("a list");
        let of = |name: &str| {
            let found = tables.iter().find(|table| table["table"] == name);
            found.unwrap_or_else(|| panic!("no {name}: {said}"))
        };
        let log = of("vicidial_log");
        assert_eq!(
            (&log["state"], &log["has_index"]),
            (&"readable".into(), &true.into())
        );
        assert!(log["rows"].as_u64() > Some(100), "{said}");
        assert_eq!(of("vicidial_log_extended")["has_index"], false, "{said}");
        assert_eq!(
            of("vicidial_tiltx_shaken_log_archive")["state"],
            "not there"
        );
        for file in ["store.db", "state.db"] {
            assert!(!site.path(file).exists(), "{file}");
        }
        let text = site
            .didtail(&["backfill", "--since", "3d", "--dry-run"])
            .good();
        assert!(text.contains("Nothing was loaded."), "{text}");
    }
}

/// Twenty years without a row are passed over, not read in windows.
#[test]
fn years_without_calls_take_no_time() {
    let server = Server::shared();
    let site = with_a_past(server, "backfill_years", 200);
    let call = "INSERT INTO vicidial_log (uniqueid,lead_id,campaign_id,call_date,start_epoch,status,\
                phone_code,phone_number,user,length_in_sec) VALUES ('1136210400.7',7,'SOLAR',\
                '2006-01-02 14:00:00',1136210400,'NA','1','2125550144','VDAD',0)";
    site.sql(server, call);
    let begun = std::time::Instant::now();
    let said = load(&site, &["--since", "2004-01-01"]);
    // 44,000 windows, of which each takes some milliseconds.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    println!("{:?}", begun.elapsed());
    assert_eq!(said["finished"], true, "{said}");
    let old = "SELECT count(*) FROM call_records WHERE uniqueid = '1136210400.7' AND counted";
    assert_eq!(site.stored::<u32>(old), 1);
    site.catch_up();
    site.assert_equals_source();
}

/// A load waits while the source is busy, and goes on behind that.
#[test]
fn a_busy_source_is_left_alone() {
    let server = Server::start("backfill-busy", &[]);
    let site = with_a_past(&server, "asterisk", 300);
    std::thread::scope(|scope| {
        for _ in 0..25 {
            scope.spawn(|| server.sql("DO SLEEP(10)"));
        }
        let busy = "SELECT VARIABLE_VALUE > 22 FROM information_schema.GLOBAL_STATUS \
                    WHERE VARIABLE_NAME = 'THREADS_RUNNING'";
        wait_until("the server is busy", || {
            (server.sql(busy).trim() == "1").then_some(())
        });
        let ended = site.didtail(&["backfill", "--since", "3d"]);
        let waited = "the source is busy; the load waits";
        assert!(ended.stderr.contains(waited), "{}", ended.stderr);
        ended.good();
    });
    site.catch_up();
    site.assert_equals_source();
}
