//! What it costs to share a ceiling: how long a turn takes and how many commands a real Redis gets for each, with the ceiling
//! far away and exceeded, and beside it the same for a gateway alone.
//!
//! `cargo bench --bench sharing` prints a line for each case. Replicas live in this process, each with its own connection
//! to a redis-server on a free port of this machine. `SECONDS=3` shortens the runs.

#![allow(clippy::print_stdout, reason = "what it finds is its output")]

use std::net::TcpListener;
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;
use usersig_gateway::gateway::admission::shared::{
    Answer, Lend, Lent, Meet, Met, Probe, Redis, RedisAddress, RedisHost, RedisLogin, RedisPlace, Replica,
    Store, StoreMode, Terms,
};
use usersig_gateway::gateway::admission::{Admission, ApiCeiling, Settings};
use usersig_gateway::gateway::caller::{self, identify};
use usersig_gateway::gateway::policy::{self, Grant};
use usersig_gateway::gateway::target::{Apis, App, Apps, Endpoints, resolve};
use usersig_gateway::model::endpoint::Endpoint;
use usersig_gateway::net::client::Roots;
use usersig_gateway::net::listener::Peer;
use usersig_gateway::telemetry::metrics::Metrics;

const API: &str = "live_config/get_callback";

/// One run.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    ceiling: u32,
    /// 0: a gateway that shares with nobody.
    replicas: usize,
    /// Calls a second that are offered to each.
    offered: u32,
}

const CASES: [Case; 7] = [
    Case { name: "alone, far from the ceiling", ceiling: 400, replicas: 0, offered: 100 },
    Case { name: "shared, one replica", ceiling: 400, replicas: 1, offered: 100 },
    Case { name: "shared, three replicas", ceiling: 400, replicas: 3, offered: 100 },
    Case { name: "shared, three that call now and then", ceiling: 400, replicas: 3, offered: 5 },
    Case { name: "alone, three times the ceiling", ceiling: 200, replicas: 0, offered: 600 },
    Case { name: "shared, one at three times the ceiling", ceiling: 200, replicas: 1, offered: 600 },
    Case { name: "shared, three at the ceiling each", ceiling: 200, replicas: 3, offered: 200 },
];

