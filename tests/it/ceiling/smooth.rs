//! Turns come evenly, after a burst that is no larger than was set.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{API, arrivals, builder, caller, least};
use crate::load::Stalls;
use crate::world::{api, sdkappid};

const LIMIT: u32 = 200;
const BURST: u32 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_times_the_ceiling_arrives_as_the_ceiling_evenly_after_a_burst() {
    let world = builder(LIMIT, |live| live.ceiling.burst = NonZeroU32::new(BURST)).start().await;
    let load = caller(&world, "127.0.0.1", "load").await;
    // No burst in a process's first second.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let stalls = async |from: u64, until: u64| {
        tokio::time::sleep(Duration::from_millis(from)).await;
        let stalls = Stalls::watch(world.host()).await;
        tokio::time::sleep(Duration::from_millis(until - from)).await;
        stalls.end().await
    };
    let (at_once, steadily, at_first, running) = tokio::join!(
        load.offer_at_once(API, 2 * LIMIT),
        load.offer(API, 3 * LIMIT, Duration::from_secs(6)),
        stalls(0, 500),
        stalls(1500, 6000),
    );

    let seen = world.report().seen(sdkappid(), &api(API));
    assert!(seen.worst_second <= LIMIT as usize && seen.refused == 0, "{seen:?}");
    let served = at_once.with_status(200) + steadily.with_status(200);
    let refused = at_once.with_status(429) + steadily.with_status(429);
    assert_eq!((served, served + refused), (seen.arrived as usize, at_once.len() + steadily.len()));

    let (rate, pause) = (f64::from(LIMIT), running.longest_stall);
    let all = arrivals(&world, API);
    let within = |from: f64, until: f64| all.iter().filter(|at| (from..until).contains(*at)).count() as f64;
    // The burst, and what falls due in the fiftieth of a second in which it is counted.
    let most = f64::from(BURST) + rate * (0.02 + 2.0 * at_first.longest_stall) + 1.0;
    let burst = within(0.0, 0.02);
    assert!(burst <= most, "{burst} came at once, where {most} may: {at_first:?}");

    let delivered = within(2.0, 6.0);
    let least = least(&world, API, LIMIT, 4.0, running).await;
    assert!(delivered >= least.min(3.8 * steadily.per_second()), "{delivered} of {least}: {running:?}");
    let tenth = delivered / 40.0;
    let slack = 2.0 * rate * pause;
    for slice in 0..40 {
        let from = 2.0 + f64::from(slice) / 10.0;
        let held = within(from, from + 0.1);
        let even = 0.5 * tenth - slack..=1.5 * tenth + slack;
        assert!(
            even.contains(&held),
            "{held} in 100 ms after {from:.1} s, where {even:?} is even: {running:?}"
        );
    }
    let steady: Vec<f64> = all.into_iter().filter(|at| (2.0..6.0).contains(at)).collect();
    let gap = steady.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(gap <= 10.0 / rate + 2.0 * pause, "a gap of {gap} s: {running:?}");
    world.end().await;
}
