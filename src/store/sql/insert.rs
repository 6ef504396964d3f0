//! Writing many rows with few statements.
//!
//! # Why these shapes
//! A statement for every row costs a hand-over to SQLite's thread and back, or a
//! round trip to a server. PostgreSQL takes whole columns as arrays. The others
//! take multi-row statements in a few fixed sizes: those stay prepared, and any
//! number of rows is the largest size so many times and then a few smaller ones.

use super::dialect::{Conflict, Dialect};
use super::query::{Query, array};
use super::session::Tx;
use super::value::Value;

/// Rows of one statement on SQLite, largest first. 27 columns times 256 rows stay
/// far below its 32,766 parameters.
const SQLITE_ROWS: [usize; 5] = [256, 64, 16, 4, 1];

/// Most rows of one statement on MySQL; smaller ones are its halves. 28 columns
/// stay far below its 65,535 parameters.
const MYSQL_ROWS_MAX: usize = 512;

/// Most rows of one statement on PostgreSQL: some megabytes.
const POSTGRES_ROWS_MAX: usize = 4096;

/// What is written into a table.
pub(super) struct Insert<'s> {
    pub(super) table: &'s str,
    /// Columns with a value for each row.
    pub(super) columns: &'s [&'static str],
    /// Columns with the same SQL expression in each.
    pub(super) fixed: &'s [(&'s str, &'s str)],
    /// What a row is told by.
    pub(super) key: &'s [&'static str],
    pub(super) then: Conflict<'s>,
}

/// The values of rows one after the other; `put` adds those of one, in the order
/// of the columns.
pub(super) fn rows<'a, T>(
    items: impl IntoIterator<Item = T>,
    put: impl Fn(&mut Vec<Value<'a>>, T),
) -> Vec<Value<'a>> {
    let mut values = Vec::new();
    for item in items {
        put(&mut values, item);
    }
    values
}

impl Tx {
    /// Inserts rows.
    pub(super) async fn insert(
        &mut self,
        into: &Insert<'_>,
        rows: Vec<Value<'_>>,
    ) -> Result<(), sqlx::Error> {
        let width = into.columns.len().max(1);
        let mut left = rows.as_slice();
        while !left.is_empty() {
            let count = rows_at_once(self.dialect(), left.len() / width) * width;
            let (now, later) = left.split_at(count.min(left.len()));
            self.run(into.query(self.dialect(), now)).await?;
            left = later;
        }
        Ok(())
    }
}

fn rows_at_once(dialect: Dialect, left: usize) -> usize {
    match dialect {
        Dialect::Sqlite => {
            let fitting = SQLITE_ROWS.into_iter().find(|size| *size <= left);
            fitting.unwrap_or(1)
        }
        Dialect::Postgres => left.min(POSTGRES_ROWS_MAX),
        Dialect::MySql => (1 << left.max(1).ilog2()).min(MYSQL_ROWS_MAX),
    }
}

impl Insert<'_> {
    fn query<'a>(&self, dialect: Dialect, values: &[Value<'a>]) -> Query<'a> {
        let width = self.columns.len();
        let names = self.fixed.iter().map(|(name, _)| *name);
        let names: Vec<&str> = self.columns.iter().copied().chain(names).collect();
        let fixed = self.fixed.iter().map(|(_, expression)| *expression);
        let head = format!("INSERT INTO {} ({}) ", self.table, names.join(", "));
        let query = Query::new(dialect, &head);
        let query = match dialect {
            Dialect::Postgres => {
                let given = (0..width).map(|i| format!("v{i}"));
                let given: Vec<String> = given.collect();
                let all = given.iter().map(String::as_str).chain(fixed);
                let all = all.collect::<Vec<_>>().join(", ");
                let mut query = query.sql(&format!("SELECT {all} FROM unnest("));
                for i in 0..width {
                    let column = values.iter().skip(i).step_by(width).copied();
                    query = query.sql(if i == 0 { "" } else { ", " });
                    query = query.parameter(array(column.collect()));
                }
                query.sql(&format!(") AS given ({}) ", given.join(", ")))
            }
            Dialect::Sqlite | Dialect::MySql => {
                let marks = std::iter::repeat_n("?", width).chain(fixed);
                let row = format!("({})", marks.collect::<Vec<_>>().join(","));
                let rows = vec![row; values.len() / width.max(1)].join(",");
                query.sql(&format!("VALUES {rows} ")).with(values)
            }
        };
        query.sql(&dialect.on_conflict(self.table, self.key, self.then))
    }
}
