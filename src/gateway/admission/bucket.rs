//! One ceiling in use: its tokens, the calls that wait for one, and the task that hands tokens to them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::permit::Permit;
use super::queue::{Place, Queue};
use super::tokens::{Rules, Tokens};

/// One ceiling, shared by all workers.
#[derive(Debug)]
pub(super) struct Bucket {
    state: Mutex<State>,
    /// Where the task runs that hands out tokens: a runtime that outlives every call.
    runtime: Handle,
}

#[derive(Debug)]
struct State {
    tokens: Tokens,
    queue: Queue,
    /// Whether the task runs. It does while calls wait.
    serving: bool,
}

/// What came of asking for a token.
#[derive(Debug)]
pub(super) enum Asked {
    /// Here it is.
    Granted(Permit),
    /// Wait for it.
    Waiting(Waiting),
    /// Even the earliest possible turn is too late.
    TooLate { turn: Instant },
    /// Too many wait already.
    Full { turn: Instant },
}

/// A call in the queue. Dropping it leaves the queue and gives back a token that was granted meanwhile.
#[derive(Debug)]
pub(super) struct Waiting {
    bucket: Arc<Bucket>,
    place: Place,
    receiver: oneshot::Receiver<Permit>,
}

/// How a ceiling stands at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// How many calls may arrive in a period.
    pub(crate) limit: u32,
    /// The period.
    pub(crate) period: Duration,
    /// How many tokens are not at home.
    pub(crate) used: u32,
    /// How many calls wait.
    pub(crate) waiting: usize,
    /// How many calls were not answered within `transit_max`.
    pub(crate) unproven: u64,
}

impl Bucket {
    pub(super) fn new(tokens: Tokens, runtime: Handle) -> Self {
        let state = State { tokens, queue: Queue::default(), serving: false };
        Self { state: Mutex::new(state), runtime }
    }

    /// Takes a token, or a place in the queue if a turn before `deadline` is possible.
    pub(super) fn ask(self: &Arc<Self>, deadline: Instant, max_waiting: usize) -> Asked {
        let mut state = self.lock();
        let now = Instant::now();
        // A token at home never goes past calls that wait.
        if state.queue.is_empty() && state.tokens.take(now) {
            return Asked::Granted(Permit::new(Arc::clone(self)));
        }
        let turn = state.tokens.turn(state.queue.len(), now);
        if turn > deadline {
            return Asked::TooLate { turn };
        }
        if state.queue.len() >= max_waiting {
            return Asked::Full { turn };
        }
        let (place, receiver) = state.queue.enter();
        if !state.serving {
            state.serving = true;
            self.runtime.spawn(Arc::clone(self).serve());
        }
        Asked::Waiting(Waiting { bucket: Arc::clone(self), place, receiver })
    }

    /// Does something to the tokens at the present moment, and hands out those that this set free.
    pub(super) fn with_tokens<T>(self: &Arc<Self>, change: impl FnOnce(&mut Tokens, Instant) -> T) -> T {
        let mut state = self.lock();
        let now = Instant::now();
        let result = change(&mut state.tokens, now);
        let unclaimed = self.hand_out(&mut state, now);
        drop(state);
        // Dropped only now: a permit that nobody claims locks the bucket to go home.
        drop(unclaimed);
        result
    }

    /// New rules take hold, if they differ.
    pub(super) fn set_rules(self: &Arc<Self>, rules: Rules) {
        if *self.lock().tokens.rules() != rules {
            self.with_tokens(|tokens, _| tokens.change(rules));
        }
    }

    pub(super) fn standing(&self) -> Standing {
        let mut state = self.lock();
        // Settles the books first, so that tokens that came home meanwhile do not count as used.
        state.tokens.at_home(Instant::now());
        let ceiling = state.tokens.rules().ceiling;
        Standing {
            limit: ceiling.limit.get(),
            period: ceiling.period,
            used: state.tokens.used(),
            waiting: state.queue.len(),
            unproven: state.tokens.unproven(),
        }
    }

    /// Gives tokens to those who wait, as they come home. Ends when nobody waits.
    async fn serve(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                let now = Instant::now();
                let unclaimed = self.hand_out(&mut state, now);
                let next = if state.queue.is_empty() {
                    state.serving = false;
                    None
                } else {
                    Some(state.tokens.next_look(now))
                };
                drop(state);
                drop(unclaimed);
                next
            };
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => return,
            }
        }
    }

    /// Gives tokens at home to those at the front of the queue. Returns permits that nobody took.
    #[must_use]
    fn hand_out(self: &Arc<Self>, state: &mut State, now: Instant) -> Vec<Permit> {
        let mut unclaimed = Vec::new();
        while !state.queue.is_empty() && state.tokens.take(now) {
            let Some(caller) = state.queue.next() else { break };
            if let Err(permit) = caller.send(Permit::new(Arc::clone(self))) {
                unclaimed.push(permit);
            }
        }
        unclaimed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The arithmetic under the lock does not panic; if it ever did, a count that may be off by one token is
        // better than a gateway that answers nothing any more.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Waiting ===

impl Waiting {
    /// Waits for the turn until `deadline`; if it does not come, says in how long it might.
    ///
    /// Cancel-safe: dropped, it leaves the queue and gives back what it was granted.
    pub(super) async fn until(mut self, deadline: Instant) -> Result<Permit, Duration> {
        match tokio::time::timeout_at(deadline, &mut self.receiver).await {
            Ok(Ok(permit)) => Ok(permit),
            // The sender lives as long as the place in the queue, so only time can run out here.
            Ok(Err(_)) | Err(_) => {
                let state = self.bucket.lock();
                let now = Instant::now();
                Err(state.tokens.turn(state.queue.len().saturating_sub(1), now) - now)
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.bucket.lock().queue.leave(self.place);
    }
}
