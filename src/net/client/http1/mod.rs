//! HTTP/1.1 connections: one request at a time, written and read by the task of the call that uses them.
//!
//! A request goes out in one piece, head and body, and its answer is read meanwhile, since it may come before the request
//! was read to its end. The library that the callers' side uses has a client too; but that needs two channels, a map of
//! headers and a shared count for what is a few lines here, and does not tell how far a request came. An exchange took
//! 28,000 instructions with it, and takes 16,000 here, TLS included. What is read is left to the parser that the library
//! uses.
//!
//! An idle connection holds no buffer.

mod body;
mod head;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
#[cfg(any(fuzzing, test))]
use http::StatusCode;
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::pool::Home;
use super::socket::{Unread, Window};
use super::wire::{Stream, Wire};
use super::{Answer, AnswerKind, Departure, Post, Response, SendFailure};
use body::Framing;
use head::Head;

/// A connection that is idle or serves one call.
#[derive(Debug)]
pub(super) struct Lease {
    stream: Stream,
    wire: Rc<Wire>,
    window: Window,
    home: Home,
    /// When it was made: it is not used for ever, since the name's addresses change.
    made: Instant,
    /// What is still to be written.
    outgoing: Outgoing,
    /// What was read and not yet taken.
    incoming: BytesMut,
    /// When its call's answer must be there.
    answered_by: Instant,
    /// Goes off then, or earlier: it stays from call to call, and is set anew only when it went off for a call before,
    /// which that call's task may see as being woken in vain. Setting one for each call takes 400 instructions.
    timer: Option<Pin<Box<Sleep>>>,
}

/// A request on its way out, with its UserSig. Without bytes, there is none.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// The stream failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It ended before the answer did.
    #[error("the connection was closed before the answer was complete")]
    Closed,
    /// What came is not HTTP/1.1.
    #[error("the answer is not HTTP: {0}")]
    NotHttp(&'static str),
}

impl Lease {
    pub(super) fn new(stream: Stream, home: Home) -> Self {
        let now = Instant::now();
        Self {
            wire: stream.wire(),
            window: stream.window(),
            stream,
            home,
            made: now,
            answered_by: now,
            outgoing: Outgoing::default(),
            incoming: BytesMut::new(),
            timer: None,
        }
    }

    pub(super) async fn send(
        mut self: Box<Self>,
        post: Post<'_>,
        departure: Rc<dyn Departure>,
    ) -> Result<Response, SendFailure> {
        self.answered_by = post.answered_by;
        self.outgoing.bytes = post.to_http1();
        self.wire.depart(Rc::clone(&departure));
        let head = poll_fn(|cx| match self.poll_exchange(cx) {
            Poll::Ready(head) => Poll::Ready(head.map_err(SendFailure::from)),
            Poll::Pending => self.poll_too_late(cx).map(|()| Err(SendFailure::TooLate)),
        })
        .await;
        // Of an answer that came before the request was read to its end, the rest of the request counts as unsent.
        self.wire.forget(&departure);
        let Head { status, headers, framing, keeps } = head?;
        let came = Instant::now();
        departure.answered(came);
        let keeps = keeps && self.outgoing.is_sent();
        let incoming = Incoming { lease: Some(self), framing, keeps, came: Some(came) };
        Ok(Response { status, headers, came, answer: Answer { kind: AnswerKind::Http1(incoming) } })
    }

