//! How to reach one VICIdial database: what `[[source]]` in the configuration comes down to.
//!
//! Kept apart from the configuration tree, so that a connection can be made
//! from a URL alone and the source never sees settings that are not its own.

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;

/// The port a MySQL or MariaDB server listens on where none is given.
const PORT_DEFAULT: u16 = 3306;

/// Everything needed to open a connection to a source.
#[derive(Clone, Debug)]
pub struct ConnectSettings {
    /// The source's name in the configuration; tells replicas apart.
    pub name: String,
    /// Host name or address; unused with a socket.
    pub host: String,
    /// TCP port; unused with a socket.
    pub port: u16,
    /// The database user.
    pub user: String,
    /// Its password, where it has one.
    pub password: Option<SecretString>,
    /// VICIdial's database, usually `asterisk`.
    pub database: String,
    /// A Unix socket to use instead of TCP. No TLS is spoken on it.
    pub socket: Option<PathBuf>,
    /// Whether to encrypt, and what to check.
    pub tls: TlsMode,
    /// Certificates (PEM) of the authorities that may vouch for the server.
    pub tls_ca: Option<PathBuf>,
    /// didtail's own certificate chain (PEM), for servers that ask for one.
    pub tls_cert: Option<PathBuf>,
    /// The private key (PEM) of `tls_cert`.
    pub tls_key: Option<PathBuf>,
    /// The replica id to register with; chosen by didtail where absent.
    pub server_id: Option<u32>,
}

/// Whether a connection is encrypted, and what is checked of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Never encrypt.
    Disabled,
    /// Encrypt where the server offers it; check nothing.
    #[default]
    Preferred,
    /// Encrypt or fail; check nothing.
    Required,
    /// Encrypt, and the certificate must come from `tls_ca`.
    VerifyCa,
    /// As [`TlsMode::VerifyCa`], and the certificate must name the host.
    VerifyIdentity,
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "disabled",
            Self::Preferred => "preferred",
            Self::Required => "required",
            Self::VerifyCa => "verify-ca",
            Self::VerifyIdentity => "verify-identity",
        })
    }
}

/// A source URL that cannot be used. Never quotes the URL: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the source URL {reason}; expected mysql://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?socket=PATH]"
)]
pub struct UrlError {
    reason: String,
}

impl ConnectSettings {
    /// Reads `mysql://user[:password]@host[:port]/database[?socket=/path]`
    /// (`mariadb://` means the same; parts may be percent-encoded).
    ///
    /// # Errors
    /// [`UrlError`] when a part is missing or malformed.
    pub fn from_url(name: &str, url: &str) -> Result<Self, UrlError> {
        let error = |reason: &str| UrlError {
            reason: reason.to_owned(),
        };
        let rest = url
            .strip_prefix("mysql://")
            .or_else(|| url.strip_prefix("mariadb://"))
            .ok_or_else(|| error("does not begin with mysql://"))?;
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (authority, database) = rest
            .split_once('/')
            .ok_or_else(|| error("names no database"))?;
        let (login, address) = authority
            .rsplit_once('@')
            .ok_or_else(|| error("names no user"))?;
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        let decode = |part: &str| {
            percent_decode(part).ok_or_else(|| error("has a malformed percent-encoding"))
        };
        let (host, port) = split_address(address).ok_or_else(|| error("has a malformed port"))?;
        let settings = Self {
            name: name.to_owned(),
            host: decode(host)?,
            port,
            user: decode(user)?,
            password: password.map(decode).transpose()?.map(SecretString::from),
            database: decode(database)?,
            socket: query.map(socket_of).transpose()?,
            tls: TlsMode::default(),
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            server_id: None,
        };
        if settings.host.is_empty() && settings.socket.is_none() {
            return Err(error("names no host"));
        }
        if settings.user.is_empty() {
            return Err(error("names no user"));
        }
        // Statements name it, and names cannot be parameters.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$');
        if settings.database.is_empty() || !settings.database.chars().all(plain) {
            return Err(error(
                "names no database, or one with other characters than letters, digits, _, - and $",
            ));
        }
        Ok(settings)
    }

    /// `host:port` or the socket's path, for messages.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.socket {
            Some(socket) => socket.display().to_string(),
            None if self.host.contains(':') => format!("[{}]:{}", self.host, self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Splits `host[:port]`, with the host in brackets where it is an IPv6 address.
fn split_address(address: &str) -> Option<(&str, u16)> {
    if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, port.parse().ok()?)),
            None if rest.is_empty() => Some((host, PORT_DEFAULT)),
            None => None,
        };
    }
    match address.split_once(':') {
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((address, PORT_DEFAULT)),
    }
}

/// The socket named by the URL's query; any other parameter is refused, since
/// ignoring it would hide a misspelling.
fn socket_of(query: &str) -> Result<PathBuf, UrlError> {
    let error = |reason: &str| UrlError {
        reason: reason.to_owned(),
    };
    let path = query
        .strip_prefix("socket=")
        .filter(|path| !path.contains('&'))
        .ok_or_else(|| error("has a parameter other than socket"))?;
    match percent_decode(path) {
        Some(path) if path.starts_with('/') => Ok(PathBuf::from(path)),
        _ => Err(error("has a socket that is no absolute path")),
    }
}

/// Undoes percent-encoding; `None` where it is malformed or not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = rest.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_full_url_is_taken_apart() {
        let url = "mysql://did%40tail:p%3aw:@[::1]:3307/asterisk";
        let settings = ConnectSettings::from_url("main", url).expect("valid");
        assert_eq!(settings.user, "did@tail");
        assert_eq!(
            settings.password.as_ref().map(|p| p.expose_secret()),
            Some("p:w:")
        );
        assert_eq!(settings.address(), "[::1]:3307");
        assert_eq!(settings.database, "asterisk");
        assert!(!format!("{settings:?}").contains("p:w"));
    }

    #[test]
    fn defaults_and_sockets() {
        let settings = ConnectSettings::from_url("main", "mysql://u@db/asterisk").expect("valid");
        assert_eq!(
            (settings.address().as_str(), settings.tls),
            ("db:3306", TlsMode::Preferred)
        );
        let url = "mariadb://u@localhost/asterisk?socket=/run/mysqld/mysqld.sock";
        let settings = ConnectSettings::from_url("main", url).expect("valid");
        assert_eq!(settings.address(), "/run/mysqld/mysqld.sock");
    }

    #[test]
    fn unusable_urls_are_refused_without_quoting_them() {
        for bad in [
            "",
            "postgres://u:secret@h/d",
            "mysql://u:secret@h",
            "mysql://u:secret@h/",
            "mysql://u:secret@h/a%60b",
            "mysql://:secret@h/d",
            "mysql://u:secret@/d",
            "mysql://u:secret@h:x/d",
            "mysql://u:secret%zz@h/d",
            "mysql://u:secret@h/d?ssl=1",
            "mysql://u:secret@h/d?socket=x",
        ] {
            let error = ConnectSettings::from_url("main", bad).expect_err(bad);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
