//! The book of one app: all of its ceilings and the calls that wait for them, under one lock.
//!
//! A call may need up to three tokens: of its API's ceiling, of the app's, and of its source's own. Under one lock they
//! are taken together or not at all, and none is held while another is waited for.
//!
//! Whenever calls wait, a task looks again at the earliest moment at which one of them might go, and hands turns out.
//! Which call goes depends on what holds the others back. At one API its [`Queue`](super::queue::Queue) knows. Where
//! the app's ceiling is what all wait for, sources take turns over the whole app, then their callers, then each
//! caller's APIs; a call whose API is not ready never holds up another. Where a source's own ceiling is what its calls
//! wait for, so do its callers and their APIs.

mod borrow;
mod pages;
mod readings;
mod recent;
mod state;
mod turns;

pub(super) use readings::NearlyUsed;

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::adapt::Cut;
use super::bucket::Bucket;
use super::permit::{Permit, Remaining, Standing, Taken, TakenInTransit};
use super::queue::{Displaced, Line, Place};
use super::shared::Replica;
use super::{NotAdmitted, Reason, Settings, Throttle};
use crate::gateway::target::{Api, ApiKey};
use crate::model::app::{AppName, SdkAppId};
use crate::model::ceiling::Ceiling;
use state::State;

/// The ceilings of one app, shared by all workers.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Book {
    /// How often ceilings were lowered or began, as whoever had the lock last left it. Beside the lock, for every call reads
    /// both: `repr(C)` keeps the order.
    changes: AtomicU64,
    /// This process as one of several that share the ceilings; `None`: it is alone.
    replica: Option<Arc<Replica>>,
    state: Mutex<State>,
    /// A call waits that may go before the task looks again.
    sooner: Notify,
    /// Where the tasks run that hand turns out and borrow: a runtime that outlives every call.
    runtime: Handle,
    app: SdkAppId,
    /// The store is to be spoken to before the task wakes.
    speak: Notify,
}

/// A call that wants a turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    /// What the app is called at present.
    pub(super) app: &'a AppName,
    pub(super) api: &'a Arc<Api>,
    pub(super) line: &'a Line,
    pub(super) place: Place,
    /// Whether it had a turn before.
    pub(super) returns: bool,
    /// How long it may wait. Not at all: it goes now or never, whatever the pace.
    pub(super) max_wait: Duration,
}

/// What came of asking.
#[derive(Debug)]
pub(super) enum Asked {
    Granted(Permit),
    Waiting(Waiting),
    Refused(NotAdmitted),
}

/// A call in the queue. Dropping it leaves the queue and gives back what was granted meanwhile.
#[derive(Debug)]
pub(super) struct Waiting {
    book: Arc<Book>,
    api: ApiKey,
    line: Line,
    place: Place,
    deadline: Instant,
    receiver: oneshot::Receiver<Result<Permit, Displaced>>,
}

// === impl Book ===

impl Book {
    pub(super) fn new(
        app: (SdkAppId, AppName),
        runtime: Handle,
        started: Instant,
        replica: Option<Arc<Replica>>,
    ) -> Self {
        let (app, name) = app;
        let state = Mutex::new(State::new(name, started, replica.clone()));
        let changes = AtomicU64::new(0);
        Self { changes, replica, state, sooner: Notify::new(), runtime, app, speak: Notify::new() }
    }

