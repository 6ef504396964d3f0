//! Reads rows again that the binlog has a statement or a part of a row for.
//!
//! # Why that is right
//! Rows are states. What a SELECT finds is what the statement made of the row,
//! or something newer, which the stream comes to as well: at its end both are
//! the same. A row event between the two may set an older state for that long.
//!
//! What the statement did and the row does not show is told apart here: rows
//! that have another `uniqueid` since, or are gone because VICIdial's clean-up
//! deleted a duplicate. A row that is simply gone was archived, and stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::selection::Selection;
use crate::ledger::CODE_WINDOW_SECONDS;
use crate::source::{Condition, SELECTED_ROWS_MAX, Source, SourceError};
use crate::vicidial::{
    CallBefore, CallRow, Detail, Effect, Fact, Interpreter, KeyedRows, Link, Origin, Table,
    WallClock, Zone,
};

/// Keys in one SELECT: short enough for MyISAM, whose readers hold up writers.
const KEYS_AT_ONCE: usize = 256;

/// A row that is found by its lead or by a time, and older than this at the
/// statement's time, may be one that didtail never followed: a statement that
/// does not name it is no reason to count it.
const YOUNG_SECONDS: i64 = 24 * 3600;

/// What is read of the time before a statement that does not say whose rows it
/// changed, nor when they were written.
const WINDOW_SECONDS: i64 = 24 * 3600;

/// Clocks of dialers and web servers, which write `call_date`, may be ahead of
/// the database's by this much, or stand in an hour that comes twice.
const CLOCK_SECONDS: i64 = 3600;

/// The longest time that is read for one statement.
const WINDOW_SECONDS_MAX: i64 = 31 * 24 * 3600;

/// A change whose rows are to be read again.
#[derive(Debug)]
pub(super) struct Pending {
    /// How many of the batch's facts stand before it.
    pub(super) at: usize,
    pub(super) table: Table,
    pub(super) rows: KeyedRows,
    /// Names the change; its rows are numbered from here on.
    pub(super) origin: Origin,
}

impl Pending {
    pub(super) fn keys(&self) -> usize {
        self.rows.values.len()
    }
}

/// Facts of changes, and how complete they are.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// The facts of each change, in the order of the changes.
    pub(super) facts: Vec<Vec<Fact>>,
    /// Rows that were found.
    pub(super) rows: u64,
    /// Changes some of whose rows could not be read.
    pub(super) incomplete: u64,
}

/// A part of a time: civil seconds, as if the wall clock were UTC, because an
/// hour of it may come twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    from: i64,
    until: i64,
}

/// Reads rows again.
pub(super) struct Rereader<S> {
    selection: Selection<S>,
    zone: Zone,
}

impl<S: Source> Rereader<S> {
    pub(super) fn new(source: Arc<S>, interpreter: Interpreter) -> Self {
        let zone = interpreter.zone().clone();
        Self {
            selection: Selection::new(source, interpreter),
            zone,
        }
    }

    /// Asks for columns anew: a statement may have changed them.
    pub(super) fn forget(&mut self) {
        self.selection.forget();
    }

    /// The facts of changes that name their rows: one SELECT or a few for each
    /// table, however many changes there are.
    ///
    /// # Errors
    /// [`SourceError`]: then nothing of it is known.
    pub(super) async fn keyed(&mut self, changes: &mut [Pending]) -> Result<Read, SourceError> {
        let now = changes.iter().map(|change| change.origin.time).max();
        let now = now.unwrap_or(0);
        let mut wanted: BTreeMap<(Table, &str), BTreeSet<String>> = BTreeMap::new();
        let mut new: BTreeMap<(Table, &str), BTreeSet<String>> = BTreeMap::new();
        for change in &mut *changes {
            let (table, column) = (change.table, change.rows.column);
            let width = self.selection.width(table, column).await?;
            cut_off(&mut change.rows, width);
            let values = change.rows.values.iter().cloned();
            if change.rows.inserted {
                new.entry((table, column))
                    .or_default()
                    .extend(values.clone());
            }
            wanted.entry((table, column)).or_default().extend(values);
        }
        let mut found = FoundRows::default();
        let mut rows = 0;
        for ((table, column), values) in wanted {
            rows += self
                .select(table.name(), table, column, values, now, &mut found)
                .await?;
        }
        // What was new and is gone was archived since.
        for ((table, column), mut values) in new {
            values.retain(|value| found.of(table, column, value).is_empty());
            if let Some(archive) = archive(table).filter(|_| !values.is_empty()) {
                rows += self
                    .select(archive, table, column, values, now, &mut found)
                    .await?;
            }
        }
        let facts = changes
            .iter()
            .map(|change| self.facts(change, &found))
            .collect();
        let incomplete = changes.iter().filter(|change| {
            let values = &change.rows.values;
            let is_cut = |value: &String| found.cut.contains(&(change.table, key(value)));
            values.iter().any(|value| !is_plain(value) || is_cut(value))
        });
        Ok(Read {
            incomplete: u64::try_from(incomplete.count()).unwrap_or(u64::MAX),
            facts,
            rows,
        })
    }

