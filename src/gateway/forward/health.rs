//! How each app's endpoints are, as far as its calls tell: which are to be passed over, and whose clock differs from
//! ours.
//!
//! Apps are kept apart, though they may share an endpoint: one that trusts the wrong certificates must not turn the
//! others away from it. `breaker` has the rules; here are the lock and the telling.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::breaker::{Breaker, Fault, Visit};
use crate::clock::WallClock;
use crate::gateway::target::{App, Apps, PerApp};
use crate::model::endpoint::Endpoint;
use crate::net::client::Headers;
use crate::telemetry::events::{ClockAgrees, ClockDiffers, EndpointFailed, EndpointRecovered};
use crate::telemetry::metrics::Metrics;

/// How every app's endpoints are. Shared by all workers.
#[derive(Debug)]
pub struct Health {
    apps: ArcSwap<PerApp<Sites>>,
    tell: Tell,
}

/// How one app's endpoints are.
#[derive(Debug)]
pub(super) struct AppHealth<'a> {
    app: &'a App,
    sites: Sites,
}

/// The endpoints of an app as it is and as it was before a reload, if it calls as before.
type Sites = Arc<[Site]>;

/// How one endpoint of one app is.
#[derive(Debug)]
struct Site {
    /// In which second of the process the clocks were compared last, from 1.
    compared: AtomicU64,
    /// Nothing is held against it, and that was told. The usual call looks at nothing else.
    well: AtomicBool,
    endpoint: Endpoint,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    breaker: Breaker,
    clock_differs: bool,
    /// The app was changed or removed: what comes of calls that are still under way is not told.
    forgotten: bool,
}

/// Whom to tell, and by which clock.
#[derive(Debug)]
struct Tell {
    clock: Arc<dyn WallClock>,
    metrics: Arc<Metrics>,
    /// When the process began to look.
    since: Instant,
}

// === impl Health ===

impl Health {
    /// Nothing is known of any endpoint.
    #[must_use]
    pub fn new(apps: &Apps, clock: Arc<dyn WallClock>, metrics: Arc<Metrics>) -> Self {
        let health = Self { apps: ArcSwap::default(), tell: Tell { clock, metrics, since: Instant::now() } };
        health.replace(apps);
        health
    }

    /// Takes new apps. What is known of the endpoints of one that calls as before stays known.
    pub fn replace(&self, apps: &Apps) {
        let before = self.apps.load_full();
        let after = Arc::new(PerApp::of(apps, |app| {
            before.find(app, calls_alike).map_or_else(|| sites_of(app), Arc::clone)
        }));
        self.apps.store(Arc::clone(&after));
        for (app, gone) in before.iter() {
            if after.get(app.sdkappid).is_none_or(|kept| !Arc::ptr_eq(kept, gone)) {
                forget(app, gone, &self.tell.metrics);
            }
        }
        // A clock is an endpoint's, whichever apps call it.
        let kept: HashSet<&Endpoint> = endpoints(&after).collect();
        for endpoint in endpoints(&before).filter(|endpoint| !kept.contains(endpoint)) {
            self.tell.metrics.clock_skew_forgotten(endpoint);
        }
    }

    /// Whether calls of the app go to the endpoint as usual.
    #[must_use]
    pub fn is_healthy(&self, app: &App, endpoint: &Endpoint) -> bool {
        let apps = self.apps.load();
        let site = apps.get(app.sdkappid).and_then(|sites| site(sites, endpoint));
        site.is_none_or(|site| !site.lock().breaker.is_open())
    }

    /// Whether the endpoint's clock differs from this machine's by more than a minute.
    #[must_use]
    pub fn clock_differs(&self, app: &App, endpoint: &Endpoint) -> bool {
        let apps = self.apps.load();
        let site = apps.get(app.sdkappid).and_then(|sites| site(sites, endpoint));
        site.is_some_and(|site| site.lock().clock_differs)
    }

