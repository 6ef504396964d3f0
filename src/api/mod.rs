//! What the daemon answers over HTTP: how it is, and what is in the store.
//!
//! Nothing listens unless `[api] listen` says where. Whoever can reach the address
//! may read `/healthz`, `/readyz`, `/metrics` and the document about the API: counts,
//! positions and errors, and never a phone number. What is below `/api/v1` is for who
//! has a key; the key says whose numbers, and no other tenant's are ever read.
//!
//! # Limits
//! A client can keep one of a bounded number of connections for a bounded time, send
//! a bounded head and a bounded body, and ask so often (`limits`). Few requests at a
//! time read the store, so that the engine always finds a connection to it.

mod answer;
mod ask;
mod dashboard;
mod dids;
mod error;
mod health;
mod kept;
mod keys;
mod limits;
mod listen;
mod metrics;
mod openapi;
mod records;
mod results;
mod stall;
#[cfg(test)]
mod tests;
mod turns;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use tokio::time::timeout;

use crate::engine::{Desk, Vitals};
use crate::store::KeyHolder;
use crate::vicidial::Phones;

use self::answer::{later, refusal};
use self::dashboard::{Boards, Courses, Sessions};
use self::kept::Kept;
use self::keys::Keys;
use self::limits::Limits;
use self::turns::{TooMany, Turn, Turns};

pub use error::ApiError;
pub use health::{Condition, Report, SourceReport};
pub use listen::{Server, Tls};
pub use metrics::{NAMES, exposition};

/// How long an answer may take to be made.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of the body of a request.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What every answer is made with. Clones share it.
#[derive(Clone, Debug)]
struct Api(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    vitals: Arc<Vitals>,
    desk: Arc<Desk>,
    tls: Option<Tls>,
    keys: Keys,
    limits: Limits,
    kept: Kept,
    sessions: Sessions,
    boards: Boards,
    courses: Courses,
    phones: Mutex<Phones>,
    turns: Turns,
}

impl std::ops::Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Api {
    fn new(vitals: Arc<Vitals>, desk: Arc<Desk>, tls: Option<Tls>) -> Result<Self, ApiError> {
        let phones = Phones::new(desk.country()).ok_or(ApiError::Country)?;
        Ok(Self(Arc::new(Shared {
            vitals,
            desk,
            tls,
            keys: Keys::new(),
            limits: Limits::new(),
            kept: Kept::default(),
            sessions: Sessions::new(),
            boards: Boards::new(),
            courses: Courses::default(),
            phones: Mutex::new(phones),
            turns: Turns::new(),
        })))
    }
}

impl Shared {
    /// What knows the one form of a number.
    fn phones(&self) -> MutexGuard<'_, Phones> {
        self.phones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is the tenant's turn to read the store.
    ///
    /// # Errors
    /// A refusal where too many of its reads wait.
    async fn turn(&self, holder: &KeyHolder) -> Result<Turn<'_>, Response> {
        let turn = self.turns.turn(&holder.tenant).await;
        turn.map_err(|TooMany| {
            let message = "too many reads of this tenant at once; come again later";
            later(StatusCode::TOO_MANY_REQUESTS, message, 1)
        })
    }
}

impl FromRef<Api> for Arc<Vitals> {
    fn from_ref(api: &Api) -> Self {
        Self::clone(&api.vitals)
    }
}

/// The path of the document about all others.
const OPENAPI: &str = "/api/v1/openapi.json";

/// Every route of the API, by method.
#[cfg(test)]
const ROUTES: [(&str, &str); 5] = [
    ("POST", "/api/v1/call-results"),
    ("GET", "/api/v1/call-records"),
    ("GET", "/api/v1/dids"),
    ("GET", "/api/v1/dids/{phone}/stats"),
    ("GET", OPENAPI),
];

fn router(api: Api) -> Router {
    let with_key = Router::new()
        .route("/api/v1/call-results", axum::routing::post(results::post))
        .route("/api/v1/call-records", get(records::list))
        .route("/api/v1/dids", get(dids::list))
        .route("/api/v1/dids/{phone}/stats", get(dids::stats))
        .route_layer(from_fn_with_state(api.clone(), keys::demand));
    Router::new()
        .route("/healthz", get(health::health))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .route(OPENAPI, get(openapi::document))
        .merge(with_key)
        .merge(dashboard::routes(&api))
        .fallback(nowhere)
        .method_not_allowed_fallback(async || {
            refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not take this method",
            )
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(guard))
        .with_state(api)
}

/// What there is where nothing is: a page for who looks at pages.
async fn nowhere(asked: HeaderMap) -> Response {
    let accepted = asked.get(header::ACCEPT);
    let is_browser = accepted.is_some_and(|kinds| {
        let kinds = kinds.to_str().unwrap_or_default();
        kinds.contains("text/html")
    });
    match is_browser {
        true => dashboard::no_page(),
        false => refusal(StatusCode::NOT_FOUND, "no such path"),
    }
}

/// A time as answers have it: RFC 3339, UTC.
fn moment(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(at) => at.to_string(),
        // No clock says so.
        Err(_) => seconds.to_string(),
    }
}

/// Bounds the time of an answer, and keeps it out of caches.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = match timeout(ANSWER_PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => later(
            StatusCode::SERVICE_UNAVAILABLE,
            "the answer took too long; come again",
            1,
        ),
    };
    let headers = response.headers_mut();
    let no_store = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
