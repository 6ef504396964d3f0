//! Stretches of the binlog that nobody read: how they are told, and when they are told
//! no more.

use serde_json::{Value, json};

use super::failure::Failure;
use super::{Options, output, time};
use crate::config::Config;
use crate::state::{Skipped, StateError, StateFile};

/// A call that was changed in a stretch may have begun so many seconds before it: a day,
/// in which agents and managers correct nearly all that they correct.
pub(super) const CALL_SECONDS: i64 = 86_400;

/// A stretch for people, with the command that makes up for it.
pub(super) fn told(stretch: Skipped) -> String {
    let Skipped {
        since,
        until,
        is_lost,
    } = stretch;
    let calls = time::format((since - CALL_SECONDS).max(0));
    let way = match is_lost {
        false => format!("didtail verify --since {calls} --repair"),
        true => format!(
            "lost with the store before this one; with all that you want of before: \
             didtail backfill --since {calls}"
        ),
    };
    format!("{} to {}: {way}", time::format(since), time::format(until))
}

/// Stretches for programs.
pub(super) fn json(stretches: &[Skipped]) -> Value {
    let one = |one: &Skipped| json!({ "since": time::format(one.since), "until": time::format(one.until) });
    stretches.iter().map(one).collect()
}

/// The numbers have every call that began in this time, as VICIdial has it: what was
/// skipped of it is missing no more. Says so where something was, unless a document is
/// printed. `is_all`: the store is to have nothing of before.
///
/// # Errors
/// [`Failure`] when the state file cannot be read, or written where it has to be.
pub(super) fn made_up(
    options: &Options,
    config: &Config,
    source: &str,
    read: Skipped,
    is_all: bool,
) -> Result<(), Failure> {
    let path = &config.state.path;
    let before = match StateFile::open(path) {
        Ok(state) => state.skipped(source)?,
        // Another machine's daemon keeps it.
        Err(StateError::Missing { .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    if before.is_empty() {
        return Ok(());
    }
    let mut state = StateFile::open_shared(path)?;
    // Calls of the day before a stretch belong to it, as far as the store had any.
    let since = if is_all {
        read.since
    } else {
        read.since + CALL_SECONDS
    };
    if let Some(closed) = Skipped::between(since, read.until) {
        state.close_skipped(source, closed)?;
    }
    let left = state.skipped(source)?;
    if left == before || options.json {
        return Ok(());
    }
    let is_closed = format!(
        "What was skipped of the binlog is in the numbers, for calls since {}",
        time::format(read.since)
    );
    let text = match left.first() {
        None => format!("{is_closed}. Earlier ones: didtail verify --since 30d --repair\n"),
        Some(left) => format!("{is_closed}, but for {}\n", told(*left)),
    };
    Ok(output::print(&text)?)
}
