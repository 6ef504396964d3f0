//! An open binlog dump of a real server.
//!
//! The path of an event is short on purpose: over 95 % of a VICIdial binlog is
//! noise that is read only to be skipped. An event is handed out where it lies
//! in the read buffer, and the clock is looked at only when nothing is there.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep};

use super::replica::{Purpose, Replica};
use super::skip::{Skip, Verdict};
use super::{MySqlSource, facts};
use crate::binlog::{EventHeader, Position, RawEvent};
use crate::source::frame::Framer;
use crate::source::wire::{Flavour, Packets, Place, Wire, WireError, refusal};
use crate::source::{EventStream, SourceError};

/// How often an idle server says that it is alive. Ten seconds keep
/// firewalls from forgetting the connection.
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(10);

/// Silence after which the connection is given up: three heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Bytes of an unfinished packet that count as a sign of life within that
/// time: a large event may take minutes. Heartbeats alone bring some hundred,
/// so that a length which was damaged on its way is not waited for.
const ALIVE_BYTES: u64 = 64 * 1024;

/// Seconds that the server waits for a reader which does not read, before it
/// hangs up. The default, 60, is shorter than a slow commit.
const WRITE_TIMEOUT_SECONDS: u32 = 3600;

/// Dump flag: send ANNOTATE events. Without them, the sizes of the events
/// do not add up to their positions, and MariaDB 11.4 and newer give no others
/// inside a group.
const SEND_ANNOTATE: u16 = 2;

/// An open binlog dump of a real server.
pub struct MySqlStream {
    packets: Packets,
    framer: Framer,
    address: String,
    /// What the server calls itself, on this very connection.
    server: String,
    /// Where the dump began, for messages.
    from: String,
    server_id: u32,
    /// The server's statement that lists its replicas.
    list: &'static str,
    /// Ends the wait for an event.
    silence: Pin<Box<Sleep>>,
    /// While `silence` runs, that is since nothing was there to read: how many
    /// bytes had arrived when it began.
    waiting: Option<u64>,
    broken: bool,
    /// The way to where reading begins, while it is not there yet.
    skip: Option<Skip>,
}

impl MySqlStream {
    /// Opens a connection and asks for the binlog from `from` on.
    pub(super) async fn open(
        source: &MySqlSource,
        from: &Position,
        purpose: Purpose,
    ) -> Result<Self, SourceError> {
        let start = source.addressable(from).await?;
        let Replica { server_id, label } = source.replica(purpose).await?;
        let address = source.address.clone();
        let list = source.server.list_replicas();
        let sort = |e: WireError| {
            SourceError::from_dump(e, &source.address, &from.to_string(), server_id, list)
        };
        let connected = Wire::connect(&source.settings).await;
        let mut wire = connected.map_err(|e| SourceError::from_wire(e, &address, "a session"))?;
        let flavour = wire.server().flavour;
        if flavour != source.server.flavour {
            return Err(SourceError::OtherServer {
                server: wire.server().text.clone(),
            });
        }
        let period = HEARTBEAT_PERIOD.as_nanos();
        let session = match flavour {
            Flavour::MariaDb => format!(
                "SET @mariadb_slave_capability = 4, @master_heartbeat_period = {period}, \
                 @master_binlog_checksum = 'CRC32', net_write_timeout = {WRITE_TIMEOUT_SECONDS}"
            ),
            Flavour::MySql => format!(
                "SET @master_heartbeat_period = {period}, @source_heartbeat_period = {period}, \
                 @master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32', \
                 net_write_timeout = {WRITE_TIMEOUT_SECONDS}"
            ),
        };
        wire.query(&session).await.map_err(sort)?;
        let server = facts::identity_in(&wire.query(facts::IDENTITY).await.map_err(sort)?);
        let flags = match flavour {
            Flavour::MariaDb => SEND_ANNOTATE,
            Flavour::MySql => 0,
        };
        let packets = wire
            .dump(server_id, &label, start.file.as_str(), start.next, flags)
            .await
            .map_err(sort)?;
        Ok(Self {
            packets,
            framer: Framer::new(),
            address,
            server,
            from: from.to_string(),
            server_id,
            list,
            silence: Box::pin(sleep(SILENCE_MAX)),
            waiting: None,
            broken: false,
            skip: start.skip,
        })
    }

