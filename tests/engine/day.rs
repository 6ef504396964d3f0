//! Generates a day of calls: stories of several leads, told in turns.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::events::Change;
use crate::rows::{Log, carrier, code, dial, dial_cid, link};

/// Seconds between two calls of the day, so that each begins in its own.
const CALL_SECONDS: i64 = 400;

/// A generated day.
pub(crate) struct Day {
    /// The groups in the order of the binlog.
    pub(crate) groups: Vec<Vec<Change>>,
    /// What is true of each call at its end.
    pub(crate) calls: Vec<Final>,
}

/// One line a change: what a failure shows must be readable.
impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, group) in self.groups.iter().enumerate() {
            for change in group {
                let (verb, rows) = match change {
                    Change::Insert(row) => ("insert", vec![row]),
                    Change::Update(before, after) => ("update", vec![before, after]),
                    Change::Delete(row) => ("delete", vec![row]),
                };
                write!(f, "\n{number:3} {verb}")?;
                for row in rows {
                    write!(f, " {}{:?}", row.table, row.values)?;
                }
            }
        }
        Ok(())
    }
}

/// What the model needs to know of a call: its plan and its last row.
#[derive(Clone, Debug)]
pub(crate) struct Final {
    pub(crate) log: Log,
    pub(crate) plan: Plan,
    pub(crate) dialed_at: i64,
}

/// What happens to one call.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) lead: i64,
    /// Which of a few numbers it is dialled from.
    pub(crate) number: usize,
    /// Where the number stands: dial log, its companion, both, or no row at all.
    pub(crate) logged: Logged,
    /// The caller code is told (`vicidial_log_extended`).
    pub(crate) linked: bool,
    /// A later code of the same call, as transfers have it.
    pub(crate) transferred: bool,
    /// The first and the later statuses.
    pub(crate) statuses: Vec<&'static str>,
    pub(crate) seconds: i64,
    /// Q.850 cause of the carrier's row, where there is one.
    pub(crate) cause: Option<i64>,
    /// The carrier's row names the code, as since schema 1343.
    pub(crate) cause_by_code: bool,
    /// VICIdial changes its `uniqueid` after so many of its rows.
    pub(crate) renamed_after: Option<usize>,
    /// A duplicate row is written, and deleted minutes later.
    pub(crate) twin: bool,
    pub(crate) archived: bool,
    /// Where dial, companion, link and carrier come between the rows.
    pub(crate) places: [usize; 4],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logged {
    Dial,
    /// The dial log has no number, its companion has.
    Companion,
    Both,
    Nowhere,
}

pub(crate) const NUMBERS: [&str; 3] = ["3125550100", "3125550101", "3125550102"];

const STATUSES: [&str; 10] = [
    "", "QUEUE", "INCALL", "DISPO", "NA", "AB", "AA", "SALE", "DROP", "NI",
];

fn plans() -> impl Strategy<Value = Plan> {
    let logged = prop_oneof![
        4 => Just(Logged::Dial),
        2 => Just(Logged::Both),
        1 => Just(Logged::Companion),
        1 => Just(Logged::Nowhere),
    ];
    let known = (
        1_i64..4,
        0..NUMBERS.len(),
        logged,
        any::<bool>(),
        any::<bool>(),
    );
    let rows = (
        vec(prop::sample::select(STATUSES.to_vec()), 1..5),
        0_i64..300,
        prop::option::of(prop::sample::select(vec![16_i64, 17, 21])),
        any::<bool>(),
    );
    let turns = (
        prop::option::weighted(0.3, 0_usize..4),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.3),
        prop::array::uniform4(0_usize..6),
    );
    (known, rows, turns).prop_map(|(known, rows, turns)| {
        let (lead, number, logged, linked, transferred) = known;
        let (statuses, seconds, cause, cause_by_code) = rows;
        let (renamed_after, twin, archived, places) = turns;
        Plan {
            lead,
            number,
            logged,
            linked,
            transferred: transferred && linked,
            statuses,
            seconds,
            cause,
            cause_by_code,
            renamed_after,
            // A duplicate is cleaned up within minutes, or archived with the rest.
            twin: twin && !archived,
            archived,
            places,
        }
    })
}