    async fn select(
        &mut self,
        name: &str,
        table: Table,
        column: &'static str,
        values: BTreeSet<String>,
        now: i64,
        found: &mut FoundRows,
    ) -> Result<u64, SourceError> {
        let values: Vec<String> = values.into_iter().collect();
        let mut waiting: Vec<&[String]> = values.chunks(KEYS_AT_ONCE).collect();
        let mut rows = 0;
        while let Some(chunk) = waiting.pop() {
            let condition = Condition {
                key: Some((column, chunk)),
                window: None,
            };
            let answer = self.selection.find(name, table, condition, now).await?;
            if answer.is_cut && chunk.len() > 1 {
                let (first, second) = chunk.split_at(chunk.len() / 2);
                waiting.extend([first, second]);
                continue;
            }
            if answer.is_cut {
                found
                    .cut
                    .extend(chunk.iter().map(|value| (table, key(value))));
            }
            rows += u64::try_from(answer.details.len()).unwrap_or(0);
            for detail in answer.details {
                found.add(table, column, detail);
            }
        }
        Ok(rows)
    }

    fn facts(&self, change: &Pending, found: &FoundRows) -> Vec<Fact> {
        let Pending {
            table,
            rows,
            origin,
            ..
        } = change;
        let mut details = Vec::new();
        let rows_of = |value: &String| found.of(*table, rows.column, value);
        let of_change: Vec<&Detail> = rows
            .values
            .iter()
            .flat_map(|value| rows_of(value))
            .filter(|detail| is_of(detail, rows))
            .collect();
        let calls = || of_change.iter().filter_map(|detail| call_of(detail));
        let present = || {
            calls()
                .map(|call| call.uniqueid.clone())
                .collect::<Vec<_>>()
        };
        match (&rows.effect, rows.column) {
            (Effect::None, _) => {}
            (
                Effect::Renamed {
                    to,
                    from: Some(from),
                },
                "uniqueid",
            ) => {
                let is_there = |name: &String| present().contains(name);
                let new = calls().find(|call| call.uniqueid == *to);
                if let Some(row) = new.filter(|_| !is_there(from)) {
                    details.push(Detail::Call {
                        before: Some(CallBefore {
                            uniqueid: from.clone(),
                            lead_id: row.lead_id,
                            status: row.status.clone(),
                        }),
                        row: row.clone(),
                    });
                }
            }
            (Effect::Renamed { to, .. }, _) => {
                if let Some(row) = calls().find(|call| call.uniqueid == *to) {
                    details.extend(of_second(row.lead_id, rows, present(), Some(to)));
                }
            }
            (Effect::Deleted, "uniqueid") => {
                for uniqueid in rows.values.iter().filter(|name| !present().contains(name)) {
                    details.push(Detail::CallDeleted {
                        uniqueid: uniqueid.clone(),
                        lead_id: None,
                        started_at: second(uniqueid).parse().unwrap_or(origin.time),
                    });
                }
            }
            (Effect::Deleted, _) => {
                let leads = rows.values.iter().filter_map(|lead| lead.parse().ok());
                for lead in leads {
                    details.extend(of_second(lead, rows, present(), None));
                }
            }
        }
        let linked: Vec<&str> = of_change
            .iter()
            .filter_map(|detail| match detail {
                Detail::Link { uniqueid, .. } => Some(uniqueid.as_str()),
                _ => None,
            })
            .collect();
        let unlinked = |link: &&Link| !linked.contains(&link.uniqueid.as_str());
        let links = rows.links.iter().filter(unlinked);
        details.extend(links.map(|link| self.link(link, origin.time)));
        // A caller code comes again every year, and a lead is called for months.
        let is_exact = matches!(rows.column, "uniqueid");
        for detail in of_change {
            let age = origin
                .time
                .saturating_sub(time_of(detail).unwrap_or(origin.time));
            let is_other = rows.inserted && age.saturating_abs() > CODE_WINDOW_SECONDS;
            if is_exact || age <= YOUNG_SECONDS {
                details.push(detail.clone());
            } else if !is_other {
                details.push(Detail::LookedUp(Box::new(detail.clone())));
            }
        }
        (origin.row..)
            .zip(details)
            .map(|(row, detail)| Fact {
                origin: Origin {
                    row,
                    ..origin.clone()
                },
                detail,
            })
            .collect()
    }

