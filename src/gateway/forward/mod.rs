//! To which host a call goes, and how. [`send`] gives a [`Reply`].
//!
//! A call comes in with its permit and its UserSig. It leaves for the primary endpoint of its app's region, or for the
//! backup while nothing of it was sent: no connection, or a pooled one that the other side had closed. From the first
//! byte on there is no second try here, since the call may have been executed; whether to repeat it is decided by
//! whoever reads the failure. What comes out is the response, its body still to be read.
//!
//! What leaves is made here and nowhere else: the URL with the five parameters, and the few headers that travel.

pub mod rewrite;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use tokio::time::Instant;

use self::rewrite::{Auth, BadUrl};
use super::admission::{Permit, Remaining};
use super::credentials::UserSig;
use super::target::Target;
use crate::model::endpoint::Endpoint;
use crate::net::client::{self, Answer, Client, ConnectError, Connection, Departure, EgressProxy, SendError};

/// How calls reach Tencent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Until a connection must stand, TLS included.
    pub connect_timeout: Duration,
    /// Until one try must be answered in full.
    pub request_timeout: Duration,
    /// Until a whole call must be answered, waiting included.
    pub total_timeout: Duration,
    /// The CONNECT proxy to go through, if any.
    pub egress_proxy: Option<EgressProxy>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(20),
            egress_proxy: None,
        }
    }
}

/// What leaves, as far as the caller decides on it.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// Which app and API.
    pub target: &'a Target,
    /// The caller's own query, from which the five parameters are dropped.
    pub query: Option<&'a str>,
    /// The body: JSON.
    pub body: Bytes,
    /// The caller's `accept`.
    pub accept: Option<HeaderValue>,
}

/// How a call is sent.
#[derive(Debug, Clone, Copy)]
pub struct Sending<'a> {
    /// Until when the response's head must be there.
    pub deadline: Instant,
    /// Becomes true when the first byte is about to be written.
    pub under_way: &'a Rc<Cell<bool>>,
}

/// A response whose body is still to be read.
#[derive(Debug)]
pub struct Reply {
    /// The response.
    pub response: http::Response<Answer>,
    /// Where it came from.
    pub endpoint: Endpoint,
    /// When the try began.
    pub began: Instant,
    /// How the ceiling stands, a line for each of its periods; none without a ceiling.
    pub remaining: Vec<Remaining>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Failure {
    /// What happened.
    #[source]
    pub cause: Cause,
    /// Whether any byte of the call was written, so that it may have been executed.
    pub may_have_arrived: bool,
    /// Where it happened, if at an endpoint.
    pub endpoint: Option<Endpoint>,
}

/// What happened to a call without a response.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The caller's query cannot stand in a URL.
    #[error(transparent)]
    BadUrl(#[from] BadUrl),
    /// No endpoint of the region could be reached; this is how the last one failed.
    #[error(transparent)]
    Unreachable(#[from] ConnectError),
    /// The connection failed before there was an answer.
    #[error(transparent)]
    Broken(#[from] SendError),
    /// There was no answer in time.
    #[error("no answer in time")]
    Timeout,
}

/// How one try at one endpoint ended: for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// There was a response.
    Answered,
    /// There was no connection.
    Unreachable,
    /// A pooled connection had been closed by the other side; nothing was sent.
    Stale,
    /// The connection failed.
    Broken,
    /// There was no answer in time.
    Timeout,
}

impl Attempt {
    /// Its label in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Unreachable => "unreachable",
            Self::Stale => "stale",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
        }
    }
}

