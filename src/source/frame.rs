//! PURE: one event's bytes into header and body, its checksum verified.
//!
//! The same bytes come over the network and from files, so both sources share
//! this. Every event is verified: a row that a network card or a disk changed
//! would otherwise become a wrong number that nobody can explain.

use crate::binlog::{ARTIFICIAL_FLAG, BinlogFile, EventHeader, HEADER_BYTES, Position, RawEvent};

/// Bytes of a CRC32 behind an event's body.
const CHECKSUM_BYTES: usize = 4;

/// Header flag of the first event of a file that was not closed. The server
/// sets it after it computed the checksum (`LOG_EVENT_BINLOG_IN_USE_F`).
const IN_USE_FLAG: u8 = 0x01;

/// Where the low byte of the flags is in a header.
const FLAGS_OFFSET: usize = 17;

/// Codes of the events whose framing is special.
const ROTATE: u8 = 4;
const FORMAT_DESCRIPTION: u8 = 15;
const HEARTBEAT: u8 = 27;
const HEARTBEAT_V2: u8 = 41;

/// Whether the events of a file carry a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checksum {
    /// No format description was read yet.
    Unknown,
    /// None.
    Absent,
    /// CRC32 of everything in front of it.
    Crc32,
}

/// An event that somebody keeps.
#[derive(Clone, Debug)]
pub(crate) struct OwnedEvent {
    pub(crate) header: EventHeader,
    pub(crate) body: Vec<u8>,
}

impl OwnedEvent {
    /// The ROTATE that a server makes up at the start of a stream and of each
    /// file, to say which file the next event is from.
    pub(crate) fn rotate_to(position: &Position) -> Self {
        let mut body = position.next.to_le_bytes().to_vec();
        body.extend(position.file.as_str().as_bytes());
        let size = HEADER_BYTES.saturating_add(u32::try_from(body.len()).unwrap_or(0));
        Self {
            header: EventHeader {
                timestamp: 0,
                code: ROTATE,
                server_id: 0,
                size,
                end_low: 0,
                flags: ARTIFICIAL_FLAG,
            },
            body,
        }
    }

    /// A file's format description, as a server repeats it at the start of a
    /// stream that begins further on.
    pub(crate) fn repeated(mut self) -> Self {
        self.header.end_low = 0;
        self
    }

    pub(crate) fn raw(&self) -> RawEvent<'_> {
        RawEvent {
            header: self.header,
            body: &self.body,
        }
    }
}

impl From<RawEvent<'_>> for OwnedEvent {
    fn from(event: RawEvent<'_>) -> Self {
        Self {
            header: event.header,
            body: event.body.to_vec(),
        }
    }
}

/// What is wrong with an event's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// Shorter than a header, or of another length than its header says.
    #[error("an event says that it has {said} bytes and has {got}")]
    Size {
        /// The size in the header; 0 without a header.
        said: u32,
        /// The bytes there are.
        got: usize,
    },
    /// The checksum does not fit the bytes.
    #[error("the checksum of a {size} byte event of code {code} is wrong")]
    Checksum {
        /// The event's code.
        code: u8,
        /// The event's size.
        size: u32,
    },
    /// An event that cannot come before the format description, which tells
    /// how to read it.
    #[error("an event of code {code} comes before the format description")]
    Early {
        /// The event's code.
        code: u8,
    },
    /// A checksum algorithm that no supported server writes.
    #[error("the binlog uses checksum algorithm {algorithm}, which is unknown")]
    Algorithm {
        /// Its number in the format description.
        algorithm: u8,
    },
}

/// Reads the header in front of an event; `None` when there are too few bytes.
pub(crate) fn header(bytes: &[u8]) -> Option<EventHeader> {
    EventHeader::read(bytes)
}

/// Splits and verifies the events of one stream, in order.
#[derive(Debug)]
pub(crate) struct Framer {
    checksum: Checksum,
}

impl Framer {
    /// For a stream of which nothing was read.
    pub(crate) fn new() -> Self {
        Self {
            checksum: Checksum::Unknown,
        }
    }

