//! Several gateways, each a process of its own, keep one ceiling through a real Redis, whatever becomes of it.
//!
//! `transit_max` is one second here, so that a machine that is busy with other tests proves nothing wrong. What is
//! delivered is judged by the time in which the machine let anybody run, and where that was too little, not at all.
//!
//! `benches/shared.sh` runs all of this for longer: it sets `USERSIG_GATEWAY_SHARED_LONG`.

pub(crate) mod fleet;

use std::time::Duration;

use fleet::{Fleet, LIMIT, Offers, is_ready, is_shared, metrics, status_json, store_mode};
use serde_json::Value;

use crate::load::{Running, Stalls};
use crate::process::Serving;
use crate::redis_server::Network;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How long the plain load lasts.
fn span() -> Duration {
    if is_long() { seconds(20) } else { seconds(8) }
}

/// The share of the time in which anybody ran; 0 where it was so little that replicas lose each other, or stood still for so
/// long that a gateway may have taken its store for lost: it waits 100 ms for a word of it.
#[allow(clippy::print_stdout, reason = "its figures are for whoever runs it with --nocapture")]
pub(crate) fn judged(running: &Running) -> f64 {
    println!("{running:?}");
    if running.share >= 0.8 && running.longest_stall <= 0.05 { running.share } else { 0.0 }
}