    /// Waits for the next packet, at most [`SILENCE_MAX`].
    #[inline]
    fn poll_packet(&mut self, cx: &mut Context<'_>) -> Poll<Result<Place, SourceError>> {
        if let Poll::Ready(received) = self.packets.poll_receive(cx) {
            self.waiting = None;
            return Poll::Ready(received.map_err(|e| self.lost(&e.to_string())));
        }
        loop {
            let received = self.packets.received();
            let begun = match self.waiting {
                Some(begun) => {
                    ready!(self.silence.as_mut().poll(cx));
                    begun
                }
                None => received.wrapping_sub(ALIVE_BYTES),
            };
            if received.wrapping_sub(begun) < ALIVE_BYTES {
                return Poll::Ready(Err(SourceError::Silent {
                    seconds: SILENCE_MAX.as_secs(),
                }));
            }
            self.waiting = Some(received);
            self.silence.as_mut().reset(Instant::now() + SILENCE_MAX);
        }
    }

    /// Whether an event is in front of where reading begins.
    fn drops(&mut self, place: &Place) -> Result<bool, SourceError> {
        let Some(skip) = &mut self.skip else {
            return Ok(false);
        };
        // Behind the status byte; what is no event is told when it is opened.
        let event = self.packets.payload(place).split_first();
        let Some((0x00, event)) = event else {
            return Ok(false);
        };
        let Some(header) = EventHeader::read(event) else {
            return Ok(false);
        };
        match skip.event(&header) {
            Verdict::Drop => Ok(true),
            Verdict::Pass => Ok(false),
            Verdict::Arrived => {
                self.skip = None;
                Ok(false)
            }
            Verdict::Inside => {
                self.broken = true;
                Err(SourceError::ImpossiblePosition {
                    position: self.from.clone(),
                    detail: "it is inside of an event".to_owned(),
                })
            }
        }
    }

    /// The event in a packet.
    #[inline]
    fn event(&mut self, place: &Place) -> Result<RawEvent<'_>, SourceError> {
        let Self {
            packets,
            framer,
            broken,
            ..
        } = self;
        let error = match packets.payload(place).split_first() {
            Some((0x00, bytes)) => match framer.open(bytes) {
                Ok(event) => return Ok(event),
                Err(error) => error.into(),
            },
            // The server shuts down.
            Some((0xfe, rest)) if rest.len() < 8 => SourceError::Unreachable {
                address: self.address.clone(),
                detail: "the server ended the stream".to_owned(),
            },
            // What a server says has a state in it; else the byte was damaged.
            Some((0xff, [_, _, b'#', ..])) => match refusal(packets.payload(place)) {
                Err(e) => {
                    SourceError::from_dump(e, &self.address, &self.from, self.server_id, self.list)
                }
                Ok(()) => SourceError::Damaged {
                    detail: "the server's error has no text".to_owned(),
                },
            },
            Some((first, _)) => SourceError::Damaged {
                detail: format!("a packet is of the unknown kind {first:#04x}"),
            },
            None => SourceError::Damaged {
                detail: "a packet is empty".to_owned(),
            },
        };
        *broken = true;
        Err(error)
    }

    fn lost(&self, detail: &str) -> SourceError {
        SourceError::Unreachable {
            address: self.address.clone(),
            detail: detail.to_owned(),
        }
    }

    /// Remembers that nothing more can come.
    fn intact(&mut self, packet: Result<Place, SourceError>) -> Result<Place, SourceError> {
        self.broken |= packet.is_err();
        packet
    }

    fn check(&self) -> Result<(), SourceError> {
        if self.broken {
            Err(self.lost("the stream has failed before"))
        } else {
            Ok(())
        }
    }
}

impl EventStream for MySqlStream {
    fn server(&self) -> Option<&str> {
        Some(&self.server)
    }

    async fn next(&mut self) -> Result<RawEvent<'_>, SourceError> {
        self.check()?;
        loop {
            let packet = poll_fn(|cx| self.poll_packet(cx)).await;
            let place = self.intact(packet)?;
            if !self.drops(&place)? {
                return self.event(&place);
            }
        }
    }

    fn try_next(&mut self) -> Option<Result<RawEvent<'_>, SourceError>> {
        if let Err(error) = self.check() {
            return Some(Err(error));
        }
        if self.skip.is_some() {
            // It takes long, and others must have their turn.
            return None;
        }
        // Outside of the runtime's budget: "nothing there" must mean that.
        let mut once = std::pin::pin!(unconstrained(poll_fn(|cx| self.poll_packet(cx))));
        let polled = once.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        match polled {
            Poll::Pending => None,
            Poll::Ready(packet) => Some(match self.intact(packet) {
                Ok(place) => self.event(&place),
                Err(error) => Err(error),
            }),
        }
    }
}
