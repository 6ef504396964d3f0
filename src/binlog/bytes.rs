//! Reads the fixed parts of events out of a byte slice, never past its end.

use crate::binlog::DecodeError;

/// A place in a slice, moving forward.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(DecodeError::Short {
                wanted: count,
                left: self.rest.len(),
            })?;
        self.rest = rest;
        Ok(taken)
    }

    /// An unsigned little-endian number of 1 to 8 bytes.
    pub(super) fn uint(&mut self, count: usize) -> Result<u64, DecodeError> {
        let bytes = self.take(count.min(8))?;
        let mut wide = [0_u8; 8];
        for (to, from) in wide.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(u64::from_le_bytes(wide))
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        let bytes = self.take(1)?;
        Ok(bytes.first().copied().unwrap_or(0))
    }

    /// A length-encoded number
    /// (<https://mariadb.com/kb/en/protocol-data-types/#length-encoded-integers>).
    pub(super) fn length(&mut self) -> Result<usize, DecodeError> {
        let width = match self.u8()? {
            small @ 0..=0xfa => return Ok(usize::from(small)),
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            0xfb | 0xff => return Err(DecodeError::Malformed("a length")),
        };
        usize::try_from(self.uint(width)?).map_err(|_| DecodeError::Malformed("a length"))
    }
}
