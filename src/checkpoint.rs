//! The durable position of one source, as the store and the state file keep it.
//!
//! The store writes it in the same transaction as the numbers, so the store's
//! copy is the truth. The state file's copy is written after it and serves
//! operators (`didtail checkpoint`) and restarts. The epoch tells a rewind,
//! which an operator ordered, from a copy that is merely older.

use crate::binlog::{GtidPosition, Position};

/// A position up to which everything is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Counts `checkpoint reset` and moves to another server, whose positions
    /// cannot be compared; a higher epoch overrides any position of a lower one.
    pub epoch: u64,
    /// What the server calls itself whose binlog it is a place in; `None` until
    /// a server was asked.
    pub server: Option<String>,
    /// The next event to read.
    pub position: Position,
    /// When the file of `position` was begun, by the server's clock, in seconds
    /// since 1970 (UTC); `None` where that was not read.
    pub file_begun: Option<i64>,
    /// The transactions applied; empty without GTIDs.
    pub gtid: GtidPosition,
    /// When the last applied event was written, by the source's clock, in
    /// seconds since 1970 (UTC); `None` before the first event.
    pub event_time: Option<i64>,
    /// Counts what commands rewrote in the store beside the daemon (`recount`);
    /// 0 in the state file, which knows nothing of it.
    pub revision: u64,
}

impl Checkpoint {
    /// True when both are the same but for what commands rewrote since.
    #[must_use]
    pub fn is_at(&self, other: &Self) -> bool {
        let revision = other.revision;
        let same = Self {
            revision,
            ..self.clone()
        };
        same == *other
    }
}

/// Where to resume, and what there is to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Neither copy exists: `start_at` decides.
    Fresh,
    /// Both copies agree, or the store is ahead by the batch whose local save was cut off.
    Store(Checkpoint),
    /// The store is behind the state file: it was restored from a copy, and is caught up.
    StoreRestored(Checkpoint),
    /// The state file is gone or older than an operator's reset known to the store.
    StoreAlone(Checkpoint),
    /// The store knows nothing of this source: it is new or was emptied.
    StateAlone(Checkpoint),
    /// `checkpoint reset` moved the position, or another server was found.
    Reset(Checkpoint),
}

impl Resume {
    /// Where that is; `None` where `start_at` decides.
    #[must_use]
    pub fn checkpoint(self) -> Option<Checkpoint> {
        match self {
            Self::Fresh => None,
            Self::Store(known)
            | Self::StoreRestored(known)
            | Self::StoreAlone(known)
            | Self::StateAlone(known)
            | Self::Reset(known) => Some(known),
        }
    }
}

/// Decides where to resume from the two copies of a source's checkpoint.
///
/// In one epoch the store is right, whichever copy is ahead: its position was
/// committed together with the numbers. A reset raises the local epoch, and
/// then the local copy is right.
#[must_use]
pub fn resume(local: Option<&Checkpoint>, store: Option<&Checkpoint>) -> Resume {
    match (local, store) {
        (None, None) => Resume::Fresh,
        (None, Some(store)) => Resume::StoreAlone(store.clone()),
        (Some(local), None) => Resume::StateAlone(local.clone()),
        (Some(local), Some(store)) => {
            if local.epoch > store.epoch {
                Resume::Reset(local.clone())
            } else if local.epoch < store.epoch {
                Resume::StoreAlone(store.clone())
            } else if store.position < local.position {
                Resume::StoreRestored(store.clone())
            } else {
                Resume::Store(store.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, position: &str) -> Checkpoint {
        Checkpoint {
            epoch,
            server: None,
            file_begun: None,
            position: position.parse().expect("valid"),
            gtid: GtidPosition::default(),
            event_time: None,
            revision: 0,
        }
    }

    #[test]
    fn the_store_decides_within_an_epoch() {
        let (early, late) = (at(1, "b.000001:400"), at(1, "b.000002:4"));
        assert_eq!(
            resume(Some(&early), Some(&late)),
            Resume::Store(late.clone())
        );
        assert_eq!(
            resume(Some(&late), Some(&early)),
            Resume::StoreRestored(early)
        );
    }

    #[test]
    fn a_reset_decides_over_the_store() {
        let (reset, store) = (at(2, "b.000001:4"), at(1, "b.000009:4"));
        assert_eq!(resume(Some(&reset), Some(&store)), Resume::Reset(reset));
    }

    #[test]
    fn a_lost_copy_is_taken_from_the_other() {
        let known = at(3, "b.000001:4");
        assert_eq!(
            resume(None, Some(&known)),
            Resume::StoreAlone(known.clone())
        );
        assert_eq!(
            resume(Some(&at(1, "b.000007:4")), Some(&known)),
            Resume::StoreAlone(known.clone())
        );
        assert_eq!(
            resume(Some(&known), None),
            Resume::StateAlone(known.clone())
        );
        assert_eq!(resume(None, None), Resume::Fresh);
    }
}