fn is_long() -> bool {
    std::env::var_os("USERSIG_GATEWAY_SHARED_LONG").is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_keep_one_ceiling_use_it_and_share_it_evenly() {
    let fleet = Fleet::of(LIMIT).await;
    let gateways = fleet.gateways(3).await;
    let stalls = Stalls::watch(&gateways[0].gateway).await;
    let mut offers = Offers::new(&fleet);
    for gateway in &gateways {
        offers.to(gateway, LIMIT, span());
    }
    let ended = offers.end().await;
    let running = judged(&stalls.end().await);

    fleet.assert_exact();
    let until = span().as_secs_f64();
    let delivered = fleet.delivered(1.5, until);
    assert!(
        delivered >= 0.9 * running,
        "{delivered} of the ceiling, where there was time for {running}: {}",
        fleet.timeline()
    );
    let served: Vec<f64> = ended.iter().map(|ended| ended.with_status(200) as f64).collect();
    let even = served.iter().sum::<f64>() / 3.0;
    let is_even = |served: &f64| (served / even - 1.0).abs() <= 0.2 + (1.0 - running);
    assert!(
        served.iter().all(is_even),
        "{served:?} where there was time for {running}: {}",
        fleet.timeline()
    );
    for gateway in &gateways {
        let status = status_json(gateway).await;
        let store = &status["store"];
        assert_eq!(
            (&store["mode"], &store["replicas"]),
            (&Value::from("shared"), &Value::from(3)),
            "{store}"
        );
        let metrics = metrics(gateway).await;
        assert_eq!(metrics.sum("ceiling_store", &[("mode", "shared")]), 1.0);
        assert!(metrics.sum("ceiling_store_commands_total", &[("result", "ok")]) > 10.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_come_and_go_and_die() {
    let fleet = Fleet::of(LIMIT).await;
    let mut gateways = fleet.gateways(2).await;
    let mut offers = Offers::new(&fleet);
    let dies = gateways.remove(0);
    let goes = gateways.remove(0);
    offers.until_death_of(&dies, 2 * LIMIT, seconds(9));
    offers.to(&goes, LIMIT, seconds(6));
    offers.until(2.0).await;
    let stays = fleet.gateway().await;
    let stalls = Stalls::watch(&stays.gateway).await;
    offers.to(&stays, 2 * LIMIT, seconds(20));
    offers.until(6.5).await;
    goes.process.signal("TERM");
    assert_eq!(goes.process.end().status, Some(0));
    // Who said goodbye takes nothing along.
    offers.until(9.5).await;
    let delivered = fleet.delivered(7.5, 9.0);
    let place = dies.gateway.clone();
    drop(dies);
    offers.until(12.5).await;
    let without = fleet.delivered(11.5, 12.5);
    // In its place another one starts: the same host and address.
    let again = fleet.gateway_on(&place).await;
    offers.to(&again, LIMIT, seconds(5));
    offers.until(18.0).await;
    let with = fleet.delivered(16.5, 18.0);
    offers.abandon().await;
    let running = judged(&stalls.end().await);

    fleet.assert_exact();
    assert!(
        delivered >= 0.9 * running,
        "{delivered} after a goodbye, where there was time for {running}: {}",
        fleet.timeline()
    );
    // The part of the one that died is kept for it.
    assert!(without <= 0.75, "{without} while one is missing");
    assert!(
        without >= 0.55 * running,
        "{without} while one is missing, where there was time for {running}: {}",
        fleet.timeline()
    );
    assert!(
        with >= 0.85 * running,
        "{with} after another came, where there was time for {running}: {}",
        fleet.timeline()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_where_the_demand_is() {
    let fleet = Fleet::of(LIMIT).await;
    let gateways = fleet.gateways(3).await;
    let stalls = Stalls::watch(&gateways[0].gateway).await;
    let mut offers = Offers::new(&fleet);
    offers.to(&gateways[0], LIMIT * 5 / 4, seconds(4));
    offers.until(4.0).await;
    offers.to(&gateways[1], LIMIT * 5 / 4, seconds(5));
    let ended = offers.end().await;
    let running = judged(&stalls.end().await);

    fleet.assert_exact();
    // What the first one's calls left for the second one comes home a second after it was used.
    for (from, until) in [(1.5, 4.0), (3.5, 6.5), (5.5, 9.0)] {
        let delivered = fleet.delivered(from, until);
        assert!(
            delivered >= 0.9 * running,
            "{delivered} from {from} to {until}, where there was time for {running}: {}",
            fleet.timeline()
        );
    }
    assert!(ended.iter().all(|ended| ended.with_status(200) > 0));
}

/// What becomes of the store, and how it comes back.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Loss {
    KilledAndEmpty,
    Stopped,
    CutOff,
}

async fn the_store_is_lost(loss: Loss) {
    let mut fleet = Fleet::of(LIMIT).await;
    let network = Network::to(fleet.redis.address()).await;
    let gateways = fleet.gateways_behind(&network, 3).await;
    let stalls = Stalls::watch(&gateways[0].gateway).await;
    let mut offers = Offers::new(&fleet);
    for gateway in &gateways {
        offers.to(gateway, LIMIT, seconds(20));
    }
    offers.until(3.0).await;
    match loss {
        Loss::KilledAndEmpty => fleet.redis.kill(),
        Loss::Stopped => fleet.redis.signal("STOP"),
        Loss::CutOff => network.swallow(true),
    }
    let lost = offers.now();
    offers.until(lost + 4.0).await;
    for gateway in &gateways {
        assert!(is_ready(gateway).await, "readiness has nothing to do with the store");
        assert_eq!(store_mode(gateway).await, "degraded");
        assert_eq!(status_json(gateway).await["store"]["mode"], "degraded");
    }
    offers.until(lost + 8.0).await;
    match loss {
        Loss::KilledAndEmpty => fleet.redis.restart_empty().await,
        Loss::Stopped => fleet.redis.signal("CONT"),
        Loss::CutOff => network.swallow(false),
    }
    let back = offers.now();
    offers.until(back + 8.0).await;
    offers.abandon().await;
    let running = judged(&stalls.end().await);

    fleet.assert_exact();
    let without = fleet.delivered(lost + 3.0, back);
    assert!(
        without >= 0.5 * running,
        "{without} without the store, where there was time for {running}: {}",
        fleet.timeline()
    );
    assert!(without <= 1.01, "{without}");
    let with = fleet.delivered(back + 5.0, back + 8.0);
    assert!(
        with >= 0.9 * running,
        "{with} with the store again, where there was time for {running}: {}",
        fleet.timeline()
    );
    for gateway in gateways {
        gateway.process.signal("INT");
        let log = gateway.process.end().log;
        let told =
            |line: &String| serde_json::from_str::<Value>(line).ok()?["mode"].as_str().map(str::to_owned);
        let modes: Vec<_> = log.iter().filter_map(told).collect();
        // Once a change, though there were thousands of calls; a machine that stands still makes more changes.
        assert!(modes.windows(2).all(|pair| pair[0] != pair[1]), "{modes:?}");
        assert!(running == 0.0 || modes == ["shared", "lost", "degraded", "shared"], "{modes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_killed_and_comes_back_empty() {
    the_store_is_lost(Loss::KilledAndEmpty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_stopped_and_goes_on() {
    the_store_is_lost(Loss::Stopped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_cut_off() {
    the_store_is_lost(Loss::CutOff).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_cut_off_from_one_of_three() {
    let fleet = Fleet::of(LIMIT).await;
    let network = Network::to(fleet.redis.address()).await;
    let mut gateways = fleet.gateways(2).await;
    gateways.extend(fleet.gateways_behind(&network, 1).await);
    let stalls = Stalls::watch(&gateways[0].gateway).await;
    let mut offers = Offers::new(&fleet);
    for gateway in &gateways {
        offers.to(gateway, LIMIT, seconds(18));
    }
    offers.until(3.0).await;
    network.swallow(true);
    offers.until(9.0).await;
    let modes = [store_mode(&gateways[0]).await, store_mode(&gateways[2]).await];
    network.swallow(false);
    offers.until(17.0).await;
    offers.abandon().await;
    let running = judged(&stalls.end().await);

    fleet.assert_exact();
    assert_eq!(modes, ["shared", "degraded"]);
    let without = fleet.delivered(6.0, 9.0);
    assert!(
        without >= 0.85 * running,
        "{without} while one is cut off, where there was time for {running}: {}",
        fleet.timeline()
    );
    let with = fleet.delivered(14.0, 17.0);
    assert!(
        with >= 0.9 * running,
        "{with} afterwards, where there was time for {running}: {}",
        fleet.timeline()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stdout, reason = "its figures are for whoever runs it with --nocapture")]
async fn an_outage_delays_calls_in_its_gap_and_until_those_have_gone() {
    let mut fleet = Fleet::of(LIMIT).await;
    let gateways = fleet.gateways(3).await;
    let stalls = Stalls::watch(&gateways[0].gateway).await;
    let mut offers = Offers::new(&fleet);
    // Each has a part of 20 a second. Of 4 a second, all that come in a gap of 2.9 s and the second after it may go at once;
    // of 8 a second, the last that waited goes 2.9 s × 8 / (20 - 8) after the gap.
    let loads = [(4, 0.0), (4, 0.0), (8, 1.95)];
    for (gateway, (per_second, _)) in gateways.iter().zip(loads) {
        offers.to(gateway, per_second, seconds(14));
    }
    offers.until(3.0).await;
    fleet.redis.kill();
    offers.until(10.0).await;
    fleet.redis.restart_empty().await;
    let ended = offers.end().await;
    let stalls = stalls.end().await;
    let running = judged(&stalls);

    fleet.assert_exact();
    let most = Duration::from_secs_f64(0.1 + stalls.longest_stall);
    for (offered, (per_second, works_off)) in ended.iter().zip(loads) {
        let over = 3.0 + 2.9 + 0.2 + works_off;
        let (gap, after) = (offered.p99_wait_of_sent(3.0, 6.0), offered.p99_wait_of_sent(over, 14.0));
        println!("{per_second} a second: {gap:?} in the gap, {after:?} from {over} s on");
        assert!(gap >= seconds(1), "{gap:?} in the gap: the store was not lost");
        assert!(running == 0.0 || after < most, "{after:?} of {per_second} a second: {}", fleet.timeline());
        let served = offered.with_status(200);
        assert!(running == 0.0 || served == offered.len(), "{served} of {}", offered.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_lost_while_one_has_all_the_demand() {
    let mut fleet = Fleet::of(LIMIT).await;
    let gateways = fleet.gateways(3).await;
    let stalls = Stalls::watch(&gateways[0].gateway).await;
    let mut offers = Offers::new(&fleet);
    offers.to(&gateways[0], 2 * LIMIT, seconds(12));
    offers.until(3.0).await;
    fleet.redis.kill();
    offers.to(&gateways[1], LIMIT, seconds(9));
    offers.to(&gateways[2], LIMIT, seconds(9));
    offers.until(11.0).await;
    offers.abandon().await;
    let running = judged(&stalls.end().await);
    fleet.assert_exact();
    let without = fleet.delivered(6.0, 11.0);
    assert!(
        without >= 0.5 * running,
        "{without} without the store, where there was time for {running}: {}",
        fleet.timeline()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_are_stopped_and_go_on() {
    let fleet = Fleet::of(LIMIT).await;
    let gateways = fleet.gateways(3).await;
    let mut offers = Offers::new(&fleet);
    for gateway in &gateways {
        offers.to(gateway, LIMIT, seconds(120));
    }
    let (first, second, third) = (&gateways[0], &gateways[1], &gateways[2]);
    tokio::join!(stops(first, PAUSES), stops(second, PAUSES), stops(third, PAUSES));
    offers.abandon().await;
    fleet.assert_exact();
}

/// At each of three gateways, so that they are a hundred together.
const PAUSES: usize = 34;

/// Stops it at random moments, and lets it go on.
async fn stops(gateway: &Serving, times: usize) {
    for n in 0..times {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(50..500))).await;
        gateway.process.signal("STOP");
        // Some shorter than a lease, some longer than anything.
        let longest = if n % 3 == 0 { 1_800 } else { 400 };
        tokio::time::sleep(Duration::from_millis(fastrand::u64(20..longest))).await;
        gateway.process.signal("CONT");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_ceilings_are_kept_with_the_store_and_without() {
    tokio::join!(a_small_ceiling_is_kept(1), a_small_ceiling_is_kept(10));
}

async fn a_small_ceiling_is_kept(limit: u32) {
    let mut fleet = Fleet::of(limit).await;
    let gateways = fleet.gateways(3).await;
    let stalls = Stalls::watch(&gateways[0].gateway).await;
    let mut offers = Offers::new(&fleet);
    for gateway in &gateways {
        offers.to(gateway, 8, seconds(24));
    }
    offers.until(9.0).await;
    fleet.redis.kill();
    // A slot for each of three takes 2.6 s.
    offers.until(21.0).await;
    offers.abandon().await;
    let running = judged(&stalls.end().await);
    fleet.assert_exact();
    // One call more or less is a matter of where the count begins.
    let one = 1.0 / f64::from(limit);
    let with = fleet.delivered(1.0, 9.0) + one / 8.0;
    assert!(
        with >= 0.9 * running,
        "{with} of {limit}, where there was time for {running}: {}",
        fleet.timeline()
    );
    let without = fleet.delivered(12.5, 21.0) + one / 8.5;
    let least = if limit == 1 { 0.35 } else { 0.8 };
    assert!(
        without >= least * running,
        "{without} of {limit} without the store, of {running}: {}",
        fleet.timeline()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_starts_without_the_store_has_its_part_after_the_gap() {
    let mut fleet = Fleet::of(LIMIT).await;
    fleet.redis.kill();
    let gateway = fleet.unmet_gateway(&fleet.redis.address());
    assert!(is_ready(&gateway).await);
    let stalls = Stalls::watch(&gateway.gateway).await;
    let mut offers = Offers::new(&fleet);
    offers.to(&gateway, LIMIT / 2, seconds(9));
    offers.until(8.0).await;
    let status = status_json(&gateway).await;
    offers.abandon().await;
    let running = judged(&stalls.end().await);
    let store = &status["store"];
    assert_eq!(store["mode"], "degraded", "{store}");
    assert!(store["error"].as_str().unwrap().contains("refused"), "{store}");
    // One of three has a third.
    let delivered = fleet.delivered(4.0, 8.0);
    assert!(delivered <= 0.34, "{delivered}: {}", fleet.timeline());
    assert!(delivered >= 0.3 * running, "{delivered} of {running}: {}", fleet.timeline());
    fleet.redis.restart_empty().await;
    is_shared(&gateway).await;
    fleet.assert_exact();
}
