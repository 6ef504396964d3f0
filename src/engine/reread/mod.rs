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

mod facts;
mod found;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::selection::Selection;
use crate::source::{Condition, Source, SourceError};
use crate::vicidial::{
    Detail, Effect, Fact, Interpreter, KeyedRows, Link, Origin, Table, WallClock, Zone,
};

use facts::time_of;
use found::FoundRows;

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
    /// Rows from before this were archived by then; seconds since 1970 (UTC).
    pub(super) gone_before: i64,
    /// `uniqueid`s of calls that are there all the same: inserted behind that.
    pub(super) there: Vec<String>,
    /// Names the change; its rows are numbered from here on.
    pub(super) origin: Origin,
}

impl Pending {
    pub(super) fn keys(&self) -> usize {
        self.rows.values.len() + self.rows.new_values.len()
    }

    /// Every key that its rows may be found by.
    fn sought(&self) -> impl Iterator<Item = &String> {
        self.rows.values.iter().chain(&self.rows.new_values)
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

    /// The zone of the dialer's wall clocks.
    pub(super) fn zone(&self) -> &Zone {
        &self.zone
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
        for change in &mut *changes {
            let (table, column) = (change.table, change.rows.column);
            let width = self.selection.width(table, column).await?;
            cut_off(&mut change.rows, width);
            let values = change.sought().cloned();
            wanted.entry((table, column)).or_default().extend(values);
        }
        let mut found = FoundRows::default();
        let mut rows = 0;
        for ((table, column), values) in wanted {
            let name = table.name();
            rows += self
                .select(name, table, column, values, now, &mut found)
                .await?;
        }
        let mut gone: BTreeMap<(Table, &str), BTreeSet<String>> = BTreeMap::new();
        for change in changes.iter() {
            let (table, column) = (change.table, change.rows.column);
            let values = change.rows.values.iter();
            let sought = values.filter(|value| is_sought(change, &found, value));
            let of_column = gone.entry((table, column)).or_default();
            of_column.extend(sought.cloned());
        }
        for ((table, column), values) in gone {
            let mut archived = FoundRows::default();
            let name = format!("{}_archive", table.name());
            rows += self
                .select(&name, table, column, values, now, &mut archived)
                .await?;
            found.archived.extend(archived.rows);
        }
        let facts = changes
            .iter()
            .map(|change| facts::of(change, &found, &self.selection, &self.zone))
            .collect();
        let incomplete = changes.iter().filter(|change| {
            let is_lost = |value: &String| {
                let is_asked = is_plain(value) || !change.rows.inserted.is_empty();
                !is_asked || found.cut.contains(&(change.table, found::key(value)))
            };
            change.sought().any(is_lost)
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
                    .extend(chunk.iter().map(|value| (table, found::key(value))));
            }
            rows += u64::try_from(answer.details.len()).unwrap_or(0);
            for detail in answer.details {
                found.add(table, column, detail);
            }
        }
        Ok(rows)
    }

    /// What a statement itself says of a call's caller code.
    pub(super) fn link(&self, link: &Link, time: i64) -> Detail {
        facts::link(link, &self.zone, time)
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
        let said_from = said(from);
        let from = said_from.unwrap_or(ran.min(until) - WINDOW_SECONDS);
        let earliest = until - WINDOW_SECONDS_MAX;
        let slice = Slice {
            from: from.max(earliest).min(until),
            until,
        };
        (slice, said_from.is_some() && from >= earliest)
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

/// Cuts values off as the column did: Asterisk's names of calls may be longer.
/// What a condition compares with stays as it is, and then finds nothing.
fn cut_off(rows: &mut KeyedRows, width: Option<usize>) {
    let Some(width) = width else {
        return;
    };
    let cut = |value: &mut String| {
        if let Some((end, _)) = value.char_indices().nth(width) {
            value.truncate(end);
        }
    };
    if !rows.inserted.is_empty() || !rows.links.is_empty() {
        rows.values.iter_mut().for_each(cut);
    }
    if rows.column == "uniqueid"
        && let Effect::Renamed { to, .. } = &mut rows.effect
    {
        cut(to);
        rows.new_values = vec![to.clone()];
    }
}

/// Whether the source can be asked for a key.
fn is_plain(value: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !value.is_empty() && value.len() <= 64 && value.bytes().all(plain)
}

/// Whether a key is looked for in the archive too: of dials and carriers' rows
/// an UPDATE may change those that are archived by now, and of calls a deletion
/// is told from an archiving.
fn is_sought(change: &Pending, found: &FoundRows, value: &str) -> bool {
    let rows = &change.rows;
    match change.table {
        Table::Log => rows.effect == Effect::Deleted,
        Table::DialLog | Table::CarrierLog => {
            rows.inserted.is_empty() && found.of(change.table, rows.column, value).is_empty()
        }
        Table::LogExtended
        | Table::DialCidLog
        | Table::ShakenLog
        | Table::Statuses
        | Table::CampaignStatuses => false,
    }
}
