//! Ceilings under load, as the sandbox sees them: exact, used, smooth, fair, and adaptive.
//!
//! What a busy machine takes from a claim is measured and taken off it ([`Running`]). `transit_max` is five seconds
//! here, so that a machine which pauses proves nothing wrong.

mod adaptive;
mod exact;
mod fair;
mod modes;
mod smooth;
mod told;

use std::time::Duration;

use usersig_gateway::gateway;
use usersig_gateway::gateway::admission::ApiCeiling;

use crate::load::{Caller, Running};
use crate::world::{Builder, World, api};

const API: &str = "live_engine_http_srv/get_room_info";

/// A plain sandbox, so that the machine's time goes to the calls, and one API with a ceiling.
fn builder(limit: u32, tune: impl FnOnce(&mut gateway::Settings) + 'static) -> Builder {
    let mut builder = Builder::new().plain().workers(2).tuned(move |live| {
        live.ceiling.api.insert(api(API), ApiCeiling::per_second(limit.try_into().unwrap()));
        live.ceiling.transit_max = Duration::from_secs(5);
        tune(live);
    });
    builder.sandbox.ceilings.per_api.insert(api(API), limit);
    builder
}

async fn caller(world: &World, source: &str, name: &str) -> Caller {
    Caller::new(world.host(), source, name).await
}

/// When each call of an API arrived at the sandbox, in seconds after the first.
fn arrivals(world: &World, name: &str) -> Vec<f64> {
    let calls = world.report().calls;
    let times = calls.iter().filter(|call| call.api == Some(api(name))).map(|call| call.arrived);
    let times: Vec<_> = times.collect();
    times.iter().map(|at| (*at - times[0]).as_secs_f64()).collect()
}

/// How many calls of an API a ceiling lets through in so many seconds of full demand, by the contract's formula: 95 % of
/// N in one second and what answers took on average; less what this machine had no time for.
async fn least(world: &World, api: &str, limit: u32, seconds: f64, running: Running) -> f64 {
    let metrics = world.metrics().await;
    let of_answers = |part: &str| metrics.sum(&format!("upstream_duration_seconds_{part}"), &[("api", api)]);
    let round = 1.0 + of_answers("sum") / of_answers("count");
    // One turn at each edge of the span is within or without.
    0.95 * running.share * seconds * f64::from(limit) / round - 2.0
}
