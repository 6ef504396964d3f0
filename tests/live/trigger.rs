//! The same day for three ways to learn of a call's result: a trigger on
//! `vicidial_log`, a poller that runs once a minute, and didtail.
//!
//! Prints which calls each one gets right, by kind: those whose last disposition
//! it counted, and counted once. `tests/README.md` has the table.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Ended, Server, Site};

const CALLS: &str = "2000";
/// Calls begun per second. The day runs 25 times as fast as the clock.
const RATE: &str = "120";
/// Noon in UTC: no call is of another day.
const EPOCH: &str = "1731672000";
const DAY: &str = "2024-11-15";
/// A minute of that day.
const MINUTE: Duration = Duration::from_millis(2400);

const KINDS: [(&str, &str); 8] = [
    ("a", "unanswered, busy, disconnected, blocked"),
    ("b", "taken by an agent"),
    ("c", "answering machine"),
    ("d", "dropped, survey"),
    ("e", "dialled by hand"),
    ("f", "transferred, three-way"),
    ("g", "corrected later"),
    ("h", "other number of the lead"),
];

/// What the trigger's own design was: a row for each changed status.
const TRIGGER: &str = "
    CREATE TABLE call_result_queue (
        id INT AUTO_INCREMENT PRIMARY KEY, uniqueid VARCHAR(20), lead_id INT UNSIGNED,
        start_epoch INT UNSIGNED, status VARCHAR(6), length_in_sec INT, campaign_id VARCHAR(8),
        phone_number VARCHAR(18), user VARCHAR(20)) ENGINE=MyISAM;
    CREATE TRIGGER call_result AFTER UPDATE ON vicidial_log FOR EACH ROW
        INSERT INTO call_result_queue (uniqueid, lead_id, start_epoch, status, length_in_sec,
            campaign_id, phone_number, user)
        SELECT NEW.uniqueid, NEW.lead_id, NEW.start_epoch, NEW.status, NEW.length_in_sec,
            NEW.campaign_id, NEW.phone_number, NEW.user
        FROM DUAL WHERE OLD.status <> NEW.status AND NEW.status <> ''";

/// A call, by its lead and the second it began in: a uniqueid may change. The
/// rows of a call that became two are told as one, with two results.
type Call = (i64, i64);
/// The dispositions that were counted for each call.
type Results = BTreeMap<Call, Vec<String>>;

#[test]
fn didtail_gets_right_what_triggers_and_pollers_do_not() {
    let server = Server::start("trigger", &[]);
    let site = Site::new(&server, "asterisk");
    site.sql(&server, TRIGGER);
    let kinds = site.path("kinds.json");
    let mut traffic = site.simulator_command("run");
    traffic.args(["--calls", CALLS, "--rate", RATE, "--epoch", EPOCH]);
    traffic.args([
        "--noise",
        "1",
        "--connections",
        "6",
        "--corrections",
        "0.05",
    ]);
    traffic.arg("--kinds").arg(&kinds);
    let daemon = site.following();
    let traffic = std::thread::spawn(move || Ended::of(&mut traffic));
    let mut poller = Poller::default();
    while !traffic.is_finished() {
        std::thread::sleep(MINUTE);
        poller.run(&site, &server);
    }
    traffic.join().expect("the simulator ran").good();
    while poller.run(&site, &server) {}
    site.wait_for_end(&server);
    let log = daemon.stop();
    assert!(!log.contains("ERROR"), "{log}");
    site.assert_equals_source();

    let truth = truth(&site);
    let queued = queued(&site, &server);
    let mut last = queued.clone();
    for statuses in last.values_mut() {
        statuses.retain(|status| !["QUEUE", "INCALL", "DISPO"].contains(&status.as_str()));
    }
    let methods = [queued, last, poller.results, counted(&site)];
    let table = Table::new(&kinds_of(&kinds), &truth, &methods);
    println!("{}", table.text());
    assert_eq!(table.right[3], table.calls, "didtail's column");
    assert!(
        table.calls.iter().all(|calls| *calls > 10),
        "a kind is rare"
    );
}

/// `AST_DID_optimizer_sync.pl`, as cron runs it.
#[derive(Default)]
struct Poller {
    last: String,
    results: Results,
}

impl Poller {
    /// Takes what is new since the last uniqueid; false when there was nothing.
    fn run(&mut self, site: &Site, server: &Server) -> bool {
        let query = format!(
            "SELECT lead_id, start_epoch, status, uniqueid FROM vicidial_log \
             WHERE uniqueid > '{}' AND call_date >= '{DAY}' AND status <> '' \
             AND length_in_sec > 0 ORDER BY uniqueid LIMIT 500",
            self.last
        );
        let found = site.sql(server, &query);
        for line in found.lines() {
            let (call, rest) = row(line);
            let (status, uniqueid) = rest.split_once('\t').expect("four columns");
            uniqueid.clone_into(&mut self.last);
            self.results
                .entry(call)
                .or_default()
                .push(status.to_owned());
        }
        !found.is_empty()
    }
}

