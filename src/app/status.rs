//! What the admin listener tells of a running gateway, and whether it is ready.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::reload::ConfigLog;
use super::replica;
use crate::admin::{
    ApiStatus, AppStatus, CallerStatus, CeilingStatus, CodeStatus, EndpointStatus, ErrorStatus, LoadStatus,
    Readiness, Status, StoreStatus, TrippedApp,
};
use crate::clock::WallClock;
use crate::gateway::admission::{Reading, Waiting};
use crate::gateway::pipeline::Shared;
use crate::gateway::target::App;
use crate::model::call_outcome::CallOutcome;
use crate::model::endpoint::Endpoint;
use crate::telemetry::last_errors::LastError;
use crate::telemetry::metrics::{Listener, Metrics, Minute};

/// Tells the present status, each time it is called.
pub(super) fn teller(
    shared: &Arc<Shared>,
    readiness: &Readiness,
    config: &Arc<ConfigLog>,
    clock: &Arc<dyn WallClock>,
) -> Arc<dyn Fn() -> Status + Send + Sync> {
    let (shared, readiness, started_at) = (Arc::clone(shared), readiness.clone(), clock.unix_seconds());
    let (config, clock) = (Arc::clone(config), Arc::clone(clock));
    let began = Instant::now();
    Arc::new(move || {
        let (metrics, now, wall) = (&shared.metrics, Instant::now(), clock.unix_seconds());
        let minute = metrics.last_minute(now);
        let errors = metrics.last_errors().latest();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at,
            now: wall,
            uptime_seconds: (now - began).as_secs(),
            readiness: readiness.state(),
            config: config.status(),
            store: store(&shared),
            load: LoadStatus {
                in_flight: shared.in_flight.now() as u64,
                max_in_flight: shared.in_flight.most() as u64,
                connections: metrics.open_connections(Listener::Gateway),
            },
            window_seconds: minute.span.as_secs_f64(),
            apps: shared.live.load().apps.all().into_iter().map(|app| app_status(app, &shared)).collect(),
            apis: apis(&minute, &shared.admission.readings()),
            callers: callers(&minute, &shared.admission.waiting(), metrics),
            errors: errors.into_iter().map(|error| error_status(error, now, wall)).collect(),
        }
    })
}

fn store(shared: &Shared) -> StoreStatus {
    shared.admission.replica().map_or_else(StoreStatus::default, |replica| replica::status(replica))
}

fn app_status(app: &App, shared: &Shared) -> AppStatus {
    let mut endpoints: Vec<_> =
        app.endpoints.v4.iter().map(|endpoint| endpoint_status(app, endpoint, shared)).collect();
    if let Some(first) = endpoints.iter_mut().find(|endpoint| endpoint.healthy) {
        first.in_use = true;
    }
    AppStatus {
        name: app.name.to_string(),
        sdkappid: app.sdkappid.number(),
        region: app.region.map(|region| region.to_string()),
        endpoints,
        usersig_expires_at: shared.credentials.current(app).map(|usersig| usersig.expires_at()),
        tripped: shared.trips.reading(app).map(|trip| TrippedApp {
            reason: trip.cause.diagnosis.reason().to_owned(),
            diagnosis: trip.cause.diagnosis.to_string(),
            error_code: trip.cause.code.0,
            probe_in_seconds: trip.probe_in.as_secs() + u64::from(trip.probe_in.subsec_nanos() > 0),
        }),
    }
}

fn endpoint_status(app: &App, endpoint: &Endpoint, shared: &Shared) -> EndpointStatus {
    EndpointStatus {
        url: endpoint.to_string(),
        healthy: shared.health.is_healthy(app, endpoint),
        in_use: false,
        clock_differs: shared.health.clock_differs(app, endpoint),
    }
}

