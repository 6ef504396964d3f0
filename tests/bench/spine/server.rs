//! A private MariaDB with VICIdial's tables, and didtail beside it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

const KIND: &str = "mariadb-10.11";
pub(crate) const DBSERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/dbserver");

pub(crate) struct Server {
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
}

impl Server {
    /// `name` tells the servers of one run apart.
    pub(crate) fn start(name: &str) -> anyhow::Result<Self> {
        let folder =
            std::env::temp_dir().join(format!("didtail-spine-{}-{name}", std::process::id()));
        run(Command::new(DBSERVER).args(["install", KIND]))?;
        let output = run(Command::new(DBSERVER)
            .args(["start", KIND, "--owner", &std::process::id().to_string()])
            .arg("--dir")
            .arg(folder.join("server")))?;
        let port = output
            .lines()
            .find_map(|line| line.strip_prefix("port="))
            .context("dbserver printed no port")?
            .parse()?;
        let server = Self { folder, port };
        server.simulate(&[
            "init",
            "--replication-user",
            "didtail",
            "--replication-password",
            "didtail",
        ])?;
        Ok(server)
    }

    /// Runs the traffic simulator.
    pub(crate) fn simulate(&self, arguments: &[&str]) -> anyhow::Result<()> {
        run(Command::new(env!("CARGO_BIN_EXE_didtail-simulator"))
            .args(arguments)
            .args(["--url", &format!("mysql://root@127.0.0.1:{}/", self.port)]))
        .map(drop)
    }

    /// Runs SQL as the administrator and returns what it prints.
    pub(crate) fn sql(&self, sql: &str) -> anyhow::Result<String> {
        run(Command::new(DBSERVER)
            .arg("sql")
            .arg(self.folder.join("server"))
            .args(["-N", "-e", sql]))
    }

    /// The end of the binlog.
    pub(crate) fn head(&self) -> anyhow::Result<(String, u64)> {
        let line = self.sql("SHOW MASTER STATUS")?;
        let mut words = line.split_whitespace();
        let file = words.next().context("no binlog")?.to_owned();
        Ok((file, words.next().context("no position")?.parse()?))
    }

    /// `didtail run` with this store and a state file of its own.
    pub(crate) fn didtail(
        &self,
        name: &str,
        store: &str,
        arguments: &[&str],
    ) -> anyhow::Result<Child> {
        let url = format!("mysql://didtail@127.0.0.1:{}/asterisk", self.port);
        Command::new(env!("CARGO_BIN_EXE_didtail"))
            .args(["run", "--source-url", &url, "-q"])
            .args(["--store-url", store])
            .arg("--state")
            .arg(self.folder.join(format!("{name}.state")))
            .args(arguments)
            .env("DIDTAIL_SOURCE_PASSWORD", "didtail")
            .stdout(Stdio::piped())
            .spawn()
            .context("starting didtail")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let folder = self.folder.join("server");
        drop(run(Command::new(DBSERVER).arg("stop").arg(&folder)));
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

pub(crate) fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {:?}", command.get_program()))?;
    ensure!(output.status.success(), "{command:?}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Processor time of a process so far, user and system, and its peak memory.
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) peak_mb: u64,
}

/// Reads `/proc` of a running process.
pub(crate) fn usage(pid: &str) -> anyhow::Result<Usage> {
    let folder = Path::new("/proc").join(pid);
    let stat = std::fs::read_to_string(folder.join("stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no stat")?;
    // Fields 14 and 15 of proc_pid_stat(5), in ticks of 1/100 s on Linux.
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap_or(0))
        .sum();
    let status = std::fs::read_to_string(folder.join("status"))?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|line| line.split_whitespace().next())
        .and_then(|kb| kb.parse::<u64>().ok());
    let Some(peak) = peak else {
        bail!("the process has ended")
    };
    Ok(Usage {
        cpu: Duration::from_millis(ticks * 10),
        peak_mb: peak >> 10,
    })
}
