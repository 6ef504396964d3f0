//! Expands the compressed events of MariaDB (`log_bin_compress = ON`).
//!
//! The compressed part starts with a byte whose low 3 bits give the width of
//! the expanded length that follows, big-endian, and whose bits 4 to 6 give the
//! algorithm, 0 for zlib (MariaDB `sql/log_event.cc`, `binlog_buf_compress`).

use std::io::Read;

use crate::binlog::DecodeError;
use crate::binlog::bytes::Bytes;
use crate::binlog::kind::{Operation, RowsKind};

/// Most bytes an event may expand to: what a server accepts as one packet.
const EXPANDED_MAX: u64 = 1 << 30;

/// Expands a row event: its fields and bitmaps are plain, its rows compressed.
pub(super) fn rows(body: &[u8], kind: RowsKind) -> Result<Vec<u8>, DecodeError> {
    let mut bytes = Bytes::new(body);
    bytes.take(8)?;
    if kind.version == 2 {
        let extra = usize::try_from(bytes.uint(2)?).unwrap_or(0);
        bytes.take(extra.saturating_sub(2))?;
    }
    let columns = bytes.length()?;
    let bitmaps = if kind.operation == Operation::Update {
        2
    } else {
        1
    };
    bytes.take(columns.div_ceil(8).saturating_mul(bitmaps))?;
    expand_tail(body, bytes.rest())
}

/// Expands a Query event: only its statement is compressed.
pub(super) fn query(body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let statement = super::query::Query::decode(body)?.statement;
    expand_tail(body, statement)
}

fn expand_tail(body: &[u8], tail: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let plain = body.len() - tail.len();
    let mut bytes = Bytes::new(tail);
    let head = bytes.u8()?;
    if head & 0x70 != 0 {
        return Err(DecodeError::Compressed("its algorithm is unknown"));
    }
    let mut length = 0_u64;
    for byte in bytes.take(usize::from(head & 0x07))? {
        length = (length << 8) | u64::from(*byte);
    }
    if length > EXPANDED_MAX {
        return Err(DecodeError::Compressed("it is larger than 1 GiB"));
    }
    let mut expanded = body.get(..plain).unwrap_or_default().to_vec();
    let read = flate2::read::ZlibDecoder::new(bytes.rest())
        .take(length + 1)
        .read_to_end(&mut expanded)
        .map_err(|_| DecodeError::Compressed("its zlib data is damaged"))?;
    if u64::try_from(read) != Ok(length) {
        return Err(DecodeError::Compressed("its length is not what it says"));
    }
    Ok(expanded)
}
