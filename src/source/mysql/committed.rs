//! When SELECTs show what the binlog has.
//!
//! A server writes a transaction to its binlog, sends it to replicas, and only
//! then commits it in InnoDB. Between the two lie microseconds or, where it waits
//! for a semi-synchronous replica, seconds.

use std::time::Duration;

use tokio::time::Instant;

use super::{Flavour, MySqlSource};
use crate::binlog::{GtidPosition, Position};
use crate::source::SourceError;

/// How long a server may take from its binlog to the tables. It waits for a
/// semi-synchronous replica for ten seconds, unless it is told otherwise.
const PATIENCE: Duration = Duration::from_secs(15);

/// The first pause between two looks, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// What MySQL is given where nothing says how far it has got.
const GRACE: Duration = Duration::from_millis(300);

/// A snapshot of InnoDB, and the end of the last group in the binlog that is in
/// it (<https://mariadb.com/kb/en/enhancements-for-start-transaction-with-consistent-snapshot/>).
const SNAPSHOT: [&str; 3] = [
    "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    "SHOW STATUS LIKE 'binlog_snapshot_%'",
    "ROLLBACK",
];

impl MySqlSource {
    /// See [`Source::committed`](crate::source::Source::committed). MySQL without
    /// GTIDs cannot say it, and is given a moment.
    pub(super) async fn until_committed(
        &self,
        position: &Position,
        gtid: &GtidPosition,
    ) -> Result<(), SourceError> {
        if self.server.flavour == Flavour::MySql && gtid.is_empty() {
            tokio::time::sleep(GRACE).await;
            return Ok(());
        }
        let deadline = Instant::now() + PATIENCE;
        let mut pause = PAUSE_MIN;
        while !self.is_committed(position, gtid).await? {
            if Instant::now() >= deadline {
                return Err(SourceError::NotCommitted {
                    position: position.to_string(),
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Ok(())
    }

    async fn is_committed(
        &self,
        position: &Position,
        gtid: &GtidPosition,
    ) -> Result<bool, SourceError> {
        let what = "how far its transactions are committed";
        if self.server.flavour == Flavour::MySql {
            let sql = format!("SELECT GTID_SUBSET('{gtid}', @@GLOBAL.gtid_executed)");
            let answer = self.ask(what, &sql).await?;
            return Ok(answer.scalar().as_deref() == Some("1"));
        }
        let [_, snapshot, _] = self.ask_all(what, SNAPSHOT).await?;
        let said = |name: &str| {
            let rows = &mut snapshot.rows.iter();
            let row = rows.find(|row| row.first().and_then(super::text).as_deref() == Some(name));
            row.and_then(|row| row.get(1)).and_then(super::text)
        };
        let (file, next) = (
            said("Binlog_snapshot_file"),
            said("Binlog_snapshot_position"),
        );
        let place = format!("{}:{}", file.unwrap_or_default(), next.unwrap_or_default());
        let place: Position = place.parse().map_err(|_| SourceError::Query {
            what: what.to_owned(),
            detail: format!("binlog_snapshot_position is {place}"),
        })?;
        Ok(place >= *position)
    }
}
