//! Whose turn it is under Tencent's ceilings. [`Admission::admit`] gives a [`Permit`].
//!
//! Tencent allows mostly 200 calls a second for each API and app. A call comes in with the longest time that it may
//! wait. If a token of every ceiling that it falls under is at home, it is time for a turn, and nobody waits, it leaves
//! at once. Otherwise it waits for its turn, unless even the earliest possible one lies behind its deadline, or too
//! many wait already: then it is refused immediately, with that turn. What goes out is a permit, which follows the
//! call: when its first byte was written, when its last, when the answer came. From these the tokens' homecoming is
//! reckoned.
//!
//! Each part has one question to answer, and most are pure arithmetic:
//!
//! - [`tokens`]: may a call leave without any second seeing more than the ceiling? The proof stands there.
//! - [`pace`]: is it time for a turn, so that turns come evenly?
//! - [`adapt`]: how much of the ceiling does Tencent really leave?
//! - [`bucket`]: the three together, for one ceiling.
//! - [`fair`] and [`queue`]: who of those that wait is next?
//! - [`shared`]: may a token be used that other gateways need too?
//! - [`book`]: all ceilings of one app under one lock, and the task that hands turns out.
//!
//! A caller who hangs up while waiting leaves the queue; one who hangs up with a permit gives its tokens back, if
//! nothing was written yet. A call that Tencent refused as too frequent was not executed: it comes back with the same
//! [`Arrival`] and waits at its old place.

mod adapt;
mod book;
mod bucket;
mod fair;
mod hold;
mod pace;
mod permit;
mod queue;
mod settings;
pub mod shared;
mod tokens;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use permit::{Permit, Remaining};
pub use settings::{ApiCeiling, ColdStart, Guarantee, Mode, Settings};

use super::policy::Grant;
use crate::model::app::{AppName, SdkAppId};
use crate::model::ceiling::Ceiling;
use crate::model::hash_map::HashMap;
use crate::telemetry::events::{CeilingCut, CeilingNearlyUsed};
use book::{Ask, Asked, Book, NearlyUsed};
use queue::{Line, Place};
use shared::Replica;

/// Every ceiling in use, shared by all workers.
#[derive(Debug)]
pub struct Admission {
    settings: ArcSwap<Settings>,
    books: RwLock<HashMap<SdkAppId, Arc<Book>>>,
    arrivals: AtomicU64,
    /// Nobody looks after the ceilings: no call has come for a while.
    unwatched: AtomicBool,
    /// One has come since.
    came: Notify,
    /// Where turns are handed out: a runtime that outlives every call.
    runtime: Handle,
    started: Instant,
    /// This process as one of several that share the ceilings; `None`: it is alone.
    replica: Option<Arc<Replica>>,
}

/// A call's place in the order of arrival. It keeps it when it has to wait again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    number: u64,
    returns: bool,
}

/// Of what Tencent said that there is one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Throttle {
    /// Of this API's calls (60007): its budget is cut.
    Api,
    /// Of all the app's calls (60011): the app's budget is cut.
    App,
    /// It did not say (60018, 60019): the API rests for a moment.
    Pause,
    /// Of calls like this one within a second (100012): it alone waits, for [`SECOND_PAUSE`].
    Second,
}

/// Why a call got no turn, and when it might have had one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotAdmitted {
    /// Why.
    pub reason: Reason,
    /// From now until the earliest turn that was possible.
    pub turn_in: Duration,
}

/// Why a call got no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Even the earliest possible turn is later than the call may wait.
    #[error("the ceiling is used up, and the earliest turn comes too late")]
    TooLate,
    /// As many calls wait as may.
    #[error("the ceiling is used up, and too many calls wait for it")]
    QueueFull,
    /// As many of the caller's own calls wait as may.
    #[error("the ceiling is used up, and too many calls of this caller wait for it")]
    CallerQueueFull,
    /// The turn did not come in the time in which it might have.
    #[error("the ceiling is used up, and the turn did not come in time")]
    Overtaken,
}

