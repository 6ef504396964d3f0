//! From the rows that were read for a change to the facts of the change.

use crate::engine::reread::found::{FoundRows, key};
use crate::engine::reread::{CLOCK_SECONDS, Pending, YOUNG_SECONDS};
use crate::engine::selection::Selection;
use crate::ledger::CODE_WINDOW_SECONDS;
use crate::source::Source;
use crate::vicidial::{
    CallAssigned, CallBefore, CallPatch, CallRow, Detail, Effect, Fact, KeyedRows, Link, Origin,
    Reach, Table, Zone, patch, patched, second,
};

/// The facts of one change.
pub(super) fn of<S: Source>(
    change: &Pending,
    found: &FoundRows,
    selection: &Selection<S>,
    zone: &Zone,
) -> Vec<Fact> {
    let Pending {
        table,
        rows,
        origin,
        ..
    } = change;
    let live: Vec<&Detail> = change
        .sought()
        .flat_map(|value| found.of(*table, rows.column, value))
        .filter(|detail| is_of(detail, rows))
        .collect();
    let mut details = Vec::new();
    if *table == Table::Log {
        details.extend(of_gone_calls(change, &live, selection, zone));
        let archived = archived(change, found);
        details.extend(effect(change, &live, &archived));
    }
    // What was inserted and is gone was as the statement says.
    let said = rows.inserted.iter();
    let said: Vec<Detail> = said
        .filter_map(|said| selection.said(*table, said, origin.time))
        .collect();
    let is_gone = |said: &&Detail| !live.iter().any(|row| is_same_row(row, said));
    details.extend(said.iter().filter(is_gone).cloned());
    details.extend(unsaid_links(rows, &live).map(|said| link(said, zone, origin.time)));
    // A caller code comes again every year, and a lead is called for months.
    let is_exact = rows.column == "uniqueid";
    let age = |detail: &Detail| {
        let at = time_of(detail).unwrap_or(origin.time);
        origin.time.saturating_sub(at)
    };
    for detail in live {
        let is_new = !rows.inserted.is_empty();
        let is_other = is_new && age(detail).saturating_abs() > CODE_WINDOW_SECONDS;
        if is_exact || age(detail) <= YOUNG_SECONDS {
            details.push(match detail {
                // The row of an INSERT: it has that lead here.
                Detail::Call { .. } if said.iter().any(|said| is_same_row(detail, said)) => {
                    detail.clone()
                }
                Detail::Call { row, .. } if is_exact => Detail::CallRead(Box::new(row.clone())),
                Detail::Call { row, .. } => Detail::CallOfLead(Box::new(row.clone())),
                _ => detail.clone(),
            });
        } else if !is_other {
            details.push(Detail::LookedUp(Box::new(detail.clone())));
        }
    }
    let archived = archived(change, found)
        .into_iter()
        .filter(|_| *table != Table::Log)
        .filter(|detail| rows.inserted.is_empty() && age(detail).saturating_abs() <= YOUNG_SECONDS)
        .filter(|detail| time_of(detail).is_none_or(|at| at >= change.gone_before));
    let columns = selection.columns(*table);
    details.extend(archived.map(|detail| patched(detail, &rows.set, columns)));
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

/// Whether a row is the one that an INSERT made: keys come again, with another
/// lead or in another year.
fn is_same_row(row: &Detail, said: &Detail) -> bool {
    let close = |one: i64, other: i64| one.abs_diff(other) <= CODE_WINDOW_SECONDS.unsigned_abs();
    match (row, said) {
        (Detail::Call { row, .. }, Detail::Call { row: said, .. }) => {
            key(&row.uniqueid) == key(&said.uniqueid) && row.lead_id == said.lead_id
        }
        (
            Detail::Dial {
                caller_code, at, ..
            },
            Detail::Dial {
                caller_code: said,
                at: said_at,
                ..
            },
        ) => key(caller_code) == key(said) && close(*at, *said_at),
        (
            Detail::Carrier { uniqueid, at, .. },
            Detail::Carrier {
                uniqueid: said,
                at: said_at,
                ..
            },
        ) => key(uniqueid) == key(said) && close(*at, *said_at),
        (_, _) => false,
    }
}

/// The rows of a change that are in the archive.
fn archived<'f>(change: &Pending, found: &'f FoundRows) -> Vec<&'f Detail> {
    let Pending { table, rows, .. } = change;
    rows.values
        .iter()
        .flat_map(|value| found.archived(*table, rows.column, value))
        .filter(|detail| is_of(detail, rows))
        .collect()
}

