//! Ceilings that hold nothing back: counted only, or not at all.

use std::time::Duration;

use usersig_gateway::gateway::admission::{ApiCeiling, Mode};

use super::{API, builder, caller};
use crate::world::{World, api, sdkappid};

const LIMIT: u32 = 5;
const OTHER: &str = "live_engine_http_srv/get_room_metadata";
const AT_ONCE: u32 = 30;

/// A world whose sandbox takes all that comes, and in which every API has a ceiling that is far too low.
async fn world(mode: Mode, off: &'static [&'static str]) -> World {
    let mut builder = builder(LIMIT, move |live| {
        live.ceiling.mode = mode;
        live.ceiling.api.insert(api(OTHER), ApiCeiling::per_second(LIMIT.try_into().unwrap()));
        live.ceiling.api.extend(off.iter().map(|name| (api(name), ApiCeiling::Off)));
        live.ceiling.max_wait = Duration::from_millis(10);
    });
    builder.sandbox.ceilings.per_api = [API, OTHER].map(|name| (api(name), 10_000)).into();
    builder.start().await
}

async fn served(world: &World, name: &str) -> usize {
    let served = caller(world, "127.0.0.1", "load").await.offer_at_once(name, AT_ONCE).await.with_status(200);
    assert_eq!(world.report().seen(sdkappid(), &api(name)).arrived, served as u64);
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shadow_holds_nothing_back_and_counts_what_it_would_have() {
    let world = world(Mode::Shadow, &[]).await;
    assert_eq!(served(&world, API).await, AT_ONCE as usize);
    let metrics = world.metrics().await;
    let of_api = [("api", API)];
    let shadowed = metrics.sum("ceiling_shadow_total", &of_api) as u32;
    // A token comes home meanwhile only on a machine that stands still for a second.
    assert!((AT_ONCE - 4 * LIMIT..=AT_ONCE - 1).contains(&shadowed), "{shadowed}");
    assert_eq!(metrics.sum("ceiling_limit", &of_api), f64::from(LIMIT));
    assert_eq!(metrics.sum("refused_total", &[]), 0.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn off_holds_nothing_back_and_counts_nothing() {
    let world = world(Mode::Off, &[]).await;
    assert_eq!(served(&world, API).await, AT_ONCE as usize);
    let metrics = world.metrics().await;
    assert_eq!((metrics.series("ceiling_limit", &[]), metrics.sum("ceiling_shadow_total", &[])), (0, 0.0));
    assert!(!world.call(API, "{}").await.header_names().contains(&"ratelimit"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_apis_ceiling_can_be_off_while_others_hold() {
    let world = world(Mode::Enforce, &[API]).await;
    assert_eq!(served(&world, API).await, AT_ONCE as usize);
    let others = served(&world, OTHER).await;
    assert!((1..=2 * LIMIT as usize).contains(&others), "{others}");
    let metrics = world.metrics().await;
    assert_eq!(metrics.series("ceiling_limit", &[("api", API)]), 0);
    assert_eq!(metrics.sum("ceiling_limit", &[("api", OTHER)]), f64::from(LIMIT));
    let refused =
        metrics.sum("refused_total", &[("api", OTHER), ("caller", "load"), ("reason", "turn_too_late")]);
    assert_eq!(refused as usize, AT_ONCE as usize - others, "{metrics:?}");
    world.end().await;
}
