//! `didtail status`: how each source is doing, whether the daemon runs or not.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::failure::Failure;
use super::stats::{Screen, ago};
use super::{Options, output, runtime, skipped, time};
use crate::checkpoint::{Checkpoint, Resume, resume};
use crate::config::{Config, RetentionConfig};
use crate::folder::Room;
use crate::ledger::{Attribution, Pruned};
use crate::state::{Rereads, Skipped, StateError, StateFile, StatusNote};
use crate::store::{Attributed, LeaseState, LoadName, LoadNote, SqlStore, Store as _, StoreError};

/// Seconds of the second column of the attribution's shares.
const RECENTLY_SECONDS: i64 = 24 * 3600;

/// Time between two pictures.
const REDRAW: Duration = Duration::from_secs(2);

/// Show position, freshness, errors and what is missing, for each source
///
/// Also how the DIDs of the counted calls are known: by a report, by the call's
/// caller code, by its lead's newest dial, or not at all. Reads the state file
/// and the store; works with the daemon up or down. Where several daemons may follow
/// a source, it says which one does (the lease). `kept` is the retention that is
/// configured; `complete since` says from when on the rows of calls and dials are
/// whole where it has deleted some: their numbers stay.
///
/// `waits` says what the daemon waits for, and `disk` how much room is left for
/// didtail's own files.
///
/// While the store cannot be read, what the state file knows is shown, and the exit
/// code is 4.
///
/// Examples:
///   didtail status
///   didtail status --watch
///   didtail status --json
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Draw anew every two seconds, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> Result<(), Failure> {
    let config = options.load_alone()?;
    if arguments.watch {
        return watch(options, &config);
    }
    let seen = Seen::of(&config)?;
    if options.json {
        output::print_json(&seen.document(&config))?;
    } else {
        output::print(&painted(&seen.text(&config)))?;
    }
    match seen.store {
        StoreView::Readable | StoreView::None(_) => Ok(()),
        StoreView::Failed(error) => Err(error.into()),
    }
}

/// Draws until Ctrl-C or SIGTERM, or until nobody reads it any more; a store that fails meanwhile is said in the picture.
fn watch(options: &Options, config: &Config) -> Result<(), Failure> {
    let runtime = runtime()?;
    let inside = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(inside);
    let mut screen = Screen::enter(!options.json)?;
    loop {
        let seen = Seen::of(config)?;
        if options.json {
            output::print(&format!("{}\n", seen.document(config)))?;
        } else {
            let now = time::format(time::now());
            screen.draw(&painted(&format!("{now}\n\n{}", seen.text(config))))?;
        }
        let ended = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
                () = tokio::time::sleep(REDRAW) => false,
            }
        });
        if ended || !output::is_read() {
            return Ok(());
        }
    }
}

/// The text of one look, without colours, and what it could not read.
pub(super) fn report(config: &Config) -> Result<String, Failure> {
    Ok(Seen::of(config)?.text(config))
}

/// Everything at one moment.
struct Seen {
    all: Vec<SourceStatus>,
    store: StoreView,
    holder: Option<Option<u32>>,
    own: Option<String>,
    disks: Vec<Room>,
}

impl Seen {
    fn of(config: &Config) -> Result<Self, Failure> {
        let state = match StateFile::open(&config.state.path) {
            Ok(state) => Some(state),
            Err(StateError::Missing { .. }) => None,
            Err(e) => return Err(e.into()),
        };
        let holder = StateFile::holder(&config.state.path);
        let own = state.as_ref().map(StateFile::daemon_name).transpose()?;
        let runtime = runtime()?;
        let (all, store) = runtime.block_on(gather(config, state.as_ref(), own.as_deref()))?;
        // A server that does not answer is not waited for.
        runtime.shutdown_background();
        Ok(Self {
            all,
            store,
            holder,
            own,
            disks: Room::of_all(config.own_files()),
        })
    }

