//! Where in a source's binlog something is, in numbers that do not wrap.
//!
//! Event headers carry 32-bit positions, and a binlog file may pass 4 GiB, so
//! didtail keeps its own 64-bit offsets and orders files by their number:
//! `mysql-bin.1000000` comes after `mysql-bin.999999`, which text order denies.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Offset of the first event in every binlog file, after its 4 magic bytes.
pub const FIRST_EVENT_OFFSET: u64 = 4;

/// Longest binlog file name accepted; servers allow 512 bytes (`FN_REFLEN`).
const FILE_NAME_BYTES_MAX: usize = 512;

/// The name of one binlog file, ordered by its numeric suffix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BinlogFile(Box<str>);

impl BinlogFile {
    /// Checks a name as the server writes it, `base.NNNNNN`, without a folder.
    ///
    /// # Errors
    /// [`PositionError`] when the name has no numeric suffix, a path separator,
    /// a control character or more bytes than a server can name.
    pub fn new(name: &str) -> Result<Self, PositionError> {
        let error = || PositionError {
            text: name.chars().take(80).collect(),
        };
        let (base, suffix) = name.rsplit_once('.').ok_or_else(error)?;
        let usable = !base.is_empty()
            && !suffix.is_empty()
            && suffix.len() <= 18
            && suffix.bytes().all(|b| b.is_ascii_digit())
            && name.len() <= FILE_NAME_BYTES_MAX
            && !name.contains(|c: char| c == '/' || c == ':' || c.is_control());
        if usable {
            Ok(Self(name.into()))
        } else {
            Err(error())
        }
    }

    /// The name as the server writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number behind the last dot.
    #[must_use]
    pub fn number(&self) -> u64 {
        // Invariant: `new` accepted 1 to 18 digits, which fit.
        self.0
            .rsplit_once('.')
            .and_then(|(_, suffix)| suffix.parse().ok())
            .unwrap_or(0)
    }
}

impl fmt::Display for BinlogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ord for BinlogFile {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number()
            .cmp(&other.number())
            .then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for BinlogFile {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A place between two events: the file, and the offset of the next byte to read.
///
/// Written and read as `FILE:OFFSET`, e.g. `mysql-bin.000012:4711`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The binlog file.
    pub file: BinlogFile,
    /// Offset in bytes of the next event to read.
    pub next: u64,
}

impl Position {
    /// The first event of a file.
    #[must_use]
    pub fn start_of(file: BinlogFile) -> Self {
        Self {
            file,
            next: FIRST_EVENT_OFFSET,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.next)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || PositionError {
            text: text.chars().take(80).collect(),
        };
        let (file, next) = text.rsplit_once(':').ok_or_else(error)?;
        let next: u64 = next.parse().map_err(|_| error())?;
        if next < FIRST_EVENT_OFFSET {
            return Err(error());
        }
        Ok(Self {
            file: BinlogFile::new(file)?,
            next,
        })
    }
}

/// A text that names no place in a binlog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no binlog position: expected FILE:OFFSET like mysql-bin.000012:4711, with an offset of at least 4"
)]
pub struct PositionError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_ordered_by_their_number() {
        let file = |name| BinlogFile::new(name).expect("valid");
        assert!(file("mysql-bin.999999") < file("mysql-bin.1000000"));
        assert!(file("a.000002") > file("a.000001"));
    }

    #[test]
    fn positions_round_trip_and_refuse_nonsense() {
        let text = "srv.one-bin.000012:5000000000";
        let position: Position = text.parse().expect("valid");
        assert_eq!(position.next, 5_000_000_000);
        assert_eq!(position.to_string(), text);
        for bad in ["", "x", "x:4", "x.1:3", "x.a:4", "/etc/x.1:4", "x.1:-4"] {
            assert!(bad.parse::<Position>().is_err(), "{bad}");
        }
    }
}
