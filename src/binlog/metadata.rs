//! What a table map says of its columns beyond their types.
//!
//! `binlog_row_metadata` decides how much that is: nothing by `NO_LOG`; signs
//! and character sets by `MINIMAL`; names and ENUM labels too by `FULL`. These
//! are the columns as they were when the row was written, so they are right
//! where `information_schema`, which knows the present only, is not.
//!
//! Format: MariaDB's `log_event.h`, `Optional_metadata_field_type`; MySQL has
//! the same (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Table__map__event.html>).

use crate::binlog::DecodeError;
use crate::binlog::bytes::Bytes;
use crate::binlog::table_map::{code, real_type};

/// What the table map says of one column; `None` where it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnMetadata {
    /// Whether a number has no sign.
    pub unsigned: Option<bool>,
    /// The server's number of the collation of a text, ENUM or SET column.
    pub collation: Option<u32>,
    /// The labels of an ENUM in the column's character set; index 1 is the first.
    pub labels: Option<Vec<Vec<u8>>>,
}

/// What the optional metadata of a table map says.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    /// Names of the columns, where there are as many as columns.
    pub(super) names: Option<Vec<String>>,
    /// One for each column.
    pub(super) columns: Vec<ColumnMetadata>,
}

/// Kinds of fields.
mod field {
    pub(super) const SIGNEDNESS: u8 = 1;
    pub(super) const DEFAULT_CHARSET: u8 = 2;
    pub(super) const COLUMN_CHARSET: u8 = 3;
    pub(super) const COLUMN_NAME: u8 = 4;
    pub(super) const ENUM_STR_VALUE: u8 = 6;
    pub(super) const ENUM_AND_SET_DEFAULT_CHARSET: u8 = 10;
    pub(super) const ENUM_AND_SET_COLUMN_CHARSET: u8 = 11;
}

impl Metadata {
    /// Reads the fields behind the bitmap of NULLs. `types` are the columns'
    /// types and their parameters as sent.
    ///
    /// A field that does not fit the columns says nothing; broken frames and
    /// names are an error.
    pub(super) fn decode(mut bytes: Bytes<'_>, types: &[(u8, u16)]) -> Result<Self, DecodeError> {
        let mut metadata = Self {
            names: None,
            columns: vec![ColumnMetadata::default(); types.len()],
        };
        while !bytes.rest().is_empty() {
            let kind = bytes.u8()?;
            let length = bytes.length()?;
            let value = Bytes::new(bytes.take(length)?);
            let columns = &mut metadata.columns;
            match kind {
                field::SIGNEDNESS => signs(value, types, columns),
                field::COLUMN_NAME => metadata.names = names(value, types.len())?,
                field::ENUM_STR_VALUE => labels(value, types, columns),
                field::DEFAULT_CHARSET => default_charset(value, &texts(types), columns),
                field::COLUMN_CHARSET => column_charsets(value, &texts(types), columns),
                field::ENUM_AND_SET_DEFAULT_CHARSET => {
                    default_charset(value, &lists(types), columns);
                }
                field::ENUM_AND_SET_COLUMN_CHARSET => {
                    column_charsets(value, &lists(types), columns);
                }
                _ => {}
            }
        }
        Ok(metadata)
    }
}

/// The places of the columns that the character sets of texts are about, in
/// order. Before a GEOMETRY only: MariaDB counts it among them, MySQL does not.
fn texts(types: &[(u8, u16)]) -> Vec<usize> {
    let places = types.iter().enumerate();
    places
        .take_while(|(_, kind)| kind.0 != code::GEOMETRY)
        .filter(|(_, kind)| match real_type(**kind) {
            code::VARCHAR
            | code::VAR_STRING
            | code::STRING
            | code::VARCHAR_COMPRESSED
            | code::BLOB_COMPRESSED => true,
            kind => (code::TINY_BLOB..=code::BLOB).contains(&kind),
        })
        .map(|(place, _)| place)
        .collect()
}

/// The places of the ENUM and SET columns.
fn lists(types: &[(u8, u16)]) -> Vec<usize> {
    let places = types.iter().enumerate();
    places
        .filter(|(_, kind)| matches!(real_type(**kind), code::ENUM | code::SET))
        .map(|(place, _)| place)
        .collect()
}

/// One bit a number, the first one highest. Before a YEAR only: MariaDB counts
/// it as a number, not every MySQL does.
fn signs(bitmap: Bytes<'_>, types: &[(u8, u16)], columns: &mut [ColumnMetadata]) {
    let bits = bitmap
        .rest()
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
    let numbers = types
        .iter()
        .zip(columns)
        .take_while(|(kind, _)| kind.0 != code::YEAR)
        .filter(|(kind, _)| matches!(kind.0, 1..=5 | 8 | 9 | 246));
    for ((_, column), unsigned) in numbers.zip(bits) {
        column.unsigned = Some(unsigned);
    }
}

/// One collation for all, then pairs of a place among them and another one.
fn default_charset(mut value: Bytes<'_>, places: &[usize], columns: &mut [ColumnMetadata]) {
    let Ok(default) = value.length() else { return };
    for place in places {
        set_collation(columns, Some(place), default);
    }
    while let (Ok(nth), Ok(collation)) = (value.length(), value.length()) {
        set_collation(columns, places.get(nth), collation);
    }
}

/// One collation for each.
fn column_charsets(mut value: Bytes<'_>, places: &[usize], columns: &mut [ColumnMetadata]) {
    for place in places {
        let Ok(collation) = value.length() else {
            return;
        };
        set_collation(columns, Some(place), collation);
    }
}

