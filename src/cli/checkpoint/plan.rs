//! What a reset would do, worked out before anything is changed.

use serde_json::{Value, json};

use super::{checkpoint_pairs, describe};
use crate::binlog::{BinlogFile, Position};
use crate::checkpoint::Checkpoint;
use crate::cli::distance::{self, Distance};
use crate::cli::output;
use crate::source::{Counted, SourceError};
use crate::state::Skipped;

/// A reset, ready to be shown and done.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) source: String,
    pub(super) old: Option<Checkpoint>,
    pub(super) new: Checkpoint,
    /// Where the store stands that the place was not reached from since: after an
    /// earlier reset with nothing read since. What is before it was applied.
    stands: Option<Checkpoint>,
    /// From where the numbers stand.
    distance: Distance,
    /// Events on this way; `None` where they were not counted.
    events: Option<Counted>,
    /// Where it is a place of the history: it was reached once.
    was_reached: bool,
    /// Why the source could not be asked.
    unasked: Option<String>,
    /// Of a place before the present one, the calls whose newest change lies behind
    /// it, by DID; `None` where that is not known.
    again: Option<Vec<(Option<String>, i64)>>,
}

/// DIDs told one by one.
const DIDS_MAX: usize = 20;

impl Plan {
    /// `binlogs` holds every file of the server with its size.
    pub(super) fn new(
        source: &str,
        old: Option<Checkpoint>,
        new: Checkpoint,
        binlogs: &Result<Vec<(BinlogFile, u64)>, SourceError>,
    ) -> Self {
        let mut plan = Self {
            source: source.to_owned(),
            old,
            new,
            stands: None,
            distance: Distance::Unknown,
            events: None,
            was_reached: false,
            unasked: binlogs.as_ref().err().map(ToString::to_string),
            again: None,
        };
        plan.measure(binlogs);
        plan
    }

    /// Takes where the store stands, which is not where an earlier reset went.
    pub(super) fn stands(
        &mut self,
        stands: Checkpoint,
        binlogs: &Result<Vec<(BinlogFile, u64)>, SourceError>,
    ) {
        self.stands = Some(stands);
        self.measure(binlogs);
    }

    fn measure(&mut self, binlogs: &Result<Vec<(BinlogFile, u64)>, SourceError>) {
        self.distance = match (self.from(), binlogs) {
            (Some(from), _) if is_other(from, &self.new) => Distance::Unknown,
            (Some(from), _) if from.position == self.new.position => Distance::None,
            (Some(from), Ok(binlogs)) => {
                distance::between(binlogs, &from.position, &self.new.position)
            }
            _ => Distance::Unknown,
        };
    }

    /// Up to where everything is in the numbers.
    fn from(&self) -> Option<&Checkpoint> {
        self.stands.as_ref().or(self.old.as_ref())
    }

    /// The ends of what is replayed or skipped, the earlier one first; `None` where
    /// that is nothing, or not known.
    pub(super) fn between(&self) -> Option<(Position, Position)> {
        let (from, to) = (&self.from()?.position, &self.new.position);
        match self.distance {
            Distance::Back(_) => Some((to.clone(), from.clone())),
            Distance::Forward(_) => Some((from.clone(), to.clone())),
            Distance::None | Distance::Unknown => None,
        }
    }

    /// What nobody will have read when this is done, at `now`.
    pub(super) fn skipped(&self, now: i64) -> Option<Skipped> {
        let from = self.from()?;
        let was_applied = self.was_reached && self.stands.is_none();
        let is_skip = match self.distance {
            _ if is_other(from, &self.new) => true,
            Distance::None | Distance::Back(_) => false,
            Distance::Forward(_) => !was_applied,
            Distance::Unknown => from.position < self.new.position,
        };
        if !is_skip {
            return None;
        }
        // The end of the binlog, and a place that the source was not asked about, are
        // told without a time. That second may be skipped too.
        let until = self.new.event_time.unwrap_or(now) + 1;
        Skipped::between(from.event_time?, until)
    }

