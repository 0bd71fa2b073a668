//! Metrics for Prometheus.
//!
//! One [`Metrics`] for the process holds a registry of its own. Whoever handles calls asks once for the
//! [`ApiMetrics`] of an app and API and counts into those without formatting a label. What others know already, such
//! as the state of the ceilings, is read when Prometheus asks. [`Metrics::encode`] writes everything as text.
//!
//! Names, help texts and buckets are in `families`. Every label that could grow with what callers send passes a
//! [`Bounded`] set here, so no use of this module can make series without end.

mod api;
mod apis;
mod ceilings;
mod families;
mod kept;
mod minute;
mod values;
mod waiting;

use std::sync::Arc;

use prometheus::{IntGauge, Registry, TextEncoder};

pub use self::api::ApiMetrics;
pub use self::ceilings::{CeilingReading, ReadCeilings};
pub use self::minute::{Calls, MINUTE, Minute, READ_EVERY, Times};
pub use self::waiting::{ReadWaiting, WaitingReading};

use self::api::SeriesBudget;
use self::apis::{Apis, ReadApis};
use self::ceilings::Ceilings;
use self::families::Families;
use self::minute::Readings;
use self::waiting::Waiting;
use crate::model::endpoint::Endpoint;
use crate::telemetry::labels::{Bounded, CALLERS, ERROR_CODES, Label, UNKNOWN};
use crate::telemetry::last_errors::LastErrors;

/// The media type of [`Metrics::encode`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The most series that name their caller, over all apps and APIs.
const CALLER_SERIES: usize = 20_000;

/// The ErrorCodes that keep their own label however many others were seen: success and the gateway's own.
const OWN_CODES: [&str; 14] = [
    "0", "9900400", "9900403", "9900404", "9900405", "9900408", "9900413", "9900415", "9900429", "9900431",
    "9900500", "9900502", "9900503", "9900504",
];

/// Where ceilings are kept.
const STORE_MODES: [&str; 3] = ["local", "shared", "degraded"];

/// All metrics of the process.
///
/// ```
/// use std::time::Duration;
///
/// use usersig_gateway::model::call_outcome::CallOutcome;
/// use usersig_gateway::model::error_code::ErrorCode;
/// use usersig_gateway::telemetry::metrics::Metrics;
///
/// let metrics = Metrics::new("1.2.3");
/// let caller = metrics.caller("gifts");
/// let api = metrics.api("live", "live_config/get_callback"); // kept
/// api.call(caller, ErrorCode::OK, CallOutcome::Ok, Duration::from_millis(12));
/// assert!(metrics.encode().contains("usersig_gateway_calls_total{"));
/// ```
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    shared: Arc<Shared>,
    ceilings: Ceilings,
    waiting: Waiting,
    apis: Arc<Apis>,
    /// What was counted until some moments of the last minute.
    readings: Readings,
    errors: LastErrors,
}

/// What the counters of all APIs need.
#[derive(Debug)]
struct Shared {
    families: Families,
    callers: Bounded,
    error_codes: Bounded,
    series: SeriesBudget,
}

/// Which listener accepted a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listener {
    /// The one for calls.
    Gateway,
    /// The one for health, metrics and status.
    Admin,
}

/// Counts one connection as open for as long as it lives.
#[derive(Debug)]
#[must_use = "the connection is counted as open only while this lives"]
pub struct OpenConnection(IntGauge);

// === impl Metrics ===

impl Metrics {
    /// Metrics of a process that runs `version`, all at zero.
    #[must_use]
    pub fn new(version: &str) -> Arc<Self> {
        Self::with_bounds(version, CALLERS, CALLER_SERIES)
    }