fn set_collation(columns: &mut [ColumnMetadata], place: Option<&usize>, collation: usize) {
    if let Some(column) = place.and_then(|place| columns.get_mut(*place)) {
        column.collation = u32::try_from(collation).ok();
    }
}

/// Names are in UTF-8 whatever the character sets of their columns.
fn names(mut value: Bytes<'_>, columns: usize) -> Result<Option<Vec<String>>, DecodeError> {
    let mut names = Vec::with_capacity(columns);
    while !value.rest().is_empty() {
        let length = value.length()?;
        let name = value.take(length)?;
        names.push(String::from_utf8_lossy(name).into_owned());
    }
    Ok((names.len() == columns).then_some(names))
}

/// For each ENUM the number of its labels, and these.
fn labels(mut value: Bytes<'_>, types: &[(u8, u16)], columns: &mut [ColumnMetadata]) {
    let enums = types
        .iter()
        .zip(columns)
        .filter(|(kind, _)| real_type(**kind) == code::ENUM);
    for (_, column) in enums {
        let Ok(count) = value.length() else { return };
        // No more than there are bytes for: the count is not to be believed.
        let count = count.min(value.rest().len());
        let labels = (0..count).map(|_| text(&mut value).map(<[u8]>::to_vec));
        let Some(labels) = labels.collect() else {
            return;
        };
        column.labels = Some(labels);
    }
}

/// A length and so many bytes.
fn text<'a>(value: &mut Bytes<'a>) -> Option<&'a [u8]> {
    let length = value.length().ok()?;
    value.take(length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::TableMap;

    /// The table map of a table with a column of every type, as MariaDB 10.11
    /// wrote it with `binlog_row_metadata = FULL` (`edge-values.000001`), but
    /// for the type 141 of its last column, which the library does not know.
    const EDGE: &str = "140000000000010008617374657269736b0004656467650024080101020209090303\
        0405f6f610100d0a131312121111fefefe0f0ffe0ffcfcfcfefe0f2704081406050001000008000600060003\
        f701f801fe082800a000fe082800020204fe10fe102d01feffffff0f0102aa8c030b08082d3f3f2d3f2e3f3f\
        08047002696401740274750173027375016d026d750169026975016601640464656331046465633202623103\
        623634017902647402746d03746d360364746d0464746d360274730374733302656e02737402633802766c02\
        76750462696e3802766202747802626c026a7301750269700276630a0108050703016101620163060d030159\
        014e07554e4b4e4f574e080100";

    fn edge() -> Vec<u8> {
        let digits: Vec<u8> = EDGE.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| {
            let text = std::str::from_utf8(pair).expect("digits");
            u8::from_str_radix(text, 16).expect("digits")
        };
        digits.chunks(2).map(byte).collect()
    }

    fn column(map: &TableMap, name: &str) -> ColumnMetadata {
        let names = map.column_names.as_ref().expect("full metadata");
        let place = names.iter().position(|other| other == name);
        map.column_metadata_of(place.expect("a column")).clone()
    }

    #[test]
    fn full_metadata_describes_every_column() {
        let map = TableMap::decode(&edge(), 0).expect("decodes");
        for (name, unsigned) in [
            ("id", true),
            ("t", false),
            ("tu", true),
            ("m", false),
            ("mu", true),
            ("iu", true),
            ("f", false),
            ("dec1", false),
            ("dec2", true),
        ] {
            assert_eq!(column(&map, name).unsigned, Some(unsigned), "{name}");
        }
        // A YEAR is no number everywhere, and a DATETIME nowhere.
        assert_eq!(column(&map, "y").unsigned, None);
        assert_eq!(column(&map, "dtm").unsigned, None);
        for (name, collation) in [
            ("c8", 8),
            ("vl", 8),
            ("vu", 45),
            ("bin8", 63),
            ("tx", 45),
            ("bl", 63),
            ("js", 46),
            ("ip", 63),
            ("vc", 8),
            ("en", 8),
            ("st", 8),
        ] {
            assert_eq!(column(&map, name).collation, Some(collation), "{name}");
        }
        let labels = column(&map, "en").labels.expect("labels");
        assert_eq!(labels, [&b"Y"[..], b"N", b"UNKNOWN"]);
        assert_eq!(column(&map, "st").labels, None);
    }

    #[test]
    fn a_default_character_set_has_exceptions() {
        let types = [
            (code::VARCHAR, 20),
            (3, 0),
            (code::VARCHAR, 6),
            (code::BLOB, 2),
        ];
        let fields = [2, 3, 8, 1, 45, 10, 1, 33];
        let read = Metadata::decode(Bytes::new(&fields), &types).expect("decodes");
        let collations: Vec<_> = read.columns.iter().map(|c| c.collation).collect();
        assert_eq!(collations, [Some(8), None, Some(45), Some(8)]);
    }

    #[test]
    fn what_does_not_fit_says_nothing() {
        let types = [(code::STRING, 0xf701), (3, 0)];
        // Labels cut short, a name too few, a place that is none.
        for fields in [&[6, 3, 2, 1, b'Y'][..], &[4, 2, 1, b'a'], &[2, 3, 8, 9, 45]] {
            let read = Metadata::decode(Bytes::new(fields), &types).expect("decodes");
            assert_eq!(read.columns[0].labels, None);
            assert_eq!(read.names, None);
        }
        assert!(Metadata::decode(Bytes::new(&[6, 9, 1]), &types).is_err());
    }
}
