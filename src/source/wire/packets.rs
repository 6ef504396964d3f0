//! Packets of the MySQL protocol over TCP, TLS or a Unix socket, without a copy.
//!
//! A packet that lies whole in the read buffer, as nearly all do, is handed
//! out where it lies. Longer ones, and those that the protocol splits at
//! 16 MiB, are put together in a second buffer that grows with what arrived,
//! never with what a length field claims.
//!
//! <https://mariadb.com/kb/en/0-packet/>

use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// Bytes read at once: thousands of events for one system call, and still
/// within a core's second-level cache.
const BUFFER_BYTES: usize = 256 * 1024;

/// Length at which the protocol splits a payload into several packets.
const SPLIT_BYTES: usize = 0xff_ffff;

/// Longest payload of a dump: the server's own limit on an event
/// (`slave_max_allowed_packet`, 1 GiB) and the status byte in front of it.
pub(super) const PAYLOAD_BYTES_MAX: usize = (1 << 30) + 1;

/// Room of the second buffer that is kept for the next long packet.
const LARGE_BYTES_KEPT: usize = 1 << 20;

/// Bytes of a packet's length and sequence number.
const PREFIX_BYTES: usize = 4;

/// The way to the server.
pub(super) enum Endpoint {
    /// TCP as it is.
    Plain(TcpStream),
    /// TCP under TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// A socket on this machine.
    Unix(UnixStream),
}

/// Where the payload of the last packet lies.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In the read buffer.
    Buffer(Range<usize>),
    /// In the second buffer, all of it.
    Large,
}

/// A packet connection.
pub(crate) struct Packets {
    endpoint: Endpoint,
    /// Read bytes are `buffer[start..end]`; the rest is room.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// The long packet being put together or handed out.
    large: Vec<u8>,
    large_state: Large,
    /// Sequence number that the next packet must have, either way.
    sequence: u8,
    /// Longest payload that may be put together.
    payload_max: usize,
    /// Bytes that have arrived.
    received: u64,
}

/// How far the long packet has come.
enum Large {
    /// There is none.
    Empty,
    /// `missing` bytes of the present part have not arrived; `last` when no part follows.
    Part { missing: usize, last: bool },
    /// It was handed out and can go.
    Done,
}

