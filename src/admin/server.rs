//! Accepts connections and speaks HTTP/1.1 on them.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{State, routes};
use crate::net::stop::{Phase, Stop};
use crate::telemetry::metrics;

/// The most connections at once. Further ones wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 256;

/// The longest request line and headers together, in bytes. No smaller one is possible with hyper.
const HEADER_BYTES: usize = 8 * 1024;

/// The most headers.
const HEADERS: usize = 64;

/// Until a request's headers must be complete, counted from the end of the request before; so an idle connection is
/// closed as well, and cannot keep a health check waiting for a slot.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may live: a client that never reads its answer is not kept for ever.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// How long an answer that is under way may take beyond that.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// How long no connection is accepted after that has failed, as it does when descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener that is bound already.
#[derive(Debug)]
pub enum Listener {
    /// On a TCP address.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixListener),
}

/// How a request came here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    /// It comes from this machine.
    pub(super) is_local: bool,
    /// It came to a loopback address, which every page in a browser on this machine can reach.
    pub(super) is_loopback: bool,
}

/// Answers on `listener` until `stop` says [`Phase::Killed`], draining and closing included; then drops whatever is
/// under way.
pub async fn serve(listener: Listener, state: State, stop: Stop) {
    let server = Server::new(listener, state, MAX_CONNECTIONS);
    tokio::select! {
        () = server.accept() => {}
        () = stop.wait_for(Phase::Killed) => {}
    }
}

pub(super) struct Server {
    listener: Listener,
    state: Arc<State>,
    slots: Arc<Semaphore>,
}

// === impl Listener ===

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

// === impl Server ===

impl Server {
    pub(super) fn new(listener: Listener, state: State, max_connections: usize) -> Self {
        Self { listener, state: Arc::new(state), slots: Arc::new(Semaphore::new(max_connections)) }
    }

    /// Accepts for ever. Connections end with the future.
    pub(super) async fn accept(&self) {
        let mut connections = JoinSet::new();
        loop {
            let slot = Arc::clone(&self.slots).acquire_owned().await.expect("nobody closes the semaphore");
            while connections.try_join_next().is_some() {}
            let accepted = match &self.listener {
                Listener::Tcp(listener) => listener.accept().await.map(|(stream, peer)| {
                    let is_loopback = |address: SocketAddr| address.ip().to_canonical().is_loopback();
                    let way = Way {
                        is_local: is_loopback(peer),
                        // Where nobody knows, no more is let through.
                        is_loopback: stream.local_addr().map_or(true, is_loopback),
                    };
                    connections.spawn(connection(stream, way, slot, Arc::clone(&self.state)));
                }),
                Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                    let way = Way { is_local: true, is_loopback: false };
                    connections.spawn(connection(stream, way, slot, Arc::clone(&self.state)));
                }),
            };
            if let Err(error) = accepted {
                pause_after(&error).await;
            }
        }
    }
}

/// Some errors of accepting speak of the one connection, which is gone; others last for a while.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    tracing::warn!(%error, "cannot accept a connection on the admin listener");
    sleep(ACCEPT_PAUSE).await;
}

/// Serves one connection to its end, which comes soon enough whatever the client does.
pub(super) async fn connection<S>(stream: S, way: Way, _slot: OwnedSemaphorePermit, state: Arc<State>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _open = state.metrics.connection(metrics::Listener::Admin);
    let service = service_fn(|request: Request<Incoming>| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(routes::answer(&state, &request, way).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // An error here is the client's: it went away, or did not speak HTTP. It was answered if that was possible.
    if timeout(CONNECTION_LIFE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        _ = timeout(LAST_ANSWER, connection).await;
    }
}