    /// Takes the tokens for a call, which asks at `now`, or a place in the queue if a turn before its deadline is possible.
    /// `settings` is read under the lock, so that a change of them cannot be missed, and only by a call that needs it: for
    /// ceilings in use [`apply`](Self::apply) tells of every change.
    pub(super) fn ask(
        self: &Arc<Self>,
        ask: Ask<'_>,
        now: Instant,
        settings: impl Fn() -> Arc<Settings>,
    ) -> Asked {
        // Dropped after the lock, which its permits take.
        let mut unclaimed = Vec::new();
        let (mut state, now) = self.lock_at(now);
        let refused = |reason, turn: Instant| Asked::Refused(NotAdmitted { reason, turn_in: turn - now });
        let changed = state.open(ask, &settings, now);
        if changed || state.app.is_some() {
            // Who waits at another API goes first if it can.
            unclaimed = self.hand_out(&mut state, now);
        }
        if changed {
            self.watch(&mut state, now);
        }
        let alone = state.is_first(ask, now);
        state.settle(ask.api.key, &ask.line.source, now);
        if alone && state.may_go(ask, now) {
            let taken = state.take(ask.api.key, &ask.line.source, now);
            self.speak_in_time(&mut state, ask, now);
            return Asked::Granted(Permit::new(Arc::clone(self), taken));
        }
        if ask.max_wait.is_zero() {
            state.missed(ask, now);
            self.speak_in_time(&mut state, ask, now);
            return refused(Reason::TooLate, state.next_home(ask.api.key, &ask.line.source, now));
        }
        let deadline = now + ask.max_wait;
        let mut displaced = None;
        if let Err((reason, turn)) = state.may_wait(ask, deadline, &settings(), now) {
            let displaceable = match reason {
                Reason::QueueFull => {
                    state.page(ask.api.key).and_then(|page| page.queue.displaceable(ask.line))
                }
                _ => None,
            };
            let Some((line, place)) = displaceable else { return refused(reason, turn) };
            displaced = state.leave(ask.api.key, &line, place);
        }
        let (waiter, mut receiver) = oneshot::channel();
        state.enter(ask.api.key, ask.line, ask.place, waiter, now);
        unclaimed.extend(self.hand_out(&mut state, now));
        self.watch(&mut state, now);
        self.speak_in_time(&mut state, ask, now);
        drop(state);
        drop(unclaimed);
        if let Some(displaced) = displaced {
            // Whether it is still there to hear it or not, its place is gone.
            _ = displaced.send(Err(Displaced));
        }
        // Its turn may have come already.
        match receiver.try_recv() {
            Ok(Ok(permit)) => Asked::Granted(permit),
            Ok(Err(Displaced)) | Err(_) => Asked::Waiting(Waiting {
                book: Arc::clone(self),
                api: ask.api.key,
                line: ask.line.clone(),
                place: ask.place,
                deadline,
                receiver,
            }),
        }
    }

    /// Counts a call that nothing holds back. If it would have had to wait, it takes no token.
    pub(super) fn shadow(
        self: &Arc<Self>,
        ask: Ask<'_>,
        now: Instant,
        settings: impl Fn() -> Arc<Settings>,
    ) -> Permit {
        let (mut state, now) = self.lock_at(now);
        state.open(ask, &settings, now);
        state.settle(ask.api.key, &ask.line.source, now);
        if state.may_go(ask, now) {
            let taken = state.take(ask.api.key, &ask.line.source, now);
            self.speak_in_time(&mut state, ask, now);
            return Permit::new(Arc::clone(self), taken);
        }
        state.shadowed(ask.api.key);
        state.missed(ask, now);
        self.speak_in_time(&mut state, ask, now);
        Permit::without_ceiling(now)
    }

    /// New settings take hold of the ceilings in use.
    pub(super) fn apply(self: &Arc<Self>, settings: &Settings) {
        let (mut state, now) = self.lock_now();
        state.apply(settings, now);
        let unclaimed = self.hand_out(&mut state, now);
        self.watch(&mut state, now);
        drop(state);
        drop(unclaimed);
    }

