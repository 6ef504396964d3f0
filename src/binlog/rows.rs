//! Changed rows of a watched table: from the bytes of a row event to values.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use mysql_cdc::events::row_events::delete_rows_event::DeleteRowsEvent;
use mysql_cdc::events::row_events::mysql_value::MySqlValue;
use mysql_cdc::events::row_events::row_data::RowData;
use mysql_cdc::events::row_events::update_rows_event::UpdateRowsEvent;
use mysql_cdc::events::row_events::write_rows_event::WriteRowsEvent;

use crate::binlog::bytes::Bytes;
use crate::binlog::kind::{Operation, RowsKind};
use crate::binlog::{DecodeError, TableMap};

/// The values of one row, in column order.
#[derive(Debug)]
pub struct Row {
    /// `None`: the column is NULL, or not part of a partial image.
    pub cells: Vec<Option<MySqlValue>>,
}

/// One changed row.
#[derive(Debug)]
pub enum RowChange {
    /// The row is new.
    Insert {
        /// The row.
        after: Row,
    },
    /// The row changed.
    Update {
        /// As it was.
        before: Row,
        /// As it is.
        after: Row,
    },
    /// The row is gone.
    Delete {
        /// As it was.
        before: Row,
    },
}

/// The undecoded rows of one row event of a watched table.
#[derive(Debug)]
pub struct RowsEvent<'a> {
    /// The table.
    pub table: Arc<TableMap>,
    /// What happened to the rows.
    pub kind: RowsKind,
    /// The event's code.
    pub code: u8,
    /// The event's body, expanded if it was compressed.
    pub body: std::borrow::Cow<'a, [u8]>,
    /// Offset of the event in the binlog file; of one inside of a compressed
    /// transaction, that of the transaction.
    pub offset: u64,
    /// Number of the event's first row in what begins at `offset`: 0, or the
    /// expanded bytes of a compressed transaction before the event.
    pub first_row: u32,
    /// When the statement began, by the source's clock; seconds since 1970.
    pub timestamp: u32,
}

/// Flag of the last row event of a statement (`STMT_END_F`, log_event.h).
const STATEMENT_ENDS: u8 = 1;

impl RowsEvent<'_> {
    /// True when no further row event of the same statement follows.
    #[must_use]
    pub fn ends_statement(&self) -> bool {
        // Six bytes of table id, then the flags, low byte first.
        self.body
            .get(6)
            .is_some_and(|flags| flags & STATEMENT_ENDS != 0)
    }

    /// The changed rows; all columns must be present in every image.
    ///
    /// # Errors
    /// [`DecodeError`]: then none of the event's rows is known.
    pub fn decode(&self) -> Result<Vec<RowChange>, DecodeError> {
        self.check_lengths()?;
        let map = self.table.decoded();
        let maps = HashMap::from([(map.table_id, map.clone())]);
        let version = self.kind.version;
        let operation = self.kind.operation;
        let body: &[u8] = &self.body;
        super::contain(|| {
            let mut cursor = Cursor::new(body);
            Ok(match operation {
                Operation::Insert => WriteRowsEvent::parse(&mut cursor, &maps, version)?
                    .rows
                    .into_iter()
                    .map(|after| RowChange::Insert { after: row(after) })
                    .collect(),
                Operation::Update => UpdateRowsEvent::parse(&mut cursor, &maps, version)?
                    .rows
                    .into_iter()
                    .map(|both| RowChange::Update {
                        before: row(both.before_update),
                        after: row(both.after_update),
                    })
                    .collect(),
                Operation::Delete => DeleteRowsEvent::parse(&mut cursor, &maps, version)?
                    .rows
                    .into_iter()
                    .map(|before| RowChange::Delete {
                        before: row(before),
                    })
                    .collect(),
            })
        })
    }

    /// The library indexes by the column count and never ends on rows that
    /// take no bytes: refuse both before it starts.
    fn check_lengths(&self) -> Result<(), DecodeError> {
        let (columns, present) = self.columns_present()?;
        let map = self.table.column_types.len();
        if columns != map || columns == 0 {
            return Err(DecodeError::ColumnCount { rows: columns, map });
        }
        if present.contains(&0) {
            return Err(DecodeError::Malformed("the bitmap of columns"));
        }
        Ok(())
    }

    /// True when every image holds all columns (`binlog_row_image = FULL`).
    ///
    /// # Errors
    /// [`DecodeError`] when the event is too short to say.
    pub fn is_full_image(&self) -> Result<bool, DecodeError> {
        let (columns, present) = self.columns_present()?;
        Ok(present.iter().all(|count| *count == columns))
    }

    /// The number of columns, and how many of them each image holds.
    fn columns_present(&self) -> Result<(usize, Vec<usize>), DecodeError> {
        let mut bytes = Bytes::new(&self.body);
        bytes.take(8)?;
        if self.kind.version == 2 {
            let extra = usize::try_from(bytes.uint(2)?).unwrap_or(0);
            let extra = extra.checked_sub(2);
            bytes.take(extra.ok_or(DecodeError::Malformed("the extra data"))?)?;
        }
        let columns = bytes.length()?;
        let images = match self.kind.operation {
            Operation::Insert | Operation::Delete => 1,
            Operation::Update => 2,
        };
        let mut present = Vec::with_capacity(images);
        for _image in 0..images {
            present.push(set_among(bytes.take(columns.div_ceil(8))?, columns));
        }
        Ok((columns, present))
    }
}

/// The bits that are set among the first `columns` ones. Those behind them are
/// padding, which a server may set too: taken for columns, they would make a
/// partial image look full, and an empty one look like rows.
fn set_among(bitmap: &[u8], columns: usize) -> usize {
    let bits = bitmap
        .iter()
        .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
    bits.take(columns).map(usize::from).sum()
}

fn row(data: RowData) -> Row {
    Row { cells: data.cells }
}