    /// Takes how many events that is.
    pub(super) fn count(&mut self, events: Counted) {
        self.events = Some(events);
    }

    /// It is a place of the history, up to which everything was applied once.
    pub(super) fn was_reached(&mut self) {
        self.was_reached = true;
    }

    /// From when on calls are applied again, where that is known: the place is before
    /// the one where the numbers stand, on the same server.
    pub(super) fn again_since(&self) -> Option<i64> {
        let from = self.from()?;
        let is_back = self.new.position < from.position && !is_other(from, &self.new);
        self.new.event_time.filter(|_| is_back)
    }

    /// Takes the calls that are applied again, by DID.
    pub(super) fn tell_again(&mut self, calls: Vec<(Option<String>, i64)>) {
        self.again = Some(calls);
    }

    /// The calls that are applied again, for people.
    fn again_text(&self) -> String {
        let Some(again) = &self.again else {
            return String::new();
        };
        let calls: i64 = again.iter().map(|(_, calls)| calls).sum();
        let mut text = format!(
            "applied again: {calls} calls; meanwhile their numbers are those of then, and at the \
             end those of now\n"
        );
        let name = |did: &Option<String>| did.clone().unwrap_or_else(|| "without a DID".to_owned());
        let rows: Vec<[String; 2]> = again
            .iter()
            .take(DIDS_MAX)
            .map(|(did, calls)| [name(did), calls.to_string()])
            .collect();
        if !rows.is_empty() {
            text.push_str(&output::table(["DID", "calls"], &rows));
        }
        let more = again.len().saturating_sub(DIDS_MAX);
        if more > 0 {
            text.push_str(&format!("and {more} more DIDs (--json has all)\n"));
        }
        text
    }

    /// What happens, in a sentence.
    pub(super) fn effect(&self) -> String {
        const MISSING: &str = "missing from the numbers until `didtail verify --repair` has read \
                               it from VICIdial's tables";
        let Some(from) = self.from() else {
            return "nothing was known of this source; reading begins there, and `start_at` \
                    is not used: load what was before with `didtail backfill --since TIME`"
                .to_owned();
        };
        if is_other(from, &self.new) {
            return "the source is another server than before: what it has from there on is read, \
                    and `didtail verify --repair` compares the numbers with it"
                .to_owned();
        }
        match self.distance {
            Distance::None if self.stands.is_some() => {
                "the reset before this one is undone: nothing was read since, and the numbers \
                 stand at this very place, so that nothing is replayed and nothing is missing"
                    .to_owned()
            }
            Distance::None => "the position stays; only the epoch is raised".to_owned(),
            Distance::Back(bytes) => {
                format!(
                    "{} are replayed; no call is counted twice",
                    self.amount(bytes)
                )
            }
            // Beyond where the numbers stand nothing was ever applied.
            Distance::Forward(bytes) if self.was_reached && self.stands.is_none() => format!(
                "{} are not read again: they had been applied when this place was left, but for \
                 what an earlier reset skipped. Calls that were replayed since are as they were then, until `didtail verify --repair` \
                 has read them from VICIdial's tables",
                self.amount(bytes)
            ),
            Distance::Forward(bytes) => {
                let amount = self.amount(bytes);
                format!("{amount} are skipped: what happened there is {MISSING}")
            }
            Distance::Unknown if self.new.position < from.position => {
                "how much lies between cannot be told; what does is replayed, and no call is \
                 counted twice"
                    .to_owned()
            }
            Distance::Unknown => {
                format!("how much lies between cannot be told; what does is skipped and {MISSING}")
            }
        }
    }

    /// So much of the binlog, with its events where they were counted.
    fn amount(&self, bytes: u64) -> String {
        let bytes = distance::human(bytes);
        match self.events {
            None => format!("{bytes} of binlog"),
            Some(Counted { events, is_all }) => {
                let least = if is_all { "" } else { "at least " };
                format!("{bytes} of binlog, {least}{events} events,")
            }
        }
    }

