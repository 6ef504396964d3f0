//! `POST /api/v1/call-results`: the result of a call, by whoever saw it end.
//!
//! # Three kinds of client, as they are
//! The queue's processor posts VICIdial's status. The AGI script at hang-up and the
//! listener of the manager interface post a hangup cause in its place, the one with a
//! time in seconds, the other with an ISO date. So a `disposition` of digits alone is a
//! Q.850 cause; fields that nobody here knows are passed over.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Map, Value};

use super::answer::{BadFields, json, later, refusal, store_away, store_failed};
use super::ask::{Parameters, time};
use super::records::record_id;
use super::{Api, BODY_BYTES_MAX};
use crate::engine::NotKept;
use crate::ledger::named_second;
use crate::store::{ApiKey, KeyHolder, NewPost, PostOutcome, SqlStore};
use crate::vicidial::{Phones, Posted, Said};

/// Longest texts, in characters: with room above VICIdial's own columns.
const NAME_MAX: usize = 64;
const STATUS_MAX: usize = 20;

/// The highest Q.850 cause.
const CAUSE_MAX: i64 = 127;

/// Longest call, in seconds: a week.
const DURATION_MAX: i64 = 7 * 86_400;

/// How far the client's clock may be ahead, in seconds.
const AHEAD_MAX: i64 = 86_400;

/// Longest `Idempotency-Key`, in bytes.
const ONCE_BYTES_MAX: usize = 255;

/// When to come again, in seconds, where too many results wait or are on their way.
const FULL_SECONDS: u64 = 30;
/// As [`FULL_SECONDS`].
const BUSY_SECONDS: u64 = 1;

/// A text, or a number that is taken as one.
#[derive(utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "as CallResult")]
enum Text {
    Text(String),
    Number(f64),
}

/// A whole number, or its digits as a text.
#[derive(utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "as CallResult")]
enum Whole {
    Number(u32),
    Text(String),
}

/// The result of a call. What is optional may also be null or empty; other fields are
/// passed over.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "camelCase", example = json!({
    "uniqueid": "1769850000.1234",
    "phoneNumber": "2025550143",
    "didUsed": "2125550100",
    "disposition": "SALE",
    "duration": 83,
    "campaignId": "SOLAR",
    "agentId": "6001",
    "timestamp": "2026-01-31T09:01:30Z",
}))]
#[expect(
    dead_code,
    reason = "the shape of what is read field by field, for the document"
)]
pub(super) struct CallResult {
    /// Asterisk's, of the channel that the client saw; at most 64 characters.
    uniqueid: Text,
    /// The number that was dialled.
    phone_number: Text,
    /// The DID that the call went out with.
    did_used: Option<Text>,
    /// VICIdial's status, at most 20 characters, or a Q.850 cause.
    disposition: Text,
    /// Seconds, at most a week.
    duration: Option<Whole>,
    /// At most 64 characters.
    campaign_id: Option<Text>,
    /// At most 64 characters.
    agent_id: Option<Text>,
    /// Seconds since 1970, or RFC 3339.
    timestamp: Text,
    /// VICIdial's caller code, V… or M….
    caller_code: Option<Text>,
    /// Q.850, 0 to 127.
    hangup_cause: Option<Whole>,
    /// Asterisk's DIALSTATUS, at most 20 characters.
    dial_status: Option<Text>,
}

/// What was recorded.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Recorded {
    /// Names the call: its source and the uniqueid that was posted.
    record_id: String,
    /// The DID that was given; null without one.
    did_id: Option<i64>,
}

/// The answer with it.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct RecordedAnswer {
    success: bool,
    message: &'static str,
    data: Recorded,
}