    fn with_bounds(version: &str, callers: usize, caller_series: usize) -> Arc<Self> {
        let registry = Registry::new();
        let families = Families::register(&registry);
        families.build_info.with_label_values(&[version]).set(1);
        for mode in STORE_MODES {
            families.ceiling_store.with_label_values(&[mode]).set(i64::from(mode == "local"));
        }
        for result in ["ok", "timeout", "unreachable", "refused", "late"] {
            families.ceiling_store_commands.with_label_values(&[result]).inc_by(0);
        }
        for result in ["ok", "failed"] {
            families.config_reloads.with_label_values(&[result]).inc_by(0);
        }
        for result in ["exported", "dropped", "failed"] {
            families.trace_spans.with_label_values(&[result]).inc_by(0);
        }
        for listener in [Listener::Gateway, Listener::Admin] {
            families.connections.with_label_values(&[listener.as_str()]).set(0);
        }
        let ceilings = Ceilings::new();
        let proof = "no two families have the same name";
        registry.register(Box::new(ceilings.clone())).expect(proof);
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect(proof);
        let shared = Arc::new(Shared {
            families,
            callers: Bounded::new(callers).reserving([UNKNOWN]),
            error_codes: Bounded::new(ERROR_CODES).reserving(OWN_CODES),
            series: SeriesBudget::new(caller_series),
        });
        let waiting = Waiting::new(Arc::clone(&shared));
        registry.register(Box::new(waiting.clone())).expect(proof);
        let apis = Arc::new(Apis::new(Arc::clone(&shared)));
        registry.register(Box::new(ReadApis::new(Arc::clone(&apis)))).expect(proof);
        Arc::new(Self {
            registry,
            shared,
            ceilings,
            waiting,
            apis,
            readings: Readings::default(),
            errors: LastErrors::default(),
        })
    }

    /// The label of a caller, to count its calls with. The first [`CALLERS`] names keep their own, later ones share
    /// `other`; [`UNKNOWN`] is for a call that was refused before anybody asked who sent it.
    pub fn caller(&self, name: &str) -> Label {
        self.shared.callers.label(name)
    }

    /// What a caller is called in metrics: its name, or `other` beyond the first [`CALLERS`].
    #[must_use]
    pub fn caller_name(&self, name: &str) -> Arc<str> {
        self.shared.callers.text(self.caller(name))
    }

