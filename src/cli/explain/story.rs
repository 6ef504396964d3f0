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
    steps.iter().map(line).collect()
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

/// In the order of the binlog.
pub(super) fn sort(lines: &mut [Line]) {
    lines.sort_by(|a, b| (a.at, place(&a.event)).cmp(&(b.at, place(&b.event))));
}

/// File, offset and row of an event's name.
fn place(event: &str) -> Option<(&str, u64, u32)> {
    let (place, _) = event.rsplit_once('@')?;
    let (position, row) = place.rsplit_once('/')?;
    let (file, offset) = position.rsplit_once(':')?;
    Some((file, offset.parse().ok()?, row.parse().ok()?))
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

    pub(super) fn row(&self) -> [String; 5] {
        let place = self.event.split('@').next().unwrap_or_default();
        [
            time::format(self.at),
            place.to_owned(),
            self.table.clone(),
            self.change(),
            self.numbers().join("\n"),
        ]
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
            let change = match old {
                Some(old) => json!({ "old": old, "new": new }),
                None => json!({ "new": new }),
            };
            (name.clone(), change)
        });
        json!({
            "subject": self.subject,
            "event": self.event,
            "table": self.table,
            "at": time::format(self.at),
            "changed": changed.collect::<Map<String, Value>>(),
            "effect": effect,
        })
    }

    /// `disposition INCALL → SALE`, a line each.
    fn change(&self) -> String {
        let mut lines = vec![self.subject.clone()];
        for (name, old, new) in &self.changed {
            lines.push(match old {
                Some(old) => format!("{name} {} → {}", plain(old), plain(new)),
                None => format!("{name} {}", plain(new)),
            });
        }
        lines.join("\n")
    }

    /// `+1 total_calls`, a line each; those of another DID, day or campaign apart.
    fn numbers(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let differing = |of: &Contribution, than: Option<&Contribution>, sign: i64| {
            let same_place = than.filter(|than| {
                (&than.did, &than.day, &than.campaign_id) == (&of.did, &of.day, &of.campaign_id)
            });
            let mut changed = of.counters;
            if let Some(than) = same_place {
                changed -= than.counters;
            }
            let named = Counters::NAMES.into_iter().zip(changed.values());
            let lines: Vec<String> = named
                .filter(|(_, value)| *value != 0)
                .map(|(name, value)| format!("{:+} {name}", sign * value))
                .collect();
            (lines, same_place.is_some())
        };
        let place = |of: &Contribution| format!("{} on {}", of.did, of.day);
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => {
                let (changed, same_place) = differing(new, Some(old), 1);
                if !same_place {
                    lines.push(place(old));
                    lines.extend(differing(old, None, -1).0);
                }
                if !changed.is_empty() {
                    lines.push(place(new));
                    lines.extend(changed);
                }
            }
            (Some(old), None) => {
                lines.push(place(old));
                lines.extend(differing(old, None, -1).0);
            }
            (None, Some(new)) => {
                lines.push(place(new));
                lines.extend(differing(new, None, 1).0);
            }
            (None, None) => {}
        }
        lines
    }
}

fn plain(value: &Value) -> String {
    match value {
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
        assert_eq!(
            lines[0].numbers(),
            ["+1 on 2026-03-01", "+1 total_calls", "+1 answered"]
        );
        assert_eq!(
            lines[1].numbers(),
            [
                "+1 on 2026-03-01",
                "-1 total_calls",
                "-1 answered",
                "+2 on 2026-03-01",
                "+1 total_calls",
                "+1 answered"
            ]
        );
        assert!(lines[1].change().contains("disposition SALE → NI"));
        assert!(lines[1].is_about("+1") && !lines[0].is_about("+2"));
        assert_eq!(lines[1].document()["effect"][0]["answered"], -1);
    }

    #[test]
    fn lines_stand_in_the_order_of_the_binlog() {
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
        assert!(lines[0].event.starts_with("b.000001:20/"));
    }
}
