//! Compares the store with what the source itself says.

use std::collections::BTreeMap;

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, Row};
use serde_json::Value;

/// Differences told; more tell nothing new.
const DIFFERENCES_MAX: usize = 20;

/// What is compared of a call or of a counter's key, by name.
type Fields = BTreeMap<&'static str, String>;

/// A call's fields: in the truth, and in the store.
const CALL: [(&str, &str); 20] = [
    ("status", "disposition"),
    ("length_in_sec", "duration_seconds"),
    ("campaign_id", "campaign_id"),
    ("list_id", "list_id"),
    ("user", "agent_id"),
    ("phone_number", "c.phone_number"),
    ("started_at", "started_at"),
    ("end_epoch", "ended_at"),
    ("term_reason", "term_reason"),
    ("called_count", "called_count"),
    ("did", "ifnull(d.phone_number, '')"),
    ("day", "day"),
    ("hangup_cause", "hangup_cause"),
    ("sip_code", "sip_code"),
    ("sip_reason", "sip_reason"),
    ("dnc", "dnc"),
    ("successful", "successful"),
    ("counted", "counted"),
    ("outcome", "outcome"),
    ("code", "ifnull(caller_code, '')"),
];

/// The counters, as both sides call them.
const COUNTERS: [&str; 13] = [
    "dials",
    "total_calls",
    "successful_calls",
    "answered",
    "machine",
    "no_answer",
    "busy",
    "dropped",
    "failed",
    "blocked",
    "other",
    "dnc",
    "talk_seconds",
];

/// Everything in which the store differs from the source, in words.
pub fn differences(truth: &Value, store: &Connection) -> Vec<String> {
    let mut found = Vec::new();
    compare("call", &true_calls(truth), &stored_calls(store), &mut found);
    let dids = true_counters(&truth["dids"], &["last_call_at", "last_dial_at"]);
    compare("DID", &dids, &stored_dids(store), &mut found);
    let daily = true_counters(&truth["daily"], &[]);
    compare("day of DID", &daily, &stored_days(store), &mut found);
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
            // Where two calls share a uniqueid, one side may have seen a code
            // that the other has not. The DID is compared all the same.
            let is_unseen = *name == "code" && (expected.is_empty() || actual.is_empty());
            if actual != expected && !is_unseen {
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
            let field = |name: &'static str| {
                let value = plain(&call[name]);
                let is_number = ["did", "phone_number"].contains(&name) && !value.is_empty();
                (name, if is_number { e164(&value) } else { value })
            };
            let fields = CALL.map(|(name, _)| field(name)).into_iter().collect();
            (key(&call["uniqueid"], &call["lead_id"]), fields)
        })
        .collect()
}

fn stored_calls(store: &Connection) -> BTreeMap<String, Fields> {
    let columns = CALL.map(|(_, column)| column).join(", ");
    let calls = format!(
        "SELECT uniqueid || ' of lead ' || lead_id, {columns} \
         FROM call_records c LEFT JOIN dids d ON d.id = c.did_id WHERE NOT removed"
    );
    all(store, &calls, &CALL.map(|(name, _)| name))
}

fn true_counters(truth: &Value, more: &[&'static str]) -> BTreeMap<String, Fields> {
    let rows = truth.as_array().expect("counters").iter();
    rows.map(|row| {
        let names = COUNTERS.iter().chain(more);
        let fields = names.map(|name| (*name, plain(&row[*name]))).collect();
        let key = [
            e164(&plain(&row["did"])),
            plain(&row["day"]),
            plain(&row["campaign_id"]),
        ];
        (key.join(" ").trim().to_owned(), fields)
    })
    .collect()
}

fn stored_dids(store: &Connection) -> BTreeMap<String, Fields> {
    let names = [&COUNTERS[..], &["last_call_at", "last_dial_at"]].concat();
    let columns = names.join(", s.");
    let dids = format!(
        "SELECT d.phone_number, s.{columns} FROM did_stats s JOIN dids d ON d.id = s.did_id"
    );
    all(store, &dids, &names)
}

fn stored_days(store: &Connection) -> BTreeMap<String, Fields> {
    let columns = COUNTERS.join(", s.");
    let days = format!(
        "SELECT trim(d.phone_number || ' ' || s.day || ' ' || s.campaign_id), s.{columns} \
         FROM did_daily_stats s JOIN dids d ON d.id = s.did_id"
    );
    all(store, &days, &COUNTERS)
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

/// Rows by their first column, with names for the others.
fn all(store: &Connection, sql: &str, names: &[&'static str]) -> BTreeMap<String, Fields> {
    let mut query = store.prepare(sql).expect("a query");
    let read = |row: &Row<'_>| {
        let fields = names.iter().enumerate();
        let fields: rusqlite::Result<Fields> = fields
            .map(|(at, name)| Ok((*name, cell(row, at + 1)?)))
            .collect();
        Ok((cell(row, 0)?, fields?))
    };
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

/// The simulator's numbers are American; what is none keeps its digits.
fn e164(number: &str) -> String {
    match number.len() {
        10 if !number.starts_with('0') => format!("+1{number}"),
        _ => number.to_owned(),
    }
}
