//! Everything that can go wrong with the store, told apart by what to do about it.

use std::path::Path;

use crate::folder;

/// What a backend said; its own text, for `caused by:`.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A failure of the optimizer store. `store` is its file or its address
/// without credentials.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another daemon has moved this source's position since this one read it.
    #[error("another didtail writes the source `{source_name}` to this store: it is at {actual}")]
    OtherWriter {
        /// The source.
        source_name: String,
        /// The store's present position, or `no position`.
        actual: String,
    },
    /// The lease of the source is over, and another daemon has it.
    #[error(
        "this daemon may no longer write the source `{source_name}`: {} has its lease",
        said(holder)
    )]
    LeaseLost {
        /// The source.
        source_name: String,
        /// Who has it now; empty when nobody has.
        holder: String,
    },
    /// Another daemon has the lease of the source, and renews it.
    #[error(
        "the source `{source_name}` is followed by {holder}, which has its lease in this store"
    )]
    Leased {
        /// The source.
        source_name: String,
        /// Who has it.
        holder: String,
    },
    /// The store is where it was before: its server lost commits that it had called
    /// durable, as a standby does that takes over and had not got all.
    #[error(
        "the store has forgotten what was committed of the source `{source_name}`: it is at \
         {actual}, and was at {known}"
    )]
    WentBack {
        /// The source.
        source_name: String,
        /// The store's present position.
        actual: String,
        /// The last one that it had said to be durable.
        known: String,
    },
    /// Another process held the store's lock for too long.
    #[error("the store {store} is locked by another process")]
    Busy {
        /// The store.
        store: String,
        /// What the backend said.
        source: Cause,
    },
    /// No room is left where the store lies.
    #[error("the disk of the store {store} is full")]
    DiskFull {
        /// The store.
        store: String,
        /// What the backend said.
        source: Cause,
    },
    /// The store may be read but not written, or its folder may not.
    #[error("the store {store} is not writable")]
    NotWritable {
        /// The store.
        store: String,
        /// What the backend said.
        source: Cause,
    },
    /// Another transaction was in the way, and the server undid this one.
    #[error("the store {store} undid a transaction because of another one")]
    Conflict {
        /// The store.
        store: String,
        /// What the backend said.
        source: Cause,
    },
    /// The server has no connection to spare.
    #[error("the store {store} takes no more connections")]
    Crowded {
        /// The store.
        store: String,
        /// What the backend said.
        source: Cause,
    },
    /// The server is a standby, or was made read-only.
    #[error("the server of the store {store} is read-only")]
    ReadOnly {
        /// The store.
        store: String,
        /// What the backend said.
        source: Cause,
    },
    /// The server does not let this user in.
    #[error("the store {store} refuses the login")]
    LoginRefused {
        /// The store.
        store: String,
        /// What the backend said.
        source: Cause,
    },
    /// The user lacks a privilege.
    #[error("the user of the store {store} lacks a privilege")]
    Forbidden {
        /// The store.
        store: String,
        /// What the backend said.
        source: Cause,
    },
    /// No encrypted connection could be agreed on.
    #[error("no TLS connection to the store {store}")]
    Tls {
        /// The store.
        store: String,
        /// What the driver said.
        source: Cause,
    },
    /// The store is damaged, or its file is no SQLite database.
    #[error("the store {store} is damaged or is no database")]
    Corrupt {
        /// The store.
        store: String,
        /// What the backend said.
        source: Cause,
    },
    /// The file is a database of something else.
    #[error("{store} is a database, but not a store of didtail")]
    Foreign {
        /// The store.
        store: String,
    },
    /// A newer didtail has written this store.
    #[error(
        "the store {store} has schema version {found}, and this didtail knows only up to {known}"
    )]
    NewerSchema {
        /// The store.
        store: String,
        /// The store's version.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// The daemon of this version has not yet opened the store.
    #[error("{}", older(store, *found, *known))]
    OlderSchema {
        /// The store.
        store: String,
        /// The store's version; 0: it has no tables yet.
        found: i64,
        /// The version this program reads.
        known: i64,
    },
    /// There is nothing at this place.
    #[error("there is no store at {store}")]
    Missing {
        /// The store.
        store: String,
    },
    /// The store cannot be opened or read just now.
    #[error("the store {store} cannot be reached")]
    Unreachable {
        /// The store.
        store: String,
        /// What the backend said.
        source: Cause,
    },
    /// The configured address names no backend that didtail has.
    #[error("the store's address is not usable: {reason}")]
    BadUrl {
        /// What is wrong with it; never the address itself, which may hold a password.
        reason: String,
    },
    /// Anything else: the store refused what didtail sent, or holds what
    /// didtail cannot have written.
    #[error("the store {store} failed while {doing}")]
    Other {
        /// The store.
        store: String,
        /// What was being done.
        doing: &'static str,
        /// What the backend said.
        source: Cause,
    },
}

