//! The rows of `status_flags` of one source.

use std::sync::{Arc, LazyLock};

use sqlx::sqlite::SqliteConnection;

use crate::store::sqlite::rows::{MultiRow, Row};
use crate::vicidial::{StatusBook, StatusFlags};

/// A row: status, campaign, and the flags in the order of the columns.
type Flags = (String, String, bool, bool, bool, bool);

/// What the statuses of a source mean.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    source: &str,
) -> Result<StatusBook, sqlx::Error> {
    const READ: &str = "SELECT status, campaign_id, human_answered, sale, dnc, answering_machine \
         FROM status_flags WHERE source = ?";
    let rows: Vec<Flags> = sqlx::query_as(READ)
        .bind(source)
        .fetch_all(connection)
        .await?;
    let mut book = StatusBook::default();
    for (status, campaign_id, human_answered, sale, dnc, answering_machine) in rows {
        let flags = StatusFlags {
            human_answered,
            sale,
            dnc,
            answering_machine,
        };
        book.set(&status, &campaign_id, flags);
    }
    Ok(book)
}

/// Puts the book in the place of what is there. Admins change it now and then.
pub(super) async fn write(
    tx: &mut SqliteConnection,
    source: &Arc<str>,
    book: &StatusBook,
) -> Result<(), sqlx::Error> {
    const REMOVE: &str = "DELETE FROM status_flags WHERE source = ?";
    static INSERT: LazyLock<MultiRow> = LazyLock::new(|| {
        MultiRow::new(
            "INSERT INTO status_flags \
             (source, status, campaign_id, human_answered, sale, dnc, answering_machine)",
            "?, ?, ?, ?, ?, ?, ?",
            "",
        )
    });
    let remove = sqlx::query(REMOVE).bind(source.as_ref());
    remove.execute(&mut *tx).await?;
    let rows: Vec<_> = book.rows().collect();
    let bind = |row: &mut Row, (status, campaign_id, flags): &(&str, &str, StatusFlags)| {
        row.put_shared(source);
        row.put(*status);
        row.put(*campaign_id);
        row.put(flags.human_answered);
        row.put(flags.sale);
        row.put(flags.dnc);
        row.put(flags.answering_machine);
    };
    INSERT.run(tx, &rows, bind).await
}
