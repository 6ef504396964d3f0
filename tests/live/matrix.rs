//! The same days on every server and in every format of its binlog, with didtail
//! killed at random meanwhile: the numbers are the source's in all of them.
//!
//! Beside the other tests each format runs once on each server. `tests/run matrix`
//! runs longer days, and also compressed binlogs, partial row images, metadata,
//! checksums and a change of the format in the middle of the day. `CALLS`, `SEED`
//! and `CELLS` (a part of a cell's name) choose.
//!
//! A cell proves nothing if the binlog was not as its name says, so the server's
//! own program reads it and says what was in it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use crate::kill::{Moments, kill_while};
use crate::support::{Server, Site, differences};

const SERVERS: [&str; 3] = ["mariadb-10.11", "mariadb-11.8", "mysql-9"];
const FORMATS: [&str; 3] = ["ROW", "MIXED", "STATEMENT"];

/// Calls of a cell where nobody says how many.
const CALLS: u32 = 300;
const SEED: u32 = 4;
/// A Sunday, six hours after summer time ended.
const EPOCH: &str = "1730635200";
const ZONE: &str = "America/New_York";

/// The tables whose rows are looked for in the binlog.
const WATCHED: [&str; 6] = [
    "vicidial_log",
    "vicidial_log_extended",
    "vicidial_dial_log",
    "vicidial_dial_cid_log",
    "vicidial_carrier_log",
    "vicidial_campaign_statuses",
];

/// One server in one way of logging.
#[derive(Clone, Debug)]
struct Cell {
    server: &'static str,
    format: &'static str,
    /// Another setting than usual: a system variable, its value, the usual one.
    setting: Option<(&'static str, &'static str, &'static str)>,
    /// The format that is set in the middle of the day.
    later: Option<&'static str>,
    /// What keeps the tables.
    engine: &'static str,
    /// What the binlog must have held.
    demands: Vec<Demand>,
}

/// What a cell's binlog must have held for the cell to mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    Rows,
    NoRows,
    Statements,
    NoStatements,
    Compressed,
}

/// What the server's own program found in the binlog.
#[derive(Debug, Default)]
struct Logged {
    statements: u64,
    /// Table maps of watched tables: one a statement in the ROW format.
    rows: u64,
    compressed: u64,
}

/// How one cell ended.
struct Ran {
    name: [String; 2],
    calls: usize,
    kills: u32,
    seconds: f64,
    logged: Logged,
    differences: Vec<String>,
}

#[test]
fn every_server_and_format_ends_in_the_sources_numbers() {
    let is_long = std::env::var_os("MATRIX").is_some();
    let wanted = std::env::var("CELLS").unwrap_or_default();
    let mut ran = Vec::new();
    for server in SERVERS {
        let mut cells = cells(server, is_long);
        cells.retain(|cell| cell.name().join(" ").contains(&wanted));
        if cells.is_empty() {
            continue;
        }
        let running = start(server);
        for (number, cell) in cells.iter().enumerate() {
            let result = contained(&running, cell, number);
            println!("{}", line(&result));
            for difference in &result.differences {
                println!("    {difference}");
            }
            ran.push(result);
        }
    }
    println!("{}", table(&ran));
    assert!(!ran.is_empty(), "no cell is named like {wanted:?}");
    let failed = ran.iter().filter(|ran| !ran.differences.is_empty());
    let failed: Vec<String> = failed
        .map(|ran| format!("{}: {}", ran.name.join(" "), ran.differences.join("\n    ")))
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {} cells differ\n{}",
        failed.len(),
        ran.len(),
        failed.join("\n")
    );
}

/// A server whose disk nobody waits for: it is not what is looked at.
fn start(kind: &'static str) -> Server {
    let arguments: &[&str] = if kind.starts_with("mysql") {
        &[
            "--sync-binlog=0",
            "--innodb-flush-log-at-trx-commit=0",
            "--performance-schema=OFF",
        ]
    } else {
        &[]
    };
    Server::of_kind(kind, &format!("matrix-{kind}"), arguments)
}

