//! The counters of one API of one app, side by side, so that counting a call formats nothing and looks nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::Shared;
use super::families::{CALL_BOUNDS, UPSTREAM_BOUNDS, WAIT_BOUNDS};
use super::kept::Kept;
use super::values::{Counter, Histogram};
use crate::model::call_outcome::CallOutcome;
use crate::model::endpoint::Endpoint;
use crate::model::error_code::ErrorCode;
use crate::telemetry::labels::Label;

/// What is counted of one API of one app. Kept by whoever handles its calls; shared by all workers.
#[derive(Debug)]
pub struct ApiMetrics {
    pub(super) call_duration: Histogram<17>,
    pub(super) admission_wait: Histogram<16>,
    /// `None` stands for every ErrorCode beyond the bound.
    pub(super) calls: Kept<(Label, Option<ErrorCode>, CallOutcome), Counter>,
    /// By the authority, which is the label: with TLS or without, an endpoint is the same there.
    pub(super) endpoints: Kept<Arc<str>, EndpointMetrics>,
    pub(super) refused: Kept<(Label, &'static str), Counter>,
    pub(super) retries: Kept<&'static str, Counter>,
    pub(super) app: Arc<str>,
    pub(super) api: Arc<str>,
    shared: Arc<Shared>,
}

/// What is counted of one of its endpoints.
#[derive(Debug)]
pub(super) struct EndpointMetrics {
    pub(super) upstream_duration: Histogram<15>,
    pub(super) attempts: Kept<&'static str, Counter>,
}

impl ApiMetrics {
    pub(super) fn new(app: Arc<str>, api: Arc<str>, shared: Arc<Shared>) -> Self {
        Self {
            call_duration: Histogram::new(&CALL_BOUNDS),
            admission_wait: Histogram::new(&WAIT_BOUNDS),
            calls: Kept::default(),
            endpoints: Kept::default(),
            refused: Kept::default(),
            retries: Kept::default(),
            app,
            api,
            shared,
        }
    }

    /// Counts a call that was answered, refused ones too, and how long that took. `caller` comes from
    /// [`Metrics::caller`](super::Metrics::caller).
    pub fn call(&self, caller: Label, code: ErrorCode, outcome: CallOutcome, took: Duration) {
        self.call_duration.observe(took);
        if self.calls.at(&(caller, Some(code), outcome), Counter::inc).is_none() {
            self.first_call(caller, code, outcome);
        }
    }

    /// Counts a call that the gateway refused, beside [`call`](Self::call). `reason` is a snake_case word.
    pub fn refused(&self, caller: Label, reason: &'static str) {
        if self.refused.at(&(caller, reason), Counter::inc).is_none() {
            let caller = self.shared.series.room_for(caller);
            self.refused.at_or(&(caller, reason), Counter::default, Counter::inc);
        }
    }

    /// Counts a further try of a call, by what the one before came to. `reason` is a snake_case word.
    pub fn retried(&self, reason: &'static str) {
        self.retries.at_or(&reason, Counter::default, Counter::inc);
    }

    /// Counts how long one try waited for its turn, also when it waited not at all.
    pub fn waited(&self, wait: Duration) {
        self.admission_wait.observe(wait);
    }

    /// Counts one try by how it ended. `result` is a snake_case word.
    pub fn attempt(&self, endpoint: &Endpoint, result: &'static str) {
        self.endpoints.at_or(endpoint.shared_authority(), EndpointMetrics::new, |of_endpoint| {
            of_endpoint.attempts.at_or(&result, Counter::default, Counter::inc);
        });
    }

    /// Counts how long one try took from its sending to the end of the answer.
    pub fn upstream(&self, endpoint: &Endpoint, took: Duration) {
        self.endpoints.at_or(endpoint.shared_authority(), EndpointMetrics::new, |of_endpoint| {
            of_endpoint.upstream_duration.observe(took);
        });
    }

    /// A combination that has no counter of its own yet, or never gets one because its code or its caller is beyond the
    /// bounds.
    fn first_call(&self, caller: Label, code: ErrorCode, outcome: CallOutcome) {
        let code = Some(code).filter(|code| self.shared.error_codes.label(&code.to_string()) != Label::OTHER);
        if self.calls.at(&(caller, code, outcome), Counter::inc).is_none() {
            let caller = self.shared.series.room_for(caller);
            self.calls.at_or(&(caller, code, outcome), Counter::default, Counter::inc);
        }
    }
}

impl EndpointMetrics {
    fn new() -> Self {
        Self { upstream_duration: Histogram::new(&UPSTREAM_BOUNDS), attempts: Kept::default() }
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
