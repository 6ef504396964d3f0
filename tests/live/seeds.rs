//! Many different days: for each seed, calls of all kinds, with VICIdial's nightly
//! jobs in the middle of them, didtail killed again and again meanwhile, and then
//! every call and every counter compared with what the source itself says.
//!
//! Some seeds run beside the other tests; `tests/run seeds` runs 200.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::kill::{Moments, kill_while};
use crate::support::{Server, Site, differences};

const SEEDS: u32 = 4;
const CALLS: &str = "2000";
const DAYS: &str = "3";

/// Zones, and times in them at which something happens to clocks or to caller
/// codes, which have no year and one digit of the month.
const PLACES: [(&str, &str); 6] = [
    // Summer time ended six hours ago.
    ("America/New_York", "1730635200"),
    // Summer time began twelve hours ago.
    ("America/Chicago", "1741550400"),
    // A new year began.
    ("UTC", "1735711200"),
    // January, whose codes look like November's; half an hour off.
    ("Asia/Kolkata", "1736931600"),
    // February, whose codes look like December's.
    ("America/Los_Angeles", "1739523600"),
    // Half an hour of summer time ended.
    ("Australia/Lord_Howe", "1743940800"),
];

/// How one seed ended.
struct Ran {
    seed: u32,
    calls: usize,
    kills: u32,
    under_way: u32,
    traffic: Duration,
    all: Duration,
    differences: Vec<String>,
}

#[test]
fn every_seed_ends_in_the_sources_numbers() {
    let seeds = chosen();
    let server = Server::start("seeds", &[]);
    let mut ran = Vec::new();
    for (number, seed) in seeds.iter().enumerate() {
        let result = run(&server, *seed);
        println!("{}/{}: {}", number + 1, seeds.len(), line(&result));
        for difference in &result.differences {
            println!("    {difference}");
        }
        ran.push(result);
    }
    println!("{}", summary(&ran));
    let failed = ran.iter().filter(|ran| !ran.differences.is_empty());
    let failed: Vec<String> = failed
        .map(|ran| format!("SEED={}: {}", ran.seed, ran.differences.join("\n    ")))
        .collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

/// A comparison that sees nothing would find every seed equal.
#[test]
fn the_comparison_sees_each_kind_of_difference() {
    const ONE: &str = "(SELECT min(id) FROM call_records WHERE counted AND did_id IS NOT NULL)";
    let changes = [
        "UPDATE did_stats SET total_calls = total_calls + 1".to_owned(),
        "UPDATE did_stats SET dnc = dnc + 1".to_owned(),
        "UPDATE did_stats SET last_dial_at = last_dial_at - 1".to_owned(),
        "UPDATE did_stats SET last_call_at = last_call_at + 1".to_owned(),
        "UPDATE did_daily_stats SET blocked = blocked + 1".to_owned(),
        "UPDATE did_daily_stats SET talk_seconds = talk_seconds + 1".to_owned(),
        "DELETE FROM did_daily_stats WHERE campaign_id = 'RENEWAL'".to_owned(),
        format!("DELETE FROM call_records WHERE id = {ONE}"),
        format!("UPDATE call_records SET did_id = NULL WHERE id = {ONE}"),
        format!("UPDATE call_records SET day = '2000-01-01' WHERE id = {ONE}"),
        format!("UPDATE call_records SET sip_code = 699 WHERE id = {ONE}"),
        format!("UPDATE call_records SET agent_id = 'nobody' WHERE id = {ONE}"),
        format!("UPDATE call_records SET removed = 1 WHERE id = {ONE}"),
        format!("UPDATE call_records SET duration_seconds = 12345 WHERE id = {ONE}"),
    ];
    let site = Site::new(Server::shared(), "compared");
    site.calls(300, 1);
    site.catch_up();
    let truth = site.truth();
    let copy = site.path("copy.db");
    let name = copy.to_str().expect("a plain path");
    site.store()
        .execute("VACUUM INTO ?1", [name])
        .expect("a copy");
    let copy = rusqlite::Connection::open(&copy).expect("the copy");
    assert_eq!(differences(&truth, &copy), Vec::<String>::new());
    for change in changes {
        copy.execute_batch(&format!("BEGIN; {change}"))
            .expect("a change");
        assert!(!differences(&truth, &copy).is_empty(), "not seen: {change}");
        copy.execute_batch("ROLLBACK").expect("back again");
    }
}

/// `SEED` names one; `SEEDS` says how many, else it is a few.
fn chosen() -> Vec<u32> {
    let number = |name: &str| {
        let value = std::env::var(name).ok()?;
        Some(value.parse::<u32>().expect("a number of seeds, or a seed"))
    };
    if let Some(seed) = number("SEED") {
        return vec![seed];
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut state = now.expect("after 1970").as_secs() | 1;
    let seeds = (0..number("SEEDS").unwrap_or(SEEDS)).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u32::try_from(state % 1_000_000_000).expect("small")
    });
    seeds.collect()
}

