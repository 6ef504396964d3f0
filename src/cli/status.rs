//! `didtail status`: how each source is doing, whether the daemon runs or not.

mod source;

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::failure::Failure;
use super::stats::Screen;
use super::{Options, output, runtime, time};
use crate::config::{Config, RetentionConfig};
use crate::folder::Room;
use crate::state::{StateError, StateFile};
use crate::store::{SqlStore, StoreError};
use source::SourceStatus;

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

#[cfg(test)]
mod tests;
