//! Binlog files on disk with the server that they come from behind them, where
//! it can be reached: for `didtail replay`.
//!
//! Files hold no tables. What the engine asks of tables, their columns and the
//! rows that statements changed, the server answers; and a look ahead for changed
//! columns goes on in the server's own binlog behind the last file, because the
//! columns that it tells are those of now.

use std::sync::Arc;

use super::{
    Column, Condition, EventStream, FileSource, FileStream, Source, SourceError, TableRow,
};
use crate::binlog::{Position, RawEvent};

/// Files, and the server behind them.
pub struct FilesBefore<L> {
    files: FileSource,
    /// The end of the last complete group in the files.
    end: Position,
    live: Option<Arc<L>>,
    /// The server's own binlog has what follows the files.
    goes_on: bool,
}

impl<L: Source> FilesBefore<L> {
    /// Files that end at `end`. `goes_on` says that the server's binlog still has
    /// what comes then.
    pub fn new(files: FileSource, end: Position, live: Option<Arc<L>>, goes_on: bool) -> Self {
        Self {
            files,
            end,
            goes_on: goes_on && live.is_some(),
            live,
        }
    }

    fn asked(&self, what: &str) -> Result<&L, SourceError> {
        self.live.as_deref().ok_or_else(|| SourceError::Query {
            what: what.to_owned(),
            detail: "binlog files hold no tables, and the source cannot be reached".to_owned(),
        })
    }
}

impl<L: Source> Source for FilesBefore<L> {
    type Stream = FilesThenLive<L>;

    async fn stream(&self, from: &Position) -> Result<Self::Stream, SourceError> {
        Ok(FilesThenLive {
            files: self.files.stream(from).await?,
            then: None,
            live: None,
        })
    }

    async fn look(&self, from: &Position) -> Result<Self::Stream, SourceError> {
        let live = self.live.as_ref().filter(|_| self.goes_on);
        let mut files = self.files.look(from).await?;
        files.end_at(self.end.clone());
        Ok(FilesThenLive {
            files,
            then: live.map(|live| (Arc::clone(live), self.end.clone())),
            live: None,
        })
    }

    async fn head(&self) -> Result<Position, SourceError> {
        match self.live.as_ref().filter(|_| self.goes_on) {
            Some(live) => live.head().await,
            None => Ok(self.end.clone()),
        }
    }

    /// None without a server: then the columns of the state file hold, and those
    /// in the files.
    async fn columns(&self, table: &str) -> Result<Vec<Column>, SourceError> {
        match &self.live {
            Some(live) => live.columns(table).await,
            None => Ok(Vec::new()),
        }
    }

    async fn select(
        &self,
        table: &str,
        columns: &[&str],
        condition: Condition<'_>,
    ) -> Result<Vec<TableRow>, SourceError> {
        let live = self.asked(table)?;
        live.select(table, columns, condition).await
    }

    async fn rows(&self, table: &str, columns: &[&str]) -> Result<Vec<TableRow>, SourceError> {
        self.asked(table)?.rows(table, columns).await
    }
}

/// A stream of [`FilesBefore`].
pub struct FilesThenLive<L: Source> {
    files: FileStream,
    /// Where to go on behind the files.
    then: Option<(Arc<L>, Position)>,
    live: Option<L::Stream>,
}

impl<L: Source> EventStream for FilesThenLive<L> {
    async fn next(&mut self) -> Result<RawEvent<'_>, SourceError> {
        if self.live.is_none()
            && self.files.is_at_end()
            && let Some((live, end)) = &self.then
        {
            self.live = Some(live.look(end).await?);
        }
        match &mut self.live {
            Some(live) => live.next().await,
            None => self.files.next().await,
        }
    }

    fn try_next(&mut self) -> Option<Result<RawEvent<'_>, SourceError>> {
        match &mut self.live {
            Some(live) => live.try_next(),
            None => self.files.try_next(),
        }
    }
}
