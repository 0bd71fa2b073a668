//! One try of several: what to do after each.
//!
//! A call is tried, and the verdict on its answer says what then: it is handed over; signed anew, or with the app's next
//! key, and tried again at once; tried again after a pause; sent back to its place in the queue; or counted against its
//! app. A try without a usable answer may have been executed or not. Whether to repeat it depends on what is known of
//! that, and on what its API bears: a call that provably did nothing may be repeated whatever it is, one of which nobody
//! knows only where the catalogue says so.
//!
//! Each try has a permit, a UserSig and a random number of its own; the body is the same always. All of them together
//! stay within the call's deadline. Retries stay within the budget; a repeat after a refused UserSig is none, since it is
//! made once, nor is a repeat of a call that was one too many, since it only waits longer. A repeat that cannot be sent,
//! because no turn comes or the app is tripped meanwhile, leaves the caller with what the try before brought.

mod budget;
mod next;
mod settings;
mod single;

use std::pin::pin;
use std::sync::Arc;

use tokio::time::Instant;

pub use budget::Budgets;
pub use settings::{Repeat, Settings};

use super::admission::{Admission, Arrival};
use super::caller::Tie;
use super::credentials::Credentials;
use super::forward::{Call, Health, Sending};
use super::policy::Grant;
use super::record::Record;
use super::rejection::Rejection;
use super::reply::Relayed;
use super::trip::Trips;
use crate::net::body::Room;
use crate::net::client::Client;
use next::{Next, Repeats};
use single::Ready;

/// What a try needs beside the call.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// The ceilings.
    pub admission: &'a Admission,
    /// The UserSigs.
    pub credentials: &'a Credentials,
    /// Which apps are tripped.
    pub trips: &'a Trips,
    /// How the endpoints are.
    pub health: &'a Health,
    /// How many retries may be made.
    pub budgets: &'a Budgets,
    /// The worker's upstream connections.
    pub client: &'a Client,
    /// The settings that the call began with.
    pub live: &'a super::Settings,
    /// The longest answer, in bytes.
    pub longest_answer: usize,
    /// Where answers are held.
    pub room: &'a Arc<Room>,
}

/// Tries a call until its outcome is to be handed over. `deadline` is the whole call's, and it is `now`: the clock is read
/// once for each step that takes time, and not by everyone who wants to know (27 ns, ten times a call).
///
/// Once the `tie` says that a try has begun to leave, whoever drops this future should let it run to its end instead, and
/// cut the tie: no further try leaves then.
///
/// # Errors
/// When the call got no turn or no UserSig, or no usable answer came.
pub async fn run(
    means: &Means<'_>,
    grant: &Grant,
    call: &Call<'_>,
    (now, deadline): (Instant, Instant),
    tie: &Tie,
    record: &mut Record,
) -> Result<Box<Relayed>, Rejection> {
    let mut repeats = Repeats::begin(means, grant, deadline);
    // One place in the order of arrival for all tries: whoever is refused for rate comes back to it.
    let arrival = means.admission.arrive();
    let mut ready = pin!(single::prepare(means, grant, arrival, (now, deadline), tie, record)).await?;
    // What the try before brought.
    let mut before = None;
    loop {
        let sending = Sending {
            deadline: deadline.min(ready.at + means.live.upstream.request_timeout),
            avoid: repeats.unanswered_at(),
            traceparent: None,
            now: ready.at,
        };
        // What is rare is boxed, here and further in: a call's future has room for the largest of its steps, and is
        // moved whole. That took 10,000 instructions. And what is large is pinned before it is awaited, so that it is moved
        // once and not twice.
        let tried = match before {
            None => pin!(single::send(means, ready, call, sending, record)).await,
            Some(result) => {
                let again = Box::pin(single::send(means, ready, call, sending, record));
                match while_awaited(tie, again).await {
                    Some(tried) => tried,
                    None => return result,
                }
            }
        };
        let complete = tried.complete;
        let (result, next) = repeats.after(tried, record.wait());
        let reason = match next {
            Next::Done => {
                if let Some(now) = complete {
                    record.ends(now);
                }
                return result;
            }
            Next::Again { reason, .. } | Next::InTurn { reason, .. } => reason,
            Next::WithNewerKey => "key",
        };
        let again = Box::pin(prepare_again(means, grant, next, arrival.again(), deadline, tie, record));
        ready = match while_awaited(tie, again).await.flatten() {
            Some(ready) => ready,
            None => return result,
        };
        before = Some(result);
        record.retrying(reason);
    }
}

/// Waits as long as is to be waited before another try, and for all that it needs; `None` when it cannot be made.
async fn prepare_again<'a>(
    means: &'a Means<'a>,
    grant: &Grant,
    next: Next,
    arrival: Arrival,
    deadline: Instant,
    tie: &Tie,
    record: &mut Record,
) -> Option<Ready<'a>> {
    match next {
        Next::Again { pause, .. } => tokio::time::sleep(pause).await,
        Next::InTurn { pause, .. } => {
            tokio::time::sleep(pause).await;
            record.rested(pause);
        }
        Next::WithNewerKey if single::has_newer_key(means, grant.app(), deadline).await => {}
        Next::WithNewerKey | Next::Done => return None,
    }
    single::prepare(means, grant, arrival, (Instant::now(), deadline), tie, record).await.ok()
}

/// What comes of a step, unless nobody waits for the reply any more before the next try begins to leave.
async fn while_awaited<T>(tie: &Tie, step: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = tie.is_cut_before_the_next_try() => None,
        done = step => Some(done),
    }
}
