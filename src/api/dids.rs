//! `GET /api/v1/dids` and `GET /api/v1/dids/{phone}/stats`: the DIDs' numbers.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;

use super::answer::{BadFields, refusal, store_failed, tagged};
use super::ask::{Parameters, sealed};
use super::{Api, moment};
use crate::ledger::{Counters, percent, share};
use crate::store::{DidRow, Filter, KeyHolder, Split, SqlStore, StoreError};

/// How often it happened.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Numbers {
    /// Dial attempts.
    dials: i64,
    /// Counted calls; each is in one of the eight classes below.
    total_calls: i64,
    successful_calls: i64,
    answered: i64,
    machine: i64,
    no_answer: i64,
    busy: i64,
    dropped: i64,
    failed: i64,
    blocked: i64,
    other: i64,
    /// Calls whose disposition is a do-not-call.
    dnc: i64,
    talk_seconds: i64,
    /// Percent of the calls; null without calls.
    success_rate: Option<f64>,
    /// Percent of the calls; null without calls.
    answer_rate: Option<f64>,
    /// Percent of the calls; null without calls.
    block_rate: Option<f64>,
    /// Seconds an answered call; null without one.
    average_talk_seconds: Option<f64>,
}

/// A DID with its numbers of all time.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Did {
    did_id: i64,
    /// E.164 where it is valid, else its digits.
    phone_number: String,
    status: String,
    /// observed, imported or reported.
    origin: String,
    /// RFC 3339, UTC.
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    last_call_at: Option<String>,
    #[schema(format = DateTime)]
    last_dial_at: Option<String>,
    numbers: Numbers,
}

/// A page of DIDs.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Dids {
    success: bool,
    data: Vec<Did>,
    /// The `cursor` of the next page; null at the end.
    next_cursor: Option<String>,
}

/// The numbers of one day, campaign or disposition.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct Part {
    /// The day in the dialer's zone, the campaign or the disposition; empty for dials,
    /// of which no log tells either.
    name: String,
    #[serde(flatten)]
    numbers: Numbers,
}

/// A DID's numbers.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stats {
    phone_number: String,
    /// From when on it was counted; null: of all time. RFC 3339, UTC.
    #[schema(format = DateTime)]
    since: Option<String>,
    total: Numbers,
    by_day: Vec<Part>,
    by_campaign: Vec<Part>,
    /// Counted from the calls that retention has left.
    by_disposition: Vec<Part>,
}

/// The answer with them.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct StatsAnswer {
    success: bool,
    data: Stats,
}

impl From<Counters> for Numbers {
    fn from(counters: Counters) -> Self {
        let Counters {
            dials,
            total_calls,
            successful_calls,
            answered,
            machine,
            no_answer,
            busy,
            dropped,
            failed,
            blocked,
            other,
            dnc,
            talk_seconds,
        } = counters;
        let percent = |part| percent(part, total_calls);
        Self {
            dials,
            total_calls,
            successful_calls,
            answered,
            machine,
            no_answer,
            busy,
            dropped,
            failed,
            blocked,
            other,
            dnc,
            talk_seconds,
            success_rate: percent(successful_calls),
            answer_rate: percent(answered),
            block_rate: percent(blocked),
            average_talk_seconds: share(talk_seconds, answered),
        }
    }
}

impl From<DidRow> for Did {
    fn from(row: DidRow) -> Self {
        Self {
            did_id: row.id,
            phone_number: row.phone_number,
            status: row.status,
            origin: row.origin,
            created_at: moment(row.created_at),
            last_call_at: row.last_call_at.map(moment),
            last_dial_at: row.last_dial_at.map(moment),
            numbers: row.counters.into(),
        }
    }
}

