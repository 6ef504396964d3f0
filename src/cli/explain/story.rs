//! From the kept history to lines: what each row changed, and what it counted.

use serde_json::{Map, Value, json};

use crate::cli::time;
use crate::ledger::{
    Attribution, Call, CallKey, ChangeEntry, Contribution, Counters, Dial, DialKey, Step, steps,
};

/// One change of a call or a dial.
pub(super) struct Line {
    subject: String,
    event: String,
    table: String,
    at: i64,
    /// How often an operator had gone back before this was applied: 0 for the
    /// first time.
    pass: u32,
    /// Fields with their old and new values; old values only where there were any.
    changed: Vec<(String, Option<Value>, Value)>,
    old: Option<Contribution>,
    new: Option<Contribution>,
}

/// The lines of a call.
pub(super) fn of_call(
    key: &CallKey,
    call: &Call,
    entries: Vec<ChangeEntry>,
) -> anyhow::Result<Vec<Line>> {
    let steps = steps(call, entries)?;
    let line = |step: &Step<Call>| {
        let shown = |call: &Call| {
            fields(&json!({
                "disposition": call.disposition,
                "outcome": call.counted.then_some(call.outcome),
                "duration_seconds": call.duration_seconds,
                "campaign_id": call.campaign_id,
                "agent_id": call.agent_id,
                "did": call.did,
                "term_reason": call.term_reason,
            }))
        };
        line(
            format!("call {}", key.uniqueid),
            step,
            shown,
            Call::contribution,
        )
    };
    let mut lines: Vec<Line> = steps.iter().map(line).collect::<anyhow::Result<_>>()?;
    // A call's key is no part of its state: the newest is the present one, and
    // each earlier one stands in the change that replaced it.
    let mut key = key.clone();
    for line in lines.iter_mut().rev() {
        line.subject = format!("call {}", key.uniqueid);
        for (name, old, new) in &mut line.changed {
            match (name.as_str(), old) {
                ("uniqueid", Some(Value::String(old))) => {
                    *new = json!(key.uniqueid);
                    key.uniqueid.clone_from(old);
                }
                ("lead_id", Some(old)) => {
                    *new = json!(key.lead_id);
                    key.lead_id = old.as_u64().unwrap_or(key.lead_id);
                }
                _ => {}
            }
        }
        let same = |(_, old, new): &(String, Option<Value>, Value)| old.as_ref() != Some(new);
        line.changed.retain(same);
    }
    tell_passes(&mut lines);
    Ok(lines)
}

/// The lines of a dial.
pub(super) fn of_dial(
    key: &DialKey,
    dial: &Dial,
    entries: Vec<ChangeEntry>,
) -> anyhow::Result<Vec<Line>> {
    let steps = steps(dial, entries)?;
    let line = |step: &Step<Dial>| {
        let shown = |dial: &Dial| {
            fields(&json!({
                "did": dial.did,
                "uniqueid": dial.uniqueid,
                "hangup_cause": dial.hangup_cause,
                "sip_code": dial.sip_code,
                "reported": dial.reported,
            }))
        };
        line(
            format!("dial {}", key.caller_code),
            step,
            shown,
            Dial::contribution,
        )
    };
    let mut lines: Vec<Line> = steps.iter().map(line).collect::<anyhow::Result<_>>()?;
    tell_passes(&mut lines);
    Ok(lines)
}

fn line<T: serde::Serialize>(
    subject: String,
    step: &Step<T>,
    first: impl Fn(&T) -> Map<String, Value>,
    contribution: impl Fn(&T) -> Option<Contribution>,
) -> anyhow::Result<Line> {
    let now = serde_json::to_value(&step.after)?;
    let changed = match &step.entry.was {
        None => first(&step.after)
            .into_iter()
            .map(|(name, value)| (name, None, value))
            .collect(),
        Some(was) => was
            .iter()
            .map(|(name, old)| {
                let new = now.get(name).cloned().unwrap_or_default();
                (name.clone(), Some(old.clone()), new)
            })
            .collect(),
    };
    Ok(Line {
        subject,
        event: step.entry.event.clone(),
        table: step.entry.table.clone(),
        at: step.entry.at().unwrap_or(0),
        pass: 0,
        changed,
        old: step.before.as_ref().and_then(&contribution),
        new: contribution(&step.after),
    })
}

/// What there is to tell of something new: the fields that hold something.
fn fields(value: &Value) -> Map<String, Value> {
    let all = value.as_object().cloned().unwrap_or_default();
    let holds = |value: &Value| !value.is_null() && value != "";
    all.into_iter().filter(|(_, value)| holds(value)).collect()
}

