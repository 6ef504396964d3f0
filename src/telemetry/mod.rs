//! What didtail says about itself while it runs: log lines and their field names.
//!
//! The log goes to stderr, results go to stdout. No line holds row values,
//! credentials or whole phone numbers; see [`Masked`].

pub mod field;
mod lines;
mod masked;
mod repeats;

use std::future::Future;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tracing::{Instrument, Level, Subscriber};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};

use crate::config::{LogConfig, LogFormat};

use lines::Lines;
pub use masked::Masked;
use repeats::Repeats;

/// Time between two looks for lines that were left out.
const REST_INTERVAL: Duration = Duration::from_secs(10);

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
    /// The process has no log whose level could be changed.
    #[error("the log is not set up")]
    NotSetUp,
}

/// The log of this process.
struct Log {
    level: reload::Handle<EnvFilter, Registry>,
    repeats: Arc<Repeats>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Begins to log to stderr, in colours only on a terminal.
///
/// # Errors
/// [`TelemetryError`] for an unknown level, and when called twice.
pub fn init(log: &LogConfig) -> Result<(), TelemetryError> {
    let (filter, level) = reload::Layer::new(filter(log)?);
    let repeats = Arc::new(Repeats::default());
    let form = Form {
        format: log.format,
        colours: std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        to_journal: lines::is_journal(),
    };
    let lines = layer(form, &repeats, std::io::stderr);
    let log = Registry::default().with(filter).with(lines);
    log.try_init().map_err(|_| TelemetryError::Again)?;
    // Another one would have failed above.
    drop(LOG.set(Log { level, repeats }));
    Ok(())
}

/// Writes what a command ends with on stderr; to the journal as errors, so that
/// `journalctl -p err` has them.
pub fn last_words(text: &str) {
    let text = lines::as_errors(text, lines::is_journal());
    // Nobody is left to tell when stderr is closed.
    drop(std::io::stderr().write_all(text.as_bytes()));
}

/// From now on logs what this level says.
///
/// # Errors
/// [`TelemetryError`] for an unknown level, and before [`init`].
pub fn set_level(log: &LogConfig) -> Result<(), TelemetryError> {
    let filter = filter(log)?;
    let known = LOG.get().ok_or(TelemetryError::NotSetUp)?;
    let changed = known.level.reload(filter);
    changed.map_err(|_| TelemetryError::NotSetUp)
}

/// From now on leaves out lines that repeat themselves, and tells how many they were;
/// never ends. For a daemon: a command shows every line.
pub async fn limit_repeats() {
    if let Some(log) = LOG.get() {
        log.repeats.begin();
    }
    let mut tick = tokio::time::interval(REST_INTERVAL);
    loop {
        tick.tick().await;
        tell_repeats(false);
    }
}

/// Tells how many lines were left out until a minute ago; `all`: also since, where
/// nothing follows.
pub fn tell_repeats(all: bool) {
    let Some(log) = LOG.get() else { return };
    for rest in log.repeats.rest(Instant::now(), all) {
        let (line, times) = (rest.message, rest.times);
        if rest.level == Level::ERROR {
            tracing::error!(times, line, "repeated, but for its numbers");
        } else if rest.level == Level::WARN {
            tracing::warn!(times, line, "repeated, but for its numbers");
        } else {
            tracing::info!(times, line, "repeated, but for its numbers");
        }
    }
}

/// How lines look.
#[derive(Clone, Copy)]
struct Form {
    format: LogFormat,
    colours: bool,
    to_journal: bool,
}

fn layer<S, W>(form: Form, repeats: &Arc<Repeats>, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let Form {
        format,
        colours,
        to_journal,
    } = form;
    let repeats = Arc::clone(repeats);
    let layer = fmt::layer().with_writer(writer);
    match format {
        LogFormat::Text if to_journal => {
            // The journal has the time.
            let format = fmt::format().without_time();
            let lines = Lines {
                format,
                repeats,
                to_journal,
            };
            layer.with_ansi(false).event_format(lines).boxed()
        }
        LogFormat::Text => {
            let lines = Lines {
                format: fmt::format(),
                repeats,
                to_journal,
            };
            layer.with_ansi(colours).event_format(lines).boxed()
        }
        LogFormat::Json => {
            let format = fmt::format()
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false);
            let lines = Lines {
                format,
                repeats,
                to_journal,
            };
            let layer = layer.json().with_ansi(false);
            layer.event_format(lines).boxed()
        }
    }
}

