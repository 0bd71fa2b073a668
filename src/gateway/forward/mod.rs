//! To which host a call goes, and how. [`send`] gives a [`Reply`].
//!
//! A call comes in with its permit and its UserSig. It leaves for the primary endpoint of its app's region, or for the
//! backup while nothing of it was sent: no connection, or a pooled one that the other side had closed. From the first
//! byte on there is no second try here, since the call may have been executed; whether to repeat it is decided by
//! whoever reads the failure. What comes out is the response, its body still to be read.
//!
//! An endpoint that fails is passed over for a while: [`Health`] remembers that for all workers. The certificate is
//! checked against the name of whichever endpoint it is, since the backup domains exist against DNS hijack. What
//! Tencent answers never moves a call to another endpoint.
//!
//! What leaves is made here and nowhere else: the URL with the five parameters, and the few headers that travel.

mod breaker;
mod health;
pub mod rewrite;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::{Instant, timeout_at};

pub use self::health::Health;

use self::breaker::{Fault, Visit};
use self::health::AppHealth;
use self::rewrite::{Auth, BadUrl, SignedTarget};
use super::admission::{Permit, Remaining};
use super::caller::Tie;
use super::credentials::UserSig;
use super::target::Target;
use crate::model::endpoint::Endpoint;
use crate::net::client::{
    self, Client, ConnectError, Connection, Departure, EgressProxy, FixedHeaders, Post, Response, SendError,
    fixed_headers,
};

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

/// With what calls are sent.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// The worker's connections.
    pub client: &'a Client,
    /// How to use them.
    pub settings: &'a Settings,
    /// How the endpoints are.
    pub health: &'a Health,
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
    /// Where the try before had no answer: the other endpoints go first.
    pub avoid: Option<&'a Endpoint>,
    /// The `traceparent` with which it leaves, if any.
    pub traceparent: Option<&'a HeaderValue>,
    /// What time it is.
    pub now: Instant,
}

/// A response whose body is still to be read.
#[derive(Debug)]
pub struct Reply<'a> {
    /// The response.
    pub response: Response,
    /// Where it came from.
    pub endpoint: &'a Endpoint,
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
    /// Its turn was withdrawn while the connection was made.
    #[error("the ceiling was lowered before the call could leave, and another turn did not come in time")]
    Withdrawn,
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
    /// Whether any of it may have been sent.
    #[must_use]
    pub fn was_sent(self) -> bool {
        !matches!(self, Self::Unreachable | Self::Stale)
    }

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
/// Consumes the permit that is leaving: whoever wants to send again asks for another. Dropped before the first byte was
/// written, the permit gives its token back; dropped later, the token is reckoned in transit.
///
/// # Errors
/// When there is no response. The failure says whether the call may have been executed.
pub async fn send<'a>(
    means: Means<'_>,
    call: &Call<'a>,
    usersig: &UserSig,
    leaving: Rc<Leaving>,
    sending: Sending<'_>,
    ended: &mut dyn FnMut(&Endpoint, Attempt),
) -> Result<Reply<'a>, Failure> {
    let app = &call.target.app;
    let health = means.health.of(app);
    let Sending { deadline, traceparent, .. } = sending;
    let departing = Departing { means, call, usersig, deadline, traceparent, health, leaving };
    let (mut last, mut now) = (None, Some(sending.now));
    let mut passed_over = Vec::new();
    for endpoint in app.endpoints.of(call.target.api.name.family()) {
        let is_avoided = sending.avoid == Some(endpoint);
        let lets = || means.health.lets(&departing.health, endpoint);
        let Some(visit) = (!is_avoided).then(lets).flatten() else {
            passed_over.push(endpoint);
            continue;
        };
        match departing.to(endpoint, visit, now.take(), ended).await {
            Err(failure) if failure.leaves_others() => last = Some(failure),
            result => return result,
        }
    }
    for endpoint in passed_over {
        match departing.to(endpoint, Visit::LastResort, now.take(), ended).await {
            Err(failure) if failure.leaves_others() => last = Some(failure),
            result => return result,
        }
    }
    Err(last.unwrap_or(Failure { cause: Cause::Timeout, may_have_arrived: false, endpoint: None }))
}

