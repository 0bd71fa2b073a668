//! Whether calls of an app make sense at present. [`Trips::enter`] gives a [`Pass`].
//!
//! Some answers say that every further call of the app will be refused as well, until somebody changes a setting: a
//! wrong key, a wrong region, an account that is no administrator. After three of them in a row, with no success between,
//! the app is *tripped*: its calls are refused at once, with the diagnosis and the time of the next probe. The probe is
//! one real caller's call, at intervals that grow; the first success closes the trip.
//!
//! UserSigs need more care, since Tencent stops looking at an account's for a minute when too many are refused. Once
//! one was refused, the app's UserSigs are *in doubt*: one call at a time goes on a trial, and the others wait for how
//! it ends, so that a hundred calls do not all try a key that is wrong. However many calls there are, at most
//! [`HANDFUL`] trials a minute are refused, besides the calls that were on their way when the doubt arose.
//!
//! A pass is asked for right before a call is sent, and told what came of it. `state` has the rules, without a clock;
//! here are the lock, the waiting and the telling.

mod state;

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

pub use state::{Cause, HANDFUL};

use super::target::{App, Apps, PerApp};
use crate::model::app::AppName;
use crate::telemetry::events::{AppResumed, AppTripped};
use crate::telemetry::metrics::Metrics;
use state::{Change, Entrance, Moment, State, Ticket};

/// How every app stands with Tencent. Shared by all workers.
#[derive(Debug)]
pub struct Trips {
    standings: ArcSwap<PerApp<Arc<Standing>>>,
    metrics: Arc<Metrics>,
}

/// How one app stands.
#[derive(Debug)]
struct Standing {
    app: AppName,
    /// Twice the epoch, and one more while anything is against the app. The usual call looks at nothing else.
    door: AtomicU64,
    state: Mutex<State>,
    /// A trial ended, or there is nothing to wait for any more.
    changed: Arc<Notify>,
}

/// What a call gets that asks to be sent.
#[derive(Debug)]
pub enum Entered<'a> {
    /// It is to be sent now.
    Passed(Pass<'a>),
    /// Another call's trial is to be waited for; then the UserSig may be another one.
    Wait(Waiting),
}

/// The right to send one call, and the duty to tell what came of it. Dropped, it says nothing about the app, and the
/// next call goes on trial, if one must.
#[derive(Debug)]
#[must_use = "what came of the call is to be told"]
pub struct Pass<'a> {
    trips: &'a Trips,
    standing: Arc<Standing>,
    ticket: Ticket,
}

/// A wait for another call's trial to end.
#[derive(Debug)]
pub struct Waiting(Pin<Box<OwnedNotified>>);

/// The app's calls are refused for now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("app {app} is stopped, since Tencent answered {}: {}", cause.code, cause.diagnosis)]
pub struct Tripped {
    /// The app.
    pub app: AppName,
    /// Why.
    pub cause: Cause,
    /// From now until the next probe.
    pub probe_in: Duration,
}

/// One tripped app, for whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Why.
    pub cause: Cause,
    /// From now until the next probe.
    pub probe_in: Duration,
}

// === impl Trips ===

impl Trips {
    /// Nothing against any of `apps`.
    #[must_use]
    pub fn new(apps: &Apps, metrics: Arc<Metrics>) -> Self {
        let trips = Self { standings: ArcSwap::default(), metrics };
        trips.replace(apps);
        trips
    }

    /// Takes new apps. One that signs and calls as before stands as before; any other starts anew, since what was
    /// against it may have been mended.
    pub fn replace(&self, apps: &Apps) {
        let before = self.standings.load_full();
        let after = Arc::new(PerApp::of(apps, |app| {
            before.find(app, stands_alike).map_or_else(|| Arc::new(Standing::of(app)), Arc::clone)
        }));
        self.standings.store(Arc::clone(&after));
        for (app, gone) in before.iter() {
            if after.get(app.sdkappid).is_none_or(|kept| !Arc::ptr_eq(kept, gone)) {
                gone.change(State::forget, &self.metrics);
            }
        }
    }

    /// Refuses a call if its app is tripped and no probe is due. To be asked before it waits for anything.
    ///
    /// # Errors
    /// When the call would be refused now.
    pub fn check(&self, app: &App) -> Result<(), Tripped> {
        let standings = self.standings.load();
        // Nothing is against an app from before a reload that is gone.
        let Some(standing) = standings.find(app, calls_alike) else { return Ok(()) };
        if standing.open_epoch().is_some() {
            return Ok(());
        }
        let now = Instant::now();
        let refusal = standing.lock().refusal(now);
        let refused =
            |(cause, until): (_, Instant)| Err(standing.tripped(cause, until.saturating_duration_since(now)));
        refusal.map_or(Ok(()), refused)
    }

