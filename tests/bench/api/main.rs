//! The HTTP API under load: results are posted while VICIdial's changes are applied, and
//! beside ten thousand connections that say nothing.
//!
//! `cargo bench --bench api [-- SECONDS [POSTS_A_SECOND [CALLS_A_SECOND]]]`. Starts a
//! private MariaDB 10.11, the traffic simulator, and didtail with a SQLite store. Posts
//! come at their times whether or not those before are answered, and each is timed from
//! when it was due. They name calls that the binlog brings at that moment, and older ones
//! again. At the end the store must be what the source says, call by call.

#![expect(clippy::print_stdout, reason = "it prints what it measures")]

#[path = "../../support/compare.rs"]
#[expect(dead_code, unreachable_pub, reason = "the live tests need more of it")]
mod compare;
mod load;
#[path = "../spine/server.rs"]
#[expect(dead_code, reason = "another bench needs more of it")]
mod server;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mysql_async::prelude::Queryable as _;
use rusqlite::{Connection, OpenFlags};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use self::load::{Idle, Load, Told};
use self::server::{Server, run, usage};

/// Connections that say nothing, in the second round.
const IDLE: usize = 10_000;

/// Calls that are there before the load begins, so that there is something to post.
const CALLS_BEFORE: &str = "2000";

const PATIENCE: Duration = Duration::from_secs(120);

const CREDENTIALS: &str = "didtail";

/// How much there is to do.
#[derive(Clone, Copy)]
struct Plan {
    seconds: u64,
    posts_per_second: u64,
    calls_per_second: u64,
}

fn main() -> anyhow::Result<()> {
    let numbers: Vec<u64> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .map(|argument| argument.parse())
        .collect::<Result<_, _>>()
        .context("expected SECONDS POSTS_A_SECOND CALLS_A_SECOND")?;
    let number = |place: usize, default| numbers.get(place).copied().unwrap_or(default);
    let plan = Plan {
        seconds: number(0, 20),
        posts_per_second: number(1, 2500),
        calls_per_second: number(2, 400),
    };
    let handles = raise_handles()?;
    println!("{handles} file handles for each process");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    println!(
        "idle connections | rows/s | posts/s | not 200 | p50 ms | p99 ms | most ms | commits/s | commit ms | cpu s | MB"
    );
    for (name, idle) in [("apibusy", 0), ("apiidle", IDLE)] {
        let server = Server::start(name)?;
        runtime.block_on(measure(&server, plan, idle))?;
    }
    Ok(())
}

/// As many file handles as this user may have; programs that are started have them too.
fn raise_handles() -> anyhow::Result<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.current.unwrap_or(u64::MAX))
}

/// What a didtail counts.
#[derive(Clone, Copy)]
struct Counts {
    /// Changed rows of watched tables in the binlog.
    rows: f64,
    commits: f64,
    commit_seconds: f64,
    cpu: Duration,
    peak_mb: u64,
}

