//! What is applied in one transaction, and how large it may become.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::binlog::{GtidPosition, Position};
use crate::engine::reread::Pending;
use crate::landmark::Landmark;
use crate::state::{Missing, QuarantinedRow, Rereads};
use crate::vicidial::{Fact, Table};

/// The least that it may become where a store is slow: below, most of a batch is the
/// round trips that it takes anyway.
const FACTS_MIN: usize = 256;

/// A full batch that takes the store longer than this is too large: it keeps rows
/// locked, and a shutdown and a lease wait for it.
const SLOW: Duration = Duration::from_secs(2);

/// One that takes less may be larger.
const QUICK: Duration = Duration::from_millis(500);

/// How many facts a batch may have, by how long the store takes for one. The reading
/// half asks, the applying half knows.
#[derive(Clone, Debug)]
pub(super) struct BatchSize {
    now: Arc<AtomicUsize>,
    max: usize,
}

impl BatchSize {
    /// As large as a store takes them well: [`crate::store::Store::facts_max`].
    pub(super) fn up_to(max: usize) -> Self {
        Self {
            now: Arc::new(AtomicUsize::new(max)),
            max,
        }
    }

    fn facts(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// Learns from a batch of so many facts, which the store took so long for.
    pub(super) fn took(&self, facts: usize, time: Duration) {
        let limit = self.facts();
        if facts < limit {
            return;
        }
        let next = if time > SLOW {
            (limit / 2).max(FACTS_MIN)
        } else if time < QUICK {
            (limit * 2).min(self.max)
        } else {
            limit
        };
        self.now.store(next, Ordering::Relaxed);
    }
}

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
    /// What was seen on the way.
    pub(super) landmarks: Vec<Landmark>,
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
    /// Of each of [`Table::ALL`]: events with rows, and rows.
    pub(super) tables: [(u64, u64); Table::ALL.len()],
    pub(super) rereads: Rereads,
    /// Counts the batches of a stream; 0 for one that no stream brought.
    pub(super) number: u64,
    /// When it was handed to the applying half.
    pub(super) read_at: Instant,
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
            landmarks: Vec::new(),
            begin: position.clone(),
            position,
            gtid,
            event_time,
            file_begun: None,
            missing: Missing::default(),
            tally: Tally::default(),
            tables: Default::default(),
            rereads: Rereads::default(),
            number: 0,
            read_at: Instant::now(),
        }
    }

    /// Counts an event with rows of the table of this rank in [`Table::ALL`].
    pub(super) fn count(&mut self, rank: usize, rows: usize) {
        if let Some(table) = self.tables.get_mut(rank) {
            table.0 += 1;
            table.1 += rows as u64;
        }
    }

    pub(super) fn is_full(&self, size: &BatchSize) -> bool {
        let bad_bytes: usize = self.bad.iter().map(|row| row.body.len()).sum();
        let keys: usize = self.pending.iter().map(Pending::keys).sum();
        self.facts.len() >= size.facts() || bad_bytes >= BAD_BYTES_MAX || keys >= KEYS_MAX
    }

    /// True when there is more in it than a new position.
    pub(super) fn has_work(&self) -> bool {
        !self.facts.is_empty()
            || !self.pending.is_empty()
            || !self.bad.is_empty()
            || !self.landmarks.is_empty()
            || self.missing != Missing::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS_MAX: usize = 2048;

    #[test]
    fn batches_become_small_where_the_store_is_slow_and_large_again() {
        let size = BatchSize::up_to(FACTS_MAX);
        let full = |time| size.took(size.facts(), time);
        full(SLOW * 2);
        assert_eq!(size.facts(), FACTS_MAX / 2);
        // One that was not full says nothing.
        size.took(1, SLOW * 2);
        assert_eq!(size.facts(), FACTS_MAX / 2);
        full(QUICK * 2);
        assert_eq!(size.facts(), FACTS_MAX / 2);
        for _ in 0..10 {
            full(SLOW * 2);
        }
        assert_eq!(size.facts(), FACTS_MIN);
        for _ in 0..10 {
            full(QUICK / 2);
        }
        assert_eq!(size.facts(), FACTS_MAX);
    }
}
