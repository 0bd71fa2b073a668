//! One HTTP connection from a caller: HTTP/1.1 or HTTP/2 over whatever stream, with limits on time and size.
//!
//! A connection comes in with a service. The first bytes tell HTTP/1.1 from HTTP/2 with prior knowledge (over TLS the
//! handshake does). Then requests are served until the caller leaves, a limit is passed, or the process ends:
//!
//! - a request's head must be complete `header_timeout` after its first byte, else the answer is 408;
//! - without a request for `idle_timeout`, the connection is closed;
//! - while the process drains, answers say `connection: close`; once it closes, idle connections end at once and busy
//!   ones after their answer.

mod activity;
mod stream;

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::listener;
use super::stop::{Phase, Stop};
use activity::{Activity, Service};
use stream::{Protocol, Stream};

/// Limits on one connection.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest request line and headers together, in bytes; at least 8 KiB.
    pub header_bytes: usize,
    /// From the first byte of a request until its head must be complete; also for TLS to be set up.
    pub header_timeout: Duration,
    /// How long a connection may lie idle.
    pub idle_timeout: Duration,
    /// What is written to a caller whose head was too slow: a whole HTTP/1.1 response.
    pub too_slow: Bytes,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The caller left, or nothing was under way and it was time to go.
    Done,
    /// A request's head was not complete in time; the caller was told.
    SlowHead,
    /// A request's head was longer than allowed; the caller was told.
    LongHead,
    /// What came was no HTTP; the caller was told where that is possible.
    BadHead,
}

/// Serves one connection to its end.
///
/// Dropping the future closes the connection at once.
///
/// # Errors
/// When the connection failed, or the caller vanished in the middle of something.
pub async fn serve<H, F, B>(
    stream: listener::Stream,
    tls: Option<&TlsAcceptor>,
    limits: &Limits,
    stop: &Stop,
    handle: H,
) -> io::Result<End>
where
    H: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let activity = Rc::new(Activity::new());
    let opening = stream::open(stream, tls, Rc::clone(&activity));
    let Ok(opened) = tokio::time::timeout(limits.header_timeout.max(limits.idle_timeout), opening).await
    else {
        return Ok(End::Done); // nothing came at all
    };
    let (stream, protocol) = opened?;
    if protocol == Protocol::Http2 {
        activity.ignore_heads();
    }
    let service = Service::new(handle, Rc::clone(&activity), stop.clone(), protocol);
    match protocol {
        Protocol::Http1 => serve_http1(stream, service, &activity, limits, stop).await,
        Protocol::Http2 => serve_http2(stream, service, &activity, limits, stop).await,
    }
}

async fn serve_http1<H, F, B>(
    stream: Stream,
    service: Service<H>,
    activity: &Rc<Activity>,
    limits: &Limits,
    stop: &Stop,
) -> io::Result<End>
where
    H: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_buf_size(limits.header_bytes).half_close(false);
    let mut connection = builder.serve_connection(TokioIo::new(stream), service);
    let ended = {
        let mut limit = pin!(activity.limit_passed(limits));
        let mut closing = pin!(stop.wait_for(Phase::Closing));
        let mut closing_known = false;
        std::future::poll_fn(|cx| {
            if !closing_known && closing.as_mut().poll(cx).is_ready() {
                closing_known = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(Ended::ByItself(result));
            }
            limit.as_mut().poll(cx).map(Ended::ByLimit)
        })
        .await
    };
    match ended {
        Ended::ByItself(Ok(())) | Ended::ByLimit(Passed::Idle) => Ok(End::Done),
        Ended::ByItself(Err(error)) if error.is_parse_too_large() => Ok(End::LongHead),
        Ended::ByItself(Err(error)) if error.is_parse() => Ok(End::BadHead),
        Ended::ByItself(Err(error)) => Err(io::Error::other(error)),
        Ended::ByLimit(Passed::SlowHead) => {
            let mut stream = connection.into_parts().io.into_inner();
            tokio::time::timeout(limits.header_timeout, async {
                stream.write_all(&limits.too_slow).await?;
                stream.shutdown().await
            })
            .await??;
            Ok(End::SlowHead)
        }
    }
}

async fn serve_http2<H, F, B>(
    stream: Stream,
    service: Service<H>,
    activity: &Rc<Activity>,
    limits: &Limits,
    stop: &Stop,
) -> io::Result<End>
where
    H: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = http2::Builder::new(OnThisWorker);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_EVERY);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut limit = pin!(activity.limit_passed(limits));
    let mut closing = pin!(stop.wait_for(Phase::Closing));
    let mut leaving = false;
    std::future::poll_fn(|cx| {
        if !leaving && (closing.as_mut().poll(cx).is_ready() || limit.as_mut().poll(cx).is_ready()) {
            leaving = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    })
    .await
    .map_err(io::Error::other)?;
    Ok(End::Done)
}

enum Ended {
    ByItself(hyper::Result<()>),
    ByLimit(Passed),
}

/// Which limit a connection passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passed {
    /// No request for too long.
    Idle,
    /// A request's head began and did not end.
    SlowHead,
}

/// Runs what an HTTP/2 connection needs on the worker's own thread.
#[derive(Debug, Clone, Copy)]
struct OnThisWorker;

impl<F: Future + 'static> hyper::rt::Executor<F> for OnThisWorker {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// Calls at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// Finds out about a caller who is gone without a word.
const PING_EVERY: Duration = Duration::from_secs(30);
