//! Who gets the turns when more want one than there are.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use usersig_gateway::gateway;
use usersig_gateway::gateway::caller::{Rule, Who};
use usersig_gateway::gateway::policy::Rights;

use super::{API, builder, caller, least};
use crate::load::{Running, Stalls};
use crate::world::{World, api, post, sdkappid};

const LIMIT: u32 = 200;

fn rule(name: &str, network: &str, weight: u32, max_per_second: Option<u32>) -> Arc<Rule> {
    Arc::new(Rule {
        name: name.parse().unwrap(),
        who: Who { networks: vec![network.parse().unwrap()], ..Who::default() },
        weight: weight.try_into().unwrap(),
        max_per_second: max_per_second.and_then(NonZeroU32::new),
    })
}

/// These rules, all of which may call everything.
fn ruled(rules: Vec<Arc<Rule>>) -> impl FnOnce(&mut gateway::Settings) + 'static {
    move |live| {
        live.rules.rights = rules.iter().map(|rule| (rule.name.clone(), Rights::default())).collect();
        live.callers.rules = rules;
    }
}

fn is_exact(world: &World) {
    let seen = world.report().seen(sdkappid(), &api(API));
    assert!(seen.worst_second <= LIMIT as usize && seen.refused == 0, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loud_caller_takes_nothing_from_a_quiet_one() {
    // On a machine that has no time for so many calls, waits say how late it is and nothing of who has the turns. It may
    // have time later.
    for _ in 0..3 {
        let running = be_loud_and_quiet().await;
        if running.share > 0.7 {
            break;
        }
    }
}

async fn be_loud_and_quiet() -> Running {
    let world = builder(LIMIT, |_| ()).start().await;
    let span = Duration::from_secs(3);
    let (loud, quiet) =
        (caller(&world, "127.0.0.1", "loud").await, caller(&world, "127.0.0.1", "quiet").await);
    let stalls = Stalls::watch(world.host()).await;
    let (loud, quiet) = tokio::join!(loud.offer(API, 2_000, span), quiet.offer(API, 20, span));
    let running = stalls.end().await;
    assert_eq!(quiet.with_status(200), quiet.len(), "beside {:.0}/s", loud.per_second());
    let most = Duration::from_millis(150) + Duration::from_secs_f64(2.0 * running.longest_stall);
    let waited = quiet.p95_wait();
    assert!(
        waited < most || running.share <= 0.7,
        "{waited:?} beside {:.0}/s: {running:?}",
        loud.per_second()
    );
    assert!(loud.with_status(429) > 0 && loud.with_status(200) + loud.with_status(429) == loud.len());
    is_exact(&world);
    world.end().await;
    running
}

/// The share of the first of two, and how far it may be off where this machine stood still. Each had calls waiting all
/// along.
fn share(one: usize, two: usize, running: Running) -> (f64, f64) {
    let share = one as f64 / (one + two) as f64;
    (share, 0.03 + running.longest_stall / 4.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn greedy_callers_share_by_weight() {
    let rules = vec![rule("light", "127.0.1.0/24", 1, None), rule("heavy", "127.0.2.0/24", 3, None)];
    let tune = ruled([rules, vec![rule("probe", "127.0.0.0/24", 1, None)]].concat());
    let world = builder(LIMIT, tune).start().await;
    let span = Duration::from_secs(4);
    let (light, heavy) = (caller(&world, "127.0.1.1", "a").await, caller(&world, "127.0.2.1", "b").await);
    let stalls = Stalls::watch(world.host()).await;
    let (light, heavy) = tokio::join!(light.offer(API, 200, span), heavy.offer(API, 300, span));
    let running = stalls.end().await;
    let (light, heavy) = (light.served_after(1.0), heavy.served_after(1.0));
    let (share, off) = share(light, heavy, running);
    assert!((share - 0.25).abs() <= off, "light had {light}, heavy {heavy}: {running:?}");
    is_exact(&world);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_up_names_gain_nothing_over_their_networks_share() {
    let rules = [("one", "127.0.2.0/24"), ("many", "127.0.1.0/24"), ("probe", "127.0.0.0/24")];
    let rules = rules.map(|(name, network)| rule(name, network, 1, None));
    let world = builder(LIMIT, ruled(rules.to_vec())).start().await;
    let span = Duration::from_secs(4);
    let many = caller(&world, "127.0.1.1", "made-up").await.with_ever_new_names();
    let one = caller(&world, "127.0.2.1", "one").await;
    let stalls = Stalls::watch(world.host()).await;
    let (many, one) = tokio::join!(many.offer(API, 300, span), one.offer(API, 200, span));
    let running = stalls.end().await;
    let (many, one) = (many.served_after(1.0), one.served_after(1.0));
    let (share, off) = share(many, one, running);
    assert!(share <= 0.5 + off, "{many} under made-up names, {one} under one name: {running:?}");
    is_exact(&world);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_own_ceiling_is_hard_though_nobody_else_calls() {
    const OWN: u32 = 30;
    let capped = rule("capped", "127.0.1.0/24", 1, Some(OWN));
    let tune = ruled(vec![capped, rule("probe", "127.0.0.0/24", 1, None)]);
    let world = builder(LIMIT, tune).start().await;
    let capped = caller(&world, "127.0.1.1", "a").await;
    let stalls = Stalls::watch(world.host()).await;
    let offered = capped.offer(API, 90, Duration::from_secs(4)).await;
    let running = stalls.end().await;
    let seen = world.report().seen(sdkappid(), &api(API));
    assert!(seen.worst_second <= OWN as usize, "{seen:?}");
    let least = least(&world, API, OWN, 4.0, running).await;
    assert!(offered.served_after(0.0) as f64 >= least, "{} of {least}", offered.served_after(0.0));
    assert!(offered.with_status(429) > 0, "not more was offered than could go");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn now_or_never_ignores_the_pace_while_a_token_is_home() {
    const FEW: u32 = 20;
    // No burst, so that only who ignores the pace has more than one turn at once.
    let world = builder(FEW, |live| live.ceiling.burst = NonZeroU32::new(1)).start().await;
    let patient = caller(&world, "127.0.0.1", "a").await;
    let impatient = patient.clone().with_max_wait("0");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let stalls = Stalls::watch(world.host()).await;
    let offered = impatient.offer_at_once(API, FEW + 5).await;
    let running = stalls.end().await;
    // Where this machine stood still for so long that tokens came home meanwhile, more than twenty have one.
    let most = if running.longest_stall < 0.5 { FEW as usize } else { offered.len() };
    let served = offered.with_status(200);
    assert!((FEW as usize..=most).contains(&served), "{served}: {running:?}");
    assert_eq!(served + offered.with_status(429), offered.len());
    let mut never = post(&format!("/v4/{API}"), "{}");
    never.headers_mut().insert("x-gateway-max-wait", "0".parse().unwrap());
    if running.longest_stall < 0.2 {
        let refused = world.send(never).await;
        assert_eq!(refused.codes(), (429, 9_900_429));
        let back: u64 = refused.header("retry-after-ms").parse().unwrap();
        assert!((1..=1_000).contains(&back), "{back} ms until the first token comes home");
    }
    // The same number at once from one that may wait: all go, one after the other.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(patient.offer_at_once(API, FEW).await.with_status(200), FEW as usize);
    let arrivals = super::arrivals(&world, API);
    let patients = &arrivals[arrivals.len() - FEW as usize..];
    let took = patients[patients.len() - 1] - patients[0];
    assert!(took > 0.7, "{FEW} turns of {FEW} a second in {took} s");
    assert!(world.report().seen(sdkappid(), &api(API)).worst_second <= FEW as usize);
    world.end().await;
}
