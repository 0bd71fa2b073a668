//! One HTTP connection from a caller: HTTP/1.1 or HTTP/2 over whatever stream, with limits on time and size.
//!
//! A connection comes in with a service. The first bytes tell HTTP/1.1 from HTTP/2 with prior knowledge (over TLS the
//! handshake does). Then requests are served until the caller leaves, a limit is passed, or the process ends:
//!
//! - a request's head must be complete `header_timeout` after its first byte, else the answer is 408;
//! - without a request for `idle_timeout`, the connection is closed;
//! - a caller who does not take its answer, not a byte for `idle_timeout` or less than some KiB a second, is closed as
//!   well;
//! - while the process drains, answers say `connection: close`; once it closes, silent and idle connections end at once
//!   and busy ones after their answer.
//!
//! Over HTTP/2, where other calls may be under way, closing begins with a goodbye. A connection on which nothing gets on
//! any more is dropped a few seconds later, whether the caller heard it or not.

mod activity;
mod answer;
mod pace;
mod stream;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
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
use super::tls::ClientNames;
use activity::Activity;
use answer::Service;
use stream::{Protocol, Stream};

/// Limits on one connection.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest request line and headers together, in bytes; at least 8 KiB.
    pub header_bytes: usize,
    /// From the first byte of a request until its head must be complete; also for TLS to be set up.
    pub header_timeout: Duration,
    /// How long a connection may lie idle, or an answer wait for the caller to take some of it.
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

/// Serves one connection to its end. `service` is told the names that the caller proved to have, which are known before
/// its first request, and gives what handles its requests.
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
    service: impl FnOnce(ClientNames) -> H,
) -> io::Result<End>
where
    H: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let activity = Rc::new(Activity::new());
    let opening = open(stream, tls, limits, &activity);
    let opened = tokio::select! {
        // First, so that a caller that has spoken already is heard.
        biased;
        opened = opening => opened?,
        // What was not even begun is no loss.
        () = stop.wait_for(Phase::Closing) => return Ok(End::Done),
    };
    let (stream, protocol) = match opened {
        Opened::Open(stream, protocol) => (stream, protocol),
        Opened::Late(end) => return Ok(end),
    };
    if protocol == Protocol::Http2 {
        activity.ignore_heads();
    }
    let handle = service(stream.client_names());
    let service = Service::new(handle, Rc::clone(&activity), stop.clone(), protocol);
    match protocol {
        Protocol::Http1 => serve_http1(stream, service, &activity, limits, stop).await,
        Protocol::Http2 => serve_http2(stream, service, &activity, limits, stop).await,
    }
}

enum Opened {
    Open(Stream, Protocol),
    /// A limit was passed before that.
    Late(End),
}

async fn open(
    stream: listener::Stream,
    tls: Option<&TlsAcceptor>,
    limits: &Limits,
    activity: &Rc<Activity>,
) -> io::Result<Opened> {
    let opening = Stream::open(stream, tls, Rc::clone(activity));
    let Ok(stream) = tokio::time::timeout(limits.header_timeout, opening).await else {
        return Ok(Opened::Late(End::Done));
    };
    let mut stream = stream?;
    let passed = tokio::select! {
        biased;
        protocol = stream.protocol() => return Ok(Opened::Open(stream, protocol?)),
        passed = activity.limit_passed(limits) => passed,
    };
    match passed {
        Passed::SlowHead => tell_too_slow(stream, limits).await,
        Passed::Idle | Passed::Stuck => {}
    }
    Ok(Opened::Late(passed.end()))
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
    let passed = {
        let mut limit = pin!(activity.limit_passed(limits));
        let mut closing = pin!(stop.wait_for(Phase::Closing));
        let mut is_closing = false;
        loop {
            tokio::select! {
                // First, so that a request that has come already is answered.
                biased;
                ended = &mut connection => return end_of_http1(ended),
                passed = &mut limit => break passed,
                () = &mut closing, if !is_closing => {
                    is_closing = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
    };
    if passed == Passed::SlowHead {
        tell_too_slow(connection.into_parts().io.into_inner(), limits).await;
    }
    Ok(passed.end())
}

fn end_of_http1(ended: hyper::Result<()>) -> io::Result<End> {
    match ended {
        Ok(()) => Ok(End::Done),
        Err(error) if error.is_parse_too_large() => Ok(End::LongHead),
        Err(error) if error.is_parse() => Ok(End::BadHead),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Tells a caller that its request's head was too slow. No answer is under way then, so nothing is cut in two.
async fn tell_too_slow(mut stream: Stream, limits: &Limits) {
    let told = async {
        stream.write_all(&limits.too_slow).await?;
        stream.shutdown().await
    };
    // Whether it was heard or not, the connection is done.
    let _: Result<io::Result<()>, _> = tokio::time::timeout(limits.header_timeout, told).await;
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
    tokio::select! {
        biased;
        ended = connection.as_mut() => return end_of_http2(ended),
        _ = activity.limit_passed(limits) => {}
        () = stop.wait_for(Phase::Closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        ended = connection.as_mut() => end_of_http2(ended),
        () = activity.nothing_gets_on(limits) => Ok(End::Done),
    }
}

fn end_of_http2(ended: hyper::Result<()>) -> io::Result<End> {
    ended.map(|()| End::Done).map_err(io::Error::other)
}

/// Which limit a connection passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passed {
    /// No request for too long.
    Idle,
    /// A request's head began and did not end.
    SlowHead,
    /// The caller does not take its answer.
    Stuck,
}

impl Passed {
    fn end(self) -> End {
        match self {
            Self::Idle | Self::Stuck => End::Done,
            Self::SlowHead => End::SlowHead,
        }
    }
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
