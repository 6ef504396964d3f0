//! Another server answers where the one was that is followed: a replica was
//! promoted, or an address moved.
//!
//! File positions mean nothing there. GTIDs do, if the new server has the
//! transactions that were read; then a position is looked for behind them, in
//! a new epoch, because positions of two servers cannot be compared. The old
//! position goes to the history, so that an operator sees what happened.
//!
//! Nothing is skipped: what cannot be proven to be read is read again, and a
//! replay changes no number. Where that cannot be had, the daemon stops.

use crate::binlog::{BinlogFile, Position};
use crate::checkpoint::Checkpoint;
use crate::engine::archivings::Archivings;
use crate::engine::layouts::Layouts;
use crate::engine::policy::EngineError;
use crate::landmark::Landmark;
use crate::source::{Source, SourceError};
use crate::state::{StateError, StateFile};
use crate::telemetry::field;

/// Why a checkpoint went to the history, where another server answered.
pub(super) const REASON: &str = "another server";

/// What tells the binlog that was read from another one at the same address.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// What the server calls itself; `None`: it does not matter.
    pub(super) server: Option<String>,
    /// The file of the position, and when it was begun; `None` where that was
    /// not noted.
    pub(super) file: Option<(BinlogFile, i64)>,
}

impl History {
    /// Whether a server is the one that was read from.
    pub(super) fn check_server(&self, now: Option<&str>) -> Result<(), SourceError> {
        match (self.server.as_deref(), now) {
            (Some(was), Some(now)) if was != now => Err(SourceError::OtherServer {
                server: now.to_owned(),
            }),
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    /// Whether a file that was begun then is the one that was read.
    pub(super) fn check_file(&self, place: &Position, now: Option<i64>) -> Result<(), SourceError> {
        let was = self.file.as_ref().filter(|(file, _)| *file == place.file);
        match (was, now) {
            (Some((file, was)), Some(now)) if *was != now => Err(SourceError::OtherHistory {
                position: place.to_string(),
                detail: format!(
                    "{file} was begun {} s {} the one that was read",
                    was.abs_diff(now),
                    if now > *was { "after" } else { "before" }
                ),
            }),
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }
}

/// Another server than that of a checkpoint, and why nobody can go on there.
pub(super) fn other_server(
    name: &str,
    known: &Checkpoint,
    server: &str,
    reason: String,
) -> StateError {
    StateError::OtherSource {
        name: name.to_owned(),
        recorded: known.server.clone().unwrap_or_default(),
        actual: server.to_owned(),
        reason,
    }
}

/// Refuses another server than that of a checkpoint.
///
/// # Errors
/// [`StateError::OtherSource`].
pub(super) fn check_same(name: &str, known: &Checkpoint, server: &str) -> Result<(), StateError> {
    match &known.server {
        Some(recorded) if recorded != server => {
            let reason = "nobody asked for that".to_owned();
            Err(other_server(name, known, server, reason))
        }
        Some(_) | None => Ok(()),
    }
}

/// What must be known at a place on another server, by what is known at the place
/// on the one before that is behind the same transactions.
pub(super) fn carried(landmarks: &[Landmark], from: &Position, to: &Position) -> Vec<Landmark> {
    let columns = Layouts::of(landmarks).carried(from, to);
    let archivings = Archivings::of(landmarks).carried(from, to);
    [columns, archivings].concat()
}

/// Moves a source from `known`, on the server that this was read from, to the
/// server that calls itself `server`, and returns the checkpoint there.
///
/// # Errors
/// A transient [`EngineError::Source`] when the server could not be asked;
/// [`StateError::OtherSource`] when it cannot go on there. Then nothing changed.
pub(super) async fn move_on<S: Source>(
    state: &mut StateFile,
    source: &S,
    name: &str,
    known: &Checkpoint,
    server: &str,
) -> Result<Checkpoint, EngineError> {
    let refuse = |reason: String| EngineError::from(other_server(name, known, server, reason));
    if known.gtid.is_empty() {
        return Err(refuse("the old server numbered no transactions".to_owned()));
    }
    let found = source.behind(server, &known.gtid, known.event_time).await;
    let found = match found {
        Ok(found) => found,
        Err(error) if error.is_transient() => return Err(error.into()),
        Err(SourceError::ImpossiblePosition { detail, .. }) => return Err(refuse(detail)),
        Err(error) => return Err(refuse(error.to_string())),
    };
    let there = Checkpoint {
        epoch: known.epoch + 1,
        server: Some(server.to_owned()),
        position: found.position,
        file_begun: None,
        gtid: found.gtid,
        event_time: known.event_time,
        revision: 0,
    };
    // Also where the state file is new: it says why there is another epoch.
    state.save_checkpoint(name, known)?;
    state.reset(name, &there, REASON, None)?;
    tracing::warn!(
        { field::SOURCE } = name,
        was = known.server.as_deref().unwrap_or_default(),
        now = server,
        { field::GTID } = %known.gtid,
        left = %known.position,
        { field::POSITION } = %there.position,
        { field::EPOCH } = there.epoch,
        "another server answers; going on behind the transactions that were read"
    );
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_server_and_the_same_file_pass() {
        let at = |text: &str| text.parse::<Position>().expect("valid");
        let history = History {
            server: Some("a".to_owned()),
            file: Some((at("b.000001:4").file, 100)),
        };
        let refused = |now| history.check_server(now).is_err();
        assert!(refused(Some("b")) && !refused(Some("a")) && !refused(None));
        let refused = |place, now| history.check_file(&at(place), now).is_err();
        assert!(refused("b.000001:400", Some(101)) && refused("b.000001:4", Some(99)));
        assert!(!refused("b.000001:400", Some(100)) && !refused("b.000001:400", None));
        assert!(
            !refused("b.000002:4", Some(101)),
            "the next file is another"
        );
        let nothing = History::default();
        assert!(nothing.check_server(Some("b")).is_ok());
        assert!(nothing.check_file(&at("b.000001:4"), Some(1)).is_ok());
    }
}