impl Packets {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            large: Vec::new(),
            large_state: Large::Empty,
            sequence: 0,
            payload_max: BUFFER_BYTES,
            received: 0,
        }
    }

    /// The endpoint, for the switch to TLS. Bytes that arrived early would be
    /// unencrypted bytes taken for encrypted ones, so they are an error.
    pub(super) fn into_endpoint(self) -> Result<(Endpoint, u8)> {
        if self.start == self.end {
            Ok((self.endpoint, self.sequence))
        } else {
            Err(invalid("the server sent unencrypted bytes before TLS"))
        }
    }

    /// Continues numbering after the switch to TLS.
    pub(super) fn with_sequence(mut self, sequence: u8) -> Self {
        self.sequence = sequence;
        self
    }

    /// True when a password may be sent in clear: nobody else can read it.
    pub(super) fn is_private(&self) -> bool {
        !matches!(self.endpoint, Endpoint::Plain(_))
    }

    /// True under TLS. Servers do not take every secret over a Unix socket that
    /// they take under TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.endpoint, Endpoint::Tls(_))
    }

    /// Accepts payloads of up to so many bytes from now on. Those that lie whole
    /// in the read buffer are always accepted.
    pub(super) fn accept(&mut self, bytes: usize) {
        self.payload_max = bytes;
    }

    /// How many bytes have arrived, in all.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Starts a new exchange: the next packet, ours, is number 0.
    pub(super) fn begin(&mut self) {
        self.sequence = 0;
    }

    /// Sends one payload, which must be shorter than [`SPLIT_BYTES`].
    pub(super) async fn send(&mut self, payload: &[u8]) -> Result<()> {
        let length = u32::try_from(payload.len())
            .ok()
            .filter(|_| payload.len() < SPLIT_BYTES)
            .ok_or_else(|| invalid("a statement is too long to be sent"))?;
        let [a, b, c, _] = length.to_le_bytes();
        let mut packet = Vec::with_capacity(PREFIX_BYTES + payload.len());
        packet.extend([a, b, c, self.sequence]);
        packet.extend(payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.endpoint.write_all(&packet).await?;
        self.endpoint.flush().await
    }

    /// Waits for the next payload.
    pub(super) async fn receive(&mut self) -> Result<&[u8]> {
        let place = std::future::poll_fn(|cx| self.poll_receive(cx)).await?;
        Ok(self.payload(&place))
    }

    /// The bytes of a payload; valid until the next call of [`Packets::poll_receive`].
    pub(crate) fn payload(&self, place: &Place) -> &[u8] {
        match place {
            Place::Buffer(range) => self.buffer.get(range.clone()).unwrap_or_default(),
            Place::Large => &self.large,
        }
    }

    /// Reads until one payload is complete. All progress is kept in `self`, so
    /// a caller may stop polling and come back.
    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Place>> {
        loop {
            match self.large_state {
                Large::Empty => {
                    if let Some(place) = self.take_whole()? {
                        return Poll::Ready(Ok(place));
                    }
                }
                Large::Part { .. } => {
                    if self.take_part()? {
                        return Poll::Ready(Ok(Place::Large));
                    }
                }
                Large::Done => {
                    self.large.clear();
                    self.large.shrink_to(LARGE_BYTES_KEPT);
                    self.large_state = Large::Empty;
                    continue;
                }
            }
            ready!(self.poll_fill(cx))?;
        }
    }

    /// The next packet, when it lies whole in the buffer. Begins a long one otherwise.
    #[inline]
    fn take_whole(&mut self) -> Result<Option<Place>> {
        let read = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some(prefix) = read.first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let length = self.check_prefix(*prefix)?;
        if length < SPLIT_BYTES && PREFIX_BYTES + length <= read.len() {
            let from = self.start + PREFIX_BYTES;
            self.start = from + length;
            self.sequence = self.sequence.wrapping_add(1);
            return Ok(Some(Place::Buffer(from..from + length)));
        }
        if PREFIX_BYTES + length > self.buffer.len() {
            self.begin_part(length)?;
            // What has arrived of it is taken at once.
            if self.take_part()? {
                return Ok(Some(Place::Large));
            }
        }
        Ok(None)
    }

    /// The length a packet's prefix announces.
    #[inline]
    fn check_prefix(&self, [a, b, c, sequence]: [u8; PREFIX_BYTES]) -> Result<usize> {
        if sequence == self.sequence {
            Ok(u32::from_le_bytes([a, b, c, 0]) as usize)
        } else {
            Err(invalid("the server's packets are out of order"))
        }
    }

    /// Begins a part of a long packet whose prefix is at `start`.
    fn begin_part(&mut self, length: usize) -> Result<()> {
        let whole = self.large.len() + length;
        if whole > self.payload_max {
            return Err(invalid(&format!(
                "the server announced a packet of {whole} bytes, and at most {} belong here",
                self.payload_max
            )));
        }
        self.start += PREFIX_BYTES;
        self.sequence = self.sequence.wrapping_add(1);
        self.large_state = Large::Part {
            missing: length,
            last: length < SPLIT_BYTES,
        };
        Ok(())
    }

    /// Moves what arrived of a long packet; true when it is complete.
    fn take_part(&mut self) -> Result<bool> {
        loop {
            let Large::Part { missing, last } = self.large_state else {
                return Ok(true);
            };
            let read = self.buffer.get(self.start..self.end).unwrap_or_default();
            if missing > 0 {
                let taken = missing.min(read.len());
                self.large
                    .extend_from_slice(read.get(..taken).unwrap_or_default());
                self.start += taken;
                self.large_state = Large::Part {
                    missing: missing - taken,
                    last,
                };
                if taken < missing {
                    return Ok(false);
                }
            } else if last {
                self.large_state = Large::Done;
                return Ok(true);
            } else {
                let Some(prefix) = read.first_chunk::<PREFIX_BYTES>() else {
                    return Ok(false);
                };
                let length = self.check_prefix(*prefix)?;
                self.begin_part(length)?;
            }
        }
    }

    /// Reads once into the room of the buffer.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.start > 0 {
            // Less than one packet is left: a short move.
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let mut room = ReadBuf::new(self.buffer.get_mut(self.end..).unwrap_or_default());
        let received = ready!(Pin::new(&mut self.endpoint).poll_read(cx, &mut room));
        let read = room.filled().len();
        match received {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
                return Poll::Ready(Err(error));
            }
            Ok(()) if read > 0 => {}
            // With TLS, a server that dies looks like an attack; it is not said.
            _ => {
                let closed = "the server closed the connection";
                return Poll::Ready(Err(Error::new(ErrorKind::UnexpectedEof, closed)));
            }
        }
        self.end += read;
        self.received = self.received.wrapping_add(u64::try_from(read).unwrap_or(0));
        Poll::Ready(Ok(()))
    }
}

/// A breach of the protocol.
pub(super) fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidData, message)
}

impl AsyncRead for Endpoint {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Endpoint {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;
