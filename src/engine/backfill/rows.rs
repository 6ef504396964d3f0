//! The rows of one window, of the live tables and of their archives.

use crate::engine::backfill::merge::key_of;
use crate::engine::selection::Selection;
use crate::ledger::{CallKey, LEAD_WINDOW_SECONDS};
use crate::source::{Condition, Source, SourceError, archive_of};
use crate::vicidial::{Detail, Table, WallClock, Zone};

/// Hours before the first call in which its dial is looked for, and behind the
/// last call in which what VICIdial writes of it comes.
pub(in crate::engine) const AROUND_SECONDS: i64 = LEAD_WINDOW_SECONDS;

/// The tables in the order in which VICIdial writes them for a call.
pub(in crate::engine) const TABLES: [Table; 6] = [
    Table::DialLog,
    Table::DialCidLog,
    Table::LogExtended,
    Table::CarrierLog,
    Table::ShakenLog,
    Table::Log,
];

/// A part of the dialer's wall clock, counted as if it showed UTC: from the
/// first second on, and before the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Span {
    pub(in crate::engine) from: i64,
    pub(in crate::engine) until: i64,
}

/// How a row is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Kind {
    /// As it is now.
    Live,
    /// As it was when it was archived.
    Archived,
    /// A dial before the first call: it gives calls their DIDs and does not count.
    Before,
}

/// What a window has.
#[derive(Debug, Default)]
pub(in crate::engine) struct Rows {
    /// What its rows say, live ones first.
    pub(in crate::engine) details: Vec<(Kind, Detail)>,
    /// Rows of all tables that say something.
    pub(in crate::engine) all: usize,
    /// Rows of the table with the most.
    pub(in crate::engine) most: usize,
}

/// Reads a window of the calls in `calls`; `None` when an answer was cut off, or
/// a table has more than `rows_max` rows in it.
/// Archives come second: a row that is archived meanwhile is in one of the two.
///
/// # Errors
/// [`SourceError`].
pub(in crate::engine) async fn read<S: Source>(
    selection: &mut Selection<S>,
    calls: Span,
    window: Span,
    now: i64,
    rows_max: usize,
) -> Result<Option<Rows>, SourceError> {
    let mut rows = Rows::default();
    for archived in [false, true] {
        for table in TABLES {
            let span = match table {
                Table::Log => window.within(calls.from, calls.until),
                Table::DialLog | Table::DialCidLog => window.within(i64::MIN, calls.until),
                Table::LogExtended | Table::CarrierLog | Table::ShakenLog => window,
                Table::Statuses | Table::CampaignStatuses => continue,
            };
            let Some(column) = table.time_column().filter(|_| span.from < span.until) else {
                continue;
            };
            let archive = archive_of(table).filter(|_| archived);
            let name = archive.unwrap_or(table.name());
            let condition = Condition {
                key: None,
                window: Some((column, span.first(), span.behind())),
            };
            let found = selection.find(name, table, condition, now).await?;
            if found.is_cut || found.details.len() > rows_max {
                return Ok(None);
            }
            rows.all += found.details.len();
            rows.most = rows.most.max(found.details.len());
            // A window never spans the begin of the calls.
            let is_before = window.from < calls.from;
            let kind = match table {
                Table::DialLog | Table::DialCidLog if is_before => Kind::Before,
                _ if archived => Kind::Archived,
                _ => Kind::Live,
            };
            let details = found.details.into_iter();
            rows.details.extend(details.map(|detail| (kind, detail)));
        }
    }
    Ok(Some(rows))
}

impl Rows {
    /// The calls that were read.
    pub(in crate::engine) fn calls(&self) -> Vec<CallKey> {
        let calls = self.details.iter().filter_map(|(_, detail)| {
            let Detail::Call { row, .. } = detail else {
                return None;
            };
            Some(key_of(row))
        });
        calls.collect()
    }
}

impl Span {
    /// The wall clocks that a range of true time may have shown: in the hours in
    /// which clocks are set back, all of those that come twice.
    pub(in crate::engine) fn of(zone: &Zone, since: i64, until: i64) -> Self {
        const HOURS: i64 = 2 * 3600;
        let naive = |at: i64| naive(zone, at);
        Self {
            from: naive(since).min(naive(since + HOURS) - HOURS),
            until: naive(until).max(naive(until - HOURS) + HOURS),
        }
    }

    fn within(self, from: i64, until: i64) -> Self {
        Self {
            from: self.from.max(from),
            until: self.until.min(until),
        }
    }

    pub(in crate::engine) fn first(self) -> WallClock {
        Zone::fixed(0).wall_clock(self.from)
    }

    pub(in crate::engine) fn behind(self) -> WallClock {
        Zone::fixed(0).wall_clock(self.until)
    }
}

/// What the dialer's clock shows at a time, counted as if it showed UTC.
fn naive(zone: &Zone, at: i64) -> i64 {
    Zone::fixed(0).seconds(zone.wall_clock(at)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-11-03 06:00 UTC: New York's clocks go from 02:00 back to 01:00.
    const BACK: i64 = 1_730_613_600;
    /// 2024-03-10 07:00 UTC: from 02:00 on to 03:00.
    const ON: i64 = 1_710_054_000;

    #[test]
    fn clocks_that_are_set_back_lose_no_call() {
        let zone = Zone::named("America/New_York").expect("known");
        for minutes in (-300..300).step_by(7) {
            for around in [BACK, ON] {
                let since = around + minutes * 60;
                let until = since + 5400;
                let span = Span::of(&zone, since, until);
                for at in (since..until).step_by(60) {
                    let wall = naive(&zone, at);
                    assert!(
                        (span.from..span.until).contains(&wall),
                        "{at} of {since}..{until}"
                    );
                }
            }
        }
    }

    #[test]
    fn on_other_days_it_is_just_the_range() {
        let zone = Zone::named("America/New_York").expect("known");
        let span = Span::of(&zone, 1_719_849_600, 1_719_853_200);
        assert_eq!(span.first().to_string(), "2024-07-01 12:00:00");
        assert_eq!(span.behind().to_string(), "2024-07-01 13:00:00");
    }
}
