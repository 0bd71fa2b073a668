//! Replicas that share ceilings through a simulated store, on a paused clock. What they decide is decided by the code that
//! runs in the gateway.

use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard};

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, sleep_until};

use super::super::shared::tests::network::Network;
use super::super::shared::{Replica, Terms};
use super::gate::{A, API, From, Gate, gate_since};
use super::*;
use crate::gateway::caller::{Rule, Who};
use crate::gateway::policy::Grant;
use crate::telemetry::metrics::Metrics;

/// How a fleet is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    pub(super) seed: u64,
    pub(super) replicas: usize,
    pub(super) max_replicas: u32,
    pub(super) limit: u32,
    pub(super) apps: u32,
    /// The ceiling over all of an app's APIs; 0: none.
    pub(super) app_limit: u32,
    /// Turns at once after idle time; 0: half of the ceiling.
    pub(super) burst: u32,
    /// Whether connections are always there and answers always quick; else some take long.
    pub(super) quick: bool,
}

/// Three that share a ceiling of 200.
pub(super) const THREE: Setup =
    Setup { seed: 1, replicas: 3, max_replicas: 3, limit: 200, apps: 1, app_limit: 0, burst: 0, quick: true };

/// Calls that are offered to one replica.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) replica: usize,
    pub(super) per_second: f64,
    /// How much the source weighs that they come from: 1 or 3.
    pub(super) weight: u32,
    pub(super) api: &'static str,
    /// Whether they come one after another evenly; else as independent callers come.
    pub(super) is_even: bool,
}

/// Replicas, their store, and what became of the calls that were offered.
pub(super) struct Fleet {
    pub(super) setup: Setup,
    pub(super) network: Arc<Network>,
    gates: Vec<Arc<Gate>>,
    /// What keeps each in touch.
    keeping: Vec<AbortHandle>,
    calls: Arc<Mutex<Calls>>,
    random: fastrand::Rng,
    began: Instant,
    tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Calls {
    served: Vec<Served>,
    refused: usize,
}

/// A call that arrived at Tencent.
#[derive(Debug, Clone, Copy)]
struct Served {
    replica: usize,
    app: u32,
    /// When it came to the replica, had its turn and arrived.
    came: Instant,
    granted: Instant,
    arrived: Instant,
}

pub(super) const TIMEOUT: Duration = Duration::from_millis(50);
pub(super) const ABSENT_FOR: Duration = Duration::from_secs(30);

impl Load {
    pub(super) const fn of(replica: usize, per_second: f64) -> Self {
        Self { replica, per_second, weight: 1, api: API, is_even: false }
    }
}

impl Fleet {
    /// Replicas that have met.
    pub(super) async fn of(setup: Setup) -> Self {
        let mut fleet = Self::without_replicas(setup);
        for _ in 0..setup.replicas {
            fleet.start_one();
        }
        sleep(Duration::from_secs(3)).await;
        fleet.began = Instant::now();
        fleet
    }

    /// Only the store.
    pub(super) fn without_replicas(setup: Setup) -> Self {
        Self {
            setup,
            network: Network::new(setup.seed),
            gates: Vec::new(),
            keeping: Vec::new(),
            calls: Arc::default(),
            random: fastrand::Rng::with_seed(setup.seed),
            began: Instant::now(),
            tasks: JoinSet::new(),
        }
    }

    /// One more replica starts.
    pub(super) fn start_one(&mut self) {
        let number = self.gates.len();
        let gate = Arc::new(replica(self.setup, &self.network, number));
        let replica = Arc::clone(gate.admission.replica().unwrap());
        self.keeping.push(self.tasks.spawn(replica.keep_in_touch()));
        self.gates.push(gate);
    }

    /// One ends, from one moment to the next.
    pub(super) fn end(&mut self, replica: usize) {
        self.keeping[replica].abort();
    }

    /// How many tokens are at hand.
    pub(super) fn at_hand(&self, replica: usize) -> u32 {
        self.gates[replica].admission.readings().iter().map(|reading| reading.leased).sum()
    }

    pub(super) fn replica(&self, number: usize) -> &Replica {
        self.gates[number].admission.replica().unwrap()
    }

