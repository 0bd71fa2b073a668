//! What the admin listener tells of a running gateway, and whether it is ready.

use std::sync::Arc;
use std::time::Duration;

use super::ceiling_reading;
use super::reload::ConfigLog;
use crate::admin::{AppStatus, EndpointStatus, Readiness, Status, TrippedApp};
use crate::clock::WallClock;
use crate::gateway::pipeline::Shared;
use crate::gateway::target::App;
use crate::model::endpoint::Endpoint;

/// Tells the present status, each time it is called.
pub(super) fn teller(
    shared: &Arc<Shared>,
    readiness: &Readiness,
    config: &Arc<ConfigLog>,
    clock: &dyn WallClock,
) -> Arc<dyn Fn() -> Status + Send + Sync> {
    let (shared, readiness, started_at) = (Arc::clone(shared), readiness.clone(), clock.unix_seconds());
    let config = Arc::clone(config);
    let began = tokio::time::Instant::now();
    Arc::new(move || Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at,
        uptime_seconds: began.elapsed().as_secs(),
        readiness: readiness.state(),
        config: config.status(),
        apps: shared.live.load().apps.all().into_iter().map(|app| app_status(app, &shared)).collect(),
        ceilings: shared.admission.readings().iter().map(ceiling_reading).collect(),
    })
}

fn app_status(app: &App, shared: &Shared) -> AppStatus {
    AppStatus {
        name: app.name.to_string(),
        sdkappid: app.sdkappid.number(),
        region: app.region.map(|region| region.to_string()),
        endpoints: app.endpoints.v4.iter().map(|endpoint| endpoint_status(app, endpoint, shared)).collect(),
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
    EndpointStatus { url: endpoint.to_string(), healthy: shared.health.is_healthy(app, endpoint) }
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
    for app in shared.live.load_full().apps.all() {
        if let Err(error) = shared.credentials.can_sign(app).await {
            reasons.push(format!("app {}: {error}", app.name));
        }
    }
    reasons
}

/// Signing fails for reasons that do not come and go quickly.
const LOOK_EVERY: Duration = Duration::from_secs(5);
