//! The way of one call, a line a step; and around it what happens whatever the call becomes: a record and a reply.

mod in_flight;
mod request;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body::Body;

pub use self::in_flight::InFlight;
use self::in_flight::Place;
use self::request::{Deadline, Said, only_post, read_body};
use super::admission::Admission;
use super::attempt::Budgets;
use super::caller::{self, Caller, Tie};
use super::credentials::Credentials;
use super::forward::{Call, Health};
use super::record::Record;
use super::rejection::Rejection;
use super::reply::{self, Aside, Content, Relayed, ReplyBody};
use super::target::{self, Apis};
use super::trip::Trips;
use super::{HttpStatus, Limits, Settings, attempt, policy};
use crate::clock::timed;
use crate::net::body::Room;
use crate::net::client::{Client, OwnListeners};
use crate::net::listener::Peer;
use crate::net::remote::Remote;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// What a reload replaces.
    pub live: ArcSwap<Settings>,
    /// The APIs that are known or were called.
    pub apis: Apis,
    /// The ceilings.
    pub admission: Admission,
    /// The UserSigs.
    pub credentials: Arc<Credentials>,
    /// Which apps are tripped.
    pub trips: Trips,
    /// How the endpoints are.
    pub health: Health,
    /// How many retries may be made.
    pub budgets: Budgets,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Bounds on what a caller can send.
    pub limits: Limits,
    /// Calls under way.
    pub in_flight: Arc<InFlight>,
    /// Memory for bodies.
    pub room: Arc<Room>,
    /// Where no call is sent.
    pub own_listeners: OwnListeners,
    /// What begins traces, if they are switched on.
    pub traces: Option<Arc<Traces>>,
}

/// One worker's gateway.
#[derive(Debug, Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
    client: Client,
}

impl Gateway {
    /// A worker's part of the gateway, with connections of its own.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        let client = Client::avoiding(shared.own_listeners.clone());
        Self { shared, client }
    }

    /// Takes a call and gives the reply.
    ///
    /// A caller who hangs up drops the future. What was not yet sent is given up then; what was sent runs to its end on
    /// this worker, unheard but recorded. A panic costs its own call a 500 and nobody else anything.
    pub fn handle<B>(
        &self,
        request: Request<B>,
        remote: Remote,
    ) -> impl Future<Output = Response<ReplyBody>> + use<B>
    where
        B: Body + 'static,
    {
        // One settings snapshot for the whole call.
        let live = self.shared.live.load_full();
        let http_status = live.answers.http_status;
        let caller = Box::new(caller::identify(request.headers(), remote, &live.callers));
        let request_id = request_id(&caller);
        let tie = Tie::default();
        let mut record =
            Record::begin(&self.shared.metrics, live.record, &caller, Arc::clone(&request_id), tie.clone());
        record.trace(self.shared.traces.as_ref(), request.headers());

        let call = {
            let (gateway, tie) = (self.clone(), tie.clone());
            let (head, body) = request.into_parts();
            // What a block takes with it lies in its future once; the arguments of an `async fn` lie there twice, and the
            // whole future is moved to where it stays.
            async move {
                let (place, result) = match gateway.shared.in_flight.enter() {
                    Ok(place) => {
                        let steps = pin!(gateway.steps(&live, caller, &head, body, &tie, &mut record));
                        (Some(place), steps.await)
                    }
                    Err(overloaded) => (None, Err(overloaded)),
                };
                record_and_reply(record, result, place, http_status, head.headers)
            }
        };
        let failed = move || reply::reject(&Rejection::Panicked, http_status, &Aside::of_unsent(&request_id));
        ToItsEnd { call: Some(Box::pin(call)), tie, failed }
    }

    /// Refuses a call without a look at what it wants, and records that.
    #[must_use]
    pub fn turn_away<B>(
        &self,
        request: &Request<B>,
        remote: Remote,
        rejection: &Rejection,
    ) -> Response<ReplyBody> {
        let live = self.shared.live.load();
        let caller = caller::identify(request.headers(), remote, &live.callers);
        let request_id = request_id(&caller);
        let aside = Aside::of_unsent(&request_id);
        let response = reply::reject(rejection, live.answers.http_status, &aside);
        let length = usize::try_from(response.body().size_hint().lower()).unwrap_or(0);
        Record::begin(&self.shared.metrics, live.record, &caller, request_id, Tie::default())
            .rejected(rejection, length);
        response
    }

    /// Records the refusal of a caller whose request cannot be read, and gives what it is told: the bytes of a whole
    /// HTTP/1.1 response.
    #[must_use]
    pub fn refuse(&self, rejection: &Rejection) -> Bytes {
        let settings = self.shared.live.load();
        let nobody = caller::nobody(Peer::Uid(None));
        let request_id = made_request_id();
        let words = reply::as_bytes(rejection, settings.answers.http_status, &request_id);
        Record::begin(&self.shared.metrics, settings.record, &nobody, request_id, Tie::default())
            .rejected(rejection, 0);
        words
    }

    async fn steps<B: Body>(
        &self,
        live: &Settings,
        caller: Box<Caller>,
        head: &Parts,
        body: B,
        tie: &Tie,
        record: &mut Record,
    ) -> Result<Box<Relayed>, Rejection> {
        let shared = &*self.shared;
        policy::may_call(&caller)?;
        let said = Said::by(&head.headers);
        said.one_host(head.version)?;
        said.only_chunked()?;
        // Before what is called is looked at: a page that rebound its name to this address may send a GET without a
        // browser's marks, and reads what comes back. No refusal of it tells which apps there are.
        only_post(&head.method)?;
        let target = target::resolve(head.uri.path(), head.uri.query(), &live.apps, &shared.apis)?;
        record.target(&target);
        let mut grant = policy::allow(caller, target, &live.rules)?;
        let deadline = Deadline::of(record.began(), grant.caller());
        let part = shared.room.for_request();
        let (body, now) =
            timed(pin!(read_body(body, &said, part, &shared.limits, deadline)), record.began()).await;
        let body = body?;
        record.body(body.len());
        let deadline = deadline.of_call(now, live.upstream.total_timeout);
        if grant.identify(&shared.apis) {
            record.target(grant.target());
        }
        let call = Call { target: grant.target(), query: head.uri.query(), body, accept: said.accept() };
        let means = attempt::Means {
            admission: &shared.admission,
            credentials: &shared.credentials,
            trips: &shared.trips,
            health: &shared.health,
            budgets: &shared.budgets,
            client: &self.client,
            live,
            longest_answer: shared.limits.answer_body,
            room: &shared.room,
        };
        pin!(attempt::run(&means, &grant, &call, (now, deadline), tie, record)).await
    }
}

