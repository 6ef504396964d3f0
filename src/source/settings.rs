//! How to reach one VICIdial database: what `[[source]]` in the configuration comes down to.
//!
//! Kept apart from the configuration tree, so that the source never sees
//! settings that are not its own.

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;

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

impl ConnectSettings {
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
