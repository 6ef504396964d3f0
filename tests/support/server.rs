//! A private MariaDB, MySQL or PostgreSQL server.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use super::{wait_until, workspace};

/// What a test runs against where it does not say: ViciBox 12 ships this version.
const KIND: &str = "mariadb-10.11";

/// The kind that is no source, but a store.
const POSTGRES: &str = "postgres";

/// A server that ends with the value, and at the latest with the test program.
#[derive(Debug)]
pub struct Server {
    kind: &'static str,
    dir: PathBuf,
    arguments: Vec<String>,
    port: u16,
}

impl Server {
    /// Starts a server of its own for a test; `name` is for its directory.
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        Self::of_kind(KIND, name, arguments)
    }

    /// The same, of another kind that `tests/support/dbserver list` names.
    pub fn of_kind(kind: &'static str, name: &str, arguments: &[&str]) -> Self {
        install(kind);
        let dir = Self::place(name);
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let port = launch(kind, &dir, "auto", &arguments);
        Self {
            kind,
            dir,
            arguments,
            port,
        }
    }

    /// The directory of a server of that name, for what has to be there before it.
    pub fn place(name: &str) -> PathBuf {
        workspace().join(format!("server-{name}"))
    }

    /// The server for tests that change nothing but their own database.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Self::start("shared", &[]))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs statements as the administrator and returns what they print,
    /// columns separated by tabs.
    #[track_caller]
    pub fn sql(&self, statements: &str) -> String {
        if self.kind == POSTGRES {
            return self.sql_in("postgres", statements);
        }
        dbserver(Command::new(program()).arg("sql").arg(&self.dir).args([
            "-N",
            "-B",
            "--default-character-set=utf8",
            "-e",
            statements,
        ]))
    }

    /// Runs statements in a database of PostgreSQL.
    #[track_caller]
    pub fn sql_in(&self, database: &str, statements: &str) -> String {
        let mut command = Command::new(program());
        let quiet = ["-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1"];
        command.arg("sql").arg(&self.dir).args(quiet);
        dbserver(command.args(["-d", database, "-c", statements]))
    }

    /// Its own client with statements in a database, as the administrator.
    pub fn session(&self, database: &str, statements: &str) -> Command {
        let mut command = Command::new(program());
        command.arg("sql").arg(&self.dir);
        if self.kind == POSTGRES {
            command.args(["-q", "-A", "-t", "-d", database, "-c", statements]);
        } else {
            command.args(["-N", "-B", "-D", database, "-e", statements]);
        }
        command
    }

    /// Its kind, as a name in a database can be.
    pub fn name(&self) -> String {
        self.kind.replace(['-', '.'], "_")
    }

    /// Whether it has not ended by itself.
    pub fn is_running(&self) -> bool {
        let mut command = Command::new(program());
        let status = command.arg("status").arg(&self.dir).output();
        status.is_ok_and(|output| output.status.success())
    }

    /// Makes a standby of PostgreSQL in a directory, to be started there.
    pub fn copy_to(&self, dir: &Path) {
        std::fs::create_dir_all(dir).expect("a directory");
        // What tells the directory as one of `dbserver`'s.
        std::fs::write(dir.join("dbserver.kind"), format!("{POSTGRES}\n")).expect("written");
        std::fs::write(dir.join("dbserver.lock"), "").expect("written");
        let port = self.port.to_string();
        let data = dir.join("data");
        let mut copy = Command::new(program());
        copy.args(["exec", POSTGRES, "pg_basebackup", "-h", "127.0.0.1", "-p"]);
        copy.args([&port, "-U", "postgres", "-c", "fast", "-R", "-D"]);
        dbserver(copy.arg(&data));
        // Where it may not be root who runs it.
        let mut own = Command::new("chown");
        own.arg("-R").arg("--reference").arg(self.dir.join("data"));
        dbserver(own.arg(&data));
    }

    /// Stops every process of it where it is, and lets them go on.
    pub fn freeze(&self, is_frozen: bool) {
        let status = dbserver(Command::new(program()).arg("status").arg(&self.dir));
        let pid = status.lines().find_map(|line| line.strip_prefix("pid="));
        let pid = pid.expect("a process");
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let signal = if is_frozen { "-STOP" } else { "-CONT" };
        // One of the children may have ended meanwhile.
        let all = std::iter::once(pid).chain(children.split_whitespace());
        drop(Command::new("kill").arg(signal).args(all).output());
    }

    /// PostgreSQL's own client with a statement, as the administrator.
    pub fn client(&self, statement: &str) -> Command {
        let mut command = Command::new(program());
        command.arg("sql").arg(&self.dir).args(["-c", statement]);
        command
    }

    /// Ends it at once, as a crash does.
    pub fn crash(&self) {
        let mut command = Command::new(program());
        dbserver(command.arg("stop").arg(&self.dir).arg("--kill"));
        // A process that is gone may keep its port for a moment.
        let address = ("127.0.0.1", self.port);
        let is_free = || TcpStream::connect(address).is_err();
        wait_until("its port is free", || is_free().then_some(()));
    }

    /// Makes a database for a store, and returns its address.
    #[track_caller]
    pub fn store_url(&self, database: &str) -> String {
        let port = self.port;
        self.sql(&format!("CREATE DATABASE {database}"));
        if self.kind == POSTGRES {
            format!("postgres://postgres@127.0.0.1:{port}/{database}?sslmode=disable")
        } else {
            format!("mysql://root@127.0.0.1:{port}/{database}?ssl-mode=DISABLED")
        }
    }

    /// Shuts down cleanly.
    pub fn stop(&self) {
        dbserver(Command::new(program()).arg("stop").arg(&self.dir));
    }

    /// Continues a stopped server where it was, on the same port.
    pub fn start_again(&self) {
        launch(
            self.kind,
            &self.dir,
            &self.port.to_string(),
            &self.arguments,
        );
    }

    /// Deletes all binlogs but the newest, and returns its name.
    ///
    /// A server keeps, and says nothing, what a connection reads that ended a
    /// moment ago: it notices the end when it has something to send.
    #[track_caller]
    pub fn purge(&self) -> String {
        wait_until("the older binlogs are gone", || {
            let end = self.binlog_end();
            let (file, _) = end.split_once(':').expect("a position");
            self.sql(&format!("PURGE BINARY LOGS TO '{file}'"));
            (self.binlogs().len() == 1).then(|| file.to_owned())
        })
    }

    /// The binlog's end, as `FILE:OFFSET`.
    pub fn binlog_end(&self) -> String {
        let status = self.sql(if self.kind.starts_with("mysql") {
            "SHOW BINARY LOG STATUS"
        } else {
            "SHOW MASTER STATUS"
        });
        let mut columns = status.split('\t');
        let (file, offset) = (columns.next(), columns.next());
        format!(
            "{}:{}",
            file.expect("a file"),
            offset.expect("an offset").trim()
        )
    }
}

