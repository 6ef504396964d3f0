//! Where `checkpoint reset --to` goes, as written on the command line.

use jiff::civil::Date;

use crate::cli::time;
use crate::source::Target;

/// Where to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ResetTarget {
    /// A place that the source can find.
    Source(Target),
    /// An entry of the local history.
    History(i64),
}

/// Reads a target, with relative times counted back from now.
pub(super) fn parse(text: &str) -> Result<ResetTarget, String> {
    parse_at(text, time::now())
}

fn parse_at(text: &str, now: i64) -> Result<ResetTarget, String> {
    let source = |target| Ok(ResetTarget::Source(target));
    if let Some(id) = text.strip_prefix("history:") {
        return match id.parse() {
            Ok(id) => Ok(ResetTarget::History(id)),
            Err(_) => Err("expected history:ID with an ID of `didtail checkpoint history`".into()),
        };
    }
    if let Some(gtid) = text.strip_prefix("gtid:").filter(|gtid| !gtid.is_empty()) {
        return match gtid.parse() {
            Ok(gtid) => source(Target::Gtid(gtid)),
            Err(e) => Err(format!("{e}")),
        };
    }
    match text {
        "" => return Err(expected(text)),
        "latest" => return source(Target::Latest),
        "earliest" => return source(Target::Earliest),
        _ => {}
    }
    if let Ok(position) = text.parse() {
        return source(Target::Position(position));
    }
    // A date has the shape of a GTID; the wrong guess would go to the wrong place.
    if text.len() == 10 && text.parse::<Date>().is_ok() {
        return Err(format!(
            "`{text}` could be a date or a GTID: write {text}T00:00:00Z or gtid:{text}"
        ));
    }
    if let Ok(gtid) = text.parse() {
        return source(Target::Gtid(gtid));
    }
    match time::parse(text, now) {
        Ok(time) if time <= now => source(Target::Time(time)),
        Ok(_) => Err(format!("`{text}` is in the future")),
        Err(reason) if reason.contains("offset") => Err(reason),
        Err(_) => Err(expected(text)),
    }
}

fn expected(text: &str) -> String {
    format!(
        "`{text}` is no place: expected latest, earliest, FILE:OFFSET (mysql-bin.000012:4711), a \
         GTID (0-1-4711 on MariaDB, UUID:4711 on MySQL), a time (2026-03-01T08:00:00-06:00, 24h, 7d) or history:ID"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_is_told_apart() {
        let now = 1_700_000_000;
        let read = |text: &str| parse_at(text, now);
        let source = |target| Ok(ResetTarget::Source(target));
        assert_eq!(read("latest"), source(Target::Latest));
        assert_eq!(read("earliest"), source(Target::Earliest));
        assert_eq!(read("24h"), source(Target::Time(now - 86_400)));
        assert_eq!(read("2023-11-14T22:13:20Z"), source(Target::Time(now)));
        assert_eq!(read("2023-11-14T16:13:20-06:00"), source(Target::Time(now)));
        assert_eq!(read("history:7"), Ok(ResetTarget::History(7)));
        let position = "mysql-bin.000012:4711";
        let gtid = "0-1-5,1-2-9";
        let expected = position.parse().expect("valid");
        assert_eq!(read(position), source(Target::Position(expected)));
        let expected = gtid.parse().expect("valid");
        assert_eq!(read(gtid), source(Target::Gtid(expected)));
        let expected = "2023-11-14".parse().expect("valid");
        assert_eq!(read("gtid:2023-11-14"), source(Target::Gtid(expected)));
    }

    #[test]
    fn what_is_unclear_is_refused() {
        for text in [
            "",
            "sideways",
            "mysql-bin.000012",
            "mysql-bin.000012:1",
            "history:x",
            "gtid:",
            "gtid:x",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2099-01-01T00:00:00Z",
        ] {
            assert!(parse_at(text, 1_700_000_000).is_err(), "{text}");
        }
    }
}
