//! What a load by SELECT asks before it reads: where rows are, how many there may
//! be, and whether the server has time. Each answer costs it next to nothing.

use super::MySqlSource;
use super::facts::{identifier, unusable};
use crate::source::wire::text;
use crate::source::{NextRow, SourceError};
use crate::vicidial::WallClock;

impl MySqlSource {
    /// Threads of the server that do something now (`Threads_running`), this one
    /// and those that send binlogs among them.
    pub(super) async fn running(&self) -> Result<Option<u32>, SourceError> {
        let sql = "SHOW GLOBAL STATUS LIKE 'Threads_running'";
        let table = self.ask("how busy it is", sql).await?;
        let row = table.rows.first();
        let value = row.and_then(|row| row.get(1)).and_then(text);
        Ok(value.and_then(|value| value.parse().ok()))
    }

    /// Whether an index begins with this column, so that a window of it is found
    /// without reading the whole table.
    ///
    /// # Errors
    /// [`SourceError`] when the source cannot be asked.
    pub async fn has_index(&self, table: &str, column: &str) -> Result<bool, SourceError> {
        let (table, column) = (identifier(table)?, identifier(column)?);
        let sql = format!(
            "SELECT 1 FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = '{}' \
             AND TABLE_NAME = '{table}' AND COLUMN_NAME = '{column}' AND SEQ_IN_INDEX = 1 LIMIT 1",
            self.database()
        );
        let answer = self.ask(&format!("the indexes of {table}"), &sql).await?;
        Ok(!answer.rows.is_empty())
    }

    /// The first row of a window, by the index; without one nobody looks.
    pub(super) async fn first_row(
        &self,
        table: &str,
        column: &str,
        from: WallClock,
        until: WallClock,
    ) -> Result<NextRow, SourceError> {
        if !self.has_index(table, column).await? {
            return Ok(NextRow::Unknown);
        }
        let (name, column) = (identifier(table)?, identifier(column)?);
        let sql = format!(
            "SELECT HIGH_PRIORITY `{column}` FROM `{}`.`{name}` WHERE `{column}` >= '{from}' \
             AND `{column}` < '{until}' ORDER BY `{column}` LIMIT 1",
            self.database()
        );
        let what = format!("the first row of {name}");
        let answer = self.ask(&what, &sql).await?;
        let Some(row) = answer.rows.first() else {
            return Ok(NextRow::None);
        };
        let wall = row
            .first()
            .and_then(text)
            .and_then(|t| WallClock::parse(&t));
        wall.map(NextRow::At)
            .ok_or_else(|| unusable(&what, "no time"))
    }

    /// How many rows the server guesses that a window of a table has.
    ///
    /// # Errors
    /// [`SourceError`] when the source cannot be asked.
    pub async fn guessed_rows(
        &self,
        table: &str,
        column: &str,
        from: WallClock,
        until: WallClock,
    ) -> Result<Option<u64>, SourceError> {
        let (table, column) = (identifier(table)?, identifier(column)?);
        let sql = format!(
            "EXPLAIN FORMAT=TRADITIONAL SELECT `{column}` FROM `{}`.`{table}` \
             WHERE `{column}` >= '{from}' AND `{column}` < '{until}'",
            self.database()
        );
        let what = format!("how many rows of {table} there are");
        let answer = self.ask(&what, &sql).await?;
        Ok(answer.first("rows").and_then(|rows| rows.parse().ok()))
    }
}
