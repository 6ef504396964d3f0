//! What is applied in one transaction, and how large it may become.

use crate::binlog::{GtidPosition, Position};
use crate::engine::reread::Pending;
use crate::state::{Archiving, InsertedCall, Missing, QuarantinedRow, Rereads};
use crate::vicidial::{Column, Fact, Table};

/// Facts in a batch. Enough that a backlog is applied in large transactions,
/// few enough that a batch takes a fraction of a second and a few megabytes.
pub(super) const FACTS_MAX: usize = 2048;

/// Bytes of undecodable events in a batch, kept for quarantine.
pub(super) const BAD_BYTES_MAX: usize = 1 << 20;

/// Keys of rows to be read again in a batch; a lead has some dozens of rows.
pub(super) const KEYS_MAX: usize = 512;

/// Batches on their way from the reader to the store; with the one being
/// filled, the one being applied and the one being committed they bound the memory.
pub(super) const BATCHES_WAITING_MAX: usize = 1;

/// A part of the stream, ready to be applied.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) facts: Vec<Fact>,
    /// Changes whose rows must be read again before the batch can be applied.
    pub(super) pending: Vec<Pending>,
    pub(super) bad: Vec<QuarantinedRow>,
    /// Columns of tables seen for the first time.
    pub(super) schemas: Vec<(Table, Position, Vec<Column>)>,
    /// Tables that were archived.
    pub(super) archivings: Vec<Archiving>,
    /// Calls that were inserted behind an archiving and began before it.
    pub(super) inserted: Vec<InsertedCall>,
    /// The end of the last complete group before the batch's begin.
    pub(super) begin: Position,
    /// The end of the last complete group before the batch's end.
    pub(super) position: Position,
    pub(super) gtid: GtidPosition,
    pub(super) event_time: Option<i64>,
    /// When the file of `position` was begun, where it is known.
    pub(super) file_begun: Option<i64>,
    /// Things that make the numbers incomplete.
    pub(super) missing: Missing,
    pub(super) tally: Tally,
    pub(super) rereads: Rereads,
}

/// How much was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events of every kind.
    pub events: u64,
    /// Changed rows of watched tables.
    pub rows: u64,
}

impl Batch {
    pub(super) fn new(position: Position, gtid: GtidPosition, event_time: Option<i64>) -> Self {
        Self {
            facts: Vec::new(),
            pending: Vec::new(),
            bad: Vec::new(),
            schemas: Vec::new(),
            archivings: Vec::new(),
            inserted: Vec::new(),
            begin: position.clone(),
            position,
            gtid,
            event_time,
            file_begun: None,
            missing: Missing::default(),
            tally: Tally::default(),
            rereads: Rereads::default(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        let bad_bytes: usize = self.bad.iter().map(|row| row.body.len()).sum();
        let keys: usize = self.pending.iter().map(Pending::keys).sum();
        self.facts.len() >= FACTS_MAX || bad_bytes >= BAD_BYTES_MAX || keys >= KEYS_MAX
    }

    /// True when there is more in it than a new position.
    pub(super) fn has_work(&self) -> bool {
        !self.facts.is_empty()
            || !self.pending.is_empty()
            || !self.bad.is_empty()
            || !self.schemas.is_empty()
            || !self.archivings.is_empty()
            || self.missing != Missing::default()
    }
}
