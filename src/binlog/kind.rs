//! Every event code of MariaDB and MySQL, as a closed list.
//!
//! Codes below 0xa0 are common or MySQL's, those from 0xa0 on MariaDB's; see
//! `log_event.h` of both servers. A code that is not listed is
//! [`Kind::Unrecognised`]: it is reported, never passed over in silence.

/// What an event is, by its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 2: a statement's text, or BEGIN, COMMIT, DDL.
    Query,
    /// 3: the server shut down in order.
    Stop,
    /// 4: the next file's name.
    Rotate,
    /// 15: versions and the checksum algorithm of the file.
    FormatDescription,
    /// 16: commit of a transaction of a transactional engine.
    Xid,
    /// 19: the table that the next row events are about.
    TableMap,
    /// 23 to 25, 30 to 32: changed rows.
    Rows(RowsKind),
    /// 26: the source lost events.
    Incident,
    /// 27, 41: the source is idle.
    Heartbeat,
    /// 18: a statement's text that loads a file sent before it.
    LoadQuery,
    /// 33: MySQL's GTID.
    MysqlGtid,
    /// 42: MySQL's GTID with a tag.
    MysqlTaggedGtid,
    /// 34: the start of a group on a MySQL without GTIDs.
    MysqlAnonymous,
    /// 35: MySQL's GTID set at the start of a file.
    PreviousGtids,
    /// 38: an XA transaction was prepared.
    XaPrepare,
    /// 39: changed rows with parts of JSON documents (`binlog_row_value_options`).
    PartialJsonRows,
    /// 40: MySQL's compressed transaction.
    TransactionPayload,
    /// 162: MariaDB's GTID, the start of a group.
    MariadbGtid,
    /// 163: MariaDB's GTID position at the start of a file.
    MariadbGtidList,
    /// 165: a statement's text, compressed.
    CompressedQuery,
    /// 166 to 171: changed rows, compressed.
    CompressedRows(RowsKind),
    /// Known, and without meaning for didtail: variables and files of
    /// statements, texts of statements in row format, checkpoints, encryption
    /// set-up, views of group replication.
    Passed,
    /// Nobody has told us of this code.
    Unrecognised(u8),
}

/// What happened to the rows of a row event, and how it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsKind {
    /// Insert, update or delete.
    pub operation: Operation,
    /// Version of the event: 1 (MariaDB, MySQL 5.1) or 2 (MySQL 5.6 and newer).
    pub version: u8,
}

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The row is new.
    Insert,
    /// The row changed.
    Update,
    /// The row is gone.
    Delete,
}

impl Kind {
    /// The kind of an event code.
    #[must_use]
    pub fn of(code: u8) -> Self {
        use Operation::{Delete, Insert, Update};
        let rows = |operation, version| RowsKind { operation, version };
        match code {
            2 => Self::Query,
            3 => Self::Stop,
            4 => Self::Rotate,
            15 => Self::FormatDescription,
            16 => Self::Xid,
            18 => Self::LoadQuery,
            19 => Self::TableMap,
            23 => Self::Rows(rows(Insert, 1)),
            24 => Self::Rows(rows(Update, 1)),
            25 => Self::Rows(rows(Delete, 1)),
            26 => Self::Incident,
            27 | 41 => Self::Heartbeat,
            30 => Self::Rows(rows(Insert, 2)),
            31 => Self::Rows(rows(Update, 2)),
            32 => Self::Rows(rows(Delete, 2)),
            33 => Self::MysqlGtid,
            34 => Self::MysqlAnonymous,
            35 => Self::PreviousGtids,
            38 => Self::XaPrepare,
            39 => Self::PartialJsonRows,
            40 => Self::TransactionPayload,
            42 => Self::MysqlTaggedGtid,
            162 => Self::MariadbGtid,
            163 => Self::MariadbGtidList,
            165 => Self::CompressedQuery,
            166 => Self::CompressedRows(rows(Insert, 1)),
            167 => Self::CompressedRows(rows(Update, 1)),
            168 => Self::CompressedRows(rows(Delete, 1)),
            169 => Self::CompressedRows(rows(Insert, 2)),
            170 => Self::CompressedRows(rows(Update, 2)),
            171 => Self::CompressedRows(rows(Delete, 2)),
            // 1 start v3, 5 int, 6..12 load, 13 rand, 14 user var, 17 a block of
            // a file to load; 28 ignorable, 29 rows query, 36 37 group
            // replication; 160 annotate, 161 checkpoint, 164 encryption.
            1 | 5..=14 | 17 | 28 | 29 | 36 | 37 | 160 | 161 | 164 => Self::Passed,
            // 0, 20 to 22 (rows before 5.1.18, undecodable today) and
            // everything newer.
            other => Self::Unrecognised(other),
        }
    }
}
