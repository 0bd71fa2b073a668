//! One ceiling that others want too: loud callers beside quiet ones, and somebody else who uses the same SDKAppID.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::task::JoinSet;

use super::super::{Settings, Throttle};
use super::gate::{A, API, From, Gate, LONG, gate};
use super::*;

const LIMIT: u32 = 200;

/// As it is by default, but for the callers' own ceilings.
fn by_default(settings: &mut Settings) {
    let default = Settings::default();
    settings.guarantee = default.guarantee;
    settings.max_wait = default.max_wait;
    settings.max_waiting = default.max_waiting;
    settings.max_waiting_per_caller = default.max_waiting_per_caller;
    settings.burst = default.burst;
}

/// Offers so many calls a second, each answered in 20 ms. Gives how long those waited that got a turn, and how many
/// got none.
async fn offer(
    gate: Arc<Gate>,
    from: From<'static>,
    per_second: u32,
    seconds: u32,
) -> (Vec<Duration>, usize) {
    let (start, mut calls) = (Instant::now(), JoinSet::new());
    for n in 0..per_second * seconds {
        tokio::time::sleep_until(start + Duration::from_secs(1) * n / per_second).await;
        let gate = Arc::clone(&gate);
        calls.spawn(async move {
            let began = Instant::now();
            let mut permit = gate.admit(from, API, LONG).await.ok()?;
            let waited = began.elapsed();
            permit.sent();
            tokio::time::sleep(ms(20)).await;
            permit.answered(Instant::now());
            Some(waited)
        });
    }
    let all = calls.join_all().await;
    let waits: Vec<_> = all.iter().flatten().copied().collect();
    let refused = all.len() - waits.len();
    (waits, refused)
}

#[tokio::test(start_paused = true)]
async fn a_quiet_caller_gets_all_of_its_calls_soon() {
    let gate = Arc::new(gate(LIMIT, by_default).await);
    let loud = From { caller: "loud", ..A };
    let quiet = From { caller: "quiet", ..A };
    let loud = tokio::spawn(offer(Arc::clone(&gate), loud, 2000, 10));
    let (mut waits, refused) = offer(gate, quiet, 20, 10).await;
    assert_eq!((waits.len(), refused), (200, 0));
    waits.sort();
    assert!(waits[waits.len() * 95 / 100] < ms(150), "p95 is {:?}", waits[waits.len() * 95 / 100]);
    let (served, refused) = loud.await.unwrap();
    assert!(served.len() > 1600 && refused > 16_000, "{} served, {refused} refused", served.len());
}

/// A count of the calls of the last second, as Tencent may keep it.
struct Tencent {
    counted: Mutex<VecDeque<Instant>>,
    counts_refused: bool,
}

impl Tencent {
    /// Whether a call that arrives now is let in.
    fn lets_in(&self) -> bool {
        let mut counted = self.counted.lock().unwrap();
        let now = Instant::now();
        while counted.front().is_some_and(|&at| at + Duration::from_secs(1) <= now) {
            counted.pop_front();
        }
        let room = counted.len() < LIMIT as usize;
        if room || self.counts_refused {
            counted.push_back(now);
        }
        room
    }
}

/// What became of the calls of one caller who always has one under way.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    sent: usize,
    refused: usize,
    delivered: usize,
    /// Refused for rate more often than a call may wait again.
    handed_over: usize,
}

/// Calls again and again until `until`; counts from `from` on.
async fn call_on(gate: Arc<Gate>, tencent: Arc<Tencent>, from: Instant, until: Instant) -> Tally {
    let mut tally = Tally::default();
    let grant = gate.grant(A, API);
    while Instant::now() < until {
        let arrival = gate.admission.arrive();
        for attempt in 0.. {
            let mut permit = gate.admission.admit(&grant, arrival, Instant::now(), LONG).await.unwrap();
            permit.sent();
            tokio::time::sleep(ms(10)).await;
            let let_in = tencent.lets_in();
            tokio::time::sleep(ms(10)).await;
            permit.answered(Instant::now());
            let counts = usize::from(Instant::now() >= from);
            tally.sent += counts;
            if let_in {
                tally.delivered += counts;
                break;
            }
            tally.refused += counts;
            assert!(gate.admission.throttled(&grant, Throttle::Api));
            if attempt == 3 {
                tally.handed_over += counts;
                break;
            }
        }
    }
    tally
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_half_of_the_ceiling_is_left_to_them() {
    for counts_refused in [false, true] {
        let gate = Arc::new(
            gate(LIMIT, |settings| {
                by_default(settings);
                settings.max_wait = LONG;
            })
            .await,
        );
        let tencent = Arc::new(Tencent { counted: Mutex::default(), counts_refused });
        let start = Instant::now();
        let (from, until) = (start + Duration::from_secs(20), start + Duration::from_secs(80));
        let mut calls = JoinSet::new();
        for _ in 0..60 {
            calls.spawn(call_on(Arc::clone(&gate), Arc::clone(&tencent), from, until));
        }
        let others = tokio::spawn(async move {
            for n in 0..80 * LIMIT / 2 {
                tokio::time::sleep_until(start + Duration::from_secs(1) * n / (LIMIT / 2)).await;
                tencent.lets_in();
            }
        });
        let mut all = Tally::default();
        for tally in calls.join_all().await {
            all.sent += tally.sent;
            all.refused += tally.refused;
            all.delivered += tally.delivered;
            all.handed_over += tally.handed_over;
        }
        others.abort();
        let free = 60 * LIMIT as usize / 2;
        assert!(all.refused * 50 <= all.sent, "at most 2 % refused: {all:?}");
        assert!(all.delivered * 5 >= free * 4, "at least 80 % of {free}: {all:?}");
        assert_eq!(all.handed_over, 0, "{all:?}");
    }
}
