//! The upstream client: pooled connections that belong to one worker.
//!
//! Each worker has a [`Client`] of its own, so nothing here is shared between threads and nothing needs to be `Send`.
//! A call comes in with an endpoint; [`Client::connection`] gives a connection that stands: an idle one, tested at
//! that moment unless it was in use just before, or a new one, for which the host's addresses are looked up anew (they
//! change). [`Connection::send`] consumes it, tells a [`Departure`] how far the request came, and gives the response, whose body brings the
//! connection back to the pool when it was read to its end.
//!
//! Over HTTP/1.1 the connection is driven by the call's own task: no other task, no channel between threads. Over
//! HTTP/2, which many calls share, a task on the same worker drives it.
//!
//! What can go wrong: no connection ([`ConnectError`]); the exchange fails ([`SendError`]), of which the departure
//! knows whether a byte was written, so whether the call may have arrived.

mod connect;
mod headers;
mod http1;
mod http2;
mod own;
mod pool;
mod post;
mod proxy;
mod roots;
mod socket;
mod wire;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::error::Error as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;
use tokio::time::Instant;

use crate::model::endpoint::Endpoint;

pub use connect::ConnectError;
pub use headers::Headers;
pub use own::OwnListeners;
use pool::{Home, Pool, Way};
pub(crate) use post::fixed_headers;
pub use post::{FixedHeaders, Post};
pub use proxy::{BadEgressProxy, EgressProxy};
pub use roots::Roots;

/// Learns how far a request came on its way out.
///
/// Each method but the first is called at most once, in the order in which they stand here.
pub trait Departure {
    /// Asked right before the kernel is given bytes that may begin the request: whether it may still leave. If not,
    /// the connection fails, and nothing of the request was sent.
    fn may_leave(&self) -> bool {
        true
    }
    /// The kernel took the first bytes, or will: from here on the request may arrive.
    fn writing(&self);
    /// The last byte was handed to the kernel.
    fn sent(&self);
    /// The response's head is there, now.
    fn answered(&self, now: Instant);
}

/// How connections are made and kept.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// Until a new connection must stand: name look-up, TCP, TLS and the other side's first words of HTTP/2 together.
    pub connect_timeout: Duration,
    /// The CONNECT proxy to go through, if any.
    pub egress_proxy: Option<&'a EgressProxy>,
}

/// One worker's upstream connections.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Rc<RefCell<Pool>>,
    tls: Rc<RefCell<connect::TlsConfigs>>,
    own: OwnListeners,
}

/// A connection that stands, for one request.
#[derive(Debug)]
pub struct Connection {
    kind: Kind,
    reused: bool,
}

#[derive(Debug)]
enum Kind {
    Http1(Box<http1::Lease>),
    Http2(Box<http2::Lease>),
}

/// Why there was no response. Whether the request may have arrived, its [`Departure`] knows.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SendError(SendFailure);