    /// Tencent said too frequent. Gives what was cut of that, if anything was, and whether any ceiling holds the API's
    /// calls back.
    pub(super) fn throttled(
        self: &Arc<Self>,
        api: ApiKey,
        throttle: Throttle,
        settings: impl FnOnce() -> Arc<Settings>,
    ) -> (Option<Cut>, bool) {
        let (mut state, now) = self.lock_now();
        let of_api = state.page_mut(api).and_then(|page| page.bucket.as_mut());
        let has_own = of_api.is_some();
        let cut = match (throttle, of_api) {
            (Throttle::Api, Some(bucket)) => bucket.cut(API_KEEPS, now),
            (Throttle::App, _) => state.cut_app(&settings(), now),
            (Throttle::Pause, Some(bucket)) => {
                bucket.close(now + PAUSE);
                None
            }
            (Throttle::Api | Throttle::Pause, None) | (Throttle::Second, _) => None,
        };
        if cut.is_some() {
            state.changed();
        }
        (cut, has_own || state.app.is_some())
    }

    /// Whether a call that had its turn may still leave. If not, its tokens are given back.
    pub(super) fn confirm(self: &Arc<Self>, taken: &mut Taken) -> bool {
        // So it is nearly always, and needs no lock.
        if self.changes.load(Ordering::Acquire) == taken.changes && taken.until().is_none() {
            return true;
        }
        let (mut state, now) = self.lock_now();
        if state.confirms(taken, now) {
            return true;
        }
        // In the same moment, so that of several that are too many together only as many stay behind as must.
        self.take_back(state, taken, now);
        false
    }

    /// Whether what is on loan may still be used.
    pub(super) fn still_stands(&self, taken: &Taken) -> bool {
        let Some(until) = taken.until() else { return true };
        // What is on loan ends by time; a part, when the store is back, too.
        let (mut state, now) = self.lock_now();
        until > now && state.stands(taken, now)
    }

    /// The last byte of a call was handed to the kernel.
    pub(super) fn sent(&self, taken: &mut Taken) -> TakenInTransit {
        let granted = taken.granted;
        let (mut state, now) = self.lock_now();
        state.left(granted, now);
        let mut in_transit = TakenInTransit::default();
        state.each_taken(taken, |bucket, hold, of| {
            *of(&mut in_transit) = Some(hold.sent(bucket, granted, now));
        });
        in_transit
    }

    /// The first byte of a call's answer was there at `now`. Gives how the ceiling of its API stands then.
    pub(super) fn answered(
        &self,
        taken: &mut Taken,
        mut in_transit: TakenInTransit,
        now: Instant,
    ) -> Standing {
        let (mut state, now) = self.lock_at(now);
        state.each_taken(taken, |bucket, hold, of| {
            if let Some(token) = *of(&mut in_transit) {
                hold.answered(bucket, token, now);
            }
        });
        let remaining = |(ceiling, used): (Ceiling, u32)| Remaining {
            ceiling,
            remaining: ceiling.limit.get().saturating_sub(used),
        };
        let mut periods = state.taken_of_api(taken).into_iter().flat_map(Bucket::settled).map(remaining);
        Standing { first: [periods.next(), periods.next()], others: periods.collect() }
    }

    /// The tokens of a call come back that wrote nothing, and go to those who wait.
    pub(super) fn give_back(self: &Arc<Self>, taken: &mut Taken) {
        let (state, now) = self.lock_now();
        self.take_back(state, taken, now);
    }

    fn take_back(self: &Arc<Self>, mut state: Locked<'_>, taken: &mut Taken, now: Instant) {
        state.each_taken(taken, |bucket, hold, _| hold.give_back(bucket, now));
        if state.waiting.is_empty() {
            return;
        }
        match (&taken.of_api, &taken.of_source) {
            (Some(_), None) => state.look_at(taken.api, now),
            _ => state.look_at_all(now),
        }
        let unclaimed = self.hand_out(&mut state, now);
        self.watch(&mut state, now);
        drop(state);
        drop(unclaimed);
    }

    /// Forgets what has been idle for long. Says whether nothing is left.
    pub(super) fn forget_idle(&self) -> bool {
        let (mut state, now) = self.lock_now();
        state.forget_idle(now)
    }

