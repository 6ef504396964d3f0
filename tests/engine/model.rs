//! What the numbers of a day must be, counted from its final rows alone.
//!
//! Nothing of the ledger is used: rows by key, statuses by name, numbers by sum.

use std::collections::BTreeMap;

use didtail::store::Dump;

use crate::day::{Day, Final, Logged, NUMBERS};
use crate::replay::Numbers;

/// A call is of its lead's newest dial in these seconds before it.
const LEAD_SECONDS: i64 = 4 * 3600;

/// What the store must say of each DID.
pub(crate) fn counted(day: &Day) -> Numbers {
    let mut numbers = Numbers::new();
    for call in &day.calls {
        if call.plan.logged != Logged::Nowhere {
            add(&mut numbers, &did(call), "dials", 1);
        }
        let status = call.log.status.as_str();
        if matches!(status, "" | "QUEUE" | "INCALL" | "DISPO") {
            continue;
        }
        let Some(did) = did_of_call(day, call) else {
            continue;
        };
        add(&mut numbers, &did, "total_calls", 1);
        let outcome = match status {
            "NA" => "no_answer",
            "AB" => "busy",
            "AA" => "machine",
            "SALE" => "answered",
            "DROP" => "dropped",
            _ => "other",
        };
        let could_be_blocked = matches!(outcome, "no_answer" | "busy" | "other");
        if could_be_blocked && cause(day, call) == Some(21) {
            add(&mut numbers, &did, "blocked", 1);
        } else {
            add(&mut numbers, &did, outcome, 1);
        }
        if status == "SALE" {
            add(&mut numbers, &did, "successful_calls", 1);
            add(
                &mut numbers,
                &did,
                "talk_seconds",
                call.log.seconds.unwrap_or(0),
            );
        }
    }
    numbers
}

/// What the store does say, zeros left out.
pub(crate) fn of_store(dump: &Dump) -> Numbers {
    let mut numbers = Numbers::new();
    for ((_, did), of) in &dump.dids {
        let Some(of) = of else { continue };
        let values = of.counters.values();
        for (name, value) in didtail::ledger::Counters::NAMES.into_iter().zip(values) {
            add(&mut numbers, did, name, value);
        }
    }
    numbers
}

fn add(numbers: &mut Numbers, did: &str, name: &'static str, value: i64) {
    if value != 0 {
        let of: &mut BTreeMap<_, _> = numbers.entry(did.to_owned()).or_default();
        *of.entry(name).or_default() += value;
    }
}

fn did(call: &Final) -> String {
    format!("+1{}", NUMBERS[call.plan.number])
}

/// The DID by the call's own code, else by its lead's newest dial.
fn did_of_call(day: &Day, call: &Final) -> Option<String> {
    if call.plan.linked && call.plan.logged != Logged::Nowhere {
        return Some(did(call));
    }
    dials_before(day, call)
        .max_by_key(|dial| dial.dialed_at)
        .map(did)
}

/// The dials of the call's lead that may be its own.
fn dials_before<'a>(day: &'a Day, call: &'a Final) -> impl Iterator<Item = &'a Final> {
    let span = call.log.start - LEAD_SECONDS..=call.log.start;
    day.calls.iter().filter(move |dial| {
        dial.plan.logged != Logged::Nowhere
            && dial.plan.lead == call.plan.lead
            && span.contains(&dial.dialed_at)
    })
}

/// Q.850 cause by the call's `uniqueid`, its code, or its lead's newest dial.
fn cause(day: &Day, call: &Final) -> Option<i64> {
    let by_code = |dial: &Final| dial.plan.cause.filter(|_| dial.plan.cause_by_code);
    let of_dial = if call.plan.linked {
        by_code(call)
    } else {
        let newest = dials_before(day, call).max_by_key(|dial| dial.dialed_at);
        newest.and_then(by_code)
    };
    let own = call.plan.cause.filter(|_| !call.plan.cause_by_code);
    of_dial.or(own)
}
