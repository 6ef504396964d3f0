//! Addresses of databases, which may carry a password and never show it.

use std::fmt;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

/// TCP port of MariaDB and MySQL when the address has none.
const MYSQL_PORT: u16 = 3306;

/// Address of a VICIdial database, without the password.
///
/// Shown as `mysql://didtail@vicidial-db:3306/asterisk`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceUrl {
    /// Host name or IP address, an IPv6 one without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database user.
    pub user: String,
    /// Database that holds the VICIdial tables.
    pub database: String,
    /// Unix socket to use instead of TCP (`?socket=/run/mysqld/mysqld.sock`).
    pub socket: Option<PathBuf>,
}

const SOURCE_SHAPE: &str = "expected mysql://USER@HOST:3306/DATABASE";

impl SourceUrl {
    /// Reads an address; the password comes apart from it.
    ///
    /// # Errors
    /// What is wrong and what was expected, without the text, which may hold a password.
    pub fn parse(text: &str) -> Result<(Self, Option<SecretString>), String> {
        let url = Url::parse(text).map_err(|e| format!("{e}; {SOURCE_SHAPE}"))?;
        if !matches!(url.scheme(), "mysql" | "mariadb") {
            let scheme = url.scheme();
            return Err(format!("`{scheme}://` is not supported; {SOURCE_SHAPE}"));
        }
        let host = decode(url.host_str().unwrap_or_default().trim_matches(['[', ']']))?;
        if host.is_empty() {
            return Err(format!("the host is missing; {SOURCE_SHAPE}"));
        }
        let user = decode(url.username())?;
        if user.is_empty() {
            return Err(format!("the user is missing; {SOURCE_SHAPE}"));
        }
        let database = decode(url.path().trim_start_matches('/'))?;
        if database.is_empty() || database.contains('/') {
            return Err(format!("the database is missing; {SOURCE_SHAPE}"));
        }
        let mut socket = None;
        for (name, value) in url.query_pairs() {
            match &*name {
                "socket" => socket = Some(PathBuf::from(&*value)),
                other => {
                    let hint = "only `socket` may follow the `?`; TLS has its own keys";
                    return Err(format!("unknown parameter `{other}`: {hint}"));
                }
            }
        }
        let password = url.password().map(decode).transpose()?;
        let port = url.port().unwrap_or(MYSQL_PORT);
        let address = Self {
            host,
            port,
            user,
            database,
            socket,
        };
        Ok((address, password.map(SecretString::from)))
    }
}

impl SourceUrl {
    /// Whether both name one database, as far as the addresses tell.
    #[must_use]
    pub fn is_same_database(&self, other: &Self) -> bool {
        let place = |url: &Self| {
            let host = url.host.to_ascii_lowercase();
            let tcp = url.socket.is_none().then_some((host, url.port));
            (url.socket.clone(), tcp, url.database.clone())
        };
        place(self) == place(other)
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            port,
            user,
            database,
            ..
        } = self;
        if host.contains(':') {
            write!(f, "mysql://{user}@[{host}]:{port}/{database}")?;
        } else {
            write!(f, "mysql://{user}@{host}:{port}/{database}")?;
        }
        match &self.socket {
            Some(socket) => write!(f, "?socket={}", socket.display()),
            None => Ok(()),
        }
    }
}

/// Address of the optimizer store, without the password: `sqlite:///absolute/path`,
/// `sqlite://relative/path`, `postgres://USER@HOST/DATABASE` or
/// `mysql://USER@HOST/DATABASE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// A SQLite file.
    File(PathBuf),
    /// A database on a server, with the driver's own options for TLS and sockets.
    Server(Url),
}

/// What may follow the `?`, and the values where only some are possible.
type Parameters = &'static [(&'static str, &'static [&'static str])];

const POSTGRES_PARAMETERS: Parameters = &[
    (
        "sslmode",
        &[
            "disable",
            "allow",
            "prefer",
            "require",
            "verify-ca",
            "verify-full",
        ],
    ),
    ("sslrootcert", &[]),
    ("sslcert", &[]),
    ("sslkey", &[]),
    ("host", &[]),
    ("patience", &[]),
];

const MYSQL_PARAMETERS: Parameters = &[
    (
        "ssl-mode",
        &[
            "DISABLED",
            "PREFERRED",
            "REQUIRED",
            "VERIFY_CA",
            "VERIFY_IDENTITY",
        ],
    ),
    ("ssl-ca", &[]),
    ("ssl-cert", &[]),
    ("ssl-key", &[]),
    ("socket", &[]),
    ("patience", &[]),
];

