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

use crate::gateway::target::{App, Apps, PerApp};

/// Every app's budget. One app's trouble does not use up another's. Shared by all workers.
#[derive(Debug)]
pub struct Budgets {
    apps: ArcSwap<PerApp<Arc<Budget>>>,
    /// Of calls from before a reload whose apps are gone, all together: were each given one of its own, nothing would
    /// bound their retries.
    gone: Arc<Budget>,
}

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
    /// A new one for each of `apps`.
    #[must_use]
    pub fn new(apps: &Apps) -> Self {
        let gone = Arc::new(Budget::new(Instant::now()));
        let budgets = Self { apps: ArcSwap::default(), gone };
        budgets.replace(apps);
        budgets
    }

    /// Takes new apps. One that was there before keeps its budget, whatever else of it was changed.
    pub fn replace(&self, apps: &Apps) {
        let (before, now) = (self.apps.load_full(), Instant::now());
        let after = PerApp::of(apps, |app| {
            before.get(app.sdkappid).map_or_else(|| Arc::new(Budget::new(now)), Arc::clone)
        });
        self.apps.store(Arc::new(after));
    }

    /// The app's budget.
    pub(super) fn of(&self, app: &App) -> Arc<Budget> {
        Arc::clone(self.apps.load().find(app, |_, _| true).unwrap_or(&self.gone))
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
    use crate::gateway::target::Endpoints;
    use crate::model::endpoint::Endpoint;
    use crate::net::client::Roots;

    fn apps(numbers: &[u64]) -> Apps {
        let mut apps = Apps::default();
        for &number in numbers {
            let app = App {
                name: format!("app{number}").parse().unwrap(),
                sdkappid: number.try_into().unwrap(),
                identifier: "administrator".parse().unwrap(),
                keys: Vec::new(),
                region: None,
                endpoints: Endpoints::private(vec![Endpoint::https("localhost")]),
                extra_roots: Roots::default(),
                index: Default::default(),
                counted: Default::default(),
            };
            apps.add(app, false).unwrap();
        }
        apps
    }

    fn the_app(apps: &Apps, number: u64) -> Arc<App> {
        Arc::clone(apps.named(&format!("app{number}")).unwrap())
    }

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
    fn each_app_has_its_own_and_keeps_it() {
        let (before, now) = (apps(&[1, 2, 3]), Instant::now());
        let budgets = Budgets::new(&before);
        let [one, two, three] = [1, 2, 3].map(|number| the_app(&before, number));
        spend_all(&budgets.of(&one), now);
        spend_all(&budgets.of(&three), now);
        assert!(!budgets.of(&one).spend(now));
        assert!(budgets.of(&two).spend(now));

        // 2 takes the index of 1, and 1 that of 2; 3 is gone.
        let after = apps(&[2, 1]);
        budgets.replace(&after);
        for apps in [&before, &after] {
            assert!(!budgets.of(&the_app(apps, 1)).spend(now));
            assert!(budgets.of(&the_app(apps, 2)).spend(now));
        }
        // Calls of apps that are gone have one together, and what they spend is nobody else's.
        let four = the_app(&apps(&[4]), 4);
        assert_eq!(spend_all(&budgets.of(&three), now), MOST_FREE);
        assert!(!budgets.of(&four).spend(now));
        assert!(budgets.of(&two).spend(now));
    }
}