fn filter(log: &LogConfig) -> Result<EnvFilter, TelemetryError> {
    let filter = EnvFilter::try_new(directives(&log.level));
    filter.map_err(|_| TelemetryError::Level {
        level: log.level.clone(),
    })
}

/// A single level is meant for didtail; its libraries then only say what is wrong. What
/// goes wrong between didtail and its store, didtail says itself: sqlx would call a
/// session that ends while it begins an ERROR, though it is tried again.
fn directives(level: &str) -> String {
    let as_written = level.contains(['=', ','])
        || ["off", "error"].contains(&level.to_ascii_lowercase().as_str());
    if as_written {
        level.to_owned()
    } else {
        format!("warn,sqlx=off,didtail={level}")
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
    use std::io;
    use std::sync::Mutex;

    use super::*;

    /// What was written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written in a form of all that `work` says.
    fn written(form: Form, repeats: &Arc<Repeats>, work: impl FnOnce()) -> String {
        let all = Written::default();
        let into = all.clone();
        let log = Registry::default().with(layer(form, repeats, move || into.clone()));
        tracing::subscriber::with_default(log, work);
        let bytes = all.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn form(format: LogFormat, to_journal: bool) -> Form {
        Form {
            format,
            colours: false,
            to_journal,
        }
    }

    #[test]
    fn the_journal_gets_priorities_and_no_time() {
        let repeats = Arc::default();
        let say = || {
            tracing::error!("one");
            tracing::warn!("two");
            tracing::info!("three");
        };
        let text = written(form(LogFormat::Text, true), &repeats, say);
        let starts: Vec<&str> = text.lines().map(|line| &line[..8]).collect();
        assert_eq!(starts, ["<3>ERROR", "<4> WARN", "<6> INFO"]);
        let text = written(form(LogFormat::Text, false), &repeats, say);
        assert!(text.starts_with("20"), "{text}");
        let text = written(form(LogFormat::Json, true), &repeats, say);
        let line = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("<3>"));
        let line: serde_json::Value = serde_json::from_str(line.unwrap()).unwrap();
        assert_eq!(line["message"], "one");
    }

    fn lost(source: &str, error: &str, pause: u64) {
        tracing::warn!(
            { field::SOURCE } = source,
            { field::ERROR } = %error,
            { field::RETRY_MS } = pause,
            "lost the source; connecting again"
        );
    }

    #[test]
    fn lines_that_differ_by_numbers_alone_are_told_thirty_times_a_minute() {
        let repeats = Arc::new(Repeats::default());
        repeats.begin();
        let text = written(form(LogFormat::Text, false), &repeats, || {
            for number in 0..50 {
                lost("site1", &format!("no answer from port {number}"), number);
                lost("site2", "no answer from port 1", 7);
                tracing::debug!(number, "asked for");
            }
            lost("site1", "the login is refused", 1);
        });
        let lines = |words: &str| text.lines().filter(|line| line.contains(words)).count();
        assert_eq!((lines("site1"), lines("site2")), (31, 30));
        assert_eq!(lines("the login is refused"), 1);
        assert_eq!(lines("asked for"), 50);
        let soon = Instant::now();
        assert_eq!(repeats.rest(soon, false), []);
        let rest = repeats.rest(soon + Duration::from_secs(61), false);
        let times: Vec<u64> = rest.iter().map(|rest| rest.times).collect();
        assert_eq!(times, [20, 20]);
        assert_eq!(rest[0].message, "lost the source; connecting again");
        assert_eq!(repeats.rest(soon + Duration::from_secs(200), true), []);
    }

    #[test]
    fn a_command_shows_every_line() {
        let repeats = Arc::default();
        let text = written(form(LogFormat::Text, false), &repeats, || {
            for number in 0..50 {
                lost("main", "no answer", number);
            }
        });
        assert_eq!(text.lines().count(), 50);
    }

    #[test]
    fn one_level_is_didtails_own() {
        assert_eq!(directives("debug"), "warn,sqlx=off,didtail=debug");
        assert_eq!(directives("error"), "error");
        assert_eq!(directives("info,rusqlite=trace"), "info,rusqlite=trace");
    }
}
