//! The state of the ceilings, read when Prometheus asks and at no other time.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use prometheus::core::{Collector, Desc, Describer};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGaugeVec};

use super::families;

/// One ceiling at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct CeilingReading {
    /// The app's name.
    pub app: String,
    /// The API's name, or [`OTHER`](crate::telemetry::labels::OTHER) for those that share a ceiling; `*` for the ceiling
    /// over all of an app's APIs.
    pub api: String,
    /// Calls per second that are allowed at present.
    pub limit: f64,
    /// Calls of the last second that count towards it.
    pub used: u64,
    /// Calls that wait for their turn.
    pub waiting: u64,
    /// Calls that may leave now without asking the store, where the ceiling is shared through one.
    pub leased: u64,
    /// Answers since the start that took longer than `transit_max`.
    pub unproven: u64,
    /// Calls since the start that shadow mode let pass and that would have waited or been refused.
    pub shadowed: u64,
}

/// Gives one reading for each ceiling, no two of the same app and API. It is called on the admin listener's thread and
/// should not wait.
pub type ReadCeilings = Box<dyn Fn() -> Vec<CeilingReading> + Send + Sync>;

/// The collector, and the place for whoever can tell. Clones share both.
#[derive(Clone)]
pub(super) struct Ceilings {
    descs: Arc<[Desc]>,
    read: Arc<RwLock<Option<ReadCeilings>>>,
    counted: Arc<Mutex<Counted>>,
}

/// What was counted of each ceiling when it was last read, by app and API, if it was more than nothing: a counter stays
/// when its ceiling is idle and forgotten. Beyond [`MOST_COUNTED`], it goes with its ceiling and comes back with it.
#[derive(Default)]
struct Counted(HashMap<(String, String), Counts>);

#[derive(Clone, Copy)]
struct Counts {
    unproven: u64,
    shadowed: u64,
}

// === impl Ceilings ===

impl Ceilings {
    pub(super) fn new() -> Self {
        let families = [
            families::ceiling_limit(),
            families::ceiling_used(),
            families::ceiling_waiting(),
            families::ceiling_leased(),
            families::ceiling_unproven(),
            families::ceiling_shadow(),
        ];
        let labelled = families.map(|family| {
            family
                .variable_labels(families::CEILING_LABELS.iter().map(|&label| label.to_owned()).collect())
                .describe()
                .expect("names and labels are well-formed constants")
        });
        Self { descs: Arc::new(labelled), read: Arc::default(), counted: Arc::default() }
    }

    /// From now on, `read` is asked. It takes the place of any earlier one.
    pub(super) fn read_from(&self, read: ReadCeilings) {
        *self.read.write().unwrap_or_else(PoisonError::into_inner) = Some(read);
    }

    fn readings(&self) -> Vec<CeilingReading> {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        read.as_ref().map(|read| read()).unwrap_or_default()
    }
}

impl Collector for Ceilings {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Made anew each time, so that a ceiling which is gone leaves no gauge behind.
        let proof = "names and labels are well-formed constants";
        let labels = families::CEILING_LABELS;
        let limit = GaugeVec::new(families::ceiling_limit(), labels).expect(proof);
        let used = IntGaugeVec::new(families::ceiling_used(), labels).expect(proof);
        let waiting = IntGaugeVec::new(families::ceiling_waiting(), labels).expect(proof);
        let leased = IntGaugeVec::new(families::ceiling_leased(), labels).expect(proof);
        let unproven = IntCounterVec::new(families::ceiling_unproven(), labels).expect(proof);
        let shadow = IntCounterVec::new(families::ceiling_shadow(), labels).expect(proof);
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for reading in self.readings() {
            let values = [&reading.app, &reading.api];
            limit.with_label_values(&values).set(reading.limit);
            used.with_label_values(&values).set(gauge(reading.used));
            waiting.with_label_values(&values).set(gauge(reading.waiting));
            leased.with_label_values(&values).set(gauge(reading.leased));
            unproven.with_label_values(&values).inc_by(reading.unproven);
            shadow.with_label_values(&values).inc_by(reading.shadowed);
            counted.read(&reading);
        }
        for ((app, api), counts) in &counted.0 {
            let values = [app, api];
            raise(&unproven.with_label_values(&values), counts.unproven);
            raise(&shadow.with_label_values(&values), counts.shadowed);
        }
        let gauges = [limit.collect(), used.collect(), waiting.collect(), leased.collect()];
        [gauges.concat(), unproven.collect(), shadow.collect()].concat()
    }
}

impl fmt::Debug for Ceilings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ceilings").finish_non_exhaustive()
    }
}

// === impl Counted ===

impl Counted {
    fn read(&mut self, reading: &CeilingReading) {
        let CeilingReading { app, api, unproven, shadowed, .. } = reading;
        if *unproven == 0 && *shadowed == 0 {
            return;
        }
        let key = (app.clone(), api.clone());
        if self.0.len() < MOST_COUNTED || self.0.contains_key(&key) {
            let counts = self.0.entry(key).or_insert(Counts { unproven: 0, shadowed: 0 });
            // Two ceilings can have had the same name one after the other; what was shown of the first one stays.
            counts.unproven = counts.unproven.max(*unproven);
            counts.shadowed = counts.shadowed.max(*shadowed);
        }
    }
}

/// Sees to it that a counter shows no less.
fn raise(counter: &IntCounter, least: u64) {
    counter.inc_by(least.saturating_sub(counter.get()));
}

/// Ceilings whose counters stay when they are forgotten: more than are ever in use but where calls are made up.
const MOST_COUNTED: usize = 20_000;

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
