//! The row of `replication_progress` of one source.

use sqlx::Error;

use super::dialect::{Change, Conflict};
use super::insert::{Insert, rows};
use super::session::Tx;
use super::value::{Field, Value};
use crate::binlog::{BinlogFile, Position};
use crate::checkpoint::Checkpoint;

/// The columns besides the key, in the order of reading and writing.
const COLUMNS: [&str; 8] = [
    "epoch",
    "server",
    "binlog_file",
    "binlog_next",
    "file_begun",
    "gtid",
    "event_time",
    "revision",
];

/// The checkpoint of a source.
pub(super) async fn read(tx: &mut Tx, source: &str) -> Result<Option<Checkpoint>, Error> {
    let read = tx
        .query(&format!(
            "SELECT {} FROM replication_progress",
            COLUMNS.join(", ")
        ))
        .sql(" WHERE source = ")
        .bind(source);
    let Some(mut row) = tx.fetch_first(read).await? else {
        return Ok(None);
    };
    let decode = |e: Box<dyn std::error::Error + Send + Sync>| Error::Decode(e);
    let (epoch, server) = (row.take()?, row.take()?);
    let file: String = row.take()?;
    let file = BinlogFile::new(&file).map_err(|e| decode(Box::new(e)))?;
    let (next, file_begun) = (row.take()?, row.take()?);
    let gtid: String = row.take()?;
    Ok(Some(Checkpoint {
        epoch,
        server,
        file_begun,
        position: Position { file, next },
        gtid: gtid.parse().map_err(|e| Error::Decode(Box::new(e)))?,
        event_time: row.take()?,
        revision: row.take()?,
    }))
}

/// Sets the checkpoint of a source.
pub(super) async fn write(tx: &mut Tx, source: &str, checkpoint: &Checkpoint) -> Result<(), Error> {
    let changing = COLUMNS.into_iter().chain(["updated_at"]);
    let changing: Vec<_> = changing.map(|column| (column, Change::Replace)).collect();
    let now = tx.dialect().now();
    let upsert = Insert {
        table: "replication_progress",
        columns: &[&["source"][..], &COLUMNS].concat(),
        fixed: &[("updated_at", now)],
        key: &["source"],
        then: Conflict::Change(&changing),
    };
    let gtid = checkpoint.gtid.to_string();
    tx.insert(
        &upsert,
        rows([checkpoint], |row, checkpoint| {
            row.push(source.into());
            row.push(checkpoint.epoch.value());
            row.push(Value::Text(checkpoint.server.as_deref()));
            row.push(checkpoint.position.file.as_str().into());
            row.push(checkpoint.position.next.value());
            row.push(checkpoint.file_begun.into());
            row.push((&gtid).into());
            row.push(checkpoint.event_time.into());
            row.push(checkpoint.revision.value());
        }),
    )
    .await
}
