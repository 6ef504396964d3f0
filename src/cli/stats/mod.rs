//! `didtail stats`: the DIDs' numbers as a table, once or every second.

mod table;
mod watch;

use clap::{Args, ValueEnum};

use crate::cli::failure::Failure;
use crate::cli::{output, screen, time};
use crate::config::Config;
use crate::ledger::{Counters, Pruned};
use crate::store::{DidSummary, Filter, Split, SqlStore, StoreError};
use crate::vicidial::Zone;
use table::Line;
pub(in crate::cli) use table::ago;
pub(in crate::cli) use watch::Screen;

/// Show the DIDs' numbers: dials, calls and how they ended
///
/// Without a DID, one row each, most calls first. With one, its numbers by day.
/// The rates are in percent of the calls, `avg talk` is by answered calls.
/// All-time numbers, also by day and campaign, are whole. Those since a time and
/// those by disposition are of the calls and dials that [retention] keeps; from when
/// on these are complete is said where it deleted some (`complete_since`).
///
/// Reads the store; the daemon may run.
///
/// Examples:
///   didtail stats --watch
///   didtail stats --since 24h --limit 10
///   didtail stats +12025550100 --by disposition
#[derive(Args, Clone, Debug, Default)]
#[command(verbatim_doc_comment)]
pub(super) struct StatsArgs {
    /// One DID; the + and the country code 1 may be left out
    did: Option<String>,

    /// Only calls and dials since then: RFC 3339, ago (24h, 7d), or a date
    ///
    /// A date means its midnight in the time_zone of the [[source]], and in UTC
    /// where that is not set.
    #[arg(long, value_name = "TIME", value_parser = time::check)]
    since: Option<String>,

    /// Split the numbers, of the DID or of all of them [default with a DID: day]
    #[arg(long, value_enum)]
    by: Option<By>,

    /// At most so many rows
    #[arg(long, value_name = "ROWS", default_value_t = 50)]
    limit: u32,

    /// Draw anew every second, until Ctrl-C; only the rows that fit the terminal
    #[arg(long)]
    watch: bool,

    /// A line above the picture of --watch
    #[arg(long, value_name = "TEXT", hide = true)]
    title: Vec<String>,
}

/// What the numbers are split by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// The day in the dialer's zone
    Day,
    /// The campaign; dials have none
    Campaign,
    /// VICIdial's status; dials have none
    Disposition,
}

impl From<By> for Split {
    fn from(by: By) -> Self {
        match by {
            By::Day => Self::Day,
            By::Campaign => Self::Campaign,
            By::Disposition => Self::Disposition,
        }
    }
}

/// Prints the numbers of the configured store, of all tenants.
///
/// # Errors
/// When the store cannot be read, the DID is not in it or the time is none.
pub(super) async fn run(config: &Config, args: &StatsArgs, json: bool) -> Result<(), Failure> {
    let store = SqlStore::open_read(&config.store.address()).await?;
    let zone = time::zone(config);
    if args.watch {
        let sources: Vec<String> = config.sources.iter().map(|s| s.name.clone()).collect();
        return watch::run(&store, &sources, &zone, args, json).await;
    }
    let picture = picture(&store, &zone, args, args.limit).await?;
    let pruned = pruned(&store, &zone, args).await?;
    if json {
        let document = document(&picture, pruned).map_err(anyhow::Error::new)?;
        output::print_json(&document)?;
    } else {
        let since = time::complete_since(pruned);
        let since = since.map(|since| format!("Complete since: {since} ([retention]).\n"));
        let table = text(&picture, time::now(), screen::width());
        output::print(&format!("{table}{}", since.unwrap_or_default()))?;
    }
    Ok(())
}

/// What is shown at one moment.
enum Picture {
    /// One row a DID, of so many and with these totals.
    Dids(Vec<DidSummary>, Overall),
    /// One row a day, campaign or disposition.
    Split(By, Vec<(String, Counters)>),
}

/// Sums over all DIDs, also those that are not shown.
#[derive(Clone, Copy, Debug, Default)]
struct Overall {
    dids: usize,
    dials: i64,
    calls: i64,
}