    /// The plan for people.
    pub(super) fn text(&self) -> String {
        let mut text = output::pairs(&[("source", self.source.clone())]);
        text.push_str("from\n");
        text.push_str(&match &self.old {
            Some(old) => indented(old),
            None => "  nowhere\n".to_owned(),
        });
        text.push_str("to\n");
        text.push_str(&indented(&self.new));
        text.push_str(&format!("effect: {}\n", self.effect()));
        text.push_str(&self.again_text());
        if let Some(reason) = &self.unasked {
            text.push_str(&format!(
                "the source was not asked whether it is there: {reason}\n"
            ));
        }
        text
    }

    /// The plan for programs.
    pub(super) fn json(&self, done: bool) -> Value {
        let (kind, bytes) = match self.distance {
            Distance::None => ("none", Some(0)),
            Distance::Back(bytes) => ("replay", Some(bytes)),
            Distance::Forward(bytes) => ("skip", Some(bytes)),
            Distance::Unknown => ("unknown", None),
        };
        json!({
            "source": self.source,
            "from": self.old.as_ref().map(describe),
            "to": describe(&self.new),
            "effect": {
                "kind": kind,
                "bytes": bytes,
                "events": self.events.map(|counted| counted.events),
                "events_are_all": self.events.map(|counted| counted.is_all),
                "text": self.effect(),
            },
            "applied_again": self.again.as_ref().map(|again| {
                let each = again.iter();
                each.map(|(did, calls)| json!({ "did": did, "calls": calls })).collect::<Value>()
            }),
            "source_unasked": self.unasked,
            "done": done,
        })
    }
}

fn is_other(old: &Checkpoint, new: &Checkpoint) -> bool {
    old.server.is_some() && new.server.is_some() && old.server != new.server
}