    /// Gives turns to those who wait, as far as there are any. Returns permits that nobody took, to be dropped once the
    /// lock is free: they lock the book to give their tokens back.
    #[must_use]
    fn hand_out(self: &Arc<Self>, state: &mut State, now: Instant) -> Vec<Result<Permit, Displaced>> {
        let mut unclaimed = Vec::new();
        while let Some((api, line)) = state.next(now) {
            let Some(waiter) = state.serve(api, &line) else { break };
            let taken = state.take(api, &line.source, now);
            unclaimed.extend(waiter.send(Ok(Permit::new(Arc::clone(self), taken))).err());
        }
        unclaimed
    }

    /// Sees to it that the task looks again in time.
    fn watch(self: &Arc<Self>, state: &mut State, now: Instant) {
        let Some(next) = state.next_look(now) else { return };
        match state.sleeps_until {
            None => {
                state.sleeps_until = Some(next);
                self.runtime.spawn(Arc::clone(self).serve(next));
            }
            Some(until) if next < until => self.sooner.notify_one(),
            Some(_) => {}
        }
    }

    /// Hands turns out as they come. Ends when nobody waits.
    async fn serve(self: Arc<Self>, mut next: Instant) {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.sooner.notified() => {}
            }
            let (mut state, now) = self.lock_now();
            let unclaimed = self.hand_out(&mut state, now);
            state.sleeps_until = state.next_look(now);
            let Some(look) = state.sleeps_until else { return };
            next = look;
            drop(state);
            drop(unclaimed);
        }
    }

    /// The state, and what time it is there. Under the lock time never runs backwards: whoever looked at the clock before
    /// it had the lock may come after others that looked later.
    fn lock_at(&self, now: Instant) -> (Locked<'_>, Instant) {
        let mut state = self.lock();
        state.latest = state.latest.max(now);
        let now = state.latest;
        (state, now)
    }

    fn lock_now(&self) -> (Locked<'_>, Instant) {
        let mut state = self.lock();
        state.latest = state.latest.max(Instant::now());
        let now = state.latest;
        (state, now)
    }

    fn lock(&self) -> Locked<'_> {
        // The arithmetic under the lock does not panic; if it ever did, a count that may be off by one token is
        // better than a gateway that answers nothing any more.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked { state, changes: &self.changes }
    }
}

/// The book's state, under its lock. Whoever unlocks it tells how often ceilings were lowered or began by then.
struct Locked<'a> {
    state: MutexGuard<'a, State>,
    changes: &'a AtomicU64,
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Only under the lock is it written.
        if self.changes.load(Ordering::Relaxed) != self.state.changes {
            self.changes.store(self.state.changes, Ordering::Release);
        }
    }
}

// === impl Waiting ===

impl Waiting {
    /// Waits for the turn; if it does not come in time, says why, and when it might.
    ///
    /// Cancel-safe: dropped, it leaves the queue and gives back what it was granted.
    pub(super) async fn turn(mut self) -> Result<Permit, NotAdmitted> {
        let turn = tokio::time::timeout_at(self.deadline, &mut self.receiver).await;
        let reason = match turn {
            Ok(Ok(Ok(permit))) => return Ok(permit.had_at(Instant::now())),
            Ok(Ok(Err(Displaced))) => Reason::QueueFull,
            // The sender lives as long as the place in the queue, so only time can run out here.
            Ok(Err(_)) | Err(_) => Reason::Overtaken,
        };
        let now = Instant::now();
        let turn = self.book.lock().turn(self.api, &self.line, self.place, now);
        Err(NotAdmitted { reason, turn_in: turn.saturating_duration_since(now) })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.book.lock().leave(self.api, &self.line, self.place);
    }
}

/// The label of the ceiling over all APIs of an app.
pub(super) const WHOLE_APP: &str = "*";
/// The share of what was in use that an API keeps after 60007.
const API_KEEPS: f64 = 0.85;
/// How long an API rests after 60018 or 60019.
const PAUSE: Duration = Duration::from_millis(250);
