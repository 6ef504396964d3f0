//! `didtail backfill`: calls of the past, loaded by SELECT.

use std::time::Instant;

use clap::Args;
use indicatif::ProgressBar;
use tokio::signal::unix::{SignalKind, signal};

use super::failure::{Failure, failed_json};
use super::{Options, bar, output, runtime, skipped, time};
use crate::config::Config;
use crate::engine::{Loaded, Range, TableEstimate, backfill, estimate};
use crate::state::Skipped;
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
/// It waits while VICIdial's server has 20 threads or more at work, and passes
/// over stretches without calls. Tables that its user may not read are named, with
/// the GRANT that lets it.
///
/// What is older than [retention] has kept is not counted again: it may have been
/// counted and deleted. Such dials still give calls their DIDs. `passed over` says
/// how many rows that were. While a load is under way the daemon deletes nothing.
///
/// Stopped or killed, the same command goes on where it was. `unchanged` counts
/// calls that were known just so in all that `didtail verify` compares; how their
/// DIDs were found may be known better now.
///
/// Examples:
///   didtail backfill --since 30d --dry-run
///   didtail backfill --since 30d
///   didtail backfill --since 2026-03-01T00:00:00-06:00 --until 2026-03-02T00:00:00-06:00
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Calls from this time on: RFC 3339, ago, e.g. 30d, or a date (its midnight in
    /// the time_zone of the [[source]], in UTC where that is not set)
    #[arg(long, value_name = "TIME", value_parser = time::check)]
    since: String,

    /// Calls before this time; without it up to now
    #[arg(long, value_name = "TIME", value_parser = time::check)]
    until: Option<String>,

    /// Say what would be read, and read no call
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> Result<(), Failure> {
    let config = options.load()?;
    let range = time::range(
        &arguments.since,
        arguments.until.as_deref(),
        &time::zone(&config),
    )?;
    if arguments.dry_run {
        return dry_run(options, &config, &range);
    }
    let (begun, began_at) = (Instant::now(), time::now());
    let bar = bar::bar(bar::WITH_MESSAGE);
    let (loaded, wrong) = runtime()?.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut reached = None;
        let mut greeted = false;
        let load = backfill(&config, &range, |load| {
            if !std::mem::replace(&mut greeted, true) {
                if let Some(at) = load.resumed_at {
                    bar.println(format!("going on at {} of the dialer's clock", clock(at)));
                }
                for line in output::unread(&load.unreadable).lines() {
                    bar.println(line);
                }
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
    let (loaded, failed) = (loaded.done, Failure::of_only(loaded.failed, &config)?);
    let seconds = begun.elapsed().as_secs_f64();
    if options.json {
        let document = serde_json::json!({
            "sources": loaded,
            "failed": failed_json(&failed),
            "differences": wrong,
            "seconds": seconds,
        });
        output::print_json(&document)?;
    } else {
        let mut text = String::new();
        for load in &loaded {
            text.push_str(&summary(load));
        }
        for difference in &wrong {
            text.push_str(&format!("the numbers do not add up: {difference}\n"));
        }
        text.push_str(&format!("All of it took {seconds:.1} s, with pauses.\n"));
        output::print(&text)?;
    }
    for load in &loaded {
        // One that went on was asked for earlier, and ends then.
        let read = Skipped::between(range.since, range.until.unwrap_or(began_at + 1));
        if let Some(read) = read.filter(|_| load.resumed_at.is_none()) {
            skipped::made_up(options, &config, &load.source, read, false)?;
        }
    }
    Failure::of_sources(failed).map_or(Ok(()), Err)
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
    ]);
    if tally.too_old > 0 {
        let passed_over = format!(
            "{} rows of calls and dials, older than [retention] keeps: not counted, since they may have been",
            tally.too_old
        );
        pairs.push(("passed over", passed_over));
    }
    pairs.extend([(
        "took",
        format!(
            "{:.1} s for {} rows, without pauses",
            std::time::Duration::from_millis(tally.millis).as_secs_f64(),
            tally.rows
        ),
    )]);
    output::pairs(&pairs) + &output::unread(&load.unreadable)
}

/// Says what would be read.
fn dry_run(options: &Options, config: &Config, range: &Range) -> Result<(), Failure> {
    let all = runtime()?.block_on(estimate(config, range))?;
    let (all, failed) = (all.done, Failure::of_only(all.failed, config)?);
    if options.json {
        let document = serde_json::json!({
            "dry_run": true,
            "sources": all,
            "failed": failed_json(&failed),
        });
        output::print_json(&document)?;
        return Failure::of_sources(failed).map_or(Ok(()), Err);
    }
    let mut text = String::new();
    for one in &all {
        let mut pairs = vec![
            ("source", one.source.clone()),
            (
                "would load",
                format!(
                    "calls of {} to {} of the dialer's clock",
                    clock(one.since),
                    clock(one.until)
                ),
            ),
        ];
        if let Some(at) = one.resumes_at {
            pairs.push(("would go on at", clock(at)));
        }
        pairs.push((
            "rows",
            format!("about {}, as the server guesses", one.rows()),
        ));
        text.push_str(&output::pairs(&pairs));
        let row = |table: &TableEstimate| {
            let how = match (table.rows, table.has_index) {
                (Some(_), true) => "by its index of times",
                (Some(_), false) => "whole, for every window: it has no index of times",
                (None, _) => "",
            };
            let rows = table.rows.map(|rows| rows.to_string());
            let rows = rows.unwrap_or_default();
            [
                table.table.clone(),
                table.state.to_owned(),
                rows,
                how.to_owned(),
            ]
        };
        let rows: Vec<[String; 4]> = one.tables.iter().map(row).collect();
        text.push('\n');
        text.push_str(&output::table(["table", "is", "rows", "read"], &rows));
        text.push_str(&output::unread(&one.unreadable));
    }
    text.push_str("Nothing was loaded.\n");
    output::print(&text)?;
    Failure::of_sources(failed).map_or(Ok(()), Err)
}

/// A wall clock that is counted as if it showed UTC.
fn clock(naive: i64) -> String {
    time::format(naive).replace('T', " ").replace('Z', "")
}
