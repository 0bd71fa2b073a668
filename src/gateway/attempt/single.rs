//! One try of a call: admitted, signed, let through; then sent and read.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, timeout_at};

use super::Means;
use crate::clock::timed;
use crate::gateway::admission::{Arrival, Permit};
use crate::gateway::caller::Tie;
use crate::gateway::credentials::UserSig;
use crate::gateway::forward::{self, Call, Cause, Failure, Leaving, Sending};
use crate::gateway::outcome::{self, Diagnosis, TakenIn, Verdict};
use crate::gateway::policy::Grant;
use crate::gateway::record::Record;
use crate::gateway::rejection::Rejection;
use crate::gateway::reply::{Content, Relayed};
use crate::gateway::target::App;
use crate::gateway::trip::{Entered, Pass, Tripped};
use crate::net::client::Response;

/// A try that has all it needs to be sent.
pub(super) struct Ready<'a> {
    /// Its permit, which is too large to be handed from one to the next by itself.
    leaving: Rc<Leaving>,
    usersig: Arc<UserSig>,
    pass: Pass<'a>,
    /// When it had all of that.
    pub(super) at: Instant,
}

/// A try that was sent.
pub(super) struct Tried<'a> {
    /// What goes back to the caller, if there is no further try.
    pub(super) result: Result<Box<Relayed>, Rejection>,
    /// What to do about the answer; `None` when there was none, or it is still coming.
    pub(super) verdict: Option<Verdict>,
    /// When all of the answer was there; `None` when that is not so.
    pub(super) complete: Option<Instant>,
    pub(super) usersig: Arc<UserSig>,
    pub(super) pass: Pass<'a>,
}

/// Waits for a turn, and for a UserSig that may be sent. It is `now`.
///
/// Cancel-safe: dropped, it leaves the queue, and what it got goes back.
///
/// # Errors
/// When the call may not be sent. Nothing was.
pub(super) async fn prepare<'a>(
    means: &'a Means<'a>,
    grant: &Grant,
    arrival: Arrival,
    (now, deadline): (Instant, Instant),
    tie: &Tie,
    record: &mut Record,
) -> Result<Ready<'a>, Rejection> {
    let app = &grant.target().app;
    // A tripped app's calls wait for nothing, and use nobody's turn.
    let mut asked = now;
    if let Err(tripped) = means.trips.check(app) {
        unless_newer_key(means, app, deadline, tripped).await?;
        asked = Instant::now();
    }
    let ceiling = &means.live.ceiling;
    // The setting is for each turn; what the caller bears is for all of its call's turns together.
    let wish = grant.caller().wishes().max_wait.map(|wish| wish.saturating_sub(record.wait()));
    let max_wait = wish.unwrap_or(ceiling.max_wait).min(deadline - asked);
    let permit = means.admission.admit(grant, arrival, asked, max_wait).await;
    let mut now = permit.as_ref().map_or_else(|_| Instant::now(), Permit::at);
    // Mostly it waited not at all, which is told at once; to take one moment from another takes 64 instructions.
    record.waited(if now == asked { Duration::ZERO } else { now - asked });
    let leaving = Leaving::with(permit?, tie);
    loop {
        let at_hand = means.credentials.current(app);
        let takes_no_time = at_hand.is_some();
        let usersig = match at_hand {
            Some(usersig) => usersig,
            None => means.credentials.usersig(app).await?,
        };
        record.signed(now);
        if !takes_no_time {
            now = Instant::now();
        }
        // A call whose time is up must not be sent: nobody waits for it any more.
        if now >= deadline {
            let failure = Failure { cause: Cause::Timeout, may_have_arrived: false, endpoint: None };
            return Err(failure.into());
        }
        // Nothing is awaited between the two, so the pass is one for this UserSig.
        match means.trips.enter(app) {
            Ok(Entered::Passed(pass)) => return Ok(Ready { leaving, usersig, pass, at: now }),
            Ok(Entered::Wait(waiting)) => {
                if !waiting.until(deadline).await {
                    return Err(Rejection::InDoubt(app.name.clone()));
                }
                now = Instant::now();
            }
            // With a newer key the app is no longer tripped, and the UserSig is another one.
            Err(tripped) => {
                unless_newer_key(means, app, deadline, tripped).await?;
                now = Instant::now();
            }
        }
    }
}