/// A call that is to leave, for whichever endpoint takes it.
struct Departing<'a> {
    means: Means<'a>,
    call: &'a Call<'a>,
    usersig: &'a UserSig,
    deadline: Instant,
    traceparent: Option<&'a HeaderValue>,
    health: AppHealth<'a>,
    leaving: Rc<Leaving>,
}

impl Departing<'_> {
    /// Tries one endpoint, over a new connection where a pooled one turned out to be closed. `now`: what time it is, if
    /// that is known.
    async fn to<'a>(
        &self,
        endpoint: &'a Endpoint,
        visit: Visit,
        mut now: Option<Instant>,
        ended: &mut dyn FnMut(&Endpoint, Attempt),
    ) -> Result<Reply<'a>, Failure> {
        // A trial is one of new connections: a pooled one may be dead without knowing.
        let mut only_fresh = visit == Visit::Trial;
        let target = signed(self.call, self.usersig).map_err(|error| self.failure(error.into(), endpoint))?;
        loop {
            let began = now.take().unwrap_or_else(Instant::now);
            let connection = match self.connect(endpoint, only_fresh, began).await {
                Ok(connection) => connection,
                Err(Cause::Unreachable(error)) => {
                    ended(endpoint, Attempt::Unreachable);
                    self.means.health.failed(&self.health, endpoint, visit, Fault::Unreachable, &error);
                    return Err(self.failure(error.into(), endpoint));
                }
                Err(cause) => {
                    ended(endpoint, Attempt::Timeout);
                    return Err(self.unanswered(cause, endpoint, visit, began));
                }
            };
            // Making the connection may have taken long. From here on nothing holds the call back.
            if !self.leaving.permit.borrow_mut().confirm() {
                connection.keep();
                return Err(Failure { cause: Cause::Withdrawn, may_have_arrived: false, endpoint: None });
            }
            let reused = connection.is_reused();
            match self.exchange(connection, &target, endpoint).await {
                Ok(response) => {
                    ended(endpoint, Attempt::Answered);
                    self.means.health.answered(
                        &self.health,
                        endpoint,
                        visit,
                        &response.headers,
                        response.came,
                    );
                    let remaining = self.leaving.permit.borrow_mut().take_remaining();
                    return Ok(Reply { response, endpoint, began, remaining });
                }
                Err(Cause::Broken(_)) if reused && !self.leaving.permit.borrow().may_have_arrived() => {
                    ended(endpoint, Attempt::Stale);
                    only_fresh = true;
                }
                Err(cause) => {
                    let timed_out = matches!(cause, Cause::Timeout);
                    ended(endpoint, if timed_out { Attempt::Timeout } else { Attempt::Broken });
                    return Err(self.unanswered(cause, endpoint, visit, began));
                }
            }
        }
    }

    /// No header travels but those made here, the caller's `accept`, and where spans are told the call's `traceparent`.
    async fn exchange(
        &self,
        connection: Connection,
        target: &SignedTarget,
        endpoint: &Endpoint,
    ) -> Result<Response, Cause> {
        let accept = self.call.accept.as_ref().map(HeaderValue::as_bytes);
        let traceparent = self.traceparent.map(HeaderValue::as_bytes);
        let post = Post {
            target: target.expose(),
            host: endpoint.authority(),
            fixed: &HEADERS,
            headers: &[("accept", accept), ("traceparent", traceparent)],
            body: &self.call.body,
            answered_by: self.deadline,
        };
        match connection.send(post, Rc::clone(&self.leaving) as Rc<dyn Departure>).await {
            Ok(response) => Ok(response),
            Err(error) if error.is_too_late() => Err(Cause::Timeout),
            // It waited for nothing, though not to its own end.
            Err(error) if error.is_silence() && self.leaving.permit.borrow().may_have_arrived() => {
                Err(Cause::Timeout)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn connect(
        &self,
        endpoint: &Endpoint,
        only_fresh: bool,
        now: Instant,
    ) -> Result<Connection, Cause> {
        let Means { client, settings, .. } = self.means;
        let connecting = client::Settings {
            connect_timeout: settings.connect_timeout,
            egress_proxy: settings.egress_proxy.as_ref(),
        };
        let roots = &self.call.target.app.extra_roots;
        if !only_fresh && let Some(connection) = client.connection_at_hand(endpoint, roots, &connecting, now)
        {
            return Ok(connection);
        }
        // Boxed, since it is large and few calls need it.
        let connected = timeout_at(
            self.deadline,
            Box::pin(async {
                match only_fresh {
                    false => client.connection(endpoint, roots, &connecting, now).await,
                    true => client.fresh_connection(endpoint, roots, &connecting).await,
                }
            }),
        );
        Ok(connected.await.map_err(|_| Cause::Timeout)??)
    }

    /// A failure that speaks against the endpoint, unless the caller had no time for an answer.
    fn unanswered(&self, cause: Cause, endpoint: &Endpoint, visit: Visit, began: Instant) -> Failure {
        if !matches!(cause, Cause::Timeout) || began.elapsed() >= TIME_FOR_AN_ANSWER {
            self.means.health.failed(&self.health, endpoint, visit, Fault::Unanswered, &cause);
        }
        self.failure(cause, endpoint)
    }

    fn failure(&self, cause: Cause, endpoint: &Endpoint) -> Failure {
        let may_have_arrived = self.leaving.permit.borrow().may_have_arrived();
        Failure { cause, may_have_arrived, endpoint: Some(endpoint.clone()) }
    }
}

impl Failure {
    /// Whether another endpoint may be tried: nothing was sent, and there is time.
    fn leaves_others(&self) -> bool {
        !self.may_have_arrived && matches!(self.cause, Cause::Unreachable(_) | Cause::Broken(_))
    }
}

/// A permit on its way out, told by the connection how far its call came.
#[derive(Debug)]
pub struct Leaving {
    permit: RefCell<Permit>,
    tie: Tie,
}

impl Leaving {
    /// The `tie` is told when the first bytes are being written.
    #[must_use]
    pub fn with(permit: Permit, tie: &Tie) -> Rc<Self> {
        Rc::new(Self { permit: RefCell::new(permit), tie: tie.clone() })
    }
}

impl Departure for Leaving {
    fn may_leave(&self) -> bool {
        self.permit.borrow().may_leave()
    }

    fn writing(&self) {
        self.tie.begin();
        self.permit.borrow_mut().writing();
    }

    fn sent(&self) {
        self.permit.borrow_mut().sent();
    }

    fn answered(&self, now: Instant) {
        self.permit.borrow_mut().answered(now);
    }
}

/// Where a call goes, with a fresh random each time.
fn signed(call: &Call<'_>, usersig: &UserSig) -> Result<SignedTarget, BadUrl> {
    let app = &call.target.app;
    let auth = Auth {
        sdkappid: app.sdkappid,
        identifier: &app.identifier,
        usersig: usersig.expose(),
        random: fastrand::u32(..),
    };
    rewrite::path_and_query(&call.target.api.url_path, call.query, &auth)
}

/// The headers with which every call leaves. Answers are short and must be read here: packing them would cost both sides
/// more than the bytes are worth.
static HEADERS: FixedHeaders = fixed_headers! {
    "content-type": "application/json",
    "accept-encoding": "identity",
    "user-agent": concat!("usersig-gateway/", env!("CARGO_PKG_VERSION")),
};

/// A caller who gives less time than this learns nothing about an endpoint that stays silent.
const TIME_FOR_AN_ANSWER: Duration = Duration::from_millis(500);
