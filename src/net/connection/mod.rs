//! One HTTP connection from a caller: HTTP/1.1 or HTTP/2 over whatever stream, with limits on time and size.
//!
//! A connection comes in with a service. The first bytes tell HTTP/1.1 from HTTP/2 with prior knowledge (over TLS the
//! handshake does). Then requests are served until the caller leaves, a limit is passed, or the process ends:
//!
//! - a request's head must be complete `header_timeout` after its first byte, or after the answer before it, or a second
//!   later where its beginning came in one piece with the request before;
//! - a head that is too slow or too long, or that is no HTTP, ends the connection with a refusal in the caller's words
//!   (over HTTP/2 with the protocol's own means);
//! - a request that is answered before all of it was read ends the connection, once the caller had time to read that;
//! - without a request for a second, the connection gives its buffers back, and without one for `idle_timeout` it is
//!   closed;
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
mod quiet;
mod stream;

#[cfg(test)]
mod tests;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_rustls::TlsAcceptor;

use super::listener;
use super::stop::{Phase, Stop};
use super::tls::ClientNames;
use activity::{Activity, GOODBYE_WITHIN};
pub use answer::RequestBody;
use answer::Service;
use quiet::QuietWaker;
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
}

/// Why no request could be read from a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// A request's head was not complete in time.
    SlowHead,
    /// A request's head was longer than allowed.
    LongHead,
    /// What came was no HTTP.
    BadHead,
}

/// Serves one connection to its end. `service` is told the names that the caller proved to have, which are known before
/// its first request, and gives what handles its requests. `refuse` is told when no request can be read any more, and
/// gives what the caller is told then: a whole HTTP/1.1 response.
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
    refuse: impl FnOnce(Unreadable) -> Bytes,
) -> io::Result<()>
where
    H: Fn(Request<RequestBody>) -> F + Clone + 'static,
    F: Future<Output = Response<B>> + Unpin + 'static,
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
        () = closing_and_silent(stop) => return Ok(()),
    };
    let (stream, protocol) = match opened {
        Opened::Open(stream, protocol) => (stream, protocol),
        Opened::SlowHead(stream) => {
            tell(stream, &refuse(Unreadable::SlowHead)).await;
            return Ok(());
        }
        Opened::Late => return Ok(()),
    };
    if protocol == Protocol::Http2 {
        activity.ignore_heads();
    }
    let handle = service(stream.client_names());
    let service = Service::new(handle, Rc::clone(&activity), stop.clone(), protocol);
    let mut stream = match protocol {
        Protocol::Http1 => stream,
        Protocol::Http2 => return serve_http2(stream, service, &activity, limits, stop).await,
    };
    loop {
        stream = match serve_http1(stream, service.clone(), &activity, limits, stop).await? {
            Served::ToItsEnd => return Ok(()),
            Served::Resting(stream) => match rest(stream, &activity, limits, stop).await? {
                Some(stream) => stream,
                None => return Ok(()),
            },
            Served::Unread(stream) => {
                tell(stream, b"").await;
                return Ok(());
            }
            Served::Unreadable(stream, why) => {
                tell(stream, &refuse(why)).await;
                return Ok(());
            }
        };
    }
}

/// Waits for an idle caller's next request, with nothing but the stream: the HTTP library holds 24 KiB of buffers for as
/// long as it has a connection. Gives the stream back when bytes came.
async fn rest(
    mut stream: Stream,
    activity: &Activity,
    limits: &Limits,
    stop: &Stop,
) -> io::Result<Option<Stream>> {
    tokio::select! {
        biased;
        wakes = stream.wakes() => Ok(wakes?.then_some(stream)),
        () = closing_and_silent(stop) => Ok(None),
        _ = activity.limit_passed(limits) => Ok(None),
    }
}

/// Waits until the process closes, and then for as long as it takes to learn what came before that: a stream that was
/// just accepted is not known to be readable before the event loop has turned once.
async fn closing_and_silent(stop: &Stop) {
    stop.wait_for(Phase::Closing).await;
    tokio::task::yield_now().await;
}

enum Opened {
    Open(Stream, Protocol),
    /// The first head began and did not end in time.
    SlowHead(Stream),
    /// Another limit was passed before that.
    Late,
}