/// What retention has deleted of the rows that the numbers are counted from; nothing
/// where these are the kept ones, or of a time from which everything is there.
async fn pruned(store: &SqlStore, zone: &Zone, args: &StatsArgs) -> anyhow::Result<Pruned> {
    if args.since.is_none() && args.by != Some(By::Disposition) {
        return Ok(Pruned::default());
    }
    let since = match args.since.as_deref() {
        Some(text) => time::parse_in(text, time::now(), zone).map_err(anyhow::Error::msg)?,
        None => 0,
    };
    let known = store.pruned_anywhere().await?;
    let behind = |before: Option<i64>| before.filter(|before| *before > since);
    Ok(Pruned {
        calls_before: behind(known.calls_before),
        dials_before: behind(known.dials_before),
    })
}

async fn picture(
    store: &SqlStore,
    zone: &Zone,
    args: &StatsArgs,
    rows_max: u32,
) -> Result<Picture, Failure> {
    let tenant = None;
    let since = args.since.as_deref();
    let since = since.map(|text| time::parse_in(text, time::now(), zone));
    let mut filter = Filter {
        since: since.transpose().map_err(anyhow::Error::msg)?,
        ..Filter::default()
    };
    if let Some(typed) = &args.did {
        let found = find_did(store, tenant, typed).await?;
        filter.did = Some(found.ok_or_else(|| {
            Failure::operator(
                format!("there is no DID `{typed}` in the store"),
                "see the ones there with: didtail stats",
            )
        })?);
    }
    let by = args.by.or(args.did.is_some().then_some(By::Day));
    if let Some(by) = by {
        let mut rows = store.split(tenant, &filter, by.into()).await?;
        let shown = usize::try_from(rows_max).unwrap_or(usize::MAX);
        if by == By::Day {
            rows.drain(..rows.len().saturating_sub(shown));
        } else {
            rows.sort_by_key(|(_, counters)| std::cmp::Reverse(counters.total_calls));
            rows.truncate(shown);
        }
        return Ok(Picture::Split(by, rows));
    }
    let mut rows = store.summaries(tenant, &filter).await?;
    let overall = Overall {
        dids: rows.len(),
        dials: rows.iter().map(|row| row.dials).sum(),
        calls: rows.iter().map(|row| row.total_calls).sum(),
    };
    rows.truncate(usize::try_from(rows_max).unwrap_or(usize::MAX));
    Ok(Picture::Dids(rows, overall))
}

