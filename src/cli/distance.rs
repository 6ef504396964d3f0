//! How much binlog lies between two positions.

use crate::binlog::{BinlogFile, Position};

/// A way through the binlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distance {
    /// Nowhere.
    None,
    /// Towards older events, in bytes.
    Back(u64),
    /// Towards newer events, in bytes.
    Forward(u64),
    /// A file between the two is not among the server's.
    Unknown,
}

/// The way from one position to another, given every file of the server and its size.
pub(super) fn between(binlogs: &[(BinlogFile, u64)], from: &Position, to: &Position) -> Distance {
    let bytes = |first: &Position, last: &Position| bytes_between(binlogs, first, last);
    let found = match from.cmp(to) {
        std::cmp::Ordering::Equal => Some(Distance::None),
        std::cmp::Ordering::Less => bytes(from, to).map(Distance::Forward),
        std::cmp::Ordering::Greater => bytes(to, from).map(Distance::Back),
    };
    found.unwrap_or(Distance::Unknown)
}

/// Counts from `first` to the later `last`; `None` when a file is missing.
fn bytes_between(binlogs: &[(BinlogFile, u64)], first: &Position, last: &Position) -> Option<u64> {
    let size = |file: &BinlogFile| {
        let found = binlogs.iter().find(|(name, _)| name == file);
        found.map(|(_, size)| *size)
    };
    if first.file == last.file {
        size(&first.file)?;
        return Some(last.next - first.next);
    }
    size(&last.file)?;
    let rest = size(&first.file)?.saturating_sub(first.next);
    let whole: u64 = binlogs
        .iter()
        .filter(|(file, _)| *file > first.file && *file < last.file)
        .map(|(_, size)| size)
        .sum();
    Some(rest + whole + last.next)
}

/// Bytes as people read them: `1.5 GiB`.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub(super) fn human(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Position {
        text.parse().expect("valid")
    }

    #[test]
    fn the_way_is_counted_through_whole_files() {
        let binlogs: Vec<(BinlogFile, u64)> =
            [("b.999998", 500), ("b.999999", 1000), ("b.1000000", 300)]
                .map(|(name, size)| (BinlogFile::new(name).expect("valid"), size))
                .into();
        let way = |from: &str, to: &str| between(&binlogs, &at(from), &at(to));
        assert_eq!(way("b.999998:400", "b.999998:400"), Distance::None);
        assert_eq!(way("b.999998:100", "b.999998:400"), Distance::Forward(300));
        assert_eq!(
            way("b.999998:400", "b.1000000:200"),
            Distance::Forward(1300)
        );
        assert_eq!(way("b.1000000:200", "b.999998:400"), Distance::Back(1300));
        assert_eq!(way("b.999997:4", "b.999998:400"), Distance::Unknown);
        assert_eq!(way("b.999998:4", "b.1000001:4"), Distance::Unknown);
    }

    #[test]
    fn bytes_are_shown_in_readable_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (5 << 20, "5.0 MiB"),
            (3 << 30, "3.0 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }
}
