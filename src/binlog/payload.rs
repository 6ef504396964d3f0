//! Takes MySQL's compressed transactions apart
//! (`binlog_transaction_compression = ON`), one event at a time.
//!
//! A payload event holds a whole transaction but for its GTID: BEGIN, table
//! maps, rows, COMMIT, as one zstd stream. A few kilobytes can expand to
//! gigabytes, so nothing here holds more than one event, and neither trusts a
//! length that it is told: memory grows with the bytes that come out, up to
//! [`INNER_BYTES_MAX`] and the zstd window.
//!
//! # Where the inner events are
//! They have no offset in the file. Each is named by the payload event's own
//! offset and the number of expanded bytes before it. A row takes at least one
//! byte, so that this number plus the row's number within its event belongs to
//! this row alone, on every replay, and needs no row before it to be decoded.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Transaction__payload__event.html>

use std::io::Read;

use crate::binlog::bytes::Bytes;
use crate::binlog::{DecodeError, EventHeader, HEADER_BYTES, RawEvent};

/// Largest inner event that is held whole. Servers split rows into events of
/// `binlog_row_event_max_size` (8 KiB); only a single row with a large BLOB
/// makes a larger one, and no watched table has any.
pub(super) const INNER_BYTES_MAX: u32 = 64 << 20;

/// Of a larger event so much is kept: enough to see which table it is about.
const INNER_HEAD_BYTES: u64 = 64;

/// Most bytes that a payload may expand to: MySQL's documented limit on a
/// transaction in the binlog (`max_binlog_cache_size`), and what a row's name has room for.
const EXPANDED_BYTES_MAX: u64 = u32::MAX as u64;

/// Largest zstd window accepted, as a power of two: what the library takes by
/// default. MySQL's level 3 uses 2 MiB.
const WINDOW_LOG_MAX: u32 = 27;

/// Room for one inner event that is kept for the next.
const INNER_BYTES_KEPT: usize = 1 << 20;

/// A transaction payload that is being taken apart.
pub struct Payload<'a> {
    expanded: Expanded<'a>,
    /// Expanded bytes before the next event.
    next: u64,
    /// The present event's body.
    body: Vec<u8>,
    ended: bool,
}

impl std::fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let next = self.next;
        f.debug_struct("Payload").field("next", &next).finish()
    }
}

/// Where the inner events come from.
enum Expanded<'a> {
    Plain(&'a [u8]),
    Zstd(Box<zstd::Decoder<'static, &'a [u8]>>),
}

impl Read for Expanded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(bytes) => bytes.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// An event of a payload.
#[derive(Clone, Copy, Debug)]
pub struct InnerEvent<'p> {
    /// The event; of one that is too large only the beginning.
    pub event: RawEvent<'p>,
    /// Expanded bytes of the payload before it.
    pub before: u32,
    pub(super) is_whole: bool,
}

impl<'a> Payload<'a> {
    /// Reads the fields in front of the events: type, length and value of each,
    /// ended by a zero. Type 1 is the size, 2 the compression (0 zstd, 255
    /// none), 3 the expanded size; unknown ones are passed over, as MySQL does.
    pub(super) fn open(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut bytes = Bytes::new(body);
        let mut compression = None;
        loop {
            let field = bytes.length()?;
            if field == 0 {
                break;
            }
            let length = bytes.length()?;
            let mut value = Bytes::new(bytes.take(length)?);
            if field == 2 {
                compression = Some(value.length()?);
            }
        }
        let rest = bytes.rest();
        let expanded = match compression {
            Some(0) => Expanded::Zstd(Box::new(decoder(rest)?)),
            Some(255) => Expanded::Plain(rest),
            Some(_) | None => {
                return Err(DecodeError::Compressed("its algorithm is unknown"));
            }
        };
        Ok(Self {
            expanded,
            next: 0,
            body: Vec::new(),
            ended: false,
        })
    }

    /// The next event; `None` behind the last one.
    ///
    /// # Errors
    /// [`DecodeError`] when nothing behind the events so far can be read.
    pub fn next_event(&mut self) -> Result<Option<InnerEvent<'_>>, DecodeError> {
        if self.ended {
            return Ok(None);
        }
        self.ended = true;
        let Some(header) = self.header()? else {
            return Ok(None);
        };
        let size = u64::from(header.size);
        let before = self.next;
        self.next += size;
        if self.next > EXPANDED_BYTES_MAX {
            return Err(DecodeError::Compressed("it expands to more than 4 GiB"));
        }
        let rest = size
            .checked_sub(u64::from(HEADER_BYTES))
            .ok_or(DecodeError::Malformed(
                "the size of an event of the payload",
            ))?;
        let is_whole = header.size <= INNER_BYTES_MAX;
        let wanted = if is_whole { rest } else { INNER_HEAD_BYTES };
        self.body.clear();
        self.body.shrink_to(INNER_BYTES_KEPT);
        let mut got = self.read_body(wanted)?;
        if got == wanted && !is_whole {
            let mut tail = self.expanded.by_ref().take(rest - wanted);
            got += std::io::copy(&mut tail, &mut std::io::sink()).map_err(damaged)?;
        }
        if got != rest {
            return Err(DecodeError::Compressed("it ends within an event"));
        }
        self.ended = false;
        Ok(Some(InnerEvent {
            event: RawEvent {
                header,
                body: &self.body,
            },
            before: u32::try_from(before).unwrap_or(u32::MAX),
            is_whole,
        }))
    }

    /// Expanded bytes up to where the payload was read, for naming what
    /// cannot be read.
    #[must_use]
    pub fn read_up_to(&self) -> u32 {
        u32::try_from(self.next).unwrap_or(u32::MAX)
    }

    fn read_body(&mut self, wanted: u64) -> Result<u64, DecodeError> {
        let mut part = self.expanded.by_ref().take(wanted);
        let got = part.read_to_end(&mut self.body).map_err(damaged)?;
        Ok(got as u64)
    }

    fn header(&mut self) -> Result<Option<EventHeader>, DecodeError> {
        self.body.clear();
        let wanted = u64::from(HEADER_BYTES);
        match self.read_body(wanted)? {
            0 => Ok(None),
            got if got == wanted => EventHeader::read(&self.body)
                .map(Some)
                .ok_or(DecodeError::Malformed("an event of the payload")),
            _ => Err(DecodeError::Compressed("it ends within an event")),
        }
    }
}

fn decoder(compressed: &[u8]) -> Result<zstd::Decoder<'static, &[u8]>, DecodeError> {
    let mut decoder = zstd::Decoder::with_buffer(compressed).map_err(damaged)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(damaged)?;
    Ok(decoder)
}

fn damaged(_: std::io::Error) -> DecodeError {
    DecodeError::Compressed("its zstd data is damaged")
}

#[cfg(test)]
mod tests;