    /// Lets a call be sent, or makes it wait. To be asked when everything else is ready, and again after each wait.
    ///
    /// # Errors
    /// When the app is tripped, and this call is not the probe.
    pub fn enter(&self, app: &App) -> Result<Entered<'_>, Tripped> {
        let standing = self.standing(app);
        let pass = |standing, ticket| Ok(Entered::Passed(Pass { trips: self, standing, ticket }));
        if let Some(epoch) = standing.open_epoch() {
            return pass(standing, Ticket::of_epoch(epoch));
        }
        // Listening before looking: what changes in between is heard.
        let mut waiting = Box::pin(Arc::clone(&standing.changed).notified_owned());
        waiting.as_mut().enable();
        let now = Instant::now();
        let entrance = standing.lock().enter(now);
        match entrance {
            Entrance::Open(ticket) => pass(standing, ticket),
            Entrance::Wait => Ok(Entered::Wait(Waiting(waiting))),
            Entrance::Refused(cause, until) => {
                Err(standing.tripped(cause, until.saturating_duration_since(now)))
            }
        }
    }

    /// Whether an app is tripped, and why.
    #[must_use]
    pub fn reading(&self, app: &App) -> Option<Reading> {
        let standings = self.standings.load();
        let (cause, next_probe) = standings.get(app.sdkappid)?.lock().tripped()?;
        Some(Reading { cause, probe_in: next_probe.saturating_duration_since(Instant::now()) })
    }

    fn standing(&self, app: &App) -> Arc<Standing> {
        let standings = self.standings.load();
        // A call may hold an app from before a reload: what comes of it concerns nobody else, if it is called otherwise now.
        standings.find(app, calls_alike).map_or_else(|| Arc::new(Standing::forgotten(app)), Arc::clone)
    }
}

/// Whether what Tencent said of one holds for the other.
fn stands_alike(a: &App, b: &App) -> bool {
    calls_alike(a, b) && a.keys == b.keys
}

/// Whether what Tencent says to a call of one holds for the other, too: whichever keys it began with, a call is signed with
/// those in force when it is sent.
fn calls_alike(a: &App, b: &App) -> bool {
    a.name == b.name && a.identifier == b.identifier && a.endpoints == b.endpoints
}

// === impl Standing ===

impl Standing {
    fn of(app: &App) -> Self {
        let (door, state) = (AtomicU64::new(0), Mutex::default());
        Self { app: app.name.clone(), door, state, changed: Arc::default() }
    }

    fn forgotten(app: &App) -> Self {
        let standing = Self::of(app);
        standing.lock().forget();
        standing
    }

    /// The epoch, if nothing is against the app.
    fn open_epoch(&self) -> Option<u64> {
        let door = self.door.load(Ordering::Acquire);
        (door & 1 == 0).then_some(door >> 1)
    }

    /// Changes the state, and tells logs, metrics and whoever waits.
    fn change(&self, make: impl FnOnce(&mut State) -> Option<Change>, metrics: &Metrics) {
        let mut state = self.lock();
        let change = make(&mut state);
        self.door.store(state.epoch() << 1 | u64::from(!state.is_clear()), Ordering::Release);
        // Told under the lock, so that the log has changes in their order.
        match change {
            None => {}
            Some(Change::Tripped { cause, before }) => AppTripped {
                app: &self.app,
                reason: cause.diagnosis.reason(),
                instead_of: before.map(|before| before.diagnosis.reason()),
                diagnosis: &cause.diagnosis,
                error_code: cause.code,
            }
            .emit(metrics),
            Some(Change::Closed(cause)) => {
                AppResumed { app: &self.app, reason: cause.diagnosis.reason() }.emit(metrics);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn tripped(&self, cause: Cause, probe_in: Duration) -> Tripped {
        Tripped { app: self.app.clone(), cause, probe_in }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Pass ===

impl Pass<'_> {
    /// Tencent let the app in, whatever it said to this call.
    pub fn let_in(self) {
        // The usual case: nothing was against it, and nothing is.
        if self.ticket.is_trial() || self.standing.open_epoch().is_none() {
            self.tell(|state, ticket, _| state.let_in(ticket));
        }
    }

    /// Tencent refused the app.
    pub fn refused(self, cause: Cause) {
        self.tell(|state, ticket, at| state.refused(ticket, cause, at));
    }

    /// Tencent refused the UserSig.
    pub fn signature_refused(&self, cause: Cause) {
        self.tell(|state, ticket, at| state.signature_refused(ticket, cause, at));
    }

    /// Tencent refused the UserSig, and will refuse every one for a minute.
    pub fn quiet(self, cause: Cause) {
        self.tell(|state, _, at| state.quiet(cause, at));
    }

    fn tell(&self, make: impl FnOnce(&mut State, Ticket, Moment) -> Option<Change>) {
        let at = Moment { now: Instant::now(), jitter: fastrand::f64() };
        self.standing.change(|state| make(state, self.ticket, at), &self.trips.metrics);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.ticket.is_trial() {
            self.tell(|state, ticket, _| {
                state.ended(ticket);
                None
            });
        }
    }
}

// === impl Waiting ===

impl Waiting {
    /// Waits for the trial to end. Says whether it did before `deadline`.
    pub async fn until(self, deadline: Instant) -> bool {
        tokio::time::timeout_at(deadline, self.0).await.is_ok()
    }
}

#[cfg(test)]
mod tests;