/// A call, and the rest of the line.
fn row(line: &str) -> (Call, &str) {
    let mut columns = line.splitn(3, '\t');
    let mut next = || columns.next().expect("three columns");
    let lead = next().parse().expect("a lead");
    let start = next().parse().expect("a time");
    ((lead, start), next())
}

fn queued(site: &Site, server: &Server) -> Results {
    let query = "SELECT lead_id, start_epoch, status FROM call_result_queue ORDER BY id";
    let mut results = Results::new();
    for line in site.sql(server, query).lines() {
        let (call, status) = row(line);
        results.entry(call).or_default().push(status.to_owned());
    }
    results
}

fn counted(site: &Site) -> Results {
    let store = site.store();
    let mut query = store
        .prepare("SELECT lead_id, started_at, disposition FROM call_records WHERE counted")
        .expect("a query");
    let rows = query.query_map([], |row| {
        Ok(((row.get(0)?, row.get(1)?), row.get::<_, String>(2)?))
    });
    let mut results = Results::new();
    for row in rows.expect("rows") {
        let (call, disposition) = row.expect("a row");
        results.entry(call).or_default().push(disposition);
    }
    results
}

/// Every call of the source, also those that are not to be counted.
fn truth(site: &Site) -> Results {
    let truth = site.truth();
    let mut results = Results::new();
    for call in truth["calls"].as_array().expect("calls") {
        let number = |name: &str| call[name].as_str().expect("a number");
        let lead = number("lead_id").parse().expect("a lead");
        let start = number("started_at").parse().expect("a time");
        let statuses = results.entry((lead, start)).or_default();
        if call["counted"] == "1" {
            statuses.push(call["status"].as_str().expect("a status").to_owned());
        }
    }
    results
}

/// When which kind of attempt was made, for each lead.
type Attempts = BTreeMap<i64, Vec<(i64, String)>>;

fn kinds_of(file: &std::path::Path) -> Attempts {
    let bytes = std::fs::read(file).expect("the kinds");
    let list: Vec<Value> = serde_json::from_slice(&bytes).expect("JSON");
    let mut attempts = Attempts::new();
    for attempt in list {
        let kind = match attempt["corrected"] == true {
            true => "g",
            false => attempt["kind"].as_str().expect("a kind"),
        };
        let lead = attempt["lead_id"].as_i64().expect("a lead");
        let dialled = attempt["dialled"].as_i64().expect("a time");
        let of_lead = attempts.entry(lead).or_default();
        of_lead.push((dialled, kind.to_owned()));
        of_lead.sort();
    }
    attempts
}

fn kind_of(attempts: &Attempts, (lead, start): Call) -> usize {
    let of_lead = &attempts[&lead];
    let last = of_lead.iter().rfind(|(dialled, _)| *dialled <= start);
    let kind = &last.expect("a call is dialled before it begins").1;
    let place = KINDS.iter().position(|(letter, _)| letter == kind);
    place.expect("a known kind")
}

#[derive(Debug)]
struct Table {
    calls: [usize; KINDS.len()],
    right: [[usize; KINDS.len()]; 4],
    /// How many results there are, in truth and as each method counts.
    results: [usize; 5],
}

impl Table {
    fn new(attempts: &Attempts, truth: &Results, methods: &[Results; 4]) -> Self {
        let total = |results: &Results| results.values().map(Vec::len).sum();
        let [every, last, poller, didtail] = methods;
        let mut table = Self {
            calls: [0; KINDS.len()],
            right: [[0; KINDS.len()]; 4],
            results: [truth, every, last, poller, didtail].map(total),
        };
        for (call, expected) in truth {
            let kind = kind_of(attempts, *call);
            table.calls[kind] += 1;
            let mut expected = expected.clone();
            expected.sort();
            for (right, method) in table.right.iter_mut().zip(methods) {
                let mut found = method.get(call).cloned().unwrap_or_default();
                found.sort();
                right[kind] += usize::from(found == expected);
            }
        }
        table
    }

    /// As it stands in `tests/README.md`.
    fn text(&self) -> String {
        let mut lines = vec![
            "| kind of call | calls | trigger, each row | trigger, without QUEUE, INCALL, DISPO | poller | didtail |".to_owned(),
            "|---|---:|---:|---:|---:|---:|".to_owned(),
        ];
        let cells = |numbers: [usize; 5]| numbers.map(|n| n.to_string()).join(" | ");
        let [every, last, poller, didtail] = self.right;
        for (at, (letter, name)) in KINDS.iter().enumerate() {
            let numbers = [self.calls[at], every[at], last[at], poller[at], didtail[at]];
            lines.push(format!("| ({letter}) {name} | {} |", cells(numbers)));
        }
        let all = [self.calls, every, last, poller, didtail].map(|column| column.iter().sum());
        lines.push(format!("| **all** | {} |", cells(all)));
        lines.push(format!("| results counted | {} |", cells(self.results)));
        lines.join("\n")
    }
}