async fn open(
    stream: listener::Stream,
    tls: Option<&TlsAcceptor>,
    limits: &Limits,
    activity: &Rc<Activity>,
) -> io::Result<Opened> {
    let opening = Stream::open(stream, tls, Rc::clone(activity));
    let Ok(stream) = tokio::time::timeout(limits.header_timeout, opening).await else {
        return Ok(Opened::Late);
    };
    let mut stream = stream?;
    let passed = tokio::select! {
        biased;
        protocol = stream.protocol() => return Ok(Opened::Open(stream, protocol?)),
        passed = activity.limit_passed(limits) => passed,
    };
    Ok(match passed {
        Passed::SlowHead => Opened::SlowHead(stream),
        Passed::Idle | Passed::Stuck => Opened::Late,
    })
}

/// Gives the stream back when no request can be read from it any more.
async fn serve_http1<H, F, B>(
    stream: Stream,
    service: Service<H>,
    activity: &Rc<Activity>,
    limits: &Limits,
    stop: &Stop,
) -> io::Result<Served>
where
    H: Fn(Request<RequestBody>) -> F + Clone + 'static,
    F: Future<Output = Response<B>> + Unpin + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut builder = http1::Builder::new();
    // When a caller hangs up during its call, its stream says so: the library need not look.
    builder.header_read_timeout(None).max_buf_size(limits.header_bytes).half_close(true);
    let mut connection = builder.serve_connection(TokioIo::new(stream), service);
    let unreadable = {
        let mut limit = pin!(activity.limit_passed(limits));
        let mut rests = pin!(activity.rests());
        let mut closing = pin!(stop.wait_for(Phase::Closing));
        let mut is_closing = false;
        let mut was_left = false;
        let mut waker = QuietWaker::default();
        loop {
            tokio::select! {
                // First, so that a request that has come already is answered.
                biased;
                ended = poll_fn(|cx| {
                    let ended =
                        Pin::new(&mut connection).poll(&mut Context::from_waker(waker.of(cx)));
                    // Only when it is asked once more has the library seen what was left, and closes or goes on.
                    let is_left = ended.is_pending() && activity.has_answered_unread();
                    if is_left && was_left {
                        activity.goes_on();
                    } else if is_left {
                        cx.waker().wake_by_ref();
                    }
                    was_left = is_left && !was_left;
                    ended
                }) => match ended {
                    Ok(()) if !activity.has_left_unread() => return Ok(Served::ToItsEnd),
                    Ok(()) => return Ok(Served::Unread(connection.into_parts().io.into_inner())),
                    Err(error) if error.is_parse_too_large() => break Unreadable::LongHead,
                    Err(error) if error.is_parse() => break Unreadable::BadHead,
                    Err(error) => return Err(io::Error::other(error)),
                },
                passed = activity.unless_in_call(limit.as_mut()) => match passed {
                    Passed::SlowHead => break Unreadable::SlowHead,
                    Passed::Idle | Passed::Stuck => return Ok(Served::ToItsEnd),
                },
                () = activity.unless_in_call(rests.as_mut()) => {
                    let parts = connection.into_parts();
                    // Where the next head began right behind a request, the library has read some of it.
                    return Ok(Served::Resting(parts.io.into_inner().put_back(&parts.read_buf)));
                }
                () = activity.unless_in_call(closing.as_mut()), if !is_closing => {
                    is_closing = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
    };
    Ok(Served::Unreadable(connection.into_parts().io.into_inner(), unreadable))
}

/// How an HTTP/1.1 connection came to its end.
enum Served {
    ToItsEnd,
    /// It has not ended: nothing has happened for a while.
    Resting(Stream),
    /// The last request was answered before it was read to its end.
    Unread(Stream),
    Unreadable(Stream, Unreadable),
}

/// Tells a caller why the connection ends, if that was not said, and leaves it time to read that: what comes meanwhile
/// is thrown away, since the kernel would drop the words with a connection that is closed before all of its bytes were
/// read (RFC 9112, section 9.6).
async fn tell(mut stream: Stream, words: &[u8]) {
    let told = async {
        stream.say_last(words).await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    // Whether it was heard or not, the connection is done.
    let _: Result<io::Result<u64>, _> = tokio::time::timeout(GOODBYE_WITHIN, told).await;
}

async fn serve_http2<H, F, B>(
    stream: Stream,
    service: Service<H>,
    activity: &Rc<Activity>,
    limits: &Limits,
    stop: &Stop,
) -> io::Result<()>
where
    H: Fn(Request<RequestBody>) -> F + Clone + 'static,
    F: Future<Output = Response<B>> + Unpin + 'static,
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
        ended = connection.as_mut() => return ended.map_err(io::Error::other),
        _ = activity.limit_passed(limits) => {}
        () = stop.wait_for(Phase::Closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        ended = connection.as_mut() => ended.map_err(io::Error::other),
        () = activity.nothing_gets_on(limits) => Ok(()),
    }
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