/// Tells the passes of a subject's changes, which stand in the order in which
/// they were applied: one that goes back in the binlog begins another.
fn tell_passes(lines: &mut [Line]) {
    let (mut pass, mut last) = (0, None);
    for line in lines {
        let here = (line.at, place(&line.event));
        if last.as_ref().is_some_and(|last| here < *last) {
            pass += 1;
        }
        line.pass = pass;
        last = Some(here);
    }
}

/// In the order of the binlog, replays behind the first time.
pub(super) fn sort(lines: &mut [Line]) {
    lines.sort_by(|a, b| {
        let key = |line: &Line| (line.pass, line.at, place(&line.event));
        key(a).cmp(&key(b))
    });
}

/// File, offset and row of an event's name.
fn place(event: &str) -> Option<(String, u64, u32)> {
    let (place, _) = event.rsplit_once('@')?;
    let (position, row) = place.rsplit_once('/')?;
    let (file, offset) = position.rsplit_once(':')?;
    Some((file.to_owned(), offset.parse().ok()?, row.parse().ok()?))
}

/// In words, how a DID is known.
pub(super) fn way(attribution: Attribution) -> &'static str {
    match attribution {
        Attribution::None => "nothing",
        Attribution::Lead => "its lead's newest dial",
        Attribution::CallerCode => "its caller code",
        Attribution::Reported => "a report",
    }
}

impl Line {
    /// True when it changed the numbers of this DID.
    pub(super) fn is_about(&self, did: &str) -> bool {
        let of = |counted: &Option<Contribution>| counted.as_ref().is_some_and(|c| c.did == did);
        self.old != self.new && (of(&self.old) || of(&self.new))
    }

    /// When and where, then what changed, then the numbers; `width` wide where
    /// that can be had.
    pub(super) fn text(&self, width: usize) -> String {
        let (place, row) = self
            .event
            .split('@')
            .next()
            .unwrap_or_default()
            .rsplit_once('/')
            .unwrap_or_default();
        let place = match (place, row) {
            ("recount:0" | "select:0", _) => String::new(),
            (place, "0") => format!("  {place}"),
            (place, row) => format!("  {place}, row {row}"),
        };
        let again = if self.pass > 0 { "  (replayed)" } else { "" };
        let mut text = format!("{}  {}{place}{again}\n", time::format(self.at), self.table);
        text.push_str(&wrapped(&self.subject, &self.change(), width));
        for (of, numbers) in self.numbers() {
            text.push_str(&wrapped(&of, &numbers, width));
        }
        text
    }

    pub(super) fn document(&self) -> Value {
        let values = |of: &Contribution, sign: i64| {
            let counters = Counters::NAMES.into_iter().zip(of.counters.values());
            let mut document: Map<String, Value> = counters
                .filter(|(_, value)| *value != 0)
                .map(|(name, value)| (name.to_owned(), json!(sign * value)))
                .collect();
            document.insert("did".to_owned(), json!(of.did));
            document.insert("day".to_owned(), json!(of.day));
            document.insert("campaign_id".to_owned(), json!(of.campaign_id));
            Value::Object(document)
        };
        let mut effect = Vec::new();
        if self.old != self.new {
            effect.extend(self.old.as_ref().map(|old| values(old, -1)));
            effect.extend(self.new.as_ref().map(|new| values(new, 1)));
        }
        let changed = self.changed.iter().map(|(name, old, new)| {
            let told = |value: &Value| match value.as_i64().filter(|_| name.ends_with("_at")) {
                Some(at) => json!(time::format(at)),
                None => value.clone(),
            };
            let change = match old {
                Some(old) => json!({ "old": told(old), "new": told(new) }),
                None => json!({ "new": told(new) }),
            };
            (name.clone(), change)
        });
        json!({
            "subject": self.subject,
            "event": self.event,
            "table": self.table,
            "at": time::format(self.at),
            "replayed": self.pass > 0,
            "changed": changed.collect::<Map<String, Value>>(),
            "effect": effect,
        })
    }

    /// `disposition INCALL → SALE`, one each.
    fn change(&self) -> Vec<String> {
        let changed = self.changed.iter().map(|(name, old, new)| match old {
            Some(old) => format!("{name} {} → {}", plain(name, old), plain(name, new)),
            None => format!("{name} {}", plain(name, new)),
        });
        changed.collect()
    }

