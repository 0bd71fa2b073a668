//! Whose turn it is under Tencent's ceiling. [`Admission::admit`] gives a [`Permit`].
//!
//! Tencent allows mostly 200 calls a second for each API and app. A call comes in with a deadline. If a token of its
//! ceiling is at home and nobody waits, it leaves at once. Otherwise it waits in order, unless even its earliest
//! possible turn lies behind the deadline, or too many wait already: then it is refused immediately, with that turn.
//! What goes out is a permit, which follows the call: when its first byte was written, when its last, when the answer
//! came. From these the token's homecoming is reckoned; the proof that no second sees more than the ceiling is in
//! [`tokens`].
//!
//! A caller who hangs up while waiting leaves the queue; one who hangs up with a permit gives its token back, if
//! nothing was written yet.

mod bucket;
mod permit;
mod queue;
mod settings;
mod tokens;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

pub use permit::{Permit, Remaining};
pub use settings::{ApiCeiling, ColdStart, Guarantee, Mode, Settings};

use super::policy::Grant;
use super::target::{Api, ApiKey, Target};
use crate::model::app::{AppName, SdkAppId};
use bucket::{Asked, Bucket};
use tokens::{Ceiling, Rules, Tokens};

/// Every ceiling in use, shared by all workers.
#[derive(Debug)]
pub struct Admission {
    ceilings: Mutex<HashMap<(SdkAppId, ApiKey), InUse>>,
    /// Where tokens are handed to those who wait: a runtime that outlives every call.
    runtime: Handle,
    started: Instant,
}

/// One ceiling in use.
#[derive(Debug)]
struct InUse {
    app: AppName,
    api: Arc<Api>,
    bucket: Arc<Bucket>,
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
    /// The turn did not come in the time in which it might have.
    #[error("the ceiling is used up, and the turn did not come in time")]
    Overtaken,
}

/// How one ceiling stands.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The app.
    pub app: AppName,
    /// The API, by its label.
    pub api: Arc<str>,
    /// How many calls may arrive in a second.
    pub per_second: f64,
    /// How many tokens are out, in transit or on their way home.
    pub used: u32,
    /// How many calls wait.
    pub waiting: usize,
    /// How many calls were not answered within `transit_max`, so that their arrival is not proven.
    pub unproven: u64,
}

impl Admission {
    /// Nothing in use yet. `runtime` must outlive every call; `started` is when the process began to send.
    #[must_use]
    pub fn new(runtime: Handle, started: Instant) -> Self {
        Self { ceilings: Mutex::default(), runtime, started }
    }

    /// Waits for a turn under the ceiling of the call's API, no longer than `max_wait`.
    ///
    /// Cancel-safe: dropped, it leaves the queue, and a token that it was given meanwhile goes home.
    ///
    /// # Errors
    /// At once when even the earliest possible turn comes too late or too many wait; later when the turn did not come.
    pub async fn admit(
        &self,
        settings: &Settings,
        grant: &Grant,
        max_wait: Duration,
    ) -> Result<Permit, NotAdmitted> {
        let api = &grant.target().api;
        let Some(ceiling) = settings.ceiling(&api.name, api.per_second) else {
            return Ok(Permit::without_ceiling());
        };
        let now = Instant::now();
        let deadline = now + max_wait.min(settings.max_wait);
        let bucket = self.bucket(grant, settings, ceiling, now);
        let refused =
            |reason, turn: Instant| NotAdmitted { reason, turn_in: turn.saturating_duration_since(now) };
        match bucket.ask(deadline, settings.max_waiting) {
            Asked::Granted(permit) => Ok(permit),
            Asked::Waiting(waiting) => waiting
                .until(deadline)
                .await
                .map_err(|turn_in| NotAdmitted { reason: Reason::Overtaken, turn_in }),
            Asked::TooLate { turn } => Err(refused(Reason::TooLate, turn)),
            Asked::Full { turn } => Err(refused(Reason::QueueFull, turn)),
        }
    }

    /// New settings take hold of the ceilings in use. Tokens that are away stay counted.
    pub fn apply(&self, settings: &Settings) {
        for in_use in self.lock().values() {
            if let Some(ceiling) = settings.ceiling(&in_use.api.name, in_use.api.per_second) {
                in_use.bucket.set_rules(Rules::of(settings, ceiling));
            }
        }
    }

    /// How every ceiling in use stands.
    #[must_use]
    pub fn readings(&self) -> Vec<Reading> {
        let ceilings = self.lock();
        let readings = ceilings.values().map(|in_use| {
            let standing = in_use.bucket.standing();
            Reading {
                app: in_use.app.clone(),
                api: Arc::clone(&in_use.api.label),
                per_second: f64::from(standing.limit) / standing.period.as_secs_f64(),
                used: standing.used,
                waiting: standing.waiting,
                unproven: standing.unproven,
            }
        });
        readings.collect()
    }

    fn bucket(&self, grant: &Grant, settings: &Settings, ceiling: Ceiling, now: Instant) -> Arc<Bucket> {
        let Target { app, api } = grant.target();
        let mut ceilings = self.lock();
        let in_use = ceilings.entry((app.sdkappid, api.key)).or_insert_with(|| {
            let rules = Rules::of(settings, ceiling);
            let tokens = Tokens::cold(rules, settings.cold_start, self.started, now);
            let bucket = Arc::new(Bucket::new(tokens, self.runtime.clone()));
            InUse { app: app.name.clone(), api: Arc::clone(api), bucket }
        });
        Arc::clone(&in_use.bucket)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(SdkAppId, ApiKey), InUse>> {
        self.ceilings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    fn of(settings: &Settings, ceiling: Ceiling) -> Self {
        Self { ceiling, guarantee: settings.guarantee, transit_max: settings.transit_max }
    }
}