/// Days of up to six calls, their steps shuffled together.
pub(crate) fn days() -> impl Strategy<Value = Day> {
    let turns = vec(any::<prop::sample::Index>(), 120);
    (
        vec(plans(), 1..6),
        turns,
        vec(prop::bool::weighted(0.3), 120),
    )
        .prop_map(|(plans, turns, joined)| {
            let mut calls = Vec::new();
            let mut stories = Vec::new();
            // One schema a day.
            let by_code = plans[0].cause_by_code;
            for (number, mut plan) in (0_i64..).zip(plans) {
                plan.cause_by_code = by_code;
                let (steps, last) = story(number, plan);
                stories.push(steps.into_iter());
                calls.push(last);
            }
            let mut groups: Vec<Vec<Change>> = Vec::new();
            let mut turns = turns.into_iter().cycle();
            let mut joined = joined.into_iter().cycle();
            while !stories.is_empty() {
                let turn = turns.next().expect("cycles").index(stories.len());
                let Some(step) = stories[turn].next() else {
                    drop(stories.remove(turn));
                    continue;
                };
                match groups.last_mut() {
                    Some(group) if joined.next().expect("cycles") => group.push(step),
                    _ => groups.push(vec![step]),
                }
            }
            Day { groups, calls }
        })
}

/// The changes of one call in their order, and how it ends.
fn story(number: i64, plan: Plan) -> (Vec<Change>, Final) {
    let dialed_at = number * CALL_SECONDS;
    let code = code(dialed_at, plan.lead);
    let mut log = Log::at(dialed_at + 20, plan.lead, plan.statuses[0]);
    if plan.archived {
        // Archived hours later; the event's time is that of the day's groups.
        log.start -= 6 * 3600;
        log.uniqueid = format!("{}.{}", log.start, plan.lead);
    }
    let start = log.start - crate::events::NOON;
    let mut rows = vec![log.insert()];
    let mut keys = vec![log.uniqueid.clone()];
    let renames = plan
        .renamed_after
        .map(|after| after.min(plan.statuses.len()));
    for (step, status) in plan.statuses.iter().enumerate() {
        if step > 0 {
            rows.push(log.update(|log| {
                log.status = (*status).to_owned();
                log.seconds = Some(plan.seconds);
            }));
            keys.push(log.uniqueid.clone());
        }
        if renames == Some(step) {
            rows.push(log.update(|log| log.uniqueid.push('9')));
            keys.push(log.uniqueid.clone());
        }
    }
    if plan.twin {
        let twin = Log {
            uniqueid: format!("{}1", log.uniqueid),
            ..log.clone()
        };
        rows.extend([twin.insert(), twin.delete()]);
        keys.extend([log.uniqueid.clone(), log.uniqueid.clone()]);
    }
    if plan.archived {
        rows.push(log.delete());
        keys.push(log.uniqueid.clone());
    }
    let steps = with_other_tables(&plan, &code, start - 20, rows, &keys);
    let last = Final {
        log,
        dialed_at: crate::events::NOON + start - 20,
        plan,
    };
    (steps, last)
}

/// Puts the rows of the other tables between those of the call.
fn with_other_tables(
    plan: &Plan,
    code: &str,
    dialed_at: i64,
    rows: Vec<Change>,
    keys: &[String],
) -> Vec<Change> {
    let number = NUMBERS[plan.number];
    let [dial_at, cid_at, link_at, carrier_at] = plan.places;
    // A carrier row without a code finds only a call that is there.
    let carrier_at = if plan.cause_by_code {
        carrier_at
    } else {
        carrier_at.max(1)
    };
    let count = rows.len();
    let mut steps = Vec::new();
    for place in 0..=count {
        let key = &keys[place.saturating_sub(1)];
        let is_here = |at: usize| at.min(count) == place;
        if is_here(dial_at) && plan.logged != Logged::Nowhere {
            let shown = if plan.logged == Logged::Companion {
                ""
            } else {
                number
            };
            steps.push(dial(code, plan.lead, dialed_at, shown));
        }
        if is_here(cid_at) && matches!(plan.logged, Logged::Companion | Logged::Both) {
            steps.push(dial_cid(code, dialed_at, number));
        }
        if is_here(link_at) && plan.linked {
            steps.push(link(key, code, plan.lead, dialed_at + 21));
            if plan.transferred && place > 0 {
                let later = code.replacen('V', "M", 1);
                steps.push(link(key, &later, plan.lead, dialed_at + 90));
            }
        }
        if let Some(cause) = plan.cause.filter(|_| is_here(carrier_at)) {
            let named = if plan.cause_by_code { code } else { "" };
            steps.push(carrier(key, named, plan.lead, dialed_at + 30, cause));
        }
        steps.extend(rows.get(place).cloned());
    }
    steps
}