/// Those with a ceiling in use and those that were called in the last minute, by name.
fn apis(minute: &Minute, readings: &[Reading]) -> Vec<ApiStatus> {
    let mut apis: BTreeMap<(&str, &str), ApiStatus> = BTreeMap::new();
    for reading in readings {
        let api = apis.entry((reading.app.as_str(), &reading.api)).or_default();
        api.ceiling = Some(CeilingStatus {
            per_second: reading.per_second,
            limit: reading.limit.into(),
            used: reading.used.into(),
            waiting: reading.waiting as u64,
            unproven: reading.unproven,
            shadowed: reading.shadowed,
        });
    }
    for calls in &minute.calls {
        let codes = &mut apis.entry((&calls.app, &calls.api)).or_default().codes;
        let error_code = calls.code.map(|code| code.0);
        let outcome = calls.outcome.as_str();
        match codes.iter_mut().find(|code| (code.error_code, code.outcome) == (error_code, outcome)) {
            Some(code) => code.calls += calls.count,
            None => codes.push(CodeStatus { error_code, outcome, calls: calls.count }),
        }
    }
    for times in &minute.times {
        let api = apis.entry((&times.app, &times.api)).or_default();
        api.mean_wait_ms = times.wait.map(milliseconds);
        api.mean_upstream_ms = times.upstream.map(milliseconds);
    }
    let named = apis.into_iter().map(|((app, api), mut status)| {
        status.codes.sort_by_key(|code| (Reverse(code.calls), code.error_code));
        ApiStatus { app: app.to_owned(), api: api.to_owned(), ..status }
    });
    named.collect()
}

/// Those who called in the last minute or wait now, who calls most first.
fn callers(minute: &Minute, waiting: &[Waiting], metrics: &Metrics) -> Vec<CallerStatus> {
    let mut callers: BTreeMap<Arc<str>, CallerStatus> = BTreeMap::new();
    for calls in &minute.calls {
        let caller = callers.entry(Arc::clone(&calls.caller)).or_default();
        caller.calls += calls.count;
        let counted = match calls.outcome {
            CallOutcome::Ok => &mut caller.ok,
            CallOutcome::Throttled => &mut caller.throttled,
            CallOutcome::Refused => &mut caller.refused,
            CallOutcome::TencentError | CallOutcome::Auth | CallOutcome::Fault => &mut caller.failed,
        };
        *counted += calls.count;
    }
    for waiting in waiting {
        callers.entry(metrics.caller_name(&waiting.caller)).or_default().waiting += waiting.calls as u64;
    }
    let mut callers: Vec<_> =
        callers.into_iter().map(|(name, caller)| CallerStatus { name: name.to_string(), ..caller }).collect();
    callers.sort_by_key(|caller| Reverse(caller.calls));
    callers
}

/// `now` and `wall` are the same moment, by either clock.
fn error_status(error: LastError, now: Instant, wall: u64) -> ErrorStatus {
    ErrorStatus {
        at: wall.saturating_sub(now.saturating_duration_since(error.at).as_secs()),
        calls: error.calls,
        app: error.kind.app.map(|app| app.to_string()).unwrap_or_default(),
        api: error.kind.api.to_string(),
        caller: error.caller.to_string(),
        error_code: error.kind.code.0,
        outcome: error.kind.outcome.as_str(),
        reason: error.kind.reason,
        meaning: error.meaning,
        remedy: error.remedy,
        request_id: error.request_id.to_string(),
        tencent_request_id: error.tencent_request_id.map(String::from),
    }
}

/// To a tenth of a millisecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}

/// Keeps readiness true to whether every key can sign. Neither Redis nor Tencent has a say in it.
pub(super) async fn watch(shared: Arc<Shared>, readiness: Readiness) {
    loop {
        let reasons = against(&shared).await;
        if reasons.is_empty() {
            readiness.ready();
        } else {
            readiness.not_ready(reasons);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn against(shared: &Shared) -> Vec<String> {
    let mut reasons = Vec::new();
    let live = shared.live.load_full();
    for app in live.apps.each() {
        if let Err(error) = shared.credentials.can_sign(app).await {
            reasons.push(format!("app {}: {error}", app.name));
        }
    }
    reasons.sort_unstable();
    reasons
}

/// Signing fails for reasons that do not come and go quickly.
const LOOK_EVERY: Duration = Duration::from_secs(10);
