//! `GET /api/v1/call-records`: calls, the newest first.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;

use super::answer::{store_failed, tagged};
use super::ask::{Parameters, sealed_mark};
use super::{Api, moment};
use crate::ledger::{Attribution, Outcome};
use crate::store::{CallRecord, KeyHolder, RecordQuery, SqlStore};

/// One call.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    /// Names the call: its source and uniqueid.
    record_id: String,
    /// The VICIdial database that it is in.
    source: String,
    /// Asterisk's.
    uniqueid: String,
    /// VICIdial's; null where only a posted result tells of the call.
    lead_id: Option<u64>,
    /// VICIdial's name of the dial attempt.
    caller_code: Option<String>,
    /// The DID that was dialled from, E.164 where it is valid.
    did: Option<String>,
    /// How the DID is known: none, lead, caller_code or reported.
    #[schema(value_type = String)]
    attribution: Attribution,
    /// The number that was dialled.
    phone_number: String,
    campaign_id: String,
    agent_id: String,
    list_id: Option<u64>,
    /// VICIdial's status as it is now.
    disposition: String,
    /// answered, machine, no_answer, busy, dropped, failed, blocked or other.
    #[schema(value_type = String)]
    outcome: Outcome,
    successful: bool,
    /// False while the call goes on: it is in no number yet.
    counted: bool,
    /// Seconds.
    duration: Option<i64>,
    term_reason: String,
    /// Q.850.
    hangup_cause: Option<u16>,
    sip_code: Option<u16>,
    sip_reason: String,
    called_count: Option<u32>,
    /// RFC 3339, UTC.
    #[schema(format = DateTime)]
    started_at: String,
    #[schema(format = DateTime)]
    ended_at: Option<String>,
    #[schema(format = DateTime)]
    updated_at: String,
}

/// A page of calls.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Records {
    success: bool,
    data: Vec<Record>,
    /// The `cursor` of the next page; null at the end.
    next_cursor: Option<String>,
}

/// The name of a call in answers.
pub(super) fn record_id(source: &str, uniqueid: &str) -> String {
    format!("{source}:{uniqueid}")
}

impl From<CallRecord> for Record {
    fn from(record: CallRecord) -> Self {
        let CallRecord {
            source, key, call, ..
        } = record;
        Self {
            record_id: record_id(&source, &key.uniqueid),
            source,
            uniqueid: key.uniqueid,
            lead_id: Some(key.lead_id).filter(|lead| *lead != 0),
            caller_code: call.caller_code,
            did: call.did,
            attribution: call.attribution,
            phone_number: call.phone_number,
            campaign_id: call.campaign_id,
            agent_id: call.agent_id,
            list_id: call.list_id,
            disposition: call.disposition,
            outcome: call.outcome,
            successful: call.successful,
            counted: call.counted,
            duration: call.duration_seconds,
            term_reason: call.term_reason,
            hangup_cause: call.hangup_cause,
            sip_code: call.sip_code,
            sip_reason: call.sip_reason,
            called_count: call.called_count,
            started_at: moment(call.started_at),
            ended_at: call.ended_at.map(moment),
            updated_at: moment(call.updated_at),
        }
    }
}

/// Calls of the key's tenant, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/call-records",
    operation_id = "listCallRecords",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Calls of a page; 100"),
        ("cursor" = Option<String>, Query, description = "The nextCursor of the page before"),
        ("did" = Option<String>, Query, description = "Only calls from this DID", example = "+12125550100"),
        ("campaign" = Option<String>, Query, description = "Only calls of this campaign"),
        ("disposition" = Option<String>, Query, description = "Only calls with this disposition"),
        ("since" = Option<String>, Query, description = "Only calls that began then or later: RFC 3339, or seconds since 1970", example = "2026-01-31T09:00:00Z"),
        ("until" = Option<String>, Query, description = "Only calls that began before: RFC 3339, or seconds since 1970"),
    ),
    responses(
        (status = 200, description = "A page of calls", body = Records, links(
            ("next" = (operation_id = "listCallRecords", parameters(("cursor" = "$response.body#/nextCursor")))),
        )),
        (status = 304, description = "As the client has it, by its If-None-Match"),
        (status = 400, description = "Parameters that are not understood", body = super::openapi::Refusal),
        (status = 401, description = "No valid key", body = super::openapi::Refusal),
        (status = 429, description = "Too many requests", body = super::openapi::Refusal),
        (status = 503, description = "The store is away", body = super::openapi::Refusal),
    ),
    security(("key" = []), ("bearer" = [])),
)]
pub(super) async fn list(
    State(api): State<Api>,
    Extension(holder): Extension<Arc<KeyHolder>>,
    Extension(store): Extension<SqlStore>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    const KNOWN: [&str; 7] = [
        "limit",
        "cursor",
        "did",
        "campaign",
        "disposition",
        "since",
        "until",
    ];
    let mut asked = Parameters::of(&uri, &KNOWN);
    let did = asked.number("did", &mut api.phones());
    let mut query = RecordQuery {
        did: None,
        campaign: asked.text("campaign"),
        disposition: asked.text("disposition"),
        since: asked.time("since"),
        until: asked.time("until"),
        behind: asked.mark(),
        rows_max: asked.limit(),
    };
    if let (Some(since), Some(until)) = (query.since, query.until)
        && since >= until
    {
        asked.bad.add("until", "not behind since");
    }
    if let Err(refused) = asked.bad.done() {
        return *refused;
    }
    let _turn = match api.turn(&holder).await {
        Ok(turn) => turn,
        Err(refused) => return refused,
    };
    let page = async {
        if let Some((said, normal)) = did {
            let named = store.did_named(&holder.tenant, &said, Some(&normal));
            // There are no calls of a DID that is not there.
            query.did = Some(named.await?.map_or(normal, |row| row.phone_number));
        }
        store.call_records(&holder.tenant, &query).await
    };
    match page.await {
        Ok(page) => {
            let records = Records {
                success: true,
                next_cursor: page.next.map(sealed_mark),
                data: page.calls.into_iter().map(Record::from).collect(),
            };
            tagged(&headers, &records)
        }
        Err(error) => store_failed(&error),
    }
}