    /// What a statement itself says of a call's caller code.
    pub(super) fn link(&self, link: &Link, time: i64) -> Detail {
        let at = link.call_date.and_then(|wall| self.zone.seconds(wall));
        Detail::Link {
            uniqueid: link.uniqueid.clone(),
            caller_code: link.caller_code.clone(),
            lead_id: link.lead_id,
            at: at.unwrap_or(time),
        }
    }

    /// The time to be read for a statement that ran at `time`, and whether that
    /// is all of it.
    pub(super) fn window(
        &self,
        from: Option<WallClock>,
        until: Option<WallClock>,
        time: i64,
    ) -> (Slice, bool) {
        let civil = Zone::fixed(0);
        let ran = civil.seconds(self.zone.wall_clock(time)).unwrap_or(time);
        let behind = ran + CLOCK_SECONDS;
        let said = |wall: Option<WallClock>| wall.and_then(|wall| civil.seconds(wall));
        let until = said(until).map_or(behind, |until| behind.min(until + 1));
        let from = said(from).unwrap_or(ran.min(until) - WINDOW_SECONDS);
        let earliest = until - WINDOW_SECONDS_MAX;
        let slice = Slice {
            from: from.max(earliest).min(until),
            until,
        };
        (slice, from >= earliest)
    }

    /// The facts of the rows of a part of a time, and the parts that remain:
    /// what one answer cannot hold is read in halves.
    ///
    /// # Errors
    /// [`SourceError`].
    pub(super) async fn slice(
        &mut self,
        table: Table,
        slices: &mut Vec<Slice>,
        origin: &Origin,
    ) -> Result<Read, SourceError> {
        let (Some(slice), Some(column)) = (slices.pop(), table.time_column()) else {
            return Ok(Read::default());
        };
        let civil = Zone::fixed(0);
        let bounds = (civil.wall_clock(slice.from), civil.wall_clock(slice.until));
        let condition = Condition {
            key: None,
            window: Some((column, bounds.0, bounds.1)),
        };
        let name = table.name();
        let found = self
            .selection
            .find(name, table, condition, origin.time)
            .await?;
        let middle = slice.from + (slice.until - slice.from) / 2;
        if found.is_cut && middle > slice.from {
            slices.push(Slice {
                from: middle,
                ..slice
            });
            slices.push(Slice {
                until: middle,
                ..slice
            });
            return Ok(Read::default());
        }
        let rows = u64::try_from(found.details.len()).unwrap_or(0);
        let facts = (origin.row..).zip(found.details).map(|(row, detail)| {
            let at = time_of(&detail).unwrap_or(origin.time);
            let is_young = origin.time.saturating_sub(at) <= YOUNG_SECONDS;
            Fact {
                origin: Origin {
                    row,
                    ..origin.clone()
                },
                detail: if is_young {
                    detail
                } else {
                    Detail::LookedUp(Box::new(detail))
                },
            }
        });
        Ok(Read {
            facts: vec![facts.collect()],
            rows,
            incomplete: u64::from(found.is_cut),
        })
    }
}

/// Rows by the key that they were asked for by.
#[derive(Default)]
struct FoundRows {
    rows: BTreeMap<(Table, &'static str, String), Vec<Detail>>,
    /// Keys that have more rows than one answer holds.
    cut: BTreeSet<(Table, String)>,
}

impl FoundRows {
    fn add(&mut self, table: Table, column: &'static str, detail: Detail) {
        if let Some(value) = value_of(&detail, column) {
            let rows = self.rows.entry((table, column, key(&value))).or_default();
            if rows.len() < SELECTED_ROWS_MAX {
                rows.push(detail);
            }
        }
    }

