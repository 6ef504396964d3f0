//! The row of `replication_progress` of one source.

use sqlx::sqlite::SqliteConnection;

use crate::binlog::{BinlogFile, Position};
use crate::checkpoint::Checkpoint;

/// The checkpoint of a source.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    source: &str,
) -> Result<Option<Checkpoint>, sqlx::Error> {
    const READ: &str = "SELECT epoch, binlog_file, binlog_next, gtid, event_time, revision \
         FROM replication_progress WHERE source = ?";
    let row: Option<(i64, String, i64, String, Option<i64>, i64)> = sqlx::query_as(READ)
        .bind(source)
        .fetch_optional(connection)
        .await?;
    let Some((epoch, file, next, gtid, event_time, revision)) = row else {
        return Ok(None);
    };
    let file = BinlogFile::new(&file).map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
    Ok(Some(Checkpoint {
        epoch: epoch.cast_unsigned(),
        position: Position {
            file,
            next: next.cast_unsigned(),
        },
        gtid: gtid.parse().map_err(|e| sqlx::Error::Decode(Box::new(e)))?,
        event_time,
        revision: revision.cast_unsigned(),
    }))
}

/// Sets the checkpoint of a source.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    source: &str,
    checkpoint: &Checkpoint,
) -> Result<(), sqlx::Error> {
    const WRITE: &str = "INSERT INTO replication_progress \
         (source, epoch, binlog_file, binlog_next, gtid, event_time, revision, updated_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, unixepoch()) ON CONFLICT (source) DO UPDATE SET \
         epoch = excluded.epoch, binlog_file = excluded.binlog_file, \
         binlog_next = excluded.binlog_next, gtid = excluded.gtid, \
         event_time = excluded.event_time, \
         revision = excluded.revision, updated_at = excluded.updated_at";
    sqlx::query(WRITE)
        .bind(source)
        .bind(checkpoint.epoch.cast_signed())
        .bind(checkpoint.position.file.as_str())
        .bind(checkpoint.position.next.cast_signed())
        .bind(checkpoint.gtid.to_string())
        .bind(checkpoint.event_time)
        .bind(checkpoint.revision.cast_signed())
        .execute(connection)
        .await?;
    Ok(())
}
