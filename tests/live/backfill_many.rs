//! Many calls of the past are loaded while calls go on. `tests/run backfill` loads
//! a million, and says how long it took and how much memory.

use std::time::Instant;

use serde_json::Value;

use crate::support::{Server, Site};

/// Calls of the past.
fn rows() -> u64 {
    let said = std::env::var("BACKFILL_ROWS").ok();
    said.map_or(4_000, |rows| rows.parse().expect("a number"))
}

/// What belongs to the simulator's old calls, which have nothing but themselves:
/// a dial from one of a hundred DIDs with its code, and the carrier's answer.
const COMPANIONS: &str = "SET time_zone='+00:00', SESSION sql_log_bin=0;
    CREATE INDEX IF NOT EXISTS call_date ON vicidial_log_extended (call_date);
    CREATE TEMPORARY TABLE old AS SELECT uniqueid, lead_id, call_date,
        CONCAT('V', SUBSTR(DATE_FORMAT(call_date - INTERVAL 9 SECOND, '%m%d%H%i%s'), 2),
               LPAD(lead_id, 10, '0')) AS code,
        CONCAT('31255591', LPAD(lead_id % 100, 2, '0')) AS did, lead_id % 11 AS kind
        FROM vicidial_log WHERE lead_id >= 4000000000;
    INSERT INTO vicidial_dial_log (caller_code, lead_id, call_date, outbound_cid)
        SELECT code, lead_id, call_date - INTERVAL 9 SECOND, CONCAT('\"', code, '\" <', did, '>')
        FROM old;
    INSERT INTO vicidial_dial_cid_log (caller_code, call_date, outbound_cid)
        SELECT code, call_date - INTERVAL 9 SECOND, did FROM old;
    INSERT INTO vicidial_log_extended (uniqueid, call_date, lead_id, caller_code)
        SELECT uniqueid, call_date, lead_id, code FROM old;
    INSERT INTO vicidial_carrier_log
        (uniqueid, call_date, server_ip, lead_id, hangup_cause, dialstatus, caller_code)
        SELECT uniqueid, call_date, '10.0.0.1', lead_id, IF(kind = 3, 21, 16), 'ANSWER', code
        FROM old;";

/// The numbers of the hundred DIDs by the source: calls, dials, results.
const BY_SOURCE: &str = "SELECT CONCAT('+1', SUBSTRING_INDEX(SUBSTRING_INDEX(d.outbound_cid, '<', -1), \
        '>', 1)) AS did, count(*), sum(v.status IN ('SALE', 'A')), sum(v.status = 'NA' AND c.hangup_cause <> 21), \
        sum(c.hangup_cause = 21 AND v.status NOT IN ('SALE', 'NI', 'A')), \
        sum(IF(v.status IN ('SALE', 'NI'), v.length_in_sec, 0)) \
     FROM vicidial_dial_log d JOIN vicidial_log v ON v.lead_id = d.lead_id \
     JOIN vicidial_carrier_log c ON c.uniqueid = v.uniqueid \
     WHERE d.lead_id >= 4000000000 GROUP BY did ORDER BY did";

/// The same by the store.
const BY_STORE: &str = "SELECT d.phone_number || char(9) || s.dials || char(9) || s.successful_calls \
        || char(9) || s.no_answer || char(9) || s.blocked || char(9) || s.talk_seconds, \
        s.dials = s.total_calls FROM did_stats s JOIN dids d ON d.id = s.did_id \
     WHERE d.phone_number LIKE '+131255591%' ORDER BY 1";

#[test]
fn many_calls_are_loaded_while_calls_go_on() {
    let server = Server::start("backfill-many", &[]);
    let site = Site::new(&server, "asterisk");
    site.configure(&site.config().replace("earliest", "latest"));
    let begun = Instant::now();
    site.simulator("bulk", &["--rows", &rows().to_string()]);
    site.sql(&server, COMPANIONS);
    println!("{} calls made in {:?}", rows(), begun.elapsed());
    let daemon = site.following();
    let mut run = site.simulator_command("run");
    // Until it is stopped: as long as the load takes.
    run.args(["--calls", "0", "--noise", "5", "--rate", "60"]);
    let mut traffic = run
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the simulator runs");
    let begun = Instant::now();
    let mut load = site.command(&["backfill", "--since", "45d", "--json"]);
    let load = load
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("didtail runs");
    let pid = load.id();
    let peak = std::thread::spawn(move || peak_kib(pid));
    let ended = load.wait_with_output().expect("it ends");
    let took = begun.elapsed();
    assert!(ended.status.success());
    let said: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    let tally = &said["sources"][0]["tally"];
    println!(
        "loaded in {took:?}, {} rows, at most {} MB of memory: {tally}",
        tally["rows"],
        peak.join().expect("watched") / 1024
    );
    assert!(
        matches!(traffic.try_wait(), Ok(None)),
        "calls went on to the end"
    );
    traffic.kill().expect("it is ours");
    traffic.wait().expect("it was killed");
    site.wait_for_end(&server);
    assert!(tally["calls"].as_u64() >= Some(rows()), "{tally}");
    assert_eq!(said["differences"], serde_json::json!([]));
    let by_source = site.sql(&server, BY_SOURCE);
    let store = site.store();
    let mut query = store.prepare(BY_STORE).expect("a query");
    let lines = query.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?))
    });
    let lines: Vec<(String, bool)> = lines
        .expect("rows")
        .map(|row| row.expect("a row"))
        .collect();
    assert!(
        lines
            .iter()
            .all(|(_, each_dial_is_a_call)| *each_dial_is_a_call)
    );
    let by_store: Vec<&str> = lines.iter().map(|(line, _)| line.as_str()).collect();
    assert_eq!(by_store, by_source.lines().collect::<Vec<_>>());
    assert_eq!(by_store.len(), 100);
    let begun = Instant::now();
    let said = site.didtail(&["verify", "--since", "45d", "--json"]).json();
    println!("compared in {:?}", begun.elapsed());
    assert_eq!(said["sources"][0]["differing"], 0, "{said}");
    let log = daemon.stop();
    assert!(!log.contains("ERROR"), "{log}");
}

/// The most memory that a process had, until it ended.
fn peak_kib(pid: u32) -> u64 {
    let mut peak = 0;
    while let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) {
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let Some(line) = line else {
            break;
        };
        let kib = line.split_whitespace().nth(1);
        peak = kib.and_then(|kib| kib.parse().ok()).unwrap_or(peak);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    peak
}
