//! What the operator decides: read once at start, checked whole, passed on in parts.
//!
//! Flags win over `DIDTAIL_*` variables, these over the file, this over the
//! defaults. Unknown keys and variables are refused, because a typo that is
//! skipped is a setting that silently does not hold. Every problem is reported
//! at once, with its file and line.
//!
//! Why no `serde` derive: it stops at the first problem, and it cannot tell
//! where a value of several layers came from. The keys are in `keys` with
//! their defaults; `packaging/didtail.toml` explains each, and a test keeps
//! the two equal.

mod address;
mod error;
mod identity;
mod keys;
mod layers;
mod read;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

pub use address::{SourceUrl, StoreUrl, mask_password};
pub use error::{ConfigError, Origin, Problem};
pub use identity::{Certified, Identity, IdentityError};
pub use layers::{DEFAULT_PATH, Overrides};
pub(crate) use values::{start_at as read_start_at, success as read_success};

pub use crate::source::TlsMode;

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// The local state file.
    pub state: StateConfig,
    /// Where the numbers go.
    pub store: StoreConfig,
    /// The VICIdial databases to follow; at least one, unless nobody follows any here
    /// ([`Overrides::only_serves`]).
    pub sources: Vec<SourceConfig>,
    /// What a disposition means.
    pub dispositions: DispositionsConfig,
    /// How the DID of a call is found.
    pub attribution: AttributionConfig,
    /// What to do about rows that cannot be understood.
    pub errors: ErrorsConfig,
    /// How long what is kept.
    pub retention: RetentionConfig,
    /// What is logged and how.
    pub log: LogConfig,
    /// Where to answer over HTTP; `None`, the default: nowhere.
    pub api: Option<ApiConfig>,
    /// What works and should be mended all the same; for the log and `config check`.
    pub warnings: Vec<String>,
    /// Files with passwords or keys in use that other users of the machine may read, or change.
    pub exposed_files: Vec<PathBuf>,
}

/// `[state]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateConfig {
    /// The SQLite file with the checkpoint. Default `/var/lib/didtail/state.db`.
    pub path: PathBuf,
}

/// `[store]`.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Default `sqlite:///var/lib/didtail/optimizer.db`.
    pub url: StoreUrl,
    /// From a flag's address, `DIDTAIL_STORE_PASSWORD`, a variable's address,
    /// `password_file`, the systemd credential `store.password` or the file's
    /// address, the first of these that is set.
    pub password: Option<SecretString>,
}

impl StoreConfig {
    /// The address to connect with. It has the password in it, and is never shown.
    #[must_use]
    pub fn address(&self) -> String {
        self.url.with_password(self.password.as_ref())
    }
}

/// One `[[source]]`.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Tells the sources apart in the store, the state file and the log. Default `main`.
    pub name: String,
    /// Where the VICIdial database is; required.
    pub url: SourceUrl,
    /// From a flag's address, `DIDTAIL_SOURCE_PASSWORD`, a variable's address,
    /// `password_file`, the systemd credential `NAME.password` or the file's
    /// address, the first of these that is set.
    pub password: Option<SecretString>,
    /// Encryption of the connection.
    pub tls: TlsConfig,
    /// Where to begin when nothing is known of this source. Default `latest`.
    pub start_at: StartAt,
    /// Whose DIDs these are. Default `default`.
    pub tenant: String,
    /// `server_id` to register with; `None` (default) lets didtail choose a free one.
    pub server_id: Option<u32>,
    /// The zone of the dialer's DATETIME columns. Default `auto`: the server is asked.
    pub time_zone: SourceTimeZone,
}

impl SourceConfig {
    /// What a connection needs of it. Two daemons on one machine have different
    /// state files, and must not pass for one replica: the server would hang up
    /// on the older one.
    #[must_use]
    pub fn connect_settings(&self, state: &StateConfig) -> crate::source::ConnectSettings {
        let installation = crc32fast::hash(state.path.as_os_str().as_encoded_bytes());
        crate::source::ConnectSettings {
            name: format!("{}-{installation:08x}", self.name),
            host: self.url.host.clone(),
            port: self.url.port,
            user: self.url.user.clone(),
            password: self.password.clone(),
            database: self.url.database.clone(),
            socket: self.url.socket.clone(),
            tls: self.tls.mode,
            tls_ca: self.tls.ca.clone(),
            tls_cert: self.tls.cert.clone(),
            tls_key: self.tls.key.clone(),
            server_id: self.server_id,
        }
    }
}

