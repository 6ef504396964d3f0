//! `didtail verify`: is the store what VICIdial says?

use std::time::Instant;

use clap::Args;
use serde_json::Value;

use super::failure::{Exit, Failure, failed_json};
use super::{Options, bar, output, runtime, skipped, time};
use crate::engine::{Difference, Kind, Verified, verify};
use crate::ledger::Counters;
use crate::state::Skipped;
use crate::store::SqlStore;

/// Differences printed one by one; `--json` has more.
const PRINTED_MAX: usize = 20;

/// Compare the numbers with VICIdial, call by call and per DID
///
/// Reads vicidial_log and what belongs to it in short reads, archives too, and
/// compares each call's disposition, outcome, DID, duration and the rest, and
/// each dial, with the store; then the counters of each DID with its calls. What
/// differs only because the daemon has not applied it yet is looked at again.
///
/// A source that cannot be read does not keep the others from being compared: it is
/// named at the end, and its failure is the exit code.
///
/// No difference: a call that VICIdial has no more, and the disposition of a call
/// that is only in the archive, which keeps an early one. A call that was judged
/// by settings or flags that have changed since differs: `didtail recount`.
///
/// A call that the store lacks is a difference where the store should have it:
/// since it is fed, or since the oldest call that it has. Calls of before that
/// were never loaded; they are named with the command that loads them
/// (`didtail backfill`), and are no difference.
///
/// Calls and dials that [retention] has deleted are not compared; their numbers
/// stay, and --repair leaves those alone that it cannot count anew.
///
/// --repair changes what differs, and nothing else, and says what it was. The
/// daemon may run. Where there is no store yet there is nothing to compare, and none
/// is made.
///
/// What was found comes first, and the conclusion last. Exit code 0 when nothing
/// differs, also with calls that were never loaded; 5 when something differs, or
/// differed and could not be repaired, or when the store has no call of this time
/// and VICIdial has some, so that nothing was compared.
///
/// Examples:
///   didtail verify
///   didtail verify --since 7d --repair
///   didtail verify --since 30d --until 7d --json
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Calls from this time on: RFC 3339, ago, e.g. 7d, or a date (its midnight in
    /// the time_zone of the [[source]], in UTC where that is not set)
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = time::check)]
    since: String,

    /// Calls before this time; without it up to now
    #[arg(long, value_name = "TIME", value_parser = time::check)]
    until: Option<String>,

    /// Mend what differs
    #[arg(long)]
    repair: bool,
}

/// The counters that are not what the rows add up to.
struct Sums {
    wrong: Vec<String>,
    repaired: bool,
}

pub(super) fn run(options: &Options, arguments: &Arguments) -> Result<(), Failure> {
    let config = options.load()?;
    let range = time::range(
        &arguments.since,
        arguments.until.as_deref(),
        &time::zone(&config),
    )?;
    let (begun, began_at) = (Instant::now(), time::now());
    let bar = bar::bar(bar::WITH_MESSAGE);
    let (of, sums) = runtime()?.block_on(async {
        let all = verify(&config, &range, arguments.repair, |done| {
            let seconds = |count: i64| u64::try_from(count).unwrap_or(0);
            bar.set_length(seconds(done.until - done.since));
            bar.set_position(seconds(done.done));
            bar.set_message(format!(
                "{}: {} calls, {} differ",
                done.source, done.calls, done.differing
            ));
        })
        .await;
        bar.finish_and_clear();
        let all = all?;
        let sums = sums(&config.store.address(), arguments.repair).await?;
        Ok::<_, Failure>((all, sums))
    })?;
    let (all, failed) = (of.done, Failure::of_only(of.failed, &config)?);
    let seconds = begun.elapsed().as_secs_f64();
    if options.json {
        let document = serde_json::json!({
            "sources": all,
            "failed": failed_json(&failed),
            "sums": sums.wrong,
            "sums_repaired": sums.repaired,
            "equal": left(&all) == 0
                && uncompared(&all).next().is_none()
                && !sums.are_wrong()
                && failed.is_empty(),
            "conclusion": conclusion(&all, &sums).trim_end(),
            "seconds": seconds,
        });
        output::print_json(&document)?;
    } else if !all.is_empty() {
        output::print(&text(&all, &sums, arguments, seconds))?;
    }
    let until = range.until.unwrap_or(began_at + 1);
    for of in &all {
        if let Some((read, is_all)) = as_vicidial_has_it(of, range.since, until) {
            skipped::made_up(options, &config, &of.source, read, is_all)?;
        }
    }
    match Failure::of_sources(failed) {
        Some(failure) => Err(failure),
        None => verdict(&all, &sums, arguments),
    }
}

