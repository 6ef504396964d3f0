//! The rows of `landmarks` of one source.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Error;

use super::dialect::{Change, Conflict};
use super::insert::{Insert, rows};
use super::session::Tx;
use super::value::{Field, Value};
use crate::binlog::{BinlogFile, Position};
use crate::landmark::{LANDMARKS_MAX, Landmark};
use crate::ledger::ChangeSet;
use crate::store::landmark::{kind, sight, subject, value};

/// What tells a landmark of a source.
const KEY: [&str; 6] = [
    "source",
    "epoch",
    "kind",
    "subject",
    "binlog_file",
    "binlog_next",
];

/// The landmarks of a source in one epoch, in the order of their places.
pub(super) async fn read(tx: &mut Tx, source: &str, epoch: u64) -> Result<Vec<Landmark>, Error> {
    let read = tx
        .query("SELECT binlog_file, binlog_next, kind, subject, value FROM landmarks")
        .sql(" WHERE source = ")
        .bind(source)
        .sql(" AND epoch = ")
        .bind(epoch.value());
    let mut landmarks = Vec::new();
    for mut row in tx.fetch(read).await? {
        let (file, next): (String, u64) = (row.take()?, row.take()?);
        let file = BinlogFile::new(&file).map_err(|e| Error::Decode(Box::new(e)))?;
        let (kind, subject, value): (String, String, String) =
            (row.take()?, row.take()?, row.take()?);
        let found = sight(&kind, subject, &value).map_err(|e| Error::Decode(Box::new(e)))?;
        let place = Position { file, next };
        landmarks.extend(found.map(|sight| Landmark { place, sight }));
    }
    landmarks.sort_by(|a, b| a.place.cmp(&b.place));
    Ok(landmarks)
}

/// Adds the landmarks of a change, and forgets the oldest beyond the limit.
pub(super) async fn write(tx: &mut Tx, change: &ChangeSet) -> Result<(), Error> {
    const CHANGE: [(&str, Change); 1] = [("value", Change::Replace)];
    if change.landmarks.is_empty() {
        return Ok(());
    }
    let source = change.source.as_str();
    let epoch = change.checkpoint.epoch;
    let upsert = Insert {
        table: "landmarks",
        columns: &[&KEY[..], &["value"]].concat(),
        fixed: &[],
        key: &KEY,
        then: Conflict::Change(&CHANGE),
    };
    // What was seen twice at one place is as it was seen last; a statement cannot
    // write one row twice.
    let mut values = BTreeMap::new();
    for landmark in &change.landmarks {
        let (sight, place) = (&landmark.sight, &landmark.place);
        let value = value(sight).map_err(|e| Error::Encode(Box::new(e)))?;
        values.insert((kind(sight), subject(sight), place), value);
    }
    tx.insert(
        &upsert,
        rows(&values, |row, ((kind, subject, place), value)| {
            row.extend([source.into(), epoch.value()]);
            row.extend([*kind, *subject].map(Value::from));
            row.push(place.file.as_str().into());
            row.push(place.next.value());
            row.push(value.into());
        }),
    )
    .await?;
    let kinds: BTreeSet<&'static str> = values.keys().map(|(kind, _, _)| *kind).collect();
    for kind in kinds {
        // MySQL cannot read the table that it deletes from but by a copy.
        let trim = tx
            .query("DELETE FROM landmarks WHERE source = ")
            .bind(source)
            .sql(" AND kind = ")
            .bind(kind)
            .sql(" AND id <= (SELECT id FROM (SELECT id FROM landmarks WHERE source = ")
            .bind(source)
            .sql(" AND kind = ")
            .bind(kind)
            .sql(&format!(
                " ORDER BY id DESC LIMIT 1 OFFSET {LANDMARKS_MAX}) oldest)"
            ));
        tx.run(trim).await?;
    }
    Ok(())
}