impl StoreError {
    /// True when the same call may succeed later without anybody's change here:
    /// to be retried with backoff, keeping the position.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Busy { .. }
            | Self::WentBack { .. }
            | Self::Conflict { .. }
            | Self::Crowded { .. }
            | Self::DiskFull { .. }
            | Self::ReadOnly { .. }
            | Self::Unreachable { .. } => true,
            Self::OtherWriter { .. }
            | Self::LeaseLost { .. }
            | Self::Leased { .. }
            | Self::LoginRefused { .. }
            | Self::Forbidden { .. }
            | Self::Tls { .. }
            | Self::NotWritable { .. }
            | Self::Corrupt { .. }
            | Self::Foreign { .. }
            | Self::NewerSchema { .. }
            | Self::OlderSchema { .. }
            | Self::Missing { .. }
            | Self::BadUrl { .. }
            | Self::Other { .. } => false,
        }
    }

    /// True when it is about a store on a server, which has operators of its own.
    #[must_use]
    pub fn is_of_server(&self) -> bool {
        match self {
            Self::OtherWriter { .. }
            | Self::WentBack { .. }
            | Self::LeaseLost { .. }
            | Self::Leased { .. }
            | Self::BadUrl { .. } => false,
            Self::Busy { store, .. }
            | Self::Conflict { store, .. }
            | Self::Crowded { store, .. }
            | Self::DiskFull { store, .. }
            | Self::ReadOnly { store, .. }
            | Self::Unreachable { store, .. }
            | Self::LoginRefused { store, .. }
            | Self::Forbidden { store, .. }
            | Self::Tls { store, .. }
            | Self::NotWritable { store, .. }
            | Self::Corrupt { store, .. }
            | Self::Foreign { store }
            | Self::NewerSchema { store, .. }
            | Self::OlderSchema { store, .. }
            | Self::Missing { store }
            | Self::Other { store, .. } => Backend::of(store) != Backend::File,
        }
    }

    /// What is behind it, in the backend's own words; empty when it says all.
    #[must_use]
    pub fn cause(&self) -> String {
        let mut said: Vec<String> = Vec::new();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            let text = cause.to_string();
            // Some wrappers repeat what is in them.
            if !said.iter().any(|known| known.contains(&text)) {
                said.push(text);
            }
            next = cause.source();
        }
        said.join(": ")
    }

    /// True when a certificate is good, and of another host.
    fn is_of_another_name(&self) -> bool {
        // What rustls says of it; it has no type that reaches this far.
        let cause = self.cause();
        cause.contains("not valid for") || cause.contains("NotValidForName")
    }

    /// What an operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::OtherWriter { source_name, .. } => Some(format!(
                "stop the other daemon of `{source_name}`; look for it with: pgrep -a didtail"
            )),
            Self::LeaseLost { .. } => Some(
                "it stands by and takes over when that one ends; see who writes: didtail status"
                    .to_owned(),
            ),
            Self::Leased { source_name, .. } => Some(format!(
                "let that daemon do it, or stop it there first (systemctl stop didtail); \
                 see who writes `{source_name}`: didtail status"
            )),
            Self::WentBack { .. } => Some(
                "didtail reads again what the store lacks, as long as the source still has it; \
                 let the store's server keep what it commits (synchronous_commit = on; \
                 innodb_flush_log_at_trx_commit = 1), on its standbys too"
                    .to_owned(),
            ),
            Self::Busy { store, .. } => Some(match Backend::of(store) {
                Backend::File => format!("see who holds it: fuser -v {store}"),
                Backend::Postgres => "see who holds locks: SELECT pid, state, query FROM \
                     pg_stat_activity WHERE wait_event_type = 'Lock' OR state <> 'idle'"
                    .to_owned(),
                Backend::MySql => "see who holds locks: SHOW ENGINE INNODB STATUS".to_owned(),
            }),
            Self::Conflict { .. } => {
                Some("didtail tries again by itself; nothing is lost".to_owned())
            }
            Self::Crowded { store, .. } => Some(format!(
                "didtail takes three to six connections a source; raise max_connections of the server, or end \
                 others: {}",
                match Backend::of(store) {
                    Backend::File | Backend::Postgres => "SELECT * FROM pg_stat_activity",
                    Backend::MySql => "SHOW PROCESSLIST",
                }
            )),
            Self::DiskFull { store, .. } => Some(match Backend::of(store) {
                Backend::File => {
                    format!(
                        "make room, and start didtail again if it stopped; nothing is lost: \
                         df -h {store}"
                    )
                }
                Backend::Postgres | Backend::MySql => {
                    "make room on the server; nothing is lost, and didtail goes on by itself"
                        .to_owned()
                }
            }),
            Self::ReadOnly { .. } => Some(
                "set [store] url to the primary server; didtail goes on by itself when this one \
                 becomes it"
                    .to_owned(),
            ),
            Self::LoginRefused { .. } => Some(
                "check the user in [store] url, its password (password_file or \
                 DIDTAIL_STORE_PASSWORD), and from which hosts the server lets it in"
                    .to_owned(),
            ),
            Self::Forbidden { store, .. } => Some(Backend::of(store).grants(store)),
            Self::Tls { store, .. } if self.is_of_another_name() => Some(format!(
                "write the host in [store] url as the server's certificate names it, or let \
                 its authority be enough: {}",
                match Backend::of(store) {
                    Backend::File | Backend::Postgres => "?sslmode=verify-ca",
                    Backend::MySql => "?ssl-mode=VERIFY_CA",
                }
            )),
            Self::Tls { store, .. } => Some(match Backend::of(store) {
                Backend::File | Backend::Postgres => "give the authority's certificate with \
                     ?sslmode=verify-full&sslrootcert=/path/ca.pem in [store] url, or, in a \
                     network that you trust, ?sslmode=disable"
                    .to_owned(),
                Backend::MySql => "give the authority's certificate with \
                     ?ssl-mode=VERIFY_IDENTITY&ssl-ca=/path/ca.pem in [store] url, or, in a \
                     network that you trust, ?ssl-mode=REQUIRED, which checks nobody; without \
                     TLS the passwords of MySQL 8 and newer do not work"
                    .to_owned(),
            }),
            Self::NotWritable { store, .. } => of_owners(store).or_else(|| Some(format!(
                "give the daemon's user the file and its folder: \
                 chown -R didtail: \"$(dirname {store})\""
            ))),
            Self::Corrupt { store, .. } => Some(match Backend::of(store) {
                Backend::File => format!(
                    "see how far it is damaged: sqlite3 {store} 'PRAGMA integrity_check'; then \
                     put a copy back in its place, without {store}-wal and {store}-shm: didtail \
                     catches up from the copy's position. Without a copy, move all three away, \
                     start didtail, and load what VICIdial still has: didtail backfill --since 90d"
                ),
                Backend::Postgres | Backend::MySql => {
                    "put a backup of the database back: didtail catches up from its position"
                        .to_owned()
                }
            }),
            Self::Foreign { store } if Backend::of(store) != Backend::File => Some(
                "its tables have the names of didtail's: set [store] url to a database of its own"
                    .to_owned(),
            ),
            Self::Foreign { .. } | Self::BadUrl { .. } => Some(
                "set [store] url to a file of its own, e.g. \
                 \"sqlite:///var/lib/didtail/optimizer.db\""
                    .to_owned(),
            ),
            Self::NewerSchema { .. } => Some(
                "install the didtail that wrote it, or a newer one: apt install didtail".to_owned(),
            ),
            Self::OlderSchema { found: 0, .. } => {
                Some("`didtail run` (or `didtail store migrate`) makes them".to_owned())
            }
            Self::OlderSchema { store, .. } if Backend::of(store) != Backend::File => Some(
                "let the daemon of this version open it once (systemctl restart didtail), or, as \
                 the owner of its tables (--store-url, DIDTAIL_STORE_PASSWORD): didtail store migrate"
                    .to_owned(),
            ),
            Self::OlderSchema { .. } => Some(
                "let the daemon of this version open it once: systemctl restart didtail".to_owned(),
            ),
            Self::Missing { store } if Backend::of(store) != Backend::File => Some(format!(
                "make the database as the server's administrator: CREATE DATABASE {}",
                database(store)
            )),
            Self::Missing { store } => {
                let folder = Path::new(store).parent();
                let folder = folder.unwrap_or(Path::new("/var/lib/didtail"));
                Some(format!(
                    "the daemon makes it on its first start: systemctl start didtail; its folder \
                     must exist: install -d -o didtail -g didtail -m 0750 {}",
                    folder.display()
                ))
            }
            Self::Unreachable { store, .. } if Backend::of(store) != Backend::File => Some(
                "see whether the server runs, and whether host and port in [store] url are its; \
                 didtail tries again by itself while it runs"
                    .to_owned(),
            ),
            Self::Unreachable { store, .. } => of_owners(store).or_else(|| Some(format!(
                "see whether this user may read the file and its folder: ls -ld {store} \
                 \"$(dirname {store})\""
            ))),
            Self::Other { .. } => None,
        }
    }
}