/// The time of which the store has every call as VICIdial has it, and whether it is to
/// have none of before; `None` where that is not known of any.
fn as_vicidial_has_it(of: &Verified, since: i64, until: i64) -> Option<(Skipped, bool)> {
    if of.differing != of.repaired || of.compared_nothing() {
        return None;
    }
    // What is before that was never loaded.
    let begins = of.begins().filter(|_| of.not_loaded > 0);
    let begins = begins.filter(|begins| *begins > since);
    let read = Skipped::between(begins.unwrap_or(since), until)?;
    Some((read, begins.is_some()))
}

/// Checks the counters against the rows, and counts anew those that are wrong.
async fn sums(url: &str, repair: bool) -> Result<Sums, Failure> {
    let store = SqlStore::open(url).await?;
    let wrong = store.check_invariant().await?;
    let mut repaired = false;
    if repair && !wrong.is_empty() {
        // Each begins with the DID.
        let dids = wrong.iter().filter_map(|line| {
            let end = line.find([':', ' '])?;
            line.get(..end).map(str::to_owned)
        });
        let mut dids: Vec<String> = dids.collect();
        dids.dedup();
        let counted = store.count_anew(&dids).await?;
        repaired = counted && store.check_invariant().await?.is_empty();
    }
    store.close().await;
    Ok(Sums { wrong, repaired })
}

impl Sums {
    fn are_wrong(&self) -> bool {
        !self.wrong.is_empty() && !self.repaired
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for wrong in self.wrong.iter().take(PRINTED_MAX) {
            text.push_str(&format!("the numbers do not add up: {wrong}\n"));
        }
        let more = self.wrong.len().saturating_sub(PRINTED_MAX);
        if more > 0 {
            text.push_str(&format!("and {more} more sums (--json has them)\n"));
        }
        if self.repaired {
            text.push_str("these DIDs were counted anew\n");
        }
        text
    }
}

/// What it comes to, in a line.
fn conclusion(all: &[Verified], sums: &Sums) -> String {
    let sum = |count: fn(&Verified) -> u64| all.iter().map(count).sum::<u64>();
    let (differing, repaired) = (sum(|one| one.differing), sum(|one| one.repaired));
    let is_nothing = sum(|one| one.calls) == 0 && differing == 0;
    let mut text = match (differing, differing - repaired) {
        (0, _) if is_nothing && uncompared(all).next().is_some() => {
            nothing(sum(|one| one.not_loaded))
        }
        (0, _) => format!(
            "Equal: {} calls are as VICIdial has them",
            sum(|one| one.calls)
        ),
        (_, 0) => format!("Mended: {differing} calls and dials differed"),
        (_, left) => format!("Different: {left} calls and dials are not as VICIdial has them"),
    };
    if !sums.wrong.is_empty() {
        text.push_str(if sums.repaired {
            "; DIDs whose sums were wrong were counted anew"
        } else {
            "; the numbers of some DIDs are not what their calls add up to"
        });
    }
    match sum(|one| one.not_loaded) {
        0 => {}
        _ if is_nothing => {}
        calls => text.push_str(&format!("; {calls} calls of before were never loaded")),
    }
    match sum(|one| one.too_old) {
        0 => {}
        rows => text.push_str(&format!(
            "; {rows} rows of calls and dials that are older than [retention] keeps were left out"
        )),
    }
    text + ".\n"
}

/// Sources of which the store has no call of the time.
fn uncompared(all: &[Verified]) -> impl Iterator<Item = &Verified> {
    all.iter().filter(|one| one.compared_nothing())
}

fn nothing(calls: u64) -> String {
    format!(
        "Nothing was compared: VICIdial has {calls} calls in this time, and the store none of them"
    )
}

