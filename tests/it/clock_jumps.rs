//! The wall clock jumps, as after a machine slept or its time was set: no call fails for it.

use std::sync::Arc;

use usersig_gateway::clock::ManualClock;

use crate::world::{Builder, post};

const START: u64 = 1_790_000_000;
const HOUR: u64 = 3600;
const CALLS: u64 = 5;

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
            let answer = client.send(post("/v4/live_config/get_callback", "{}")).await;
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