/// How one ceiling stands.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The app.
    pub app: AppName,
    /// The API, by its label; `*` for the ceiling over all of them.
    pub api: Arc<str>,
    /// How many calls may arrive in a second at present.
    pub per_second: f64,
    /// How many tokens there are.
    pub limit: u32,
    /// How many tokens are out, in transit or on their way home.
    pub used: u32,
    /// How many calls wait.
    pub waiting: usize,
    /// How many tokens that are shared with other replicas are at hand.
    pub leased: u32,
    /// How many calls since the start were not answered within `transit_max`, so that their arrival is not proven.
    pub unproven: u64,
    /// How many calls since the start shadow mode let pass that would have waited or been refused.
    pub shadowed: u64,
}

/// One caller's calls that wait for a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The app.
    pub app: AppName,
    /// The caller, by its own word.
    pub caller: Arc<str>,
    /// How many of its calls wait.
    pub calls: usize,
}

impl Admission {
    /// Nothing in use yet. `runtime` must outlive every call; `started` is when the process began to send.
    #[must_use]
    pub fn new(settings: Settings, runtime: Handle, started: Instant) -> Self {
        Self {
            settings: ArcSwap::from_pointee(settings),
            books: RwLock::default(),
            arrivals: AtomicU64::new(0),
            unwatched: AtomicBool::new(false),
            came: Notify::new(),
            runtime,
            started,
            replica: None,
        }
    }

    /// The same as one of several replicas that share the ceilings.
    #[must_use]
    pub fn sharing(self, replica: Option<Arc<Replica>>) -> Self {
        Self { replica, ..self }
    }

    /// This process as one of several that share the ceilings; `None`: it is alone.
    #[must_use]
    pub fn replica(&self) -> Option<&Arc<Replica>> {
        self.replica.as_ref()
    }

    /// A call comes in.
    pub fn arrive(&self) -> Arrival {
        // Nearly never so, and then only read: no call writes what others read for it.
        if self.unwatched.load(Ordering::Relaxed) && self.unwatched.swap(false, Ordering::Relaxed) {
            self.came.notify_one();
        }
        Arrival { number: self.arrivals.fetch_add(1, Ordering::Relaxed), returns: false }
    }

    /// Waits for a turn under every ceiling that the call falls under, from `now` on, no longer than `max_wait` and the
    /// setting of the same name. A call that may not wait at all goes at once if a token is at home and nobody waits, whatever the
    /// pace.
    ///
    /// Cancel-safe: dropped, it leaves the queue, and tokens that it was given meanwhile go home.
    ///
    /// # Errors
    /// At once when even the earliest possible turn comes too late or too many wait; later when the turn did not come.
    pub async fn admit(
        &self,
        grant: &Grant,
        arrival: Arrival,
        now: Instant,
        max_wait: Duration,
    ) -> Result<Permit, NotAdmitted> {
        let (mode, longest) = {
            let settings = self.settings.load();
            (settings.mode, settings.max_wait)
        };
        if mode == Mode::Off {
            return Ok(Permit::without_ceiling(now));
        }
        let caller = grant.caller();
        let line = Line { source: caller.source().clone(), caller: Arc::clone(caller.label()) };
        let ask = Ask {
            app: &grant.app().name,
            api: &grant.target().api,
            line: &line,
            place: Place { urgency: caller.wishes().priority.urgency(), number: arrival.number },
            returns: arrival.returns,
            max_wait: max_wait.min(longest),
        };
        let book = self.book(grant);
        let settings_now = || self.settings.load_full();
        if mode == Mode::Shadow {
            return Ok(book.shadow(ask, now, settings_now));
        }
        match book.ask(ask, now, settings_now) {
            Asked::Granted(permit) => Ok(permit),
            Asked::Refused(not_admitted) => Err(not_admitted),
            Asked::Waiting(waiting) => waiting.turn().await,
        }
    }

    /// Tencent said that calls are too frequent. Says whether the call may wait for another turn: not where no ceiling
    /// is kept, since nothing would hold it back.
    pub fn throttled(&self, grant: &Grant, throttle: Throttle) -> bool {
        let settings = self.settings.load();
        if settings.mode != Mode::Enforce {
            return false;
        }
        let api = &grant.target().api;
        let book = self.book(grant);
        let (cut, is_held) = book.throttled(api.key, throttle, || self.settings.load_full());
        if let Some(cut) = cut {
            let label = if throttle == Throttle::App { book::WHOLE_APP } else { &*api.label };
            let (before, after) = (cut.before, cut.after);
            CeilingCut { app: &grant.app().name, api: label, before, after }.emit();
        }
        is_held
    }

