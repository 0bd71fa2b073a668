//! What every connection of one sandbox shares.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::Semaphore;

use super::Settings;
use super::api::World;
use super::auth::Apps;
use super::faults::{Delay, Queue};
use super::ledger::Ledger;
use super::tasks::Tasks;
use crate::clock::WallClock;
use crate::model::app::SdkAppId;
use crate::model::secret::SecretKey;

/// One sandbox's apps, state, books and faults.
pub(super) struct Core {
    pub(super) clock: Arc<dyn WallClock>,
    pub(super) ledger: Ledger,
    pub(super) faults: Queue,
    pub(super) tasks: Tasks,
    /// One permit is held by each connection.
    pub(super) connections: Arc<Semaphore>,
    /// One permit is held by each call that is being carried out.
    pub(super) calls: Arc<Semaphore>,
    apps: RwLock<Apps>,
    world: Mutex<World>,
    /// Draws delays and RequestIds; seeded, so that a run can be repeated.
    random: Mutex<fastrand::Rng>,
}

impl Core {
    pub(super) fn new(settings: &Settings, clock: Arc<dyn WallClock>) -> Self {
        let apps: Apps = settings.apps.iter().map(|app| (app.sdkappid, app.clone())).collect();
        let ids = apps.keys().copied();
        let ledger = Ledger::new(ids, settings.ceilings.clone(), settings.count_refused, settings.log_calls);
        Self {
            clock,
            ledger,
            faults: Queue::new(settings.seed),
            tasks: Tasks::new(),
            connections: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            calls: Arc::new(Semaphore::new(MOST_CALLS)),
            apps: RwLock::new(apps),
            world: Mutex::default(),
            random: Mutex::new(fastrand::Rng::with_seed(settings.seed)),
        }
    }

    pub(super) fn apps(&self) -> RwLockReadGuard<'_, Apps> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces an app's keys; whether the app is known.
    pub(super) fn set_keys(&self, sdkappid: SdkAppId, keys: Vec<SecretKey>) -> bool {
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        apps.get_mut(&sdkappid).map(|app| app.keys = keys).is_some()
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as the delay says this time.
    pub(super) async fn wait(&self, delay: Delay) {
        if delay != Delay::NONE {
            let drawn = delay.draw(&mut self.random());
            tokio::time::sleep(drawn).await;
        }
    }

    /// A new RequestId, in the form `Id-<32 hex>-O-Seq-<digits>`.
    pub(super) fn request_id(&self) -> String {
        let mut random = self.random();
        format!("Id-{:032x}-O-Seq-{}", random.u128(..), random.u32(..))
    }

    /// Forgets faults, books and state; keeps apps, keys and ceilings.
    pub(super) fn reset(&self) {
        self.faults.clear();
        self.ledger.reset();
        *self.world() = World::default();
    }

    fn random(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most connections at once; more wait in the kernel's queue.
pub(super) const MOST_CONNECTIONS: usize = 10_000;
/// The most calls that are carried out at once; a call that a fault delays is one of them.
pub(super) const MOST_CALLS: usize = 20_000;
