//! Many replicas share ceilings. No second sees more than a ceiling, whatever becomes of the store, its clock and the
//! network, and what it lets through is used.
//!
//! `benches/shared.sh` asks for 100 replicas and 10,000 apps.

use tokio::time::sleep;

use super::super::shared::tests::network::Network;
use super::fleet::{Fleet, Load, Setup, THREE};
use super::*;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    setup: Setup,
    /// Calls a second that are offered to each replica.
    offered: f64,
    seconds: u64,
    faults: bool,
}

/// What came of it.
#[derive(Debug, Default)]
struct Outcome {
    arrived: usize,
    refused: usize,
    /// The most that arrived in a second, of any app.
    worst: usize,
    commands: u64,
    /// Calls a second, from the end of the first three seconds on.
    delivered: f64,
}

fn simulated(scenario: Scenario) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(simulate(scenario))
}

async fn simulate(Scenario { setup, offered, seconds, faults: with_faults }: Scenario) -> Outcome {
    let mut fleet = Fleet::of(setup).await;
    for replica in 0..setup.replicas {
        fleet.offer(Load::of(replica, offered));
    }
    if with_faults {
        let (network, random) = (Arc::clone(&fleet.network), fleet.random());
        fleet.meanwhile(faults(setup.replicas, network, random));
    }
    let warm = fleet.network.commands();
    fleet.until(seconds as f64).await;
    Outcome {
        arrived: fleet.served(),
        refused: fleet.refused(),
        worst: fleet.worst_second(),
        commands: fleet.network.commands() - warm,
        delivered: fleet.arrived(None, 3.0, seconds as f64),
    }
}

/// Everything that can go wrong, at random.
async fn faults(replicas: usize, network: Arc<Network>, mut random: fastrand::Rng) {
    let mut backup = network.backup();
    loop {
        sleep(Duration::from_millis(random.u64(200..6_000))).await;
        let span = Duration::from_millis(random.u64(10..9_000));
        match random.u32(..9) {
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
            5 => {
                network.restore(backup);
                backup = network.backup();
            }
            6 => network.slow_by(Duration::from_millis(random.u64(..40))),
            _ => {
                let replica = random.usize(..replicas);
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

/// Some of the answers take long.
const PLAIN: Scenario =
    Scenario { setup: Setup { quick: false, ..THREE }, offered: 200.0, seconds: 15, faults: false };

#[tokio::test(start_paused = true)]
async fn replicas_keep_one_ceiling_and_use_it() {
    let outcome = simulate(PLAIN).await;
    assert!(outcome.worst <= 200, "{outcome:?}");
    assert!(outcome.delivered >= 180.0, "{outcome:?}");
}

#[test]
fn small_ceilings_are_used_as_large_ones_are() {
    for seed in 0..4 {
        for limit in [1, 2, 10] {
            let setup = Setup { seed, limit, ..THREE };
            let scenario = Scenario { setup, offered: f64::from(limit) * 0.8, seconds: 20, ..PLAIN };
            let outcome = simulated(scenario);
            assert!(outcome.worst <= limit as usize, "{scenario:?}: {outcome:?}");
            // One call more or less is a matter of where the count begins.
            let least = 0.9 * f64::from(limit) - 1.0 / 17.0;
            assert!(outcome.delivered >= least, "{scenario:?}: {outcome:?}");
        }
    }
}

#[test]
fn below_the_ceiling_few_calls_need_a_command() {
    for (replicas, limit) in [(1, 200), (3, 400)] {
        let setup = Setup { replicas, limit, ..PLAIN.setup };
        let outcome = simulated(Scenario { setup, offered: 100.0, ..PLAIN });
        assert!(outcome.worst <= limit as usize && outcome.refused == 0, "{replicas}: {outcome:?}");
        assert!(outcome.commands as f64 <= 0.2 * outcome.arrived as f64, "{replicas}: {outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_of_an_app_that_is_hardly_used_needs_two_commands() {
    let setup = Setup { apps: 100, ..THREE };
    let outcome = simulate(Scenario { setup, offered: 10.0, seconds: 20, ..PLAIN }).await;
    // Without the replicas' word that they are there, five times a second.
    let lends = outcome.commands as f64 - 3.0 * 5.0 * 20.0;
    assert!(lends <= 2.3 * outcome.arrived as f64, "{outcome:?}");
}

#[test]
fn no_second_sees_more_than_the_ceiling_whatever_fails() {
    let asked = std::env::var("USERSIG_GATEWAY_SIMULATIONS").ok();
    let seeds: u64 = asked.map_or(8, |asked| asked.parse().expect("USERSIG_GATEWAY_SIMULATIONS is a number"));
    // In the last one, the answer to a replica's first command after an outage is lost.
    for seed in (0..seeds).chain([119]) {
        let limit = [1, 2, 10, 60][seed as usize % 4];
        let setup = Setup { seed, replicas: 2 + seed as usize % 4, max_replicas: 6, limit, ..PLAIN.setup };
        let scenario = Scenario { setup, offered: f64::from(limit) * 0.8 + 1.0, seconds: 60, faults: true };
        let outcome = simulated(scenario);
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
        let setup = Setup { replicas, max_replicas: replicas as u32, apps, ..PLAIN.setup };
        let scenario = Scenario { setup, offered, seconds: if is_long { 20 } else { 8 }, ..PLAIN };
        let Outcome { arrived, refused, worst, commands, delivered } = simulated(scenario);
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
