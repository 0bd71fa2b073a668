//! A store and a network that are simulated, on a paused clock: the scripts' model, behind delays and every kind of
//! fault.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::super::model::Model;
use super::super::protocol::{Answer, Lend, Lent, Meet, Met, Probe, Store, StoreError};

/// A store that every replica reaches over a network of its own.
#[derive(Debug)]
pub(in crate::gateway::admission) struct Network(Mutex<World>);

#[derive(Debug)]
struct World {
    model: Model,
    began: Instant,
    /// By how much the store's clock was set.
    set: i64,
    run: u32,
    is_lost: bool,
    cut_off: BTreeSet<usize>,
    /// Who is not let in.
    denied: BTreeSet<usize>,
    /// Until when the store does nothing; what was said is done then.
    stopped_until: Instant,
    /// How much longer than usual each way takes.
    slow_by: Duration,
    commands: u64,
    /// Whether nothing gets lost or is slow by chance.
    is_reliable: bool,
    random: fastrand::Rng,
}

/// One replica's way to the store.
#[derive(Debug)]
struct Way {
    network: Arc<Network>,
    replica: usize,
    timeout: Duration,
}

impl Network {
    pub(in crate::gateway::admission) fn new(seed: u64) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self(Mutex::new(World {
            model: Model::default(),
            began: now,
            set: 0,
            run: 0,
            is_lost: false,
            cut_off: BTreeSet::new(),
            denied: BTreeSet::new(),
            stopped_until: now,
            slow_by: Duration::ZERO,
            commands: 0,
            is_reliable: false,
            random: fastrand::Rng::with_seed(seed),
        })))
    }

    pub(in crate::gateway::admission) fn store(
        self: &Arc<Self>,
        replica: usize,
        timeout: Duration,
    ) -> Arc<dyn Store> {
        Arc::new(Way { network: Arc::clone(self), replica, timeout })
    }

    /// How many commands were done.
    pub(in crate::gateway::admission) fn commands(&self) -> u64 {
        self.lock().commands
    }

    /// Nothing gets lost or is slow by chance any more.
    pub(in crate::gateway::admission) fn be_reliable(&self) {
        self.lock().is_reliable = true;
    }

    pub(in crate::gateway::admission) fn lose(&self, is_lost: bool) {
        self.lock().is_lost = is_lost;
    }

    pub(in crate::gateway::admission) fn cut_off(&self, replica: usize, is_so: bool) {
        let cut_off = &mut self.lock().cut_off;
        if is_so {
            cut_off.insert(replica)
        } else {
            cut_off.remove(&replica)
        };
    }

    /// This replica is not let in.
    pub(in crate::gateway::admission) fn deny(&self, replica: usize) {
        self.lock().denied.insert(replica);
    }

    /// How many tokens are away, of every ceiling's first period.
    pub(in crate::gateway::admission) fn away(&self) -> i64 {
        let world = self.lock();
        world.model.away(world.now())
    }

    pub(in crate::gateway::admission) fn stop_for(&self, span: Duration) {
        self.lock().stopped_until = Instant::now() + span;
    }

    /// Another server process, with what was kept or with nothing.
    pub(in crate::gateway::admission) fn restart(&self, empty: bool) {
        let mut world = self.lock();
        world.run += 1;
        if empty {
            world.model = Model::default();
        }
    }

    /// What the store knows, for [`restore`](Self::restore).
    pub(in crate::gateway::admission) fn backup(&self) -> Model {
        self.lock().model.clone()
    }

    /// Another server process, with what was known some time ago.
    pub(in crate::gateway::admission) fn restore(&self, backup: Model) {
        self.restart(false);
        self.lock().model = backup;
    }

    /// From now on each way takes so much longer.
    pub(in crate::gateway::admission) fn slow_by(&self, by: Duration) {
        self.lock().slow_by = by;
    }

    /// The store's clock is set.
    pub(in crate::gateway::admission) fn set_clock(&self, by: i64) {
        self.lock().set += by;
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

impl World {
    fn now(&self) -> i64 {
        1_800_000_000_000_000 + i64::try_from(self.began.elapsed().as_micros()).unwrap() + self.set
    }

    fn reaches(&self, replica: usize) -> bool {
        !self.is_lost && !self.cut_off.contains(&replica)
    }

    /// Mostly quick, at times slow.
    fn delay(&mut self) -> Duration {
        let slow = self.random.u32(..400) == 0 && !self.is_reliable;
        self.slow_by
            + Duration::from_micros(if slow { self.random.u64(..60_000) } else { self.random.u64(50..800) })
    }
}

impl Way {
    /// A command goes there, is done, and its answer comes back, if all goes well and in time.
    async fn round<T: Send + 'static>(
        &self,
        done: impl FnOnce(&mut World) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let Self { network, replica, .. } = self;
        let (network, replica, began) = (Arc::clone(network), *replica, Instant::now());
        let (there, back, is_answer_lost) = {
            let mut world = network.lock();
            if world.denied.contains(&replica) {
                return Err(StoreError::Denied("wrong password".into()));
            }
            (world.delay(), world.delay(), world.random.u32(..2_000) == 0 && !world.is_reliable)
        };
        // Whether anybody waits for the answer or not, what was sent is done.
        let exchange = tokio::spawn(async move {
            sleep(there).await;
            if !network.lock().reaches(replica) {
                return std::future::pending().await;
            }
            loop {
                let until = network.lock().stopped_until;
                if until <= Instant::now() {
                    break;
                }
                sleep_until(until).await;
            }
            let answer = {
                let mut world = network.lock();
                world.commands += 1;
                done(&mut world)
            };
            sleep(back).await;
            if is_answer_lost || !network.lock().reaches(replica) {
                return std::future::pending().await;
            }
            answer
        });
        match tokio::time::timeout_at(began + self.timeout, exchange).await {
            Ok(answer) => Ok(answer.unwrap()),
            Err(_) => Err(StoreError::Timeout(self.timeout)),
        }
    }
}

impl Store for Way {
    fn probe(&self) -> Answer<'_, Probe> {
        Box::pin(async {
            let sent = Instant::now();
            let (run, now) = self.round(|world| (format!("run{}", world.run).into(), world.now())).await?;
            Ok(Probe { run, now, sent, received: Instant::now() })
        })
    }

    fn meet<'a>(&'a self, ask: &'a Meet) -> Answer<'a, Met> {
        let ask = ask.clone();
        Box::pin(async move {
            let met = self.round(move |world| {
                // A connection is to one server process.
                let is_same = *ask.opening.run == *format!("run{}", world.run);
                let now = world.now();
                is_same.then(|| world.model.meet(now, &ask))
            });
            met.await?.ok_or(StoreError::Unreachable("another process".into()))
        })
    }

    fn lend<'a>(&'a self, ask: &'a Lend) -> Answer<'a, Lent> {
        let ask = ask.clone();
        Box::pin(async move {
            let lent = self.round(move |world| {
                let is_same = *ask.opening.run == *format!("run{}", world.run);
                let now = world.now();
                is_same.then(|| world.model.lend(now, &ask))
            });
            lent.await?.ok_or(StoreError::Unreachable("another process".into()))
        })
    }

    fn hang_up(&self) {}
}
