//! The rows of `backfills`: how far loads have got.

use sqlx::Error;

use super::dialect::{Change, Conflict};
use super::insert::{Insert, rows};
use super::session::Tx;
use super::value::Value;
use crate::store::{LoadName, LoadNote};

/// The note on one load of a source.
pub(super) async fn read(
    tx: &mut Tx,
    source: &str,
    name: LoadName,
) -> Result<Option<LoadNote>, Error> {
    let read = tx
        .query("SELECT note FROM backfills WHERE source = ")
        .bind(source)
        .sql(" AND name = ")
        .bind(name.as_str());
    let Some(mut row) = tx.fetch_first(read).await? else {
        return Ok(None);
    };
    let note: String = row.take()?;
    let note = serde_json::from_str(&note).map_err(|e| Error::Decode(Box::new(e)))?;
    Ok(Some(note))
}

/// Writes the note on one load of a source.
pub(super) async fn write(
    tx: &mut Tx,
    source: &str,
    name: LoadName,
    note: &LoadNote,
) -> Result<(), Error> {
    let now = tx.dialect().now();
    let upsert = Insert {
        table: "backfills",
        columns: &["source", "name", "note"],
        fixed: &[("saved_at", now)],
        key: &["source", "name"],
        then: Conflict::Change(&[("note", Change::Replace), ("saved_at", Change::Replace)]),
    };
    let text = serde_json::to_string(note).map_err(|e| Error::Encode(Box::new(e)))?;
    tx.insert(
        &upsert,
        rows([&text], |row, text| {
            row.extend([source, name.as_str(), text].map(Value::from));
        }),
    )
    .await
}