fn indented(checkpoint: &Checkpoint) -> String {
    output::pairs(&checkpoint_pairs(checkpoint))
        .lines()
        .map(|line| format!("  {line}\n"))
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Back, over calls of several DIDs.
    pub(in crate::cli::checkpoint) fn back() -> Plan {
        let mut plan = plan(Some("b.000002:1024"), "b.000001:1024", true);
        let dids = (0..23).map(|n| (Some(format!("+121255501{n:02}")), 40 - n));
        plan.tell_again(dids.chain([(None, 1)]).collect());
        plan
    }

    /// Forward, with a source that does not answer.
    pub(in crate::cli::checkpoint) fn forward() -> Plan {
        plan(Some("b.000001:1024"), "b.000002:1024", false)
    }

    fn at(position: &str) -> Checkpoint {
        Checkpoint {
            epoch: 1,
            server: None,
            file_begun: None,
            position: position.parse().expect("valid"),
            gtid: "0-1-5".parse().expect("valid"),
            event_time: Some(1_700_000_000),
            revision: 0,
        }
    }

    fn plan(old: Option<&str>, new: &str, known: bool) -> Plan {
        let binlogs = [("b.000001", 2048), ("b.000002", 4096)]
            .map(|(name, size)| (BinlogFile::new(name).expect("valid"), size));
        let unreachable = || SourceError::Silent { seconds: 1 };
        let binlogs = known.then(|| binlogs.to_vec()).ok_or_else(unreachable);
        Plan::new("main", old.map(at), at(new), &binlogs)
    }

    #[test]
    fn the_effect_says_what_is_replayed_or_skipped() {
        for (old, new, known, expected) in [
            (None, "b.000001:4", true, "nothing was known"),
            (Some("b.000001:4"), "b.000001:4", true, "stays"),
            (
                Some("b.000002:1024"),
                "b.000001:1024",
                true,
                "2.0 KiB of binlog are replayed",
            ),
            (
                Some("b.000001:1024"),
                "b.000002:1024",
                true,
                "2.0 KiB of binlog are skipped",
            ),
            (Some("b.000002:1024"), "b.000001:4", false, "is replayed"),
            (Some("b.000000:4"), "b.000001:4", true, "is skipped"),
        ] {
            let effect = plan(old, new, known).effect();
            assert!(effect.contains(expected), "{effect}");
        }
    }

    #[test]
    fn events_are_told_where_they_were_counted() {
        let mut back = plan(Some("b.000002:1024"), "b.000001:1024", true);
        let expected = ("b.000001:1024".parse(), "b.000002:1024".parse());
        let (from, to) = back.between().expect("known");
        assert_eq!((Ok(from), Ok(to)), expected);
        for (is_all, expected) in [
            (true, "2.0 KiB of binlog, 17 events, are replayed"),
            (false, "2.0 KiB of binlog, at least 17 events, are replayed"),
        ] {
            back.count(Counted { events: 17, is_all });
            assert!(back.effect().starts_with(expected), "{}", back.effect());
            assert_eq!(back.json(false)["effect"]["events"], 17);
            assert_eq!(back.json(false)["effect"]["events_are_all"], is_all);
        }
        let nothing = plan(Some("b.000001:4"), "b.000001:4", true);
        assert_eq!(nothing.between(), None);
    }

    #[test]
    fn an_undo_says_what_was_applied_already() {
        let binlogs = Ok([("b.000001", 2048), ("b.000002", 4096)]
            .map(|(name, size)| (BinlogFile::new(name).expect("valid"), size))
            .to_vec());
        // A reset went back, and nothing was read since.
        let mut undo = plan(Some("b.000001:1024"), "b.000002:1024", true);
        undo.was_reached();
        undo.stands(at("b.000002:1024"), &binlogs);
        assert!(
            undo.effect().contains("nothing is missing"),
            "{}",
            undo.effect()
        );
        assert_eq!(undo.json(false)["effect"]["kind"], "none");
        assert_eq!(undo.again_since(), None);
        // A reset skipped, and nothing was read since: back to where it was is no replay.
        let mut undo = plan(Some("b.000002:1024"), "b.000001:1024", true);
        undo.stands(at("b.000001:1024"), &binlogs);
        assert!(
            undo.effect().contains("nothing is replayed"),
            "{}",
            undo.effect()
        );
        // A reset went back, and some was replayed.
        let mut undo = plan(Some("b.000001:2000"), "b.000002:1024", true);
        undo.was_reached();
        let effect = undo.effect();
        assert!(
            effect.contains("are not read again") && !effect.contains("are skipped"),
            "{effect}"
        );
        // Past where the numbers stand, what lies beyond is skipped all the same.
        let mut beyond = plan(Some("b.000001:1024"), "b.000002:1024", true);
        beyond.stands(at("b.000002:4"), &binlogs);
        assert!(
            beyond.effect().contains("1020 B of binlog are skipped"),
            "{}",
            beyond.effect()
        );
    }

    #[test]
    fn the_calls_that_are_applied_again_are_told_by_did() {
        let mut back = plan(Some("b.000002:1024"), "b.000001:1024", true);
        assert_eq!(back.again_since(), Some(1_700_000_000));
        assert_eq!(back.json(false)["applied_again"], Value::Null);
        back.tell_again(vec![(Some("+12125550100".to_owned()), 4), (None, 1)]);
        let text = back.text();
        assert!(text.contains("applied again: 5 calls"), "{text}");
        assert!(text.contains("without a DID"), "{text}");
        assert_eq!(back.json(false)["applied_again"][0]["calls"], 4);
        let forward = plan(Some("b.000001:1024"), "b.000002:1024", true);
        assert_eq!(forward.again_since(), None);
    }

    #[test]
    fn the_plan_is_readable_and_machine_readable() {
        let plan = plan(Some("b.000002:1024"), "b.000001:1024", true);
        let text = plan.text();
        assert!(text.contains("  position    b.000002:1024\n"), "{text}");
        assert!(
            text.contains("  event time  2023-11-14T22:13:20Z\n"),
            "{text}"
        );
        let json = plan.json(true);
        assert_eq!(json["effect"]["kind"], "replay");
        assert_eq!(json["effect"]["bytes"], 2048);
        assert_eq!(json["from"]["position"], "b.000002:1024");
    }
}
