//! Addresses of databases, which may carry a password and never show it.

use std::fmt;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use secrecy::SecretString;
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

/// Address of the optimizer store: `sqlite:///absolute/path` or `sqlite://relative/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUrl {
    path: PathBuf,
}

impl StoreUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong and what was expected, without the text, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "expected sqlite:///path/to/optimizer.db";
        let Some((scheme, path)) = text.split_once("://") else {
            return Err(format!("this is no address; {SHAPE}"));
        };
        match scheme {
            "sqlite" => {}
            "postgres" | "postgresql" | "mysql" | "mariadb" => {
                return Err(format!("a {scheme} store is not in this version; {SHAPE}"));
            }
            other => return Err(format!("`{other}://` is not supported; {SHAPE}")),
        }
        if path.is_empty() || path.contains(['?', '%', '#']) {
            return Err(format!(
                "a path without `?`, `%` and `#` is needed; {SHAPE}"
            ));
        }
        Ok(Self { path: path.into() })
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite://{}", self.path.display())
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
    use secrecy::ExposeSecret;

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
            "postgres://u:hunter2@h/d",
            "sqlite:///x?mode=ro",
        ] {
            let error = StoreUrl::parse(bad).expect_err(bad);
            assert!(!error.contains("hunter2"), "{error}");
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