/// A didtail that answers.
struct Daemon {
    child: Child,
    address: SocketAddr,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// didtail with the bench's source and store.
fn didtail(server: &Server, arguments: &[&str]) -> Command {
    let url = format!("mysql://didtail@127.0.0.1:{}/asterisk", server.port);
    let store = format!("sqlite://{}", server.folder.join("store.db").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_didtail"));
    command.args(arguments);
    command.args(["--source-url", &url, "--store-url", &store, "-q", "--state"]);
    command.arg(server.folder.join("state.db"));
    command.env("DIDTAIL_SOURCE_PASSWORD", CREDENTIALS);
    command
}

impl Daemon {
    async fn start(server: &Server) -> anyhow::Result<Self> {
        // Free for a moment, which is enough here.
        let free = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = free.local_addr()?;
        drop(free);
        let child = didtail(server, &["run", "--start-at", "earliest"])
            .env("DIDTAIL_API__LISTEN", address.to_string())
            .stdout(Stdio::null())
            .spawn()
            .context("starting didtail")?;
        let daemon = Self { child, address };
        let deadline = Instant::now() + PATIENCE;
        while !daemon
            .get("/readyz")
            .await
            .is_ok_and(|text| text.contains(" 200 "))
        {
            ensure!(Instant::now() < deadline, "didtail is not ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(daemon)
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = tokio::net::TcpStream::connect(self.address).await?;
        let text = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    async fn counts(&self) -> anyhow::Result<Counts> {
        let used = usage(&self.child.id().to_string())?;
        Ok(Counts {
            rows: self.metric("didtail_table_rows_total").await?,
            commits: self.metric("didtail_commit_duration_seconds_count").await?,
            commit_seconds: self.metric("didtail_commit_duration_seconds_sum").await?,
            cpu: used.cpu,
            peak_mb: used.peak_mb,
        })
    }

    /// The sum of a metric's series.
    async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = self.get("/metrics").await?;
        let series = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        let values = series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(values.sum())
    }
}

async fn measure(server: &Server, plan: Plan, idle: usize) -> anyhow::Result<()> {
    server.simulate(&["run", "--calls", CALLS_BEFORE, "--noise", "0"])?;
    // The store, so that there can be a key.
    run(&mut didtail(
        server,
        &["run", "--start-at", "earliest", "--until-caught-up"],
    ))?;
    let key = run(&mut didtail(
        server,
        &["api-key", "create", "--label", "bench", "--json"],
    ))?;
    let key: serde_json::Value = serde_json::from_str(&key)?;
    let key = key["key"].as_str().context("no key")?;
    let daemon = Daemon::start(server).await?;
    let silent = Idle::open(daemon.address, idle).await;
    let load = Load::new(daemon.address, key);
    let fresh = Arc::clone(&load);
    let source = format!("mysql://root@127.0.0.1:{}/asterisk", server.port);
    let looking = watch_calls(source, fresh);

    let mut traffic = Command::new(env!("CARGO_BIN_EXE_didtail-simulator"));
    let calls = (plan.calls_per_second * plan.seconds).to_string();
    let rate = plan.calls_per_second.to_string();
    traffic.args([
        "run", "--noise", "0", "--seed", "2", "--calls", &calls, "--rate", &rate,
    ]);
    traffic.args(["--url", &format!("mysql://root@127.0.0.1:{}/", server.port)]);
    let mut traffic = traffic.stdout(Stdio::null()).spawn()?;
    let before = daemon.counts().await?;
    let posting = load.post(plan.posts_per_second, Duration::from_secs(plan.seconds));
    let began = Instant::now();
    let told = tokio::select! {
        told = posting => told,
        failed = looking => return failed,
    };
    let took = began.elapsed().as_secs_f64();
    row(&silent, [before, daemon.counts().await?], &told, took);
    drop(silent);
    ensure!(traffic.wait()?.success(), "the simulator failed");
    settle(server, &daemon).await?;
    drop(daemon);
    check(server, &load)
}

fn row(silent: &Idle, [before, now]: [Counts; 2], told: &[Told], took: f64) {
    let mut times: Vec<Duration> = told
        .iter()
        .filter(|one| one.is_good)
        .map(|one| one.took)
        .collect();
    times.sort();
    let ms = |part: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a list"
        )]
        let place = (times.len() as f64 * part) as usize;
        let time = times.get(place.min(times.len().saturating_sub(1)));
        time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    #[expect(clippy::cast_precision_loss, reason = "some ten thousand")]
    let rate = times.len() as f64 / took;
    println!(
        "{:>16} | {:6.0} | {rate:7.0} | {:7} | {:6.1} | {:6.1} | {:7.1} | {:9.0} | {:9.1} | {:5.1} | {:3}",
        silent.lowest(),
        (now.rows - before.rows) / took,
        told.len() - times.len(),
        ms(0.5),
        ms(0.99),
        ms(1.0),
        (now.commits - before.commits) / took,
        (now.commit_seconds - before.commit_seconds) / (now.commits - before.commits) * 1e3,
        now.cpu.saturating_sub(before.cpu).as_secs_f64(),
        now.peak_mb,
    );
}

/// Hands the calls that VICIdial has to who posts them, as they come; never ends well.
async fn watch_calls(url: String, load: Arc<Load>) -> anyhow::Result<()> {
    let mut source = mysql_async::Conn::from_url(&url).await?;
    // Rows are changed and deleted, and the newest are those that matter.
    let mut known = std::collections::BTreeSet::new();
    let newest = "SELECT uniqueid, phone_number, start_epoch FROM vicidial_log \
                  ORDER BY start_epoch DESC LIMIT 5000";
    loop {
        let rows: Vec<(String, String, i64)> = source.query(newest).await?;
        for (uniqueid, number, start) in rows {
            if known.insert(uniqueid.clone()) {
                load.knows(&uniqueid, &number, start);
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Waits until all that was posted and written is in the store.
async fn settle(server: &Server, daemon: &Daemon) -> anyhow::Result<()> {
    let (file, offset) = server.head()?;
    let end = (file, i64::try_from(offset)?);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let store = open(&server.folder)?;
        let at: (String, i64) = store.query_row(
            "SELECT binlog_file, binlog_next FROM replication_progress",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let waiting: i64 =
            store.query_row("SELECT count(*) FROM posted_results", [], |row| row.get(0))?;
        if at >= end && waiting == 0 {
            return Ok(());
        }
        let lag = daemon
            .metric("didtail_lag_seconds")
            .await
            .unwrap_or(f64::NAN);
        ensure!(
            Instant::now() < deadline,
            "{waiting} results wait, {lag} s behind"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn open(folder: &Path) -> anyhow::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    Ok(Connection::open_with_flags(folder.join("store.db"), flags)?)
}

/// Demands that the store has what the source has, once, and every call that was posted.
fn check(server: &Server, load: &Load) -> anyhow::Result<()> {
    let file = server.folder.join("truth.json");
    let path = file.to_str().context("a plain path")?;
    server.simulate(&["truth", "--out", path, "--zone", "UTC"])?;
    let truth: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let store = open(&server.folder)?;
    let found = compare::differences(&truth, &store);
    ensure!(
        found.is_empty(),
        "the store differs from the source:\n{}",
        found.join("\n")
    );
    let alone: i64 = store.query_row(
        "SELECT count(*) FROM call_records WHERE origin = 'posted' AND NOT removed",
        [],
        |row| row.get(0),
    )?;
    let calls = truth["calls"].as_array().map_or(0, Vec::len);
    println!(
        "                   {calls} calls as in the source; {} of them posted, {alone} posted alone",
        load.calls_posted()
    );
    Ok(())
}