/// An app that is tripped for its key is no reason to refuse a call once there is another key.
async fn unless_newer_key(
    means: &Means<'_>,
    app: &App,
    deadline: Instant,
    tripped: Tripped,
) -> Result<(), Tripped> {
    let for_its_key = tripped.cause.diagnosis == Diagnosis::WrongKey;
    if for_its_key && has_newer_key(means, app, deadline).await { Ok(()) } else { Err(tripped) }
}

/// Whether the app has newer keys by now than this call began with.
///
/// Cancel-safe.
pub(super) async fn has_newer_key(means: &Means<'_>, app: &App, deadline: Instant) -> bool {
    timeout_at(deadline, Box::pin(means.credentials.look_for_key(app))).await.unwrap_or(false)
}

/// Sends a try and reads its answer.
///
/// Once it is under way, whoever drops this future should let it run to its end instead.
pub(super) async fn send<'a>(
    means: &Means<'_>,
    ready: Ready<'a>,
    call: &Call<'_>,
    sending: Sending<'_>,
    record: &mut Record,
) -> Tried<'a> {
    let Ready { leaving, usersig, pass, at: _ } = ready;
    let traceparent = record.sending();
    let sending = Sending { traceparent: traceparent.as_ref(), ..sending };
    let exchanged = pin!(exchange(means, leaving, &usersig, call, sending, record)).await;
    match exchanged {
        Ok((relayed, verdict, came)) => {
            let complete = verdict.is_some().then_some(came);
            Tried { result: Ok(relayed), verdict, complete, usersig, pass }
        }
        Err(rejection) => Tried { result: Err(rejection), verdict: None, complete: None, usersig, pass },
    }
}

async fn exchange(
    means: &Means<'_>,
    leaving: Rc<Leaving>,
    usersig: &Arc<UserSig>,
    call: &Call<'_>,
    sending: Sending<'_>,
    record: &mut Record,
) -> Result<(Box<Relayed>, Option<Verdict>, Instant), Rejection> {
    let live = means.live;
    let deadline = sending.deadline;
    let tries = &mut |endpoint: &_, ended: forward::Attempt| record.tried(endpoint, ended);
    let ways = forward::Means { client: means.client, settings: &live.upstream, health: means.health };
    let reply = pin!(forward::send(ways, call, usersig, leaving, sending, tries)).await?;

    let Response { status, headers, came, answer } = reply.response;
    let rules = outcome::Rules {
        family: call.target.api.name.family(),
        longest: means.longest_answer,
        deadline,
        room: Arc::clone(means.room),
    };
    let (taken_in, came) = timed(pin!(outcome::take_in(answer, &headers, usersig, rules)), came).await;
    let reading = match &taken_in {
        Ok(TakenIn::Whole(whole)) => Some(&whole.reading),
        _ => None,
    };
    record.answered(reply.endpoint, came - reply.began, status, reading);
    let (content, verdict) = match taken_in {
        Ok(TakenIn::Whole(whole)) => {
            let content = Content::Whole { body: whole.body, reading: whole.reading, outcome: whole.call };
            (content, Some(whole.verdict))
        }
        Ok(TakenIn::Long(long)) => (Content::Long(long), None),
        Err(what) => {
            let endpoint = reply.endpoint.authority().to_owned();
            return Err(Rejection::Unusable { what, status, endpoint });
        }
    };
    let status = relayable(status);
    // It goes through many hands from here, and takes 104 bytes.
    Ok((Box::new(Relayed { status, headers, content, remaining: reply.remaining }), verdict, came))
}

/// The status with which an answer is relayed. One that promises no body, or another request, cannot carry it.
fn relayable(status: StatusCode) -> StatusCode {
    let bodiless = status.is_informational() || matches!(status.as_u16(), 204 | 205 | 304);
    if bodiless { StatusCode::OK } else { status }
}
