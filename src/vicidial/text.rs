//! Text in the character set that its column has.
//!
//! VICIdial databases are latin1 or utf8, by the year of their install. MySQL's
//! `latin1` is Windows-1252 (<https://dev.mysql.com/doc/refman/8.0/en/charset-we-sets.html>).

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// A column's character set.
#[derive(Clone, Copy, Debug)]
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
