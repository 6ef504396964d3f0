//! What the daemon answers over HTTP: how it is, for people and for Prometheus.
//!
//! Nothing listens unless `[api] listen` says where, and nothing here changes
//! anything. Whoever can reach the address may read it: counts, positions and errors,
//! and never a phone number.
//!
//! # Limits
//! A client can keep one of a bounded number of connections for a bounded time, and
//! send a bounded head; no route takes a body yet. So a client that is slow or many
//! does not reach the engine, which answers nobody here: it only leaves notes in
//! [`Vitals`].

mod error;
mod health;
mod metrics;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::engine::Vitals;
use crate::telemetry::{field, spawn_named};

pub use error::ApiError;
pub use health::{Condition, Report, SourceReport};
pub use metrics::{NAMES, exposition};

/// Connections at a time; others wait in the system's queue.
const CONNECTIONS_MAX: usize = 64;

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
    /// Listens, and answers from now on with what `vitals` say.
    ///
    /// # Errors
    /// [`ApiError`] when the address cannot be listened on.
    pub async fn start(listen: SocketAddr, vitals: Arc<Vitals>) -> Result<Self, ApiError> {
        let failed = |error| ApiError::Listen { listen, error };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = watch::Sender::new(false);
        let serving = serve(listener, router(vitals), stop.subscribe());
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

fn router(vitals: Arc<Vitals>) -> Router {
    Router::new()
        .route("/healthz", get(health::health))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .fallback(async || refusal(StatusCode::NOT_FOUND, "no such path"))
        .method_not_allowed_fallback(async || {
            refusal(StatusCode::METHOD_NOT_ALLOWED, "this path takes GET alone")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(guard))
        .with_state(vitals)
}

/// A refusal as JSON, in the shape of every answer of the API.
fn refusal(status: StatusCode, message: &str) -> Response {
    json(
        status,
        &serde_json::json!({ "success": false, "message": message }),
    )
}

fn json(status: StatusCode, document: &impl serde::Serialize) -> Response {
    match serde_json::to_string(document) {
        Ok(mut text) => {
            text.push('\n');
            let kind = [(header::CONTENT_TYPE, "application/json")];
            (status, kind, text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Bounds the time of an answer, and keeps it out of caches.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = match timeout(ANSWER_PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, "the answer took too long"),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// Takes connections until it is time to stop.
async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let open = GracefulShutdown::new();
    let mut told = false;
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            () = asked_to_stop(&mut stop) => break,
            (place, accepted) = next => match accepted {
                Ok((stream, _)) => (place, stream),
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!({ field::ERROR } = %error, "could not take a connection over HTTP");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let connection = open.watch(connection(stream, router.clone()));
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

type Connection = http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>>;

fn connection(stream: TcpStream, router: Router) -> Connection {
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}