/// TLS of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Default `preferred`.
    pub mode: TlsMode,
    /// PEM file of the authorities to trust; the modes that verify need it.
    pub ca: Option<PathBuf>,
    /// PEM file of the client certificate.
    pub cert: Option<PathBuf>,
    /// PEM file of the client certificate's key.
    pub key: Option<PathBuf>,
}

/// Where to begin with a source of which nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the end of the binlog: count from now on.
    Latest,
    /// At the oldest binlog that the server still has.
    Earliest,
    /// Load the calls of the last days by SELECT, then follow.
    Backfill {
        /// Number of days of 24 hours.
        days: u32,
    },
}

/// The zone of a source's DATETIME columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceTimeZone {
    /// Ask the server (`@@system_time_zone`).
    Auto,
    /// A zone of the IANA database, e.g. `America/Chicago`.
    Named(String),
}

/// `[dispositions]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispositionsConfig {
    /// Which calls are successful. Default `SALE` and `A`.
    pub success: Success,
    /// Statuses of a call that is still going on. Default `QUEUE`, `INCALL`, `DISPO`.
    pub transient: BTreeSet<String>,
}

/// Which calls are successful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Success {
    /// Those that end in one of these statuses.
    Set(BTreeSet<String>),
    /// Those whose status VICIdial flags as a sale.
    VicidialSaleFlag,
}

/// `[attribution]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributionConfig {
    /// Which word counts when two DIDs are known for a call. Default `dial-log`.
    pub prefer: Prefer,
    /// What to do about a DID that is not in the store. Default `create`.
    pub unknown_did: UnknownDid,
    /// Country of phone numbers without a country code (ISO 3166, 2 letters). Default `US`.
    pub default_country: String,
}

/// Which word counts when two DIDs are known for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefer {
    /// What VICIdial's dial log says.
    DialLog,
    /// What was reported for the call.
    Reported,
}

/// What to do about a DID that is not in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownDid {
    /// Add it.
    Create,
    /// Keep the call without a DID.
    Unattributed,
}

/// `[errors]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorsConfig {
    /// Default `quarantine`.
    pub bad_row: BadRow,
}

/// What to do about a row that cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRow {
    /// Keep it aside with its bytes and go on.
    Quarantine,
    /// Stop in front of it.
    Stop,
}

/// `[retention]`, in days of 24 hours; 0 keeps for ever. What goes with dials and
/// calls, and what stays: [`crate::ledger::Pruned`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionConfig {
    /// `audit_log`. Default 7.
    pub audit_days: u32,
    /// `change_history`, which `didtail explain` reads. Default 30.
    pub history_days: u32,
    /// Quarantined rows. Default 30.
    pub quarantine_days: u32,
    /// `dials`; they go a day later. Default 90.
    pub dials_days: u32,
    /// `call_records`; they go a day later. Default 0.
    pub call_records_days: u32,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Default `text`.
    pub format: LogFormat,
    /// A level, or directives like `info,didtail::source=debug`. Default `info`.
    pub level: String,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[api]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// With what to encrypt; `None`, the default: nothing is encrypted.
    pub tls: Option<Identity>,
}

/// A value in force, for `config check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// `section.key`; sources after the first as `source[1].key`.
    pub key: String,
    /// The value, passwords masked.
    pub value: String,
    /// Who set it.
    pub origin: Origin,
}

impl Config {
    /// Reads the file, the environment and the flags, and checks everything.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem found.
    pub fn load(overrides: &Overrides) -> Result<Self, ConfigError> {
        Self::load_explained(overrides).map(|(config, _)| config)
    }

    /// As [`Config::load`], with every value in force and where it came from.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem found.
    pub fn load_explained(overrides: &Overrides) -> Result<(Self, Vec<Effective>), ConfigError> {
        read::read(overrides)
    }

    /// The files that didtail writes on this machine: the state file, and the store's
    /// where it is one.
    pub(crate) fn own_files(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.state.path.as_path()).chain(self.store.url.file())
    }

    /// The sample file with every key explained.
    #[must_use]
    pub fn example() -> &'static str {
        include_str!("../../packaging/didtail.toml")
    }
}