fn record_and_reply(
    record: Record,
    result: Result<Box<Relayed>, Rejection>,
    place: Option<Place>,
    http_status: HttpStatus,
    headers: HeaderMap,
) -> Response<ReplyBody> {
    let request_id = Arc::clone(record.request_id());
    let api = record.api().map(Arc::clone);
    let aside = Aside {
        request_id: &request_id,
        api: api.as_deref(),
        wait: record.wait(),
        upstream: record.upstream(),
        attempts: record.attempts(),
    };
    match result {
        Ok(mut relayed) => {
            record_relayed(record, &mut relayed, place);
            reply::relay(*relayed, headers, &aside)
        }
        Err(rejection) => {
            let response = reply::reject(&rejection, http_status, &aside);
            record.rejected(&rejection, usize::try_from(response.body().size_hint().lower()).unwrap_or(0));
            response
        }
    }
}

/// Ends the record now and gives up the place, or lets a long answer do both.
fn record_relayed(record: Record, relayed: &mut Relayed, place: Option<Place>) {
    let status = relayed.status;
    match &mut relayed.content {
        Content::Whole { body, reading, outcome } => record.relayed(reading, *outcome, status, body.len()),
        Content::Long(long) => {
            long.when_ended(Box::new(move |result, came| {
                record.relayed_long(result, status, came);
                drop(place);
            }));
        }
    }
}

/// The caller's own, or one that is made.
fn request_id(caller: &Caller) -> Arc<str> {
    caller.wishes().request_id.as_ref().map_or_else(made_request_id, |id| id.as_str().into())
}

/// `gw-` and 32 hexadecimal digits.
fn made_request_id() -> Arc<str> {
    let mut id = *b"gw-00000000000000000000000000000000";
    for digits in id[3..].chunks_exact_mut(8) {
        digits.copy_from_slice(&hexadecimal(fastrand::u32(..)));
    }
    std::str::from_utf8(&id).expect("all of it is ASCII").into()
}

/// All eight digits at once, a byte each. An id takes 400 instructions so, 500 a digit at a time, and 1,450 by `format!`.
fn hexadecimal(number: u32) -> [u8; 8] {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let pairs = u64::from(number);
    let pairs = (pairs | pairs << 16) & 0x0000_ffff_0000_ffff;
    let pairs = (pairs | pairs << 8) & 0x00ff_00ff_00ff_00ff;
    let values = (pairs | pairs << 4) & (0x0f * EACH);
    // From ten on, a value and six reach sixteen.
    let letters = (values + 6 * EACH) >> 4 & EACH;
    let to_letter = u64::from(b'a' - b'9' - 1);
    (values + u64::from(b'0') * EACH + letters * to_letter).to_be_bytes()
}

/// A call that is not given up once any of it was sent, and whose panic becomes a reply.
struct ToItsEnd<F: Future + 'static, R> {
    call: Option<Pin<Box<F>>>,
    tie: Tie,
    failed: R,
}

impl<F: Future + 'static, R: Fn() -> F::Output + Unpin> Future for ToItsEnd<F, R> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(call) = &mut self.call else { return Poll::Pending };
        // Nobody sees what a panic left half done: the call's own things are dropped, and the locks of what is
        // shared are taken whether they are poisoned or not.
        let poll = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)));
        let poll = poll.unwrap_or_else(|_| Poll::Ready((self.failed)()));
        if poll.is_ready() {
            self.call = None;
        }
        poll
    }
}

impl<F: Future + 'static, R> Drop for ToItsEnd<F, R> {
    fn drop(&mut self) {
        if let Some(call) = self.call.take().filter(|_| self.tie.has_begun() && !std::thread::panicking()) {
            self.tie.cut();
            tokio::task::spawn_local(async move {
                call.await;
            });
        }
    }
}

#[cfg(test)]
mod tests;