    fn of(&self, table: Table, column: &'static str, value: &str) -> &[Detail] {
        let rows = self.rows.get(&(table, column, key(value)));
        rows.map_or(&[], Vec::as_slice)
    }
}

/// A key as the server compares it: without regard to case, and numbers as such.
fn key(value: &str) -> String {
    match value.parse::<u64>() {
        Ok(number) => number.to_string(),
        Err(_) => value.to_ascii_lowercase(),
    }
}

/// Cuts values off as the column did: Asterisk's names of calls may be longer.
fn cut_off(rows: &mut KeyedRows, width: Option<usize>) {
    let Some(width) = width else {
        return;
    };
    let cut = |value: &mut String| {
        if let Some((end, _)) = value.char_indices().nth(width) {
            value.truncate(end);
        }
    };
    rows.values.iter_mut().for_each(cut);
    if rows.column == "uniqueid"
        && let Effect::Renamed { to, from } = &mut rows.effect
    {
        cut(to);
        from.iter_mut().for_each(cut);
    }
}

/// Whether the source can be asked for a key.
fn is_plain(value: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !value.is_empty() && value.len() <= 64 && value.bytes().all(plain)
}

/// The archive of a table whose rows count.
fn archive(table: Table) -> Option<&'static str> {
    match table {
        Table::Log => Some("vicidial_log_archive"),
        Table::DialLog => Some("vicidial_dial_log_archive"),
        Table::DialCidLog => Some("vicidial_dial_cid_log_archive"),
        Table::CarrierLog => Some("vicidial_carrier_log_archive"),
        // Its rows may be there and say nothing; the statement says what counts.
        Table::LogExtended => None,
        Table::ShakenLog | Table::Statuses | Table::CampaignStatuses => None,
    }
}

fn of_second(
    lead_id: u64,
    rows: &KeyedRows,
    present: Vec<String>,
    renamed_to: Option<&String>,
) -> Option<Detail> {
    Some(Detail::CallsOfSecond {
        lead_id,
        second: second(rows.prefix.as_ref()?).to_owned(),
        present,
        renamed_to: renamed_to.cloned(),
    })
}

/// The part of a `uniqueid` before the dot.
fn second(uniqueid: &str) -> &str {
    uniqueid.split('.').next().unwrap_or_default()
}

/// Whether a row that was found by a key is one of those that the statement means.
fn is_of(detail: &Detail, rows: &KeyedRows) -> bool {
    let code = match detail {
        Detail::Dial { caller_code, .. } => Some(caller_code),
        Detail::Carrier { caller_code, .. } => caller_code.as_ref(),
        _ => None,
    };
    let has_code = match (&rows.caller_code, code) {
        (Some(wanted), Some(code)) => wanted == code,
        _ => true,
    };
    let has_prefix = match (&rows.prefix, call_of(detail)) {
        (Some(prefix), Some(call)) => {
            let is_new = matches!(&rows.effect, Effect::Renamed { to, .. } if *to == call.uniqueid);
            call.uniqueid.starts_with(prefix.as_str()) || is_new
        }
        _ => true,
    };
    has_code && has_prefix
}

fn call_of(detail: &Detail) -> Option<&CallRow> {
    match detail {
        Detail::Call { row, .. } => Some(row),
        _ => None,
    }
}

fn value_of(detail: &Detail, column: &str) -> Option<String> {
    let lead = |lead_id: Option<u64>| lead_id.map(|lead| lead.to_string());
    match (detail, column) {
        (Detail::Call { row, .. }, "uniqueid") => Some(row.uniqueid.clone()),
        (Detail::Call { row, .. }, "lead_id") => Some(row.lead_id.to_string()),
        (Detail::Link { uniqueid, .. } | Detail::Carrier { uniqueid, .. }, "uniqueid") => {
            Some(uniqueid.clone())
        }
        (Detail::Dial { caller_code, .. }, "caller_code") => Some(caller_code.clone()),
        (Detail::Dial { lead_id, .. } | Detail::Carrier { lead_id, .. }, "lead_id") => {
            lead(*lead_id)
        }
        _ => None,
    }
}

/// When what a row is about began; seconds since 1970 (UTC).
fn time_of(detail: &Detail) -> Option<i64> {
    match detail {
        Detail::Call { row, .. } => Some(row.started_at),
        Detail::Link { at, .. }
        | Detail::Dial { at, .. }
        | Detail::Reported { at, .. }
        | Detail::Carrier { at, .. } => Some(*at),
        Detail::CallDeleted { .. }
        | Detail::CallsOfSecond { .. }
        | Detail::Status(_)
        | Detail::LookedUp(_) => None,
    }
}
