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
mod dids;
mod error;
mod health;
mod keys;
mod limits;
mod metrics;
mod openapi;
mod records;
mod results;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::engine::{Desk, Vitals};
use crate::store::KeyHolder;
use crate::telemetry::{field, spawn_named};
use crate::vicidial::Phones;

use self::answer::{later, refusal};
use self::keys::Keys;
use self::limits::Limits;

pub use error::ApiError;
pub use health::{Condition, Report, SourceReport};
pub use metrics::{NAMES, exposition};

/// Connections at a time, if there are file handles for them; others wait in the
/// system's queue. Those of who says nothing end within [`HEAD_PATIENCE`].
const CONNECTIONS_MAX: usize = 12_000;

/// File handles left to the rest of the daemon: stores, sources, logs.
const HANDLES_LEFT: u64 = 256;

/// Connections at a time where there are few file handles.
const CONNECTIONS_MIN: usize = 64;

/// How long a client may take to send the head of a request, and keep a connection
/// without a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// How long an answer may take to be made.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may last, however busy.
const CONNECTION_MAX: Duration = Duration::from_secs(300);

/// Bytes of the head of a request, and header lines in it.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// Bytes of the body of a request.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Requests that read the store at the same time: fewer than it has connections, which
/// the engine needs too.
const READS_MAX: usize = 2;

/// Reads with one key that run or wait for it.
const READS_OF_KEY_MAX: usize = 16;

/// How long requests under way may take once the daemon has ended.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Pause after a connection that could not be taken, e.g. for want of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A server that answers until it is stopped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens, and answers from now on with what `vitals` say and `desk` has.
    ///
    /// # Errors
    /// [`ApiError`] when the address cannot be listened on.
    pub async fn start(
        listen: SocketAddr,
        vitals: Arc<Vitals>,
        desk: Arc<Desk>,
    ) -> Result<Self, ApiError> {
        let failed = |error| ApiError::Listen { listen, error };
        let api = Api::new(vitals, desk)?;
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = watch::Sender::new(false);
        let serving = serve(listener, router(api), stop.subscribe());
        tracing::info!({ field::ADDRESS } = %address, "answering over HTTP");
        Ok(Self {
            address,
            stop,
            task: spawn_named("http", serving),
        })
    }

    /// Where it listens; another port than the one asked for where that was 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets requests under way end, for a moment, and closes.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // A panic in there has been told already, and must not hide how the engine ended.
        drop(self.task.await);
    }
}

/// What every answer is made with. Clones share it.
#[derive(Clone, Debug)]
struct Api(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    vitals: Arc<Vitals>,
    desk: Arc<Desk>,
    keys: Keys,
    limits: Limits,
    phones: Mutex<Phones>,
    reads: Semaphore,
    /// How many reads of a key run or wait.
    reading: Mutex<BTreeMap<i64, usize>>,
}

impl std::ops::Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Api {
    fn new(vitals: Arc<Vitals>, desk: Arc<Desk>) -> Result<Self, ApiError> {
        let phones = Phones::new(desk.country()).ok_or(ApiError::Country)?;
        Ok(Self(Arc::new(Shared {
            vitals,
            desk,
            keys: Keys::new(),
            limits: Limits::new(),
            phones: Mutex::new(phones),
            reads: Semaphore::new(READS_MAX),
            reading: Mutex::default(),
        })))
    }
}

impl Shared {
    /// What knows the one form of a number.
    fn phones(&self) -> MutexGuard<'_, Phones> {
        self.phones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until few enough others read the store.
    ///
    /// # Errors
    /// A refusal where too many of the same key wait: those of others would wait behind
    /// them all.
    async fn turn(&self, holder: &KeyHolder) -> Result<Turn<'_>, Response> {
        let place = Place {
            shared: self,
            key: holder.key,
        };
        let before = {
            let mut reading = self.reading();
            let count = reading.entry(holder.key).or_default();
            *count += 1;
            *count - 1
        };
        if before >= READS_OF_KEY_MAX {
            drop(place);
            let message = "too many reads with this key at once; come again later";
            return Err(later(StatusCode::TOO_MANY_REQUESTS, message, 1));
        }
        // It is never closed.
        let permit = self.reads.acquire().await.ok();
        Ok(Turn {
            _permit: permit,
            _place: place,
        })
    }

    fn reading(&self) -> MutexGuard<'_, BTreeMap<i64, usize>> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to read the store, until it is dropped.
struct Turn<'a> {
    _permit: Option<SemaphorePermit<'a>>,
    _place: Place<'a>,
}

/// A read that is counted for its key.
struct Place<'a> {
    shared: &'a Shared,
    key: i64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut reading = self.shared.reading();
        if let Some(count) = reading.get_mut(&self.key) {
            *count -= 1;
        }
        reading.retain(|_, count| *count > 0);
    }
}

impl FromRef<Api> for Arc<Vitals> {
    fn from_ref(api: &Api) -> Self {
        Self::clone(&api.vitals)
    }
}

/// The address that a request comes from.
#[derive(Clone, Copy, Debug)]
struct Peer(IpAddr);

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
        .fallback(async || refusal(StatusCode::NOT_FOUND, "no such path"))
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

/// How many connections there may be: the engine must not want for file handles.
fn places() -> usize {
    let handles = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let free = handles.map(|handles| handles.saturating_sub(HANDLES_LEFT));
    let free = free.and_then(|free| usize::try_from(free).ok());
    free.unwrap_or(CONNECTIONS_MAX)
        .clamp(CONNECTIONS_MIN, CONNECTIONS_MAX)
}

/// Takes connections until it is time to stop.
async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(places()));
    let open = GracefulShutdown::new();
    let mut told = false;
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, (stream, peer)) = tokio::select! {
            () = asked_to_stop(&mut stop) => break,
            (place, accepted) = next => match accepted {
                Ok((stream, peer)) => (place, (stream, Peer(peer.ip()))),
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!({ field::ERROR } = %error, "could not take a connection over HTTP");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let connection = open.watch(connection(stream, peer, router.clone()));
        spawn_named("connection", async move {
            // How a client ends its connection is its own affair.
            drop(timeout(CONNECTION_MAX, connection).await);
            drop(place);
        });
    }
    drop(listener);
    // Whoever is slower is cut off.
    drop(timeout(SHUTDOWN_GRACE, open.shutdown()).await);
}

/// The value stays locked as long as it is looked at, so it is let go here.
async fn asked_to_stop(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// Answers the requests of one connection.
#[derive(Debug)]
struct Answerer {
    router: TowerToHyperService<Router>,
    peer: Peer,
}

impl Service<hyper::Request<Incoming>> for Answerer {
    type Response = Response;
    type Error = std::convert::Infallible;
    type Future = TowerToHyperServiceFuture<Router, hyper::Request<Incoming>>;

    fn call(&self, mut request: hyper::Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.router.call(request)
    }
}

type Connection = http1::Connection<TokioIo<TcpStream>, Answerer>;

fn connection(stream: TcpStream, peer: Peer, router: Router) -> Connection {
    let router = TowerToHyperService::new(router);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), Answerer { router, peer })
}
