//! What didtail says about itself while it runs: log lines and their field names.
//!
//! The log goes to stderr, results go to stdout. No line holds row values,
//! credentials or whole phone numbers; see [`Masked`].

pub mod field;
mod masked;

use std::future::Future;
use std::io::IsTerminal;

use tokio::task::JoinHandle;
use tracing::Instrument;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

pub use masked::Masked;

/// A log that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is none; [`crate::config::Config::load`] refuses such a one.
    #[error("`{level}` is no log level")]
    Level {
        /// The level.
        level: String,
    },
    /// The process has a log already.
    #[error("the log is set up already")]
    Again,
}

/// Begins to log to stderr, in colours only on a terminal.
///
/// # Errors
/// [`TelemetryError`] for an unknown level, and when called twice.
pub fn init(log: &LogConfig) -> Result<(), TelemetryError> {
    let directives = directives(&log.level);
    let filter = EnvFilter::try_new(&directives).map_err(|_| TelemetryError::Level {
        level: log.level.clone(),
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let result = match log.format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            lines.with_ansi(colours).finish().try_init()
        }
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .finish()
            .try_init(),
    };
    result.map_err(|_| TelemetryError::Again)
}

/// A single level is meant for didtail; its libraries then only say what is wrong. What
/// goes wrong between didtail and its store, didtail says itself.
fn directives(level: &str) -> String {
    let as_written = level.contains(['=', ','])
        || ["off", "error"].contains(&level.to_ascii_lowercase().as_str());
    if as_written {
        level.to_owned()
    } else {
        format!("warn,sqlx=error,didtail={level}")
    }
}

/// Starts a task whose log lines carry its name.
#[expect(clippy::disallowed_methods, reason = "the one place that names tasks")]
pub fn spawn_named<F>(name: &'static str, task: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(task.instrument(tracing::info_span!("task", name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_level_is_didtails_own() {
        assert_eq!(directives("debug"), "warn,sqlx=error,didtail=debug");
        assert_eq!(directives("error"), "error");
        assert_eq!(directives("info,rusqlite=trace"), "info,rusqlite=trace");
    }
}
