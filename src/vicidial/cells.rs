//! Reads the cells of one row by column name, whatever type the column has.

use crate::binlog::{MySqlValue, Row};
use crate::vicidial::layout::Layout;

/// A row together with the meaning of its cells.
#[derive(Clone, Copy)]
pub(super) struct Cells<'a> {
    pub(super) layout: &'a Layout,
    pub(super) row: &'a Row,
}

/// A DATETIME as written: wall-clock time without a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallClock {
    /// Year, 0 for a zero date.
    pub year: i16,
    /// Month, 1 to 12.
    pub month: i8,
    /// Day of the month.
    pub day: i8,
    /// Hour.
    pub hour: i8,
    /// Minute.
    pub minute: i8,
    /// Second.
    pub second: i8,
}

impl WallClock {
    /// Reads `2024-11-15 12:00:00`; `None` for zero dates and what is no date.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let written: jiff::civil::DateTime = text.parse().ok()?;
        Some(Self {
            year: written.year(),
            month: written.month(),
            day: written.day(),
            hour: written.hour(),
            minute: written.minute(),
            second: written.second(),
        })
    }
}

impl std::fmt::Display for WallClock {
    /// As SQL writes it: `2024-11-15 12:00:00`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = self;
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"
        )
    }
}

impl Cells<'_> {
    fn cell(&self, column: &str) -> Option<(&MySqlValue, &super::layout::Field)> {
        let field = self.layout.field(column)?;
        let value = self.row.cells.get(field.index)?.as_ref()?;
        Some((value, field))
    }

    /// Text of a text or ENUM column; `None` for NULL or a missing column.
    /// ENUM index 0, which a non-strict server stores for a value that is not
    /// in the list, is the empty text.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library's list of types; the others are not of this kind"
    )]
    pub(super) fn text(&self, column: &str) -> Option<String> {
        let (value, field) = self.cell(column)?;
        match value {
            MySqlValue::Blob(bytes) => Some(field.charset.decode(bytes)),
            MySqlValue::String(text) => Some(text.clone()),
            MySqlValue::Enum(0) => Some(String::new()),
            MySqlValue::Enum(index) => {
                let place = usize::try_from(*index).ok()?.checked_sub(1)?;
                field.labels.get(place).cloned()
            }
            _ => self.int(column).map(|number| number.to_string()),
        }
    }

    /// Text, with NULL as the empty text.
    pub(super) fn text_or_empty(&self, column: &str) -> String {
        self.text(column).unwrap_or_default()
    }

    /// Text that is not empty.
    pub(super) fn some_text(&self, column: &str) -> Option<String> {
        self.text(column).filter(|text| !text.is_empty())
    }

    /// A whole number, with the sign that its column has: the decoder returns
    /// every integer as unsigned.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library's list of types; the others are not of this kind"
    )]
    pub(super) fn int(&self, column: &str) -> Option<i64> {
        let (value, field) = self.cell(column)?;
        let (raw, bits) = match value {
            MySqlValue::TinyInt(v) => (u64::from(*v), 8),
            MySqlValue::SmallInt(v) => (u64::from(*v), 16),
            MySqlValue::MediumInt(v) => (u64::from(*v), 24),
            MySqlValue::Int(v) => (u64::from(*v), 32),
            MySqlValue::BigInt(v) => (*v, 64),
            MySqlValue::Year(v) => return Some(i64::from(*v)),
            MySqlValue::Blob(bytes) => return std::str::from_utf8(bytes).ok()?.trim().parse().ok(),
            MySqlValue::String(text) => return text.trim().parse().ok(),
            MySqlValue::Decimal(text) => {
                let whole = text.split('.').next()?;
                return whole.parse().ok();
            }
            _ => return None,
        };
        if field.signed {
            // Moves the sign bit of a narrow number up to bit 63 and back.
            let shift = 64 - bits;
            Some((raw << shift).cast_signed() >> shift)
        } else {
            i64::try_from(raw).ok()
        }
    }

    /// A whole number of a narrower type; `None` also when it does not fit.
    pub(super) fn narrow<T: TryFrom<i64>>(&self, column: &str) -> Option<T> {
        T::try_from(self.int(column)?).ok()
    }

    /// `Y` in a flag column.
    pub(super) fn flag(&self, column: &str) -> bool {
        self.text(column).is_some_and(|text| text == "Y")
    }

    /// A DATETIME; `None` for NULL and for zero dates, which mean "not known".
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library's list of types; the others are not of this kind"
    )]
    pub(super) fn wall_clock(&self, column: &str) -> Option<WallClock> {
        match self.cell(column)?.0 {
            MySqlValue::DateTime(v) if v.year > 0 && v.month > 0 && v.day > 0 => Some(WallClock {
                year: i16::try_from(v.year).ok()?,
                month: i8::try_from(v.month).ok()?,
                day: i8::try_from(v.day).ok()?,
                hour: i8::try_from(v.hour).ok()?,
                minute: i8::try_from(v.minute).ok()?,
                second: i8::try_from(v.second).ok()?,
            }),
            // As SELECT gives it.
            MySqlValue::Blob(bytes) => WallClock::parse(std::str::from_utf8(bytes).ok()?),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selected_wall_clocks_are_read_and_zero_dates_are_not_known() {
        let read = WallClock::parse("2026-03-01 08:05:09").expect("a time");
        assert_eq!((read.year, read.month, read.second), (2026, 3, 9));
        assert_eq!(WallClock::parse("0000-00-00 00:00:00"), None);
        assert_eq!(WallClock::parse("2026-02-30 08:00:00"), None);
    }
}
