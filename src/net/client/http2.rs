//! HTTP/2 connections: many calls at a time, driven by a task of their own on the same worker.
//!
//! A connection takes as many calls at once as the other side allows, and at most [`MOST_CALLS`]. More would wait
//! inside the library with their turn under the ceiling already taken, so they go over another connection.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use super::pool::Home;
use super::socket::{Unread, Window};
use super::wire::{Outgoing, Stream, Wire};
use super::{Answer, AnswerKind, Departure};

/// A connection, as the pool holds it.
#[derive(Debug)]
pub(super) struct Handle {
    sender: SendRequest<Outgoing>,
    shared: Rc<Shared>,
}

/// One call's share in a connection. Dropping it makes room for another call.
#[derive(Debug)]
pub(super) struct Lease {
    sender: SendRequest<Outgoing>,
    shared: Rc<Shared>,
}

/// What is known of a connection. Released with the pool's handle and the last call.
#[derive(Debug)]
struct Shared {
    wire: Rc<Wire>,
    window: Window,
    /// Its driver polls it; others only ask it something.
    connection: Rc<RefCell<Connection<TokioIo<Stream>, Outgoing, OnThisWorker>>>,
    made: Instant,
    /// Calls under way.
    busy: Cell<usize>,
    /// When the last of them ended.
    idle_since: Cell<Instant>,
    /// It was seen to be closed.
    over: Cell<bool>,
}

/// Runs what a connection needs on the worker's own thread.
#[derive(Debug, Clone, Copy)]
struct OnThisWorker;

impl<F: Future + 'static> Executor<F> for OnThisWorker {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

pub(super) async fn start(stream: Stream, home: Home) -> hyper::Result<Lease> {
    let (wire, window) = (stream.wire(), stream.window());
    let mut builder = Builder::new(OnThisWorker);
    builder.timer(TokioTimer::new()).max_header_list_size(MAX_HEADER_LIST).keep_alive_interval(PING_EVERY);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let connection = Rc::new(RefCell::new(connection));
    tokio::task::spawn_local(drive(Rc::clone(&connection)));
    let now = Instant::now();
    let shared = Rc::new(Shared {
        wire,
        window,
        connection,
        made: now,
        busy: Cell::new(0),
        idle_since: Cell::new(now),
        over: Cell::new(false),
    });
    let handle = Handle { sender, shared };
    let lease = handle.take();
    home.take_in_http2(handle);
    Ok(lease)
}

async fn drive(connection: Rc<RefCell<Connection<TokioIo<Stream>, Outgoing, OnThisWorker>>>) {
    let ended = std::future::poll_fn(|cx| Pin::new(&mut *connection.borrow_mut()).poll(cx)).await;
    if let Err(error) = ended {
        tracing::debug!(%error, "an upstream HTTP/2 connection ended");
    }
}

impl Handle {
    /// A share for one more call, whether there is room or not.
    fn take(&self) -> Lease {
        self.shared.busy.set(self.shared.busy.get() + 1);
        Lease { sender: self.sender.clone(), shared: Rc::clone(&self.shared) }
    }

    /// A share for one more call, if the other side lets one more in.
    pub(super) fn lease(&self) -> Option<Lease> {
        self.has_room().then(|| self.take())
    }

    /// Whether the other side lets one more call in.
    pub(super) fn has_room(&self) -> bool {
        let allowed = self.shared.connection.borrow().current_max_send_streams();
        self.shared.busy.get() < allowed.min(MOST_CALLS)
    }

    /// Whether it can take another request, as far as is known.
    pub(super) fn stands(&self) -> bool {
        !self.shared.over.get() && !self.sender.is_closed() && self.sender.is_ready()
    }

    /// When it was made.
    pub(super) fn made(&self) -> Instant {
        self.shared.made
    }

    /// Since when no call is under way.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.shared.busy.get() == 0).then(|| self.shared.idle_since.get())
    }
}

impl Lease {
    pub(super) async fn send(
        mut self,
        request: Request<Bytes>,
        departure: Rc<dyn Departure>,
    ) -> hyper::Result<Response<Answer>> {
        self.sender.ready().await?;
        let (mut head, body) = request.into_parts();
        // HTTP/2 carries the host in its own field (RFC 9113, section 8.3.1).
        if let Some(host) = head.headers.remove(http::header::HOST) {
            head.uri = absolute(&head.uri, &host).unwrap_or(head.uri);
        }
        let wire = Rc::clone(&self.shared.wire);
        let request = Request::from_parts(head, wire.leave(Rc::clone(&departure), body));
        let _abandon = Abandon { wire: &wire, departure: &departure };
        let response = self.sender.send_request(request).await?;
        departure.answered();
        Ok(response.map(|incoming| Answer { kind: AnswerKind::Http2(incoming, self) }))
    }

    /// Whether the other side has not closed the connection, as the kernel knows at this moment.
    pub(super) async fn stands(&self) -> bool {
        for _ in 0..TURNS {
            match self.shared.window.look() {
                Unread::Nothing => break,
                // An answer to another call, or a goodbye: the driver tells once it has read it.
                Unread::Something => tokio::task::yield_now().await,
                Unread::End => self.shared.over.set(true),
            }
        }
        !self.shared.over.get() && !self.sender.is_closed()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.busy.set(self.shared.busy.get() - 1);
        self.shared.idle_since.set(Instant::now());
    }
}

fn absolute(uri: &http::Uri, host: &http::HeaderValue) -> Option<http::Uri> {
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(http::uri::Authority::try_from(host.as_bytes()).ok()?);
    parts.scheme = Some(http::uri::Scheme::HTTPS);
    http::Uri::from_parts(parts).ok()
}

/// Takes a request off the wire's list however its exchange ends.
struct Abandon<'a> {
    wire: &'a Wire,
    departure: &'a Rc<dyn Departure>,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.wire.abandon(self.departure);
    }
}

/// Calls at once on one connection: what servers commonly allow.
const MOST_CALLS: usize = 100;
/// How many turns the event loop gets to read what came in. On a busy connection something always lies there.
const TURNS: usize = 3;
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// Finds out about a dead connection while calls wait on it.
const PING_EVERY: std::time::Duration = std::time::Duration::from_secs(15);