    /// Splits the bytes of exactly one event.
    ///
    /// The body of a format description keeps its last byte, the algorithm.
    pub(crate) fn open<'a>(&mut self, bytes: &'a [u8]) -> Result<RawEvent<'a>, FrameError> {
        let size = |said| FrameError::Size {
            said,
            got: bytes.len(),
        };
        let header = header(bytes).ok_or_else(|| size(0))?;
        if header.size as usize != bytes.len() {
            return Err(size(header.size));
        }
        if header.code == FORMAT_DESCRIPTION {
            let announced = algorithm_of(bytes).ok_or_else(|| size(header.size))?;
            if announced != Ok(Checksum::Crc32) && was_crc32(bytes) {
                return Err(FrameError::Checksum {
                    code: header.code,
                    size: header.size,
                });
            }
            self.checksum = announced?;
        }
        let sealed = if header.code == FORMAT_DESCRIPTION {
            // Always there, also where the file's other events have none.
            self.checksum != Checksum::Crc32 || verify_format(bytes)
        } else if made_up(&header) {
            // What the server makes up on the way carries a checksum or not by
            // rules that differ between servers and say nothing of the file.
            let has_seal = seal_fits(bytes);
            let end = bytes.len() - usize::from(has_seal) * CHECKSUM_BYTES;
            let body = bytes.get(HEADER_BYTES as usize..end).unwrap_or_default();
            if !has_seal && !names_a_file(header.code, body) {
                return Err(FrameError::Checksum {
                    code: header.code,
                    size: header.size,
                });
            }
            return Ok(RawEvent { header, body });
        } else if self.checksum == Checksum::Unknown {
            return Err(FrameError::Early { code: header.code });
        } else if self.checksum == Checksum::Crc32 {
            seal_fits(bytes)
        } else {
            return Ok(RawEvent {
                header,
                body: bytes.get(HEADER_BYTES as usize..).unwrap_or_default(),
            });
        };
        if !sealed {
            return Err(FrameError::Checksum {
                code: header.code,
                size: header.size,
            });
        }
        let body = bytes.get(HEADER_BYTES as usize..bytes.len() - CHECKSUM_BYTES);
        Ok(RawEvent {
            header,
            body: body.ok_or_else(|| size(header.size))?,
        })
    }
}

/// True for events that exist only on the connection.
fn made_up(header: &EventHeader) -> bool {
    matches!(header.code, HEARTBEAT | HEARTBEAT_V2)
        || (header.code == ROTATE && (header.flags & ARTIFICIAL_FLAG != 0 || header.timestamp == 0))
}

/// True for the body of an event that a server makes up without a checksum: a
/// file's name, behind a position in a ROTATE. A row event whose code was
/// damaged into that of a heartbeat must not pass for one.
fn names_a_file(code: u8, body: &[u8]) -> bool {
    let name = match code {
        HEARTBEAT => Some(body),
        ROTATE => body.get(8..),
        // The newer heartbeat always has one.
        _ => None,
    };
    name.and_then(|name| std::str::from_utf8(name).ok())
        .is_some_and(|name| BinlogFile::new(name).is_ok())
}

/// True when a format description fits its checksum once it announces CRC32:
/// then the byte that announces something else was damaged.
fn was_crc32(bytes: &[u8]) -> bool {
    let mut mended = bytes.to_vec();
    let Some(at) = bytes.len().checked_sub(CHECKSUM_BYTES + 1) else {
        return false;
    };
    if let Some(algorithm) = mended.get_mut(at) {
        *algorithm = 1;
    }
    verify_format(&mended)
}

/// True when the last four bytes are the CRC32 of the others.
fn seal_fits(bytes: &[u8]) -> bool {
    bytes
        .split_last_chunk::<CHECKSUM_BYTES>()
        .filter(|(sealed, _)| sealed.len() >= HEADER_BYTES as usize)
        .is_some_and(|(sealed, seal)| crc32fast::hash(sealed) == u32::from_le_bytes(*seal))
}

/// As [`seal_fits`], for the event whose in-use flag is set behind the checksum's back.
fn verify_format(bytes: &[u8]) -> bool {
    if seal_fits(bytes) {
        return true;
    }
    let mut cleared = bytes.to_vec();
    if let Some(flags) = cleared.get_mut(FLAGS_OFFSET) {
        *flags &= !IN_USE_FLAG;
    }
    seal_fits(&cleared)
}

