//! PURE: bytes of a binlog in, groups of row changes out. No I/O, no clock, no async.
//!
//! `mysql_cdc` decodes table maps and rows; everything around that is here,
//! because groups, positions and skipping decide whether a row is seen at all.

#![warn(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

mod bytes;
mod compressed;
mod error;
mod gtid;
mod kind;
mod metadata;
mod payload;
mod position;
mod query;
mod raw;
mod reader;
mod rows;
mod table_map;

pub use error::DecodeError;
pub use gtid::{DomainGtid, Gtid, GtidError, GtidPosition, GtidSet, GtidSource, SourceGtid};
pub use kind::{Kind, Operation, RowsKind};
pub use metadata::ColumnMetadata;
/// One value of a row, as `mysql_cdc` decodes it; integers always unsigned,
/// texts always [`MySqlValue::Blob`].
pub use mysql_cdc::events::row_events::mysql_value::MySqlValue;
pub use payload::{InnerEvent, Payload};
pub use position::{BinlogFile, FIRST_EVENT_OFFSET, Position, PositionError};
pub use query::Definition;
pub use raw::{ARTIFICIAL_FLAG, EventHeader, HEADER_BYTES, RawEvent};
pub(crate) use reader::end_of;
pub use reader::{Reader, Statement, Step};
pub use rows::{Row, RowChange, RowsEvent};
pub use table_map::{TableMap, Watch};

use mysql_cdc::errors::Error as LibraryError;

/// Runs the decoding library, which panics on some malformed bytes, and turns
/// what it says into a [`DecodeError`].
fn contain<T>(decode: impl FnOnce() -> Result<T, LibraryError>) -> Result<T, DecodeError> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode)) {
        Ok(Ok(decoded)) => Ok(decoded),
        Ok(Err(refused)) => Err(DecodeError::Refused(words(&refused))),
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| panic.downcast_ref::<String>().cloned());
            Err(DecodeError::Panicked(text.unwrap_or_default()))
        }
    }
}

/// What the library refuses for. It has OpenSSL for a client of its own, which nobody
/// uses: as long as nobody asks OpenSSL for its words either, the program is linked
/// without it and runs where another version of it is installed.
fn words(refused: &LibraryError) -> String {
    match refused {
        LibraryError::IoError(error) => error.to_string(),
        LibraryError::Utf8Error(error) => error.to_string(),
        LibraryError::FromUtf8Error(error) => error.to_string(),
        LibraryError::FromHexError(error) => error.to_string(),
        LibraryError::ParseIntError(error) => error.to_string(),
        LibraryError::ErrorStack(_) => "OpenSSL failed".to_owned(),
        LibraryError::String(text) => text.clone(),
    }
}