    /// Ready when the answer should have been there.
    fn poll_too_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(self.answered_by)));
        if timer.deadline() > self.answered_by {
            timer.as_mut().reset(self.answered_by);
        }
        ready!(timer.as_mut().poll(cx));
        if timer.deadline() < self.answered_by {
            timer.as_mut().reset(self.answered_by);
            ready!(timer.as_mut().poll(cx));
        }
        Poll::Ready(())
    }

    /// Writes what can be written, and gives the answer's head once it is there.
    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, ExchangeError>> {
        let was_sent = self.outgoing.is_sent();
        let write = self.poll_send(cx);
        // No answer is there at once; the way through TLS to find that out takes 300 instructions more.
        if !was_sent && matches!(write, Poll::Ready(Ok(()))) {
            ready!(self.stream.poll_readable(cx))?;
        }
        loop {
            let at_once = self.incoming.is_empty();
            match (self.poll_fill(cx), &write) {
                (Poll::Ready(Ok(())), _) => {
                    if let Some(head) = head::read(&mut self.incoming, at_once)? {
                        return Poll::Ready(Ok(head));
                    }
                }
                // Whoever answers and closes makes the writing fail; so the answer goes first, if there is one.
                (Poll::Ready(Err(_)) | Poll::Pending, Poll::Ready(Err(_))) => {
                    return write.map(|write| {
                        write?;
                        Err(ExchangeError::Closed)
                    });
                }
                (Poll::Ready(Err(error)), _) => return Poll::Ready(Err(error)),
                (Poll::Pending, _) => return Poll::Pending,
            }
        }
    }

    /// Hands the request to the kernel, as far as it takes it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        let Outgoing { bytes, written } = &mut self.outgoing;
        while *written < bytes.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[*written..]))? {
                0 => return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into())),
                taken => *written += taken,
            }
        }
        if !bytes.is_empty() {
            self.wire.used_up();
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.outgoing = Outgoing::default();
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what is there, at least a byte.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        if self.incoming.len() >= MOST_UNREAD {
            return Poll::Ready(Err(ExchangeError::NotHttp("its head is too long")));
        }
        match ready!(self.stream.poll_fill(cx, &mut self.incoming))? {
            0 => Poll::Ready(Err(ExchangeError::Closed)),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// It serves nobody any more, or did not, and goes back now.
    pub(super) fn keep(self: Box<Self>, now: Instant) {
        self.home.clone().take_in_http1(self, now);
    }

    /// Whether it is idle and the other side has not closed it, nor said anything unasked, as the kernel and TLS know at this
    /// moment.
    pub(super) fn stands(&mut self) -> bool {
        match self.window.look() {
            Unread::Nothing => !self.stream.has_decrypted(),
            Unread::End => false,
            // Words of TLS that no reader sees, such as tickets for later sessions, or a goodbye.
            Unread::Something => {
                let wire = Rc::clone(&self.wire);
                let mut nobody = Context::from_waker(Waker::noop());
                let (stream, mut byte) = (Pin::new(&mut self.stream), [0]);
                wire.testing(|| stream.poll_read(&mut nobody, &mut ReadBuf::new(&mut byte)).is_pending())
            }
        }
    }

    /// When it was made.
    pub(super) fn made(&self) -> Instant {
        self.made
    }
}

impl Outgoing {
    fn is_sent(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (length, written) = (self.bytes.len(), self.written);
        f.debug_struct("Outgoing").field("length", &length).field("written", &written).finish()
    }
}

/// A response's body, which holds its connection until it was read to its end.
#[derive(Debug)]
pub(super) struct Incoming {
    /// `None` once it was read to its end, or failed.
    lease: Option<Box<Lease>>,
    framing: Framing,
    /// Whether the connection can be used again.
    keeps: bool,
    /// When the head was there, which is just now to whoever takes the first piece. Most answers have no second one.
    came: Option<Instant>,
}

impl Incoming {
    pub(super) fn is_over(&self) -> bool {
        self.lease.is_none()
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
        let came = self.came.take();
        let Some(lease) = &mut self.lease else { return Poll::Ready(None) };
        // Some servers answer while they read. Should it fail, the answer is still to be had.
        _ = lease.poll_send(cx);
        let piece = loop {
            match self.framing.take(&mut lease.incoming) {
                Ok(body::Taken::Piece(piece)) => break Some(Ok(Frame::data(piece))),
                Ok(body::Taken::End) => break None,
                Ok(body::Taken::More) => {}
                Err(error) => break Some(Err(error)),
            }
            match ready!(lease.poll_fill(cx)) {
                Ok(()) => {}
                Err(ExchangeError::Closed) if self.framing.ends_with_the_connection() => break None,
                Err(error) => break Some(Err(error)),
            }
        };
        if self.framing.is_at_its_end() || !matches!(piece, Some(Ok(_))) {
            self.end(came);
        }
        Poll::Ready(piece)
    }

    /// The connection goes back, or is closed.
    fn end(&mut self, now: Option<Instant>) {
        let Some(mut lease) = self.lease.take() else { return };
        // Whoever says more than its answer is not trusted with another request.
        let said_more = !lease.incoming.is_empty() || lease.stream.has_decrypted();
        if self.keeps && self.framing.is_at_its_end() && !said_more {
            lease.incoming = BytesMut::new();
            lease.keep(now.unwrap_or_else(Instant::now));
        }
    }
}

/// What a connection gives that brings these pieces and then ends: status and body of an answer, and whether the
/// connection would go back to the pool. For fuzzing.
#[cfg(any(fuzzing, test))]
pub(super) fn read_whole<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(StatusCode, Vec<u8>, bool), ExchangeError> {
    let (mut buffer, mut begun, mut body) = (BytesMut::new(), None, Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if begun.is_none() {
            let at_once = buffer.len() == piece.len();
            begun = head::read(&mut buffer, at_once)?;
        }
        if let Some(head) = &mut begun {
            while let body::Taken::Piece(piece) = head.framing.take(&mut buffer)? {
                body.extend_from_slice(&piece);
            }
        }
    }
    let Head { status, framing, keeps, .. } = begun.ok_or(ExchangeError::Closed)?;
    if !framing.is_at_its_end() && !framing.ends_with_the_connection() {
        return Err(ExchangeError::Closed);
    }
    Ok((status, body, keeps && framing.is_at_its_end() && buffer.is_empty()))
}

/// Bounds what an answer's head can take, and how much of its body lies in memory unread.
const MOST_UNREAD: usize = 256 * 1024;