/// The DID as the store writes it, from what an operator typed; `None` where there is
/// none.
pub(super) async fn find_did(
    store: &SqlStore,
    tenant: Option<&str>,
    typed: &str,
) -> Result<Option<String>, StoreError> {
    let digits: String = typed.chars().filter(char::is_ascii_digit).collect();
    for candidate in [
        typed.to_owned(),
        format!("+{digits}"),
        format!("+1{digits}"),
        digits,
    ] {
        let filter = Filter {
            did: Some(candidate.clone()),
            ..Filter::default()
        };
        if !store.summaries(tenant, &filter).await?.is_empty() {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

/// An object a row. Where retention has deleted some of what is counted, each says
/// so.
fn document(picture: &Picture, pruned: Pruned) -> serde_json::Result<serde_json::Value> {
    let mut document = match picture {
        Picture::Dids(rows, _) => serde_json::to_value(rows)?,
        Picture::Split(by, rows) => rows.iter().map(|row| split_row(*by, row)).collect(),
    };
    if pruned != Pruned::default() {
        for row in document.as_array_mut().into_iter().flatten() {
            row["complete_since"] = time::complete_since_json(pruned);
        }
    }
    Ok(document)
}

fn split_row(by: By, (of, counters): &(String, Counters)) -> serde_json::Value {
    let mut row = serde_json::Map::new();
    row.insert(split_name(by).to_owned(), of.clone().into());
    let values = Counters::NAMES.into_iter().zip(counters.values());
    row.extend(values.map(|(name, value)| (name.to_owned(), value.into())));
    row.into()
}

fn split_name(by: By) -> &'static str {
    match by {
        By::Day => "day",
        By::Campaign => "campaign_id",
        By::Disposition => "disposition",
    }
}

/// The tables at the time `now`, `width` characters wide or as wide as they like.
fn text(picture: &Picture, now: i64, width: Option<u16>) -> String {
    let (first, lines) = match picture {
        Picture::Dids(rows, _) => ("DID", rows.iter().map(Line::from).collect()),
        Picture::Split(by, rows) => {
            let first = match by {
                By::Day => "day",
                By::Campaign => "campaign",
                By::Disposition => "disposition",
            };
            let lines = rows.iter().map(|(of, counters)| Line::of(of, counters));
            (first, lines.collect::<Vec<_>>())
        }
    };
    let mut text = table::render(first, &lines, now, width);
    if let Picture::Split(By::Day, days) = picture
        && let [(first, _), .., (last, _)] = days.as_slice()
    {
        let (dials, calls): (Vec<i64>, Vec<i64>) = days
            .iter()
            .map(|(_, counters)| (counters.dials, counters.total_calls))
            .unzip();
        let screen = width.map_or(usize::MAX, usize::from);
        for (name, values) in [("dials", dials), ("calls", calls)] {
            let line = table::sparkline(&values);
            // A line that wraps is no picture.
            if line.chars().count() + name.len() + 2 <= screen {
                text.push_str(&format!("{name}  {line}\n"));
            }
        }
        text.push_str(&format!("       {first} to {last}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::tests::on_each;
    use crate::cli::snapshots::assert_snapshot;

    #[test]
    fn a_split_is_an_object_a_row() {
        let counters = Counters {
            total_calls: 4,
            answered: 1,
            talk_seconds: 61,
            ..Counters::default()
        };
        let picture = Picture::Split(By::Campaign, vec![(String::new(), counters)]);
        let row = &document(&picture, Pruned::default()).expect("serializes")[0];
        assert_eq!(
            (&row["campaign_id"], &row["total_calls"]),
            (&"".into(), &4.into())
        );
        let text = text(&picture, 0, Some(100));
        assert!(
            text.contains("(none)") && text.contains("25.0%") && text.contains("1:01"),
            "{text}"
        );
    }
    #[test]
    fn tables_are_as_agreed_on() {
        let counters = |calls: i64| Counters {
            dials: calls + 12,
            total_calls: calls,
            answered: calls / 4,
            successful_calls: calls / 10,
            blocked: calls / 50,
            talk_seconds: 31 * calls,
            ..Counters::default()
        };
        let did = |number: &str, calls: i64| {
            let rate = |percent: f64| (calls > 0).then_some(percent);
            DidSummary {
                tenant: "default".to_owned(),
                phone_number: number.to_owned(),
                dials: calls + 12,
                total_calls: calls,
                success_rate: rate(9.96),
                answer_rate: rate(24.99),
                block_rate: rate(2.0),
                average_talk_seconds: rate(124.2),
                last_call_at: (calls > 0).then_some(NOW - 90),
                ..DidSummary::default()
            }
        };
        const NOW: i64 = 1_772_352_000;
        let dids = Picture::Dids(
            vec![did("+12125550100", 4711), did("+13125550101", 0)],
            Overall::default(),
        );
        let split = |by, of: [&str; 3]| {
            let rows = of.into_iter().zip([480, 0, 4711]);
            let rows = rows.map(|(of, calls)| (of.to_owned(), counters(calls)));
            Picture::Split(by, rows.collect())
        };
        let pictures = [
            ("didtail stats", dids),
            (
                "didtail stats --by day",
                split(By::Day, ["2026-02-27", "2026-02-28", "2026-03-01"]),
            ),
            (
                "didtail stats --by campaign",
                split(By::Campaign, ["", "SURVEY", "TESTCAMP"]),
            ),
            (
                "didtail stats --by disposition",
                split(By::Disposition, ["NA", "A", "SALE"]),
            ),
        ];
        let drawn = pictures
            .map(|(title, picture)| on_each(title, || text(&picture, NOW, screen::width())));
        assert_snapshot("stats.txt", &drawn.concat());
    }
}
