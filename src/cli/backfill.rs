//! `didtail backfill`: calls of the past, loaded by SELECT.

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use super::failure::Failure;
use super::{Options, output, runtime, time};
use crate::engine::{Loaded, backfill};
use crate::store::SqlStore;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Load the calls of the past from VICIdial's tables
///
/// For the time before didtail began, and for gaps in the binlog. Reads
/// vicidial_log and what belongs to it (vicidial_log_extended, the dial logs, the
/// carrier log), also VICIdial's archive tables, in short reads with pauses:
/// VICIdial's tables are MyISAM, and a long read would keep the dialers waiting.
/// Every row counts as if its INSERT had been seen; loading twice changes
/// nothing. The daemon may run, and should: what changes meanwhile it applies.
///
/// An archive keeps the disposition that a call had when it was first archived.
/// It is taken only for calls that neither VICIdial's own table nor the store
/// has.
///
/// Stopped or killed, the same command goes on where it was.
///
/// Examples:
///   didtail backfill --since 30d
///   didtail backfill --since 2026-03-01T00:00:00-06:00 --until 2026-03-02T00:00:00-06:00
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Calls from this time on: RFC 3339, or ago, e.g. 30d
    #[arg(long, value_name = "TIME", value_parser = time::check)]
    since: String,

    /// Calls before this time; without it up to now
    #[arg(long, value_name = "TIME", value_parser = time::check)]
    until: Option<String>,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> Result<(), Failure> {
    let config = options.load()?;
    let range = time::range(&arguments.since, arguments.until.as_deref())?;
    let bar = progress_bar();
    let (loaded, wrong) = runtime()?.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut reached = None;
        let mut greeted = false;
        let load = backfill(&config, &range, |load| {
            if !std::mem::replace(&mut greeted, true)
                && let Some(at) = load.resumed_at
            {
                bar.println(format!("going on at {} of the dialer's clock", clock(at)));
            }
            show(&bar, load);
            reached = Some(load.clone());
        });
        let loaded = tokio::select! {
            loaded = load => Some(loaded?),
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
        };
        bar.finish_and_clear();
        let Some(loaded) = loaded else {
            return Err(stopped(reached.as_ref()));
        };
        let store = SqlStore::open_read(&config.store.address()).await?;
        Ok::<_, Failure>((loaded, store.check_invariant().await?))
    })?;
    if options.json {
        let document = serde_json::json!({ "sources": loaded, "differences": wrong });
        return Ok(output::print_json(&document)?);
    }
    let mut text = String::new();
    for load in &loaded {
        text.push_str(&summary(load));
    }
    for difference in &wrong {
        text.push_str(&format!("the numbers do not add up: {difference}\n"));
    }
    Ok(output::print(&text)?)
}

fn progress_bar() -> ProgressBar {
    const TEMPLATE: &str = "{bar:40} {msg}, {eta} left";
    let bar = ProgressBar::new(0);
    // Invariant: the template is one; with none the bar is merely plain.
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, load: &Loaded) {
    let note = &load.note;
    let seconds = |from: i64, to: i64| u64::try_from(to - from).unwrap_or(0);
    let whole = seconds(note.since, note.until).max(1);
    let done = seconds(note.since, note.next).min(whole);
    bar.set_length(whole);
    bar.set_position(done);
    bar.set_message(format!(
        "{}: {} calls, {} rows, day {} of {}",
        load.source,
        note.tally.calls,
        note.tally.rows,
        (done / DAY + 1).min(whole.div_ceil(DAY)),
        whole.div_ceil(DAY),
    ));
}

fn stopped(reached: Option<&Loaded>) -> Failure {
    let place = match reached {
        Some(load) => format!(
            "after {} calls of source `{}`",
            load.note.tally.calls, load.source
        ),
        None => "before anything was read".to_owned(),
    };
    Failure::operator(
        format!("stopped {place}; what was loaded stays"),
        "the same command goes on where it was",
    )
}

fn summary(load: &Loaded) -> String {
    let tally = load.note.tally;
    let mut pairs = vec![
        ("source", load.source.clone()),
        (
            "loaded",
            format!(
                "calls of {} to {} of the dialer's clock",
                clock(load.note.since),
                clock(load.note.until)
            ),
        ),
    ];
    if let Some(at) = load.resumed_at {
        pairs.push(("went on at", clock(at)));
    }
    pairs.extend([
        ("calls", format!("{} read", tally.calls)),
        ("new", tally.new.to_string()),
        ("changed", tally.changed.to_string()),
        ("unchanged", tally.unchanged.to_string()),
        ("only archived", tally.archived.to_string()),
        ("dials", format!("{} counted from now on", tally.dials)),
        (
            "took",
            format!(
                "{:.1} s for {} rows, without pauses",
                std::time::Duration::from_millis(tally.millis).as_secs_f64(),
                tally.rows
            ),
        ),
    ]);
    output::pairs(&pairs)
}

/// A wall clock that is counted as if it showed UTC.
fn clock(naive: i64) -> String {
    time::format(naive).replace('T', " ").replace('Z', "")
}
