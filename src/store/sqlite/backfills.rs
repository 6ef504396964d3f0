//! The rows of `backfills`: how far loads have got.

use sqlx::sqlite::SqliteConnection;

use crate::store::{LoadName, LoadNote};

/// The note on one load of a source.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    source: &str,
    name: LoadName,
) -> Result<Option<LoadNote>, sqlx::Error> {
    const READ: &str = "SELECT note FROM backfills WHERE source = ? AND name = ?";
    let note: Option<String> = sqlx::query_scalar(READ)
        .bind(source)
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?;
    note.map(|text| serde_json::from_str(&text).map_err(|e| sqlx::Error::Decode(Box::new(e))))
        .transpose()
}

/// Puts a note in the place of the one before.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    source: &str,
    name: LoadName,
    note: &LoadNote,
) -> Result<(), sqlx::Error> {
    const WRITE: &str = "INSERT INTO backfills (source, name, note, saved_at) \
         VALUES (?, ?, ?, unixepoch()) ON CONFLICT (source, name) DO UPDATE SET \
         note = excluded.note, saved_at = excluded.saved_at";
    let text = serde_json::to_string(note).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
    sqlx::query(WRITE)
        .bind(source)
        .bind(name.as_str())
        .bind(text)
        .execute(connection)
        .await?;
    Ok(())
}
