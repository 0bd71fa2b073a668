//! Many replicas share ceilings through a simulated store, on a paused clock: what they decide is decided by the code
//! that runs in the gateway. No second sees more than a ceiling, whatever becomes of the store, its clock and the network.
//!
//! `benches/shared.sh` asks for 100 replicas and 10,000 apps.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::super::shared::tests::network::Network;
use super::super::shared::{Replica, Terms};
use super::gate::{A, API, Gate, gate};
use super::*;
use crate::telemetry::metrics::Metrics;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    seed: u64,
    replicas: usize,
    max_replicas: u32,
    limit: u32,
    /// Calls a second that are offered to each replica.
    offered: f64,
    apps: u32,
    seconds: u64,
    faults: bool,
    /// Whether connections are there and answers quick.
    quick: bool,
}

/// What came of it.
#[derive(Debug, Default)]
struct Outcome {
    arrived: usize,
    refused: usize,
    /// The most that arrived in a second, of any app.
    worst: usize,
    commands: u64,
    /// From the end of the first three seconds on.
    delivered: f64,
}

const TIMEOUT: Duration = Duration::from_millis(50);

/// When calls arrived, of each app.
type Arrivals = Arc<Mutex<HashMap<u32, Vec<Instant>>>>;

async fn simulate(scenario: Scenario) -> Outcome {
    let network = Network::new(scenario.seed);
    let mut random = fastrand::Rng::with_seed(scenario.seed);
    let (arrivals, refused) = (Arrivals::default(), Arc::new(Mutex::new(0)));
    let mut gates = Vec::new();
    for number in 0..scenario.replicas {
        gates.push(Arc::new(replica(scenario, &network, number).await));
    }
    let mut tasks = JoinSet::new();
    for gate in &gates {
        let replica = Arc::clone(gate.admission.replica().unwrap());
        tasks.spawn(replica.keep_in_touch());
    }
    sleep(Duration::from_secs(3)).await;
    let began = Instant::now();
    for gate in &gates {
        let (gate, arrivals, refused) = (Arc::clone(gate), Arc::clone(&arrivals), Arc::clone(&refused));
        let random = random.fork();
        tasks.spawn(async move { offer(scenario, gate, arrivals, refused, random, began).await });
    }
    if scenario.faults {
        tasks.spawn(faults(scenario, Arc::clone(&network), random.fork()));
    }
    let warm = network.commands();
    sleep_until(began + Duration::from_secs(scenario.seconds)).await;
    let commands = network.commands() - warm;
    tasks.abort_all();
    let arrivals = arrivals.lock().unwrap();
    let mut outcome = Outcome { commands, refused: *refused.lock().unwrap(), ..Outcome::default() };
    for times in arrivals.values() {
        let mut times = times.clone();
        times.sort();
        outcome.arrived += times.len();
        let mut first = 0;
        for (last, at) in times.iter().enumerate() {
            while *at >= times[first] + Duration::from_secs(1) {
                first += 1;
            }
            outcome.worst = outcome.worst.max(last + 1 - first);
        }
        let late = times.iter().filter(|at| **at >= began + Duration::from_secs(3)).count();
        outcome.delivered += late as f64 / (scenario.seconds - 3) as f64;
    }
    outcome
}

async fn replica(scenario: Scenario, network: &Arc<Network>, number: usize) -> Gate {
    let mut gate = gate(scenario.limit, |settings| {
        settings.guarantee = Guarantee::Arrival;
        settings.max_wait = Duration::from_secs(3);
        settings.max_waiting = 1_024;
        settings.burst = None;
    })
    .await;
    gate.add_apps(scenario.apps - 1);
    let terms = Terms {
        timeout: TIMEOUT,
        max_replicas: scenario.max_replicas,
        absent_for: Duration::from_secs(30),
        transit_max: TRANSIT_MAX,
    };
    let named = (format!("host{number}"), format!("process{number}"));
    let replica =
        Replica::new(terms, network.store(number, TIMEOUT), (&named.0, &named.1), Metrics::new("1"));
    gate.admission = Arc::new(Arc::into_inner(gate.admission).unwrap().sharing(Some(replica)));
    gate
}

