//! Reading the states that a batch needs, in a bounded number of statements.
//!
//! # Why JSON
//! The driver copies every value of every row on SQLite's thread, hands each row
//! over, and frees the copies on ours, all under one lock of SQLite's allocator:
//! 20 microseconds a call. All rows as one text cost a quarter of that.

use serde::Deserialize;
use sqlx::Acquire as _;
use sqlx::sqlite::SqliteConnection;

use crate::ledger::{Attribution, Call, CallKey, Dial, DialKey, Keys, Loaded, Outcome};
use crate::store::sqlite::rows::json_list;

/// A call as a JSON array, in the order of [`CallRow`].
macro_rules! call_json {
    () => {
        "json_array(c.uniqueid, c.lead_id, c.caller_code, d.phone_number, c.attribution, \
         c.phone_number, c.campaign_id, c.agent_id, c.list_id, c.disposition, c.outcome, \
         c.successful, c.dnc, c.counted, c.removed, c.duration_seconds, c.term_reason, \
         c.hangup_cause, c.sip_code, c.sip_reason, c.called_count, c.started_at, c.ended_at, \
         c.day, c.updated_at)"
    };
}

/// A dial as a JSON array, in the order of [`DialRow`].
macro_rules! dial_json {
    () => {
        "json_array(x.caller_code, x.opened_at, x.lead_id, d.phone_number, x.dialed_at, x.day, \
         x.counted, x.uniqueid, x.dial_status, x.hangup_cause, x.sip_code, x.sip_reason, \
         x.reported, x.looked_up)"
    };
}

pub(super) use {call_json, dial_json};

// CROSS JOIN keeps SQLite's planner from any other order than keys first.
const CALLS_BY_UNIQUEID: &str = concat!(
    "SELECT json_group_array(",
    call_json!(),
    ") FROM json_each(?) j CROSS JOIN call_records c ON c.source = ? AND c.uniqueid = j.value \
     LEFT JOIN dids d ON d.id = c.did_id"
);
const CALLS_BY_LEAD: &str = concat!(
    "SELECT json_group_array(",
    call_json!(),
    ") FROM json_each(?) j CROSS JOIN call_records c ON c.source = ? AND c.lead_id = j.value \
     AND c.started_at BETWEEN ? AND ? LEFT JOIN dids d ON d.id = c.did_id"
);
const DIALS_BY_CODE: &str = concat!(
    "SELECT json_group_array(",
    dial_json!(),
    ") FROM json_each(?) j CROSS JOIN dials x ON x.source = ? AND x.caller_code = j.value \
     LEFT JOIN dids d ON d.id = x.did_id"
);
const DIALS_BY_UNIQUEID: &str = concat!(
    "SELECT json_group_array(",
    dial_json!(),
    ") FROM json_each(?) j CROSS JOIN dials x ON x.source = ? AND x.uniqueid = j.value \
     LEFT JOIN dids d ON d.id = x.did_id"
);
const DIALS_BY_LEAD: &str = concat!(
    "SELECT json_group_array(",
    dial_json!(),
    ") FROM json_each(?) j CROSS JOIN dials x ON x.source = ? AND x.lead_id = j.value \
     AND x.dialed_at BETWEEN ? AND ? LEFT JOIN dids d ON d.id = x.did_id"
);
const DIDS: &str = "SELECT d.phone_number FROM json_each(?) j CROSS JOIN dids d \
     ON d.tenant_id = (SELECT id FROM tenants WHERE name = ?) AND d.phone_number = j.value";

/// Loads the keys in one snapshot.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    source: &str,
    tenant: &str,
    keys: &Keys,
) -> Result<Loaded, sqlx::Error> {
    let mut snapshot = connection.begin().await?;
    let mut loaded = Loaded::default();
    if !keys.uniqueids.is_empty() {
        let list = json_list(&keys.uniqueids)?;
        calls(
            &mut snapshot,
            CALLS_BY_UNIQUEID,
            (&list, source, None),
            &mut loaded,
        )
        .await?;
        dials(
            &mut snapshot,
            DIALS_BY_UNIQUEID,
            (&list, source, None),
            &mut loaded,
        )
        .await?;
    }
    if !keys.caller_codes.is_empty() {
        let list = json_list(&keys.caller_codes)?;
        dials(
            &mut snapshot,
            DIALS_BY_CODE,
            (&list, source, None),
            &mut loaded,
        )
        .await?;
    }
    if let (Some(times), false) = (keys.lead_times, keys.lead_ids.is_empty()) {
        let list = json_list(keys.lead_ids.iter().map(|id| id.cast_signed()))?;
        let asked = (list.as_str(), source, Some(times));
        calls(&mut snapshot, CALLS_BY_LEAD, asked, &mut loaded).await?;
        dials(&mut snapshot, DIALS_BY_LEAD, asked, &mut loaded).await?;
    }
    if !keys.dids.is_empty() {
        let found: Vec<String> = sqlx::query_scalar(DIDS)
            .bind(json_list(&keys.dids)?)
            .bind(tenant)
            .fetch_all(&mut *snapshot)
            .await?;
        loaded.dids = found.into_iter().collect();
    }
    snapshot.commit().await?;
    Ok(loaded)
}

/// The list of keys, the source, and the first and last second.
type Asked<'a> = (&'a str, &'a str, Option<(i64, i64)>);

