//! Every metric's name, labels, buckets and words, in one place. Counting happens elsewhere.

use prometheus::core::Collector;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::values::Bounds;

/// Before every name but those of the process metrics, which Prometheus itself fixes.
const PREFIX: &str = "usersig_gateway";

/// From a refusal, which takes no more than a look, to `[upstream] total_timeout`.
pub(super) static CALL_BOUNDS: Bounds<17> = Bounds::of_microseconds([
    100, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_000_000,
    3_000_000, 5_000_000, 10_000_000, 20_000_000,
]);

/// From an answer out of the same data centre to `[upstream] request_timeout`, with an edge at 0.25 s, beyond which a
/// call's arrival is unproven (`transit_max`), and at 3 s, when Tencent's back end gives up.
pub(super) static UPSTREAM_BOUNDS: Bounds<15> = Bounds::of_microseconds([
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 175_000, 250_000, 500_000, 1_000_000, 2_000_000,
    3_000_000, 5_000_000, 10_000_000,
]);

/// From no wait at all, by one turn at 200 a second (5 ms) and the second in which every token has come home, to
/// `[ceiling] max_wait` and what a caller may ask beyond it.
pub(super) static WAIT_BOUNDS: Bounds<16> = Bounds::of_microseconds([
    100, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 1_250_000, 2_000_000,
    3_000_000, 5_000_000, 10_000_000, 20_000_000,
]);

/// A family that is counted for each API of each app, in [`super::api`], and read at scrape time.
#[derive(Debug)]
pub(super) struct ApiFamily<const L: usize> {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// In the order of the alphabet, as Prometheus wants them.
    pub(super) labels: [&'static str; L],
}

pub(super) const CALLS: ApiFamily<5> = ApiFamily {
    name: "calls_total",
    help: "Calls that were answered, by Tencent or by the gateway itself, by their ErrorCode.",
    labels: ["api", "app", "caller", "error_code", "outcome"],
};

pub(super) const REFUSED: ApiFamily<4> = ApiFamily {
    name: "refused_total",
    help: "Calls that the gateway refused on its own, by the reason.",
    labels: ["api", "app", "caller", "reason"],
};

pub(super) const CALL_DURATION: ApiFamily<2> = ApiFamily {
    name: "call_duration_seconds",
    help: "Time from a call's headers to its answer's last byte, waiting and retries included.",
    labels: ["api", "app"],
};

pub(super) const UPSTREAM_DURATION: ApiFamily<3> = ApiFamily {
    name: "upstream_duration_seconds",
    help: "Time from sending one try to the end of Tencent's answer, by the host that answered.",
    labels: ["api", "app", "endpoint"],
};

pub(super) const ADMISSION_WAIT: ApiFamily<2> = ApiFamily {
    name: "admission_wait_seconds",
    help: "Time that one try waited for its turn under the ceiling.",
    labels: ["api", "app"],
};

pub(super) const ATTEMPTS: ApiFamily<3> = ApiFamily {
    name: "attempts_total",
    help: "Tries that were sent upstream or failed on the way there, by how they ended.",
    labels: ["app", "endpoint", "result"],
};

pub(super) const RETRIES: ApiFamily<3> = ApiFamily {
    name: "retries_total",
    help: "Further tries of a call, by what the one before came to.",
    labels: ["api", "app", "reason"],
};

impl<const L: usize> ApiFamily<L> {
    pub(super) fn full_name(&self) -> String {
        format!("{PREFIX}_{}", self.name)
    }
}

/// The families that are counted into by name. Of those that are read at scrape time, [`super::ceilings`]' and
/// [`super::waiting`]'s stand at the foot of this file.
#[derive(Debug)]
pub(super) struct Families {
    pub(super) ceiling_store: IntGaugeVec,
    pub(super) ceiling_store_commands: IntCounterVec,
    pub(super) endpoint_healthy: IntGaugeVec,
    pub(super) app_tripped: IntGaugeVec,
    pub(super) usersig_signed: IntCounterVec,
    pub(super) usersig_expires: IntGaugeVec,
    pub(super) clock_skew: IntGaugeVec,
    pub(super) config_reloads: IntCounterVec,
    pub(super) trace_spans: IntCounterVec,
    pub(super) connections: IntGaugeVec,
    pub(super) ignored_headers: IntCounterVec,
    pub(super) build_info: IntGaugeVec,
}

impl Families {
    pub(super) fn register(registry: &Registry) -> Self {
        let add = Add(registry);
        Self {
            ceiling_store: add.gauge(
                "ceiling_store",
                "Where ceilings are kept: 1 for the mode in force, 0 for the others.",
                &["mode"],
            ),
            ceiling_store_commands: add.counter(
                "ceiling_store_commands_total",
                "Commands to the store that keeps shared ceilings, by what came of them.",
                &["result"],
            ),
            endpoint_healthy: add.gauge(
                "endpoint_healthy",
                "1 while the app's calls go to the endpoint as usual, 0 while they pass it over.",
                &["app", "endpoint"],
            ),
            app_tripped: add.gauge(
                "app_tripped",
                "1 while the app's calls are refused at once, since Tencent refuses them all for this reason.",
                &["app", "reason"],
            ),
            usersig_signed: add.counter(
                "usersig_signed_total",
                "UserSigs that were signed ahead of need or anew, by whether that succeeded.",
                &["app", "result"],
            ),
            usersig_expires: add.gauge(
                "usersig_expires_timestamp_seconds",
                "When the UserSig in use ends to be valid, in seconds since 1970-01-01 UTC.",
                &["app"],
            ),
            clock_skew: add.gauge(
                "clock_skew_seconds",
                "How far this machine's clock is ahead of the endpoint's, by the date of its last answers.",
                &["endpoint"],
            ),
            config_reloads: add.counter(
                "config_reloads_total",
                "Configurations that were read anew, by whether they were taken.",
                &["result"],
            ),
            trace_spans: add.counter(
                "trace_spans_total",
                "Spans of traces, by whether the collector took them.",
                &["result"],
            ),
            connections: add.gauge(
                "connections",
                "Connections that are open now, by the listener that accepted them.",
                &["listener"],
            ),
            ignored_headers: add.counter(
                "ignored_headers_total",
                "Headers of the gateway's own that a caller sent malformed, and that were therefore ignored.",
                &["header"],
            ),
            build_info: add.gauge("build_info", "Always 1; the labels tell which build runs.", &["version"]),
        }
    }
}

struct Add<'a>(&'a Registry);

