//! `didtail recount`: the calls of the past, judged by the rules of today.

use clap::Args;

use super::failure::{Failure, failed_json};
use super::{Options, bar, output, runtime};
use crate::engine::{Recounted, recount};
use crate::ledger::Counters;
use crate::state::StateFile;
use crate::store::SqlStore;

/// The bar of a recount.
const BAR: &str = "{bar:40} {pos} of {len} calls and dials, {eta} left";

/// Judge all stored calls anew, by today's settings and VICIdial's flags
///
/// A call is judged when something about it changes. Run this after a change of
/// [dispositions], of attribution.prefer or of the time zone (restart the daemon
/// first, so that both judge alike), or when flags of VICIdial's statuses that
/// were changed shall hold for the past too. Days and DIDs are found anew as
/// far as their dials are kept; calls that [retention] has deleted stay counted as
/// they were. The daemon may run.
///
/// After a change of the time zone calls are on their right days: their times are
/// seconds. The times of dials were wall clocks that were read in the old zone, and
/// stay; `didtail backfill` reads them anew. Where dials move to another day, this
/// says so and from when on.
///
/// Examples:
///   didtail recount --dry-run
///   didtail recount
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> Result<(), Failure> {
    let config = options.load()?;
    let ((done, failed), wrong) = runtime()?.block_on(async {
        let store = SqlStore::open_read(&config.store.address()).await?;
        let totals = store.totals(None).await?;
        let rows = u64::try_from(totals.calls + totals.dials).unwrap_or(0);
        let bar = bar::bar(BAR);
        bar.set_length(rows);
        let done = recount(&config, arguments.dry_run, |count| bar.set_position(count)).await;
        bar.finish_and_clear();
        let done = done?;
        Ok::<_, Failure>((done, store.check_invariant().await?))
    })?;
    let failed = Failure::of_only(failed, &config)?;
    if options.json {
        let advice = zone_advice(&done);
        let mut document = serde_json::to_value(done).unwrap_or_default();
        document["dry_run"] = arguments.dry_run.into();
        document["differences"] = wrong.into();
        document["failed"] = failed_json(&failed);
        document["advice"] = advice.into();
        output::print_json(&document)?;
        return Failure::of_sources(failed).map_or(Ok(()), Err);
    }
    let mut text = String::new();
    if StateFile::holder(&config.state.path).is_some() {
        text.push_str(
            "The daemon runs, and judges by its own settings. After a change of [dispositions]\n\
             reload it (systemctl reload didtail); after one of other keys restart it.\n",
        );
    }
    let verb = if arguments.dry_run {
        "would change"
    } else {
        "changed"
    };
    let mut pairs = vec![
        ("looked at", format!("{} calls and dials", done.looked_at)),
        (verb, format!("{} calls, {} dials", done.calls, done.dials)),
    ];
    for (name, change) in Counters::NAMES.into_iter().zip(done.counters.values()) {
        if change != 0 {
            pairs.push((name, format!("{change:+}")));
        }
    }
    text.push_str(&output::pairs(&pairs));
    text.push_str(&zone_advice(&done).unwrap_or_default());
    for difference in &wrong {
        text.push_str(&format!("the numbers do not add up: {difference}\n"));
    }
    output::print(&text)?;
    Failure::of_sources(failed).map_or(Ok(()), Err)
}

/// What to do about dials whose times were read in another zone.
fn zone_advice(done: &Recounted) -> Option<String> {
    let since = done.moved_since.as_ref()?;
    Some(format!(
        "{} dials count on another day now, as after a change of time_zone: their times were read \
         in the old zone and stay as they are, so that those near midnight are on a wrong day. \
         Read them anew, as far back as VICIdial has them: didtail backfill --since {since}\n",
        done.moved_dials
    ))
}
