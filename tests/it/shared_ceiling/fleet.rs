//! A sandbox, a Redis, and gateways that share one ceiling through it.

use std::ops::Deref;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::sandbox::{Sandbox, SandboxApp, Settings};

use crate::client::send;
use crate::load::{Caller, Offered};
use crate::process::Serving;
use crate::redis_server::{Network, RedisServer};
use crate::samples::Samples;
use crate::world::{api, key, sdkappid};

pub(crate) const API: &str = "live_engine_http_srv/get_room_info";
/// So small that a busy machine still has time for several times as many calls.
pub(crate) const LIMIT: u32 = 60;

/// Gateways' calls as one sandbox sees them arrive, under a ceiling of so many a second.
pub(crate) struct Arrivals {
    sandbox: Sandbox,
    limit: u32,
    began: std::sync::OnceLock<Instant>,
}

pub(super) struct Fleet {
    arrivals: Arrivals,
    pub(super) redis: RedisServer,
}

impl Deref for Fleet {
    type Target = Arrivals;

    fn deref(&self) -> &Arrivals {
        &self.arrivals
    }
}

impl Fleet {
    /// With a ceiling of so many calls a second.
    pub(super) async fn of(limit: u32) -> Self {
        Self { arrivals: Arrivals::under(limit).await, redis: RedisServer::start().await }
    }

    /// So many gateways that have met.
    pub(super) async fn gateways(&self, count: usize) -> Vec<Serving> {
        self.met(count, &self.redis.address()).await
    }

    /// The same with this network before their store.
    pub(super) async fn gateways_behind(&self, network: &Network, count: usize) -> Vec<Serving> {
        self.met(count, &network.address()).await
    }

    async fn met(&self, count: usize, redis: &str) -> Vec<Serving> {
        let gateways: Vec<_> = (0..count).map(|_| self.unmet_gateway(redis)).collect();
        have_met(&gateways).await;
        gateways
    }

    pub(super) async fn gateway(&self) -> Serving {
        let gateway = self.unmet_gateway(&self.redis.address());
        is_shared(&gateway).await;
        gateway
    }

    /// One that takes calls at this address.
    pub(super) async fn gateway_on(&self, address: &str) -> Serving {
        let environment = [("USERSIG_GATEWAY__LISTEN__GATEWAY", address)];
        let gateway = self.serving(&url(&self.redis.address()), &environment);
        is_shared(&gateway).await;
        gateway
    }

    pub(super) fn unmet_gateway(&self, redis: &str) -> Serving {
        self.serving(&url(redis), &[])
    }
}

impl Arrivals {
    pub(crate) async fn under(limit: u32) -> Self {
        let apps = vec![SandboxApp::new(sdkappid(), vec![key()])];
        let mut settings = Settings { tls: false, apps, ..Settings::default() };
        // It counts and refuses nothing: a refusal would lower the ceiling.
        settings.ceilings.per_api.insert(api(API), 1_000_000);
        let sandbox = Sandbox::start(settings, Arc::new(SystemClock)).await.unwrap();
        Self { sandbox, limit, began: std::sync::OnceLock::new() }
    }

    /// A gateway with these lines in `[ceiling.redis]`.
    pub(crate) fn serving(&self, redis: &str, environment: &[(&str, &str)]) -> Serving {
        let tables = format!(
            "[log]\naccess = \"off\"\n[drain]\naccept_for = \"0s\"\n[ceiling]\ntransit_max = \"1s\"\n\
             [ceiling.api]\n\"{API}\" = {}\n\
             [ceiling.redis]\nmax_replicas = 3\ntimeout = \"100ms\"\n{redis}\n",
            self.limit
        );
        Serving::start_with(&self.sandbox, &tables, environment)
    }

    /// No second saw more than the ceiling arrive.
    #[allow(clippy::print_stdout, reason = "its figures are for whoever runs it with --nocapture")]
    pub(crate) fn assert_exact(&self) {
        let seen = self.sandbox.control().report().seen(sdkappid(), &api(API));
        println!("at most {} in a second, of {}: {}", seen.worst_second, self.limit, self.timeline());
        assert!(seen.worst_second <= self.limit as usize, "{seen:?}");
    }

    /// The share of the ceiling that arrived between these moments, in seconds since the first offer.
    pub(crate) fn delivered(&self, from: f64, until: f64) -> f64 {
        let arrived = self.arrivals().into_iter().filter(|at| (from..until).contains(at)).count();
        arrived as f64 / ((until - from) * f64::from(self.limit))
    }

    /// How many arrived in each half of a second: for whoever has to find out why.
    pub(crate) fn timeline(&self) -> String {
        let arrivals = self.arrivals();
        let halves = arrivals.last().map_or(0, |last| (last * 2.0) as usize);
        let of = |half: usize| arrivals.iter().filter(|at| (**at * 2.0) as usize == half).count().to_string();
        (0..=halves).map(of).collect::<Vec<_>>().join(" ")
    }

