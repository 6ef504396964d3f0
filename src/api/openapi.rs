//! `GET /api/v1/openapi.json`: what the API takes and answers, as OpenAPI 3.1, made
//! from the code.

use std::sync::OnceLock;

use axum::http::HeaderMap;
use axum::response::Response;
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};

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
    modifiers(&Keys)
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

/// This document; no key is needed.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)),
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
