//! Ceilings under load, as the sandbox sees them: exact, used, smooth, fair, and adaptive.
//!
//! `transit_max` is five seconds here, so that a machine that is busy with other tests proves nothing wrong.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use usersig_gateway::gateway;
use usersig_gateway::gateway::admission::ApiCeiling;
use usersig_gateway::gateway::caller::{Rule, Who};
use usersig_gateway::gateway::policy::Rights;
use usersig_gateway::sandbox::{Delay, Effect, Fault};

use crate::load::{Caller, Stalls, with_status};
use crate::samples::Samples;
use crate::world::{Builder, World, api, sdkappid};

const API: &str = "live_engine_http_srv/get_room_info";
/// So small that a busy machine still has time for three times as many calls.
const LIMIT: u32 = 20;

/// A plain sandbox, so that the machine's time goes to the calls, and one API with a ceiling.
fn builder(tune: impl FnOnce(&mut gateway::Settings) + 'static) -> Builder {
    let mut builder = Builder::new().plain().workers(2).tuned(|live| {
        live.ceiling.api.insert(api(API), ApiCeiling::per_second(LIMIT.try_into().unwrap()));
        live.ceiling.transit_max = Duration::from_secs(5);
        tune(live);
    });
    builder.sandbox.ceilings.per_api.insert(api(API), LIMIT);
    builder
}

async fn caller(world: &World, source: &str, name: &str) -> Caller {
    Caller::new(world.host(), source, name).await
}

