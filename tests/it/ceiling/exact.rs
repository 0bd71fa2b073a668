//! Ceilings of every kind, each exact and used: the catalogue's slow ones, several periods, and the app's beside them.

use std::num::NonZeroU32;
use std::time::Duration;

use usersig_gateway::gateway::admission::ApiCeiling;
use usersig_gateway::model::ceiling::Ceiling;

use super::{API, builder, caller, least};
use crate::load::Stalls;
use crate::world::{Builder, api, post, sdkappid};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalogues_slow_ceilings_are_exact_and_used() {
    let world = Builder::new()
        .plain()
        .workers(2)
        .tuned(|live| live.ceiling.transit_max = Duration::from_secs(5))
        .start()
        .await;
    let slow = [
        ("live_engine_http_srv/add_gift", 1),
        ("all_member_push/im_push", 1),
        ("live_engine_http_srv/get_room_list", 10),
        ("live_engine_http_srv/set_mix_stream", 20),
        ("live_engine_http_srv/add_robot", 100),
    ];
    let load = caller(&world, "127.0.0.1", "load").await;
    let stalls = Stalls::watch(world.host()).await;
    let offer = |(name, limit)| load.offer(name, 2 * limit + 1, Duration::from_secs(5));
    let [a, b, c, d, e] = slow.map(offer);
    let offered = tokio::join!(a, b, c, d, e);
    let running = stalls.end().await;
    let offered = [offered.0, offered.1, offered.2, offered.3, offered.4];
    for ((name, limit), offered) in slow.into_iter().zip(offered) {
        let seen = world.report().seen(sdkappid(), &api(name));
        assert!(seen.worst_second <= limit as usize, "{name}: {seen:?}");
        assert_eq!(seen.refused_for_rate, 0, "{name}");
        let least = least(&world, name, limit, 5.0, running).await;
        assert!(seen.arrived as f64 >= least, "{name}: {} of {least}: {running:?}", seen.arrived);
        assert!(offered.with_status(429) > 0, "{name}: not more was offered than could go");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_longer_period_counts_too_and_tells_when_it_has_room_again() {
    let periods = [(10, 1), (15, 3600)].map(|(limit, seconds)| Ceiling {
        limit: NonZeroU32::new(limit).unwrap(),
        period: Duration::from_secs(seconds),
    });
    let tune = move |live: &mut usersig_gateway::gateway::Settings| {
        live.ceiling.api.insert(api(API), ApiCeiling::Periods(periods.to_vec()));
    };
    let world = builder(10, tune).start().await;
    let load = caller(&world, "127.0.0.1", "load").await;
    let offered = load.offer(API, 20, Duration::from_secs(3)).await;
    assert_eq!((offered.with_status(200), offered.with_status(429)), (15, 45));
    let seen = world.report().seen(sdkappid(), &api(API));
    assert_eq!((seen.arrived, seen.refused), (15, 0));
    assert!(seen.worst_second <= 10, "{seen:?}");

    let refused = world.call(API, "{}").await;
    assert_eq!(refused.codes(), (429, 9_900_429));
    let retry_after: u64 = refused.header("retry-after").parse().unwrap();
    assert!((3500..=3600).contains(&retry_after), "{retry_after}");
    // The daily ceiling of a push to all members is the catalogue's.
    let push = world.send(post("/v4/all_member_push/im_push", "{}")).await;
    let policy = push.header("ratelimit-policy");
    assert!(policy.contains("q=1;w=1") && policy.contains("q=100;w=86400"), "{policy}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_apps_ceiling_and_an_apis_hold_at_once() {
    const OTHER: &str = "live_engine_http_srv/get_room_metadata";
    let mut builder = builder(10, |live| live.ceiling.app_per_second = NonZeroU32::new(40));
    builder.sandbox.ceilings.per_app = Some(40);
    let world = builder.start().await;
    let (one, two) = (caller(&world, "127.0.0.1", "one").await, caller(&world, "127.0.0.1", "two").await);
    let span = Duration::from_secs(4);
    let stalls = Stalls::watch(world.host()).await;
    let (one, two) = tokio::join!(one.offer(API, 40, span), two.offer(OTHER, 80, span));
    let running = stalls.end().await;

    let report = world.report();
    let (all, of_api) = (&report.apps[&sdkappid()].all, report.seen(sdkappid(), &api(API)));
    assert!(all.worst_second <= 40 && all.refused == 0, "{all:?}");
    assert!(of_api.worst_second <= 10, "{of_api:?}");
    // The API's ceiling binds one, the rest of the app's is the other's.
    let (one, two) = (one.served_after(0.0) as f64, two.served_after(0.0) as f64);
    let (least_of_one, least_of_both) =
        (least(&world, API, 10, 4.0, running).await, least(&world, OTHER, 40, 4.0, running).await);
    assert!(one >= least_of_one && one + two >= least_of_both, "{one} and {two}: {running:?}");
    assert!(two >= 2.0 * one, "{one} and {two}: the slow API held up the other");
    world.end().await;
}
