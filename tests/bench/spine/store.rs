//! Where the numbers are kept that are measured.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::server::{DBSERVER, Server, run};

/// A store of its own for each measurement.
pub(crate) enum Store<'a> {
    /// Files beside the source's.
    File(&'a Server),
    /// Databases of a private server.
    Private {
        /// As `dbserver` has it.
        kind: String,
        /// Where its data are.
        folder: PathBuf,
        port: u16,
    },
}

/// Whether this is the name of a server.
pub(crate) fn is_kind(name: &str) -> bool {
    name == "postgres" || name.starts_with("mariadb-") || name.starts_with("mysql-")
}

fn no_binlog(kind: &str) -> &'static [&'static str] {
    if kind == "postgres" {
        &[]
    } else {
        &["--", "--skip-log-bin"]
    }
}

impl<'a> Store<'a> {
    /// A private server with its own defaults, beside the source's; a store needs no
    /// binlog.
    pub(crate) fn start(kind: &str, source: &'a Server) -> anyhow::Result<Self> {
        let folder = source.folder.join(format!("store-{kind}"));
        run(Command::new(DBSERVER).args(["install", kind]))?;
        let output = run(Command::new(DBSERVER)
            .args(["start", kind, "--owner", &std::process::id().to_string()])
            .arg("--dir")
            .arg(&folder)
            .args(no_binlog(kind)))?;
        let port = output.lines().find_map(|line| line.strip_prefix("port="));
        Ok(Self::Private {
            kind: kind.to_owned(),
            folder,
            port: port.context("dbserver printed no port")?.parse()?,
        })
    }

    /// What it is.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::File(_) => "SQLite",
            Self::Private { kind, .. } => kind,
        }
    }

    /// The address of a new, empty one.
    pub(crate) fn address(&self, name: &str) -> anyhow::Result<String> {
        let (kind, folder, port) = match self {
            Self::File(server) => {
                let file = server.folder.join(format!("{name}.db"));
                return Ok(format!("sqlite://{}", file.display()));
            }
            Self::Private { kind, folder, port } => (kind, folder, port),
        };
        let create = format!("CREATE DATABASE {name}");
        let flag = if kind == "postgres" { "-c" } else { "-e" };
        run(Command::new(DBSERVER)
            .arg("sql")
            .arg(folder)
            .args([flag, &create]))?;
        Ok(if kind == "postgres" {
            format!("postgres://postgres@127.0.0.1:{port}/{name}?sslmode=disable")
        } else {
            format!("mysql://root@127.0.0.1:{port}/{name}?ssl-mode=DISABLED")
        })
    }
}

impl Drop for Store<'_> {
    fn drop(&mut self) {
        if let Self::Private { folder, .. } = self {
            drop(run(Command::new(DBSERVER).arg("stop").arg(folder)));
        }
    }
}