    /// Calls come until they are aborted.
    pub(super) fn offer(&mut self, load: Load) -> AbortHandle {
        let (gate, calls) = (Arc::clone(&self.gates[load.replica]), Arc::clone(&self.calls));
        self.tasks.spawn(offer(self.setup, load, gate, calls, self.random.fork()))
    }

    /// Something else happens meanwhile.
    pub(super) fn meanwhile(&mut self, doing: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(doing);
    }

    pub(super) fn random(&mut self) -> fastrand::Rng {
        self.random.fork()
    }

    /// Waits until so many seconds after the beginning.
    pub(super) async fn until(&self, seconds: f64) {
        sleep_until(self.at(seconds)).await;
    }

    pub(super) fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    fn at(&self, seconds: f64) -> Instant {
        self.began + Duration::from_secs_f64(seconds)
    }

    /// How many calls a second arrived between these moments: at all, or from one replica.
    pub(super) fn arrived(&self, replica: Option<usize>, from: f64, until: f64) -> f64 {
        let within = self.at(from)..self.at(until);
        let is_of = |served: &&Served| replica.is_none_or(|replica| served.replica == replica);
        let calls = self.calls();
        let served = calls.served.iter().filter(is_of).filter(|served| within.contains(&served.arrived));
        served.count() as f64 / (until - from)
    }

    /// How long 99 of 100 calls that came between these moments waited at most for their turn.
    pub(super) fn p99_wait(&self, from: f64, until: f64) -> Duration {
        let within = self.at(from)..self.at(until);
        let calls = self.calls();
        let served = calls.served.iter().filter(|served| within.contains(&served.came));
        let mut waits: Vec<_> = served.map(|served| served.granted - served.came).collect();
        waits.sort_unstable();
        waits[(waits.len() - 1) * 99 / 100]
    }

    /// The most turns of one replica within so long, between these moments.
    pub(super) fn most_turns(&self, replica: usize, within: Duration, from: f64, until: f64) -> usize {
        let (from, until) = (self.at(from), self.at(until));
        let calls = self.calls();
        let of_replica = calls.served.iter().filter(|served| served.replica == replica);
        let mut turns: Vec<_> = of_replica.map(|served| served.granted).collect();
        turns.retain(|at| (from..until).contains(at));
        turns.sort_unstable();
        let count = |first: usize| turns[first..].partition_point(|&at| at < turns[first] + within);
        (0..turns.len()).map(count).max().unwrap_or(0)
    }

    /// The longest time without an arrival between these moments.
    pub(super) fn longest_pause(&self, from: f64, until: f64) -> Duration {
        let (from, until) = (self.at(from), self.at(until));
        let mut arrived: Vec<_> = self.calls().served.iter().map(|served| served.arrived).collect();
        arrived.retain(|at| (from..until).contains(at));
        arrived.extend([from, until]);
        arrived.sort_unstable();
        arrived.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
    }

    pub(super) fn served(&self) -> usize {
        self.calls().served.len()
    }

    pub(super) fn refused(&self) -> usize {
        self.calls().refused
    }

    /// The most that arrived in a second, of any app.
    pub(super) fn worst_second(&self) -> usize {
        let mut served: Vec<_> =
            self.calls().served.iter().map(|served| (served.app, served.arrived)).collect();
        served.sort_unstable();
        let (mut first, mut worst) = (0, 0);
        for (last, &(app, at)) in served.iter().enumerate() {
            while served[first].0 != app || at >= served[first].1 + Duration::from_secs(1) {
                first += 1;
            }
            worst = worst.max(last + 1 - first);
        }
        worst
    }

