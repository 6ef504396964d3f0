//! Which cell of a row is which column.
//!
//! Columns are mapped by name: installs have 16, 17 or 18 columns in
//! `vicidial_log`, and admins add their own. Row images carry no names unless
//! the source says `binlog_row_metadata = FULL`; else the names come from
//! `information_schema`, as the table was when the row was written, and are
//! believed only when the types of the columns agree with the row's table map.

use std::collections::BTreeMap;

use crate::binlog::TableMap;
use crate::vicidial::Table;
use crate::vicidial::text::Charset;

/// One column of a watched table, as `information_schema.COLUMNS` tells it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Column {
    /// Name in lower case.
    pub name: String,
    /// `COLUMN_TYPE`, e.g. `int(10) unsigned` or `enum('Y','N')`.
    pub column_type: String,
    /// `CHARACTER_SET_NAME` of text, ENUM and SET columns, e.g. `latin1`.
    pub charset: Option<String>,
}

impl Column {
    /// Text of this column, by the bytes that are stored.
    #[must_use]
    pub fn decode(&self, bytes: &[u8]) -> String {
        Charset::of(self.charset.as_deref()).decode(bytes)
    }

    /// A text as the column stores it on a server that is not strict: cut off at
    /// its length, and empty where an ENUM has no such label.
    #[must_use]
    pub fn stored(&self, text: &str) -> String {
        if let Some(length) = self.characters_max() {
            return text.chars().take(length).collect();
        }
        if !self.column_type.starts_with("enum(") {
            return text.to_owned();
        }
        let labels = labels(&self.column_type);
        let found = labels
            .into_iter()
            .find(|label| label.eq_ignore_ascii_case(text));
        found.unwrap_or_default()
    }

    /// The length at which a VARCHAR or CHAR cuts values off, in characters, on
    /// a server that is not strict; `None` for other types.
    #[must_use]
    pub fn characters_max(&self) -> Option<usize> {
        let rest = self.column_type.strip_prefix("varchar(");
        let rest = rest.or_else(|| self.column_type.strip_prefix("char("))?;
        rest.split(')').next()?.parse().ok()
    }
}

/// Where one column is and how its cells are to be read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) index: usize,
    pub(super) charset: Charset,
    pub(super) signed: bool,
    /// ENUM labels; index 1 is the first.
    pub(super) labels: Vec<String>,
}

/// The columns of one version of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The table.
    pub table: Table,
    fields: BTreeMap<String, Field>,
}

/// Why a table's rows cannot be read by name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The row's columns are not those that the table is known to have had.
    #[error(
        "the {columns} columns of the row's {table} are not those of the table: it was altered since, or by another client"
    )]
    Unknown {
        /// The table.
        table: &'static str,
        /// Columns in the row.
        columns: usize,
    },
    /// The table was altered more than once since the row was written.
    #[error(
        "{table} was altered more than once since, so that its columns at that time are not known; with binlog_row_metadata = FULL each row says them"
    )]
    Ambiguous {
        /// The table.
        table: &'static str,
    },
    /// The table lacks a column that is needed.
    #[error("{table} has no column {column}")]
    Missing {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
}

impl Layout {
    /// Maps the columns of a table map. Their names are those in the map, where
    /// it has them, else those of `columns`, which must be of the map's types.
    ///
    /// Either may have more columns than the other, because VICIdial's upgrades
    /// append: the row is then older or newer than `columns`.
    ///
    /// # Errors
    /// [`LayoutError`] when the columns do not fit or a needed one is missing.
    pub fn of(table: Table, map: &TableMap, columns: &[Column]) -> Result<Self, LayoutError> {
        let types = map.column_types.iter().copied();
        let types: Vec<(u8, u16)> = types.zip(map.column_metadata.iter().copied()).collect();
        if let Some(names) = &map.column_names {
            let known = |name: &String| {
                let name = name.to_lowercase();
                let found = columns.iter().find(|column| column.name == name);
                // What is not known of it the map says too.
                found.cloned().unwrap_or(Column {
                    name,
                    column_type: String::new(),
                    charset: None,
                })
            };
            let columns: Vec<Column> = names.iter().map(known).collect();
            return Self::new(table, &columns, Some(map));
        }
        let unknown = LayoutError::Unknown {
            table: table.name(),
            columns: types.len(),
        };
        if !fits(columns, &types) {
            return Err(unknown);
        }
        match columns.get(..types.len()) {
            Some(columns) => Self::new(table, columns, Some(map)),
            // What is needed may be among those that are not known.
            None => Self::new(table, columns, Some(map)).map_err(|_| unknown),
        }
    }

    /// Maps the columns of a SELECT, in its order.
    ///
    /// # Errors
    /// [`LayoutError::Missing`].
    pub fn of_select(table: Table, columns: &[Column]) -> Result<Self, LayoutError> {
        Self::new(table, columns, None)
    }

