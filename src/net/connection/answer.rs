//! The service of one connection: hands requests on, and sees an answer to its last byte, and whether a request was read
//! to its own.
//!
//! The HTTP library takes an answer's body in pieces, and uses a piece up when it puts it on the wire: over HTTP/2 only
//! as far as the caller's window is open. So a request is under way until its last piece is used up or dropped.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::activity::{Activity, UnderWay};
use super::quiet;
use super::stream::Protocol;
use crate::net::stop::{Phase, Stop};

/// A service that keeps the connection's activity up to date, and says goodbye while the process drains.
#[derive(Debug, Clone)]
pub(super) struct Service<H> {
    handle: H,
    activity: Rc<Activity>,
    stop: Rc<Stop>,
    protocol: Protocol,
}

/// A request that is handled. It is a type of its own and needs no box: the HTTP library keeps room for one of it with each
/// connection.
#[derive(Debug)]
pub(super) struct Answering<F> {
    answer: F,
    /// `None`: it is answered.
    under_way: Option<Rc<UnderWay>>,
    stop: Rc<Stop>,
    protocol: Protocol,
}

/// A request's body. Whoever answers without having read it to its end leaves bytes that are still to come.
#[derive(Debug)]
pub struct RequestBody {
    body: Incoming,
    activity: Rc<Activity>,
    ended: bool,
}

/// An answer's body, during which its request is under way.
#[derive(Debug)]
pub(super) struct Watched<B> {
    body: B,
    under_way: Rc<UnderWay>,
}

/// Some of an answer's bytes.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    under_way: Rc<UnderWay>,
}

// === impl Service ===

impl<H> Service<H> {
    pub(super) fn new(handle: H, activity: Rc<Activity>, stop: Stop, protocol: Protocol) -> Self {
        Self { handle, activity, stop: Rc::new(stop), protocol }
    }
}

impl<H, F, B> hyper::service::Service<Request<Incoming>> for Service<H>
where
    H: Fn(Request<RequestBody>) -> F,
    F: Future<Output = Response<B>> + Unpin,
{
    type Response = Response<Watched<B>>;
    type Error = Infallible;
    type Future = Answering<F>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let under_way = Some(self.activity.begin());
        let answer = (self.handle)(request.map(|body| RequestBody::new(body, Rc::clone(&self.activity))));
        Answering { answer, under_way, stop: Rc::clone(&self.stop), protocol: self.protocol }
    }
}

// === impl Answering ===

impl<F, B> Future for Answering<F>
where
    F: Future<Output = Response<B>> + Unpin,
{
    type Output = Result<Response<Watched<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(response) = Pin::new(&mut self.answer).poll(cx) else { return Poll::Pending };
        let Some(under_way) = self.under_way.take() else { return Poll::Pending };
        let mut response = response.map(|body| Watched { body, under_way });
        // HTTP/2 says it with GOAWAY, and forbids the header (RFC 9113, section 8.2.2).
        if self.protocol == Protocol::Http1 && self.stop.phase() >= Phase::Draining {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response))
    }
}

// === impl RequestBody ===

impl RequestBody {
    fn new(body: Incoming, activity: Rc<Activity>) -> Self {
        let ended = body.is_end_stream();
        if ended {
            activity.is_whole();
        }
        Self { body, activity, ended }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let (frame, is_caught) = quiet::take(|| Pin::new(&mut self.body).poll_frame(cx));
        self.ended |= matches!(frame, Poll::Ready(None)) || self.body.is_end_stream();
        if self.ended {
            self.activity.is_whole();
        }
        if is_caught && !self.ended {
            cx.waker().wake_by_ref();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.ended {
            self.activity.leave_unread();
        }
    }
}

// === impl Watched ===

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Piece;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let piece = |bytes| Piece::new(bytes, Rc::clone(&self.under_way));
        frame.map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl Piece ===

impl Piece {
    fn new(bytes: Bytes, under_way: Rc<UnderWay>) -> Self {
        under_way.hand_out(bytes.len());
        Self { bytes, under_way }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.under_way.taken(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.under_way.taken(self.bytes.len());
    }
}