/// Records the result of a call, once however often it is posted.
///
/// VICIdial's own word of the call wins where it has one. Whoever is not answered may
/// post again.
#[utoipa::path(
    post,
    path = "/api/v1/call-results",
    operation_id = "postCallResult",
    params(
        ("source" = Option<String>, Query, description = "The VICIdial database that the call is in; needed where the tenant has several"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same for the same result; remembered for a day"),
    ),
    request_body = CallResult,
    responses(
        (status = 200, description = "Call result recorded", body = RecordedAnswer),
        (status = 400, description = "Fields that are not understood, or a call that is older than what retention keeps", body = super::openapi::Refusal),
        (status = 401, description = "No valid key", body = super::openapi::Refusal),
        (status = 404, description = "DID not found", body = super::openapi::Refusal),
        (status = 413, description = "The body is too large", body = super::openapi::Refusal),
        (status = 422, description = "The Idempotency-Key came before, with another body", body = super::openapi::Refusal),
        (status = 429, description = "Too many requests", body = super::openapi::Refusal),
        (status = 503, description = "The store is away, or too many results wait", body = super::openapi::Refusal),
    ),
    security(("key" = []), ("bearer" = [])),
)]
pub(super) async fn post(
    State(api): State<Api>,
    Extension(holder): Extension<Arc<KeyHolder>>,
    Extension(store): Extension<SqlStore>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("the body has more than {BODY_BYTES_MAX} bytes");
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, &message);
        }
        Err(_) => return refusal(StatusCode::BAD_REQUEST, "the body did not come whole"),
    };
    let post = match read(&api, &holder, &uri, &headers, &body) {
        Ok(post) => post,
        Err(refused) => return *refused,
    };
    match api.kept.since(&store, Instant::now()).await {
        Ok(since) if is_passed_over(&post.posted, since) => return too_old(&post.posted),
        Ok(_) => {}
        Err(error) => return store_failed(&error),
    }
    let record_id = record_id(&post.source, &post.posted.uniqueid);
    match api.desk.post(post).await {
        Ok(PostOutcome::Recorded(did_id)) => {
            let answer = RecordedAnswer {
                success: true,
                message: "Call result recorded",
                data: Recorded { record_id, did_id },
            };
            json(StatusCode::OK, &answer)
        }
        Ok(PostOutcome::UnknownDid) => refusal(StatusCode::NOT_FOUND, "DID not found"),
        Ok(PostOutcome::OtherBody) => refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            "this Idempotency-Key came before with another result",
        ),
        Ok(PostOutcome::Full) => later(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many results wait for their source; nothing was recorded, come again",
            FULL_SECONDS,
        ),
        Err(NotKept::Busy) => later(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many results are on their way; nothing was recorded, come again",
            BUSY_SECONDS,
        ),
        Err(NotKept::Away) => store_away(),
    }
}

/// Whether the call began before what retention keeps.
fn is_passed_over(posted: &Posted, since: Option<i64>) -> bool {
    let began = named_second(&posted.uniqueid).unwrap_or(posted.at);
    since.is_some_and(|since| began < since)
}

fn too_old(posted: &Posted) -> Response {
    let field = match named_second(&posted.uniqueid) {
        Some(_) => "uniqueid",
        None => "timestamp",
    };
    let mut bad = BadFields::default();
    bad.add(field, "the call is older than what [retention] keeps");
    bad.refusal()
}

/// Reads a request whole, so that every bad field is named.
fn read(
    api: &Api,
    holder: &KeyHolder,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<NewPost, Box<Response>> {
    let mut asked = Parameters::of(uri, &["source"]);
    let named = asked.text("source");
    let mut bad = asked.bad;
    let own: Vec<&str> = api.desk.sources_of(&holder.tenant).collect();
    let source = source(&own, named.as_deref());
    let source = bad.take("source", source);
    let once = bad.take("Idempotency-Key", once(headers));
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        bad.add("body", "expected a JSON object");
        return Err(Box::new(bad.refusal()));
    };
    let posted = posted(fields, &mut api.phones(), api.vitals.now(), &mut bad);
    bad.done()?;
    let source = source.unwrap_or_default();
    let body_hash = |source: &str| {
        let text = format!("{source}\n{}", String::from_utf8_lossy(body));
        ApiKey::hash_of(&text)
    };
    let once = once.flatten();
    Ok(NewPost {
        tenant: holder.tenant.clone(),
        once: once.map(|key| (ApiKey::hash_of(&key), body_hash(&source))),
        source,
        posted,
    })
}

/// Which of the tenant's sources a call is in.
fn source(own: &[&str], named: Option<&str>) -> Result<String, String> {
    let listed = own.join(", ");
    match (own, named) {
        ([], _) => Err("no source of this key's tenant is in the configuration".to_owned()),
        (_, Some(named)) if own.contains(&named) => Ok(named.to_owned()),
        (_, Some(_)) => Err(format!("no such source: there are {listed}")),
        ([only], None) => Ok((*only).to_owned()),
        (_, None) => Err(format!("needed, as ?source=NAME: there are {listed}")),
    }
}

