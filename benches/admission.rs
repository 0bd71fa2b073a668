//! What a turn costs: alone, and with several threads at one ceiling.

use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use usersig_gateway::gateway::admission::{Admission, ApiCeiling, Permit, Settings};
use usersig_gateway::gateway::caller::{self, identify};
use usersig_gateway::gateway::policy::{self, Grant};
use usersig_gateway::gateway::target::{Apis, App, Apps, Endpoints, resolve};
use usersig_gateway::model::endpoint::Endpoint;
use usersig_gateway::net::client::Roots;
use usersig_gateway::net::listener::Peer;

const API: &str = "live_config/get_callback";

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_time().build().expect("a runtime")
}

/// A ceiling that nobody reaches.
fn admission(runtime: &Runtime) -> Admission {
    let per_second = NonZeroU32::MAX;
    let settings = Settings {
        api: [(API.parse().expect("a name"), ApiCeiling::per_second(per_second))].into(),
        burst: Some(per_second),
        ..Settings::default()
    };
    Admission::new(settings, runtime.handle().clone(), Instant::now() - Duration::from_secs(10))
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

/// A turn that is there at once.
fn turn(admission: &Admission, grant: &Grant) -> Permit {
    let mut admit = pin!(admission.admit(grant, admission.arrive(), Instant::now(), Duration::from_secs(3)));
    match admit.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(permit)) => permit,
        other => panic!("no turn at once: {other:?}"),
    }
}

fn alone(c: &mut Criterion) {
    let runtime = runtime();
    let _on = runtime.enter();
    let (admission, grant) = (admission(&runtime), grant());
    c.bench_function("admission/take_and_give_back", |b| b.iter(|| drop(turn(&admission, &grant))));
    c.bench_function("admission/take_send_answer", |b| {
        b.iter(|| {
            let mut permit = turn(&admission, &grant);
            assert!(permit.confirm());
            permit.sent();
            permit.answered(Instant::now());
        });
    });
}

/// Many threads want turns of one ceiling. The figure is wall time for each turn, all threads together.
fn contended(c: &mut Criterion) {
    let runtime = runtime();
    let (admission, grant) = (Arc::new(admission(&runtime)), grant());
    let mut group = c.benchmark_group("admission/contended");
    for threads in [1, 2, 4, 16, 64] {
        group.bench_function(BenchmarkId::from_parameter(threads), |b| {
            b.iter_custom(|turns| {
                let each = turns.div_ceil(threads);
                let began = Instant::now();
                std::thread::scope(|scope| {
                    for _ in 0..threads {
                        let (admission, grant, runtime) = (&admission, &grant, &runtime);
                        scope.spawn(move || {
                            let _on = runtime.enter();
                            for _ in 0..each {
                                drop(turn(admission, grant));
                            }
                        });
                    }
                });
                began.elapsed().mul_f64(turns as f64 / (each * threads) as f64)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, alone, contended);
criterion_main!(benches);
