//! The hand on the sandbox, for tests in the same process.

use std::sync::Arc;

use super::core::{Core, MOST_CONNECTIONS};
use super::faults::{Fault, TooManyFaults};
use super::quota::Ceilings;
use super::report::Report;
use crate::model::app::SdkAppId;
use crate::model::secret::SecretKey;

/// Asks for faults, and reads what was seen. Clones are hands on the same sandbox.
#[derive(Clone)]
pub struct Control(Arc<Core>);

impl Control {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self(core)
    }

    /// Queues a fault behind those that wait.
    ///
    /// # Errors
    /// When 1,000 wait already.
    pub fn inject(&self, fault: Fault) -> Result<(), TooManyFaults> {
        self.inject_all(vec![fault])
    }

    /// Queues faults in their order, all of them or none.
    ///
    /// # Errors
    /// When more than 1,000 would wait.
    pub fn inject_all(&self, faults: Vec<Fault>) -> Result<(), TooManyFaults> {
        self.0.faults.push_all(faults)
    }

    /// Forgets the faults that wait. Calls that met one already keep it.
    pub fn clear_faults(&self) {
        self.0.faults.clear();
    }

    /// What was seen so far.
    #[must_use]
    pub fn report(&self) -> Report {
        self.0.ledger.report()
    }

    /// How many connections are open at this moment.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        let taken = MOST_CONNECTIONS - self.0.connections.available_permits();
        // One place is kept ready for the connection that comes next.
        taken.saturating_sub(1)
    }

    /// Waits until so many calls, whatever they name, arrived since the start or the last reset.
    pub async fn wait_for_arrivals(&self, calls: u64) {
        self.0.ledger.wait_for_arrivals(calls).await;
    }

    /// Replaces the ceilings; what the last second holds stays counted.
    pub fn set_ceilings(&self, ceilings: Ceilings) {
        self.0.ledger.set_ceilings(ceilings);
    }

    /// Replaces the keys of an app, and tells whether the app lives here.
    #[must_use]
    pub fn set_keys(&self, sdkappid: SdkAppId, keys: Vec<SecretKey>) -> bool {
        self.0.set_keys(sdkappid, keys)
    }

    /// Back to the start: forgets faults, counts, calls, webhooks, rooms and accounts.
    pub fn reset(&self) {
        self.0.reset();
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Control(..)")
    }
}
