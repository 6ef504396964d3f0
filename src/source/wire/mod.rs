//! A connection to a MySQL or MariaDB server: log in, query, and dump the binlog.
//!
//! # Why not a driver
//!
//! `mysql_async` was to carry it. Measured on a binlog of 1.4 million
//! small events it reached 0.79 million events a second with their checksums
//! verified, most of it spent on a copy of the format description, a vector
//! and a parsed table map for every event. It keeps every table map until the
//! binlog rotates, decompresses a whole transaction payload in memory before
//! it hands it out, leaves the checksum at the end of the first event's file
//! name, and cannot ask for ANNOTATE events. What didtail needs of the
//! protocol is small, so it speaks it itself, one way for both connections.

mod fault;
mod handshake;
mod packets;
mod text;
mod tls;

use std::io::{Error, ErrorKind};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

pub(crate) use fault::TlsFault;
pub(crate) use packets::{Packets, Place};
pub(crate) use text::{Cell, Table, text};

use super::settings::ConnectSettings;

/// Time to reach a server and log in. A slow one answers within two or three
/// seconds; a firewall that drops packets never does.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for one of several addresses of a host.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(3);

/// MySQL's version from which there is `SHOW REPLICAS`; 8.4 has the old name no more.
const MYSQL_SHOW_REPLICAS: (u16, u16, u16) = (8, 0, 22);

/// How the failure begins of whoever has a name that stands for no address.
pub(crate) const UNKNOWN_HOST: &str = "the host name is not known";

/// Silence after which the system asks whether the peer is still there, how
/// often it asks, and how many times: it is given up after a minute.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Characters of an error message: the server's own limit is 512.
const MESSAGE_CHARS_MAX: usize = 512;

/// Characters of a version or of a plugin's name.
const NAME_CHARS_MAX: usize = 80;

/// Time for one statement. Everything didtail asks is indexed or bounded.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a connection failed, before anybody says what it means.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The network, or a server that does not speak the protocol.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// TLS could not be set up.
    #[error("{0}")]
    Tls(TlsFault),
    /// The account uses a plugin that cannot be used.
    #[error("the account uses the authentication plugin `{plugin}`, {why}")]
    Plugin {
        /// The plugin's name, as the server calls it.
        plugin: String,
        /// Why it cannot be used.
        why: &'static str,
    },
    /// The server answered with an error.
    #[error("{message} (server error {code})")]
    Refused {
        /// The server's error number.
        code: u16,
        /// The server's words.
        message: String,
    },
    /// The server did not answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
}

/// Who made the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// MariaDB.
    MariaDb,
    /// MySQL, or Percona Server.
    MySql,
}

/// What a server says of itself when it greets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Who made it.
    pub flavour: Flavour,
    /// Major, minor and patch version; zeros where it could not be read.
    pub version: (u16, u16, u16),
    /// The version as the server writes it.
    pub text: String,
}

impl Server {
    /// The statement that lists the replicas of a server, as this one calls it.
    pub(in crate::source) fn list_replicas(&self) -> &'static str {
        if self.flavour == Flavour::MySql && self.version >= MYSQL_SHOW_REPLICAS {
            "SHOW REPLICAS"
        } else {
            "SHOW SLAVE HOSTS"
        }
    }

    /// Reads a version like `5.5.5-10.11.18-MariaDB-log` or `9.7.4`.
    pub(in crate::source) fn from_version(text: &str) -> Self {
        let flavour = if text.to_ascii_lowercase().contains("mariadb") {
            Flavour::MariaDb
        } else {
            Flavour::MySql
        };
        // MariaDB 10 puts an old version in front, for old replicas.
        let text = match flavour {
            Flavour::MariaDb => text.strip_prefix("5.5.5-").unwrap_or(text),
            Flavour::MySql => text,
        };
        let mut numbers = text
            .split(|c: char| !c.is_ascii_digit())
            .map(|number| number.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Self {
            flavour,
            version: (next(), next(), next()),
            text: text.to_owned(),
        }
    }
}

/// A logged-in connection.
pub(crate) struct Wire {
    packets: Packets,
    server: Server,
}

