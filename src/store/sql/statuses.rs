//! The rows of `status_flags` of one source.

use sqlx::Error;

use super::dialect::Conflict;
use super::insert::{Insert, rows};
use super::session::Tx;
use super::value::Value;
use crate::vicidial::{StatusBook, StatusFlags};

/// The columns behind the source, in the order of reading and writing.
const COLUMNS: [&str; 6] = [
    "status",
    "campaign_id",
    "human_answered",
    "sale",
    "dnc",
    "answering_machine",
];

/// What the statuses of a source mean.
pub(super) async fn read(tx: &mut Tx, source: &str) -> Result<StatusBook, Error> {
    let read = tx
        .query(&format!("SELECT {} FROM status_flags", COLUMNS.join(", ")))
        .sql(" WHERE source = ")
        .bind(source);
    let mut book = StatusBook::default();
    for mut row in tx.fetch(read).await? {
        let (status, campaign_id): (String, String) = (row.take()?, row.take()?);
        let flags = StatusFlags {
            human_answered: row.take()?,
            sale: row.take()?,
            dnc: row.take()?,
            answering_machine: row.take()?,
        };
        book.set(&status, &campaign_id, flags);
    }
    Ok(book)
}

/// Puts the book in the place of what is there. Admins change it now and then.
pub(super) async fn write(tx: &mut Tx, source: &str, book: &StatusBook) -> Result<(), Error> {
    let insert = Insert {
        table: "status_flags",
        columns: &[&["source"][..], &COLUMNS].concat(),
        fixed: &[],
        key: &[],
        then: Conflict::Fail,
    };
    let remove = tx.query("DELETE FROM status_flags WHERE source = ");
    tx.run(remove.bind(source)).await?;

    tx.insert(
        &insert,
        rows(book.rows(), |row, (status, campaign_id, flags)| {
            row.extend([source, status, campaign_id].map(Value::from));
            let flags = [
                flags.human_answered,
                flags.sale,
                flags.dnc,
                flags.answering_machine,
            ];
            row.extend(flags.map(|flag| Value::from(i64::from(flag))));
        }),
    )
    .await
}
