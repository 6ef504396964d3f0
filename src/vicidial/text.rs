//! Text in the character set that its column has.
//!
//! VICIdial databases are latin1 or utf8, by the year of their install. MySQL's
//! `latin1` is Windows-1252 (<https://dev.mysql.com/doc/refman/8.0/en/charset-we-sets.html>).

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use mysql_common::collations::{Collation, CollationId};

/// MariaDB's collations that compare blanks at the end (`…_nopad_…`): the
/// number of the one that does not, and this.
const NOPAD: u32 = 1024;

/// Where the numbers of MariaDB's `uca1400` collations begin: 256 for each of
/// utf8mb3, utf8mb4, ucs2, utf16 and utf32 (`my_uca1400_make_id`).
const UCA1400: u32 = 2048;

/// A column's character set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Charset(&'static Encoding);

impl Charset {
    /// The encoding of a character set by its name in the source; UTF-8 where
    /// none is known, which is right for ASCII in every other one too.
    pub(super) fn of(name: Option<&str>) -> Self {
        let label = match name.unwrap_or("utf8") {
            "latin1" => return Self(WINDOWS_1252),
            "latin2" => "iso-8859-2",
            "latin5" => "iso-8859-9",
            "latin7" => "iso-8859-13",
            "greek" => "iso-8859-7",
            "hebrew" => "iso-8859-8",
            "cp1250" => "windows-1250",
            "cp1251" => "windows-1251",
            "cp1256" => "windows-1256",
            "cp1257" => "windows-1257",
            "cp866" => "ibm866",
            "koi8r" => "koi8-r",
            "koi8u" => "koi8-u",
            "sjis" | "cp932" => "shift_jis",
            "ujis" | "eucjpms" => "euc-jp",
            "euckr" => "euc-kr",
            "gb2312" | "gbk" | "gb18030" => "gb18030",
            "big5" => "big5",
            "ucs2" | "utf16" => "utf-16be",
            "utf16le" => "utf-16le",
            _ => "utf-8",
        };
        Self(Encoding::for_label(label.as_bytes()).unwrap_or(UTF_8))
    }

    /// The character set of a collation by its number in the source; `None`
    /// for one that is not known.
    pub(super) fn of_collation(id: u32) -> Option<Self> {
        if (UCA1400..UCA1400 + 5 * 256).contains(&id) {
            let name = ["utf8mb3", "utf8mb4", "ucs2", "utf16", "utf32"];
            let place = usize::try_from((id - UCA1400) / 256).ok()?;
            return name.get(place).map(|name| Self::of(Some(name)));
        }
        let id = u16::try_from(if id >= NOPAD { id - NOPAD } else { id }).ok()?;
        let id = CollationId::from(id);
        let known = id != CollationId::UNKNOWN_COLLATION_ID;
        known.then(|| Self::of(Some(Collation::resolve(id).charset())))
    }

    /// The text; bytes that are none in this character set become U+FFFD.
    pub(super) fn decode(self, bytes: &[u8]) -> String {
        if bytes.is_ascii() {
            // The common case, without a conversion. Invariant: ASCII is UTF-8.
            return String::from_utf8_lossy(bytes).into_owned();
        }
        self.0.decode_without_bom_handling(bytes).0.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers as MariaDB 11.8 has them in `information_schema`.
    #[test]
    fn collations_have_the_character_sets_that_servers_say() {
        for (id, name) in [
            (8, "latin1"),
            (33, "utf8mb3"),
            (45, "utf8mb4"),
            (1032, "latin1"),
            (2048, "utf8mb3"),
            (2304, "utf8mb4"),
        ] {
            let found = Charset::of_collation(id);
            assert_eq!(found, Some(Charset::of(Some(name))), "{id}");
        }
        assert_eq!(Charset::of_collation(0), None);
        assert_eq!(Charset::of_collation(9999), None);
    }

    #[test]
    fn latin1_is_read_as_windows_1252() {
        let bytes = b"Jos\xe9 \x80";
        assert_eq!(Charset::of(Some("latin1")).decode(bytes), "José €");
        assert_eq!(
            Charset::of(Some("utf8mb4")).decode("José".as_bytes()),
            "José"
        );
        assert_eq!(Charset::of(None).decode(b"\xff"), "\u{fffd}");
    }
}
