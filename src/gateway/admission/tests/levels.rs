//! Ceilings of both levels, of several periods and of a source's own, taken together: each is exact, through waiting,
//! hanging up, cuts and reloads.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Mutex;

use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, yield_now};

use super::super::{Admission, ApiCeiling, Arrival, Permit, Settings, Throttle};
use super::ceilings::capped;
use super::exact::too_many;
use super::gate::{A, API, B, From, OTHER_API, gate};
use super::*;
use crate::gateway::caller::{Rule, Who};
use crate::gateway::policy::Grant;

/// What becomes of one call of a schedule. Times are milliseconds.
#[derive(Debug, Clone, Copy)]
struct Call {
    /// After the call before it.
    comes: u64,
    /// Those of A's network have a ceiling of their own.
    from: From<'static>,
    api: &'static str,
    max_wait: u64,
    /// After how long its caller hangs up, if it has no turn by then.
    patience: u64,
    /// From the grant to the first byte's sending: connection set-up.
    connects: u64,
    /// From its sending to arrival.
    travels: u64,
    /// From arrival to the answer.
    answers: u64,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Answered,
    /// The caller hung up after sending, or the answer was lost.
    NeverAnswered,
    /// Given up while it was written, though it arrived.
    GivenUp,
    /// Gone before anything was written.
    NeverSent,
}

/// What changes in the course of a schedule.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// A reload.
    Limits(Limits),
    /// Tencent said too frequent.
    Throttled(&'static str, Throttle),
}

/// Ceilings; 0: none.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// [`API`] in a second, and in three.
    api: [u32; 2],
    /// [`OTHER_API`] in a second.
    other: u32,
    /// All APIs of the app in a second.
    app: u32,
    /// All calls of one source in a second.
    source: u32,
}

const PERIODS: [u64; 2] = [1, 3];

fn call() -> impl Strategy<Value = Call> {
    let fate = prop_oneof![
        8 => Just(Fate::Answered),
        1 => Just(Fate::NeverAnswered),
        1 => Just(Fate::GivenUp),
        1 => Just(Fate::NeverSent),
    ];
    let callers = vec![A, From { caller: "other", ..A }, B];
    let what = (prop::sample::select(callers), prop::sample::select(vec![API, OTHER_API]));
    let wide = prop_oneof![0_u64..3, 0_u64..400];
    let waits = (prop_oneof![Just(0_u64), 1_u64..2_000], prop_oneof![2 => Just(60_000_u64), 1 => 0_u64..500]);
    (0_u64..80, what, waits, wide.clone(), 0_u64..=250, wide, fate).prop_map(
        |(comes, (from, api), (max_wait, patience), connects, travels, answers, fate)| Call {
            comes,
            from,
            api,
            max_wait,
            patience,
            connects,
            travels,
            answers,
            fate,
        },
    )
}

fn limits() -> impl Strategy<Value = Limits> {
    let mostly = || prop_oneof![4 => 1_u32..10, 1 => Just(0)];
    (mostly(), mostly(), mostly(), mostly(), mostly())
        .prop_map(|(second, three, other, app, source)| Limits { api: [second, three], other, app, source })
}

fn change() -> impl Strategy<Value = (u64, Change)> {
    let throttle = prop::sample::select(vec![Throttle::Api, Throttle::App, Throttle::Pause]);
    let change = prop_oneof![
        3 => limits().prop_map(Change::Limits),
        1 => (prop::sample::select(vec![API, OTHER_API]), throttle)
            .prop_map(|(api, throttle)| Change::Throttled(api, throttle)),
    ];
    (0_u64..4_000, change)
}

impl Limits {
    fn settings(self) -> Settings {
        let api_ceiling = |ceilings: Vec<Ceiling>| match ceilings.is_empty() {
            true => ApiCeiling::Off,
            false => ApiCeiling::Periods(ceilings),
        };
        let of_api = self.api.iter().zip(PERIODS).filter(|&(&limit, _)| limit > 0);
        let of_other = (self.other > 0).then(|| a_second(self.other));
        let mut settings = Settings {
            app_per_second: NonZeroU32::new(self.app),
            burst: NonZeroU32::new(u32::MAX),
            transit_max: TRANSIT_MAX,
            ..Settings::default()
        };
        let ceilings = of_api.map(|(&limit, period)| ceiling(limit, period)).collect();
        settings.api.insert(API.parse().unwrap(), api_ceiling(ceilings));
        settings.api.insert(OTHER_API.parse().unwrap(), api_ceiling(of_other.into_iter().collect()));
        settings
    }

    fn rules(self) -> Vec<Arc<Rule>> {
        let network = Who { networks: vec!["10.0.1.0/24".parse().unwrap()], ..Who::default() };
        let free = Rule {
            name: "free".parse().unwrap(),
            who: network,
            weight: NonZeroU32::MIN,
            max_per_second: None,
        };
        vec![capped(self.source), Arc::new(free)]
    }
}

/// What is seen at the receiving side: which call arrived when.
type Arrivals = Vec<(Instant, Call)>;
/// Limits in force since when; 0: none.
type InForce = Vec<(Instant, u32)>;

/// One call, from its coming to its answer.
struct Life {
    admission: Arc<Admission>,
    grant: Grant,
    call: Call,
    arrivals: Arc<Mutex<Arrivals>>,
    /// The source's own ceiling, as its calls say when they ask for a turn.
    said: Arc<Mutex<InForce>>,
}