fn cells(server: &'static str, is_long: bool) -> Vec<Cell> {
    let plain = |format: &'static str| Cell {
        server,
        format,
        setting: None,
        later: None,
        engine: "MyISAM",
        demands: match format {
            "ROW" => vec![Demand::Rows, Demand::NoStatements],
            "MIXED" => vec![Demand::Rows, Demand::Statements],
            _ => vec![Demand::NoRows, Demand::Statements],
        },
    };
    let mut cells = FORMATS.map(plain).to_vec();
    if !is_long {
        return cells;
    }
    let with = |format, variable, value, usual| Cell {
        setting: Some((variable, value, usual)),
        ..plain(format)
    };
    let compressed = |format, variable| {
        let mut cell = with(format, variable, "ON", "OFF");
        cell.demands.push(Demand::Compressed);
        cell
    };
    let innodb = |cell: Cell| Cell {
        engine: "InnoDB",
        ..cell
    };
    if server.starts_with("mysql") {
        // It compresses transactions alone.
        let variable = "binlog_transaction_compression";
        cells.push(innodb(compressed("ROW", variable)));
        cells.push(innodb(compressed("MIXED", variable)));
        cells.push(with("ROW", "binlog_row_metadata", "FULL", "MINIMAL"));
    } else {
        cells.push(compressed("ROW", "log_bin_compress"));
        cells.push(compressed("MIXED", "log_bin_compress"));
        cells.push(with("ROW", "binlog_row_metadata", "FULL", "NO_LOG"));
        cells.push(with("ROW", "binlog_row_metadata", "MINIMAL", "NO_LOG"));
    }
    cells.extend(FORMATS.map(|format| innodb(plain(format))));
    cells.push(with("ROW", "binlog_row_image", "MINIMAL", "FULL"));
    cells.push(with("MIXED", "binlog_row_image", "MINIMAL", "FULL"));
    cells.push(with("ROW", "binlog_row_image", "NOBLOB", "FULL"));
    cells.push(with("ROW", "binlog_checksum", "NONE", "CRC32"));
    cells.push(with("MIXED", "binlog_checksum", "NONE", "CRC32"));
    for (format, later) in [("ROW", "MIXED"), ("MIXED", "ROW")] {
        cells.push(Cell {
            later: Some(later),
            demands: vec![Demand::Rows, Demand::Statements],
            ..plain(format)
        });
    }
    cells
}

impl Cell {
    /// The server, and how it logs.
    fn name(&self) -> [String; 2] {
        let mut logs = self.format.to_owned();
        if let Some(later) = self.later {
            logs += &format!(" then {later}");
        }
        if self.engine != "MyISAM" {
            logs += &format!(", {}", self.engine);
        }
        if let Some((variable, value, _)) = self.setting {
            logs += &format!(", {variable}={value}");
        }
        [self.server.to_owned(), logs]
    }

    /// What is read by SELECT must still be there. A row lives for a day at
    /// least before VICIdial's archiver takes it, and here a day takes a second;
    /// so didtail sees the end of each day before its rows are taken. Where rows
    /// are in the binlog it need not.
    fn needs_nights(&self) -> bool {
        let is_partial = |(variable, _, _)| variable == "binlog_row_image";
        self.format != "ROW" || self.later.is_some() || self.setting.is_some_and(is_partial)
    }

    /// The statements that set the server so, and back again.
    fn settings(&self) -> [String; 2] {
        let set = |format: &str, value: Option<(&str, &str)>| {
            let more = value.map_or(String::new(), |(variable, value)| {
                format!("; SET GLOBAL {variable} = {value}")
            });
            format!("SET GLOBAL binlog_format = {format}{more}")
        };
        let setting = self.setting;
        [
            set(self.format, setting.map(|(name, value, _)| (name, value))),
            set("ROW", setting.map(|(name, _, usual)| (name, usual))),
        ]
    }
}

/// Runs a cell. Whatever goes wrong in it is its difference, and the next one runs.
fn contained(server: &Server, cell: &Cell, number: usize) -> Ran {
    let [set, back] = cell.settings();
    let began = Instant::now();
    server.sql(&set);
    let caught = std::thread::scope(|scope| scope.spawn(|| run(server, cell, number)).join());
    server.sql(&back);
    let mut ran = caught.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|&words| words.to_owned()));
        let words = words.unwrap_or_else(|| "it failed".to_owned());
        // Of a whole log, the reason.
        let reason = words.find("error: ").and_then(|at| words.get(at..));
        Ran {
            name: cell.name(),
            calls: 0,
            kills: 0,
            seconds: 0.0,
            logged: Logged::default(),
            differences: vec![reason.unwrap_or(&words).trim().to_owned()],
        }
    });
    ran.seconds = began.elapsed().as_secs_f64();
    ran
}

fn run(server: &Server, cell: &Cell, number: usize) -> Ran {
    // The former cells' calls need not be read.
    server.sql("FLUSH BINARY LOGS");
    let file = server.purge();
    let engine = ["--engine", cell.engine];
    let site = Site::made(server, &format!("matrix_{number}"), &engine);
    // Calls of years ago are audited too.
    let more = format!("time_zone = \"{ZONE}\"\n\n[retention]\naudit_days = 0\ndials_days = 0\n");
    site.configure(&(site.config() + &more));
    let (calls, seed) = (number_of("CALLS", CALLS), number_of("SEED", SEED));
    let mut traffic = site.simulator_command("run");
    traffic.args(["--calls", &calls.to_string(), "--seed", &seed.to_string()]);
    traffic.args(["--epoch", EPOCH, "--zone", ZONE, "--days", "3"]);
    traffic.args(["--upkeep", "--noise", "1", "--corrections", "0.08"]);
    let night = site.night();
    if cell.needs_nights() {
        traffic.arg("--nights").arg(night);
    }
    if let Some(later) = cell.later {
        traffic.args(["--format-later", later]);
    }
    let mut moments = Moments(u64::from(seed) | 1, 400);
    let (kills, _) = kill_while(&site, traffic, &mut moments, 0);
    let summary = site.catch_up();
    let truth = site.truth_in(ZONE);
    let mut found = differences(&truth, &site.store());
    if summary["missing"] != serde_json::json!([]) {
        found.push(format!("missing: {}", summary["missing"]));
    }
    found.extend(site.broken_invariants());
    let logged = logged(server, &file, &site.database);
    let unmet = cell.demands.iter().filter(|demand| !logged.meets(**demand));
    found.extend(unmet.map(|demand| format!("the binlog has {logged:?}, not {demand:?}")));
    if kills < 2 {
        found.push(format!("it was killed {kills} times only"));
    }
    if found.is_empty() {
        server.sql(&format!("DROP DATABASE `{}`", site.database));
        std::fs::remove_dir_all(&site.dir).expect("a folder that can be removed");
    } else {
        // Beside the logs and the stores, for whoever looks for the reason.
        for path in server.binlogs() {
            let copy = site.path(&path.file_name().expect("a name").to_string_lossy());
            std::fs::copy(&path, copy).expect("a copy of the binlog");
        }
    }
    Ran {
        name: cell.name(),
        calls: truth["calls"].as_array().map_or(0, Vec::len),
        kills,
        seconds: 0.0,
        logged,
        differences: found,
    }
}

