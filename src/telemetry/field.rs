//! Names of the fields of log lines, so that one thing has one name in all of them.
//!
//! A constant works as a field name in braces: `info!({ SOURCE } = name, "…")`.

/// Name of the source.
pub const SOURCE: &str = "source.name";
/// Address of the source or store, without password.
pub const ADDRESS: &str = "address";
/// A binlog file.
pub const BINLOG_FILE: &str = "binlog.file";
/// `FILE:OFFSET` of the next event.
pub const POSITION: &str = "binlog.position";
/// The last transaction of each domain.
pub const GTID: &str = "binlog.gtid";
/// Code of an event.
pub const EVENT_CODE: &str = "event.code";
/// A table of the source.
pub const TABLE: &str = "table";
/// `uniqueid` of a call.
pub const CALL: &str = "call.id";
/// Number of rows.
pub const ROWS: &str = "rows";
/// Epoch of the checkpoint.
pub const EPOCH: &str = "epoch";
/// How far behind the source's clock, in seconds.
pub const LAG_SECONDS: &str = "lag_seconds";
/// Time until the next try, in milliseconds.
pub const RETRY_MS: &str = "retry_ms";
/// An error, as text.
pub const ERROR: &str = "error";
/// What is behind an error, as text.
pub const CAUSE: &str = "cause";
/// How to mend it.
pub const HINT: &str = "hint";