fn main() {
    let seconds = std::env::var("SECONDS").ok().map_or(10, |text| text.parse().expect("SECONDS is a number"));
    println!(
        "{:40}  {:>8}  {:>8}  {:>11}  {:>7}  {:>14}",
        "case", "p50", "p99", "delivered/s", "refused", "commands/call"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    for case in CASES {
        runtime.block_on(run(case, Duration::from_secs(seconds)));
    }
}

async fn run(case: Case, span: Duration) {
    let (redis, commands) = (Server::start(), Arc::new(AtomicU64::new(0)));
    let mut gateways = Vec::new();
    for number in 0..case.replicas.max(1) {
        let replica = (case.replicas > 0).then(|| join(&redis, number, &commands));
        let admission = admission(case).sharing(replica.clone());
        gateways.push((Arc::new(admission), replica));
    }
    // A replica lends nothing in its first moments; and the first call begins an app's time in the store.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (admission, replica) in &gateways {
        let mode = replica.as_ref().map(|replica| replica.reading().mode);
        assert!(mode.is_none_or(|mode| mode == StoreMode::Shared), "{mode:?}");
        call(admission, &grant()).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;

    let before = commands.load(Ordering::Relaxed);
    let offering = gateways.iter().map(|(admission, _)| offer(Arc::clone(admission), case.offered, span));
    let ended = offering.collect::<JoinSet<_>>().join_all().await.concat();
    let said = commands.load(Ordering::Relaxed) - before;

    let mut waits: Vec<f64> = ended.iter().flatten().map(|wait| wait.as_secs_f64() * 1e6).collect();
    waits.sort_by(f64::total_cmp);
    let wait = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
    println!(
        "{:40}  {:>8}  {:>8}  {:11.1}  {:7}  {:14.3}",
        case.name,
        time(wait(0.5)),
        time(wait(0.99)),
        waits.len() as f64 / span.as_secs_f64(),
        ended.len() - waits.len(),
        said as f64 / waits.len() as f64,
    );
    for (_, replica) in gateways {
        if let Some(replica) = replica {
            replica.leave().await;
        }
    }
}

fn time(microseconds: f64) -> String {
    if microseconds < 1e4 {
        format!("{microseconds:.1} µs")
    } else {
        format!("{:.0} ms", microseconds / 1e3)
    }
}

/// How long each call waited for its turn; `None`: it was refused.
async fn offer(admission: Arc<Admission>, per_second: u32, span: Duration) -> Vec<Option<Duration>> {
    let (began, mut calls, grant) = (Instant::now(), JoinSet::new(), Arc::new(grant()));
    let count = (span.as_secs_f64() * f64::from(per_second)) as u32;
    for n in 0..count {
        tokio::time::sleep_until(began + Duration::from_secs(1) * n / per_second).await;
        let (admission, grant) = (Arc::clone(&admission), Arc::clone(&grant));
        calls.spawn(async move { call(&admission, &grant).await });
    }
    let until = began + span;
    let ended = calls.join_all().await;
    // What had its turn only afterwards is not counted as delivered.
    ended.into_iter().map(|(wait, at)| wait.filter(|_| at <= until)).collect()
}

/// A call that is answered 2 ms after it was sent.
async fn call(admission: &Admission, grant: &Grant) -> (Option<Duration>, Instant) {
    let began = Instant::now();
    let turn = admission.admit(grant, admission.arrive(), Instant::now(), Duration::from_secs(3)).await;
    let at = Instant::now();
    let Ok(mut permit) = turn else { return (None, at) };
    if permit.confirm() {
        permit.sent();
        tokio::time::sleep(Duration::from_millis(2)).await;
        permit.answered(Instant::now());
    }
    (Some(at - began), at)
}

fn admission(case: Case) -> Admission {
    let ceiling = NonZeroU32::new(case.ceiling).expect("above zero");
    let api = [(API.parse().expect("a name"), ApiCeiling::per_second(ceiling))].into();
    Admission::new(Settings { api, ..Settings::default() }, Handle::current(), Instant::now())
}

fn join(redis: &Server, number: usize, commands: &Arc<AtomicU64>) -> Arc<Replica> {
    let host = RedisHost { host: "127.0.0.1".into(), port: redis.port };
    let address = RedisAddress {
        place: RedisPlace::Servers(vec![host]),
        database: 0,
        login: RedisLogin::default(),
        tls: None,
    };
    let timeout = Duration::from_millis(50);
    let terms = Terms {
        timeout,
        max_replicas: 3,
        absent_for: Duration::from_secs(600),
        transit_max: Duration::from_millis(250),
    };
    let store = Arc::new(Counting { redis: Redis::new(address, timeout), commands: Arc::clone(commands) });
    let name = format!("replica{number}");
    let replica = Replica::new(terms, store, (&name, "only"), Metrics::new("bench"));
    tokio::spawn(Arc::clone(&replica).keep_in_touch());
    replica
}

fn grant() -> Grant {
    let app = App {
        name: "live".parse().expect("a name"),
        sdkappid: "1400000001".parse().expect("a number"),
        identifier: "administrator".parse().expect("a userid"),
        keys: Vec::new(),
        region: None,
        endpoints: Endpoints::private(vec![Endpoint::https("localhost")]),
        extra_roots: Roots::default(),
        index: Default::default(),
        counted: Default::default(),
    };
    let mut apps = Apps::default();
    apps.add(app, true).expect("the only app");
    let target = resolve(&format!("/v4/{API}"), None, &apps, &Apis::new()).expect("a known API");
    let caller = identify(&HeaderMap::new(), Peer::Uid(None), &caller::Settings::default());
    policy::allow(caller, target, &policy::Settings::default()).expect("allowed")
}

/// Redis, and how many commands it got.
#[derive(Debug)]
struct Counting {
    redis: Redis,
    commands: Arc<AtomicU64>,
}

impl Store for Counting {
    fn probe(&self) -> Answer<'_, Probe> {
        self.redis.probe()
    }

    fn meet<'a>(&'a self, ask: &'a Meet) -> Answer<'a, Met> {
        self.commands.fetch_add(1, Ordering::Relaxed);
        self.redis.meet(ask)
    }

    fn lend<'a>(&'a self, ask: &'a Lend) -> Answer<'a, Lent> {
        self.commands.fetch_add(1, Ordering::Relaxed);
        self.redis.lend(ask)
    }

    fn hang_up(&self) {
        self.redis.hang_up();
    }
}

/// A server that keeps nothing on disk. Dropped, it is killed.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server (Debian package redis-server)");
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
