//! The only place that talks to a VICIdial database.

mod behind;
mod count;
mod error;
mod file;
mod frame;
mod locate;
mod memory;
mod mysql;
mod preflight;
mod settings;
mod standing;
mod wire;

pub use behind::{FilesBefore, FilesThenLive};
pub use count::{Counted, count};
pub use error::SourceError;
pub use file::{FileSource, FileStream, Splitter};
pub use locate::{Located, Target};
pub use memory::{Fault, MemorySource, MemoryStream};
pub use mysql::{MySqlSource, MySqlStream, SourceTimeZone};
pub use preflight::{
    Distance, Finding, Outcome, archive_of, check_clock, check_success, distance, outlook,
    preflight, state_of, unreadable, verdict, within,
};
pub use settings::{ConnectSettings, TlsMode};
pub use standing::standing;
pub use wire::{Flavour, Server};

pub use crate::vicidial::Column;

use crate::binlog::{GtidPosition, Position, RawEvent};
use crate::vicidial::WallClock;

/// Cells of a row as text in the column's own character set; `None` is NULL.
pub type TableRow = Vec<Option<Vec<u8>>>;

/// Rows that one [`Source::select`] returns at most: an answer of so many is
/// cut off.
pub const SELECTED_ROWS_MAX: usize = 20_000;

/// Which rows of a table a [`Source::select`] is for: those that meet all of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Condition<'a> {
    /// A column, and the values of which it has one. Values that are no plain
    /// names or numbers are left out, since VICIdial's keys are.
    pub key: Option<(&'a str, &'a [String])>,
    /// A DATETIME column, and the first wall clock that is in and the first
    /// behind it that is out.
    pub window: Option<(&'a str, WallClock, WallClock)>,
}

/// Where the first row of a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextRow {
    /// At this wall clock.
    At(WallClock),
    /// The window is empty.
    None,
    /// It cannot be told without reading the whole table.
    Unknown,
}

/// A VICIdial database that can be followed.
///
/// # Contract
/// - [`Source::stream`] sends every event from the position on, in the order
///   of the binlog, each once, until the stream is dropped or fails. After a
///   failure the caller asks for a new stream from its last applied position.
/// - A stream begins as a server's does: with a made-up ROTATE that names the
///   file, then that file's format description. Unless `from` is the file's
///   start, the description's `end_low` is 0 and it takes no room. Another
///   made-up ROTATE may come wherever a file begins.
/// - A position where no event begins fails, from `stream` or from the first
///   reads, and so does a file that is gone.
/// - Nothing here writes to the database.
pub trait Source: Send + Sync + 'static {
    /// An open binlog dump.
    type Stream: EventStream;

    /// Opens the binlog dump at `from`.
    fn stream(
        &self,
        from: &Position,
    ) -> impl Future<Output = Result<Self::Stream, SourceError>> + Send;

    /// Opens a second dump at `from`, beside the one that follows the source,
    /// to look at what is ahead.
    fn look(
        &self,
        from: &Position,
    ) -> impl Future<Output = Result<Self::Stream, SourceError>> + Send;

    /// Where to go on, on the server that calls itself `server`, behind the
    /// transactions that were read from another one until about `read_at`
    /// (seconds since 1970); see [`MySqlSource::behind`]. A source that is
    /// always the same one has no use for it.
    fn behind(
        &self,
        server: &str,
        read: &GtidPosition,
        read_at: Option<i64>,
    ) -> impl Future<Output = Result<Located, SourceError>> + Send {
        let _ = read_at;
        let error = SourceError::ImpossiblePosition {
            position: read.to_string(),
            detail: format!("{server} cannot be searched for it"),
        };
        std::future::ready(Err(error))
    }

    /// What the server calls itself that answers at the address now, asked on
    /// a new connection; `None` where the source is no server.
    fn server_now(&self) -> impl Future<Output = Result<Option<String>, SourceError>> + Send {
        std::future::ready(Ok(None))
    }

    /// The end of the last complete group in the source's binlog, now.
    fn head(&self) -> impl Future<Output = Result<Position, SourceError>> + Send;

    /// Waits until what is asked of the tables shows everything before a
    /// position, whose transactions are `gtid`. A server sends a transaction to
    /// its replicas when it is in the binlog, and makes it visible only then: a
    /// SELECT in between finds the rows as they were before it.
    fn committed(
        &self,
        position: &Position,
        gtid: &GtidPosition,
    ) -> impl Future<Output = Result<(), SourceError>> + Send {
        let _ = (position, gtid);
        std::future::ready(Ok(()))
    }

    /// The columns of one table in order; empty when the table does not exist.
    fn columns(&self, table: &str)
    -> impl Future<Output = Result<Vec<Column>, SourceError>> + Send;

    /// These columns of some rows of a table, as text. Bounded: see
    /// [`SELECTED_ROWS_MAX`].
    fn select(
        &self,
        table: &str,
        columns: &[&str],
        condition: Condition<'_>,
    ) -> impl Future<Output = Result<Vec<TableRow>, SourceError>> + Send;

    /// All rows of a small table.
    fn rows(
        &self,
        table: &str,
        columns: &[&str],
    ) -> impl Future<Output = Result<Vec<TableRow>, SourceError>> + Send;

    /// The first row of a table whose DATETIME column is at or behind `from` and
    /// before `until`, where an index tells.
    fn next_row(
        &self,
        table: &str,
        column: &str,
        from: WallClock,
        until: WallClock,
    ) -> impl Future<Output = Result<NextRow, SourceError>> + Send {
        let _ = (table, column, from, until);
        std::future::ready(Ok(NextRow::Unknown))
    }

    /// Threads that the server has at work now; `None` where it is no server.
    fn threads_running(&self) -> impl Future<Output = Result<Option<u32>, SourceError>> + Send {
        std::future::ready(Ok(None))
    }
}

#[cfg(test)]
mod conformance;

/// An open binlog dump.
pub trait EventStream: Send + 'static {
    /// The next event; waits for it. Heartbeats come as events too.
    ///
    /// Cancel safe: a call that is dropped before it is ready loses nothing.
    ///
    /// # Errors
    /// [`SourceError`] once the stream is broken; it stays broken.
    fn next(&mut self) -> impl Future<Output = Result<RawEvent<'_>, SourceError>> + Send;

    /// What the server at the other end calls itself, where it is a server.
    fn server(&self) -> Option<&str> {
        None
    }

    /// The next event if it is here already; `None` means that the stream is
    /// idle and [`EventStream::next`] would wait.
    fn try_next(&mut self) -> Option<Result<RawEvent<'_>, SourceError>>;
}
