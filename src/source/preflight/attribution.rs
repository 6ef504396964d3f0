//! Do the newest calls have a dial to take their DID from?
//!
//! A call has no DID of its own: it comes from the dial log, by the caller code
//! or by the lead. Where VICIdial does not fill these tables, every number is
//! right and none is of any DID. This is seen best before the first call counts.

use std::collections::{BTreeMap, BTreeSet};

use super::access::unread;
use super::clock::date_index;
use super::{Finding, Outcome};
use crate::source::wire::{Cell, text};
use crate::source::{Condition, MySqlSource, Source, SourceError, TableRow};
use crate::vicidial::{Table, WallClock};

/// Calls that are looked at, the newest by `call_date`.
const CALLS_MAX: usize = 500;

/// Calls in a hundred that should have a dial. Some never have: calls that an
/// agent took over, and those whose dial is older than the look-up's window.
const GOOD_PERCENT: usize = 90;

const CHECK: &str = "attribution";

const EXPECTED: &str = "the newest calls have a dial, which names their DID";

/// A call, and from when on a dial of its lead is taken for its own.
struct NewCall {
    uniqueid: String,
    lead: String,
    at: String,
    since: String,
}

/// How many of the newest calls would get a DID, and how.
pub(super) async fn attribution(source: &MySqlSource) -> Vec<Finding> {
    vec![match look(source).await {
        Ok(finding) => finding,
        Err(error) => Finding::unknown(CHECK, EXPECTED, &error),
    }]
}

async fn look(source: &MySqlSource) -> Result<Finding, SourceError> {
    let unknown = |why: &str| Finding::new(CHECK, Outcome::Unknown, EXPECTED, why);
    if let Some(why) = unread(source, &[Table::Log, Table::LogExtended, Table::DialLog]).await {
        return Ok(unknown(&why));
    }
    let Some(index) = date_index(source).await? else {
        return Ok(unknown(
            "vicidial_log has no index that begins with call_date, and is not read through for this",
        ));
    };
    let (database, calls) = (source.database(), Table::Log.name());
    let sql = format!(
        "SELECT uniqueid, lead_id, call_date, call_date - INTERVAL 1 HOUR \
         FROM `{database}`.`{calls}` FORCE INDEX FOR ORDER BY (`{index}`) \
         ORDER BY call_date DESC LIMIT {CALLS_MAX}"
    );
    let answer = source.ask("the newest calls", &sql).await?;
    let calls: Vec<NewCall> = answer.rows.iter().filter_map(|row| call(row)).collect();
    let (Some(newest), Some(oldest)) = (calls.first(), calls.last()) else {
        return Ok(unknown("no call yet"));
    };
    let links = of(
        source,
        Table::LogExtended.name(),
        &["uniqueid", "caller_code"],
        ("uniqueid", calls.iter().map(|call| &call.uniqueid)),
        None,
    )
    .await?;
    let codes: BTreeMap<String, String> = pairs(&links).collect();
    let log = Table::DialLog.name();
    let mut dialled: BTreeSet<String> = BTreeSet::new();
    // Dials are archived long before calls are.
    for table in [log.to_owned(), format!("{log}_archive")] {
        let missing = codes.values().filter(|code| !dialled.contains(*code));
        let key = ("caller_code", missing);
        let found = of(source, &table, &["caller_code", "outbound_cid"], key, None).await?;
        dialled.extend(found.iter().filter_map(|row| text(row.first()?)));
    }
    let is_dialled = |call: &&NewCall| {
        let code = codes.get(&call.uniqueid);
        code.is_some_and(|code| dialled.contains(code))
    };
    let by_code = calls.iter().filter(is_dialled).count();
    let window = WallClock::parse(&oldest.since).zip(WallClock::parse(&newest.at));
    let dials = of(
        source,
        log,
        &["lead_id", "call_date"],
        (
            "lead_id",
            calls.iter().filter(|c| !is_dialled(c)).map(|c| &c.lead),
        ),
        window,
    )
    .await?;
    let of_leads: Vec<(String, String)> = pairs(&dials).collect();
    let is_soon_after = |call: &&NewCall| {
        let mut dials = of_leads.iter();
        // Dates as text are in the order of time.
        dials.any(|(lead, at)| *lead == call.lead && *at <= call.at && *at >= call.since)
    };
    let lonely = calls.iter().filter(|call| !is_dialled(call));
    let by_lead = lonely.filter(is_soon_after).count();
    Ok(judge(calls.len(), by_code, by_lead, &oldest.at))
}

fn judge(calls: usize, by_code: usize, by_lead: usize, since: &str) -> Finding {
    let found = by_code + by_lead;
    let actual = format!(
        "{found} of {calls} calls since {since} ({} %): {by_code} by caller code, {by_lead} by lead",
        found * 100 / calls.max(1)
    );
    if found * 100 >= calls * GOOD_PERCENT {
        return Finding::new(CHECK, Outcome::Good, EXPECTED, &actual);
    }
    let fix = "see what VICIdial writes: SELECT * FROM vicidial_dial_log ORDER BY call_date DESC \
               LIMIT 5; where its caller codes are not those of vicidial_log_extended, or it is \
               empty, the dialers run an older VICIdial than the database: upgrade them. Calls \
               without a dial count, and for no DID";
    Finding::new(CHECK, Outcome::Note, EXPECTED, &actual).fix(fix)
}

fn call(row: &[Cell]) -> Option<NewCall> {
    let cell = |at: usize| row.get(at).and_then(text);
    Some(NewCall {
        uniqueid: cell(0)?,
        lead: cell(1)?,
        at: cell(2)?,
        since: cell(3)?,
    })
}

/// Rows of a table by some values of an indexed column; none where the user may
/// not read it or it does not exist, which another check says.
async fn of<'v>(
    source: &MySqlSource,
    table: &str,
    columns: &[&str],
    (key, values): (&str, impl Iterator<Item = &'v String>),
    window: Option<(WallClock, WallClock)>,
) -> Result<Vec<TableRow>, SourceError> {
    let values: BTreeSet<String> = values.cloned().collect();
    let values: Vec<String> = values.into_iter().collect();
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let condition = Condition {
        key: Some((key, &values)),
        window: window.map(|(from, until)| ("call_date", from, until)),
    };
    match source.select(table, columns, condition).await {
        Err(SourceError::NotGranted { .. } | SourceError::Query { .. }) => Ok(Vec::new()),
        rows => rows,
    }
}

/// The first two columns of rows that have both.
fn pairs(rows: &[TableRow]) -> impl Iterator<Item = (String, String)> {
    rows.iter()
        .filter_map(|row| Some((text(row.first()?)?, text(row.get(1)?)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_without_a_dial_are_told() {
        let finding = judge(200, 150, 40, "2026-01-02 03:04:05");
        assert_eq!(finding.outcome, Outcome::Good);
        assert_eq!(
            finding.actual,
            "190 of 200 calls since 2026-01-02 03:04:05 (95 %): 150 by caller code, 40 by lead"
        );
        let finding = judge(200, 0, 100, "2026-01-02 03:04:05");
        assert_eq!(finding.outcome, Outcome::Note);
        assert!(finding.fix.expect("a fix").contains("vicidial_dial_log"));
    }
}