fn verdict(all: &[Verified], sums: &Sums, arguments: &Arguments) -> Result<(), Failure> {
    let left = left(all);
    let until = arguments.until.as_ref();
    let until = until.map_or(String::new(), |until| format!(" --until {until}"));
    if left == 0 && !sums.are_wrong() {
        let Some(one) = uncompared(all).next() else {
            return Ok(());
        };
        let what = nothing(one.not_loaded);
        return Err(Failure {
            exit: Exit::Differences,
            error: match all.len() {
                1 => anyhow::Error::msg(what),
                _ => anyhow::Error::msg(format!("source `{}`: {what}", one.source)),
            },
            hint: Some(format!(
                "load them: didtail backfill --since {}{until}",
                arguments.since
            )),
        });
    }
    let error = match left {
        0 => "the numbers of some DIDs are not what their calls add up to".to_owned(),
        left => format!("{left} calls and dials differ from VICIdial"),
    };
    let mut hint = format!(
        "mend it: didtail verify --since {}{until} --repair",
        arguments.since
    );
    if all.iter().any(is_judged_otherwise) {
        hint.push_str(
            "; or, after a change of [dispositions] or of a flag in VICIdial, judge all calls \
             anew: didtail recount --dry-run",
        );
    }
    if let Some(missing) = all.iter().find_map(missing) {
        hint.push_str(&format!("; or load what is missing: {missing}"));
    }
    Err(Failure {
        exit: Exit::Differences,
        error: anyhow::Error::msg(error),
        hint: Some(hint),
    })
}

/// Whether calls differ in nothing but what the rules of then made of them.
fn is_judged_otherwise(of: &Verified) -> bool {
    const BY_RULES: [&str; 4] = ["counted", "successful", "outcome", "dnc"];
    let by_rules = |field: &crate::engine::Field| BY_RULES.contains(&field.field.as_str());
    let mut calls = of.differences.iter().filter(|one| !one.repaired);
    calls.any(|one| one.kind == Kind::CallDiffers && one.fields.iter().all(by_rules))
}

/// Calls and dials that still differ.
fn left(all: &[Verified]) -> u64 {
    all.iter().map(|one| one.differing - one.repaired).sum()
}

/// The command that loads the calls which the store lacks.
fn missing(of: &Verified) -> Option<String> {
    let (from, to) = (of.missing_from?, of.missing_to?);
    let (from, until) = (time::format(from), time::format(to + 1));
    Some(format!("didtail backfill --since {from} --until {until}"))
}

/// Everything found, one by one, and at the end what it comes to.
fn text(all: &[Verified], sums: &Sums, arguments: &Arguments, seconds: f64) -> String {
    let mut text = String::new();
    for of in all {
        text.push_str(&details(of));
    }
    for of in all {
        text.push_str(&summary(of, arguments));
        text.push('\n');
    }
    let took = format!("It took {seconds:.1} s.\n");
    text + &sums.text() + &took + &conclusion(all, sums)
}

fn details(of: &Verified) -> String {
    let mut text = String::new();
    if !of.differences.is_empty() {
        let shown = of.differences.iter().take(PRINTED_MAX);
        let rows: Vec<[String; 5]> = shown.flat_map(rows).collect();
        let header = ["what", "lead", "field", "store", "VICIdial"];
        text.push_str(&output::table(header, &rows));
        let more = of.differing.saturating_sub(PRINTED_MAX as u64);
        if more > 0 {
            text.push_str(&format!("and {more} more (--json has the first 1000)\n"));
        }
        text.push('\n');
    }
    if !of.dids.is_empty() {
        let rows: Vec<[String; 2]> = of
            .dids
            .iter()
            .take(PRINTED_MAX)
            .map(|(did, counters)| [did.clone(), changes(counters)])
            .collect();
        text.push_str(&output::table(
            ["DID", "by how much the store is off"],
            &rows,
        ));
        let more = of.dids.len().saturating_sub(PRINTED_MAX);
        if more > 0 {
            text.push_str(&format!("and {more} more DIDs (--json has them)\n"));
        }
        text.push('\n');
    }
    text
}

fn summary(of: &Verified, arguments: &Arguments) -> String {
    let mut pairs = vec![
        ("source", of.source.clone()),
        ("compared", format!("{} calls", of.calls)),
        ("differ", format!("{} calls and dials", of.differing)),
    ];
    if let Some(command) = missing(of) {
        pairs.push((
            "missing",
            format!("{} of these are not in the store: {command}", of.missing),
        ));
    }
    if arguments.repair {
        pairs.push(("repaired", of.repaired.to_string()));
    }
    if of.not_loaded > 0 {
        let begins = of.begins().filter(|_| !of.compared_nothing());
        let before = begins.map_or_else(
            || "the store has none of them".to_owned(),
            |at| format!("before {}", time::format(at)),
        );
        let asked = arguments.until.as_ref();
        let until = begins.map(time::format).or_else(|| asked.cloned());
        let until = until.map(|at| format!(" --until {at}"));
        pairs.push((
            "not loaded",
            format!(
                "{} calls, {before}: didtail backfill --since {}{}",
                of.not_loaded,
                arguments.since,
                until.unwrap_or_default(),
            ),
        ));
    }
    let mut text = output::pairs(&pairs) + &output::unread(&of.unreadable);
    if of.is_behind {
        text.push_str(
            "Nobody applies the newest changes to the store: some of this may be only that.\n",
        );
    }
    text
}

