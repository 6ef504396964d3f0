//! `GET /api/v1/openapi.json`: what the API takes and answers, as OpenAPI 3.1, made
//! from the code.

use std::sync::OnceLock;

use axum::http::HeaderMap;
use axum::response::Response;
use utoipa::OpenApi;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::schema::{Object, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{RefOr, Response as Told};

use super::answer::tagged;

/// Why a request was refused, as `answer` makes it.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(super) struct Refusal {
    /// Always false.
    success: bool,
    message: String,
    /// What is wrong with each bad field, by its name; where fields are bad.
    errors: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "didtail",
        description = "Call records and per-DID numbers of a VICIdial call center. \
                       A key is made with `didtail api-key create`."
    ),
    paths(
        super::results::post,
        super::records::list,
        super::dids::list,
        super::dids::stats,
        document,
    ),
    modifiers(&Keys, &Headers)
)]
struct Document;

struct Keys;

impl utoipa::Modify for Keys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let own = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-api-key")));
        components.add_security_scheme("key", own);
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("bearer", bearer);
    }
}

/// The document.
pub(super) fn document_now() -> &'static serde_json::Value {
    static DOCUMENT: OnceLock<serde_json::Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::to_value(Document::openapi()).unwrap_or_default())
}

/// What a client goes by beside the text of an answer.
struct Headers;

impl utoipa::Modify for Headers {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for path in document.paths.paths.values_mut() {
            let operations = [path.get.as_mut(), path.post.as_mut()];
            for operation in operations.into_iter().flatten() {
                let is_tagged = operation.responses.responses.contains_key("304");
                for (status, told) in &mut operation.responses.responses {
                    if let RefOr::T(told) = told {
                        add_headers(told, status, is_tagged);
                    }
                }
            }
        }
    }
}

fn add_headers(told: &mut Told, status: &str, is_tagged: bool) {
    let header = |kind, description: &str| -> Header {
        let schema = Object::with_type(kind);
        let header = HeaderBuilder::new().schema(Some(schema));
        header.description(Some(description)).build()
    };
    let (name, header) = match status {
        "200" | "304" if is_tagged => {
            let description = "Send it back as If-None-Match: 304 where nothing has changed";
            ("ETag", header(Type::String, description))
        }
        "401" => (
            "WWW-Authenticate",
            header(Type::String, "Bearer; x-api-key serves as well"),
        ),
        "429" | "503" => (
            "Retry-After",
            header(Type::Integer, "When to come again, in seconds"),
        ),
        _ => return,
    };
    told.headers.insert(name.to_owned(), RefOr::T(header));
}

/// This document; no key is needed.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    operation_id = "openapi",
    responses(
        (status = 200, description = "OpenAPI 3.1", body = serde_json::Value),
        (status = 304, description = "As the client has it, by its If-None-Match"),
    ),
)]
pub(super) async fn document(headers: HeaderMap) -> Response {
    tagged(&headers, document_now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_in_the_document() {
        let document = document_now();
        assert!(
            document["openapi"]
                .as_str()
                .is_some_and(|version| version.starts_with("3.1")),
            "{document}"
        );
        let paths = document["paths"].as_object().expect("paths");
        let mut documented = std::collections::BTreeSet::new();
        for (path, methods) in paths {
            for (method, operation) in methods.as_object().expect("methods") {
                documented.insert((method.to_uppercase(), path.clone()));
                let needs_key = operation["security"].is_array();
                assert_eq!(needs_key, path != super::super::OPENAPI, "{path}");
                assert!(
                    operation["summary"].is_string() || operation["description"].is_string(),
                    "{path}"
                );
            }
        }
        let routes = super::super::ROUTES.iter();
        let routes = routes.map(|(method, path)| ((*method).to_owned(), (*path).to_owned()));
        assert_eq!(documented, routes.collect());
    }
}