async fn offer(
    scenario: Scenario,
    gate: Arc<Gate>,
    arrivals: Arrivals,
    refused: Arc<Mutex<usize>>,
    mut random: fastrand::Rng,
    began: Instant,
) {
    let mut calls = JoinSet::new();
    let mut at = began;
    loop {
        // As independent callers come.
        at += Duration::from_secs_f64((-(1.0 - random.f64()).ln() / scenario.offered).min(60.0));
        sleep_until(at).await;
        // Some apps have most of the calls.
        let app = (f64::from(scenario.apps) * random.f64().powi(3)) as u32;
        let (gate, arrivals, refused) = (Arc::clone(&gate), Arc::clone(&arrivals), Arc::clone(&refused));
        let random = random.fork();
        calls.spawn(async move {
            if !call(scenario, &gate, app, &arrivals, random).await {
                *refused.lock().unwrap() += 1;
            }
        });
        while calls.try_join_next().is_some() {}
    }
}

/// One call, from its turn to its answer. Says whether it was sent.
async fn call(
    scenario: Scenario,
    gate: &Gate,
    app: u32,
    arrivals: &Arrivals,
    mut random: fastrand::Rng,
) -> bool {
    let path = match app {
        0 => format!("/apps/live/v4/{API}"),
        n => format!("/apps/app{}/v4/{API}", n - 1),
    };
    let grant = gate.grant_at(A, &path);
    let mostly = |random: &mut fastrand::Rng, usual: u64, longest: u64| {
        let longest = if !scenario.quick && random.u32(..10) == 0 { longest } else { usual };
        Duration::from_micros(random.u64(..longest))
    };
    let arrival = gate.admission.arrive();
    let mut permit = loop {
        let Ok(mut permit) = gate.admission.admit(&grant, arrival, Duration::from_secs(3)).await else {
            return false;
        };
        // A connection is made, and the turn may be over by then: the call waits for another one.
        sleep(mostly(&mut random, 300, 400_000)).await;
        if permit.confirm() && permit.may_leave() {
            break permit;
        }
    };
    permit.writing();
    sleep(mostly(&mut random, 100, 20_000)).await;
    permit.sent();
    sleep(mostly(&mut random, 2_000, 249_000)).await;
    arrivals.lock().unwrap().entry(app).or_default().push(Instant::now());
    sleep(mostly(&mut random, 3_000, 400_000)).await;
    permit.answered();
    true
}

/// Everything that can go wrong, at random.
async fn faults(scenario: Scenario, network: Arc<Network>, mut random: fastrand::Rng) {
    loop {
        sleep(Duration::from_millis(random.u64(200..6_000))).await;
        let span = Duration::from_millis(random.u64(10..9_000));
        match random.u32(..7) {
            0 => {
                network.lose(true);
                sleep(span).await;
                network.lose(false);
            }
            1 => {
                network.lose(true);
                sleep(span).await;
                network.restart(random.bool());
                network.lose(false);
            }
            2 => network.restart(random.bool()),
            3 => network.stop_for(span),
            4 => {
                let step = random.i64(-2_000_000..2_000_000);
                network.set_clock(if random.bool() { step } else { step / 100 });
            }
            _ => {
                let replica = random.usize(..scenario.replicas);
                network.cut_off(replica, true);
                let network = Arc::clone(&network);
                tokio::spawn(async move {
                    sleep(span).await;
                    network.cut_off(replica, false);
                });
            }
        }
    }
}

const PLAIN: Scenario = Scenario {
    seed: 1,
    replicas: 3,
    max_replicas: 3,
    limit: 200,
    offered: 200.0,
    apps: 1,
    seconds: 15,
    faults: false,
    quick: false,
};

