//! Where the API listens: connections, how many and for how long, and their end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Api, ApiError, dashboard, router};
use crate::engine::{Desk, Vitals};
use crate::telemetry::{field, spawn_named};

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

/// How long a connection may last, however busy.
const CONNECTION_MAX: Duration = Duration::from_secs(300);

/// Bytes of the head of a request, and header lines in it.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// How long requests under way may take once the daemon has ended.
pub(super) const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

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
        spawn_named("courses", dashboard::watch(api.clone(), stop.subscribe()));
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

/// The address that a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// How many connections there may be: the engine must not want for file handles.
pub(super) fn places() -> usize {
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
pub(super) async fn asked_to_stop(stop: &mut watch::Receiver<bool>) {
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
