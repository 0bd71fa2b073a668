//! What a connection is doing: whether a request is under way, and since when not.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::stream::Protocol;
use super::{Limits, Passed};
use crate::net::stop::{Phase, Stop};

/// Shared by a connection's stream, its service and its timer. Released with the last of them.
#[derive(Debug)]
pub(super) struct Activity {
    /// Requests whose answer is not wholly written.
    under_way: Cell<usize>,
    /// When the last of them ended, or when the connection began.
    idle_since: Cell<Instant>,
    /// When the first byte of a head came that is not yet complete.
    head_since: Cell<Option<Instant>>,
    /// Whether heads are told from other bytes. HTTP/2 also sends frames that belong to no request.
    heads: Cell<bool>,
    /// The timer's waker, while it has nothing to wait for.
    timer: RefCell<Option<Waker>>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            under_way: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            head_since: Cell::new(None),
            heads: Cell::new(true),
            timer: RefCell::new(None),
        }
    }

    /// Bytes came in.
    pub(super) fn bytes_came(&self) {
        if self.heads.get() && self.under_way.get() == 0 && self.head_since.get().is_none() {
            self.head_since.set(Some(Instant::now()));
            // The head's limit may be nearer than the one that the timer waits for.
            if let Some(timer) = self.timer.borrow_mut().take() {
                timer.wake();
            }
        }
    }

    /// From now on bytes say nothing of requests.
    pub(super) fn ignore_heads(&self) {
        self.heads.set(false);
        self.head_since.set(None);
    }

    fn begin(self: &Rc<Self>) -> UnderWay {
        self.head_since.set(None);
        self.under_way.set(self.under_way.get() + 1);
        UnderWay(Rc::clone(self))
    }

    /// Waits until a limit is passed.
    pub(super) async fn limit_passed(&self, limits: &Limits) -> Passed {
        loop {
            let now = Instant::now();
            let (until, passed) = match (self.under_way.get(), self.head_since.get()) {
                (0, Some(since)) => (since + limits.header_timeout, Passed::SlowHead),
                (0, None) => (self.idle_since.get() + limits.idle_timeout, Passed::Idle),
                // Looks again later: a connection that was busy until then is not idle for long.
                (_, _) => (now + limits.idle_timeout.min(limits.header_timeout), Passed::Idle),
            };
            if until <= now {
                return passed;
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = self.head_begins() => {}
            }
        }
    }

    /// Waits until the first byte of a head comes.
    async fn head_begins(&self) {
        let before = self.head_since.get();
        std::future::poll_fn(|cx| {
            if self.head_since.get().is_some() && self.head_since.get() != before {
                return Poll::Ready(());
            }
            *self.timer.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A request that is under way.
#[derive(Debug)]
struct UnderWay(Rc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
        self.0.idle_since.set(Instant::now());
    }
}

/// A service that keeps the connection's activity up to date, and says goodbye while the process drains.
#[derive(Debug, Clone)]
pub(super) struct Service<H> {
    handle: H,
    activity: Rc<Activity>,
    stop: Stop,
    protocol: Protocol,
}

impl<H> Service<H> {
    pub(super) fn new(handle: H, activity: Rc<Activity>, stop: Stop, protocol: Protocol) -> Self {
        Self { handle, activity, stop, protocol }
    }
}

impl<H, F, B> hyper::service::Service<Request<Incoming>> for Service<H>
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>> + 'static,
    B: 'static,
{
    type Response = Response<Watched<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let under_way = self.activity.begin();
        let stop = self.stop.clone();
        let protocol = self.protocol;
        let answer = (self.handle)(request);
        Box::pin(async move {
            let mut response = answer.await.map(|body| Watched { body, _under_way: under_way });
            // HTTP/2 says it with GOAWAY, and forbids the header (RFC 9113, section 8.2.2).
            if protocol == Protocol::Http1 && stop.phase() >= Phase::Draining {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        })
    }
}

/// An answer's body, during which its request is under way.
#[derive(Debug)]
pub(super) struct Watched<B> {
    body: B,
    _under_way: UnderWay,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
