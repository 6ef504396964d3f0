//! PURE: bytes of a binlog in, groups of row changes out. No I/O, no clock, no async.

mod gtid;
mod position;
mod raw;

pub use gtid::{Gtid, GtidError, GtidPosition};
pub use position::{BinlogFile, FIRST_EVENT_OFFSET, Position, PositionError};
pub use raw::{ARTIFICIAL_FLAG, EventHeader, HEADER_BYTES, RawEvent};
