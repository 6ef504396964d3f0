//! What a reset would do, worked out before anything is changed.

use serde_json::{Value, json};

use super::{checkpoint_pairs, describe};
use crate::binlog::BinlogFile;
use crate::checkpoint::Checkpoint;
use crate::cli::distance::{self, Distance};
use crate::cli::output;
use crate::source::SourceError;

/// A reset, ready to be shown and done.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) source: String,
    pub(super) old: Option<Checkpoint>,
    pub(super) new: Checkpoint,
    distance: Distance,
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
        let distance = match (&old, binlogs) {
            (Some(old), Ok(binlogs)) if !is_other(old, &new) => {
                distance::between(binlogs, &old.position, &new.position)
            }
            _ => Distance::Unknown,
        };
        Self {
            source: source.to_owned(),
            old,
            new,
            distance,
            unasked: binlogs.as_ref().err().map(ToString::to_string),
            again: None,
        }
    }

    /// From when on calls are applied again, where that is known: the place is before
    /// the present one, on the same server.
    pub(super) fn again_since(&self) -> Option<i64> {
        let old = self.old.as_ref()?;
        let is_back = self.new.position < old.position && !is_other(old, &self.new);
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
        match (&self.old, self.distance) {
            (Some(old), _) if is_other(old, &self.new) => {
                "the source is another server than before: what it has from there on is read, \
                 and `didtail verify --repair` compares the numbers with it"
                    .to_owned()
            }
            (None, _) => "nothing was known of this source; reading begins there, and `start_at` \
                          is not used: load what was before with `didtail backfill --since TIME`"
                .to_owned(),
            (_, Distance::None) => "the position stays; only the epoch is raised".to_owned(),
            (_, Distance::Back(bytes)) => format!(
                "{} of binlog are replayed; no call is counted twice",
                distance::human(bytes)
            ),
            (_, Distance::Forward(bytes)) => format!(
                "{} of binlog are skipped: what happened there is missing from the numbers until \
                 `didtail verify --repair` has read it from VICIdial's tables",
                distance::human(bytes)
            ),
            (Some(old), Distance::Unknown) => format!(
                "how much lies between cannot be told; {}",
                if self.new.position < old.position {
                    "what does is replayed, and no call is counted twice"
                } else {
                    "what does is skipped and missing from the numbers until `didtail verify \
                     --repair` has read it from VICIdial's tables"
                }
            ),
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
            "effect": { "kind": kind, "bytes": bytes, "text": self.effect() },
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
mod tests {
    use super::*;

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
