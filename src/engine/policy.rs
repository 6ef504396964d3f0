//! What is done about each failure: the only table of failures and actions.
//!
//! Three kinds are told apart. *Transient*: the world is not as it should be,
//! and will be again: try again with growing pauses, keeping the position.
//! *Definite*: this row cannot be understood, now or later: quarantine it with
//! its bytes and go on, or stop, as configured. Everything else stops the
//! source, because going on would lose or falsify something.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::source::SourceError;
use crate::state::StateError;
use crate::store::StoreError;

/// First pause before another try.
const PAUSE_MIN: Duration = Duration::from_millis(200);

/// Longest pause, before as much again by chance: an outage that ends is noticed
/// within twice this.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Tries on a full disk of this machine, about ten seconds together: an operator has
/// to make room, and must hear of it from the service manager and not from a log line.
/// A server's disk has its own operators, and is waited for as the server is.
const DISK_FULL_TRIES: u32 = 6;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Try again after a pause.
    Retry,
    /// Stop with the failure; nothing is lost.
    Stop,
}

/// What to do when the source fails while it is being followed.
#[must_use]
pub fn on_source(error: &SourceError) -> Action {
    if error.is_transient() {
        Action::Retry
    } else {
        Action::Stop
    }
}

/// What to do when the store fails, at this try of the same batch, from 1.
#[must_use]
pub fn on_store(error: &StoreError, tries: u32) -> Action {
    match error {
        StoreError::DiskFull { .. } if tries >= DISK_FULL_TRIES && !error.is_of_server() => {
            Action::Stop
        }
        error if error.is_transient() => Action::Retry,
        _ => Action::Stop,
    }
}

/// Whether a failure of one source keeps the others from being followed too. What
/// a source or its rows are is its own affair; the store and the state file are all's.
#[must_use]
pub(super) fn concerns_all(error: &EngineError) -> bool {
    match error {
        EngineError::Source(_)
        | EngineError::BadRow { .. }
        | EngineError::Store(
            StoreError::OtherWriter { .. }
            | StoreError::WentBack { .. }
            | StoreError::LeaseLost { .. }
            | StoreError::Leased { .. },
        ) => false,
        EngineError::Store(_)
        | EngineError::State(_)
        | EngineError::Replay { .. }
        | EngineError::Bug(_) => true,
    }
}

/// The pauses between tries: doubling, with jitter, without an end.
#[must_use]
pub(super) fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(PAUSE_MIN)
        .with_max_delay(PAUSE_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Why following a source ended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// A row that cannot be understood, where `bad_row = "stop"`.
    #[error("a row of {table} at {position} cannot be understood: {reason}")]
    BadRow {
        /// The table.
        table: String,
        /// Where it is.
        position: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Binlog files that cannot be replayed.
    #[error("{what}")]
    Replay {
        /// Why not.
        what: String,
        /// How to mend it.
        fix: String,
    },
    /// A part of didtail ended without saying why.
    #[error("{0}")]
    Bug(String),
}

impl EngineError {
    /// How to mend it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Source(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::State(error) => error.hint(),
            Self::BadRow { .. } => Some(
                "set bad_row = \"quarantine\" in [errors] to quarantine such rows and go on"
                    .to_owned(),
            ),
            Self::Replay { fix, .. } => Some(fix.clone()),
            Self::Bug(_) => None,
        }
    }
}