/// What an UPDATE says of calls that are not there any more, or not by the name
/// or the lead that it found them by.
fn of_gone_calls<S: Source>(
    change: &Pending,
    live: &[&Detail],
    selection: &Selection<S>,
    zone: &Zone,
) -> Option<Detail> {
    let Pending { rows, origin, .. } = change;
    let columns = selection.columns(Table::Log);
    let mut set = patch(&rows.set, columns);
    let among = &rows.among;
    let is_by_name = rows.column == "uniqueid";
    if among.prefix.is_some() {
        // Which of a second it was is told apart by what is there.
        set.uniqueid = None;
    }
    let is_there = |name: &String| present(live).any(|there| there == name);
    let all_there = is_by_name && rows.values.iter().all(is_there);
    let lead_id = match (is_by_name, rows.values.as_slice()) {
        (true, _) => among.lead_id,
        (false, [lead]) => lead.parse().ok(),
        (false, _) => None,
    };
    let is_known = set != CallPatch::default()
        && !among.and_more
        && !all_there
        && (is_by_name || lead_id.is_some());
    let young = origin.time.saturating_sub(YOUNG_SECONDS);
    let mut assigned = CallAssigned {
        moved: moved(rows, live, set.lead_id),
        since: young,
        ..CallAssigned::default()
    };
    if is_known {
        let said = among.since.and_then(|wall| zone.seconds(wall));
        let since = said.map_or(young, |said| said.saturating_sub(CLOCK_SECONDS));
        let second_of = |prefix: &String| second(prefix).to_owned();
        let there = calls(live).map(|call| (call.uniqueid.clone(), call.lead_id));
        if is_by_name {
            assigned.uniqueids.clone_from(&rows.values);
        }
        assigned.lead_id = lead_id;
        assigned.second = among.prefix.as_ref().map(second_of);
        assigned.since = since.max(young);
        assigned.reach = reach(change);
        assigned.statuses.clone_from(&among.statuses);
        assigned.was = patch(&among.was, columns);
        assigned.pick = among.pick;
        assigned.present = there.collect();
        assigned.set = set;
    }
    let says = is_known || !assigned.moved.is_empty();
    says.then(|| Detail::CallAssigned(Box::new(assigned)))
}

/// The rows that have the lead which a statement gave some.
fn moved(rows: &KeyedRows, live: &[&Detail], lead: Option<u64>) -> Vec<(String, u64)> {
    if !rows.set.iter().any(|(column, _)| column == "lead_id") {
        return Vec::new();
    }
    let has_it = |call: &&CallRow| lead.is_none_or(|lead| lead == call.lead_id);
    let moved = calls(live).filter(has_it);
    moved
        .map(|call| (call.uniqueid.clone(), call.lead_id))
        .collect()
}

/// The calls that were there when a statement ran.
fn reach(change: &Pending) -> Reach {
    Reach {
        since: change.gone_before,
        there: change.there.clone(),
    }
}