fn once(headers: &HeaderMap) -> Result<Option<String>, String> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().ok().map(str::trim);
    let key = key.filter(|key| !key.is_empty() && key.len() <= ONCE_BYTES_MAX);
    key.map(|key| Some(key.to_owned()))
        .ok_or_else(|| format!("expected 1 to {ONCE_BYTES_MAX} visible characters"))
}

/// What a body says, as far as it is good.
fn posted(
    fields: Map<String, Value>,
    phones: &mut Phones,
    now: i64,
    bad: &mut BadFields,
) -> Posted {
    let mut body = Body { fields, bad };
    let number = |text: &str, phones: &mut Phones| {
        let number = phones.normalise(text);
        number.ok_or_else(|| "expected a phone number".to_owned())
    };
    let at = body.needed("timestamp", |text| moment(text, now));
    let at = at.unwrap_or(now);
    let uniqueid = body.needed("uniqueid", |text| uniqueid(text, now));
    let phone_number = body.needed("phoneNumber", |text| number(text, phones));
    let did = body.given("didUsed", |text| number(text, phones));
    let disposition = body.needed("disposition", disposition);
    let duration = body.given("duration", |text| whole(text, DURATION_MAX));
    let campaign_id = body.given("campaignId", |text| name(text, NAME_MAX));
    let agent_id = body.given("agentId", |text| name(text, NAME_MAX));
    let caller_code = body.given("callerCode", |text| name(text, NAME_MAX));
    let cause = body.given("hangupCause", |text| whole(text, CAUSE_MAX));
    let dial_status = body.given("dialStatus", |text| name(text, STATUS_MAX));
    let (status, of_disposition) = match disposition {
        Some(Disposition::Status(status)) => (Some(status), None),
        Some(Disposition::Cause(cause)) => (None, Some(cause)),
        None => (None, None),
    };
    let cause = cause.or(of_disposition);
    let cause = cause.and_then(|cause| u16::try_from(cause).ok());
    Posted {
        uniqueid: uniqueid.unwrap_or_default(),
        caller_code,
        at,
        said: Said {
            first_at: Some(at),
            did: did.map(|did| (at, did)),
            phone_number: phone_number.map(|number| (at, number)),
            status: status.map(|status| (at, status)),
            hangup_cause: cause.map(|cause| (at, cause)),
            dial_status: dial_status.map(|status| (at, status)),
            duration: duration.map(|seconds| (at, seconds)),
            campaign_id: campaign_id.map(|campaign| (at, campaign)),
            agent_id: agent_id.map(|agent| (at, agent)),
        },
    }
}

/// The fields of a body, each taken once.
struct Body<'b> {
    fields: Map<String, Value>,
    bad: &'b mut BadFields,
}

impl Body<'_> {
    /// A field that may be absent, null or empty.
    fn given<T>(&mut self, field: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = match self.fields.remove(field)? {
            Value::Null => return None,
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                self.bad.add(field, "expected a text or a number");
                return None;
            }
        };
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        self.bad.take(field, read(text))
    }

    /// One that must be there.
    fn needed<T>(
        &mut self,
        field: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let is_given = match self.fields.get(field) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => !text.trim().is_empty(),
            Some(_) => true,
        };
        if !is_given {
            self.bad.add(field, "needed");
        }
        self.given(field, read)
    }
}

/// Asterisk's, which begins with the second of its channel: that is not ahead.
fn uniqueid(text: &str, now: i64) -> Result<String, String> {
    let named = named_second(text);
    if named.is_some_and(|second| second > now.saturating_add(AHEAD_MAX)) {
        return Err("names a time more than a day ahead of this clock".to_owned());
    }
    name(text, NAME_MAX)
}

enum Disposition {
    Status(String),
    Cause(i64),
}

fn disposition(text: &str) -> Result<Disposition, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return whole(text, CAUSE_MAX).map(Disposition::Cause);
    }
    name(text, STATUS_MAX).map(Disposition::Status)
}