/// The checksum algorithm that a format description announces; `None` when it is too short.
fn algorithm_of(bytes: &[u8]) -> Option<Result<Checksum, FrameError>> {
    let at = bytes.len().checked_sub(CHECKSUM_BYTES + 1)?;
    if at < HEADER_BYTES as usize {
        return None;
    }
    Some(match *bytes.get(at)? {
        0 => Ok(Checksum::Absent),
        1 => Ok(Checksum::Crc32),
        algorithm => Err(FrameError::Algorithm { algorithm }),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An event's bytes as a server writes them.
    pub(crate) fn event(code: u8, flags: u16, end: u32, body: &[u8], seal: bool) -> Vec<u8> {
        let size = HEADER_BYTES as usize + body.len() + if seal { 4 } else { 0 };
        let mut bytes = 1_700_000_000_u32.to_le_bytes().to_vec();
        bytes.push(code);
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(u32::try_from(size).expect("small").to_le_bytes());
        bytes.extend(end.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(body);
        if seal {
            bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        }
        bytes
    }

    /// A format description that announces `algorithm`.
    pub(crate) fn format(algorithm: u8, end: u32) -> Vec<u8> {
        let mut body = vec![4, 0];
        body.extend([0; 50 + 4]);
        body.push(19);
        body.extend([0; 30]);
        body.push(algorithm);
        event(FORMAT_DESCRIPTION, 0, end, &body, true)
    }

    #[test]
    fn a_sealed_stream_is_verified_and_cut() {
        let mut framer = Framer::new();
        let rotate = event(
            ROTATE,
            ARTIFICIAL_FLAG,
            0,
            b"\x04\0\0\0\0\0\0\0b.000001",
            true,
        );
        let body = framer.open(&rotate).expect("valid").body;
        assert_eq!(body, b"\x04\0\0\0\0\0\0\0b.000001");
        let format = format(1, 120);
        assert_eq!(framer.open(&format).expect("valid").body.last(), Some(&1));
        let mut xid = event(16, 0, 150, b"12345678", true);
        assert_eq!(framer.open(&xid).expect("valid").body, b"12345678");
        xid[20] ^= 1;
        let wrong = FrameError::Checksum { code: 16, size: 31 };
        assert_eq!(framer.open(&xid).expect_err("changed"), wrong);
    }

    #[test]
    fn an_unsealed_stream_is_passed_whole() {
        let mut framer = Framer::new();
        framer.open(&format(0, 120)).expect("valid");
        let xid = event(16, 0, 150, b"12345678", false);
        assert_eq!(framer.open(&xid).expect("valid").body, b"12345678");
        let heartbeat = event(HEARTBEAT, 0, 150, b"b.000001", true);
        assert_eq!(framer.open(&heartbeat).expect("valid").body, b"b.000001");
    }

    /// Whatever byte of a sealed stream is changed, and however: it is noticed.
    #[test]
    fn no_damage_of_one_byte_passes() {
        let name = b"b.000001";
        let rotate = event(
            ROTATE,
            ARTIFICIAL_FLAG,
            0,
            &[&[4, 0, 0, 0, 0, 0, 0, 0], &name[..]].concat(),
            false,
        );
        let stream = [
            event(ROTATE, ARTIFICIAL_FLAG, 0, &rotate[19..], true),
            format(1, 120),
            event(23, 0, 150, b"the rows of some table", true),
            event(HEARTBEAT, 0, 150, name, true),
        ];
        let mut framer = Framer::new();
        for whole in &stream {
            for at in 0..whole.len() {
                for mask in [1, 0x04, 0x0c, 0x1b, 0x80, 0xff] {
                    let mut bytes = whole.clone();
                    bytes[at] ^= mask;
                    let mut damaged = Framer {
                        checksum: framer.checksum,
                    };
                    let opened = damaged.open(&bytes);
                    let in_use = at == FLAGS_OFFSET && mask == IN_USE_FLAG;
                    let passes = in_use && whole[4] == FORMAT_DESCRIPTION;
                    assert_eq!(opened.is_ok(), passes, "{at} {mask} {whole:?}");
                }
            }
            framer.open(whole).expect("undamaged");
        }
        framer.open(&rotate).expect("some servers send it unsealed");
        let plain = event(HEARTBEAT, 0, 150, name, false);
        framer.open(&plain).expect("and this one too");
    }

    #[test]
    fn nothing_comes_before_the_format_description() {
        let early = Framer::new()
            .open(&event(23, 0, 150, b"rows", true))
            .expect_err("early");
        assert_eq!(early, FrameError::Early { code: 23 });
    }

    #[test]
    fn the_in_use_flag_is_not_part_of_the_checksum() {
        let mut bytes = format(1, 120);
        bytes[FLAGS_OFFSET] |= IN_USE_FLAG;
        Framer::new().open(&bytes).expect("valid");
    }

    #[test]
    fn impossible_sizes_and_algorithms_are_refused() {
        let mut framer = Framer::new();
        for length in 0..24 {
            assert!(framer.open(&vec![15; length]).is_err());
        }
        let unknown = framer.open(&format(9, 120)).expect_err("unknown");
        assert_eq!(unknown, FrameError::Algorithm { algorithm: 9 });
    }
}