/// What a change did to the names of calls.
fn effect(change: &Pending, live: &[&Detail], archived: &[&Detail]) -> Vec<Detail> {
    let Pending { rows, origin, .. } = change;
    // A copy says that the row was there at a night; only an archiving that
    // reached so far took it.
    let reach = reach(change);
    let was_taken = |detail: &&&Detail| {
        let name = call_of(detail).map(|call| call.uniqueid.as_str());
        time_of(detail).is_some_and(|at| !reach.has(name.unwrap_or_default(), at))
    };
    let archived: Vec<&Detail> = archived.iter().filter(was_taken).copied().collect();
    let is_there = |name: &String| present(live).any(|there| there == name);
    let of_second = |lead_id: u64, renamed_to: Option<&String>| {
        // Of those that are not there, an archiving may have taken some.
        let kept = archived.iter().filter(|_| renamed_to.is_none());
        let kept: Vec<&Detail> = live.iter().chain(kept).copied().collect();
        Some(Detail::CallsOfSecond {
            lead_id,
            second: second(rows.among.prefix.as_ref()?).to_owned(),
            reach: reach.clone(),
            present: present(&kept).cloned().collect(),
            renamed_to: renamed_to.cloned(),
        })
    };
    let leads = || rows.values.iter().filter_map(|lead| lead.parse().ok());
    match (&rows.effect, rows.column) {
        (Effect::None, _) => Vec::new(),
        (
            Effect::Renamed {
                to,
                from: Some(from),
            },
            "uniqueid",
        ) => {
            let new = calls(live).find(|call| call.uniqueid == *to);
            let renamed = new.filter(|_| !is_there(from)).map(|row| Detail::Call {
                before: Some(CallBefore {
                    uniqueid: from.clone(),
                    lead_id: row.lead_id,
                    status: row.status.clone(),
                }),
                row: row.clone(),
            });
            renamed.into_iter().collect()
        }
        (Effect::Renamed { to, .. }, _) => leads()
            .filter_map(|lead| of_second(lead, Some(to)))
            .collect(),
        (Effect::Deleted, "uniqueid") => {
            let was_archived = |name: &String| present(&archived).any(|there| there == name);
            let gone = rows.values.iter();
            let gone = gone.filter(|name| !is_there(name) && !was_archived(name));
            let deleted = gone.map(|uniqueid| {
                let began = second(uniqueid).parse().unwrap_or(origin.time);
                (uniqueid, began)
            });
            // What an archiving took before it deleted nothing.
            let deleted = deleted.filter(|(uniqueid, began)| reach.has(uniqueid, *began));
            deleted
                .map(|(uniqueid, started_at)| Detail::CallDeleted {
                    uniqueid: uniqueid.clone(),
                    lead_id: rows.among.lead_id,
                    started_at,
                })
                .collect()
        }
        (Effect::Deleted, _) => leads().filter_map(|lead| of_second(lead, None)).collect(),
    }
}

/// Caller codes that the statement says and the rows do not, because a transfer
/// has overwritten them since.
fn unsaid_links<'r>(rows: &'r KeyedRows, live: &[&Detail]) -> impl Iterator<Item = &'r Link> {
    let linked: Vec<String> = live
        .iter()
        .filter_map(|detail| match detail {
            Detail::Link { uniqueid, .. } => Some(uniqueid.clone()),
            _ => None,
        })
        .collect();
    let links = rows.links.iter();
    links.filter(move |link| !linked.contains(&link.uniqueid))
}

pub(super) fn link(link: &Link, zone: &Zone, time: i64) -> Detail {
    let at = link.call_date.and_then(|wall| zone.seconds(wall));
    Detail::Link {
        uniqueid: link.uniqueid.clone(),
        caller_code: link.caller_code.clone(),
        lead_id: link.lead_id,
        at: at.unwrap_or(time),
    }
}

fn calls<'d>(live: &[&'d Detail]) -> impl Iterator<Item = &'d CallRow> {
    live.iter().filter_map(|detail| call_of(detail))
}

fn present<'d>(live: &[&'d Detail]) -> impl Iterator<Item = &'d String> {
    calls(live).map(|call| &call.uniqueid)
}

/// Whether a row that was found by a key is one of those that the statement means.
fn is_of(detail: &Detail, rows: &KeyedRows) -> bool {
    let code = match detail {
        Detail::Dial { caller_code, .. } => Some(caller_code),
        Detail::Carrier { caller_code, .. } => caller_code.as_ref(),
        _ => None,
    };
    let has_code = match (&rows.among.caller_code, code) {
        (Some(wanted), Some(code)) => wanted == code,
        _ => true,
    };
    let has_prefix = match (&rows.among.prefix, call_of(detail)) {
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

/// When what a row is about began; seconds since 1970 (UTC).
pub(super) fn time_of(detail: &Detail) -> Option<i64> {
    match detail {
        Detail::Call { row, .. } => Some(row.started_at),
        Detail::Link { at, .. }
        | Detail::Dial { at, .. }
        | Detail::Reported { at, .. }
        | Detail::Carrier { at, .. } => Some(*at),
        Detail::Posted(posted) => Some(posted.at),
        Detail::CallRead(_)
        | Detail::CallOfLead(_)
        | Detail::CallDeleted { .. }
        | Detail::CallAssigned(_)
        | Detail::CallsOfSecond { .. }
        | Detail::Status(_)
        | Detail::LookedUp(_) => None,
    }
}
