//! `didtail quarantine retry`: what rows that were quarantined are about, read again.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use super::{Which, write_down};
use crate::cli::failure::Failure;
use crate::cli::{Options, ask, bar, output, runtime, time};
use crate::config::Config;
use crate::engine::{RetriedRows, Verdict, retry};
use crate::ledger::Counters;
use crate::state::{SetAside, StateFile};
use crate::store::OperatorAction;

/// The bar of trying.
const BAR: &str = "{bar:40} {pos} of {len} rows, {eta} left";

/// Rows that stay and are told one by one.
const TOLD_MAX: usize = 20;

/// How far around the time of a row the advice looks for calls, in seconds.
const AROUND_SECONDS: i64 = 3600;

/// Try rows again: what they are about is read from VICIdial's tables
///
/// A row that was quarantined names a row of VICIdial, by its key. That row, as it is
/// now, and what else VICIdial has of the same call is read by SELECT and merged into
/// the numbers, as `didtail backfill` does it: nothing is counted twice and no newer
/// state is lost. Rows that were mended are deleted from the quarantine, and that is
/// written to audit_log; the others stay, each with the reason. The daemon may run.
///
/// Examples:
///   didtail quarantine retry --all --dry-run
///   didtail quarantine retry --all
///   didtail quarantine retry 3 4 --yes
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(in crate::cli) struct Retry {
    #[command(flatten)]
    which: Which,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,

    /// Say what would become of them, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What became of the rows of all sources.
#[derive(Default)]
pub(in crate::cli) struct Outcome {
    mended: Vec<i64>,
    /// Why the others stay.
    stay: BTreeMap<i64, String>,
    changed: u64,
    dids: BTreeMap<String, Counters>,
}

pub(super) fn run(options: &Options, config: &Config, arguments: &Retry) -> Result<(), Failure> {
    let rows = arguments.which.find(config)?;
    if rows.is_empty() {
        if options.json {
            return report(options, &rows, &Outcome::default(), arguments.dry_run);
        }
        return Ok(output::print("No row is quarantined.\n")?);
    }
    if arguments.dry_run {
        let outcome = tried(config, &rows, true)?;
        return report(options, &rows, &outcome, true);
    }
    if !arguments.yes {
        let outcome = tried(config, &rows, true)?;
        if outcome.mended.is_empty() {
            return report(options, &rows, &outcome, true);
        }
        ask::confirm(false, &text(&rows, &outcome, true), "Mend them?")?;
    }
    let outcome = tried(config, &rows, false)?;
    let is_mended = |row: &&SetAside| outcome.mended.contains(&row.id);
    let mended: Vec<SetAside> = rows.iter().filter(is_mended).cloned().collect();
    if !mended.is_empty() {
        write_down(config, OperatorAction::RowsRetried, &mended)?;
        StateFile::open_shared(&config.state.path)?.forget_set_aside(&outcome.mended)?;
    }
    report(options, &rows, &outcome, false)
}

fn tried(config: &Config, rows: &[SetAside], dry_run: bool) -> Result<Outcome, Failure> {
    let mut all = Outcome::default();
    let bar = bar::bar(BAR);
    bar.set_length(rows.len() as u64);
    let mut before = 0;
    for source in &config.sources {
        let of_source = rows.iter().filter(|row| row.source == source.name);
        let of_source: Vec<SetAside> = of_source.cloned().collect();
        if of_source.is_empty() {
            continue;
        }
        let done = runtime()?.block_on(retry(config, source, &of_source, dry_run, |count| {
            bar.set_position(before + count);
        }));
        bar.set_position(before);
        all.take(done?);
        before += of_source.len() as u64;
    }
    bar.finish_and_clear();
    for row in rows {
        if !config
            .sources
            .iter()
            .any(|source| source.name == row.source)
        {
            let why = format!("no [[source]] is named `{}` any more", row.source);
            all.stay.insert(row.id, why);
        }
    }
    Ok(all)
}

impl Outcome {
    fn take(&mut self, done: RetriedRows) {
        for row in done.rows {
            match row.verdict {
                Verdict::Mended => self.mended.push(row.id),
                Verdict::Stays(why) => {
                    self.stay.insert(row.id, why);
                }
            }
        }
        self.changed += done.changed;
        for (did, counters) in done.dids {
            *self.dids.entry(did).or_default() += counters;
        }
    }
}

fn report(
    options: &Options,
    rows: &[SetAside],
    outcome: &Outcome,
    dry_run: bool,
) -> Result<(), Failure> {
    if !options.json {
        return Ok(output::print(&text(rows, outcome, dry_run))?);
    }
    let stay: Vec<_> = outcome
        .stay
        .iter()
        .map(|(id, why)| json!({ "id": id, "reason": why }))
        .collect();
    Ok(output::print_json(&json!({
        "dry_run": dry_run,
        "tried": rows.len(),
        "mended": outcome.mended,
        "stay": stay,
        "changed": outcome.changed,
        "dids": outcome.dids,
        "advice": advice(rows, outcome),
    }))?)
}

pub(in crate::cli) fn text(rows: &[SetAside], outcome: &Outcome, dry_run: bool) -> String {
    let (mended, changed) = if dry_run {
        ("would be mended", "calls and dials that would change")
    } else {
        ("mended", "calls and dials that changed")
    };
    let mut text = output::pairs(&[
        ("rows tried", rows.len().to_string()),
        (mended, outcome.mended.len().to_string()),
        (changed, outcome.changed.to_string()),
    ]);
    let dids: Vec<[String; 2]> = outcome
        .dids
        .iter()
        .map(|(did, counters)| {
            let values = Counters::NAMES.into_iter().zip(counters.values());
            let values = values.filter(|(_, value)| *value != 0);
            let values: Vec<String> = values
                .map(|(name, value)| format!("{value:+} {name}"))
                .collect();
            [did.clone(), values.join(", ")]
        })
        .collect();
    if !dids.is_empty() {
        text.push_str(&output::table(["DID", "change"], &dids));
    }
    for (id, why) in outcome.stay.iter().take(TOLD_MAX) {
        text.push_str(&format!("row {id} stays quarantined: {why}\n"));
    }
    let more = outcome.stay.len().saturating_sub(TOLD_MAX);
    if more > 0 {
        text.push_str(&format!("and {more} more (--json has all)\n"));
    }
    if let Some(advice) = advice(rows, outcome) {
        text.push_str(&format!("{advice}\n"));
    }
    if dry_run {
        text.push_str("Nothing was changed.\n");
    }
    text
}

/// What to do about the rows that stay.
fn advice(rows: &[SetAside], outcome: &Outcome) -> Option<String> {
    let stay = rows.iter().filter(|row| outcome.stay.contains_key(&row.id));
    let times = stay.map(|row| row.row.event_time).filter(|time| *time > 0);
    let (first, last) = (times.clone().min()?, times.max()?);
    let (since, until) = (
        first - AROUND_SECONDS,
        (last + AROUND_SECONDS).min(time::now()),
    );
    Some(format!(
        "To see whether calls of that time differ: didtail verify --since {} --until {} --repair; \
         then: didtail quarantine discard",
        time::format(since),
        time::format(until)
    ))
}
