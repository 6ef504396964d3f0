//! How a line of the log is written: for people, as JSON, or for systemd's journal.
//!
//! # Why prefixes, and not the journal's own protocol
//! The journal reads `<4>` in front of a line as its priority, so that `journalctl -p
//! warning` works, and takes the line as it is. By its own protocol each field would be
//! one of the journal's; but then `[log] format` would hold nowhere, and a line would
//! look otherwise in the journal than on a terminal. For fields there is `format =
//! "json"`: `journalctl -u didtail -o cat` prints the objects.

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Instant;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::repeats::Repeats;

/// Writes lines as another format does, those that repeat themselves left out.
pub(super) struct Lines<F> {
    pub(super) format: F,
    pub(super) repeats: Arc<Repeats>,
    /// A priority is put in front.
    pub(super) to_journal: bool,
}

impl<S, N, F> FormatEvent<S, N> for Lines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if !self.repeats.tells(event, Instant::now()) {
            return Ok(());
        }
        if self.to_journal {
            write!(writer, "<{}>", priority(*event.metadata().level()))?;
        }
        self.format.format_event(context, writer, event)
    }
}

/// syslog's number for a level.
fn priority(level: Level) -> u8 {
    if level == Level::ERROR {
        3
    } else if level == Level::WARN {
        4
    } else if level == Level::INFO {
        6
    } else {
        7
    }
}

/// Each line as an error, where a priority is put in front.
pub(super) fn as_errors(text: &str, to_journal: bool) -> String {
    if !to_journal {
        return text.to_owned();
    }
    let priority = priority(Level::ERROR);
    let lines = text.lines().map(|line| format!("<{priority}>{line}\n"));
    lines.collect()
}

/// Whether stderr is what systemd says that it connected to the journal.
pub(super) fn is_journal() -> bool {
    let stated = std::env::var("JOURNAL_STREAM").ok();
    let stderr = std::io::stderr().as_fd().try_clone_to_owned();
    let (Some(stated), Ok(stderr)) = (stated, stderr) else {
        return false;
    };
    File::from(stderr)
        .metadata()
        .is_ok_and(|file| stated == format!("{}:{}", file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_takes_every_line_of_a_failure_as_an_error() {
        let text = "error: it is gone\nhint: start it\n";
        assert_eq!(as_errors(text, false), text);
        assert_eq!(
            as_errors(text, true),
            "<3>error: it is gone\n<3>hint: start it\n"
        );
    }
}
