//! Why the HTTP server cannot be started, and how to mend it.

use std::io;
use std::net::SocketAddr;

use crate::config::IdentityError;

/// A server that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}, which [api] listen names")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the operating system said.
        #[source]
        error: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("[api] {}: {}", .0.key, .0.what)]
    Identity(#[from] IdentityError),
    /// The configuration was not checked.
    #[error("[attribution] default_country names no country")]
    Country,
}

impl ApiError {
    /// How to mend it.
    #[must_use]
    pub fn hint(&self) -> String {
        let (listen, error) = match self {
            Self::Listen { listen, error } => (listen, error),
            Self::Identity(error) => {
                return format!(
                    "`didtail config check`, as the user of the daemon, shows whether [api] {} \
                     can be used now",
                    error.key
                );
            }
            Self::Country => return "two letters, e.g. US (ISO 3166)".to_owned(),
        };
        let port = listen.port();
        match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "`ss -ltnp sport = :{port}` shows who listens there; choose another port in [api] listen"
            ),
            io::ErrorKind::PermissionDenied => format!(
                "port {port} is for root alone, as all below 1024 are: choose a higher one in [api] listen"
            ),
            io::ErrorKind::AddrNotAvailable => {
                let ip = listen.ip();
                format!("this machine has no address {ip}: `ip -brief address` lists those it has")
            }
            _ => "choose another address in [api] listen, e.g. 127.0.0.1:5000".to_owned(),
        }
    }
}
