//! Where the API listens: connections, how many and for how long, and their end.
//!
//! # The end
//! [`Server::stop`] takes no more connections and no more requests, lets those under way
//! end for a moment and cuts off the rest. When it returns nobody asks the store any
//! more, so that this can be closed.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::stall::NoStall;
use super::{Api, ApiError, dashboard, router};
use crate::config::{Certified, Identity};
use crate::engine::{Desk, Vitals};
use crate::telemetry::{field, spawn_named};

/// Connections at a time, if there are file handles for them; others wait in the
/// system's queue. Those of who says nothing end within [`HEAD_PATIENCE`].
const CONNECTIONS_MAX: u32 = 12_000;

/// File handles left to the rest of the daemon: stores, sources, logs.
const HANDLES_LEFT: u64 = 256;

/// Connections at a time where there are few file handles.
const CONNECTIONS_MIN: u32 = 64;

/// How long a client may take to agree on TLS, to send the head of a request, and keep a
/// connection without a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may last, however busy.
const CONNECTION_MAX: Duration = Duration::from_secs(300);

/// Bytes of the head of a request, and header lines in it.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// Bytes of an answer that the system keeps for a client which has not taken them yet;
/// the system itself takes twice as many.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// How long requests under way may take once it is time to stop.
pub(super) const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Pause after a connection that could not be taken, e.g. for want of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The certificate that clients are shown; another one can take its place. Clones share it.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Mutex<Certified>>);

impl Tls {
    /// Reads the certificate and its key.
    ///
    /// # Errors
    /// [`ApiError::Identity`].
    pub fn read(identity: &Identity) -> Result<Self, ApiError> {
        Ok(Self(Arc::new(Mutex::new(identity.read()?))))
    }

    /// Reads them again, for new connections. Where they cannot be used the old ones stay.
    ///
    /// # Errors
    /// [`ApiError::Identity`].
    pub fn read_again(&self, identity: &Identity) -> Result<(), ApiError> {
        let new = identity.read()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    fn acceptor(&self) -> TlsAcceptor {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&kept.server).into()
    }

    /// What clients hold against the certificate; see [`Certified::trouble`].
    #[must_use]
    pub fn trouble(&self, now: i64) -> Option<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.trouble(now)
    }

    /// When the certificate ends, in seconds since 1970 (UTC).
    pub(super) fn ends(&self) -> Option<i64> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.lasts.map(|(_, ends)| ends)
    }
}

/// A server that answers until it is stopped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens, and answers from now on with what `vitals` say and `desk` has; over TLS
    /// where there is a certificate.
    ///
    /// # Errors
    /// [`ApiError`] when the address cannot be listened on.
    pub async fn start(
        listen: SocketAddr,
        tls: Option<Tls>,
        vitals: Arc<Vitals>,
        desk: Arc<Desk>,
    ) -> Result<Self, ApiError> {
        let failed = |error| ApiError::Listen { listen, error };
        let api = Api::new(vitals, desk, tls.clone())?;
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        // Connections have it from the listener. Without it they take more memory.
        drop(SockRef::from(&listener).set_send_buffer_size(SEND_BUFFER_BYTES));
        let stop = watch::Sender::new(false);
        spawn_named("courses", dashboard::watch(api.clone(), stop.subscribe()));
        let is_tls = tls.is_some();
        let serving = serve(listener, tls, router(api), stop.subscribe());
        tracing::info!({ field::ADDRESS } = %address, tls = is_tls, "answering over HTTP");
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

    /// Takes no more requests, lets those under way end, for a moment, and closes.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // A panic in there has been told already, and must not hide how the engine ended.
        drop(self.task.await);
    }
}

/// Who a request comes from, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// It came encrypted: a cookie may be kept from connections that are not.
    pub(super) is_tls: bool,
}

impl Peer {
    /// Of a request; every one that comes over a connection has it.
    pub(super) fn of(request: &Request) -> Self {
        let peer = request.extensions().get::<Self>().copied();
        peer.unwrap_or(Self {
            address: IpAddr::from([0, 0, 0, 0]),
            is_tls: false,
        })
    }
}

/// How many connections there may be: the engine must not want for file handles.
pub(super) fn places() -> u32 {
    let handles = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let free = handles.map(|handles| handles.saturating_sub(HANDLES_LEFT));
    let free = free.and_then(|free| u32::try_from(free).ok());
    free.unwrap_or(CONNECTIONS_MAX)
        .clamp(CONNECTIONS_MIN, CONNECTIONS_MAX)
}

/// Takes connections until it is time to stop.
async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let count = places();
    let places = Arc::new(Semaphore::new(usize::try_from(count).unwrap_or(usize::MAX)));
    let open = GracefulShutdown::new();
    let cut = watch::Sender::new(false);
    let mut told = false;
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, (stream, address)) = tokio::select! {
            () = is_told(&mut stop) => break,
            (place, accepted) = next => match accepted {
                Ok((stream, peer)) => (place, (stream, peer.ip())),
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!({ field::ERROR } = %error, "could not take a connection over HTTP");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let peer = Peer {
            address,
            is_tls: tls.is_some(),
        };
        let acceptor = tls.as_ref().map(Tls::acceptor);
        let answering = answer(stream, acceptor, peer, router.clone(), open.watcher());
        let mut cut = cut.subscribe();
        spawn_named("connection", async move {
            tokio::select! {
                () = is_told(&mut cut) => {}
                // How a client ends its connection is its own affair.
                _ = timeout(CONNECTION_MAX, answering) => {}
            }
            drop(place);
        });
    }
    drop(listener);
    drop(timeout(SHUTDOWN_GRACE, open.shutdown()).await);
    // Whoever is slower is cut off, and gone when all places are free again.
    cut.send_replace(true);
    drop(places.acquire_many(count).await);
}

/// The value stays locked as long as it is looked at, so it is let go here.
pub(super) async fn is_told(what: &mut watch::Receiver<bool>) {
    drop(what.wait_for(|told| *told).await);
}

/// Agrees on TLS, if so, and answers the requests of one connection.
async fn answer(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    peer: Peer,
    router: Router,
    open: Watcher,
) {
    let stream = NoStall::new(stream);
    let Some(tls) = tls else {
        drop(open.watch(connection(stream, peer, router)).await);
        return;
    };
    // Whoever speaks something else is hung up on.
    if let Ok(Ok(stream)) = timeout(HEAD_PATIENCE, tls.accept(stream)).await {
        drop(open.watch(connection(stream, peer, router)).await);
    }
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

fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: Peer,
    router: Router,
) -> http1::Connection<TokioIo<S>, Answerer> {
    let router = TowerToHyperService::new(router);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), Answerer { router, peer })
}