impl Logged {
    fn meets(&self, demand: Demand) -> bool {
        match demand {
            Demand::Rows => self.rows > 0,
            Demand::NoRows => self.rows == 0,
            Demand::Statements => self.statements > 0,
            Demand::NoStatements => self.statements == 0,
            Demand::Compressed => self.compressed > 0,
        }
    }
}

/// What the server's own program finds of watched tables in the binlog from a
/// file on: a server keeps files that a dead connection still reads.
fn logged(server: &Server, first: &str, database: &str) -> Logged {
    let mut binlogs = server.binlogs();
    binlogs.retain(|path| path.file_name().is_some_and(|name| name >= first));
    let mut printer = server.binlog_printer(&["--base64-output=decode-rows"]);
    let printing = printer.args(binlogs).stdout(Stdio::piped());
    let mut child = printing.spawn().expect("a program that prints binlogs");
    let lines = BufReader::new(child.stdout.take().expect("its output")).split(b'\n');
    let maps: Vec<String> = WATCHED
        .iter()
        .map(|table| format!("Table_map: `{database}`.`{table}` "))
        .collect();
    let mut logged = Logged::default();
    for line in lines {
        let line = line.expect("a line");
        let line = String::from_utf8_lossy(&line);
        let is_event = line.starts_with('#');
        if is_event && maps.iter().any(|map| line.contains(map)) {
            logged.rows += 1;
        }
        if is_event && (line.contains("ompressed") || line.contains("Transaction_payload")) {
            logged.compressed += 1;
        }
        if !is_event && writes_watched(&line) {
            logged.statements += 1;
        }
    }
    assert!(child.wait().expect("it ends").success(), "it reads binlogs");
    logged
}

/// Whether a line begins a statement that writes a watched table.
fn writes_watched(line: &str) -> bool {
    let mut words = line.split([' ', '\t', '(', '`', ',']);
    let mut words = words.by_ref().filter(|word| !word.is_empty());
    let verb = words.next().unwrap_or_default().to_lowercase();
    let target = words.find(|word| {
        let noise = ["into", "from", "ignore", "low_priority", "delayed"];
        !noise.contains(&word.to_lowercase().as_str())
    });
    ["insert", "update", "delete", "replace"].contains(&verb.as_str())
        && target.is_some_and(|target| WATCHED.contains(&target))
}

fn number_of(name: &str, usual: u32) -> u32 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

fn result(ran: &Ran) -> String {
    match ran.differences.len() {
        0 => "equal".to_owned(),
        many => format!("{many} DIFFERENCES"),
    }
}

fn line(ran: &Ran) -> String {
    format!(
        "{}: {} calls in {:.1} s, killed {} times: {}",
        ran.name.join(" "),
        ran.calls,
        ran.seconds,
        ran.kills,
        result(ran)
    )
}

fn table(ran: &[Ran]) -> String {
    let width = ran.iter().map(|ran| ran.name[1].len()).max().unwrap_or(0);
    let mut text = format!(
        "\n{:<14} {:<width$} {:>6} {:>5} {:>7} {:>10} {:>9}  differences\n",
        "server", "binlog", "calls", "kills", "seconds", "statements", "row maps"
    );
    for ran in ran {
        text += &format!(
            "{:<14} {:<width$} {:>6} {:>5} {:>7.1} {:>10} {:>9}  {}\n",
            ran.name[0],
            ran.name[1],
            ran.calls,
            ran.kills,
            ran.seconds,
            ran.logged.statements,
            ran.logged.rows,
            ran.differences.len()
        );
    }
    let seconds: f64 = ran.iter().map(|ran| ran.seconds).sum();
    let equal = ran.iter().filter(|ran| ran.differences.is_empty()).count();
    text + &format!("{equal} of {} cells equal, {seconds:.0} s", ran.len())
}
