//! The table that row events are about, and which tables are watched.
//!
//! Over 95 % of a VICIdial binlog is about other tables, so the name is
//! compared as bytes before anything is decoded.

use std::collections::BTreeSet;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder};
use mysql_cdc::events::table_map_event::TableMapEvent;

use crate::binlog::DecodeError;
use crate::binlog::bytes::Bytes;
use crate::binlog::metadata::{ColumnMetadata, Metadata};

/// Most columns accepted; MariaDB's own limit.
const COLUMNS_MAX: usize = 4096;

/// Column type codes that matter here; see
/// <https://mariadb.com/kb/en/rows_event_v1-rows_compressed_event_v1/>.
pub(super) mod code {
    pub(in crate::binlog) const YEAR: u8 = 13;
    pub(in crate::binlog) const VARCHAR: u8 = 15;
    pub(in crate::binlog) const BLOB_COMPRESSED: u8 = 140;
    pub(in crate::binlog) const VARCHAR_COMPRESSED: u8 = 141;
    pub(in crate::binlog) const JSON: u8 = 245;
    pub(in crate::binlog) const ENUM: u8 = 247;
    pub(in crate::binlog) const SET: u8 = 248;
    pub(in crate::binlog) const TINY_BLOB: u8 = 249;
    pub(in crate::binlog) const BLOB: u8 = 252;
    pub(in crate::binlog) const VAR_STRING: u8 = 253;
    pub(in crate::binlog) const STRING: u8 = 254;
    pub(in crate::binlog) const GEOMETRY: u8 = 255;
}

/// The type of a column, with ENUM and SET told from CHAR: all three are sent
/// as STRING, with the real type in the upper byte of the parameters.
pub(super) fn real_type((kind, metadata): (u8, u16)) -> u8 {
    let [high, _] = metadata.to_be_bytes();
    match kind {
        code::STRING if high == code::ENUM || high == code::SET => high,
        _ => kind,
    }
}

/// The tables to be decoded: one database, exact names.
#[derive(Clone, Debug)]
pub struct Watch {
    database: Vec<u8>,
    tables: Vec<Vec<u8>>,
    /// Finds the names in statements, of which a source without row images has
    /// one for every change of every table. `None` where there are no names.
    names: Option<AhoCorasick>,
}

impl Watch {
    /// Watches these tables of a database. Names are compared as the server
    /// writes them; a table's rank in the list is its [`TableMap::watched`].
    #[must_use]
    pub fn new(database: &str, tables: &[&str]) -> Self {
        Self {
            database: database.as_bytes().to_vec(),
            tables: tables.iter().map(|t| t.as_bytes().to_vec()).collect(),
            names: AhoCorasickBuilder::new()
                .ascii_case_insensitive(true)
                .build(tables)
                .ok(),
        }
    }

    pub(super) fn rank(&self, database: &[u8], table: &[u8]) -> Option<usize> {
        // Without regard to case: under lower_case_table_names = 1 the binlog
        // has the names in lower case, however the configuration spells them.
        if !database.eq_ignore_ascii_case(&self.database) {
            return None;
        }
        self.tables
            .iter()
            .position(|name| name.eq_ignore_ascii_case(table))
    }

    /// The watched tables that a statement names as a whole word, so that
    /// `vicidial_log_archive` is not taken for `vicidial_log`. From a session in
    /// another database the statement must name the database too.
    pub(super) fn named_in(&self, session_database: &[u8], statement: &[u8]) -> Vec<usize> {
        let mut named = BTreeSet::new();
        let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'$';
        for found in self
            .names
            .iter()
            .flat_map(|names| names.find_overlapping_iter(statement))
        {
            let before = found.start().checked_sub(1).and_then(|j| statement.get(j));
            let after = statement.get(found.end());
            if !before.is_some_and(is_word) && !after.is_some_and(is_word) {
                named.insert(found.pattern().as_usize());
            }
        }
        if named.is_empty() || session_database.eq_ignore_ascii_case(&self.database) {
            return named.into_iter().collect();
        }
        let mut words = statement.windows(self.database.len().max(1));
        if words.any(|found| found.eq_ignore_ascii_case(&self.database)) {
            named.into_iter().collect()
        } else {
            Vec::new()
        }
    }
}

/// A watched table, as its rows are encoded.
#[derive(Debug)]
pub struct TableMap {
    /// The server's number of the table's present definition.
    pub table_id: u64,
    /// Rank of the table in the [`Watch`] list.
    pub watched: usize,
    /// Column types as in `binlog_type_codes`, with text types as the server
    /// sent them, before they were turned into byte types for decoding.
    pub column_types: Vec<u8>,
    /// The types' own parameters, as sent: of a VARCHAR its length in bytes.
    pub column_metadata: Vec<u16>,
    /// Column names, where `binlog_row_metadata = FULL`.
    pub column_names: Option<Vec<String>>,
    told: Vec<ColumnMetadata>,
    /// The event as sent, kept for quarantine.
    pub body: Vec<u8>,
    decoded: TableMapEvent,
}

impl TableMap {
    /// The description for the row decoder, with text columns as bytes.
    pub(super) fn decoded(&self) -> &TableMapEvent {
        &self.decoded
    }

    /// What the map itself says of a column; nothing of one that it does not have.
    #[must_use]
    pub fn column_metadata_of(&self, index: usize) -> &ColumnMetadata {
        const NOTHING: &ColumnMetadata = &ColumnMetadata {
            unsigned: None,
            collation: None,
            labels: None,
        };
        self.told.get(index).unwrap_or(NOTHING)
    }