    fn document(&self, config: &Config) -> Value {
        let sources = self.all.iter().map(|one| one.document(self.holder));
        json!({
            "daemon": self.own,
            "store": self.store.document(config),
            "disks": self.disks.iter().map(disk_json).collect::<Vec<_>>(),
            "retention": kept(&config.retention),
            "sources": sources.collect::<Vec<_>>(),
        })
    }

    fn text(&self, config: &Config) -> String {
        let own = self.own.as_deref();
        let texts = self.all.iter().map(|one| one.text(self.holder, own));
        let texts: Vec<String> = texts.collect();
        let mut shared = vec![("store", self.store.text(config))];
        shared.extend(self.disks.iter().map(|disk| ("disk", disk_text(disk))));
        shared.push(("kept", kept_text(&config.retention)));
        format!("{}\n{}", texts.join("\n"), output::pairs(&shared))
    }
}

/// The same text, with colours on a terminal unless NO_COLOR is set: green is well,
/// yellow wants a look, red wants somebody.
fn painted(text: &str) -> String {
    if !output::has_colours() {
        return text.to_owned();
    }
    let lines = text.lines().map(|line| match colour(line) {
        Some(code) => format!("\x1b[{code}m{line}\x1b[0m\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

/// The colour of a line, as a terminal has it.
fn colour(line: &str) -> Option<u8> {
    const RED: u8 = 31;
    const GREEN: u8 = 32;
    const YELLOW: u8 = 33;
    let (name, value) = line.split_once("  ")?;
    let value = value.trim_start();
    match name {
        "daemon" if value.starts_with("running") => Some(GREEN),
        "daemon" => Some(RED),
        "missing" if value == "nothing" => Some(GREEN),
        "missing" | "skipped" => Some(YELLOW),
        "quarantined rows" if value != "0" => Some(YELLOW),
        "stopped by" | "waits" => Some(RED),
        "store" if value.starts_with("NOT READ") => Some(RED),
        "disk" if value.starts_with("FULL") => Some(RED),
        "disk" if value.starts_with("nearly full") => Some(YELLOW),
        _ => None,
    }
}

/// What became of asking the store.
enum StoreView {
    Readable,
    /// There is none yet, and the daemon makes it: says so.
    None(String),
    Failed(StoreError),
}

impl StoreView {
    fn of(error: StoreError, config: &Config) -> Self {
        let is_file = config.store.url.file().is_some();
        match error {
            StoreError::Missing { .. } if is_file => {
                Self::None("none yet: the daemon makes it".to_owned())
            }
            StoreError::OlderSchema { found: 0, .. } => {
                let hint = error.hint().unwrap_or_default();
                Self::None(format!("no tables yet: {hint}"))
            }
            error => Self::Failed(error),
        }
    }

    fn text(&self, config: &Config) -> String {
        match self {
            Self::Readable => config.store.url.to_string(),
            Self::None(what) => format!("{}: {what}", config.store.url),
            Self::Failed(error) => {
                let hint = error.hint();
                let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
                format!("NOT READ, so this is what the state file knows: {error}{hint}")
            }
        }
    }

    fn document(&self, config: &Config) -> Value {
        let url = config.store.url.to_string();
        match self {
            Self::Readable => {
                json!({ "url": url, "state": "readable", "error": null, "hint": null })
            }
            Self::None(what) => json!({ "url": url, "state": "none", "error": null, "hint": what }),
            Self::Failed(error) => json!({
                "url": url,
                "state": "failed",
                "error": error.to_string(),
                "cause": error.cause(),
                "hint": error.hint(),
            }),
        }
    }
}

/// What room a disk has.
fn disk_text(disk: &Room) -> String {
    if disk.is_full() {
        let hint = "make room; nothing is lost, and didtail goes on by itself";
        format!("FULL: {}; {hint}", disk.text())
    } else if disk.is_scarce() {
        format!("nearly full: {}", disk.text())
    } else {
        disk.text()
    }
}

fn disk_json(disk: &Room) -> Value {
    json!({ "folder": disk.folder, "free_bytes": disk.free, "full": disk.is_full() })
}

/// The retention that is configured, in days; 0 keeps everything.
fn kept(retention: &RetentionConfig) -> Value {
    json!({
        "call_records_days": retention.call_records_days,
        "dials_days": retention.dials_days,
        "audit_days": retention.audit_days,
        "history_days": retention.history_days,
        "quarantine_days": retention.quarantine_days,
    })
}

fn kept_text(retention: &RetentionConfig) -> String {
    let words = [
        ("calls", retention.call_records_days),
        ("dials", retention.dials_days),
        ("audit", retention.audit_days),
        ("history", retention.history_days),
        ("quarantined rows", retention.quarantine_days),
    ];
    let word = |(of, days): (&str, u32)| match days {
        0 => format!("{of} for ever"),
        days => format!("{of} {days} d"),
    };
    words.map(word).join(", ")
}

/// What is known of one source.
#[derive(Default)]
struct SourceStatus {
    name: String,
    note: Option<StatusNote>,
    position: Option<String>,
    /// The position is where an operator moved it, and nothing was read from there yet.
    is_moved: bool,
    /// What nobody read, and nothing has made up for.
    skipped: Vec<Skipped>,
    /// The transactions up to there; empty where the source numbers none.
    gtid: String,
    event_time: Option<i64>,
    quarantined: u64,
    /// Of all counted calls, and of those of the last day.
    attributed: Option<[Attributed; 2]>,
    /// Who may write the source, and whether that is the daemon of this machine.
    lease: Option<LeaseState>,
    own_lease: bool,
    /// The store could be asked.
    is_asked: bool,
    /// Before which times retention has deleted rows.
    pruned: Pruned,
    /// Loads of calls of the past, by who asked for them.
    loads: Vec<(LoadName, LoadNote)>,
}

async fn gather(
    config: &Config,
    state: Option<&StateFile>,
    own: Option<&str>,
) -> Result<(Vec<SourceStatus>, StoreView), Failure> {
    let (store, mut view) = match SqlStore::open_read(&config.store.address()).await {
        Ok(store) => (Some(store), StoreView::Readable),
        Err(error) => (None, StoreView::of(error, config)),
    };
    let mut all = Vec::new();
    for source in &config.sources {
        let mut one = SourceStatus {
            name: source.name.clone(),
            ..SourceStatus::default()
        };
        let mut local = None;
        if let Some(state) = state {
            local = state.checkpoint(&one.name)?;
            one.place(local.clone());
            one.note = state.status(&one.name)?;
            one.skipped = state.skipped(&one.name)?;
            one.quarantined = state.quarantine_count(&one.name)?;
        }
        if let (Some(store), StoreView::Readable) = (&store, &view) {
            match one.ask(store, own, local).await {
                Ok(()) => one.is_asked = true,
                Err(error) => view = StoreView::Failed(error),
            }
        }
        one.is_asked |= matches!(view, StoreView::None(_));
        all.push(one);
    }
    Ok((all, view))
}

/// The ways from the best to none, with their names for people.
const WAYS: [(Attribution, &str); 4] = [
    (Attribution::Reported, "reported"),
    (Attribution::CallerCode, "by caller code"),
    (Attribution::Lead, "by the lead's newest dial"),
    (Attribution::None, "without a DID"),
];

impl SourceStatus {
    fn place(&mut self, checkpoint: Option<Checkpoint>) {
        let Some(checkpoint) = checkpoint else {
            return;
        };
        self.position = Some(checkpoint.position.to_string());
        self.gtid = checkpoint.gtid.to_string();
        self.event_time = checkpoint.event_time;
    }

    /// Asks the store about the source.
    async fn ask(
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

    fn text(&self, holder: Option<Option<u32>>, own: Option<&str>) -> String {
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

    fn document(&self, holder: Option<Option<u32>>) -> Value {
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

#[cfg(test)]
mod tests;
