//! The forms of an answer: JSON with `success`, what is wrong by field, and a tag by
//! which a client is told that nothing has changed.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ring::digest::{SHA256, digest};

use crate::store::StoreError;
use crate::telemetry::field;

/// Hexadecimal digits of a tag: more than there will ever be different answers.
const TAG_DIGITS: usize = 32;

/// How long a client should wait for a store that is away, in seconds.
pub(super) const STORE_AWAY_SECONDS: u64 = 5;

/// What is wrong with a request, by the name of the field.
#[derive(Debug, Default)]
pub(super) struct BadFields(BTreeMap<String, String>);

impl BadFields {
    /// Notes what is wrong with a field.
    pub(super) fn add(&mut self, field: &str, why: impl Into<String>) {
        self.0.insert(field.to_owned(), why.into());
    }

    /// The value, or a note that the field is wrong.
    pub(super) fn take<T>(&mut self, field: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|why| self.add(field, why)).ok()
    }

    /// Whether none is bad.
    ///
    /// # Errors
    /// The refusal, if there is one.
    pub(super) fn done(self) -> Result<(), Box<Response>> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(Box::new(self.refusal())),
        }
    }

    /// The refusal that names every bad field.
    pub(super) fn refusal(self) -> Response {
        let named: Vec<&str> = self.0.keys().map(String::as_str).collect();
        let document = serde_json::json!({
            "success": false,
            "message": format!("not understood: {}", named.join(", ")),
            "errors": self.0,
        });
        json(StatusCode::BAD_REQUEST, &document)
    }
}

/// A refusal as JSON, in the shape of every answer of the API.
pub(super) fn refusal(status: StatusCode, message: &str) -> Response {
    json(
        status,
        &serde_json::json!({ "success": false, "message": message }),
    )
}

/// A refusal that says when to come again, in seconds.
pub(super) fn later(status: StatusCode, message: &str, seconds: u64) -> Response {
    let mut response = refusal(status, message);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The answer while the store cannot be used.
pub(super) fn store_away() -> Response {
    let message = "the store cannot be used at this moment; nothing was done, come again";
    later(StatusCode::SERVICE_UNAVAILABLE, message, STORE_AWAY_SECONDS)
}

/// The same, where it failed; the log says how.
pub(super) fn store_failed(error: &StoreError) -> Response {
    tell(error);
    store_away()
}

/// Says in the log how the store failed.
pub(super) fn tell(error: &StoreError) {
    tracing::warn!(
        { field::ERROR } = %error,
        { field::CAUSE } = error.cause(),
        "a request over HTTP could not be answered"
    );
}

pub(super) fn json(status: StatusCode, document: &impl serde::Serialize) -> Response {
    match text(document) {
        Some(text) => (status, [(header::CONTENT_TYPE, "application/json")], text).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// 200 with a tag; 304 where the client has the same already. It may keep the answer,
/// for itself, and asks each time whether it still holds.
pub(super) fn tagged(asked: &HeaderMap, document: &impl serde::Serialize) -> Response {
    match text(document) {
        Some(text) => tagged_as(asked, "application/json", text),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The same of a text of any kind.
pub(super) fn tagged_as(asked: &HeaderMap, kind: &'static str, text: String) -> Response {
    let mut digits = hex::encode(digest(&SHA256, text.as_bytes()).as_ref());
    digits.truncate(TAG_DIGITS);
    let tag = format!("\"{digits}\"");
    let known = asked.get_all(header::IF_NONE_MATCH).iter();
    let known = known.filter_map(|value| value.to_str().ok());
    let is_known = known
        .flat_map(|list| list.split(','))
        .any(|one| one.trim().trim_start_matches("W/") == tag);
    let headers = [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        (header::VARY, "x-api-key, authorization".to_owned()),
    ];
    if is_known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let kind = [(header::CONTENT_TYPE, kind)];
    (StatusCode::OK, headers, kind, text).into_response()
}

fn text(document: &impl serde::Serialize) -> Option<String> {
    let mut text = serde_json::to_string(document).ok()?;
    text.push('\n');
    Some(text)
}