/// The DIDs of the key's tenant, in the order of their numbers.
#[utoipa::path(
    get,
    path = "/api/v1/dids",
    operation_id = "listDids",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "DIDs of a page; 100"),
        ("cursor" = Option<String>, Query, description = "The nextCursor of the page before"),
    ),
    responses(
        (status = 200, description = "A page of DIDs", body = Dids, links(
            ("next" = (operation_id = "listDids", parameters(("cursor" = "$response.body#/nextCursor")))),
            ("stats" = (operation_id = "didStats", parameters(("phone" = "$response.body#/data/0/phoneNumber")))),
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
    let mut asked = Parameters::of(&uri, &["limit", "cursor"]);
    let (behind, rows_max) = (asked.behind(), asked.limit());
    if let Err(refused) = asked.bad.done() {
        return *refused;
    }
    let _turn = match api.turn(&holder).await {
        Ok(turn) => turn,
        Err(refused) => return refused,
    };
    let page = store.did_page(&holder.tenant, behind.as_deref(), rows_max);
    match page.await {
        Ok(page) => {
            let dids = Dids {
                success: true,
                next_cursor: page.next.as_deref().map(sealed),
                data: page.dids.into_iter().map(Did::from).collect(),
            };
            tagged(&headers, &dids)
        }
        Err(error) => store_failed(&error),
    }
}

/// One DID's numbers, of all time or since a time.
#[utoipa::path(
    get,
    path = "/api/v1/dids/{phone}/stats",
    operation_id = "didStats",
    params(
        ("phone" = String, Path, description = "The DID, in any form", example = "+12125550100"),
        ("since" = Option<String>, Query, description = "Only calls and dials from then on: RFC 3339, or seconds since 1970"),
    ),
    responses(
        (status = 200, description = "The numbers", body = StatsAnswer),
        (status = 304, description = "As the client has it, by its If-None-Match"),
        (status = 400, description = "Parameters that are not understood", body = super::openapi::Refusal),
        (status = 401, description = "No valid key", body = super::openapi::Refusal),
        (status = 404, description = "DID not found", body = super::openapi::Refusal),
        (status = 429, description = "Too many requests", body = super::openapi::Refusal),
        (status = 503, description = "The store is away", body = super::openapi::Refusal),
    ),
    security(("key" = []), ("bearer" = [])),
)]
pub(super) async fn stats(
    State(api): State<Api>,
    Extension(holder): Extension<Arc<KeyHolder>>,
    Extension(store): Extension<SqlStore>,
    phone: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let mut asked = Parameters::of(&uri, &["since"]);
    let since = asked.time("since");
    // What is no text is no number either.
    let phone = phone.map(|Path(phone)| phone).unwrap_or_default();
    let did = named(&api, &phone, &mut asked.bad);
    if let Err(refused) = asked.bad.done() {
        return *refused;
    }
    let _turn = match api.turn(&holder).await {
        Ok(turn) => turn,
        Err(refused) => return refused,
    };
    let named = (phone.as_str(), did.as_deref());
    match read(&store, &holder.tenant, named, since).await {
        Ok(Some(data)) => tagged(
            &headers,
            &StatsAnswer {
                success: true,
                data,
            },
        ),
        Ok(None) => refusal(StatusCode::NOT_FOUND, "DID not found"),
        Err(error) => store_failed(&error),
    }
}

fn named(api: &Api, phone: &str, bad: &mut BadFields) -> Option<String> {
    let number = api.phones().normalise(phone);
    bad.take(
        "phone",
        number.ok_or_else(|| "expected a phone number".to_owned()),
    )
}

async fn read(
    store: &SqlStore,
    tenant: &str,
    (said, normal): (&str, Option<&str>),
    since: Option<i64>,
) -> Result<Option<Stats>, StoreError> {
    let Some(row) = store.did_named(tenant, said, normal).await? else {
        return Ok(None);
    };
    let filter = Filter {
        did: Some(row.phone_number.clone()),
        since,
        rows_max: None,
    };
    let split = async |by| {
        let split = store.split(Some(tenant), &filter, by).await?;
        Ok::<_, StoreError>(split)
    };
    let days = split(Split::Day).await?;
    let mut total = Counters::default();
    for (_, counters) in &days {
        total += *counters;
    }
    let parts = |split: Vec<(String, Counters)>| -> Vec<Part> {
        let part = |(name, counters): (String, Counters)| Part {
            name,
            numbers: counters.into(),
        };
        split.into_iter().map(part).collect()
    };
    Ok(Some(Stats {
        phone_number: row.phone_number,
        since: since.map(moment),
        total: match since {
            None => row.counters.into(),
            Some(_) => total.into(),
        },
        by_day: parts(days),
        by_campaign: parts(split(Split::Campaign).await?),
        by_disposition: parts(split(Split::Disposition).await?),
    }))
}