/// When each call of the API arrived, in seconds after the first.
fn arrivals(world: &World) -> Vec<f64> {
    let calls = world.report().calls;
    let times = calls.iter().filter(|call| call.api == Some(api(API))).map(|call| call.arrived);
    let times: Vec<_> = times.collect();
    times.iter().map(|at| (*at - times[0]).as_secs_f64()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_times_the_ceiling_arrives_as_the_ceiling() {
    let world = builder(|_| ()).start().await;
    // Answers take 50 ms and what the machine adds.
    let slow = Fault { before_answer: Delay::fixed(Duration::from_millis(50)), ..Fault::new(Effect::Serve) };
    world.sandbox.control().inject(slow.for_ever()).unwrap();
    let load = caller(&world, "127.0.0.1", "load").await;
    let stalls = Stalls::watch();
    let ended = load.offer(API, 3 * LIMIT, Duration::from_secs(7)).await;
    let running = stalls.end();

    let seen = world.report().seen(sdkappid(), &api(API));
    assert!(seen.worst_second <= LIMIT as usize, "{seen:?}");
    assert_eq!((seen.refused, with_status(&ended, 200)), (0, seen.arrived as usize));
    assert_eq!(with_status(&ended, 200) + with_status(&ended, 429), ended.len());
    assert!(with_status(&ended, 429) > ended.len() / 2);

    // The contract's share, and smooth: from the third second of full demand until its end.
    let arrivals: Vec<f64> = arrivals(&world).into_iter().filter(|at| (2.0..7.0).contains(at)).collect();
    let metrics = world.metrics().await;
    let of_answers = |part: &str| metrics.sum(&format!("upstream_duration_seconds_{part}"), &[("api", API)]);
    let possible = 5.0 * f64::from(LIMIT) / (1.0 + of_answers("sum") / of_answers("count"));
    // One turn at the edge of the span is within or without.
    let share = (arrivals.len() as f64 + 1.0) / possible;
    // What falls due while nobody runs is made up for, up to the burst.
    let least = 0.95 * running;
    assert!(share >= least, "{share} of what is possible, where there was time for {running}");
    for slice in 0..10 {
        let slice = 2.0 + f64::from(slice) * 0.5..2.5 + f64::from(slice) * 0.5;
        let held = arrivals.iter().filter(|at| slice.contains(at)).count() as f64;
        let even = possible / 10.0;
        // What a pause of the machine held up comes at once after it.
        let most = 1.5 * even + (1.0 - running) * f64::from(LIMIT);
        assert!(held <= most, "{held} in {slice:?}, evenly it is {even}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_apps_ceiling_holds_over_all_of_its_apis() {
    let other = "live_engine_http_srv/get_room_metadata";
    let mut builder = builder(|live| live.ceiling.app_per_second = NonZeroU32::new(LIMIT));
    builder.sandbox.ceilings.per_app = Some(LIMIT);
    let world = builder.start().await;
    let (one, two) = (caller(&world, "127.0.0.1", "one").await, caller(&world, "127.0.0.1", "two").await);
    let span = Duration::from_secs(4);
    let stalls = Stalls::watch();
    let (one, two) = tokio::join!(one.offer(API, LIMIT, span), two.offer(other, LIMIT, span));
    let running = stalls.end();

    let all = &world.report().apps[&sdkappid()].all;
    assert!(all.worst_second <= LIMIT as usize && all.refused == 0, "{all:?}");
    assert!(all.arrived as f64 >= 3.0 * f64::from(LIMIT) * running, "{all:?}");
    let (one, two) = (with_status(&one, 200), with_status(&two, 200));
    assert!(one.abs_diff(two) <= LIMIT as usize, "{one} and {two}");
    world.end().await;
}

fn rule(name: &str, network: &str, weight: u32) -> Arc<Rule> {
    Arc::new(Rule {
        name: name.parse().unwrap(),
        who: Who { networks: vec![network.parse().unwrap()], ..Who::default() },
        weight: weight.try_into().unwrap(),
        max_per_second: None,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loud_caller_takes_nothing_from_a_quiet_one() {
    let world = builder(|_| ()).start().await;
    let span = Duration::from_secs(5);
    let (loud, quiet) =
        (caller(&world, "127.0.0.1", "loud").await, caller(&world, "127.0.0.1", "quiet").await);
    let (loud, quiet) = tokio::join!(loud.offer(API, 4 * LIMIT, span), quiet.offer(API, 2, span));
    assert_eq!(with_status(&quiet, 200), quiet.len());
    assert!(with_status(&loud, 429) > loud.len() / 2);
    assert!(world.report().seen(sdkappid(), &api(API)).worst_second <= LIMIT as usize);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn greedy_callers_share_by_weight() {
    let builder = builder(|live| {
        let all = |name: &str| (name.parse().unwrap(), Rights::default());
        live.rules.rights = [all("light"), all("heavy")].into();
        live.callers.rules = vec![rule("light", "127.0.1.0/24", 1), rule("heavy", "127.0.2.0/24", 3)];
    });
    let world = builder.start().await;
    let span = Duration::from_secs(7);
    let (light, heavy) = (caller(&world, "127.0.1.1", "a").await, caller(&world, "127.0.2.1", "b").await);
    let (light, heavy) = tokio::join!(light.offer(API, 2 * LIMIT, span), heavy.offer(API, 2 * LIMIT, span));
    // Each has calls waiting all along.
    let (light, heavy) = (with_status(&light, 200) as f64, with_status(&heavy, 200) as f64);
    let share = heavy / (light + heavy);
    assert!((0.68..=0.82).contains(&share), "heavy had {heavy}, light {light}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ceiling_that_is_lower_than_was_thought_is_found_and_callers_wait_instead_of_seeing_it() {
    for count_refused in [false, true] {
        let mut builder = builder(|_| ());
        builder.sandbox.ceilings.per_api.insert(api(API), LIMIT / 4);
        builder.sandbox.count_refused = count_refused;
        let world = builder.start().await;
        let load = caller(&world, "127.0.0.1", "load").await;
        load.offer(API, LIMIT, Duration::from_secs(10)).await;
        let learnt = world.report().seen(sdkappid(), &api(API));
        assert!(learnt.refused_for_rate > 0, "else it shows nothing");
        let metrics = world.metrics().await;
        let limit = metrics.sum("ceiling_limit", &[("api", API)]);
        assert!((1.0..=0.6 * f64::from(LIMIT)).contains(&limit), "{limit}");

        // What was learnt is kept.
        load.offer(API, LIMIT, Duration::from_secs(5)).await;
        let seen = world.report().seen(sdkappid(), &api(API));
        let (arrived, refused) =
            (seen.arrived - learnt.arrived, seen.refused_for_rate - learnt.refused_for_rate);
        assert!(refused * 5 <= arrived, "{refused} of {arrived} were refused");
        let seen_by_callers = |metrics: &Samples| metrics.sum("calls_total", &[("error_code", "60007")]);
        assert_eq!(seen_by_callers(&world.metrics().await), seen_by_callers(&metrics));
        world.end().await;
    }
}
