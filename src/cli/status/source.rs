//! How one source is doing: what the state file and the store know of it, for people and
//! for programs.

use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, Resume, resume};
use crate::cli::stats::ago;
use crate::cli::{output, skipped, time};
use crate::ledger::{Attribution, Pruned};
use crate::state::{Rereads, Skipped, StatusNote};
use crate::store::{Attributed, LeaseState, LoadName, LoadNote, SqlStore, Store as _, StoreError};

/// Seconds of the second column of the attribution's shares.
const RECENTLY_SECONDS: i64 = 24 * 3600;

/// What is known of one source.
#[derive(Default)]
pub(super) struct SourceStatus {
    pub(super) name: String,
    pub(super) note: Option<StatusNote>,
    pub(super) position: Option<String>,
    /// The position is where an operator moved it, and nothing was read from there yet.
    pub(super) is_moved: bool,
    /// What nobody read, and nothing has made up for.
    pub(super) skipped: Vec<Skipped>,
    /// The transactions up to there; empty where the source numbers none.
    pub(super) gtid: String,
    pub(super) event_time: Option<i64>,
    pub(super) quarantined: u64,
    /// Of all counted calls, and of those of the last day.
    pub(super) attributed: Option<[Attributed; 2]>,
    /// Who may write the source, and whether that is the daemon of this machine.
    pub(super) lease: Option<LeaseState>,
    pub(super) own_lease: bool,
    /// The store could be asked.
    pub(super) is_asked: bool,
    /// Before which times retention has deleted rows.
    pub(super) pruned: Pruned,
    /// Loads of calls of the past, by who asked for them.
    pub(super) loads: Vec<(LoadName, LoadNote)>,
}

/// The ways from the best to none, with their names for people.
pub(super) const WAYS: [(Attribution, &str); 4] = [
    (Attribution::Reported, "reported"),
    (Attribution::CallerCode, "by caller code"),
    (Attribution::Lead, "by the lead's newest dial"),
    (Attribution::None, "without a DID"),
];

impl SourceStatus {
    pub(super) fn place(&mut self, checkpoint: Option<Checkpoint>) {
        let Some(checkpoint) = checkpoint else {
            return;
        };
        self.position = Some(checkpoint.position.to_string());
        self.gtid = checkpoint.gtid.to_string();
        self.event_time = checkpoint.event_time;
    }

    /// Asks the store about the source.
    pub(super) async fn ask(
        &mut self,
        store: &SqlStore,
        own: Option<&str>,
        local: Option<Checkpoint>,
    ) -> Result<(), StoreError> {
        let name = self.name.clone();
        for load in [LoadName::StartAt, LoadName::Command] {
            let note = store.load_note(&name, load).await?;
            self.loads.extend(note.map(|note| (load, note)));
        }
        self.lease = store.lease(&name).await?;
        let holder = self.lease.as_ref().map(|lease| lease.holder.as_str());
        self.own_lease = holder.is_some() && holder == own;
        let stored = store.progress(&name).await?;
        if let Resume::Reset(_) = resume(local.as_ref(), stored.as_ref()) {
            self.is_moved = true;
            self.event_time = stored.and_then(|stored| stored.event_time);
        } else {
            self.place(stored);
        }
        self.pruned = store.pruned(&name).await?;
        let recently = time::now() - RECENTLY_SECONDS;
        self.attributed = Some([
            store.attributed(&name, None).await?,
            store.attributed(&name, Some(recently)).await?,
        ]);
        Ok(())
    }

    /// The position, and who chose it where that was no daemon.
    fn place_text(&self) -> Option<String> {
        let position = self.position.clone()?;
        Some(if self.is_moved {
            format!("{position}, moved there by an operator: `didtail run` goes on there")
        } else {
            position
        })
    }

    /// Whether another daemon has the lease.
    fn is_anothers(&self) -> bool {
        !self.own_lease && self.lease.as_ref().is_some_and(LeaseState::is_held)
    }

    /// The daemon of this machine, for people.
    fn daemon(&self, holder: Option<Option<u32>>, own: Option<&str>) -> String {
        let mut text = daemon(holder);
        if self.is_anothers() {
            if holder.is_some() {
                text.push_str(", standing by");
            }
            if let Some(own) = own {
                text.push_str(&format!("; it is {own}"));
            }
        }
        text
    }

