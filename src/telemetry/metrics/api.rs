//! The counters of one API of one app, with every handle kept so that counting a call formats nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus::{Histogram, IntCounter};

use super::Shared;
use super::handles::Handles;
use crate::model::call_outcome::CallOutcome;
use crate::model::endpoint::Endpoint;
use crate::model::error_code::ErrorCode;
use crate::telemetry::labels::{self, Label};

/// What is counted of one API of one app. Kept by whoever handles its calls; shared by all workers.
#[derive(Debug)]
pub struct ApiMetrics {
    app: Arc<str>,
    api: Arc<str>,
    shared: Arc<Shared>,
    call_duration: Histogram,
    pub(super) admission_wait: Histogram,
    /// `None` stands for every ErrorCode beyond the bound.
    pub(super) calls: Handles<(Label, Option<ErrorCode>, CallOutcome), IntCounter>,
    refused: Handles<(Label, &'static str), IntCounter>,
    retries: Handles<&'static str, IntCounter>,
    pub(super) endpoints: Handles<Endpoint, Arc<EndpointHandles>>,
}

#[derive(Debug)]
pub(super) struct EndpointHandles {
    authority: String,
    pub(super) upstream_duration: Histogram,
    attempts: Handles<&'static str, IntCounter>,
}

impl ApiMetrics {
    pub(super) fn new(app: Arc<str>, api: Arc<str>, shared: Arc<Shared>) -> Self {
        let values = [&*app, &*api];
        Self {
            call_duration: shared.families.call_duration.with_label_values(&values),
            admission_wait: shared.families.admission_wait.with_label_values(&values),
            calls: Handles::default(),
            refused: Handles::default(),
            retries: Handles::default(),
            endpoints: Handles::default(),
            app,
            api,
            shared,
        }
    }

    /// Counts a call that was answered, refused ones too, and how long that took. `caller` comes from
    /// [`Metrics::caller`](super::Metrics::caller).
    pub fn call(&self, caller: Label, code: ErrorCode, outcome: CallOutcome, took: Duration) {
        self.call_duration.observe(took.as_secs_f64());
        match self.calls.find(&(caller, Some(code), outcome)) {
            Some(counter) => counter.inc(),
            None => self.first_call(caller, code, outcome).inc(),
        }
    }

    /// Counts a call that the gateway refused, beside [`call`](Self::call). `reason` is a snake_case word.
    pub fn refused(&self, caller: Label, reason: &'static str) {
        match self.refused.find(&(caller, reason)) {
            Some(counter) => counter.inc(),
            None => self.first_refusal(caller, reason).inc(),
        }
    }

    /// Counts a further try of a call, by what the one before came to. `reason` is a snake_case word.
    pub fn retried(&self, reason: &'static str) {
        let count = || self.shared.families.retries.with_label_values(&[&*self.app, &*self.api, reason]);
        self.retries.find_or(&reason, count).inc();
    }

    /// Counts how long one try waited for its turn, also when it waited not at all.
    pub fn waited(&self, wait: Duration) {
        self.admission_wait.observe(wait.as_secs_f64());
    }

    /// Counts one try by how it ended. `result` is a snake_case word.
    pub fn attempt(&self, endpoint: &Endpoint, result: &'static str) {
        let handles = self.endpoint(endpoint);
        let count = || {
            let values = [&*self.app, &handles.authority, result];
            self.shared.families.attempts.with_label_values(&values)
        };
        handles.attempts.find_or(&result, count).inc();
    }

    /// Counts how long one try took from its sending to the end of the answer.
    pub fn upstream(&self, endpoint: &Endpoint, took: Duration) {
        self.endpoint(endpoint).upstream_duration.observe(took.as_secs_f64());
    }

    fn endpoint(&self, endpoint: &Endpoint) -> Arc<EndpointHandles> {
        self.endpoints.find_or(endpoint, || {
            let authority = endpoint.authority().to_owned();
            let values = [&*self.app, &*self.api, &authority];
            let upstream_duration = self.shared.families.upstream_duration.with_label_values(&values);
            Arc::new(EndpointHandles { authority, upstream_duration, attempts: Handles::default() })
        })
    }

    /// A combination that has no handle of its own yet, or never gets one because its code or its caller is beyond the
    /// bounds.
    fn first_call(&self, caller: Label, code: ErrorCode, outcome: CallOutcome) -> IntCounter {
        let text = code.to_string();
        let code = Some(code).filter(|_| self.shared.error_codes.label(&text) != Label::OTHER);
        self.calls.find(&(caller, code, outcome)).unwrap_or_else(|| {
            let caller = self.shared.series.room_for(caller);
            self.calls.find_or(&(caller, code, outcome), || {
                let caller = self.shared.callers.text(caller);
                let code = if code.is_some() { &text } else { labels::OTHER };
                let values = [&*self.app, &*self.api, &*caller, code, outcome.as_str()];
                self.shared.families.calls.with_label_values(&values)
            })
        })
    }

    fn first_refusal(&self, caller: Label, reason: &'static str) -> IntCounter {
        let caller = self.shared.series.room_for(caller);
        self.refused.find_or(&(caller, reason), || {
            let caller = self.shared.callers.text(caller);
            self.shared.families.refused.with_label_values(&[&*self.app, &*self.api, &*caller, reason])
        })
    }
}

/// How many series with a caller's own name there may be in all.
///
/// Each label is bounded, but callers choose both their name and the API, and the product of the bounds is more than
/// a Prometheus wants of one target. Once this many series name their caller, new ones say `other`.
#[derive(Debug)]
pub(super) struct SeriesBudget(AtomicUsize);

impl SeriesBudget {
    pub(super) const fn new(series: usize) -> Self {
        Self(AtomicUsize::new(series))
    }

    /// The caller's own label, taking one series from the budget, or [`Label::OTHER`] once it is spent.
    fn room_for(&self, caller: Label) -> Label {
        if caller == Label::OTHER {
            return caller;
        }
        let take = |left: usize| left.checked_sub(1);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => caller,
            Err(_) => Label::OTHER,
        }
    }
}