fn rows(of: &Difference) -> Vec<[String; 5]> {
    let what = match of.kind {
        Kind::CallMissing => format!("call {} is missing", of.name),
        Kind::CallDiffers => format!("call {}", of.name),
        Kind::DialMissing => format!("dial {} is missing", of.name),
        Kind::DialDiffers => format!("dial {}", of.name),
    };
    let lead = of.lead_id.map(|lead| lead.to_string()).unwrap_or_default();
    let row = |field: &crate::engine::Field| {
        [
            what.clone(),
            lead.clone(),
            field.field.clone(),
            field.store.as_ref().map(plain).unwrap_or_default(),
            plain(&field.source),
        ]
    };
    match of.kind {
        Kind::CallDiffers | Kind::DialDiffers => of.fields.iter().map(row).collect(),
        Kind::CallMissing | Kind::DialMissing => {
            let said = of.fields.iter().filter(|field| !field.source.is_null());
            let said = said.map(|field| format!("{} {}", field.field, plain(&field.source)));
            let said = said.collect::<Vec<_>>().join(", ");
            vec![[what, lead, "all".to_owned(), "none".to_owned(), said]]
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// What must be added to the store's counters, the other way round.
fn changes(counters: &Counters) -> String {
    let named = Counters::NAMES.into_iter().zip(counters.values());
    let changed = named.filter(|(_, change)| *change != 0);
    let words = changed.map(|(name, change)| format!("{name} {:+}", -change));
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::failure::Failure;
    use crate::cli::screen::tests::on_each;
    use crate::cli::snapshots::assert_snapshot;
    use crate::engine::Field;

    const AT: i64 = 1_772_352_000;

    fn equal() -> Verified {
        Verified {
            done: 86_400,
            calls: 4711,
            first_known: Some(AT - 80_000),
            ..Verified::new("main", AT - 86_400, AT)
        }
    }

    fn different() -> Verified {
        let field = |field: &str, store: Option<Value>, source: Value| Field {
            field: field.to_owned(),
            store,
            source,
        };
        let differs = vec![
            field("disposition", Some("NI".into()), "SALE".into()),
            field("successful", Some(false.into()), true.into()),
        ];
        let missing = vec![
            field("disposition", None, "NA".into()),
            field("did", None, "+12125550100".into()),
            field("term_reason", None, Value::Null),
        ];
        let one = Counters {
            total_calls: 1,
            no_answer: 1,
            ..Counters::default()
        };
        Verified {
            not_loaded: 12,
            missing: 1,
            missing_from: Some(AT - 60),
            missing_to: Some(AT - 60),
            differing: 2,
            differences: vec![
                Difference::of(Kind::CallDiffers, "1772351880.123", AT - 120, differs),
                Difference::of(Kind::CallMissing, "1772351940.124", AT - 60, missing),
            ],
            dids: [("+12125550100".to_owned(), one)].into(),
            is_behind: true,
            ..equal()
        }
    }

    #[test]
    fn conclusions_are_as_agreed_on() {
        let arguments = Arguments {
            since: "24h".to_owned(),
            until: None,
            repair: false,
        };
        let sums = Sums {
            wrong: Vec::new(),
            repaired: false,
        };
        let empty = Verified {
            calls: 0,
            not_loaded: 12,
            first_known: None,
            ..equal()
        };
        let mut judged = different();
        judged.differences.truncate(1);
        judged.differences[0].fields.remove(0);
        (judged.differing, judged.missing, judged.not_loaded) = (1, 0, 0);
        (judged.missing_from, judged.missing_to) = (None, None);
        let mut drawn = String::new();
        for (what, of) in [
            ("nothing differs", equal()),
            ("some differ", different()),
            ("some were judged otherwise", judged),
            ("nothing was loaded", empty),
        ] {
            let all = [of];
            drawn.push_str(&on_each(&format!("didtail verify, {what}"), || {
                let verdict = verdict(&all, &sums, &arguments);
                let said = verdict.err().as_ref().map(Failure::text);
                text(&all, &sums, &arguments, 1.25) + &said.unwrap_or_default()
            }));
        }
        assert_snapshot("verify.txt", &drawn);
    }
}
