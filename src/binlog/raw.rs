//! One event as it travels: its header fields and its undecoded body.
//!
//! See <https://mariadb.com/kb/en/2-binlog-event-header/>.

/// Bytes of the header in front of every event's body.
pub const HEADER_BYTES: u32 = 19;

/// Header flag of an event that the server made up for this reader, and that
/// is in no file: it takes no room (`LOG_EVENT_ARTIFICIAL_F`).
pub const ARTIFICIAL_FLAG: u16 = 0x20;

/// An event's header, as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHeader {
    /// When the statement began, by the source's clock, in seconds since 1970; 0 on made-up events.
    pub timestamp: u32,
    /// The event's code; see `Kind`.
    pub code: u8,
    /// `server_id` of the server that first wrote the event.
    pub server_id: u32,
    /// Bytes that the event takes in the file: header, body and checksum.
    pub size: u32,
    /// Low 32 bits of the offset behind the event, or 0 where the server does
    /// not say: MariaDB 11.4 and newer inside a group, and made-up events.
    pub end_low: u32,
    /// Flags; see [`ARTIFICIAL_FLAG`].
    pub flags: u16,
}

impl EventHeader {
    /// Reads the header in front of an event; `None` when there are too few bytes.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES as usize] = bytes.first_chunk()?;
        let [
            t0,
            t1,
            t2,
            t3,
            code,
            s0,
            s1,
            s2,
            s3,
            z0,
            z1,
            z2,
            z3,
            e0,
            e1,
            e2,
            e3,
            f0,
            f1,
        ] = *bytes;
        Some(Self {
            timestamp: u32::from_le_bytes([t0, t1, t2, t3]),
            code,
            server_id: u32::from_le_bytes([s0, s1, s2, s3]),
            size: u32::from_le_bytes([z0, z1, z2, z3]),
            end_low: u32::from_le_bytes([e0, e1, e2, e3]),
            flags: u16::from_le_bytes([f0, f1]),
        })
    }
}

/// An event as read from a source: header, and body without checksum.
#[derive(Clone, Copy, Debug)]
pub struct RawEvent<'a> {
    /// The header.
    pub header: EventHeader,
    /// The body, its checksum verified and cut off.
    pub body: &'a [u8],
}