/// The binlogs as the server's own tools see them.
impl Server {
    /// The binlog files that are there, in order.
    pub fn binlogs(&self) -> Vec<PathBuf> {
        let entries = self.dir.join("data").read_dir().expect("a data directory");
        let is_binlog = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|name| name.strip_prefix("binlog."));
            number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut paths: Vec<PathBuf> = paths.filter(is_binlog).collect();
        paths.sort();
        paths
    }

    /// This version's own program that prints binlogs, with arguments.
    pub fn binlog_printer(&self, arguments: &[&str]) -> Command {
        Self::printer_of(self.kind, arguments)
    }

    /// The program of a kind of server that prints binlogs, with arguments.
    pub fn printer_of(kind: &'static str, arguments: &[&str]) -> Command {
        install(kind);
        let name = if kind.starts_with("mysql") {
            "mysqlbinlog"
        } else {
            "mariadb-binlog"
        };
        let mut command = Command::new(program());
        command.args(["exec", kind, name]).args(arguments);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(
            Command::new(program())
                .arg("stop")
                .arg(&self.dir)
                .arg("--kill")
                .output(),
        );
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/support/dbserver")
}

/// Fetches the server's programs where this machine does not have them yet.
fn install(kind: &'static str) {
    static INSTALLED: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    // A failed attempt poisons the lock: every other test fails with it.
    let mut installed = INSTALLED.lock().expect("the server could be installed");
    if !installed.contains(kind) {
        dbserver(Command::new(program()).args(["install", kind]));
        installed.insert(kind);
    }
}

fn launch(kind: &str, dir: &PathBuf, port: &str, arguments: &[String]) -> u16 {
    let answer = dbserver(
        Command::new(program())
            .args(["start", kind, "--dir"])
            .arg(dir)
            .args(["--port", port, "--owner"])
            .arg(std::process::id().to_string())
            .arg("--")
            .args(arguments),
    );
    let port = answer.lines().find_map(|line| line.strip_prefix("port="));
    port.and_then(|port| port.parse().ok())
        .unwrap_or_else(|| panic!("dbserver names no port: {answer}"))
}

fn dbserver(command: &mut Command) -> String {
    let output = command.output().expect("tests/support/dbserver can be run");
    assert!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
