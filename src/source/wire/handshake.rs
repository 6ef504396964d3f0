//! Logging in: the server's greeting, TLS, and the authentication plugins.
//!
//! The plugins' arithmetic is `mysql_common`'s; this is the conversation
//! around it. See <https://mariadb.com/kb/en/connection/>.

use std::io::{Error, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mysql_common::packets::AuthPlugin;
use secrecy::ExposeSecret;
use tokio_rustls::TlsConnector;

use super::fault::TlsFault;
use super::packets::{Endpoint, Packets, invalid};
use super::{NAME_CHARS_MAX, Server, WireError, printable, refusal, tls};
use crate::source::settings::{ConnectSettings, TlsMode};

/// The protocol version of every server since 3.21.
const PROTOCOL: u8 = 10;

/// Bytes of the greeting's challenge.
const CHALLENGE_BYTES: usize = 20;

/// `utf8mb4_general_ci`: what didtail's statements are written in.
const COLLATION: u8 = 45;

/// Longest packet the server may send; it counts for results, not for events.
const PACKET_BYTES_MAX: u32 = 1 << 30;

/// Rounds of authentication before a server is taken to be nonsense.
const ROUNDS_MAX: usize = 8;

/// MySQL's plugin of before caching_sha2_password; a library knows it no more.
const SHA256: &[u8] = b"sha256_password";

/// The work that a server may ask for with parsec, as a power of two of 1024
/// rounds: a million take half a second. MariaDB asks for 2^0.
const PARSEC_FACTOR_MAX: u8 = 10;

/// Why a plugin is not used that hands the password to whoever listens.
const NOT_SAFE: &str = "which is not safe";

/// What didtail can do, of the protocol's capability flags.
mod capability {
    pub(super) const LONG_PASSWORD: u32 = 1;
    pub(super) const LONG_FLAG: u32 = 1 << 2;
    pub(super) const PROTOCOL_41: u32 = 1 << 9;
    pub(super) const SSL: u32 = 1 << 11;
    pub(super) const TRANSACTIONS: u32 = 1 << 13;
    pub(super) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(super) const PLUGIN_AUTH: u32 = 1 << 19;
}

/// The server's first packet.
struct Greeting {
    version: String,
    capabilities: u32,
    challenge: Vec<u8>,
    plugin: String,
}

/// Logs in, with TLS in between where the settings and the server want it.
pub(super) async fn log_in(
    mut packets: Packets,
    settings: &ConnectSettings,
) -> Result<(Packets, Server), WireError> {
    let greeting = {
        let payload = packets.receive().await.map_err(foreign)?;
        refusal(payload)?;
        parse(payload).ok_or_else(|| foreign(invalid("its greeting is malformed")))?
    };
    let mut wanted = capability::LONG_PASSWORD
        | capability::LONG_FLAG
        | capability::PROTOCOL_41
        | capability::TRANSACTIONS
        | capability::SECURE_CONNECTION
        | capability::PLUGIN_AUTH;
    let encrypt = settings.socket.is_none() && settings.tls != TlsMode::Disabled;
    if encrypt && greeting.capabilities & capability::SSL != 0 {
        wanted |= capability::SSL;
        packets = encrypted(packets, wanted & greeting.capabilities, settings).await?;
    } else if encrypt && settings.tls != TlsMode::Preferred {
        return Err(WireError::Tls(TlsFault::not_offered(settings.tls)));
    }
    authenticate(
        &mut packets,
        &greeting,
        wanted & greeting.capabilities,
        settings,
    )
    .await?;
    Ok((packets, Server::from_version(&greeting.version)))
}

/// Says of a greeting that breaks the protocol what that means.
fn foreign(error: Error) -> Error {
    match error.kind() {
        ErrorKind::InvalidData => invalid(&format!(
            "what answers there is no MySQL or MariaDB server: {error}"
        )),
        _ => error,
    }
}

fn parse(payload: &[u8]) -> Option<Greeting> {
    let (protocol, rest) = payload.split_first()?;
    if *protocol != PROTOCOL {
        return None;
    }
    let end = rest.iter().position(|b| *b == 0)?;
    let version = printable(rest.get(..end)?, NAME_CHARS_MAX);
    // Connection id (4), challenge (8), filler (1), capabilities (2),
    // charset (1), status (2), capabilities (2), length (1), reserved (10).
    let rest = rest.get(end + 1 + 4..)?;
    let mut challenge = rest.get(..8)?.to_vec();
    let low = u16::from_le_bytes(*rest.get(9..)?.first_chunk()?);
    let high = u16::from_le_bytes(*rest.get(14..)?.first_chunk()?);
    let length = usize::from(*rest.get(16)?);
    let second = rest.get(27..)?;
    let taken = length.saturating_sub(8).max(13);
    challenge.extend(second.get(..taken)?);
    challenge.resize(CHALLENGE_BYTES, 0);
    let plugin: Vec<u8> = second
        .get(taken..)?
        .iter()
        .copied()
        .take_while(|b| *b != 0)
        .collect();
    Some(Greeting {
        version,
        capabilities: u32::from(low) | u32::from(high) << 16,
        challenge,
        plugin: String::from_utf8_lossy(&plugin).into_owned(),
    })
}

/// The fixed part that begins both the request for TLS and the login.
fn preamble(capabilities: u32) -> Vec<u8> {
    let mut payload = capabilities.to_le_bytes().to_vec();
    payload.extend(PACKET_BYTES_MAX.to_le_bytes());
    payload.push(COLLATION);
    payload.extend([0; 23]);
    payload
}

async fn encrypted(
    mut packets: Packets,
    capabilities: u32,
    settings: &ConnectSettings,
) -> Result<Packets, WireError> {
    let config = tls::config(settings).map_err(WireError::Tls)?;
    let name = tls::server_name(&settings.host).map_err(WireError::Tls)?;
    packets.send(&preamble(capabilities)).await?;
    let (endpoint, sequence) = packets.into_endpoint()?;
    let Endpoint::Plain(stream) = endpoint else {
        return Err(invalid("TLS is for TCP alone").into());
    };
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    Ok(Packets::new(Endpoint::Tls(Box::new(stream))).with_sequence(sequence))
}

/// The answer of one plugin to the server's challenge.
fn answer(
    plugin: &AuthPlugin<'_>,
    password: &str,
    challenge: &[u8],
    is_encrypted: bool,
) -> Result<Vec<u8>, WireError> {
    let unusable = |why: &'static str| WireError::Plugin {
        plugin: printable(plugin.as_bytes(), NAME_CHARS_MAX),
        why,
    };
    match plugin {
        AuthPlugin::Other(name) if **name == *SHA256 => Ok(if password.is_empty() {
            vec![0]
        } else if is_encrypted {
            clear(password)
        } else {
            // A request for the server's public key.
            vec![1]
        }),
        AuthPlugin::MysqlNativePassword | AuthPlugin::CachingSha2Password | AuthPlugin::Ed25519 => {
            Ok(plugin
                .gen_data(Some(password), challenge)
                .map(|data| data.to_vec())
                .unwrap_or_default())
        }
        // Its first message is empty; the server then sends the salt.
        AuthPlugin::MariadbParsec { .. } => Ok(Vec::new()),
        AuthPlugin::MysqlOldPassword | AuthPlugin::MysqlClearPassword => Err(unusable(NOT_SAFE)),
        AuthPlugin::Other(_) => Err(unusable("which didtail does not speak")),
    }
}

