//! HTTP/2 connections: many calls at a time, driven by a task of their own on the same worker.
//!
//! A connection takes as many calls at once as the other side allows, and at most [`MOST_CALLS`]. More would wait
//! inside the library with their turn under the ceiling already taken, so they go over another connection. How many it
//! allows stands in its first words; a connection counts as made only when they have come.
//!
//! A connection that falls silent would take all its calls with it. So it is asked for a sign of life soon after the last
//! word; while none comes, no further call is given to it, and in the end all that wait there fail at once. They are told
//! apart from those that somebody cut off: nobody answered.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use super::pool::Home;
use super::socket::{Unread, Window};
use super::wire::{Outgoing, Stream, Wire};
use super::{Answer, AnswerKind, Departure, Headers, Post, Response, SendFailure};

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
    began: Instant,
}

/// What is known of a connection. Released with the pool's handle and the last call.
#[derive(Debug)]
struct Shared {
    wire: Rc<Wire>,
    window: Window,
    driven: Driven,
    made: Instant,
    /// Calls under way.
    busy: Cell<usize>,
    /// When the first of them began.
    busy_since: Cell<Instant>,
    /// When the last of them ended.
    idle_since: Cell<Instant>,
    /// It was seen to be closed.
    over: Cell<bool>,
}

/// A connection that a task polls and others only ask something; `None` once it is over, so that what was still given
/// to it fails at once.
type Driven = Rc<RefCell<Option<Connection<TokioIo<Stream>, Outgoing, OnThisWorker>>>>;

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

/// Sets HTTP/2 up, and waits for the other side's first words.
pub(super) async fn start(stream: Stream, home: Home) -> hyper::Result<Lease> {
    let (wire, window) = (stream.wire(), stream.window());
    wire.is_to_be_shared();
    let mut builder = Builder::new(OnThisWorker);
    builder
        .timer(TokioTimer::new())
        .initial_max_send_streams(UNTOLD)
        .initial_stream_window_size(ANSWER_AHEAD)
        .initial_connection_window_size(ANSWER_AHEAD * MOST_CALLS)
        .max_header_list_size(MAX_HEADER_LIST)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let driven = Rc::new(RefCell::new(Some(connection)));
    tokio::task::spawn_local(drive(Rc::clone(&driven), Rc::clone(&wire)));
    std::future::poll_fn(|cx| {
        if allowed(&driven).is_some_and(|allowed| allowed != UNTOLD) {
            return Poll::Ready(Ok(()));
        }
        wire.wake_when_read(cx.waker());
        match sender.poll_ready(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    })
    .await?;
    let now = Instant::now();
    let shared = Rc::new(Shared {
        wire,
        window,
        driven,
        made: now,
        busy: Cell::new(0),
        busy_since: Cell::new(now),
        idle_since: Cell::new(now),
        over: Cell::new(false),
    });
    let handle = Handle { sender, shared };
    let lease = handle.take();
    home.take_in_http2(handle);
    Ok(lease)
}

async fn drive(driven: Driven, wire: Rc<Wire>) {
    let ended = std::future::poll_fn(|cx| match &mut *driven.borrow_mut() {
        Some(connection) => Pin::new(connection).poll(cx),
        None => Poll::Ready(Ok(())),
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "an upstream HTTP/2 connection ended");
    }
    drop(driven.take());
    wire.wake_reader();
}

/// How many calls the other side takes at once; `None` when the connection is over.
fn allowed(driven: &Driven) -> Option<usize> {
    driven.borrow().as_ref().map(Connection::current_max_send_streams)
}

impl Handle {
    /// A share for one more call, whether there is room or not.
    fn take(&self) -> Lease {
        let now = Instant::now();
        if self.shared.busy.replace(self.shared.busy.get() + 1) == 0 {
            self.shared.busy_since.set(now);
        }
        Lease { sender: self.sender.clone(), shared: Rc::clone(&self.shared), began: now }
    }

    /// A share for one more call, if one more had better go this way.
    pub(super) fn lease(&self) -> Option<Lease> {
        self.has_room().then(|| self.take())
    }

    /// Whether the other side lets one more call in, and does not owe those that wait a sign of life.
    pub(super) fn has_room(&self) -> bool {
        let busy = self.shared.busy.get();
        allowed(&self.shared.driven).is_some_and(|allowed| busy < allowed.min(MOST_CALLS as usize))
            && (busy == 0 || self.shared.wire.silent_since(self.shared.busy_since.get()) < DOUBTED_AFTER)
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
        mut self: Box<Self>,
        post: Post<'_>,
        departure: Rc<dyn Departure>,
    ) -> Result<Response, SendFailure> {
        self.sender.ready().await?;
        // The other side may have lowered what it takes since this share was given.
        if allowed(&self.shared.driven).is_some_and(|allowed| self.shared.busy.get() > allowed) {
            return Err(SendFailure::NoRoom);
        }
        let wire = Rc::clone(&self.shared.wire);
        let request = post.to_http2(wire.leave(Rc::clone(&departure), post.body.clone()));
        let _abandon = Abandon { wire: &wire, departure: &departure };
        let request = request?;
        let response = self.sender.send_request(request).await.map_err(|error| self.failed(error))?;
        let came = Instant::now();
        departure.answered(came);
        let (head, incoming) = response.into_parts();
        let answer = Answer { kind: AnswerKind::Http2(incoming, self) };
        let headers = Box::new(Headers::from(&head.headers));
        Ok(Response { status: head.status, headers, came, answer })
    }

    /// What an error of this call's exchange means.
    pub(super) fn failed(&self, error: hyper::Error) -> SendFailure {
        // The library tells of its unanswered PING only to those who wait for a head.
        if error.is_timeout() || self.shared.wire.silent_since(self.began) >= PONG_WITHIN {
            SendFailure::Silence(error)
        } else {
            SendFailure::Exchange(error)
        }
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
const MOST_CALLS: u32 = 100;
/// How many turns the event loop gets to read what came in. On a busy connection something always lies there.
const TURNS: usize = 3;
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// What of an answer may lie here unread. All calls of a connection may have that much at once, so that one whose caller
/// reads slowly does not hold up the others.
const ANSWER_AHEAD: u32 = 256 * 1024;
/// What is reckoned as allowed before the other side has said it. No server says this number.
const UNTOLD: usize = usize::MAX - 1;
/// After so long without a word, while calls wait, the other side is asked for a sign of life. Its HTTP layer gives one
/// however long the answers themselves take.
pub(super) const PING_EVERY: Duration = Duration::from_secs(1);
/// Within that it must have come. Two lost packets in a row are no reason to give up what waits here.
pub(super) const PONG_WITHIN: Duration = Duration::from_secs(2);
/// After so long without one, calls that have not left yet go another way.
pub(super) const DOUBTED_AFTER: Duration = Duration::from_millis(1_500);
