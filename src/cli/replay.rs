//! `didtail replay`: binlog files from disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;

use super::failure::Failure;
use super::run::shutdown_signal;
use super::{Options, bar, only_source, output};
use crate::engine::{Progress, Replay, Replayed, replay};
use crate::telemetry::spawn_named;

/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(200);

/// Apply binlog files from disk
///
/// For copies of binlogs that the source has deleted: they go the way that the
/// source's stream goes, from where the store stands to the end of the last file,
/// and the daemon goes on behind it. Stop the daemon first.
///
/// The files are those of one server, without a gap, under the names that it gave
/// them. They are checked before the first row: a damaged or foreign file changes
/// nothing. A last file that ends within an event, as after a crash, is applied
/// up to there. The source is asked for the columns of its tables and for rows that
/// statements changed; files with rows and binlog_row_metadata = FULL need no source.
///
/// What the store has already is passed over. To load history from before it,
/// give the old files and all that follow up to where it stands, with --again:
/// calls return to their old states and come forward to the same numbers.
///
/// Examples:
///   didtail replay /backup/mysql-bin.0001*
///   didtail replay --again --json /backup/mysql-bin.*
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Binlog files, in any order
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Also apply what is applied already, from the first file on
    #[arg(long)]
    again: bool,

    /// Begin at the first file even if the store stands before it: what lies
    /// between stays missing
    #[arg(long)]
    skip_gap: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> Result<(), Failure> {
    let config = options.load()?;
    only_source(&config)?;
    let wanted = Replay {
        files: arguments.files.clone(),
        again: arguments.again,
        skip_gap: arguments.skip_gap,
    };
    // Two threads: one reads and decodes, one applies.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let done = runtime.block_on(async {
        let shutdown = shutdown_signal()?;
        let progress = Arc::new(Progress::default());
        let shown = spawn_named("progress", show(Arc::clone(&progress)));
        let done = Box::pin(replay(&config, &wanted, &progress, shutdown)).await;
        shown.abort();
        // The bar is taken away when its task is dropped.
        drop(shown.await);
        done.map_err(Failure::from)
    })?;
    if options.json {
        return Ok(output::print_json(&json(&done))?);
    }
    Ok(output::print(&text(&done))?)
}

/// Draws a bar on stderr as long as it is polled.
async fn show(progress: Arc<Progress>) {
    const TEMPLATE: &str = "{msg:9} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    struct Cleared(ProgressBar);
    impl Drop for Cleared {
        fn drop(&mut self) {
            self.0.finish_and_clear();
        }
    }
    let bar = Cleared(bar::bar(TEMPLATE));
    let mut applied = false;
    loop {
        let applies = progress.applies.load(Ordering::Relaxed);
        if applies && !std::mem::replace(&mut applied, true) {
            bar.0.reset();
        }
        bar.0
            .set_message(if applies { "applying" } else { "checking" });
        bar.0.set_length(progress.total.load(Ordering::Relaxed));
        bar.0.set_position(progress.done.load(Ordering::Relaxed));
        tokio::time::sleep(TICK).await;
    }
}

fn json(done: &Replayed) -> serde_json::Value {
    let summary = done.summary.as_ref();
    serde_json::json!({
        "files": done.files,
        "bytes": done.bytes,
        "from": done.from.to_string(),
        "position": done.to.to_string(),
        "files_end": done.end.to_string(),
        "nothing_new": done.nothing_new,
        "cut_off": done.cut_off.as_ref().map(ToString::to_string),
        "events": summary.map_or(0, |done| done.events),
        "rows": summary.map_or(0, |done| done.rows),
        "results": summary.map_or(0, |done| done.results),
        "missing": summary.map(|done| done.missing.phrases()).unwrap_or_default(),
        "seconds": summary.map_or(0.0, |done| done.seconds),
    })
}

fn text(done: &Replayed) -> String {
    let mut text = match &done.summary {
        None if done.end < done.to => format!(
            "nothing to apply: these files end before {}, where the store stands; they were not looked at (--again, with the files up to there, applies them once more)\n",
            done.to
        ),
        None => format!(
            "nothing to apply: the store stands at {}, and everything before it in these files is in the numbers (--again applies it once more)\n",
            done.to
        ),
        Some(summary) => format!(
            "replayed {} of `{}` from {} to {}: {} events, {} rows of watched tables, {} results in {:.1} s\n",
            match done.files {
                1 => "1 file".to_owned(),
                many => format!("{many} files"),
            },
            summary.source,
            done.from,
            done.to,
            summary.events,
            summary.rows,
            summary.results,
            summary.seconds,
        ),
    };
    if let Some(place) = &done.cut_off {
        text.push_str(&format!(
            "the last file ends within the event at {place}, as after a crash or in an incomplete copy; everything before it is applied\n"
        ));
    }
    let missing = done.summary.iter().flat_map(|done| done.missing.phrases());
    for phrase in missing {
        text.push_str(&format!("not in the numbers: {phrase}\n"));
    }
    text
}
