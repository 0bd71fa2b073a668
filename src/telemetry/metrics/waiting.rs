//! Who waits for a turn, read when Prometheus asks and at no other time.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use prometheus::IntGaugeVec;
use prometheus::core::{Collector, Desc, Describer};
use prometheus::proto::MetricFamily;

use super::{Shared, families};

/// One caller's calls that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingReading {
    /// The app's name.
    pub app: String,
    /// The caller, by its own word.
    pub caller: Arc<str>,
    /// How many of its calls wait.
    pub calls: u64,
}

/// Gives one reading for each caller with waiting calls. It is called on the admin listener's thread and should not wait.
pub type ReadWaiting = Box<dyn Fn() -> Vec<WaitingReading> + Send + Sync>;

/// The collector, and the place for whoever can tell. Clones share both.
#[derive(Clone)]
pub(super) struct Waiting {
    desc: Arc<Desc>,
    read: Arc<RwLock<Option<ReadWaiting>>>,
    shared: Arc<Shared>,
    seen: Arc<Mutex<Seen>>,
}

/// Apps and callers whose calls waited when they were read: their gauge stays, at zero. Beyond [`MOST_SEEN`] it goes.
type Seen = HashSet<(String, Arc<str>)>;

impl Waiting {
    /// Callers are told apart as far as `shared` has labels for them.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let labels = families::WAITING_LABELS.iter().map(|&label| label.to_owned()).collect();
        let desc = families::caller_waiting().variable_labels(labels).describe();
        let desc = desc.expect("name and labels are well-formed constants");
        Self { desc: Arc::new(desc), read: Arc::default(), shared, seen: Arc::default() }
    }

    /// From now on, `read` is asked. It takes the place of any earlier one.
    pub(super) fn read_from(&self, read: ReadWaiting) {
        *self.read.write().unwrap_or_else(PoisonError::into_inner) = Some(read);
    }
}

impl Collector for Waiting {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let waiting = IntGaugeVec::new(families::caller_waiting(), families::WAITING_LABELS)
            .expect("name and labels are well-formed constants");
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (app, caller) in &*seen {
            waiting.with_label_values(&[&**app, &**caller]).set(0);
        }
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        for WaitingReading { app, caller, calls } in read.as_ref().map(|read| read()).unwrap_or_default() {
            let caller = self.shared.callers.text(self.shared.callers.label(&caller));
            let gauge = waiting.with_label_values(&[&*app, &*caller]);
            gauge.add(i64::try_from(calls).unwrap_or(i64::MAX));
            if seen.len() < MOST_SEEN {
                seen.insert((app, caller));
            }
        }
        waiting.collect()
    }
}

/// A hundred callers of a hundred apps.
const MOST_SEEN: usize = 10_000;

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}
