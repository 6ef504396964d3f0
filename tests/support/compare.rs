//! Compares the store with what the source itself says.

use std::collections::BTreeMap;

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, Row};
use serde_json::Value;

/// Differences told; more tell nothing new.
const DIFFERENCES_MAX: usize = 20;

/// Stands for what the store need not agree with.
const UNJUDGED: &str = "not judged";

/// What is compared of a call, by name.
type Fields = BTreeMap<&'static str, String>;

/// Everything in which the store differs from the source, in words.
pub fn differences(truth: &Value, store: &Connection) -> Vec<String> {
    let mut found = Vec::new();
    compare("call", &true_calls(truth), &stored_calls(store), &mut found);
    compare("DID", &true_dids(truth), &stored_dids(store), &mut found);
    audit_twice(store, &mut found);
    found.truncate(DIFFERENCES_MAX);
    found
}

fn compare(
    what: &str,
    expected: &BTreeMap<String, Fields>,
    actual: &BTreeMap<String, Fields>,
    found: &mut Vec<String>,
) {
    assert!(!expected.is_empty(), "a source without a single {what}");
    for (key, expected) in expected {
        let Some(actual) = actual.get(key) else {
            found.push(format!("{what} {key} is missing"));
            continue;
        };
        for (name, expected) in expected {
            let actual = &actual[name];
            if actual != expected && actual != UNJUDGED {
                found.push(format!("{what} {key}: {name} is {actual}, not {expected}"));
            }
        }
    }
    for key in actual.keys().filter(|key| !expected.contains_key(*key)) {
        found.push(format!("{what} {key} is not in the source"));
    }
}

fn true_calls(truth: &Value) -> BTreeMap<String, Fields> {
    let calls = truth["calls"].as_array().expect("calls").iter();
    calls
        .map(|call| {
            let did = call["did"].as_str().map(e164).unwrap_or_default();
            let fields = Fields::from([
                ("disposition", plain(&call["status"])),
                ("duration_seconds", plain(&call["length_in_sec"])),
                ("campaign_id", plain(&call["campaign_id"])),
                ("started_at", plain(&call["start_epoch"])),
                ("term_reason", plain(&call["term_reason"])),
                ("blocked", (call["blocked"] == true).to_string()),
                ("did", did),
            ]);
            (key(&call["uniqueid"], &call["lead_id"]), fields)
        })
        .collect()
}

fn stored_calls(store: &Connection) -> BTreeMap<String, Fields> {
    const CALLS: &str = "SELECT uniqueid, lead_id, disposition, duration_seconds, campaign_id, \
         started_at, term_reason, ifnull(d.phone_number, ''), counted, outcome \
         FROM call_records c LEFT JOIN dids d ON d.id = c.did_id WHERE NOT removed";
    let read = |row: &Row<'_>| {
        let fields = Fields::from([
            ("disposition", cell(row, 2)?),
            ("duration_seconds", cell(row, 3)?),
            ("campaign_id", cell(row, 4)?),
            ("started_at", cell(row, 5)?),
            ("term_reason", cell(row, 6)?),
            ("did", cell(row, 7)?),
            ("blocked", blocked(row.get(8)?, &cell(row, 9)?)),
        ]);
        Ok((
            format!("{} of lead {}", cell(row, 0)?, cell(row, 1)?),
            fields,
        ))
    };
    all(store, CALLS, read)
}

/// Whoever was reached was not blocked, whatever a carrier row says.
fn blocked(counted: bool, outcome: &str) -> String {
    match outcome {
        "blocked" => "true".to_owned(),
        "no_answer" | "busy" | "failed" | "other" if counted => "false".to_owned(),
        _ => UNJUDGED.to_owned(),
    }
}

fn true_dids(truth: &Value) -> BTreeMap<String, Fields> {
    let dids = truth["dids"].as_object().expect("DIDs").iter();
    dids.map(|(number, did)| {
        let fields = Fields::from([
            ("dials", plain(&did["dials"])),
            ("total_calls", plain(&did["total_calls"])),
            ("successful_calls", plain(&did["successful_calls"])),
            ("last_call_at", plain(&did["last_call_epoch"])),
        ]);
        (e164(number), fields)
    })
    .collect()
}

fn stored_dids(store: &Connection) -> BTreeMap<String, Fields> {
    const DIDS: &str = "SELECT d.phone_number, s.dials, s.total_calls, s.successful_calls, \
         ifnull(s.last_call_at, 0) FROM did_stats s JOIN dids d ON d.id = s.did_id";
    let read = |row: &Row<'_>| {
        let fields = Fields::from([
            ("dials", cell(row, 1)?),
            ("total_calls", cell(row, 2)?),
            ("successful_calls", cell(row, 3)?),
            ("last_call_at", cell(row, 4)?),
        ]);
        Ok((cell(row, 0)?, fields))
    };
    all(store, DIDS, read)
}

/// One row image is one audit row, however often it is replayed.
fn audit_twice(store: &Connection, found: &mut Vec<String>) {
    const TWICE: &str = "SELECT json_extract(details, '$.uniqueid') AS call, \
         json_extract(details, '$.event') AS event, count(*) FROM audit_log \
         GROUP BY call, event HAVING count(*) > 1";
    let mut query = store.prepare(TWICE).expect("a query");
    let read = |row: &Row<'_>| Ok(format!("audit: {} {} twice", cell(row, 0)?, cell(row, 1)?));
    let rows = query.query_map([], read).expect("rows");
    found.extend(rows.map(|row| row.expect("a row")));
}

/// Every number that the store keeps.
#[derive(Debug, PartialEq, Eq)]
pub struct Numbers(Vec<String>);

impl Numbers {
    pub(super) fn of(store: &Connection) -> Self {
        const TABLES: [&str; 3] = [
            "SELECT d.phone_number, s.* FROM did_stats s JOIN dids d ON d.id = s.did_id ORDER BY 1",
            "SELECT d.phone_number, s.* FROM did_daily_stats s JOIN dids d ON d.id = s.did_id \
             ORDER BY 1, s.day, s.campaign_id",
            "SELECT uniqueid, lead_id, disposition, outcome, counted, removed, duration_seconds, \
             did_id, day, started_at FROM call_records ORDER BY 1, 2",
        ];
        let mut lines = Vec::new();
        for table in TABLES {
            let mut query = store.prepare(table).expect("a query");
            let columns = query.column_count();
            let read = |row: &Row<'_>| -> rusqlite::Result<String> {
                let cells: Result<Vec<_>, _> = (0..columns).map(|at| cell(row, at)).collect();
                Ok(cells?.join(" "))
            };
            let rows = query.query_map([], read).expect("rows");
            lines.extend(rows.map(|row| row.expect("a row")));
        }
        Self(lines)
    }
}

fn all(
    store: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<(String, Fields)>,
) -> BTreeMap<String, Fields> {
    let mut query = store.prepare(sql).expect("a query");
    let rows = query.query_map([], read).expect("rows");
    rows.map(|row| row.expect("a row")).collect()
}

fn cell(row: &Row<'_>, at: usize) -> rusqlite::Result<String> {
    Ok(match row.get(at)? {
        Cell::Null => String::new(),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => number.to_string(),
        Cell::Text(text) => text,
        Cell::Blob(bytes) => format!("{bytes:?}"),
    })
}

fn key(uniqueid: &Value, lead: &Value) -> String {
    format!("{} of lead {}", plain(uniqueid), plain(lead))
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The simulator's numbers are American.
fn e164(number: &str) -> String {
    format!("+1{number}")
}