impl Add<'_> {
    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.family(IntCounterVec::new(opts(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.family(IntGaugeVec::new(opts(name, help), labels))
    }

    fn family<F: Collector + Clone + 'static>(&self, family: prometheus::Result<F>) -> F {
        let family = family.expect("names and labels above are well-formed constants");
        self.0.register(Box::new(family.clone())).expect("no name above is used twice");
        family
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(PREFIX)
}

/// The labels of the ceilings' families.
pub(super) const CEILING_LABELS: &[&str] = &["app", "api"];

/// The labels of [`caller_waiting`].
pub(super) const WAITING_LABELS: &[&str] = &["app", "caller"];

pub(super) fn caller_waiting() -> Opts {
    opts("caller_waiting", "Calls that wait for their turn now, by who made them.")
}

pub(super) fn ceiling_limit() -> Opts {
    opts("ceiling_limit", "Calls per second that the gateway allows itself at present.")
}

pub(super) fn ceiling_used() -> Opts {
    opts("ceiling_used", "Calls of the last second that count towards the ceiling.")
}

pub(super) fn ceiling_waiting() -> Opts {
    opts("ceiling_waiting", "Calls that wait for their turn now.")
}

pub(super) fn ceiling_leased() -> Opts {
    opts("ceiling_leased", "Calls that may leave now without asking the store that keeps the shared ceiling.")
}

pub(super) fn ceiling_unproven() -> Opts {
    opts(
        "ceiling_unproven_total",
        "Answers that took longer than transit_max, so that it is unproven in which second the call arrived.",
    )
}

pub(super) fn ceiling_shadow() -> Opts {
    opts(
        "ceiling_shadow_total",
        "Calls that shadow mode let pass and that would otherwise have waited or been refused.",
    )
}