/// Sends a call and waits for the response's head. `ended` is told how each try ended.
///
/// Consumes the permit: whoever wants to send again asks for another. Dropped before the first byte was written, the
/// permit gives its token back; dropped later, the token is reckoned in transit.
///
/// # Errors
/// When there is no response. The failure says whether the call may have been executed.
pub async fn send(
    client: &Client,
    settings: &Settings,
    call: &Call<'_>,
    usersig: &UserSig,
    permit: Permit,
    sending: Sending<'_>,
    ended: &mut dyn FnMut(&Endpoint, Attempt),
) -> Result<Reply, Failure> {
    let deadline = sending.deadline;
    let app = &call.target.app;
    let endpoints = app.endpoints.of(call.target.api.name.family());
    let connecting = client::Settings {
        connect_timeout: settings.connect_timeout,
        egress_proxy: settings.egress_proxy.clone(),
    };
    let leaving = Rc::new(Leaving { permit: RefCell::new(permit), under_way: Rc::clone(sending.under_way) });
    let mut last = None;
    for endpoint in endpoints {
        // The second time round is for a pooled connection that turned out to be closed.
        for only_fresh in [false, true] {
            let failed = |cause, leaving: &Leaving| Failure {
                cause,
                may_have_arrived: leaving.permit.borrow().may_have_arrived(),
                endpoint: Some(endpoint.clone()),
            };
            let began = Instant::now();
            let connection = async {
                match only_fresh {
                    false => client.connection(endpoint, &app.extra_roots, &connecting).await,
                    true => client.fresh_connection(endpoint, &app.extra_roots, &connecting).await,
                }
            };
            let connection = match tokio::time::timeout_at(deadline, connection).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => {
                    ended(endpoint, Attempt::Unreachable);
                    last = Some(failed(error.into(), &leaving));
                    break;
                }
                Err(_) => {
                    ended(endpoint, Attempt::Timeout);
                    return Err(failed(Cause::Timeout, &leaving));
                }
            };
            let request = request(call, usersig, endpoint).map_err(|error| failed(error.into(), &leaving))?;
            let reused = connection.is_reused();
            match exchange(connection, request, &leaving, deadline).await {
                Ok(response) => {
                    ended(endpoint, Attempt::Answered);
                    let remaining = leaving.permit.borrow().remaining();
                    return Ok(Reply { response, endpoint: endpoint.clone(), began, remaining });
                }
                Err(Cause::Broken(_)) if reused && !leaving.permit.borrow().may_have_arrived() => {
                    ended(endpoint, Attempt::Stale);
                }
                Err(cause) => {
                    ended(
                        endpoint,
                        if matches!(cause, Cause::Timeout) { Attempt::Timeout } else { Attempt::Broken },
                    );
                    let failure = failed(cause, &leaving);
                    if failure.may_have_arrived || matches!(failure.cause, Cause::Timeout) {
                        return Err(failure);
                    }
                    last = Some(failure);
                    break;
                }
            }
        }
    }
    Err(last.unwrap_or(Failure { cause: Cause::Timeout, may_have_arrived: false, endpoint: None }))
}

async fn exchange(
    connection: Connection,
    request: Request<Bytes>,
    leaving: &Rc<Leaving>,
    deadline: Instant,
) -> Result<http::Response<Answer>, Cause> {
    let departure = Rc::clone(leaving) as Rc<dyn Departure>;
    match tokio::time::timeout_at(deadline, connection.send(request, departure)).await {
        Ok(response) => Ok(response?),
        Err(_) => Err(Cause::Timeout),
    }
}

/// A permit on its way out, told by the connection how far its call came.
#[derive(Debug)]
struct Leaving {
    permit: RefCell<Permit>,
    under_way: Rc<Cell<bool>>,
}

impl Departure for Leaving {
    fn writing(&self) {
        self.under_way.set(true);
        self.permit.borrow_mut().writing();
    }

    fn sent(&self) {
        self.permit.borrow_mut().sent();
    }

    fn answered(&self) {
        self.permit.borrow_mut().answered();
    }
}

/// The request as it leaves: a fresh random each time, and no header but those made here and the caller's `accept`.
fn request(call: &Call<'_>, usersig: &UserSig, endpoint: &Endpoint) -> Result<Request<Bytes>, BadUrl> {
    let app = &call.target.app;
    let auth = Auth {
        sdkappid: app.sdkappid,
        identifier: &app.identifier,
        usersig: usersig.expose(),
        random: fastrand::u32(..),
    };
    let url = rewrite::path_and_query(&call.target.api.url_path, call.query, &auth)?;
    let mut request = Request::new(call.body.clone());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from(url.into_inner());
    let headers = request.headers_mut();
    let host = HeaderValue::from_maybe_shared(Bytes::from(endpoint.authority().into_bytes()));
    headers.insert(header::HOST, host.map_err(|_| BadUrl::Character)?);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Answers are short and must be read here: packing them would cost both sides more than the bytes are worth.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    if let Some(accept) = &call.accept {
        headers.insert(header::ACCEPT, accept.clone());
    }
    Ok(request)
}

const USER_AGENT: &str = concat!("usersig-gateway/", env!("CARGO_PKG_VERSION"));
