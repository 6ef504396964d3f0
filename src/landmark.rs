//! Places in a binlog behind which it is read in another way.
//!
//! A table gets other columns, or loses its old rows to the archiver; what stands
//! behind that place cannot be read rightly by one who does not know. So the store
//! commits landmarks together with the position and the numbers, and any daemon
//! that goes on from a position knows what lies before it: a standby that takes
//! over, or one whose state file is gone.

use std::collections::BTreeSet;

use crate::binlog::Position;
use crate::vicidial::{Column, Table};

/// Landmarks kept of one source and kind; the oldest are forgotten beyond that.
/// Tables change with a VICIdial upgrade, and are archived nightly.
pub const LANDMARKS_MAX: u32 = 5_000;

/// What is seen at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landmark {
    /// Where: rows and statements behind it are meant.
    pub place: Position,
    /// What.
    pub sight: Sight,
}

/// What a reader must know from a place on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// A table has these columns from here on; none where they could not be found out.
    Columns {
        /// The table.
        table: Table,
        /// Its columns, in order.
        columns: Vec<Column>,
    },
    /// The rows of a table from before a time are gone from here on.
    Archived {
        /// The table.
        table: Table,
        /// Seconds since 1970 (UTC).
        before: i64,
    },
    /// A call is there from here on although it began before an archiving took
    /// all of its time.
    Inserted {
        /// `uniqueid`.
        uniqueid: String,
        /// The leads that it may have, where they are known.
        leads: BTreeSet<String>,
    },
}