impl Life {
    async fn live(self) -> Option<()> {
        let arrival = self.admission.arrive();
        let mut permit = self.turn(arrival).await?;
        let Call { connects, travels, answers, fate, .. } = self.call;
        tokio::time::sleep(ms(connects)).await;
        if fate == Fate::NeverSent {
            return None;
        }
        while !permit.confirm() {
            permit = self.turn(arrival.again()).await?;
            tokio::time::sleep(ms(connects)).await;
        }
        permit.writing();
        self.arrivals.lock().unwrap().push((Instant::now() + ms(travels), self.call));
        if fate == Fate::GivenUp {
            return None;
        }
        permit.sent();
        if fate == Fate::Answered {
            tokio::time::sleep(ms(travels + answers)).await;
            permit.answered(Instant::now());
        }
        Some(())
    }

    async fn turn(&self, arrival: Arrival) -> Option<Permit> {
        if self.call.from.address == A.address {
            let says = self.grant.caller().source().max_per_second();
            self.said.lock().unwrap().push((Instant::now(), says.map_or(0, NonZeroU32::get)));
        }
        let turn = self.admission.admit(&self.grant, arrival, Instant::now(), ms(self.call.max_wait));
        tokio::time::timeout(ms(self.call.patience), turn).await.ok()?.ok()
    }
}

/// Drives all ceilings of an app through a schedule. Gives when calls arrived, which limits were in force since when,
/// and those of the source that has one of its own.
async fn simulate(
    first: Limits,
    calls: &[Call],
    changes: &[(u64, Change)],
) -> (Arrivals, Vec<(Instant, Limits)>, InForce) {
    let mut gate = gate(1, |settings| *settings = first.settings()).await;
    gate.rules = first.rules();
    let start = Instant::now();
    let (arrivals, said) = (Arc::<Mutex<Arrivals>>::default(), Arc::<Mutex<InForce>>::default());
    said.lock().unwrap().push((start - ms(5000), first.source));
    let mut limits = vec![(start - ms(5000), first)];
    let mut changes = changes.to_vec();
    changes.sort_by_key(|&(at, _)| at);
    let mut changes = changes.into_iter().peekable();
    let (mut lives, mut comes) = (JoinSet::new(), 0);
    // Of the rules in force.
    let mut grants = HashMap::new();
    for &call in calls {
        comes += call.comes;
        while let Some((at, change)) = changes.next_if(|&(at, _)| at <= comes) {
            tokio::time::sleep_until(start + ms(at)).await;
            match change {
                Change::Limits(new) => {
                    gate.admission.apply(new.settings());
                    gate.rules = new.rules();
                    grants.clear();
                    limits.push((Instant::now(), new));
                }
                Change::Throttled(api, throttle) => {
                    gate.admission.throttled(&gate.grant(A, api), throttle);
                }
            }
        }
        tokio::time::sleep_until(start + ms(comes)).await;
        let life = Life {
            admission: Arc::clone(&gate.admission),
            grant: grants
                .entry((call.from.caller, call.api))
                .or_insert_with(|| gate.grant(call.from, call.api))
                .clone(),
            call,
            arrivals: Arc::clone(&arrivals),
            said: Arc::clone(&said),
        };
        lives.spawn(life.live());
        yield_now().await;
    }
    lives.join_all().await;
    let mut arrivals = std::mem::take(&mut *arrivals.lock().unwrap());
    arrivals.sort_by_key(|&(at, _)| at);
    let said = std::mem::take(&mut *said.lock().unwrap());
    (arrivals, limits, said)
}

proptest! {
    #![proptest_config(schedules(1.0))]

    #[test]
    fn every_period_of_every_level_is_kept(
        first in limits(),
        calls in prop::collection::vec(call(), 1..60),
        changes in prop::collection::vec(change(), 0..5),
    ) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (arrivals, limits, said) = runtime.block_on(simulate(first, &calls, &changes));
        let too_many = |falls_under: &dyn Fn(&Call) -> bool, in_force: InForce, seconds| {
            let arrivals = arrivals.iter().filter(|(_, call)| falls_under(call)).map(|&(at, _)| at);
            let in_force = in_force.into_iter().map(|(since, limit)| (since, if limit == 0 { u32::MAX } else { limit }));
            let (arrivals, in_force) = (arrivals.collect::<Vec<_>>(), in_force.collect::<Vec<_>>());
            too_many(&arrivals, &in_force, Duration::from_secs(seconds), Duration::ZERO)
        };
        let of = |limit: &dyn Fn(Limits) -> u32| -> InForce {
            limits.iter().map(|&(since, limits)| (since, limit(limits))).collect()
        };
        for (n, seconds) in PERIODS.into_iter().enumerate() {
            let of_api = too_many(&|call| call.api == API, of(&|limits| limits.api[n]), seconds);
            prop_assert_eq!(of_api, None, "of the API in {} s", seconds);
        }
        let of_other = too_many(&|call| call.api == OTHER_API, of(&|limits| limits.other), 1);
        prop_assert_eq!(of_other, None, "of the other API");
        prop_assert_eq!(too_many(&|_| true, of(&|limits| limits.app), 1), None, "of the app");
        let of_source = too_many(&|call| call.from.address == A.address, said, 1);
        prop_assert_eq!(of_source, None, "of the source");
    }
}
