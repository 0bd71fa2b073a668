//! Signing ahead of need, beside the calls.
//!
//! A UserSig is due for renewal at `renew_before` ahead of its end, and up to a quarter of that earlier: each app has its own
//! place in that span, so that apps which signed together do not renew together. Every few seconds all slots are
//! looked at by wall time; that is cheaper than it sounds, and it notices a clock that jumped or a machine that
//! slept, which a timer for each UserSig would not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Settings;
use super::cache::{Credentials, Live, Slot, State, is_usable, margin};
use super::lifetime::Lifetime;
use crate::gateway::target::App;
use crate::model::app::SdkAppId;

/// Up to so many apps sign at start, not at their first call.
const FEW_APPS: usize = 100;

/// Slots are looked at this often at least. Short lives need more.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// After a failed renewal.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// However often it failed.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

impl Credentials {
    /// Renews UserSigs ahead of need, and signs at start where apps are few. Runs until dropped.
    ///
    /// A UserSig whose renewal fails stays; the next try comes after a second, then after twice as long each time, up
    /// to a minute.
    pub async fn renew(self: Arc<Self>) {
        let mut failures = Failures::default();
        loop {
            let next = self.renew_due(&mut failures).await;
            tokio::select! {
                () = sleep(next) => {}
                () = self.replaced.notified() => {}
            }
        }
    }

    /// Renews what is due, one app after the other, and tells how long to wait before looking again.
    async fn renew_due(&self, failures: &mut Failures) -> Duration {
        let live = self.live.load_full();
        failures.0.retain(|sdkappid, _| live.slots.get(*sdkappid).is_some());
        for (&App { sdkappid, .. }, slot) in live.slots.iter() {
            let state = slot.state();
            if !is_due(&live, slot, &state, self.parts.clock.unix_seconds()) {
                // After a failure, a call may have signed.
                failures.forget(sdkappid);
            } else if failures.may_try(sdkappid) {
                match self.sign_after(slot, state.generation).await {
                    Ok(()) => failures.forget(sdkappid),
                    Err(_) => failures.add(sdkappid, (self.parts.jitter)()),
                }
                // Signing takes the processor; other work on this thread goes in between.
                tokio::task::yield_now().await;
            }
        }
        failures.next_try().unwrap_or(Duration::MAX).min(look_every(&live.settings))
    }
}

fn is_due(live: &Live, slot: &Slot, state: &State, now: u64) -> bool {
    match &state.usersig {
        None => live.slots.len() <= FEW_APPS,
        Some(usersig) => {
            let lifetime = usersig.lifetime();
            now >= renew_at(lifetime, live.settings.renew_before, slot.phase) || !is_usable(lifetime, now)
        }
    }
}

/// When a UserSig is due, for an app at `phase` (0.0 to 1.0) of the span.
fn renew_at(lifetime: Lifetime, renew_before: Duration, phase: f64) -> u64 {
    let life = lifetime.seconds();
    let before = renew_before.as_secs();
    let span = before.min(life.saturating_sub(before)) / 4;
    let earlier = Duration::from_secs(span).mul_f64(phase.clamp(0.0, 1.0)).as_secs();
    // Never so late that a call finds it unusable before the next look.
    let ahead = (before + earlier).max(2 * margin(life));
    lifetime.expires_at.saturating_sub(ahead)
}

fn look_every(settings: &Settings) -> Duration {
    let short_lives = Duration::from_secs(margin(settings.ttl.as_secs()) / 2);
    short_lives.clamp(Duration::from_secs(1), LOOK_EVERY)
}

/// Apps whose last renewal failed.
#[derive(Default)]
struct Failures(HashMap<SdkAppId, Failure>);

struct Failure {
    wait: Duration,
    retry_at: Instant,
}

impl Failures {
    fn may_try(&self, app: SdkAppId) -> bool {
        self.0.get(&app).is_none_or(|failure| Instant::now() >= failure.retry_at)
    }

    fn forget(&mut self, app: SdkAppId) {
        self.0.remove(&app);
    }

    /// The wait doubles; of the second half of it, `jitter` says how much is waited.
    fn add(&mut self, app: SdkAppId, jitter: f64) {
        let wait = self.0.get(&app).map_or(FIRST_RETRY, |failure| (failure.wait * 2).min(LONGEST_RETRY));
        let retry_at = Instant::now() + wait.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        self.0.insert(app, Failure { wait, retry_at });
    }

    fn next_try(&self) -> Option<Duration> {
        self.0.values().map(|failure| failure.retry_at.saturating_duration_since(Instant::now())).min()
    }
}