/// One seed, in a database of its own.
fn run(server: &Server, seed: u32) -> Ran {
    let began = Instant::now();
    let (zone, epoch) = PLACES[seed as usize % PLACES.len()];
    // The former seeds' calls need not be read.
    server.sql("FLUSH BINARY LOGS");
    server.purge();
    let charset = if seed.is_multiple_of(5) {
        "utf8"
    } else {
        "latin1"
    };
    let site = Site::in_charset(server, &format!("seed_{seed}"), charset);
    // Calls of years ago are audited too, and their dials kept until they are over.
    let more = format!("time_zone = \"{zone}\"\n\n[retention]\naudit_days = 0\ndials_days = 0\n");
    site.configure(&(site.config() + &more));
    let mut traffic = site.simulator_command("run");
    let number = seed.to_string();
    traffic.args(["--calls", CALLS, "--days", DAYS, "--seed", &number]);
    traffic.args(["--epoch", epoch, "--zone", zone, "--upkeep"]);
    traffic.args(["--noise", "1", "--corrections", "0.08"]);
    let mut moments = Moments(u64::from(seed) | 1, 400);
    let writing = Instant::now();
    let (kills, under_way) = kill_while(&site, traffic, &mut moments, 0);
    let traffic = writing.elapsed();
    let summary = site.catch_up();
    let truth = site.truth_in(zone);
    let mut found = differences(&truth, &site.store());
    if summary["missing"] != serde_json::json!([]) {
        found.push(format!("missing: {}", summary["missing"]));
    }
    found.extend(site.broken_invariants());
    if found.is_empty() {
        server.sql(&format!("DROP DATABASE `{}`", site.database));
        std::fs::remove_dir_all(&site.dir).expect("a folder that can be removed");
    }
    Ran {
        seed,
        calls: truth["calls"].as_array().map_or(0, Vec::len),
        kills,
        under_way,
        traffic,
        all: began.elapsed(),
        differences: found,
    }
}

fn line(ran: &Ran) -> String {
    let result = match ran.differences.len() {
        0 => "equal".to_owned(),
        many => format!("{many} DIFFERENCES"),
    };
    format!(
        "SEED={} in {}: {} calls in {:.1} s, killed {} times ({} under way), {:.1} s in all: {result}",
        ran.seed,
        PLACES[ran.seed as usize % PLACES.len()].0,
        ran.calls,
        ran.traffic.as_secs_f64(),
        ran.kills,
        ran.under_way,
        ran.all.as_secs_f64(),
    )
}

fn summary(ran: &[Ran]) -> String {
    let sum = |of: fn(&Ran) -> usize| ran.iter().map(of).sum::<usize>();
    let seconds: f64 = ran.iter().map(|ran| ran.all.as_secs_f64()).sum();
    format!(
        "\n   seeds     calls   kills under way  differences  seconds/seed\n\
         {:>8} {:>9} {:>7} {:>9} {:>12} {:>13.1}",
        ran.len(),
        sum(|ran| ran.calls),
        sum(|ran| ran.kills as usize),
        sum(|ran| ran.under_way as usize),
        sum(|ran| ran.differences.len()),
        seconds / ran.len().max(1) as f64,
    )
}
