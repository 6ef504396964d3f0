//! Why bytes could not be understood.

/// Bytes of one event that make no sense. It is about this event only: the
/// stream can go on behind it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The event ends too early.
    #[error("the event ends too early: {wanted} more bytes were expected, {left} are left")]
    Short {
        /// Bytes that were expected.
        wanted: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// A field has an impossible value.
    #[error("{0} in the event is malformed")]
    Malformed(&'static str),
    /// The description of the rows' table could not be understood.
    #[error("the table map of table id {0} could not be understood, so its rows cannot be either")]
    NoTableMap(u64),
    /// The rows have other columns than their table map.
    #[error("the row event has {rows} columns, its table map {map}")]
    ColumnCount {
        /// Columns in the row event.
        rows: usize,
        /// Columns in the table map.
        map: usize,
    },
    /// The decoding library refused the bytes.
    #[error("the row decoder refused the event: {0}")]
    Refused(String),
    /// The decoding library panicked on the bytes.
    #[error("the row decoder failed on the event: {0}")]
    Panicked(String),
    /// Rows that hold parts of JSON documents instead of the documents.
    #[error("the rows hold parts of JSON documents only (binlog_row_value_options = PARTIAL_JSON)")]
    PartialJson,
    /// An event of a transaction payload that is too large to be held.
    #[error("an event of {size} bytes in a compressed transaction is too large")]
    TooLarge {
        /// Its size in bytes.
        size: u32,
    },
    /// A compressed event could not be expanded.
    #[error("the compressed event cannot be expanded: {0}")]
    Compressed(&'static str),
}
