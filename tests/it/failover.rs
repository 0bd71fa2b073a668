//! A primary that cannot be reached, shows a wrong certificate, or does not answer: calls go to the backup, and back.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::Instant;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::gateway::admission::ApiCeiling;
use usersig_gateway::gateway::target::Endpoints;
use usersig_gateway::sandbox::{Effect, Fault, Sandbox, SandboxApp, Settings};

use crate::client::{Client, post};
use crate::world::{Builder, World, api, key, sdkappid};

const READ: &str = "live_config/get_callback";
/// May not be repeated once it was sent.
const WRITE: &str = "live_engine_http_srv/send_gift";

async fn primary(listen: SocketAddr, tls: bool) -> Sandbox {
    let apps = vec![SandboxApp::new(sdkappid(), vec![key()])];
    let settings = Settings { listen, tls, apps, ..Settings::default() };
    // The address may be taken for a moment still.
    for _ in 0..100 {
        match Sandbox::start(settings.clone(), Arc::new(SystemClock)).await {
            Ok(sandbox) => return sandbox,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("{listen} stays taken");
}

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// A gateway whose own sandbox is the backup.
fn before(primary: &Sandbox) -> Builder {
    let url = primary.url().parse().unwrap();
    let root = primary.ca_pem().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
    Builder::new().with_app(move |app| {
        let backup = app.endpoints.v4.remove(0);
        app.endpoints = Endpoints::private(vec![url, backup]);
        root.into_iter().for_each(|root| app.extra_roots.push(root));
    })
}

async fn succeed(world: &World, calls: usize) {
    for _ in 0..calls {
        let answer = world.call(READ, "{}").await;
        assert_eq!(answer.codes(), (200, 0), "{}", answer.error_info());
    }
}

/// How many tries at `address` ended so.
async fn tries(world: &World, address: SocketAddr, result: &str) -> f64 {
    let endpoint = address.to_string();
    world.metrics().await.sum("attempts_total", &[("endpoint", &endpoint), ("result", result)])
}

async fn is_healthy(world: &World, address: SocketAddr) -> bool {
    world.metrics().await.sum("endpoint_healthy", &[("endpoint", &address.to_string())]) == 1.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_refuses_is_passed_over_and_used_again_once_it_is_back() {
    let first = primary(anywhere(), false).await;
    let address = first.address();
    let world = before(&first).plain().start().await;
    succeed(&world, 3).await;
    assert_eq!((first.control().report().arrived, world.report().arrived), (3, 0));
    assert!(is_healthy(&world, address).await);

    first.stop().await;
    let began = Instant::now();
    succeed(&world, 20).await;
    assert_eq!(world.report().arrived, 20);
    // The first call, and one after each pause, the shortest of which is a second.
    let failed = tries(&world, address, "unreachable").await;
    assert!(failed >= 1.0 && failed <= 2.0 + began.elapsed().as_secs_f64(), "{failed}");
    assert!(!is_healthy(&world, address).await);
    let status = world.admin("/status.json").await.json();
    assert_eq!(status["apps"][0]["endpoints"][0]["healthy"], false);

    let back = primary(address, false).await;
    while back.control().report().arrived == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "it is not used again");
        succeed(&world, 1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_healthy(&world, address).await);
    let arrived = world.report().arrived;
    succeed(&world, 5).await;
    assert_eq!((back.control().report().arrived, world.report().arrived), (6, arrived));
    world.end().await;
    back.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_with_a_wrong_certificate_gets_no_call() {
    let first = primary(anywhere(), true).await;
    let address = first.address();
    let world = before(&first).start().await;
    succeed(&world, 2).await;
    first.stop().await;
    // Another authority's, as if somebody had hijacked the name.
    let other = primary(address, true).await;
    succeed(&world, 5).await;
    assert_eq!((other.control().report().arrived, world.report().arrived), (0, 5));
    assert!(tries(&world, address, "unreachable").await >= 1.0);
    assert!(!is_healthy(&world, address).await);
    world.end().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_does_not_answer_costs_a_few_slow_calls_and_no_repeated_write() {
    let first = primary(anywhere(), false).await;
    let address = first.address();
    let builder = before(&first).plain();
    let world = builder.tuned(|live| live.upstream.request_timeout = Duration::from_secs(4)).start().await;
    first.control().inject(Fault::new(Effect::Stall).for_ever()).unwrap();
    let write = world.call(WRITE, "{}").await;
    assert_eq!(write.codes(), (504, 9_900_504));
    assert!(write.error_info().contains("may have been executed"), "{}", write.error_info());
    assert_eq!(world.report().arrived, 0, "it was not sent again");

    // A read is repeated at the backup, not where it had no answer.
    let began = Instant::now();
    succeed(&world, 10).await;
    assert_eq!(world.report().arrived, 10);
    let slow = tries(&world, address, "timeout").await;
    assert!((3.0..=4.0 + began.elapsed().as_secs_f64()).contains(&slow), "{slow}");
    assert!(!is_healthy(&world, address).await);
    world.end().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_endpoints_together_see_no_more_than_one_ceiling() {
    const CEILING: u32 = 20;
    let first = primary(anywhere(), false).await;
    let world = before(&first)
        .plain()
        .tuned(|live| {
            live.ceiling.api.insert(api(READ), ApiCeiling::per_second(NonZeroU32::new(CEILING).unwrap()));
            // However long a busy machine holds a call up, it counts as on its way.
            live.ceiling.transit_max = Duration::from_secs(5);
            live.ceiling.max_wait = Duration::from_secs(60);
        })
        .start()
        .await;
    let is_over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (host, is_over) = (world.host().to_owned(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let (mut client, mut calls) = (Client::to(&host).await, 0);
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(client.send(post(&format!("/v4/{READ}"), "{}")).await.codes(), (200, 0));
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let control = first.control().clone();
    control.wait_for_arrivals(50).await;
    first.stop().await;
    world.sandbox.control().wait_for_arrivals(50).await;
    is_over.store(true, Ordering::Relaxed);
    let mut calls = 0;
    for caller in callers {
        calls += caller.await.unwrap();
    }
    // Those that the primary took along were sent once more, each in a turn of its own.
    let retries = world.metrics().await.sum("retries_total", &[]) as usize;
    let mut arrivals: Vec<Instant> = Vec::new();
    for report in [control.report(), world.report()] {
        arrivals.extend(report.calls.iter().map(|call| call.arrived));
    }
    assert!(arrivals.len() <= calls + retries && arrivals.len() >= calls, "{calls} and {retries} retries");
    arrivals.sort();
    let spans = arrivals.windows(CEILING as usize + 1).map(|span| span[CEILING as usize] - span[0]);
    let shortest = spans.min().unwrap();
    assert!(shortest >= Duration::from_secs(1), "{} calls within {shortest:?}", CEILING + 1);
    world.end().await;
}
