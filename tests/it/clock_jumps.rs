//! The wall clock jumps, as after a machine slept or its time was set: no call fails for it.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use usersig_gateway::clock::{ManualClock, SystemClock, WallClock};
use usersig_gateway::sandbox::{Sandbox, SandboxApp, Settings};

use crate::client::send;
use crate::process::Serving;
use crate::samples::Samples;
use crate::world::{Builder, key, post, sdkappid};

const START: u64 = 1_790_000_000;
const HOUR: u64 = 3600;
const CALLS: u64 = 5;
const READ: &str = "/v4/live_config/get_callback";

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_forwards_or_back_costs_no_call_and_no_repeat() {
    let clock = Arc::new(ManualClock::at_unix(START));
    // The sandbox goes by the same clock, and refuses a UserSig that comes from the future or has expired.
    let world = Builder::new().with_clock(clock.clone()).start().await;
    let mut client = world.client().await;
    let times = [START, START + HOUR, START, START - HOUR, START + 26 * HOUR, START - 26 * HOUR];
    for time in times {
        clock.set_unix(time);
        for _ in 0..CALLS {
            let answer = client.send(post(READ, "{}")).await;
            assert_eq!(
                answer.codes(),
                (200, 0),
                "{} s after the start",
                time.cast_signed() - START.cast_signed()
            );
        }
    }
    assert_eq!(world.report().arrived, CALLS * times.len() as u64);
    assert_eq!(world.metrics().await.sum("retries_total", &[]), 0.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_two_minutes_wrong_is_warned_about_once_and_by_name() {
    const WRONG: &str = "this machine's clock is wrong: UserSigs signed by it may be refused";
    const RIGHT: &str = "this machine's clock is right again";
    let clock = Arc::new(ManualClock::at_unix(SystemClock.unix_seconds() + 120));
    let apps = vec![SandboxApp::new(sdkappid(), vec![key()])];
    let sandbox = Sandbox::start(Settings { apps, ..Settings::default() }, clock.clone()).await.unwrap();
    let gateway = Serving::start(&sandbox, "");
    let call = async || assert_eq!(send(&gateway.gateway, post(READ, "{}")).await.codes(), (200, 0));
    call().await;
    let told = gateway.process.event(WRONG);
    // However long the call took on its way.
    let is_it = |skew: i64| (-120..=-60).contains(&skew);
    assert!(is_it(told["clock_skew_seconds"].as_i64().unwrap()), "{told}");
    assert!(told["endpoint"].as_str().unwrap().contains(&sandbox.address().to_string()), "{told}");
    let metrics = send(&gateway.admin, Request::get("/metrics").body(Full::default()).unwrap()).await;
    let skew = Samples::read(std::str::from_utf8(&metrics.body).unwrap()).sum("clock_skew_seconds", &[]);
    assert!(is_it(skew as i64), "{skew}");

    // The clocks are compared with the answers, once a second.
    let mut calls = 1;
    let right_again = async {
        while !gateway.process.log().iter().any(|line| line.contains(RIGHT)) {
            if calls > 3 {
                clock.set_unix(SystemClock.unix_seconds());
            }
            call().await;
            calls += 1;
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), right_again).await.expect("it is seen");
    let log = gateway.process.log();
    for message in [WRONG, RIGHT] {
        let lines = log.iter().filter(|line| line.contains(message)).count();
        assert_eq!(lines, 1, "{message}: {log:#?}");
    }
    sandbox.stop().await;
}