    /// New settings take hold, of ceilings in use too. Tokens that are away stay counted.
    pub fn apply(&self, settings: Settings) {
        let settings = Arc::new(settings);
        // First for those who look from now on, then for what is in use: whoever looked before held a book's lock.
        self.settings.store(Arc::clone(&settings));
        if let Some(replica) = &self.replica {
            replica.set_transit_max(settings.transit_max);
        }
        for book in self.books() {
            book.apply(&settings);
        }
    }

    /// How every ceiling in use stands.
    #[must_use]
    pub fn readings(&self) -> Vec<Reading> {
        self.books().iter().flat_map(|book| book.readings()).collect()
    }

    /// Who waits for a turn.
    #[must_use]
    pub fn waiting(&self) -> Vec<Waiting> {
        self.books().iter().flat_map(|book| book.waiting()).collect()
    }

    /// Warns of ceilings that are nearly used up, and forgets those that were idle for long. For ever.
    pub async fn keep_house(&self) {
        // Until when a ceiling's period is not warned of again.
        let mut warned: HashMap<(AppName, Arc<str>, usize), Instant> = HashMap::default();
        loop {
            self.until_the_next_look().await;
            let now = Instant::now();
            warned.retain(|_, until| now < *until);
            for nearly_used in self.books().iter().flat_map(|book| book.nearly_used()) {
                let NearlyUsed { app, api, nth, ceiling: Ceiling { limit, period }, used, waiting } =
                    nearly_used;
                warned.entry((app, api, nth)).or_insert_with_key(|(app, api, _)| {
                    CeilingNearlyUsed { app, api, period, limit: limit.get(), used, waiting }.emit();
                    now + WARN_EVERY.max(period)
                });
            }
            self.forget_idle();
        }
    }

    /// A gateway with nothing to do sleeps: without calls, all that is left to do is to forget.
    async fn until_the_next_look(&self) {
        let before = self.arrivals.load(Ordering::Relaxed);
        tokio::time::sleep(LOOK_EVERY).await;
        if self.arrivals.load(Ordering::Relaxed) == before {
            self.unwatched.store(true, Ordering::Relaxed);
            _ = tokio::time::timeout(FORGET_EVERY, self.came.notified()).await;
        }
    }

    fn forget_idle(&self) {
        let idle: Vec<_> = {
            let books = self.books.read().unwrap_or_else(PoisonError::into_inner);
            books.iter().filter(|(_, book)| book.forget_idle()).map(|(&app, _)| app).collect()
        };
        if idle.is_empty() {
            return;
        }
        let mut books = self.books.write().unwrap_or_else(PoisonError::into_inner);
        for app in idle {
            // Nobody can get hold of it while the lock is held; whoever did before may be about to use it.
            if books.get(&app).is_some_and(|book| Arc::strong_count(book) == 1 && book.forget_idle()) {
                books.remove(&app);
            }
        }
    }

    fn book(&self, grant: &Grant) -> Arc<Book> {
        let app = grant.app();
        let known = self.books.read().unwrap_or_else(PoisonError::into_inner).get(&app.sdkappid).cloned();
        known.unwrap_or_else(|| {
            let mut books = self.books.write().unwrap_or_else(PoisonError::into_inner);
            let named = (app.sdkappid, app.name.clone());
            let replica = self.replica.clone();
            let new = || Arc::new(Book::new(named, self.runtime.clone(), self.started, replica));
            Arc::clone(books.entry(app.sdkappid).or_insert_with(new))
        })
    }

    fn books(&self) -> Vec<Arc<Book>> {
        self.books.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Arrival {
    /// The same place, for a call that had a turn already: however many have come since, it is not turned away for that.
    #[must_use]
    pub fn again(self) -> Self {
        Self { returns: true, ..self }
    }
}

/// How long a call waits after [`Throttle::Second`].
pub const SECOND_PAUSE: Duration = Duration::from_secs(1);
/// How often idle ceilings are forgotten while no call comes.
const FORGET_EVERY: Duration = Duration::from_secs(10);
/// How often ceilings are looked at: a count of the last second changes that fast.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the same ceiling is warned of, or else once a period: what is used of a day's calls stays so for hours.
const WARN_EVERY: Duration = Duration::from_secs(60);
