//! Stretches of the binlog that nobody read: how they are told, and when they are told
//! no more.

use serde_json::{Value, json};

use super::failure::Failure;
use super::{Options, output, time};
use crate::config::Config;
use crate::state::{Skipped, StateError, StateFile};

/// A call that was changed in a stretch may have begun so many seconds before it.
const CALL_SECONDS: i64 = 3600;

/// A stretch for people, with the command that makes up for it.
pub(super) fn told(stretch: Skipped) -> String {
    let Skipped { since, until } = stretch;
    let calls = time::format((since - CALL_SECONDS).max(0));
    format!(
        "{} to {}: didtail verify --since {calls} --repair",
        time::format(since),
        time::format(until)
    )
}

/// Stretches for programs.
pub(super) fn json(stretches: &[Skipped]) -> Value {
    let one = |one: &Skipped| json!({ "since": time::format(one.since), "until": time::format(one.until) });
    stretches.iter().map(one).collect()
}

/// The numbers have every call of this time, as VICIdial has them: what was skipped of it
/// is missing no more. Says so where something was, unless a document is printed.
///
/// # Errors
/// [`Failure`] when the state file cannot be read, or written where it has to be.
pub(super) fn made_up(
    options: &Options,
    config: &Config,
    source: &str,
    read: Skipped,
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
    state.close_skipped(source, read)?;
    let left = state.skipped(source)?;
    if left == before || options.json {
        return Ok(());
    }
    let is_closed = "What was skipped of the binlog is in the numbers";
    let text = match left.first() {
        None => format!("{is_closed}.\n"),
        Some(left) => format!("{is_closed}, but for {}\n", told(*left)),
    };
    Ok(output::print(&text)?)
}