impl Wire {
    /// Connects and logs in.
    pub(crate) async fn connect(settings: &ConnectSettings) -> Result<Self, WireError> {
        let connecting = async {
            let endpoint = match &settings.socket {
                Some(path) => packets::Endpoint::Unix(UnixStream::connect(path).await?),
                None => packets::Endpoint::Plain(reach(&settings.host, settings.port).await?),
            };
            handshake::log_in(Packets::new(endpoint), settings).await
        };
        let (packets, server) = timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| WireError::Late(CONNECT_TIMEOUT))?
            .map_err(|error| fault::explain(error, settings))?;
        Ok(Self { packets, server })
    }

    /// What the server said of itself.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Runs one statement. A connection whose statement failed to finish, for
    /// any reason but the server's refusal, must not be used again.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Table, WireError> {
        timeout(QUERY_TIMEOUT, text::query(&mut self.packets, sql))
            .await
            .map_err(|_| WireError::Late(QUERY_TIMEOUT))?
    }

    /// Registers as the replica `server_id`, shown to administrators as
    /// `label` (at most 60 bytes), and asks for the binlog from
    /// `position` of `file` on. The events are the packets that follow.
    pub(crate) async fn dump(
        mut self,
        server_id: u32,
        label: &str,
        file: &str,
        position: u32,
        flags: u16,
    ) -> Result<Packets, WireError> {
        let mut register = vec![0x15];
        register.extend(server_id.to_le_bytes());
        register.push(u8::try_from(label.len()).unwrap_or(0));
        register.extend(label.as_bytes());
        // User, password, port, rank and primary: of no use to the server.
        register.extend([0; 1 + 1 + 2 + 4 + 4]);
        let mut dump = vec![0x12];
        dump.extend(position.to_le_bytes());
        dump.extend(flags.to_le_bytes());
        dump.extend(server_id.to_le_bytes());
        dump.extend(file.as_bytes());
        let asking = async {
            self.packets.begin();
            self.packets.send(&register).await?;
            refusal(self.packets.receive().await?)?;
            self.packets.begin();
            self.packets.accept(packets::PAYLOAD_BYTES_MAX);
            self.packets.send(&dump).await?;
            Ok(self.packets)
        };
        timeout(QUERY_TIMEOUT, asking)
            .await
            .map_err(|_| WireError::Late(QUERY_TIMEOUT))?
    }
}

/// Connects to the first address of a host that answers: a name may stand for
/// one of IPv6 that leads nowhere and one of IPv4 that works.
async fn reach(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let found = lookup_host((host, port)).await;
    let found = found.map_err(|e| Error::new(e.kind(), format!("{UNKNOWN_HOST}: {e}")))?;
    let mut addresses = found.peekable();
    let mut failure = Error::new(ErrorKind::NotFound, "the name has no address");
    while let Some(address) = addresses.next() {
        let patience = if addresses.peek().is_some() {
            ADDRESS_TIMEOUT
        } else {
            CONNECT_TIMEOUT
        };
        match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                keep_alive(&stream)?;
                return Ok(stream);
            }
            Ok(Err(error)) => failure = error,
            Err(_) => failure = Error::new(ErrorKind::TimedOut, "no answer"),
        }
    }
    Err(failure)
}

/// Lets the system notice a peer that is gone. The dump has heartbeats; the
/// connection for questions is idle for hours, and firewalls forget it.
fn keep_alive(stream: &TcpStream) -> std::io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    let probes = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&probes)?;
    // Ends the wait for bytes that were sent and never confirmed.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_PROBES))?;
    Ok(())
}

/// What a server says, fit for a log: no control characters, not endless.
pub(crate) fn printable(bytes: &[u8], chars_max: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut chars = text.chars();
    let mut plain: String = chars
        .by_ref()
        .take(chars_max)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if chars.next().is_some() {
        plain.push('…');
    }
    plain
}

/// The error that a payload is, if it is one.
pub(crate) fn refusal(payload: &[u8]) -> Result<(), WireError> {
    let Some((0xff, rest)) = payload.split_first() else {
        return Ok(());
    };
    let (code, rest) = match rest.split_first_chunk::<2>() {
        Some((code, rest)) => (u16::from_le_bytes(*code), rest),
        None => (0, rest),
    };
    // `#` and five characters of SQLSTATE, once both sides know each other.
    let message = match rest.first() {
        Some(b'#') => rest.get(6..).unwrap_or_default(),
        _ => rest,
    };
    Err(WireError::Refused {
        code,
        message: printable(message, MESSAGE_CHARS_MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_both_flavours_are_read() {
        for (text, flavour, version) in [
            (
                "5.5.5-10.11.18-MariaDB-0+deb12u1-log",
                Flavour::MariaDb,
                (10, 11, 18),
            ),
            ("11.8.6-MariaDB", Flavour::MariaDb, (11, 8, 6)),
            ("9.7.4", Flavour::MySql, (9, 7, 4)),
            ("8.0.36-28-log", Flavour::MySql, (8, 0, 36)),
            ("", Flavour::MySql, (0, 0, 0)),
        ] {
            let server = Server::from_version(text);
            assert_eq!((server.flavour, server.version), (flavour, version));
        }
    }

    #[test]
    fn errors_are_read_with_and_without_a_state() {
        let text = |payload: &[u8]| refusal(payload).expect_err("an error").to_string();
        assert_eq!(
            text(b"\xff\x15\x04#28000Access denied"),
            "Access denied (server error 1045)"
        );
        assert_eq!(
            text(b"\xff\x10\x04Too many connections"),
            "Too many connections (server error 1040)"
        );
        let loud = [b"\xff\x15\x04#28000\x1b[31m".to_vec(), vec![b'a'; 9_000]].concat();
        let said = text(&loud);
        assert!(said.len() < 600 && !said.contains('\x1b'), "{said}");
        assert!(refusal(b"\x00").is_ok());
        assert!(refusal(b"\xff").is_err());
    }
}