    /// `+1 total_calls`, one each, by what they are numbers of: those of another
    /// DID, day or campaign apart.
    fn numbers(&self) -> Vec<(String, Vec<String>)> {
        let place = |of: &Contribution| format!("{} on {}", of.did, of.day);
        let named = |counters: Counters| {
            let named = Counters::NAMES.into_iter().zip(counters.values());
            let changed = named.filter(|(_, value)| *value != 0);
            changed
                .map(|(name, value)| format!("{value:+} {name}"))
                .collect::<Vec<String>>()
        };
        let taken = |of: &Contribution| {
            let mut taken = Counters::default();
            taken -= of.counters;
            (place(of), named(taken))
        };
        let given = |of: &Contribution| (place(of), named(of.counters));
        let mut numbers = match (&self.old, &self.new) {
            (Some(old), Some(new)) => {
                let is_same = (&old.did, &old.day, &old.campaign_id)
                    == (&new.did, &new.day, &new.campaign_id);
                if is_same {
                    let mut changed = new.counters;
                    changed -= old.counters;
                    vec![(place(new), named(changed))]
                } else {
                    vec![taken(old), given(new)]
                }
            }
            (Some(old), None) => vec![taken(old)],
            (None, Some(new)) => vec![given(new)],
            (None, None) => Vec::new(),
        };
        numbers.retain(|(_, numbers)| !numbers.is_empty());
        numbers
    }
}

/// `what: part, part`, indented and broken between parts.
fn wrapped(what: &str, parts: &[String], width: usize) -> String {
    let mut lines = vec![format!("  {what}:")];
    for (number, part) in parts.iter().enumerate() {
        let comma = if number + 1 < parts.len() { "," } else { "" };
        let part = format!(" {part}{comma}");
        match lines.last_mut() {
            Some(line) if line.chars().count() + part.chars().count() <= width => {
                line.push_str(&part);
            }
            _ => lines.push(format!("   {part}")),
        }
    }
    lines.join("\n") + "\n"
}

fn plain(name: &str, value: &Value) -> String {
    match value {
        Value::Number(at) if name.ends_with("_at") => {
            at.as_i64().map_or_else(|| at.to_string(), time::format)
        }
        Value::Null => "none".to_owned(),
        Value::String(text) if text.is_empty() => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Outcome, Tracked as _};

    fn call(disposition: &str, did: Option<&str>) -> Call {
        Call {
            disposition: disposition.to_owned(),
            did: did.map(str::to_owned),
            counted: true,
            outcome: Outcome::Answered,
            day: "2026-03-01".to_owned(),
            ..Call::default()
        }
    }

    fn entry(event: &str, was: Option<Map<String, Value>>) -> ChangeEntry {
        ChangeEntry {
            event: event.to_owned(),
            table: "vicidial_log".to_owned(),
            was,
            left: None,
        }
    }

    #[test]
    fn a_call_that_moves_takes_its_numbers_along() {
        let (first, second) = (call("SALE", Some("+1")), call("NI", Some("+2")));
        let key = CallKey {
            uniqueid: "1.1".to_owned(),
            lead_id: 1,
        };
        let entries = vec![
            entry("b.000001:4/0@100", None),
            entry("b.000001:9/1@101", Some(second.replaced(&first))),
        ];
        let lines = of_call(&key, &second, entries).expect("its own values");
        let told = |line: &Line| -> Vec<String> {
            let numbers = line.numbers().into_iter();
            let told = numbers.map(|(of, numbers)| format!("{of}: {}", numbers.join(", ")));
            told.collect()
        };
        assert_eq!(
            told(&lines[0]),
            ["+1 on 2026-03-01: +1 total_calls, +1 answered"]
        );
        assert_eq!(
            told(&lines[1]),
            [
                "+1 on 2026-03-01: -1 total_calls, -1 answered",
                "+2 on 2026-03-01: +1 total_calls, +1 answered",
            ]
        );
        let text = lines[1].text(60);
        assert!(text.contains("disposition SALE → NI"), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 60),
            "{text}"
        );
        assert!(lines[1].is_about("+1") && !lines[0].is_about("+2"));
        assert_eq!(lines[1].document()["effect"][0]["answered"], -1);
    }

    #[test]
    fn what_was_replayed_stands_behind_the_first_time() {
        let key = CallKey {
            uniqueid: "1.1".to_owned(),
            lead_id: 1,
        };
        let present = call("SALE", None);
        let again = Some(present.replaced(&call("", None)));
        let entries = vec![
            entry("b.000001:100/0@100", again.clone()),
            entry("b.000001:20/0@100", again),
        ];
        let mut lines = of_call(&key, &present, entries).expect("its own values");
        sort(&mut lines);
        assert!(lines[0].event.starts_with("b.000001:100/"));
        assert!(lines[1].text(80).contains("b.000001:20  (replayed)"));
    }
}
