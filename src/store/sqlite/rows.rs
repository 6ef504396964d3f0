//! Writing many rows with few statements.
//!
//! # Why these shapes
//! A statement for every row costs a hand-over to SQLite's thread and back. So
//! rows go in multi-row statements, in a few fixed sizes: their texts are made
//! once and stay prepared, and any number of rows is the largest size so many
//! times and then at most three of each smaller one.
//!
//! Parameters are bare `?`: the driver looks numbered ones up by name in a list
//! as long as the statement's parameters, once for each.

use std::fmt::Write as _;
use std::sync::Arc;

use sqlx::Arguments as _;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};

/// Rows of one statement, largest first. 27 columns times 256 rows stay far
/// below SQLite's 32,766 parameters.
const SIZES: [usize; 5] = [256, 64, 16, 4, 1];

/// One multi-row statement in each size.
pub(super) struct MultiRow {
    texts: [String; SIZES.len()],
}

impl MultiRow {
    /// `head VALUES (row), (row) … tail`, where `row` is e.g. `?, ?, 'x'`.
    pub(super) fn new(head: &str, row: &str, tail: &str) -> Self {
        let texts = SIZES.map(|rows| {
            let mut text = format!("{head} VALUES ");
            for i in 0..rows {
                let comma = if i == 0 { "" } else { "," };
                let _infallible = write!(text, "{comma}({row})");
            }
            text.push(' ');
            text.push_str(tail);
            text
        });
        Self { texts }
    }

    /// Runs the statement for all rows.
    pub(super) async fn run<T>(
        &'static self,
        connection: &mut SqliteConnection,
        rows: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator + Send>,
        bind: impl Fn(&mut Row, T) + Send,
    ) -> Result<(), sqlx::Error> {
        let mut rows = rows.into_iter();
        for (size, text) in SIZES.into_iter().zip(&self.texts) {
            while rows.len() >= size {
                let mut row = Row::default();
                for item in rows.by_ref().take(size) {
                    bind(&mut row, item);
                }
                sqlx::query_with(text.as_str(), row.finish()?)
                    .execute(&mut *connection)
                    .await?;
            }
        }
        Ok(())
    }
}

/// Values of rows in the order of the statement's parameters.
#[derive(Default)]
pub(super) struct Row {
    arguments: SqliteArguments,
    error: Option<sqlx::error::BoxDynError>,
}

impl Row {
    /// Adds one value.
    pub(super) fn put<'t, T: sqlx::Encode<'t, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>>(
        &mut self,
        value: T,
    ) {
        if let Err(error) = self.arguments.add(value) {
            self.error = Some(error);
        }
    }

    /// Adds a text that many rows share.
    pub(super) fn put_shared(&mut self, value: &Arc<str>) {
        self.put(Arc::clone(value));
    }

    fn finish(self) -> Result<SqliteArguments, sqlx::Error> {
        match self.error {
            None => Ok(self.arguments),
            Some(error) => Err(sqlx::Error::Encode(error)),
        }
    }
}

/// `column = excluded.column` for each.
pub(super) fn assignments(columns: &[&str]) -> String {
    let assign = |column: &&str| format!("{column} = excluded.{column}");
    columns.iter().map(assign).collect::<Vec<_>>().join(", ")
}

/// Inserts rows, or does `set` where their key is there; `fixed` columns stay as
/// they were first written. Parameters come in the order key, fixed, changing.
pub(super) fn upsert(
    table: &str,
    key: &[&str],
    fixed: &[&str],
    changing: &[&str],
    set: &str,
) -> MultiRow {
    let columns = [key, fixed, changing].concat();
    let marks = vec!["?"; columns.len()].join(", ");
    MultiRow::new(
        &format!("INSERT INTO {table} ({})", columns.join(", ")),
        &marks,
        &format!("ON CONFLICT ({}) DO UPDATE SET {set}", key.join(", ")),
    )
}

/// A list of values as one parameter, for `json_each(?)`.
pub(super) fn json_list<T: serde::Serialize>(
    values: impl IntoIterator<Item = T>,
) -> Result<String, sqlx::Error> {
    let values: Vec<T> = values.into_iter().collect();
    serde_json::to_string(&values).map_err(|e| sqlx::Error::Encode(Box::new(e)))
}
