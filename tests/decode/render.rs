//! Writes decoded values as `mariadb-binlog` does, for comparison with its text.

use didtail::binlog::MySqlValue;

use crate::golden::Cell;

/// Asserts that a decoded value is the one printed.
pub(crate) fn assert_same(value: Option<&MySqlValue>, cell: &Cell, place: &str) {
    let printed = String::from_utf8_lossy(&cell.text).into_owned();
    let place = format!("{place} @{} {}", cell.column + 1, cell.kind);
    let Some(value) = value else {
        assert_eq!(printed, "NULL", "{place}: decoded as NULL");
        return;
    };
    match value {
        MySqlValue::Float(v) => assert_eq!(printed.trim().parse(), Ok(*v), "{place}"),
        MySqlValue::Double(v) => assert_eq!(printed.trim().parse(), Ok(*v), "{place}"),
        _ => {
            let text = render(value, &cell.kind);
            let wanted = in_milliseconds(&cell.text, &cell.kind);
            let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
            assert_eq!(shown(&text), shown(&wanted), "{place}");
        }
    }
}

/// The library keeps milliseconds of six-digit fractions: cuts the rest off.
fn in_milliseconds(text: &[u8], kind: &str) -> Vec<u8> {
    match kind {
        "TIME(6)" | "DATETIME(6)" => {
            let (kept, lost) = text.split_at(text.len() - 4);
            assert_eq!(lost.last(), Some(&b'\''));
            [kept, b"'"].concat()
        }
        _ => text.to_vec(),
    }
}

fn render(value: &MySqlValue, kind: &str) -> Vec<u8> {
    match value {
        MySqlValue::TinyInt(v) => integer(u64::from(*v), 8),
        MySqlValue::SmallInt(v) => integer(u64::from(*v), 16),
        MySqlValue::MediumInt(v) => integer(u64::from(*v), 24),
        MySqlValue::Int(v) => integer(u64::from(*v), 32),
        MySqlValue::BigInt(v) => integer(*v, 64),
        MySqlValue::Decimal(text) => text.clone().into_bytes(),
        MySqlValue::Blob(bytes) => quoted(bytes),
        MySqlValue::Enum(index) => index.to_string().into_bytes(),
        MySqlValue::Set(bits) => format!("b'{bits:08b}'").into_bytes(),
        MySqlValue::Year(year) => year.to_string().into_bytes(),
        MySqlValue::Bit(bits) => {
            // The library has the lowest bit first.
            let bits = bits.iter().rev();
            let digits: String = bits.map(|bit| if *bit { '1' } else { '0' }).collect();
            format!("b'{digits}'").into_bytes()
        }
        MySqlValue::Date(d) => format!("'{:04}:{:02}:{:02}'", d.year, d.month, d.day).into_bytes(),
        MySqlValue::Time(t) => {
            let fraction = fraction(t.millis, kind);
            let (hour, minute, second) = (t.hour, t.minute, t.second);
            format!("'{hour:02}:{minute:02}:{second:02}{fraction}'").into_bytes()
        }
        MySqlValue::DateTime(d) => {
            let date = format!("{:04}-{:02}-{:02}", d.year, d.month, d.day);
            let time = format!("{:02}:{:02}:{:02}", d.hour, d.minute, d.second);
            format!("'{date} {time}{}'", fraction(d.millis, kind)).into_bytes()
        }
        MySqlValue::Timestamp(millis) => {
            let fraction = fraction(u32::try_from(millis % 1000).expect("small"), kind);
            format!("{}{fraction}", millis / 1000).into_bytes()
        }
        MySqlValue::Float(_) | MySqlValue::Double(_) => unreachable!("compared as numbers"),
        // Invariant of the reader: texts come as bytes, whatever their charset.
        MySqlValue::String(text) => panic!("a text was decoded as UTF-8: {text}"),
    }
}

/// Signed, and in brackets as unsigned where that differs.
fn integer(raw: u64, bits: u32) -> Vec<u8> {
    let shift = 64 - bits;
    let signed = (raw << shift).cast_signed() >> shift;
    let text = if signed < 0 {
        format!("{signed} ({raw})")
    } else {
        signed.to_string()
    };
    text.into_bytes()
}

/// Raw bytes in quotes; control characters as `\xNN`, nothing else escaped.
fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut text = vec![b'\''];
    for &byte in bytes {
        if byte > 0x1f {
            text.push(byte);
        } else {
            text.extend(format!("\\x{byte:02x}").into_bytes());
        }
    }
    text.push(b'\'');
    text
}

fn fraction(millis: u32, kind: &str) -> String {
    if kind.ends_with("(0)") {
        assert_eq!(millis, 0);
        String::new()
    } else {
        format!(".{millis:03}")
    }
}
