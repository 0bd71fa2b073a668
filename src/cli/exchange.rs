//! One HTTP request to a running gateway, and its answer: what `call`, `healthcheck` and `wait` speak with.
//!
//! Each request opens a connection of its own, over TCP or a Unix socket, and speaks plain HTTP/1.1. No proxy of the
//! environment is used: the gateway stands beside its callers. The answer is read whole, up to [`LONGEST_ANSWER`].
//! What can go wrong is an [`ExchangeError`]: nothing listens, the connection breaks, the time runs out.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Uri};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::LocalRuntime;

use crate::model::duration;
use crate::net::body::{ReadError, read_capped};

/// The longest answer that is read, in bytes: well above what a gateway passes on by default (16 MiB).
pub(super) const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// Where one of a gateway's listeners is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Server {
    /// A host and, unless it is 80, a port.
    Tcp(Authority),
    /// A Unix socket's path.
    Unix(PathBuf),
}

/// Why a text is no [`Server`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a listener is written http://HOST:PORT or unix:PATH, without user, path and query")]
pub(super) struct BadServer;

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why no answer came back.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error("nothing listens at {server}: is the gateway running there?")]
    NothingListens { server: Server, source: io::Error },
    #[error("cannot connect to {server}: {source}")]
    Connect { server: Server, source: io::Error },
    #[error("the exchange with {server} broke: {}", causes(.source))]
    Broken { server: Server, source: hyper::Error },
    #[error("the answer of {server} is longer than {LONGEST_ANSWER} bytes")]
    TooLong { server: Server },
    #[error("{server} has not answered within {}", duration::format(*.after))]
    TimedOut { server: Server, after: Duration },
}

/// Sends `request`, whose target is a path, and reads the answer whole.
///
/// # Errors
/// When no whole answer is there within `timeout`.
pub(super) async fn exchange(
    server: &Server,
    request: Request<Full<Bytes>>,
    timeout: Duration,
) -> Result<Answer, ExchangeError> {
    tokio::time::timeout(timeout, connect_and_speak(server, request))
        .await
        .unwrap_or_else(|_| Err(ExchangeError::TimedOut { server: server.clone(), after: timeout }))
}

/// Runs `work` on a runtime of this thread's own.
///
/// # Errors
/// When the operating system gives no runtime.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = LocalRuntime::new()?;
    let result = runtime.block_on(work);
    // A name look-up that outlives its timeout holds a thread, for which an ordinary drop would wait.
    runtime.shutdown_background();
    Ok(result)
}

async fn connect_and_speak(
    server: &Server,
    mut request: Request<Full<Bytes>>,
) -> Result<Answer, ExchangeError> {
    let no_connection = |source| ExchangeError::no_connection(server, source);
    request.headers_mut().insert(header::HOST, server.host_header());
    match server {
        Server::Tcp(authority) => {
            let host = authority.host().trim_start_matches('[').trim_end_matches(']');
            let port = authority.port_u16().unwrap_or(80);
            let stream = TcpStream::connect((host, port)).await.map_err(no_connection)?;
            speak(server, TokioIo::new(stream), request).await
        }
        Server::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(no_connection)?;
            speak(server, TokioIo::new(stream), request).await
        }
    }
}

async fn speak<S>(server: &Server, stream: S, request: Request<Full<Bytes>>) -> Result<Answer, ExchangeError>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let broken = |source| ExchangeError::Broken { server: server.clone(), source };
    let (mut sender, connection) = http1::handshake(stream).await.map_err(broken)?;
    // What goes wrong on the connection comes out of the sender and the body as well.
    tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
    let body = read_capped(body, LONGEST_ANSWER).await.map_err(|error| match error {
        ReadError::TooLong { .. } => ExchangeError::TooLong { server: server.clone() },
        ReadError::Broken(source) => broken(source),
    })?;
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

/// Text of the other side's, made fit for a terminal: no control character survives.
pub(super) fn printable(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

// === impl Server ===

impl Server {
    fn host_header(&self) -> HeaderValue {
        match self {
            Self::Tcp(authority) => HeaderValue::from_str(authority.as_str())
                .expect("an authority is made of characters that a header value may hold"),
            Self::Unix(_) => HeaderValue::from_static("localhost"),
        }
    }
}

impl FromStr for Server {
    type Err = BadServer;

    fn from_str(text: &str) -> Result<Self, BadServer> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(BadServer) } else { Ok(Self::Unix(path.into())) };
        }
        let uri: Uri = text.parse().map_err(|_| BadServer)?;
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none() && !text.contains(['@', '#']);
        let authority = uri.authority().ok_or(BadServer)?;
        // What follows the host is a colon and a port from 1 to 65535, or nothing.
        let port_fits = match authority.port_u16() {
            Some(port) => port != 0,
            None => authority.as_str() == authority.host(),
        };
        if uri.scheme_str() == Some("http") && bare && port_fits {
            Ok(Self::Tcp(authority.clone()))
        } else {
            Err(BadServer)
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

// === impl ExchangeError ===

impl ExchangeError {
    fn no_connection(server: &Server, source: io::Error) -> Self {
        let server = server.clone();
        match source.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                Self::NothingListens { server, source }
            }
            _ => Self::Connect { server, source },
        }
    }
}

/// An error and what caused it, in one line: hyper's own words leave the cause out.
fn causes(error: &dyn Error) -> String {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_and_written_alike() {
        for good in
            ["http://127.0.0.1:8080", "http://[::1]:9901", "http://gateway.prod", "unix:/run/gateway.sock"]
        {
            assert_eq!(good.parse::<Server>().unwrap().to_string(), good);
        }
        assert_eq!("http://gateway:1/".parse::<Server>().unwrap().to_string(), "http://gateway:1");
    }

    #[test]
    fn what_is_no_listener_is_refused() {
        for bad in [
            "",
            "unix:",
            "127.0.0.1:8080",
            "gateway",
            "https://gateway",
            "http://",
            "http://gateway:0",
            "http://gateway:",
            "http://gateway:65536",
            "http://gateway/v4",
            "http://gateway?a=b",
            "http://gateway#a",
            "http://me@gateway",
        ] {
            assert_eq!(bad.parse::<Server>(), Err(BadServer), "{bad}");
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable(" not ready\x1b[2J\nno key\r\n"), "not ready [2J\nno key");
    }
}
