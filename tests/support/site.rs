//! A VICIdial database of its own on a server, and a didtail that follows it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use didtail::binlog::Position;
use didtail::ledger::{Frame, Loaded, StatDelta, Working};
use didtail::store::{SqlStore, Store as _};
use rusqlite::{Connection, OpenFlags};

use super::compare::{Numbers, differences};
use super::process::{Daemon, Ended};
use super::{Server, wait_until, workspace};

const USER: &str = "didtail";
const PASSWORD: &str = "not a secret";

/// A database, and a folder with didtail's configuration, state and store.
#[derive(Debug)]
pub struct Site {
    pub dir: PathBuf,
    pub database: String,
    port: u16,
    server_id: u32,
    logs: AtomicU32,
    /// The address of a store on a server.
    store_url: Option<String>,
}

impl Site {
    /// Makes the database with VICIdial's tables, in latin1, and the user.
    pub fn new(server: &Server, database: &str) -> Self {
        Self::in_charset(server, database, "latin1")
    }

    /// The same, in latin1 or utf8.
    pub fn in_charset(server: &Server, database: &str, charset: &str) -> Self {
        Self::made(server, database, &["--charset", charset])
    }

    /// The same, with other arguments for the simulator's `init`.
    pub fn made(server: &Server, database: &str, arguments: &[&str]) -> Self {
        let site = Self::beside(server, database);
        let user = ["--replication-user", USER];
        let password = ["--replication-password", PASSWORD];
        site.simulator("init", &[arguments, &user, &password].concat());
        site
    }

    /// Another didtail that follows a database which is there already.
    pub fn beside(server: &Server, database: &str) -> Self {
        // Of their own, or two daemons on one server would end each other.
        static SERVER_IDS: AtomicU32 = AtomicU32::new(1000);
        let server_id = SERVER_IDS.fetch_add(1, Ordering::Relaxed);
        let dir = workspace().join(format!("site-{server_id}-{database}"));
        std::fs::create_dir_all(&dir).expect("a directory");
        let site = Self {
            dir,
            database: database.to_owned(),
            port: server.port(),
            server_id,
            logs: AtomicU32::new(0),
            store_url: None,
        };
        std::fs::write(site.path("password"), PASSWORD).expect("a password file");
        site.configure(&site.config());
        site
    }

    /// Keeps the numbers at this address instead of in a file.
    #[must_use]
    pub fn on_store(mut self, url: &str) -> Self {
        self.store_url = Some(url.to_owned());
        self.configure(&self.config());
        self
    }

    /// The address of the store.
    pub fn store_url(&self) -> String {
        let in_file = || format!("sqlite://{}", self.path("store.db").display());
        self.store_url.clone().unwrap_or_else(in_file)
    }

    /// The configuration that [`Site::new`] writes.
    pub fn config(&self) -> String {
        let dir = self.dir.display();
        format!(
            "[state]\npath = \"{dir}/state.db\"\n\n\
             [store]\nurl = \"{}\"\n\n\
             [[source]]\nname = \"main\"\n\
             url = \"mysql://{USER}@127.0.0.1:{}/{}\"\n\
             password_file = \"{dir}/password\"\nstart_at = \"earliest\"\n\
             server_id = {}\n",
            self.store_url(),
            self.port,
            self.database,
            self.server_id
        )
    }

    /// Writes another configuration.
    pub fn configure(&self, text: &str) {
        std::fs::write(self.path("didtail.toml"), text).expect("a configuration");
    }

