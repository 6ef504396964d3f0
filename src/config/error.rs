//! What is wrong with a configuration, all of it at once and each with its place.

use std::fmt;
use std::path::PathBuf;

use crate::folder;

/// Where a value was set; the last in this list wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// A line of the configuration file, counted from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A command line option, e.g. `--store-url`.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was set; [`Origin::Default`] when it is missing.
    pub origin: Origin,
    /// The key as `section.key`; empty for a mistake in the file's syntax.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin != Origin::Default {
            write!(f, "{}: ", self.origin)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file named by `--config` or `DIDTAIL_CONFIG` cannot be read, or the
    /// default one exists and cannot.
    #[error("cannot read the configuration {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The values are wrong.
    #[error("{}", list(.problems))]
    Invalid {
        /// Every problem found, in the order of the sections.
        problems: Vec<Problem>,
    },
}

/// The user of the daemon, as the packages make it.
const DAEMON: &str = "didtail";

/// What lets who is here read `file`: the daemon should be able to, and others are not it.
fn readable(file: &str) -> String {
    if folder::own_name() == DAEMON {
        format!("let the daemon read it: sudo chown root:{DAEMON} {file} && sudo chmod 640 {file}")
    } else {
        format!("run it as the user of the daemon: sudo -u {DAEMON} didtail …")
    }
}

impl ConfigError {
    /// How to mend it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { path, source } => Some(match source.kind() {
                std::io::ErrorKind::NotFound => format!(
                    "`didtail config init --config {0}` writes one for this machine, \
                     `didtail config example > {0}` a commented one",
                    path.display()
                ),
                std::io::ErrorKind::IsADirectory => format!(
                    "it is a folder: name the file in it, e.g. {}",
                    path.join("didtail.toml").display()
                ),
                std::io::ErrorKind::InvalidData => format!(
                    "it is not UTF-8: `file {}` says what it is; save it as a UTF-8 text",
                    path.display()
                ),
                std::io::ErrorKind::PermissionDenied => format!(
                    "{}; `ls -l {}` shows who may read it",
                    readable(&path.display().to_string()),
                    path.display()
                ),
                _ => format!("`ls -l {}` shows what it is", path.display()),
            }),
            Self::Invalid { problems } if list(problems).contains("Permission denied") => {
                Some(readable("FILE"))
            }
            Self::Invalid { problems } => {
                let init = match list(problems).contains("names no source") {
                    true => "`didtail config init` writes one for this machine; ",
                    false => "",
                };
                Some(format!(
                    "{init}`didtail config example` prints every key with its meaning"
                ))
            }
        }
    }
}

fn list(problems: &[Problem]) -> String {
    match problems {
        [only] => format!("the configuration is wrong: {only}"),
        several => {
            let mut text = format!("the configuration has {} problems:", several.len());
            for problem in several {
                text.push_str("\n  ");
                text.push_str(&problem.to_string());
            }
            text
        }
    }
}
