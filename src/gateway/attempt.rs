//! One try of a call: admitted, signed, sent, read.

use std::cell::Cell;
use std::rc::Rc;

use http::StatusCode;
use tokio::time::Instant;

use super::Settings;
use super::admission::Admission;
use super::credentials::Credentials;
use super::forward::{self, Call, Cause, Failure};
use super::outcome::{self, TakenIn};
use super::policy::Grant;
use super::record::Record;
use super::rejection::Rejection;
use super::reply::{Content, Relayed};
use crate::net::client::Client;

/// What a try needs beside the call.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// The ceilings.
    pub admission: &'a Admission,
    /// The UserSigs.
    pub credentials: &'a Credentials,
    /// The worker's upstream connections.
    pub client: &'a Client,
    /// The settings that the call began with.
    pub live: &'a Settings,
    /// The longest answer, in bytes.
    pub longest_answer: usize,
}

/// Tries a call once.
///
/// `deadline` is the whole call's. `under_way` becomes true when the first byte is written: from then on the call may
/// have been executed, and whoever drops this future should let it run to its end instead.
///
/// # Errors
/// When the call got no turn or no UserSig, or no usable answer came.
pub async fn run(
    means: Means<'_>,
    grant: &Grant,
    call: &Call<'_>,
    deadline: Instant,
    under_way: &Rc<Cell<bool>>,
    record: &mut Record,
) -> Result<Relayed, Rejection> {
    let live = means.live;
    let asked = Instant::now();
    let max_wait = grant.caller().wishes().max_wait.unwrap_or(live.ceiling.max_wait).min(deadline - asked);
    let permit = means.admission.admit(&live.ceiling, grant, max_wait).await;
    record.waited(asked.elapsed());
    let permit = permit?;
    let usersig = means.credentials.usersig(&call.target.app).await?;

    // A call whose time is up must not be sent: nobody waits for it any more.
    if Instant::now() >= deadline {
        let failure = Failure { cause: Cause::Timeout, may_have_arrived: false, endpoint: None };
        return Err(failure.into());
    }
    let deadline = deadline.min(Instant::now() + live.upstream.request_timeout);
    let sending = forward::Sending { deadline, under_way };
    let tries = &mut |endpoint: &_, ended: forward::Attempt| record.tried(endpoint, ended.label());
    let reply = forward::send(means.client, &live.upstream, call, &usersig, permit, sending, tries).await?;

    let (head, answer) = reply.response.into_parts();
    let rules =
        outcome::Rules { family: call.target.api.name.family(), longest: means.longest_answer, deadline };
    let taken_in = outcome::take_in(answer, &head.headers, &usersig, rules).await;
    record.answered(&reply.endpoint, reply.began.elapsed());
    let content = match taken_in {
        Ok(TakenIn::Whole(whole)) => {
            Content::Whole { body: whole.body, reading: whole.reading, outcome: whole.call }
        }
        Ok(TakenIn::Long(long)) => Content::Long(long),
        Err(what) => {
            let (status, endpoint) = (head.status, reply.endpoint.authority());
            return Err(Rejection::Unusable { what, status, endpoint });
        }
    };
    Ok(Relayed { status: relayable(head.status), headers: head.headers, content, remaining: reply.remaining })
}

/// The status with which an answer is relayed. One that promises no body, or another request, cannot carry it.
fn relayable(status: StatusCode) -> StatusCode {
    let bodiless = status.is_informational() || matches!(status.as_u16(), 204 | 205 | 304);
    if bodiless { StatusCode::OK } else { status }
}