    /// Removes the state file, as a machine that is gone does.
    pub fn lose_state(&self) {
        for name in ["state.db", "state.db-wal", "state.db-shm"] {
            // The last two may have been folded into the first.
            drop(std::fs::remove_file(self.path(name)));
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Runs the simulator on the database and returns what it printed.
    #[track_caller]
    pub fn simulator(&self, verb: &str, arguments: &[&str]) -> String {
        Ended::of(self.simulator_command(verb).args(arguments)).good()
    }

    /// The simulator, ready to be started.
    pub fn simulator_command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_didtail-simulator"));
        let url = format!("mysql://root@127.0.0.1:{}/", self.port);
        command.args([verb, "--url", &url, "--database", &self.database]);
        command
    }

    /// Writes so many calls, the same ones for the same seed.
    #[track_caller]
    pub fn calls(&self, calls: u32, seed: u32) {
        let (calls, seed) = (calls.to_string(), seed.to_string());
        self.simulator("run", &["--calls", &calls, "--seed", &seed, "--noise", "2"]);
    }

    /// Runs statements in the database as the administrator.
    #[track_caller]
    pub fn sql(&self, server: &Server, statements: &str) -> String {
        server.sql(&format!("USE `{}`; {statements}", self.database))
    }

    /// didtail with this site's configuration and nobody's environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_didtail"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DIDTAIL_") {
                command.env_remove(name);
            }
        }
        command.args(arguments);
        command.arg("--config").arg(self.path("didtail.toml"));
        command
    }

    /// Runs didtail to its end.
    pub fn didtail(&self, arguments: &[&str]) -> Ended {
        Ended::of(&mut self.command(arguments))
    }

    /// Applies everything there is.
    #[track_caller]
    pub fn catch_up(&self) -> serde_json::Value {
        self.didtail(&["run", "--until-caught-up", "--json"]).json()
    }

    /// Starts the daemon without waiting for anything.
    pub fn daemon(&self) -> Daemon {
        let number = self.logs.fetch_add(1, Ordering::Relaxed);
        let log = self.path(&format!("daemon-{number}.log"));
        Daemon::spawn(&mut self.command(&["run"]), log)
    }

    /// Starts the daemon and waits until it follows.
    #[track_caller]
    pub fn following(&self) -> Daemon {
        let mut daemon = self.daemon();
        daemon.wait_for("following the binlog");
        daemon
    }

    /// The store's file, for reading; of a store on a server a copy as it is now.
    pub fn store(&self) -> Connection {
        if self.store_url.is_none() {
            return read_only(&self.path("store.db"));
        }
        let copy = self.path("copy.db");
        for end in ["", "-wal", "-shm"] {
            drop(std::fs::remove_file(format!("{}{end}", copy.display())));
        }
        block_on(copied(&self.store_url(), &copy));
        read_only(&copy)
    }

    /// The state file, for reading.
    pub fn state(&self) -> Connection {
        read_only(&self.path("state.db"))
    }

    /// One value of the store.
    pub fn stored<T: rusqlite::types::FromSql>(&self, sql: &str) -> T {
        let value = self.store().query_row(sql, [], |row| row.get(0));
        value.unwrap_or_else(|error| panic!("{error}: {sql}"))
    }

    /// Where the store is, as `FILE:OFFSET`; `None` before the first commit.
    pub fn position(&self) -> Option<String> {
        if self.store_url.is_some() {
            return block_on(progress(&self.store_url()));
        }
        let sql = "SELECT binlog_file || ':' || binlog_next FROM replication_progress \
                   WHERE source = 'main'";
        let read = || read_only_try(&self.path("store.db"))?.query_row(sql, [], |row| row.get(0));
        read().ok()
    }

    /// Waits until the store has everything up to the server's present end, as long
    /// as it comes nearer: how fast that is is the machine's affair.
    #[track_caller]
    pub fn wait_for_end(&self, server: &Server) {
        let end = server.binlog_end();
        let mut here = self.position();
        while !self.is_at(&end) {
            here = wait_until(&format!("the store moves from {here:?} to {end}"), || {
                let now = self.position();
                (now != here).then_some(now)
            });
        }
    }

    /// Whether the store has everything up to `end`.
    pub fn is_at(&self, end: &str) -> bool {
        let parse = |text: &str| text.parse::<Position>().expect("a position");
        self.position()
            .is_some_and(|here| parse(&here) >= parse(end))
    }

    /// The file in which the simulator says that it rests (`--nights`).
    pub fn night(&self) -> PathBuf {
        self.path("night")
    }

    /// If the simulator rests, lets a running didtail get everything that is
    /// written, and the simulator go on; unless that is over anyway.
    #[track_caller]
    pub fn see_the_night_through(&self, over: impl Fn() -> bool) {
        let Ok(end) = std::fs::read_to_string(self.night()) else {
            return;
        };
        wait_until("a night's rest is enough", || {
            (self.is_at(&end) || over()).then_some(())
        });
        std::fs::remove_file(self.night()).expect("the simulator waits for it");
    }

    /// What the source says, by the simulator's own SQL.
    #[track_caller]
    pub fn truth(&self) -> serde_json::Value {
        self.truth_in("UTC")
    }

    /// The same, where the dialers are in a zone.
    #[track_caller]
    pub fn truth_in(&self, zone: &str) -> serde_json::Value {
        let file = self.path("truth.json");
        let out = file.to_str().expect("a plain path");
        self.simulator("truth", &["--out", out, "--zone", zone]);
        let bytes = std::fs::read(&file).expect("the truth");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Demands that every call and every DID is as the source has it, and that
    /// the counters are what the rows add up to. Returns the number of calls.
    #[track_caller]
    pub fn assert_equals_source(&self) -> usize {
        let truth = self.truth();
        let found = differences(&truth, &self.store());
        assert!(
            found.is_empty(),
            "{} differences in {}:\n{}",
            found.len(),
            self.dir.display(),
            found.join("\n")
        );
        self.assert_invariant();
        truth["calls"].as_array().map_or(0, Vec::len)
    }

    /// Demands that the counters are what the rows add up to.
    #[track_caller]
    pub fn assert_invariant(&self) {
        let found = self.broken_invariants();
        assert!(found.is_empty(), "the invariant is broken: {found:#?}");
    }

    /// Where the counters are not what the rows add up to.
    pub fn broken_invariants(&self) -> Vec<String> {
        let url = self.store_url();
        let check = async {
            let store = SqlStore::open_read(&url).await.expect("a store");
            let found = store.check_invariant().await.expect("a check");
            store.close().await;
            found
        };
        block_on(check)
    }

    /// Every number of the store, to be compared with a later look.
    pub fn numbers(&self) -> Numbers {
        Numbers::of(&self.store())
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(work)
}

async fn progress(url: &str) -> Option<String> {
    let store = SqlStore::open_read(url).await.ok()?;
    let found = store.progress("main").await;
    store.close().await;
    Some(found.ok()??.position.to_string())
}

/// Copies everything that is compared into a new file.
async fn copied(url: &str, file: &Path) {
    let store = SqlStore::open_read(url).await.expect("a store");
    let mut all = store.dump().await.expect("all of it");
    store.close().await;
    let checkpoint = all.progress.remove("main").expect("a position");
    let mut change = Working::new(Loaded::default()).finish(Frame {
        landmarks: Vec::new(),
        source: "main".to_owned(),
        tenant: "default".to_owned(),
        expected: None,
        fencing_token: None,
        checkpoint,
        statuses: None,
    });
    change.calls = all
        .calls
        .into_iter()
        .map(|((_, key), call)| (key, call))
        .collect();
    change.dials = all
        .dials
        .into_iter()
        .map(|((_, key), dial)| (key, dial))
        .collect();
    let stats = all.dids.into_iter().filter_map(|((_, did), numbers)| {
        let delta = numbers.map(|numbers| StatDelta {
            counters: numbers.counters,
            last_call_at: numbers.last_call_at,
            last_dial_at: numbers.last_dial_at,
            find_last_anew: false,
        });
        Some((did, delta?))
    });
    change.stats = stats.collect();
    change.daily = all
        .daily
        .into_iter()
        .map(|((_, key), counters)| (key, counters))
        .collect();
    let copy = SqlStore::open(&format!("sqlite://{}", file.display()))
        .await
        .expect("a file");
    copy.commit(&change).await.expect("a copy");
    copy.close().await;
}

fn read_only_try(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn read_only(path: &Path) -> Connection {
    read_only_try(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
