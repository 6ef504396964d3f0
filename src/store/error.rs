//! Everything that can go wrong with the store, told apart by what to do about it.

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
    /// The file is damaged, or is no SQLite database.
    #[error("the store {store} is damaged or is no SQLite database")]
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
    #[error("the store {store} has schema version {found}, and this didtail reads {known}")]
    OlderSchema {
        /// The store.
        store: String,
        /// The store's version.
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
            Self::Busy { .. } | Self::DiskFull { .. } | Self::Unreachable { .. } => true,
            Self::OtherWriter { .. }
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

    /// What an operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::OtherWriter { source_name, .. } => Some(format!(
                "stop the other daemon of `{source_name}`; look for it with: pgrep -a didtail"
            )),
            Self::Busy { store, .. } => Some(format!("see who holds it: fuser -v {store}")),
            Self::DiskFull { store, .. } => Some(format!(
                "make room; nothing is lost, didtail goes on by itself: df -h {store}"
            )),
            Self::NotWritable { store, .. } => Some(format!(
                "give the daemon's user the file and its folder: \
                 chown -R didtail: \"$(dirname {store})\""
            )),
            Self::Corrupt { store, .. } => Some(format!(
                "see how far it is damaged: sqlite3 {store} 'PRAGMA integrity_check'; then put \
                 a copy back in its place: didtail catches up from the copy's position"
            )),
            Self::Foreign { .. } | Self::BadUrl { .. } => Some(
                "set [store] url to a file of its own, e.g. \
                 \"sqlite:///var/lib/didtail/optimizer.db\""
                    .to_owned(),
            ),
            Self::NewerSchema { .. } => Some(
                "install the didtail that wrote it, or a newer one: apt install didtail".to_owned(),
            ),
            Self::OlderSchema { .. } => Some(
                "let the daemon of this version open it once: systemctl restart didtail".to_owned(),
            ),
            Self::Missing { store } => {
                let folder = std::path::Path::new(store).parent();
                let folder = folder.unwrap_or(std::path::Path::new("/var/lib/didtail"));
                Some(format!(
                    "the daemon makes it on its first start: systemctl start didtail; its folder \
                     must exist: install -d -o didtail -g didtail -m 0750 {}",
                    folder.display()
                ))
            }
            Self::Unreachable { store, .. } => Some(format!(
                "see whether this user may read the file and its folder: ls -ld {store} \
                 \"$(dirname {store})\""
            )),
            Self::Other { .. } => None,
        }
    }
}