#[derive(Debug, thiserror::Error)]
enum SendFailure {
    #[error("the exchange failed")]
    Exchange(#[from] hyper::Error),
    /// Over HTTP/2: the other side has said nothing for so long that nobody waits for it any more.
    #[error("the connection fell silent")]
    Silence(#[source] hyper::Error),
    #[error("the exchange failed")]
    Http1(#[from] http1::ExchangeError),
    /// The answer's head was not there when it had to be.
    #[error("no answer in time")]
    TooLate,
    /// The other side has lowered what it takes. Nothing was sent.
    #[error("the connection takes no further call")]
    NoRoom,
    /// It cannot stand in HTTP/2. Nothing was sent.
    #[error("the request cannot be made")]
    NoRequest(#[from] http::Error),
}

/// A response whose body is still to be read.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// What its headers say. It is handed from one to the next many times: boxed, so that they are not copied each time.
    pub headers: Box<Headers>,
    /// When its head was there.
    pub came: Instant,
    /// Its body.
    pub answer: Answer,
}

/// A response's body. Read to its end, it brings the connection back; dropped earlier, it closes it (HTTP/1.1).
#[derive(Debug)]
pub struct Answer {
    kind: AnswerKind,
}

#[derive(Debug)]
enum AnswerKind {
    Http1(http1::Incoming),
    /// With its call's share in the connection, which is held until the answer was read.
    Http2(hyper::body::Incoming, Box<http2::Lease>),
}

impl Client {
    /// A client without connections, which will make none to these listeners.
    #[must_use]
    pub fn avoiding(own: OwnListeners) -> Self {
        Self { pool: Pool::new(), tls: Rc::default(), own }
    }

    /// A client without connections, in a process without listeners.
    #[must_use]
    pub fn new() -> Self {
        Self::avoiding(OwnListeners::default())
    }

    /// A connection to `endpoint` for which nothing must be waited: one over HTTP/1.1 that lies idle and stands, where no
    /// calls share one. It is `now`.
    #[must_use]
    pub fn connection_at_hand(
        &self,
        endpoint: &Endpoint,
        extra_roots: &Roots,
        settings: &Settings<'_>,
        now: Instant,
    ) -> Option<Connection> {
        let way = Way { endpoint, roots: extra_roots, proxy: settings.egress_proxy };
        let lease = self.pool.borrow().find_http1(way, now)?;
        Some(Connection { kind: Kind::Http1(lease), reused: true })
    }

    /// A connection to `endpoint` that stood a moment ago, else a new one. It is `now`.
    ///
    /// `extra_roots` are trusted beside the platform's. Cancel-safe: dropped, a half-made connection is closed.
    ///
    /// # Errors
    /// When no new connection could be made within `connect_timeout`.
    pub async fn connection(
        &self,
        endpoint: &Endpoint,
        extra_roots: &Roots,
        settings: &Settings<'_>,
        now: Instant,
    ) -> Result<Connection, ConnectError> {
        let way = Way { endpoint, roots: extra_roots, proxy: settings.egress_proxy };
        if let Some(kind) = pool::checkout(&self.pool, way, now).await {
            return Ok(Connection { kind, reused: true });
        }
        self.fresh_connection(endpoint, extra_roots, settings).await
    }

    /// A new connection to `endpoint`, whatever the pool holds.
    ///
    /// # Errors
    /// When it could not be made within `connect_timeout`.
    pub async fn fresh_connection(
        &self,
        endpoint: &Endpoint,
        extra_roots: &Roots,
        settings: &Settings<'_>,
    ) -> Result<Connection, ConnectError> {
        let way = Way { endpoint, roots: extra_roots, proxy: settings.egress_proxy };
        // Boxed, since it is large and few calls need it.
        let kind = tokio::time::timeout(settings.connect_timeout, Box::pin(self.connect(way)))
            .await
            .map_err(|_| ConnectError::Timeout(settings.connect_timeout))??;
        Ok(Connection { kind, reused: false })
    }

    async fn connect(&self, way: Way<'_>) -> Result<Kind, ConnectError> {
        let tls = way.endpoint.is_tls().then(|| self.tls.borrow_mut().with_roots(way.roots));
        let stream = connect::connect(way.endpoint, tls, way.proxy, &self.own).await?;
        let home = Home::new(&self.pool, way);
        Ok(if stream.speaks_http2() {
            Kind::Http2(Box::new(http2::start(stream, home).await?))
        } else {
            Kind::Http1(Box::new(http1::Lease::new(stream, home)))
        })
    }

    /// How many connections lie idle.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.pool.borrow().idle()
    }
}

/// How an answer is read that comes over HTTP/1.1 in these pieces: its status and body, and whether another call may use
/// the connection; or what is wrong. For fuzzing.
#[cfg(any(fuzzing, test))]
pub(crate) fn read_http1<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(StatusCode, Vec<u8>, bool), String> {
    http1::read_whole(pieces).map_err(|error| error.to_string())
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Connection {
    /// Whether it served another request before, so that the other side may have closed it at this very moment.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// It is not needed after all, and lies idle until it is.
    pub fn keep(self) {
        // One over HTTP/2 is there for others already.
        if let Kind::Http1(lease) = self.kind {
            lease.keep(Instant::now());
        }
    }

    /// Sends a request and waits for the response's head.
    ///
    /// Dropping the future closes an HTTP/1.1 connection and resets an HTTP/2 stream; the departure has then been
    /// told how far the request came.
    ///
    /// # Errors
    /// When the connection failed, the other side broke the protocol, or the head was not there in time.
    pub async fn send(self, post: Post<'_>, departure: Rc<dyn Departure>) -> Result<Response, SendError> {
        match self.kind {
            Kind::Http1(lease) => lease.send(post, departure).await.map_err(SendError),
            Kind::Http2(lease) => {
                // Boxed, since it is large, and calls over HTTP/1.1 would carry it too.
                let sending = Box::pin(lease.send(post, departure));
                let sent = tokio::time::timeout_at(post.answered_by, sending).await;
                sent.unwrap_or(Err(SendFailure::TooLate)).map_err(SendError)
            }
        }
    }
}

impl SendError {
    /// Whether the other side said that it did not take the request up, so that it was not executed, though some of
    /// it may have arrived.
    #[must_use]
    pub fn was_turned_away(&self) -> bool {
        let SendFailure::Exchange(error) = &self.0 else { return false };
        let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
        cause.is_some_and(|cause| {
            // A goodbye fails those requests only that came after the last one that will be served (RFC 9113,
            // section 6.8); a refused stream was not processed (section 8.7).
            cause.is_remote() && (cause.is_go_away() || cause.reason() == Some(h2::Reason::REFUSED_STREAM))
        })
    }

    /// Whether the answer's head was not there when it had to be.
    #[must_use]
    pub fn is_too_late(&self) -> bool {
        matches!(self.0, SendFailure::TooLate)
    }

    /// Whether it was given up because the other side said nothing any more: nobody cut it off.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(self.0, SendFailure::Silence(_))
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = SendError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SendError>>> {
        let frame = match &mut self.kind {
            AnswerKind::Http1(incoming) => {
                ready!(incoming.poll_frame(cx)).map(|frame| frame.map_err(SendFailure::from))
            }
            AnswerKind::Http2(incoming, lease) => ready!(Pin::new(incoming).poll_frame(cx))
                .map(|frame| frame.map_err(|error| lease.failed(error))),
        };
        Poll::Ready(frame.map(|frame| frame.map_err(SendError)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            // The end must be seen by polling, since that is what brings the connection back.
            AnswerKind::Http1(incoming) => incoming.is_over(),
            AnswerKind::Http2(incoming, _) => incoming.is_end_stream(),
        }
    }
}