    /// Callers that settings name keep their own label always.
    pub fn know_callers<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            self.shared.callers.reserve(name);
        }
    }

    /// What is counted of one API of one app; always the same for the same names. Keep it rather than asking
    /// again.
    ///
    /// [`UNKNOWN`] stands for an app or API that a refused call did not reach. The first [`APPS`] apps and, for each, the
    /// catalogue's APIs and the first [`APIS`] others keep their own labels; later ones share theirs.
    ///
    /// [`APIS`]: crate::telemetry::labels::APIS
    /// [`APPS`]: crate::telemetry::labels::APPS
    #[must_use]
    pub fn api(&self, app: &str, api: &str) -> Arc<ApiMetrics> {
        self.apis.find(app, api, Bounded::label)
    }

    /// The same for an API that the settings name: it keeps its own label whatever else was called.
    #[must_use]
    pub fn named_api(&self, app: &str, api: &str) -> Arc<ApiMetrics> {
        self.apis.find(app, api, Bounded::reserve)
    }

    /// The calls that failed lately, one by one.
    #[must_use]
    pub fn last_errors(&self) -> &LastErrors {
        &self.errors
    }

    /// How many connections of a listener are open.
    #[must_use]
    pub fn open_connections(&self, listener: Listener) -> u64 {
        let gauge = self.shared.families.connections.with_label_values(&[listener.as_str()]);
        u64::try_from(gauge.get()).unwrap_or(0)
    }

    /// From now on, asks `read` for the ceilings' state whenever Prometheus asks; it replaces any earlier one.
    pub fn register_ceilings(&self, read: ReadCeilings) {
        self.ceilings.read_from(read);
    }

    /// The same for who waits.
    pub fn register_waiting(&self, read: ReadWaiting) {
        self.waiting.read_from(read);
    }

    /// Counts a connection as open until the returned value is dropped.
    pub fn connection(&self, listener: Listener) -> OpenConnection {
        let gauge = self.shared.families.connections.with_label_values(&[listener.as_str()]);
        gauge.inc();
        OpenConnection(gauge)
    }

    /// Counts a header of the gateway's own that was malformed and therefore ignored. `header` is its name in lower
    /// case.
    pub fn ignored_header(&self, header: &'static str) {
        self.shared.families.ignored_headers.with_label_values(&[header]).inc();
    }

    /// Counts a signing that succeeded, and until when that UserSig is valid, in Unix seconds.
    pub(super) fn usersig_signed(&self, app: &str, expires: u64) {
        let app = self.apis.app_text(app);
        self.shared.families.usersig_signed.with_label_values(&[&*app, "ok"]).inc();
        let expires = i64::try_from(expires).unwrap_or(i64::MAX);
        self.shared.families.usersig_expires.with_label_values(&[&*app]).set(expires);
    }

    /// Counts a signing that failed.
    pub(super) fn usersig_failed(&self, app: &str) {
        let app = self.apis.app_text(app);
        self.shared.families.usersig_signed.with_label_values(&[&*app, "failed"]).inc();
    }

    /// Whether an app's calls are refused at once for this reason, a snake_case word.
    pub(super) fn app_tripped(&self, app: &str, reason: &'static str, is_so: bool) {
        let app = self.apis.app_text(app);
        self.shared.families.app_tripped.with_label_values(&[&*app, reason]).set(i64::from(is_so));
    }

    /// Where ceilings are kept from now on: one of `local`, `shared` and `degraded`.
    pub fn store_mode(&self, in_force: &'static str) {
        for mode in STORE_MODES {
            self.shared.families.ceiling_store.with_label_values(&[mode]).set(i64::from(mode == in_force));
        }
    }

    /// Counts a command to the store of shared ceilings.
    pub(super) fn store_command(&self, result: &'static str) {
        self.shared.families.ceiling_store_commands.with_label_values(&[result]).inc();
    }

    /// Counts a configuration that was read anew.
    pub(super) fn config_reloaded(&self, result: &'static str) {
        self.shared.families.config_reloads.with_label_values(&[result]).inc();
    }

    /// Counts spans by what became of them: `exported`, `failed` at the collector, or `dropped` since the queue was full.
    pub fn spans(&self, result: &'static str, count: u64) {
        self.shared.families.trace_spans.with_label_values(&[result]).inc_by(count);
    }

    /// Whether an app's calls go to the endpoint as usual.
    pub fn endpoint_healthy(&self, app: &str, endpoint: &Endpoint, is_so: bool) {
        let app = self.apis.app_text(app);
        let values = [&*app, endpoint.authority()];
        self.shared.families.endpoint_healthy.with_label_values(&values).set(i64::from(is_so));
    }

    /// The app has no such endpoint any more.
    pub fn endpoint_forgotten(&self, app: &str, endpoint: &Endpoint) {
        let app = self.apis.app_text(app);
        let values = [&*app, endpoint.authority()];
        // It is no error if nothing was told of it.
        _ = self.shared.families.endpoint_healthy.remove_label_values(&values);
    }

    /// How many seconds this machine's clock is ahead of the endpoint's.
    pub fn clock_skew(&self, endpoint: &Endpoint, seconds: i64) {
        self.shared.families.clock_skew.with_label_values(&[endpoint.authority()]).set(seconds);
    }

    /// No app has such an endpoint any more.
    pub fn clock_skew_forgotten(&self, endpoint: &Endpoint) {
        // It is no error if nothing was told of it.
        _ = self.shared.families.clock_skew.remove_label_values(&[endpoint.authority()]);
    }

    /// Everything in Prometheus' text format 0.0.4, sorted by name and labels. It is of [`CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("writing to memory cannot fail, and the registry leaves out families that are empty")
    }
}

// === impl Listener ===

impl Listener {
    /// The value of the `listener` label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Admin => "admin",
        }
    }
}

// === impl OpenConnection ===

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