    /// Decodes a table map of a watched table.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes make no sense.
    pub fn decode(body: &[u8], watched: usize) -> Result<Self, DecodeError> {
        let behind = optional_metadata(body)?;
        // Without the optional metadata: the library allocates by lengths in it
        // unseen, and refuses the fields of newer servers.
        let plain = body.len() - behind.rest().len();
        let plain = body.get(..plain).unwrap_or(body);
        let mut decoded =
            super::contain(|| TableMapEvent::parse(&mut std::io::Cursor::new(plain)))?;
        let column_types = decoded.column_types.clone();
        let column_metadata = decoded.column_metadata.clone();
        let types = column_types.iter().copied();
        let types: Vec<(u8, u16)> = types.zip(column_metadata.iter().copied()).collect();
        let Metadata { names, columns } = Metadata::decode(behind, &types)?;
        check_blobs(&decoded)?;
        for (kind, metadata) in decoded
            .column_types
            .iter_mut()
            .zip(&mut decoded.column_metadata)
        {
            text_as_bytes(kind, metadata);
        }
        Ok(Self {
            table_id: decoded.table_id,
            watched,
            column_types,
            column_metadata,
            column_names: names,
            told: columns,
            body: body.to_vec(),
            decoded,
        })
    }
}

/// Turns a text column into a BLOB of the same wire layout, so that the decoder
/// returns its bytes: it refuses text that is not UTF-8, and VICIdial's tables
/// are often latin1.
fn text_as_bytes(kind: &mut u8, metadata: &mut u16) {
    let bytes_max = match *kind {
        code::VARCHAR | code::VAR_STRING => *metadata,
        code::STRING => {
            if real_type((*kind, *metadata)) != code::STRING {
                return;
            }
            // High byte: the real type, with the length's bits 8 and 9 inverted
            // in bits 4 and 5 (bug 37426); low byte: the length's bits 0 to 7.
            let [high, low] = metadata.to_be_bytes();
            u16::from(low) | (u16::from((high & 0x30) ^ 0x30) << 4)
        }
        _ => return,
    };
    *kind = code::BLOB;
    *metadata = if bytes_max < 256 { 1 } else { 2 };
}

/// What is behind the fields that every table map has.
fn optional_metadata(body: &[u8]) -> Result<Bytes<'_>, DecodeError> {
    let mut bytes = Bytes::new(body);
    bytes.take(8)?;
    for _name in 0..2 {
        let length = usize::from(bytes.u8()?);
        bytes.take(length + 1)?;
    }
    let columns = bytes.length()?;
    if columns > COLUMNS_MAX {
        return Err(DecodeError::Malformed("the column count"));
    }
    bytes.take(columns)?;
    let metadata = bytes.length()?;
    bytes.take(metadata)?;
    bytes.take(columns.div_ceil(8))?;
    Ok(bytes)
}

/// The library allocates by the length of a BLOB, and takes its width as sent:
/// no server has one wider than 4 bytes.
fn check_blobs(map: &TableMapEvent) -> Result<(), DecodeError> {
    let is_blob = |kind: u8| kind == code::JSON || (code::TINY_BLOB..=code::BLOB).contains(&kind);
    for (kind, width) in map.column_types.iter().zip(&map.column_metadata) {
        if (is_blob(*kind) || *kind == code::GEOMETRY) && !(1..=4).contains(width) {
            return Err(DecodeError::Malformed("the width of a BLOB's length"));
        }
    }
    Ok(())
}

/// The tables of the statement being read, and the last descriptions decoded.
///
/// A server describes a table anew in every group, so nothing is remembered
/// beyond it but the decoded form of descriptions that come again and again.
#[derive(Debug, Default)]
pub(super) struct TableMaps {
    in_group: Vec<Arc<TableMap>>,
    /// Watched tables of this group whose description makes no sense: their
    /// rows must not pass for rows of other tables.
    broken: Vec<u64>,
    recent: Vec<Arc<TableMap>>,
}

/// Descriptions kept: each watched table a few times over, as their columns change.
const RECENT_MAX: usize = 32;

/// Tables one statement may touch; MariaDB joins at most 61.
const IN_GROUP_MAX: usize = 64;

impl TableMaps {
    /// Takes a table map event; `Ok(None)` when its table is not watched.
    pub(super) fn see(&mut self, body: &[u8], watch: &Watch) -> Result<(), DecodeError> {
        let mut bytes = Bytes::new(body);
        let table_id = bytes.uint(6)?;
        bytes.take(2)?;
        let length = usize::from(bytes.u8()?);
        let database = bytes.take(length)?;
        bytes.take(1)?;
        let length = usize::from(bytes.u8()?);
        let table = bytes.take(length)?;
        let Some(watched) = watch.rank(database, table) else {
            return Ok(());
        };
        self.in_group.retain(|map| map.table_id != table_id);
        let known = self.recent.iter().find(|map| map.body == body).cloned();
        let map = match known {
            Some(map) => map,
            None => {
                let decoded = TableMap::decode(body, watched);
                if decoded.is_err() && self.broken.len() < IN_GROUP_MAX {
                    self.broken.push(table_id);
                }
                let map = Arc::new(decoded?);
                if self.recent.len() == RECENT_MAX {
                    self.recent.remove(0);
                }
                self.recent.push(Arc::clone(&map));
                map
            }
        };
        if self.in_group.len() < IN_GROUP_MAX {
            self.in_group.push(map);
        }
        Ok(())
    }

    /// The description of a table; `Ok(None)` when it is not watched.
    pub(super) fn find(&self, table_id: u64) -> Result<Option<&Arc<TableMap>>, DecodeError> {
        if self.broken.contains(&table_id) {
            return Err(DecodeError::NoTableMap(table_id));
        }
        Ok(self.in_group.iter().find(|map| map.table_id == table_id))
    }

    pub(super) fn end_group(&mut self) {
        self.in_group.clear();
        self.broken.clear();
    }
}