    /// Maps columns given in order. What the map says of them stands over what
    /// is known of them: it was written with the row.
    fn new(table: Table, columns: &[Column], map: Option<&TableMap>) -> Result<Self, LayoutError> {
        let field = |(index, column): (usize, &Column)| {
            let told = map.map(|map| map.column_metadata_of(index));
            let told = told.cloned().unwrap_or_default();
            let charset = told.collation.and_then(Charset::of_collation);
            let charset = charset.unwrap_or_else(|| Charset::of(column.charset.as_deref()));
            let field = Field {
                index,
                charset,
                signed: match told.unsigned {
                    Some(unsigned) => !unsigned,
                    None => !column.column_type.contains("unsigned"),
                },
                labels: match &told.labels {
                    Some(told) => told.iter().map(|label| charset.decode(label)).collect(),
                    None => labels(&column.column_type),
                },
            };
            (column.name.clone(), field)
        };
        let fields: BTreeMap<String, Field> = columns.iter().enumerate().map(field).collect();
        for column in table.needed() {
            if !fields.contains_key(*column) {
                return Err(LayoutError::Missing {
                    table: table.name(),
                    column,
                });
            }
        }
        Ok(Self { table, fields })
    }

    /// The names of its columns.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    pub(super) fn field(&self, column: &str) -> Option<&Field> {
        self.fields.get(column)
    }
}

/// True when the columns that both have are of the same types.
fn fits(columns: &[Column], types: &[(u8, u16)]) -> bool {
    columns
        .iter()
        .zip(types)
        .all(|(column, &(code, metadata))| {
            may_be(&column.column_type, code) && may_be_as_long(&column.column_type, code, metadata)
        })
}

/// Whether a VARCHAR of this SQL type can be so many bytes long. VICIdial's
/// tables are full of VARCHARs, and only their lengths tell them apart after
/// an ALTER that moved them.
fn may_be_as_long(column_type: &str, code: u8, bytes: u16) -> bool {
    let length = column_type
        .strip_prefix("varchar(")
        .and_then(|rest| rest.split(')').next())
        .and_then(|digits| digits.parse::<u16>().ok());
    match length {
        // 1 to 4 bytes a character, by the column's character set.
        Some(length) if code == VARCHAR && length > 0 => {
            bytes.is_multiple_of(length) && (1..=4).contains(&(bytes / length))
        }
        Some(_) | None => true,
    }
}

/// Type code of a VARCHAR in a table map.
const VARCHAR: u8 = 15;

/// Whether a column of this SQL type can have this binlog type code.
fn may_be(column_type: &str, code: u8) -> bool {
    let word = column_type
        .split(|c: char| !c.is_ascii_alphanumeric())
        .next()
        .unwrap_or_default();
    match word {
        "tinyint" | "boolean" => code == 1,
        "smallint" => code == 2,
        "mediumint" => code == 9,
        "int" | "integer" => code == 3,
        "bigint" => code == 8,
        "float" => code == 4,
        "double" => code == 5,
        "decimal" => matches!(code, 0 | 246),
        "datetime" => matches!(code, 12 | 18),
        "timestamp" => matches!(code, 7 | 17),
        "time" => matches!(code, 11 | 19),
        "date" => matches!(code, 10 | 14),
        "year" => code == 13,
        "bit" => code == 16,
        "varchar" | "varbinary" => matches!(code, 15 | 253 | 140 | 141),
        "char" | "binary" | "enum" | "set" => matches!(code, 254 | 247 | 248),
        "text" | "tinytext" | "mediumtext" | "longtext" | "blob" | "tinyblob" | "mediumblob"
        | "longblob" => matches!(code, 249..=252 | 140 | 141),
        // Types that VICIdial does not use: nothing to hold against them.
        _ => true,
    }
}

/// The labels of `enum('Y','N')`.
fn labels(column_type: &str) -> Vec<String> {
    let Some(list) = column_type
        .strip_prefix("enum(")
        .and_then(|rest| rest.strip_suffix(')'))
    else {
        return Vec::new();
    };
    let mut labels = Vec::new();
    let mut rest = list;
    while let Some(quoted) = rest.strip_prefix('\'') {
        let mut label = String::new();
        let mut chars = quoted.char_indices().peekable();
        let mut end = quoted.len();
        while let Some((i, c)) = chars.next() {
            if c != '\'' {
                label.push(c);
            } else if chars.peek().is_some_and(|(_, next)| *next == '\'') {
                chars.next();
                label.push('\'');
            } else {
                end = i + 1;
                break;
            }
        }
        labels.push(label);
        rest = quoted.get(end..).unwrap_or_default();
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enum_labels_are_read_from_the_column_type() {
        assert_eq!(labels("enum('Y','N')"), ["Y", "N"]);
        assert_eq!(labels("enum('it''s','a,b','')"), ["it's", "a,b", ""]);
        assert_eq!(labels("varchar(6)"), Vec::<String>::new());
    }

    #[test]
    fn types_are_held_against_the_table_map() {
        assert!(may_be("int(10) unsigned", 3));
        assert!(may_be("enum('Y','N')", 254));
        assert!(!may_be("varchar(20)", 3));
        assert!(may_be("uuid", 254));
    }

    #[test]
    fn varchars_are_told_apart_by_their_lengths() {
        assert!(may_be_as_long("varchar(6)", VARCHAR, 6));
        assert!(may_be_as_long("varchar(6)", VARCHAR, 24));
        assert!(!may_be_as_long("varchar(6)", VARCHAR, 10));
        assert!(!may_be_as_long("varchar(18)", VARCHAR, 6));
        assert!(may_be_as_long("int(10)", 3, 0));
    }
}