    /// No second held more than the ceiling: that over all APIs, if there is one.
    pub(super) fn assert_exact(&self) {
        let Setup { limit, app_limit, .. } = self.setup;
        let (worst, most) = (self.worst_second(), if app_limit == 0 { limit } else { app_limit });
        assert!(worst <= most as usize, "{worst} in a second: {:?}", self.setup);
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap()
    }
}

fn replica(setup: Setup, network: &Arc<Network>, number: usize) -> Gate {
    let mut gate = gate_since(Instant::now() - Duration::from_secs(10), setup.limit, |settings| {
        settings.guarantee = Guarantee::Arrival;
        settings.max_wait = Duration::from_secs(3);
        settings.max_waiting = 1_024;
        settings.burst = NonZeroU32::new(setup.burst);
        settings.app_per_second = NonZeroU32::new(setup.app_limit);
    });
    gate.add_apps(setup.apps - 1);
    gate.rules = vec![rule("light", "10.0.0.0/24", 1), rule("heavy", "10.0.1.0/24", 3)];
    let terms = Terms {
        timeout: TIMEOUT,
        max_replicas: setup.max_replicas,
        absent_for: ABSENT_FOR,
        transit_max: TRANSIT_MAX,
    };
    let named = (format!("host{number}"), format!("process{number}"));
    let replica =
        Replica::new(terms, network.store(number, TIMEOUT), (&named.0, &named.1), Metrics::new("1"));
    gate.admission = Arc::new(Arc::into_inner(gate.admission).unwrap().sharing(Some(replica)));
    gate
}

fn rule(name: &str, network: &str, weight: u32) -> Arc<Rule> {
    Arc::new(Rule {
        name: name.parse().unwrap(),
        who: Who { networks: vec![network.parse().unwrap()], ..Who::default() },
        weight: weight.try_into().unwrap(),
        max_per_second: None::<NonZeroU32>,
    })
}

async fn offer(
    setup: Setup,
    load: Load,
    gate: Arc<Gate>,
    calls: Arc<Mutex<Calls>>,
    mut random: fastrand::Rng,
) {
    let mut under_way = JoinSet::new();
    let mut at = Instant::now();
    loop {
        let pause = if load.is_even { 1.0 } else { -(1.0 - random.f64()).ln() };
        at += Duration::from_secs_f64((pause / load.per_second).min(60.0));
        sleep_until(at).await;
        // Some apps have most of the calls.
        let app = (f64::from(setup.apps) * random.f64().powi(3)) as u32;
        let path = match app {
            0 => format!("/apps/live/v4/{}", load.api),
            n => format!("/apps/app{}/v4/{}", n - 1, load.api),
        };
        let from = From { address: if load.weight == 3 { "10.0.1.1" } else { "10.0.0.1" }, ..A };
        let grant = gate.grant_at(from, &path);
        let (gate, calls, mut random) = (Arc::clone(&gate), Arc::clone(&calls), random.fork());
        let came = Instant::now();
        under_way.spawn(async move {
            let arrived = call(setup.quick, &gate, &grant, &mut random, |granted| {
                let served = Served { replica: load.replica, app, came, granted, arrived: Instant::now() };
                calls.lock().unwrap().served.push(served);
            });
            if !arrived.await {
                calls.lock().unwrap().refused += 1;
            }
        });
        while under_way.try_join_next().is_some() {}
    }
}

/// One call, from its turn to its answer. Says whether it was sent.
async fn call(
    quick: bool,
    gate: &Gate,
    grant: &Grant,
    random: &mut fastrand::Rng,
    arrives: impl FnOnce(Instant),
) -> bool {
    let mut mostly = |usual: u64, longest: u64| {
        let longest = if !quick && random.u32(..10) == 0 { longest } else { usual };
        Duration::from_micros(random.u64(..longest))
    };
    let arrival = gate.admission.arrive();
    let (mut permit, granted) = loop {
        let Ok(mut permit) =
            gate.admission.admit(grant, arrival, Instant::now(), Duration::from_secs(3)).await
        else {
            return false;
        };
        let granted = Instant::now();
        // A connection is made, and the turn may be over by then: the call waits for another one.
        sleep(mostly(300, 400_000)).await;
        if permit.confirm() && permit.may_leave() {
            break (permit, granted);
        }
    };
    permit.writing();
    sleep(mostly(100, 20_000)).await;
    permit.sent();
    sleep(mostly(2_000, 249_000)).await;
    arrives(granted);
    sleep(mostly(3_000, 400_000)).await;
    permit.answered(Instant::now());
    true
}