    fn arrivals(&self) -> Vec<f64> {
        let Some(&began) = self.began.get() else { return Vec::new() };
        let calls = self.sandbox.control().report().calls;
        let calls = calls.iter().filter(|call| call.arrived >= began);
        calls.map(|call| (call.arrived - began).as_secs_f64()).collect()
    }
}

/// Calls that are offered to gateways.
pub(crate) struct Offers {
    began: Instant,
    under_way: JoinSet<(usize, Offered)>,
    count: usize,
}

impl Offers {
    /// Their time begins now.
    pub(crate) fn new(arrivals: &Arrivals) -> Self {
        let began = *arrivals.began.get_or_init(Instant::now);
        Self { began, under_way: JoinSet::new(), count: 0 }
    }

    /// So many a second to this gateway from now on, whether it answers or not.
    pub(crate) fn to(&mut self, gateway: &Serving, per_second: u32, span: Duration) {
        self.by(gateway, per_second, span, |caller| caller);
    }

    /// The same where the gateway is going to die.
    pub(super) fn until_death_of(&mut self, gateway: &Serving, per_second: u32, span: Duration) {
        self.by(gateway, per_second, span, Caller::with_calls_that_may_be_cut);
    }

    fn by(&mut self, gateway: &Serving, per_second: u32, span: Duration, such: fn(Caller) -> Caller) {
        let (address, number) = (gateway.gateway.clone(), self.count);
        self.count += 1;
        self.under_way.spawn(async move {
            let caller = such(Caller::new(&address, "127.0.0.1", "load").await);
            (number, caller.offer(API, per_second, span).await)
        });
    }

    pub(crate) fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Waits until so many seconds after the beginning.
    pub(crate) async fn until(&self, seconds: f64) {
        tokio::time::sleep_until(self.began + Duration::from_secs_f64(seconds)).await;
    }

    /// Waits for the end of every call, and gives what became of them in the order of the offers.
    pub(crate) async fn end(self) -> Vec<Offered> {
        let mut ended = self.under_way.join_all().await;
        ended.sort_by_key(|(number, _)| *number);
        ended.into_iter().map(|(_, statuses)| statuses).collect()
    }

    /// Every caller hangs up, before anything else ends: what would be cut off then would look like a failure. A call that
    /// failed before is one.
    pub(crate) async fn abandon(mut self) {
        self.under_way.abort_all();
        while let Some(ended) = self.under_way.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                resume_unwind(error.into_panic());
            }
        }
    }
}

pub(crate) async fn metrics(gateway: &Serving) -> Samples {
    Samples::read(&admin(gateway, "/metrics").await)
}

pub(crate) async fn status_json(gateway: &Serving) -> Value {
    serde_json::from_str(&admin(gateway, "/status.json").await).unwrap()
}

/// Whether it is ready, if not at once then soon: its key is looked at first.
pub(crate) async fn is_ready(gateway: &Serving) -> bool {
    for _ in 0..200 {
        if admin_status(gateway, "/readyz").await == 200 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

async fn admin_status(gateway: &Serving, path: &str) -> StatusCode {
    send(&gateway.admin, Request::get(path).body(Full::default()).unwrap()).await.status
}

async fn admin(gateway: &Serving, path: &str) -> String {
    let answer = send(&gateway.admin, Request::get(path).body(Full::default()).unwrap()).await;
    String::from_utf8(answer.body.to_vec()).unwrap()
}

/// Where its ceilings are kept, by its metrics.
pub(crate) async fn store_mode(gateway: &Serving) -> String {
    let metrics = metrics(gateway).await;
    let modes = metrics.table("ceiling_store", &["mode"]);
    let in_force: Vec<_> = modes.iter().filter(|(_, value)| *value == 1.0).collect();
    assert_eq!(in_force.len(), 1, "{modes:?}");
    in_force[0].0[0].to_owned()
}

/// Waits until these share their ceilings, and know the app.
pub(crate) async fn have_met(gateways: &[Serving]) {
    for gateway in gateways {
        is_shared(gateway).await;
        // The first call of an app begins its time in the store.
        let caller = Caller::new(&gateway.gateway, "127.0.0.1", "first").await;
        caller.offer(API, 1, Duration::from_secs(1)).await;
    }
    // What came first is home again.
    tokio::time::sleep(Duration::from_secs(1)).await;
}

fn url(redis: &str) -> String {
    format!("url = \"redis://{redis}\"")
}

/// Waits until its ceilings are shared.
pub(crate) async fn is_shared(gateway: &Serving) {
    let looks = async {
        while store_mode(gateway).await != "shared" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looks).await.expect("it meets the store");
}
