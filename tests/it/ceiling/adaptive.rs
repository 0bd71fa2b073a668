//! Somebody else uses half of the ceiling, outside the gateway.

use std::time::{Duration, UNIX_EPOCH};

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use usersig_gateway::clock::{SystemClock, WallClock};
use usersig_gateway::gateway::credentials::usersig::{SigningRequest, sign};
use usersig_gateway::model::error_code::ErrorCode;
use usersig_gateway::sandbox::{Effect, Fault, Verdict};

use super::{API, builder, caller};
use crate::client::{Client, post};
use crate::load::Stalls;
use crate::world::{key, sdkappid};

const LIMIT: u32 = 100;
const THEIRS: u32 = LIMIT / 2;
/// By then what others leave is found.
const FOUND: Duration = Duration::from_secs(7);
const OFFERED: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_refused_calls_count_somebody_elses_half_is_left_to_them() {
    somebody_elses_half_is_left_to_them(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_refused_calls_do_not_count_somebody_elses_half_is_left_to_them() {
    somebody_elses_half_is_left_to_them(false).await;
}

async fn somebody_elses_half_is_left_to_them(count_refused: bool) {
    let mut builder = builder(LIMIT, |_| ());
    builder.sandbox.count_refused = count_refused;
    let world = builder.start().await;
    let mut others = JoinSet::new();
    let host = world.sandbox.address().to_string();
    for _ in 0..CONNECTIONS {
        others.spawn(call_for_ever(host.clone(), THEIRS / CONNECTIONS));
    }
    let load = caller(&world, "127.0.0.1", "load").await;
    let (began, stalls) = (Instant::now(), Stalls::watch(world.host()).await);
    let offered = load.offer(API, LIMIT, OFFERED).await;
    let running = stalls.end().await;
    others.abort_all();

    let steady = began + FOUND..began + OFFERED;
    let calls = world.report().calls;
    let ours = calls.iter().filter(|call| !call.headers.contains_key(THEIR_MARK));
    let ours: Vec<_> = ours.filter(|call| steady.contains(&call.arrived)).collect();
    let refused = ours.iter().filter(|call| call.verdict == Verdict::Refused(TOO_FREQUENT)).count();
    let (sent, refused) = (ours.len() as f64, refused as f64);
    let free = f64::from(LIMIT - THEIRS) * (OFFERED - FOUND).as_secs_f64();
    let lost = 1.0 - running.share;
    assert!(refused <= (0.02 + 2.0 * lost) * sent, "{refused} of {sent} were refused: {running:?}");
    let delivered = (sent - refused) / free;
    assert!(delivered >= 0.8 * running.share, "{delivered} of what others left: {running:?}");

    // Callers see none of it but waiting.
    assert_eq!(offered.with_status(200) + offered.with_status(429), offered.len());
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("calls_total", &[("error_code", "60007")]), 0.0);
    assert!(metrics.sum("retries_total", &[("reason", "throttled")]) > 0.0, "else it shows nothing");
    let limit = metrics.sum("ceiling_limit", &[("api", API)]);
    assert!(limit < f64::from(LIMIT), "{limit}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_speaks_of_one_group_or_of_pushes_is_handed_over_and_slows_nothing() {
    let world = builder(LIMIT, |_| ()).start().await;
    let codes = [10006, 10023, 90024, 90047];
    for code in codes {
        world.sandbox.control().inject(Fault::new(Effect::Answer(ErrorCode(code)))).unwrap();
        assert_eq!(world.call(API, "{}").await.error_code(), code);
    }
    assert_eq!(world.report().arrived, codes.len() as u64, "once each");
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("ceiling_limit", &[("api", API)]), f64::from(LIMIT));
    world.end().await;
}

/// Somebody who uses the same app without the gateway, and takes no notice of refusals.
async fn call_for_ever(host: String, per_second: u32) {
    let identifier = "administrator".parse().unwrap();
    let usersig = sign(&SigningRequest {
        key: &key(),
        sdkappid: sdkappid(),
        identifier: &identifier,
        time: SystemClock.now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
        expire: 3600,
        userbuf: None,
    });
    let path = format!(
        "/v4/{API}?sdkappid={}&identifier=administrator&usersig={}&random=1&contenttype=json",
        sdkappid(),
        usersig.expose()
    );
    let mut client = Client::to(&host).await;
    let mut ticks = interval(Duration::from_secs(1) / per_second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut request = post(&path, "{}");
        request.headers_mut().insert(THEIR_MARK, "1".parse().unwrap());
        client.send(request).await;
    }
}

const CONNECTIONS: u32 = 2;
const THEIR_MARK: &str = "x-somebody-else";
const TOO_FREQUENT: ErrorCode = ErrorCode(60007);
