//! Connections: accepted, TLS spoken, requests handed to [`call`] or [`desk`] until the connection meets its end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::body::AnswerBody;
use super::core::Core;
use super::socket::{End, Fate, Socket};
use super::tls::HTTP2;
use super::{answer, call, desk};

/// One connection, as its calls see it.
pub(super) struct Connection {
    /// From 1.
    pub(super) number: u64,
    pub(super) scheme: &'static str,
    pub(super) fate: Arc<Fate>,
}

impl Connection {
    /// Ends the connection, and with it the future that asks for it.
    pub(super) async fn end<T>(&self, end: End) -> T {
        self.fate.end(end);
        std::future::pending().await
    }
}

/// Accepts connections for ever, each served by a task of its own, as long as there are permits for them.
pub(super) async fn accept(core: Arc<Core>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    while let Ok(place) = Arc::clone(&core.connections).acquire_owned().await {
        let Ok((tcp, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: give others the time to close some.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (own_core, tls) = (Arc::clone(&core), tls.clone());
        core.tasks.spawn(async move {
            // A connection that breaks is the client's business, and often what a test wants.
            _ = serve(own_core, tcp, tls).await;
            drop(place);
        });
    }
}

async fn serve(core: Arc<Core>, tcp: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let fate = Arc::new(Fate::default());
    let scheme = if tls.is_some() { "https" } else { "http" };
    let connection = Arc::new(Connection { number: core.ledger.connect(), scheme, fate: Arc::clone(&fate) });
    let mut socket = Socket::new(tcp, fate);
    match tls {
        None if socket.speaks_http2().await? => serve_http2(core, connection, socket).await,
        None => serve_http1(core, connection, socket).await,
        Some(tls) => {
            let stream = tls.accept(socket).await?;
            if stream.get_ref().1.alpn_protocol() == Some(HTTP2) {
                serve_http2(core, connection, stream).await;
            } else {
                serve_http1(core, connection, stream).await;
            }
        }
    }
    Ok(())
}

async fn serve_http1<S>(core: Arc<Core>, connection: Arc<Connection>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let fate = Arc::clone(&connection.fate);
    let service = service_fn(move |request| respond(Arc::clone(&core), Arc::clone(&connection), request));
    let mut served = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    if let Some(End::Close) = until_end(&fate, served.as_mut()).await {
        served.as_mut().graceful_shutdown();
        _ = served.await;
    }
}

async fn serve_http2<S>(core: Arc<Core>, connection: Arc<Connection>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let fate = Arc::clone(&connection.fate);
    let tasks = core.tasks.clone();
    let service = service_fn(move |request| respond(Arc::clone(&core), Arc::clone(&connection), request));
    let mut served = pin!(http2::Builder::new(tasks).serve_connection(TokioIo::new(stream), service));
    if let Some(End::Close) = until_end(&fate, served.as_mut()).await {
        served.as_mut().graceful_shutdown();
        _ = served.await;
    }
}

/// Drives a connection until it is over (`None`) or is to end early.
async fn until_end(fate: &Fate, served: impl Future) -> Option<End> {
    tokio::select! {
        biased;
        end = fate.decided() => Some(end),
        _ = served => None,
    }
}

async fn respond(
    core: Arc<Core>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let mut response = if desk::is_desk(request.uri().path()) {
        desk::handle(&core, request).await
    } else {
        call::handle(Arc::clone(&core), connection, request).await
    };
    answer::date(&mut response, core.clock.now());
    Ok(response)
}

const PAUSE: Duration = Duration::from_millis(50);