/// What an owner can do about a file that may not be written or read.
fn of_owners(store: &str) -> Option<String> {
    let is_file = Backend::of(store) == Backend::File;
    is_file.then(|| folder::remedy(Path::new(store))).flatten()
}

/// What is said of a schema that is not this program's yet.
fn older(store: &str, found: i64, known: i64) -> String {
    if found == 0 {
        return format!("the store {store} has no tables yet");
    }
    format!("the store {store} has schema version {found}, and this didtail reads {known}")
}

/// A holder for people.
fn said(holder: &str) -> &str {
    if holder.is_empty() { "nobody" } else { holder }
}

/// What a store is, by its name in errors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backend {
    File,
    Postgres,
    MySql,
}

impl Backend {
    fn of(store: &str) -> Self {
        if store.starts_with("postgres://") {
            Self::Postgres
        } else if store.starts_with("mysql://") {
            Self::MySql
        } else {
            Self::File
        }
    }

    /// The privileges that the daemon's user needs.
    fn grants(self, store: &str) -> String {
        let (_, place) = store.split_once("://").unwrap_or(("", store));
        let (user, _) = place.split_once('@').unwrap_or((place, ""));
        match self {
            Self::File | Self::Postgres => format!(
                "as the owner of the tables: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES \
                 IN SCHEMA public TO \"{user}\"; GRANT EXECUTE ON FUNCTION \
                 didtail_partition(TEXT, BIGINT), didtail_drop_partitions(TEXT, BIGINT, BIGINT) \
                 TO \"{user}\"; ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, \
                 UPDATE, DELETE ON TABLES TO \"{user}\". To make or upgrade them, as a user \
                 with CREATE and USAGE on the schema: {}",
                migration_of(store)
            ),
            Self::MySql => format!(
                "as the administrator: GRANT SELECT, INSERT, UPDATE, DELETE ON `{}`.* TO '{user}'. \
                 To make or upgrade the tables, as a user with SELECT, INSERT, UPDATE, DELETE, \
                 CREATE, ALTER, DROP, INDEX, REFERENCES and CREATE VIEW on it: {}",
                database(store),
                migration_of(store)
            ),
        }
    }
}

/// The command that makes the tables of a server as another user than the daemon's,
/// with that user's password.
pub(in crate::store) fn migration_of(store: &str) -> String {
    let (scheme, place) = store.split_once("://").unwrap_or(("", store));
    let (_, place) = place.split_once('@').unwrap_or(("", place));
    format!("DIDTAIL_STORE_PASSWORD='…' didtail store migrate --store-url {scheme}://OWNER@{place}")
}

/// The database of a server's name.
fn database(store: &str) -> &str {
    store.rsplit_once('/').map_or(store, |(_, name)| name)
}