async fn calls(
    connection: &mut SqliteConnection,
    statement: &'static str,
    asked: Asked<'_>,
    loaded: &mut Loaded,
) -> Result<(), sqlx::Error> {
    let text = rows(connection, statement, asked).await?;
    let rows: Vec<CallRow<'_>> = parse(&text)?;
    for row in rows {
        let (key, call) = row.try_into()?;
        loaded.calls.insert(key, call);
    }
    Ok(())
}

async fn dials(
    connection: &mut SqliteConnection,
    statement: &'static str,
    asked: Asked<'_>,
    loaded: &mut Loaded,
) -> Result<(), sqlx::Error> {
    let text = rows(connection, statement, asked).await?;
    let rows: Vec<DialRow> = parse(&text)?;
    loaded
        .dials
        .extend(rows.into_iter().map(<(DialKey, Dial)>::from));
    Ok(())
}

/// All rows found, as one JSON text.
async fn rows(
    connection: &mut SqliteConnection,
    statement: &'static str,
    (list, source, times): Asked<'_>,
) -> Result<String, sqlx::Error> {
    let mut query = sqlx::query_scalar(statement).bind(list).bind(source);
    if let Some((first, last)) = times {
        query = query.bind(first).bind(last);
    }
    query.fetch_one(connection).await
}

fn parse<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, sqlx::Error> {
    serde_json::from_str(text).map_err(|e| sqlx::Error::Decode(Box::new(e)))
}

/// Reads a `call_json!`.
pub(super) fn call(text: &str) -> Result<(CallKey, Call), sqlx::Error> {
    parse::<CallRow<'_>>(text)?.try_into()
}

/// Reads a `dial_json!`.
pub(super) fn dial(text: &str) -> Result<(DialKey, Dial), sqlx::Error> {
    Ok(parse::<DialRow>(text)?.into())
}

/// A value that the store's own writes cannot bring.
fn foreign_value(column: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("`{column}` holds a value that didtail does not write").into())
}

#[derive(Deserialize)]
struct CallRow<'t> {
    uniqueid: String,
    lead_id: i64,
    caller_code: Option<String>,
    did: Option<String>,
    attribution: &'t str,
    phone_number: String,
    campaign_id: String,
    agent_id: String,
    list_id: Option<i64>,
    disposition: String,
    outcome: &'t str,
    successful: u8,
    dnc: u8,
    counted: u8,
    removed: u8,
    duration_seconds: Option<i64>,
    term_reason: String,
    hangup_cause: Option<u16>,
    sip_code: Option<u16>,
    sip_reason: String,
    called_count: Option<u32>,
    started_at: i64,
    ended_at: Option<i64>,
    day: String,
    updated_at: i64,
}

impl TryFrom<CallRow<'_>> for (CallKey, Call) {
    type Error = sqlx::Error;

    fn try_from(row: CallRow<'_>) -> Result<Self, sqlx::Error> {
        let key = CallKey {
            uniqueid: row.uniqueid,
            lead_id: row.lead_id.cast_unsigned(),
        };
        let call = Call {
            caller_code: row.caller_code,
            did: row.did,
            attribution: Attribution::from_name(row.attribution)
                .ok_or_else(|| foreign_value("attribution"))?,
            phone_number: row.phone_number,
            campaign_id: row.campaign_id,
            agent_id: row.agent_id,
            list_id: row.list_id.map(i64::cast_unsigned),
            disposition: row.disposition,
            outcome: Outcome::from_name(row.outcome).ok_or_else(|| foreign_value("outcome"))?,
            successful: row.successful != 0,
            dnc: row.dnc != 0,
            counted: row.counted != 0,
            removed: row.removed != 0,
            duration_seconds: row.duration_seconds,
            term_reason: row.term_reason,
            hangup_cause: row.hangup_cause,
            sip_code: row.sip_code,
            sip_reason: row.sip_reason,
            called_count: row.called_count,
            started_at: row.started_at,
            ended_at: row.ended_at,
            day: row.day,
            updated_at: row.updated_at,
        };
        Ok((key, call))
    }
}

#[derive(Deserialize)]
struct DialRow {
    caller_code: String,
    opened_at: i64,
    lead_id: Option<i64>,
    did: Option<String>,
    dialed_at: i64,
    day: String,
    counted: u8,
    uniqueid: Option<String>,
    dial_status: String,
    hangup_cause: Option<u16>,
    sip_code: Option<u16>,
    sip_reason: String,
    reported: Option<String>,
    looked_up: u8,
}

impl From<DialRow> for (DialKey, Dial) {
    fn from(row: DialRow) -> Self {
        let key = DialKey {
            caller_code: row.caller_code,
            opened_at: row.opened_at,
        };
        let dial = Dial {
            lead_id: row.lead_id.map(i64::cast_unsigned),
            did: row.did,
            reported: row.reported,
            looked_up: row.looked_up != 0,
            dialed_at: row.dialed_at,
            day: row.day,
            counted: row.counted != 0,
            uniqueid: row.uniqueid,
            dial_status: row.dial_status,
            hangup_cause: row.hangup_cause,
            sip_code: row.sip_code,
            sip_reason: row.sip_reason,
        };
        (key, dial)
    }
}