impl StoreUrl {
    /// Reads an address; the password comes apart from it.
    ///
    /// # Errors
    /// What is wrong and what was expected, without the text, which may hold a password.
    pub fn parse(text: &str) -> Result<(Self, Option<SecretString>), String> {
        const SHAPE: &str = "expected sqlite:///path/to/optimizer.db, \
             postgres://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE";
        let Some((scheme, path)) = text.split_once("://") else {
            return Err(format!("this is no address; {SHAPE}"));
        };
        let known = match scheme {
            "sqlite" => {
                if path.is_empty() || path.contains(['?', '%', '#']) {
                    return Err(format!(
                        "a path without `?`, `%` and `#` is needed; {SHAPE}"
                    ));
                }
                return Ok((Self::File(path.into()), None));
            }
            "postgres" | "postgresql" => POSTGRES_PARAMETERS,
            "mysql" | "mariadb" => MYSQL_PARAMETERS,
            other => return Err(format!("`{other}://` is not supported; {SHAPE}")),
        };
        let mut url = Url::parse(text).map_err(|e| format!("{e}; {SHAPE}"))?;
        if url.host_str().unwrap_or_default().is_empty() {
            return Err(format!("the host is missing; {SHAPE}"));
        }
        if url.username().is_empty() {
            return Err(format!("the user is missing; {SHAPE}"));
        }
        let database = url.path().trim_start_matches('/');
        if database.is_empty() || database.contains('/') {
            return Err(format!("the database is missing; {SHAPE}"));
        }
        for (name, value) in url.query_pairs() {
            let Some((_, values)) = known.iter().find(|(known, _)| *known == name) else {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                let names = names.join(", ");
                return Err(format!("unknown parameter `{name}`; there are {names}"));
            };
            if name == "patience" && value.parse::<u16>().is_err() {
                return Err("`patience` is a number of seconds".to_owned());
            }
            let is_one = values.iter().any(|one| one.eq_ignore_ascii_case(&value));
            if !values.is_empty() && !is_one {
                let values = values.join(", ");
                return Err(format!("`{name}` is one of {values}, not `{value}`"));
            }
        }
        let password = url.password().map(decode).transpose()?;
        let removed = url.set_password(None);
        debug_assert!(removed.is_ok(), "it has a host");
        Ok((Self::Server(url), password.map(SecretString::from)))
    }

    /// The database file, of SQLite.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Server(_) => None,
        }
    }

    /// The address with a password in it: only to connect with, never to be shown.
    pub(super) fn with_password(&self, password: Option<&SecretString>) -> String {
        match (self, password) {
            (Self::Server(url), Some(password)) => {
                let mut url = url.clone();
                let set = url.set_password(Some(password.expose_secret()));
                debug_assert!(set.is_ok(), "it has a host");
                url.into()
            }
            (Self::File(_) | Self::Server(_), _) => self.to_string(),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "sqlite://{}", path.display()),
            Self::Server(url) => write!(f, "{url}"),
        }
    }
}

/// Replaces the password in an address by `***`, also in a malformed one.
#[must_use]
pub fn mask_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    // The last `@`: an unescaped one in the password must not uncover its end.
    match rest.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:***@{host}"),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    }
}

fn decode(part: &str) -> Result<String, String> {
    percent_decode_str(part)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| "a %-escape is no UTF-8 text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_comes_apart_and_is_never_shown() {
        let (url, password) =
            SourceUrl::parse("mysql://didtail:p%40ss@[::1]:3307/asterisk").expect("valid");
        assert_eq!(url.to_string(), "mysql://didtail@[::1]:3307/asterisk");
        let password = password.expect("given");
        assert_eq!(password.expose_secret(), "p@ss");
        assert!(!format!("{url:?}{password:?}").contains("p@ss"));
    }

    #[test]
    fn the_defaults_of_an_address() {
        let text = "mysql://u@localhost/asterisk?socket=/run/mysqld/mysqld.sock";
        let (url, password) = SourceUrl::parse(text).expect("valid");
        assert_eq!(url.port, 3306);
        assert_eq!(url.socket, Some("/run/mysqld/mysqld.sock".into()));
        assert!(password.is_none());
    }

    #[test]
    fn wrong_addresses_are_refused_without_their_password() {
        for bad in [
            "db",
            "mysql://u:hunter2@/asterisk",
            "mysql://:hunter2@h/asterisk",
            "mysql://u:hunter2@h",
            "mysql://u:hunter2@h/",
            "postgres://u:hunter2@h/d",
            "mysql://u:hunter2@h:99999/d",
            "mysql://u:hunter2@h/d?ssl=1",
        ] {
            let error = SourceUrl::parse(bad).expect_err(bad);
            assert!(!error.contains("hunter2"), "{error}");
        }
        for bad in [
            "/x",
            "sqlite://",
            "oracle://u:hunter2@h/d",
            "sqlite:///x?mode=ro",
            "postgres://u:hunter2@h",
            "postgres://u:hunter2@h/d?ssl=1",
            "postgres://u:hunter2@h/d?sslmode=on",
            "mysql://u:hunter2@h/d?ssl-mode=verify-ca",
            "mysql://:hunter2@h/d",
            "mysql://u:hunter2@h/d?patience=long",
        ] {
            let error = StoreUrl::parse(bad).expect_err(bad);
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_stores_password_comes_apart_and_goes_back() {
        let text = "postgres://didtail:p%40ss@db:5433/x?sslmode=verify-full&sslrootcert=/ca.pem";
        let (url, password) = StoreUrl::parse(text).expect("valid");
        let shown = "postgres://didtail@db:5433/x?sslmode=verify-full&sslrootcert=/ca.pem";
        assert_eq!(url.to_string(), shown);
        assert_eq!(url.with_password(password.as_ref()), text);
        assert_eq!(url.with_password(None), shown);
        assert!(!format!("{url:?}{password:?}").contains("p@ss"));
        let (file, password) = StoreUrl::parse("sqlite:///x").expect("valid");
        assert_eq!(file.with_password(password.as_ref()), "sqlite:///x");
    }

    #[test]
    fn a_mode_of_tls_may_be_written_in_any_case() {
        for good in [
            "mysql://u@h/d?ssl-mode=required",
            "mysql://u@h/d?ssl-mode=Verify_Ca",
            "postgres://u@h/d?sslmode=REQUIRE",
        ] {
            StoreUrl::parse(good).expect(good);
        }
    }

    #[test]
    fn masking_works_on_malformed_addresses_too() {
        let masked = |text| mask_password(text);
        assert_eq!(masked("mysql://u:a@b@h:1/d"), "mysql://u:***@h:1/d");
        assert_eq!(masked("mysql://u@h/d"), "mysql://u@h/d");
        assert_eq!(masked("nonsense"), "nonsense");
    }
}