#[tokio::test(start_paused = true)]
async fn replicas_keep_one_ceiling_and_use_it() {
    let outcome = simulate(PLAIN).await;
    assert!(outcome.worst <= 200, "{outcome:?}");
    // Some of the answers take long.
    assert!(outcome.delivered >= 180.0, "{outcome:?}");
}

#[test]
fn small_ceilings_are_used_as_large_ones_are() {
    for seed in 0..4 {
        for limit in [1, 2, 10] {
            let scenario =
                Scenario { seed, limit, offered: f64::from(limit) * 0.8, seconds: 20, quick: true, ..PLAIN };
            let outcome = simulated(scenario);
            assert!(outcome.worst <= limit as usize, "{scenario:?}: {outcome:?}");
            // One call more or less is a matter of where the count begins.
            let least = 0.9 * f64::from(limit) - 1.0 / 17.0;
            assert!(outcome.delivered >= least, "{scenario:?}: {outcome:?}");
        }
    }
}

fn simulated(scenario: Scenario) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(simulate(scenario))
}

#[tokio::test(start_paused = true)]
async fn below_the_ceiling_few_calls_need_a_command() {
    let outcome = simulate(Scenario { replicas: 1, max_replicas: 3, offered: 100.0, ..PLAIN }).await;
    assert!(outcome.worst <= 200 && outcome.refused == 0, "{outcome:?}");
    assert!(outcome.commands as f64 <= 0.2 * outcome.arrived as f64, "{outcome:?}");
}

#[test]
fn no_second_sees_more_than_the_ceiling_whatever_fails() {
    let asked = std::env::var("USERSIG_GATEWAY_SIMULATIONS").ok();
    let seeds: u64 = asked.map_or(8, |asked| asked.parse().expect("USERSIG_GATEWAY_SIMULATIONS is a number"));
    for seed in 0..seeds {
        let limit = [1, 2, 10, 60][seed as usize % 4];
        let scenario = Scenario {
            seed,
            replicas: 2 + seed as usize % 4,
            max_replicas: 6,
            limit,
            offered: f64::from(limit) * 0.8 + 1.0,
            seconds: 60,
            faults: true,
            ..PLAIN
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let outcome = runtime.unwrap().block_on(simulate(scenario));
        assert!(outcome.worst <= limit as usize, "{scenario:?}: {outcome:?}");
        assert!(outcome.arrived > 0, "{scenario:?}: {outcome:?}");
    }
}

#[test]
fn many_replicas_share_many_ceilings() {
    let is_long = std::env::var_os("USERSIG_GATEWAY_SIMULATIONS").is_some();
    let sizes: &[(usize, u32, f64)] = match is_long {
        true => &[(10, 100, 100.0), (30, 1_000, 100.0), (100, 1, 20.0), (100, 10_000, 100.0)],
        false => &[(10, 1, 60.0), (10, 50, 30.0)],
    };
    for &(replicas, apps, offered) in sizes {
        let scenario = Scenario {
            replicas,
            max_replicas: replicas as u32,
            apps,
            offered,
            seconds: if is_long { 20 } else { 8 },
            ..PLAIN
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let outcome = runtime.unwrap().block_on(simulate(scenario));
        let Outcome { arrived, refused, worst, commands, delivered } = outcome;
        println!(
            "{replicas} replicas, {apps} apps: {arrived} calls, {refused} refused, worst second {worst} of 200, {delivered:.0} a \
             second, {:.2} commands a call, {} MiB at most",
            commands as f64 / arrived as f64,
            most_memory()
        );
        assert!(worst <= 200, "{scenario:?}: {worst}");
        if apps == 1 {
            assert!(delivered >= 170.0, "{scenario:?}: {delivered}");
        }
    }
}

/// In MiB, of this process so far.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}
