//! What the counters counted in the last minute, for people who look at the status page.
//!
//! Nothing is written on a call's way: every few seconds the counters are read, and the minute is what they have grown
//! by. So it is as long as the readings lie apart, somewhat more than a minute, and says how long that is.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Metrics;
use super::apis::ApiLabel;
use super::values::Sums;
use crate::model::call_outcome::CallOutcome;
use crate::model::error_code::ErrorCode;
use crate::telemetry::labels::Label;

/// How often the counters should be read.
pub const READ_EVERY: Duration = Duration::from_secs(10);

/// What the last minute is at least, once the process is that old.
pub const MINUTE: Duration = Duration::from_secs(60);

/// The most counters that a reading remembers. Calls of further ones are left out of the minute.
const MOST_SERIES: usize = 10_000;

/// The last minute.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Minute {
    /// How long it is: shorter only while the process is young.
    pub span: Duration,
    /// The calls that ended in it, one entry for each app, API, caller, code and outcome.
    pub calls: Vec<Calls>,
    /// How long its calls waited and how long Tencent took, an entry for each app and API.
    pub times: Vec<Times>,
}

/// Calls that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calls {
    /// The app's label; empty when they were refused before that was known.
    pub app: Arc<str>,
    /// The API's label; empty likewise.
    pub api: Arc<str>,
    /// The caller's label.
    pub caller: Arc<str>,
    /// `None`: one of the codes that share a label.
    pub code: Option<ErrorCode>,
    /// How they ended.
    pub outcome: CallOutcome,
    /// How many there were.
    pub count: u64,
}

/// How long things took at one API.
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    /// The app's label.
    pub app: Arc<str>,
    /// The API's label.
    pub api: Arc<str>,
    /// The mean wait for a turn; `None` when nobody asked for one.
    pub wait: Option<Duration>,
    /// The mean time from sending to the answer's end; `None` when nothing was answered.
    pub upstream: Option<Duration>,
}

/// The readings of the last minute, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Readings(Mutex<VecDeque<(Instant, Reading)>>);

/// All counters at one moment.
#[derive(Debug, Default)]
struct Reading {
    calls: HashMap<(Label, ApiLabel, Label, Option<ErrorCode>, CallOutcome), u64>,
    times: HashMap<(Label, ApiLabel), Took>,
}

/// Of all tries of one API.
#[derive(Debug, Clone, Copy, Default)]
struct Took {
    wait: Sums,
    upstream: Sums,
}

#[cfg(test)]
impl Readings {
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Metrics {
    /// Reads the counters, for the minute that ends later. To be called every [`READ_EVERY`].
    pub fn keep_reading(&self, now: Instant) {
        let reading = self.reading();
        let mut readings = self.readings.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The oldest that is needed is the latest that is a minute old.
        while readings.get(1).is_some_and(|&(at, _)| now - at >= MINUTE) {
            readings.pop_front();
        }
        readings.push_back((now, reading));
    }

    /// What was counted since the reading that is a minute old, or else the oldest.
    #[must_use]
    pub fn last_minute(&self, now: Instant) -> Minute {
        let reading = self.reading();
        let readings = self.readings.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = readings.iter().rfind(|&&(at, _)| now - at >= MINUTE).or(readings.front());
        let nothing = Reading::default();
        let (span, before) = old.map_or((Duration::ZERO, &nothing), |(at, before)| (now - *at, before));
        let api = |app: &Label, api: &ApiLabel| self.apis.texts(*app, *api);
        let calls = reading.calls.iter().filter_map(|(series, &count)| {
            let count = count - before.calls.get(series).copied().unwrap_or(0).min(count);
            let (app, of_app, caller, code, outcome) = series;
            let (app, api) = (count > 0).then(|| api(app, of_app))?;
            let caller = self.shared.callers.text(*caller);
            Some(Calls { app, api, caller, code: *code, outcome: *outcome, count })
        });
        let times = reading.times.iter().filter_map(|((app, of_app), took)| {
            let before = before.times.get(&(*app, *of_app)).copied().unwrap_or_default();
            let wait = took.wait.mean_since(before.wait);
            let upstream = took.upstream.mean_since(before.upstream);
            let (app, api) = (wait.is_some() || upstream.is_some()).then(|| api(app, of_app))?;
            Some(Times { app, api, wait, upstream })
        });
        Minute { span, calls: calls.collect(), times: times.collect() }
    }

    fn reading(&self) -> Reading {
        let mut reading = Reading::default();
        self.apis.each(|app, api, metrics| {
            metrics.calls.each(|&(caller, code, outcome), counter| {
                if reading.calls.len() < MOST_SERIES {
                    reading.calls.insert((app, api, caller, code, outcome), counter.get());
                }
            });
            if reading.times.len() < MOST_SERIES {
                let mut took = Took { wait: metrics.admission_wait.sums(), ..Took::default() };
                metrics.endpoints.each(|_, endpoint| took.upstream += endpoint.upstream_duration.sums());
                reading.times.insert((app, api), took);
            }
        });
        reading
    }
}