    pub(super) fn text(&self, holder: Option<Option<u32>>, own: Option<&str>) -> String {
        let none = || "none yet".to_owned();
        let mut pairs = vec![
            ("source", self.name.clone()),
            ("daemon", self.daemon(holder, own)),
            ("lease", self.lease()),
            ("position", self.place_text().unwrap_or_else(none)),
            (
                "newest change",
                self.event_time.map_or_else(none, |at| {
                    let ago = ago(time::now() - at);
                    format!("{}, {ago}", time::format(at))
                }),
            ),
        ];
        if !self.gtid.is_empty() {
            pairs.insert(4, ("gtid", self.gtid.clone()));
        }
        if let Some(note) = &self.note {
            let missing = note.missing.phrases();
            let missing = if missing.is_empty() {
                "nothing".to_owned()
            } else {
                missing.join(", ")
            };
            pairs.push(("missing", missing));
            for stretch in &self.skipped {
                pairs.push(("skipped", skipped::told(*stretch)));
            }
            if note.rereads.changes > 0 {
                let Rereads {
                    changes,
                    rows,
                    windows,
                    ..
                } = &note.rereads;
                let read = format!(
                    "{rows} rows for {changes} changes without row images, {windows} of them by time"
                );
                pairs.push(("read again", read));
            }
            // Where it was stopped is not where it goes on.
            let is_past = self.is_moved && holder.is_none();
            if let Some(error) = note.last_error.as_ref().filter(|_| !is_past) {
                let at = note.last_error_at.map(time::format).unwrap_or_default();
                let label = if holder.is_some() {
                    "waits"
                } else {
                    "stopped by"
                };
                pairs.push((label, format!("{error} ({at})")));
            }
        }
        pairs.push(("quarantined rows", self.quarantined.to_string()));
        for (_, load) in &self.loads {
            let how_far = if load.finished {
                "done".to_owned()
            } else {
                format!("{} % loaded", load.percent())
            };
            let calls = load.tally.calls;
            pairs.push((
                "calls of the past",
                format!("{}: {how_far}, {calls} calls", load.asked),
            ));
        }
        if let Some(since) = time::complete_since(self.pruned) {
            pairs.push(("complete since", since));
        }
        let mut text = output::pairs(&pairs);
        if let Some([all, recent]) = &self.attributed {
            let row = |name: &str, all_calls: i64, recent_calls: i64| {
                [
                    name.to_owned(),
                    all_calls.to_string(),
                    share(all_calls, all.calls()),
                    recent_calls.to_string(),
                    share(recent_calls, recent.calls()),
                ]
            };
            let mut rows = vec![row("counted calls", all.calls(), recent.calls())];
            for (way, name) in WAYS {
                rows.push(row(name, all.by(way), recent.by(way)));
            }
            let header = ["", "calls", "", "last 24 h", ""];
            text.push('\n');
            text.push_str(&output::table(header, &rows));
            if all.looked_up > 0 {
                text.push_str(&format!(
                    "{} dials were looked up on the source, because they were not seen.\n",
                    all.looked_up
                ));
            }
        }
        text
    }

    /// Who follows the source, for people.
    fn lease(&self) -> String {
        if !self.is_asked {
            return "not known".to_owned();
        }
        let Some(lease) = &self.lease else {
            return "nobody has it".to_owned();
        };
        let whose = if self.own_lease {
            "this machine's daemon"
        } else {
            "another daemon"
        };
        let LeaseState {
            holder,
            expires_at,
            now,
            ..
        } = lease;
        if lease.is_held() {
            let since = time::format(lease.acquired_at);
            format!(
                "{whose}, {holder}, since {since}, ends in {} s if not renewed",
                expires_at - now
            )
        } else if holder.is_empty() {
            "nobody has it".to_owned()
        } else {
            let ago = now - expires_at;
            format!("nobody has it; {whose}, {holder}, let it end {ago} s ago")
        }
    }

    pub(super) fn document(&self, holder: Option<Option<u32>>) -> Value {
        let shares = |of: &Attributed| {
            let mut document = json!({ "calls": of.calls(), "looked_up_dials": of.looked_up });
            for (way, _) in WAYS {
                document[way.as_str()] = json!(of.by(way));
            }
            document
        };
        let note = self.note.as_ref();
        json!({
            "source": self.name,
            "running": holder.is_some(),
            "pid": holder.flatten(),
            "health": note.map(|note| note.health),
            "lease": self.lease.as_ref().map(|lease| json!({
                "held": lease.is_held(),
                "holder": lease.holder,
                "is_this_daemon": self.own_lease,
                "fencing_token": lease.fencing_token,
                "acquired_at": time::format(lease.acquired_at),
                "expires_at": time::format(lease.expires_at),
                "seconds_left": (lease.expires_at - lease.now).max(0),
            })),
            "position": self.position,
            "moved": self.is_moved,
            "skipped": skipped::json(&self.skipped),
            "gtid": self.gtid,
            "event_time": self.event_time.map(time::format),
            "seconds_since_event": self.event_time.map(|at| (time::now() - at).max(0)),
            "missing": note.map(|note| note.missing),
            "rereads": note.map(|note| &note.rereads),
            "last_error": note.and_then(|note| note.last_error.clone()),
            "last_error_at": note.and_then(|note| note.last_error_at).map(time::format),
            "quarantined_rows": self.quarantined,
            "complete_since": time::complete_since_json(self.pruned),
            "loads": self.loads.iter().map(|(name, load)| json!({
                "asked_by": name.as_str(),
                "asked": load.asked,
                "finished": load.finished,
                "percent": load.percent(),
                "tally": load.tally,
            })).collect::<Vec<_>>(),
            "attribution": self.attributed.as_ref().map(|[all, recent]| {
                json!({ "all": shares(all), "last_24_hours": shares(recent) })
            }),
        })
    }
}

fn daemon(holder: Option<Option<u32>>) -> String {
    match holder {
        Some(Some(pid)) => format!("running, process {pid}"),
        Some(None) => "running".to_owned(),
        None => "not running".to_owned(),
    }
}

fn share(part: i64, of: i64) -> String {
    if of == 0 {
        return String::new();
    }
    format!("{:.1}%", 100.0 * part as f64 / of as f64)
}