    pub(super) fn of<'a>(&self, app: &'a App) -> AppHealth<'a> {
        let apps = self.apps.load();
        // A call may hold an app from before a reload: what comes of it concerns nobody else.
        let sites = apps.find(app, calls_alike).map_or_else(|| forgotten_sites(app), Arc::clone);
        AppHealth { app, sites }
    }

    /// Whether a call should go there now.
    pub(super) fn lets(&self, of: &AppHealth<'_>, endpoint: &Endpoint) -> Option<Visit> {
        match site(&of.sites, endpoint) {
            Some(site) if !site.well.load(Ordering::Acquire) => site.lock().breaker.lets(Instant::now()),
            _ => Some(Visit::Usual),
        }
    }

    /// A call was answered there just now, with these headers.
    pub(super) fn answered(
        &self,
        of: &AppHealth<'_>,
        endpoint: &Endpoint,
        visit: Visit,
        headers: &Headers,
        now: Instant,
    ) {
        let Some(site) = site(&of.sites, endpoint) else { return };
        if !site.well.load(Ordering::Acquire) {
            site.answered(of.app, visit, &self.tell.metrics);
        }
        site.compare_clocks(headers, &self.tell, now);
    }

    /// A call failed there.
    pub(super) fn failed(
        &self,
        of: &AppHealth<'_>,
        endpoint: &Endpoint,
        visit: Visit,
        fault: Fault,
        error: &dyn std::fmt::Display,
    ) {
        let Some(site) = site(&of.sites, endpoint) else { return };
        let mut state = site.lock();
        site.well.store(false, Ordering::Release);
        let opened = state.breaker.failed(fault, visit, Instant::now(), fastrand::f64());
        // Told under the lock, so that the log has changes in their order.
        if opened && !state.forgotten {
            EndpointFailed { app: &of.app.name, endpoint, error }.emit(&self.tell.metrics);
        }
    }
}

/// Whether what calls of one found holds for the other.
fn calls_alike(a: &App, b: &App) -> bool {
    a.name == b.name && a.endpoints == b.endpoints && a.extra_roots == b.extra_roots
}

fn sites_of(app: &App) -> Sites {
    let mut endpoints: Vec<&Endpoint> = Vec::new();
    for endpoint in app.endpoints.v4.iter().chain(&app.endpoints.v1) {
        if !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    endpoints.into_iter().map(Site::of).collect()
}

fn forgotten_sites(app: &App) -> Sites {
    let sites = sites_of(app);
    for site in &*sites {
        site.lock().forgotten = true;
    }
    sites
}

fn forget(app: &App, sites: &[Site], metrics: &Metrics) {
    for site in sites {
        let mut state = site.lock();
        state.forgotten = true;
        metrics.endpoint_forgotten(app.name.as_str(), &site.endpoint);
    }
}

/// An app has a handful.
fn site<'a>(sites: &'a [Site], endpoint: &Endpoint) -> Option<&'a Site> {
    sites.iter().find(|site| site.endpoint == *endpoint)
}

fn endpoints(apps: &PerApp<Sites>) -> impl Iterator<Item = &Endpoint> {
    apps.iter().flat_map(|(_, sites)| &**sites).map(|site| &site.endpoint)
}

// === impl Site ===

impl Site {
    fn of(endpoint: &Endpoint) -> Self {
        Self {
            endpoint: endpoint.clone(),
            well: AtomicBool::new(false),
            state: Mutex::default(),
            compared: AtomicU64::new(0),
        }
    }

    fn answered(&self, app: &App, visit: Visit, metrics: &Metrics) {
        let mut state = self.lock();
        let recovered = state.breaker.answered(visit, Instant::now());
        if !state.breaker.is_clear() {
            return;
        }
        self.well.store(true, Ordering::Release);
        if state.forgotten {
            return;
        }
        if recovered {
            EndpointRecovered { app: &app.name, endpoint: &self.endpoint }.emit(metrics);
        } else {
            metrics.endpoint_healthy(app.name.as_str(), &self.endpoint, true);
        }
    }

    /// Once a second at most: all answers of one second say the same.
    fn compare_clocks(&self, headers: &Headers, tell: &Tell, now: Instant) {
        let second = (now - tell.since).as_secs() + 1;
        // Nearly always so, and then nothing is written, and no clock is looked at.
        if self.compared.load(Ordering::Relaxed) == second
            || self.compared.swap(second, Ordering::Relaxed) == second
        {
            return;
        }
        let now = tell.clock.unix_seconds();
        let Some(theirs) = date(headers) else { return };
        let skew = now.cast_signed().saturating_sub(theirs.cast_signed());
        let mut state = self.lock();
        if state.forgotten {
            return;
        }
        tell.metrics.clock_skew(&self.endpoint, skew);
        let differs = skew.unsigned_abs() > MOST_SKEW;
        let differed = std::mem::replace(&mut state.clock_differs, differs);
        match (differed, differs) {
            (false, true) => ClockDiffers { endpoint: &self.endpoint, skew }.emit(),
            (true, false) => ClockAgrees { endpoint: &self.endpoint }.emit(),
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When an answer says that it was made, in Unix seconds (RFC 9110, section 6.6.1).
fn date(headers: &Headers) -> Option<u64> {
    let date = httpdate::parse_http_date(headers.date.as_ref()?.to_str().ok()?).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// In seconds; from here on it is warned of. A UserSig carries the second of its signing, so signatures that seem to
/// come from another time fail.
const MOST_SKEW: u64 = 60;

#[cfg(test)]
mod tests;