async fn authenticate(
    packets: &mut Packets,
    greeting: &Greeting,
    capabilities: u32,
    settings: &ConnectSettings,
) -> Result<(), WireError> {
    let password = match &settings.password {
        Some(password) => password.expose_secret(),
        None => "",
    };
    let mut challenge = greeting.challenge.clone();
    let mut plugin = match AuthPlugin::from_bytes(greeting.plugin.as_bytes()) {
        AuthPlugin::CachingSha2Password => AuthPlugin::CachingSha2Password,
        // The server asks for another one where the account needs it.
        _ => AuthPlugin::MysqlNativePassword,
    };
    let mut payload = preamble(capabilities);
    payload.extend(settings.user.as_bytes());
    payload.push(0);
    let data = answer(&plugin, password, &challenge, packets.is_encrypted())?;
    payload.push(u8::try_from(data.len()).unwrap_or(0));
    payload.extend(data);
    payload.extend(plugin.as_bytes());
    payload.push(0);
    packets.send(&payload).await?;
    for _ in 0..ROUNDS_MAX {
        let reply = packets.receive().await?.to_vec();
        refusal(&reply)?;
        match reply.split_first() {
            Some((0x00, _)) => return Ok(()),
            Some((0xfe, request)) => {
                let (next, data) = switch(request).ok_or_else(|| WireError::Plugin {
                    plugin: "mysql_old_password".to_owned(),
                    why: NOT_SAFE,
                })?;
                plugin = AuthPlugin::from_bytes(&next).into_owned();
                challenge = data;
                let data = answer(&plugin, password, &challenge, packets.is_encrypted())?;
                packets.send(&data).await?;
            }
            Some((0x01, more)) => {
                proceed(packets, &mut plugin, password, &challenge, more).await?;
            }
            // Early versions of parsec send their salt without the marker.
            _ => proceed(packets, &mut plugin, password, &challenge, &reply).await?,
        }
    }
    Err(invalid("the server did not finish the authentication").into())
}

