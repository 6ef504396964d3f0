//! Stands in for the MariaDB connection until it is merged; only names that `cli/` needs.

use super::SourceError;
use crate::binlog::{BinlogFile, GtidPosition, Position};
use crate::config::SourceConfig;

/// Where to go in a source's binlog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The oldest event that is still there.
    Earliest,
    /// The end.
    Latest,
    /// A place.
    Position(Position),
    /// Behind these transactions.
    Gtid(GtidPosition),
    /// The first group written at or after a time, in seconds since 1970 (UTC).
    Time(i64),
}

/// A connection to a VICIdial database.
#[derive(Debug)]
pub struct MySqlSource {
    address: String,
}

#[expect(clippy::unused_async, reason = "the real one waits")]
impl MySqlSource {
    /// Connects.
    ///
    /// # Errors
    /// Always, until the connection is merged.
    pub async fn connect(config: &SourceConfig) -> Result<Self, SourceError> {
        let address = config.url.to_string();
        Self { address }.missing()
    }

    /// Every binlog file of the server, the oldest first, with its size in bytes.
    ///
    /// # Errors
    /// Always, until the connection is merged.
    pub async fn binlogs(&self) -> Result<Vec<(BinlogFile, u64)>, SourceError> {
        self.missing()
    }

    /// Finds a place.
    ///
    /// # Errors
    /// Always, until the connection is merged.
    pub async fn locate(
        &self,
        _target: &Target,
    ) -> Result<(Position, GtidPosition, Option<i64>), SourceError> {
        self.missing()
    }

    fn missing<T>(&self) -> Result<T, SourceError> {
        Err(SourceError::Unreachable {
            address: self.address.clone(),
            detail: "this build has no MariaDB connection yet".to_owned(),
        })
    }
}

impl SourceError {
    /// How to mend it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        None
    }
}