/// One line of text that is not too long.
fn name(text: &str, chars_max: usize) -> Result<String, String> {
    let is_good = text.chars().count() <= chars_max && !text.chars().any(char::is_control);
    if is_good {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "expected one line of at most {chars_max} characters"
        ))
    }
}

/// A number from 0 on.
fn whole(text: &str, max: i64) -> Result<i64, String> {
    let number = text.parse().ok();
    number
        .filter(|number| (0..=max).contains(number))
        .ok_or_else(|| format!("expected a whole number from 0 to {max}"))
}

/// A time, also in seconds with a fraction, that is not ahead.
fn moment(text: &str, now: i64) -> Result<i64, String> {
    let at = match text.split_once('.') {
        Some((seconds, part)) if part.bytes().all(|byte| byte.is_ascii_digit()) => time(seconds),
        Some(_) | None => time(text),
    }?;
    if at > now.saturating_add(AHEAD_MAX) {
        return Err("more than a day ahead of this clock".to_owned());
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn read(body: serde_json::Value) -> (Posted, bool) {
        let Value::Object(fields) = body else {
            panic!("an object");
        };
        let mut bad = BadFields::default();
        let mut phones = Phones::new("US").expect("known");
        let posted = posted(fields, &mut phones, NOW, &mut bad);
        (posted, bad.done().is_ok())
    }

    #[test]
    fn the_three_clients_are_understood_as_they_are() {
        let (queue, is_good) = read(serde_json::json!({
            "uniqueid": "1700000000.123", "phoneNumber": "2025550143", "disposition": "SALE",
            "duration": 83, "campaignId": "SOLAR", "agentId": "6001", "timestamp": 1_700_000_090,
        }));
        assert!(is_good);
        assert_eq!(queue.said.status, Some((1_700_000_090, "SALE".to_owned())));
        assert_eq!(queue.said.did, None);
        let (agi, is_good) = read(serde_json::json!({
            "uniqueid": "1700000000.123", "phoneNumber": "2025550143", "disposition": "16",
            "didUsed": "2025550100", "duration": "83", "timestamp": "1700000090",
            "callerCode": "V1114221320000012345", "dialStatus": "ANSWER",
        }));
        assert!(is_good);
        assert_eq!(agi.said.status, None);
        assert_eq!(agi.said.hangup_cause, Some((1_700_000_090, 16)));
        assert_eq!(
            agi.said.did,
            Some((1_700_000_090, "+12025550100".to_owned()))
        );
        let (ami, is_good) = read(serde_json::json!({
            "uniqueid": "1700000000.123", "phoneNumber": "+1 202 555 0143", "disposition": 17,
            "timestamp": "2023-11-14T22:14:50.250Z", "event": "Hangup",
        }));
        assert!(is_good);
        assert_eq!(ami.at, 1_700_000_090);
        assert_eq!(ami.said.hangup_cause, Some((1_700_000_090, 17)));
        assert_eq!(ami.said.phone_number, queue.said.phone_number);
    }

    #[test]
    fn bad_fields_are_bad() {
        let good = serde_json::json!({
            "uniqueid": "1.1", "phoneNumber": "2025550143", "disposition": "NI", "timestamp": 1,
        });
        assert!(read(good.clone()).1);
        for (field, value) in [
            ("uniqueid", serde_json::json!("")),
            ("uniqueid", serde_json::json!("a\u{0}b")),
            ("uniqueid", serde_json::json!("x".repeat(65))),
            ("phoneNumber", serde_json::json!("nobody")),
            ("phoneNumber", serde_json::json!([1])),
            ("didUsed", serde_json::json!("none")),
            ("disposition", serde_json::Value::Null),
            ("disposition", serde_json::json!("128")),
            ("duration", serde_json::json!(-1)),
            ("duration", serde_json::json!(1.5)),
            ("timestamp", serde_json::json!("yesterday")),
            ("timestamp", serde_json::json!(NOW + 86_401)),
            ("timestamp", serde_json::json!(1_700_000_090_000_i64)),
            ("hangupCause", serde_json::json!(200)),
            ("agentId", serde_json::json!({})),
        ] {
            let mut body = good.clone();
            body[field] = value.clone();
            assert!(!read(body).1, "{field} {value}");
        }
    }
}