/// Takes a request for another plugin apart: its name and its challenge.
fn switch(request: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let end = request.iter().position(|b| *b == 0)?;
    let name = request.get(..end)?.to_vec();
    let challenge = request.get(end + 1..)?;
    let challenge = challenge.strip_suffix(&[0]).unwrap_or(challenge);
    Some((name, challenge.to_vec()))
}

/// Answers a plugin's further message.
async fn proceed(
    packets: &mut Packets,
    plugin: &mut AuthPlugin<'_>,
    password: &str,
    challenge: &[u8],
    message: &[u8],
) -> Result<(), WireError> {
    match (&mut *plugin, message) {
        // The server knows the password's hash already; OK follows.
        (AuthPlugin::CachingSha2Password, [0x03]) => Ok(()),
        (AuthPlugin::CachingSha2Password, [0x04]) => {
            if packets.is_private() {
                return Ok(packets.send(&clear(password)).await?);
            }
            packets.send(&[0x02]).await?;
            let key = packets.receive().await?.to_vec();
            refusal(&key)?;
            let sealed = sealed(password, challenge, key.get(1..).unwrap_or_default())?;
            Ok(packets.send(&sealed).await?)
        }
        (AuthPlugin::Other(name), key) if **name == *SHA256 => {
            let sealed = sealed(password, challenge, key)?;
            Ok(packets.send(&sealed).await?)
        }
        (AuthPlugin::MariadbParsec { .. }, [_, factor, ..]) if *factor > PARSEC_FACTOR_MAX => {
            Err(invalid("the server's parsec salt asks for too much work").into())
        }
        (AuthPlugin::MariadbParsec { .. }, salt) => {
            plugin
                .read_add_data(salt)
                .ok_or_else(|| invalid("the server's parsec salt is malformed"))?;
            let data = plugin
                .gen_data(Some(password), challenge)
                .map(|data| data.to_vec())
                .unwrap_or_default();
            Ok(packets.send(&data).await?)
        }
        _ => Err(invalid("the server's authentication message is unknown").into()),
    }
}

/// A password as it goes over a connection that nobody else can read.
fn clear(password: &str) -> Vec<u8> {
    let mut clear = password.as_bytes().to_vec();
    clear.push(0);
    clear
}

/// A password that only the owner of the server's key can read.
fn sealed(password: &str, challenge: &[u8], key: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut clear = clear(password);
    for (byte, mask) in clear.iter_mut().zip(challenge.iter().cycle()) {
        *byte ^= mask;
    }
    // It panics on a malformed key, which only the server can cause.
    catch_unwind(AssertUnwindSafe(|| {
        mysql_common::crypto::encrypt(&clear, key)
    }))
    .map_err(|_| invalid("the server's public key is malformed").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_greeting_is_refused_wherever_it_ends() {
        let mut whole = vec![PROTOCOL];
        whole.extend(b"5.5.5-10.11.18-MariaDB-log\0");
        whole.extend([7, 0, 0, 0]);
        whole.extend(b"12345678\0");
        whole.extend([0xff, 0xf7, 45, 2, 0, 0xff, 0x81, 21]);
        whole.extend([0; 10]);
        whole.extend(b"abcdefghijkl\0mysql_native_password\0");
        let greeting = parse(&whole).expect("valid");
        assert_eq!(greeting.challenge, b"12345678abcdefghijkl");
        assert_eq!(greeting.plugin, "mysql_native_password");
        assert_ne!(greeting.capabilities & capability::PLUGIN_AUTH, 0);
        let named = whole.len() - b"mysql_native_password\0".len();
        for cut in 0..named {
            assert!(parse(&whole[..cut]).is_none(), "{cut}");
        }
    }
}
