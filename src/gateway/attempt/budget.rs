//! How many calls may be repeated, as a share of all.
//!
//! When Tencent is in trouble, every call fails, and a count of tries for each call would multiply the load just then.
//! So each call earns a small part of a retry, and a retry costs a whole one; tower's retry budget tells the same at
//! length. A few retries a minute cost nothing: where calls are rare, their share would never amount to one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::model::app::SdkAppId;
use crate::model::hash_map::HashMap;

/// Every app's budget. One app's trouble does not use up another's.
#[derive(Debug, Default)]
pub struct Budgets(ArcSwap<HashMap<SdkAppId, Arc<Budget>>>);

/// One app's budget.
#[derive(Debug)]
pub(super) struct Budget {
    /// In millionths of a retry.
    earned: AtomicU64,
    floor: Mutex<Floor>,
}

/// Retries that cost nothing.
#[derive(Debug)]
struct Floor {
    left: u32,
    /// Since when the next one has been growing.
    since: Instant,
}

impl Budgets {
    /// The app's budget.
    pub(super) fn of(&self, app: SdkAppId, now: Instant) -> Arc<Budget> {
        if let Some(budget) = self.0.load().get(&app) {
            return Arc::clone(budget);
        }
        let new = Arc::new(Budget::new(now));
        // Another call may have been quicker.
        self.0.rcu(|budgets| {
            let mut budgets = HashMap::clone(budgets);
            budgets.entry(app).or_insert_with(|| Arc::clone(&new));
            budgets
        });
        self.0.load().get(&app).map_or(new, Arc::clone)
    }
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { earned: AtomicU64::new(0), floor: Mutex::new(Floor { left: MOST_FREE, since: now }) }
    }

    /// A call earns its share of a retry: from 0.0 to 1.0.
    pub(super) fn earn(&self, share: f64) {
        // A race between calls gives away no more than their shares.
        if self.earned.load(Ordering::Relaxed) < MOST_EARNED {
            let earned = share.clamp(0.0, 1.0) * ONE as f64;
            self.earned.fetch_add(earned.round() as u64, Ordering::Relaxed);
        }
    }

    /// Whether a retry may be made; it is paid then.
    pub(super) fn spend(&self, now: Instant) -> bool {
        let pay = |earned: u64| earned.checked_sub(ONE);
        self.earned.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok() || self.spend_free(now)
    }

    fn spend_free(&self, now: Instant) -> bool {
        let mut floor = self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        while floor.left < MOST_FREE && now >= floor.since + FREE_EVERY {
            floor.left += 1;
            floor.since += FREE_EVERY;
        }
        if floor.left == 0 {
            return false;
        }
        if floor.left == MOST_FREE {
            floor.since = now;
        }
        floor.left -= 1;
        true
    }
}

const ONE: u64 = 1_000_000;

/// What may be saved up: beyond it, calm times do not pay for a storm.
const MOST_EARNED: u64 = 100 * ONE;

/// So many retries cost nothing, and so often there is another one.
const MOST_FREE: u32 = 10;
const FREE_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn spend_all(budget: &Budget, now: Instant) -> u32 {
        (0..).take_while(|_| budget.spend(now)).count().try_into().unwrap()
    }

    #[test]
    fn retries_are_at_most_their_share_of_calls_and_a_few() {
        let began = Instant::now();
        let budget = Budget::new(began);
        assert_eq!(spend_all(&budget, began), MOST_FREE);
        for _ in 0..500 {
            budget.earn(0.1);
        }
        assert_eq!(spend_all(&budget, began), 50);
        // Calls that all fail, one each millisecond.
        let mut retries = 0;
        for ms in 0..5_000 {
            budget.earn(0.1);
            retries += u32::from(budget.spend(began + Duration::from_millis(ms)));
        }
        assert_eq!(retries, 500 + 4, "a tenth of them, and one for each second that is over");
    }

    #[test]
    fn calm_times_do_not_pay_for_a_storm() {
        let began = Instant::now();
        let budget = Budget::new(began);
        for _ in 0..1_000_000 {
            budget.earn(1.0);
        }
        let later = began + Duration::from_secs(86_400);
        assert_eq!(spend_all(&budget, later), 100 + MOST_FREE);
        assert_eq!(spend_all(&budget, later + Duration::from_millis(999)), 0);
        assert_eq!(spend_all(&budget, later + Duration::from_millis(2_500)), 2);
        assert_eq!(spend_all(&budget, later + Duration::from_millis(3_000)), 1, "none of the time is lost");
    }

    #[test]
    fn each_app_has_its_own() {
        let now = Instant::now();
        let budgets = Budgets::default();
        let [one, other] = ["1400000001", "1400000002"].map(|app| app.parse().unwrap());
        spend_all(&budgets.of(one, now), now);
        assert!(!budgets.of(one, now).spend(now));
        assert!(budgets.of(other, now).spend(now));
    }
}
