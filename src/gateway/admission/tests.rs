//! The ceiling is exact and used, whatever the network does; and waiting is in order, bounded and cancel-safe.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::bucket::{Asked, Bucket};
use super::tokens::{Ceiling, InTransit, Rules, Tokens};
use super::{ColdStart, Guarantee};

const TRANSIT_MAX: Duration = Duration::from_millis(250);

fn rules(limit: u32, guarantee: Guarantee) -> Rules {
    let ceiling = Ceiling::part_of(limit.try_into().unwrap(), 1.0);
    Rules { ceiling, guarantee, transit_max: TRANSIT_MAX }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

// Pure arithmetic.

/// What becomes of one call of a schedule. Times are microseconds after the moment before.
#[derive(Debug, Clone, Copy)]
struct Call {
    /// After the call before it.
    comes: u64,
    /// From the grant to the first byte's writing: connection set-up.
    connects: u64,
    /// From the last byte's sending to arrival; below `transit_max`.
    travels: u64,
    /// From arrival to the answer.
    answers: u64,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Answered,
    NeverAnswered,
    /// Gone before anything was written.
    NeverSent,
}

fn call() -> impl Strategy<Value = Call> {
    let fate =
        prop_oneof![8 => Just(Fate::Answered), 1 => Just(Fate::NeverAnswered), 1 => Just(Fate::NeverSent)];
    let wide = prop_oneof![0_u64..2_000, 0_u64..400_000];
    (0_u64..60_000, wide.clone(), 0_u64..250_000, wide, fate).prop_map(
        |(comes, connects, travels, answers, fate)| Call { comes, connects, travels, answers, fate },
    )
}

/// What may happen at a moment, in a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Written(usize),
    Abandoned,
    Answer(usize),
    Limit(u32),
    Comes(usize),
}

/// Drives the tokens through a schedule; gives the arrivals and the limits in force since when.
fn simulate(first: u32, calls: &[Call], limits: &[(u64, u32)]) -> (Vec<Instant>, Vec<(Instant, u32)>) {
    let start = Instant::now();
    let mut tokens = Tokens::new(rules(first, Guarantee::Arrival));
    let mut agenda = std::collections::BTreeSet::new();
    let mut comes = start;
    for (i, call) in calls.iter().enumerate() {
        comes += Duration::from_micros(call.comes);
        agenda.insert((comes, Event::Comes(i)));
    }
    for &(at, limit) in limits {
        agenda.insert((start + Duration::from_micros(at), Event::Limit(limit)));
    }
    let mut in_transit: Vec<Option<InTransit>> = vec![None; calls.len()];
    let (mut arrivals, mut in_force) = (Vec::new(), vec![(start, first)]);
    while let Some((now, event)) = agenda.pop_first() {
        match event {
            Event::Comes(i) if tokens.take(now) => {
                let written = now + Duration::from_micros(calls[i].connects);
                let next =
                    if calls[i].fate == Fate::NeverSent { Event::Abandoned } else { Event::Written(i) };
                agenda.insert((written, next));
            }
            Event::Comes(_) => {}
            Event::Abandoned => tokens.give_back(),
            Event::Written(i) => {
                in_transit[i] = Some(tokens.sent(now));
                let arrival = now + Duration::from_micros(calls[i].travels);
                arrivals.push(arrival);
                if calls[i].fate == Fate::Answered {
                    agenda.insert((arrival + Duration::from_micros(calls[i].answers), Event::Answer(i)));
                }
            }
            Event::Answer(i) => tokens.answered(in_transit[i].unwrap(), now),
            Event::Limit(limit) => {
                tokens.change(rules(limit, Guarantee::Arrival));
                in_force.push((now, limit));
            }
        }
    }
    arrivals.sort();
    (arrivals, in_force)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 2_000 } else { 100_000 }))]

    /// No window `[t, t+1s)` at the receiving side holds more than the largest limit in force in it or in the
    /// `transit_max` (and connection set-up) before it.
    #[test]
    fn no_second_sees_more_than_the_ceiling(
        first in 1_u32..12,
        calls in prop::collection::vec(call(), 1..120),
        limits in prop::collection::vec((0_u64..4_000_000, 1_u32..12), 0..4),
    ) {
        let (arrivals, in_force) = simulate(first, &calls, &limits);
        for (i, &from) in arrivals.iter().enumerate() {
            let until = from + Duration::from_secs(1);
            let seen = arrivals[i..].iter().take_while(|&&arrival| arrival < until).count();
            let earliest_grant = from.checked_sub(TRANSIT_MAX + ms(400)).unwrap_or(from);
            let largest = in_force.iter().enumerate().filter(|&(n, &(since, _))| {
                let ends = in_force.get(n + 1).map_or(until, |next| next.0);
                since < until && ends >= earliest_grant
            });
            let largest = largest.map(|(_, &(_, limit))| limit).max().unwrap();
            prop_assert!(seen <= largest as usize, "{seen} calls in a second whose ceiling is {largest}");
        }
    }
}

#[test]
fn a_token_comes_home_one_second_after_the_answer_or_after_transit_max() {
    let start = Instant::now();
    let mut tokens = Tokens::new(rules(2, Guarantee::Arrival));
    assert!(tokens.take(start) && tokens.take(start) && !tokens.take(start));
    let quick = tokens.sent(start);
    let slow = tokens.sent(start);
    tokens.answered(quick, start + ms(30));
    tokens.answered(slow, start + ms(400));
    assert!(!tokens.take(start + ms(1029)));
    assert!(tokens.take(start + ms(1030)));
    assert!(!tokens.take(start + ms(1249)));
    assert!(tokens.take(start + ms(1250)));
    assert_eq!(tokens.unproven(), 1);
}

#[test]
fn dispatch_brings_tokens_home_one_second_after_sending() {
    let start = Instant::now();
    let mut tokens = Tokens::new(rules(1, Guarantee::Dispatch));
    assert!(tokens.take(start));
    let token = tokens.sent(start + ms(5));
    tokens.answered(token, start + ms(50));
    assert!(!tokens.take(start + ms(1004)));
    assert!(tokens.take(start + ms(1005)));
    assert_eq!(tokens.unproven(), 0);
}

#[test]
fn a_call_that_wrote_nothing_gives_its_token_back_at_once() {
    let start = Instant::now();
    let mut tokens = Tokens::new(rules(1, Guarantee::Arrival));
    assert!(tokens.take(start) && !tokens.take(start));
    tokens.give_back();
    assert!(tokens.take(start));
}

#[test]
fn the_earliest_turn_counts_those_ahead() {
    let start = Instant::now();
    let mut tokens = Tokens::new(rules(2, Guarantee::Arrival));
    assert_eq!(tokens.turn(1, start), start);
    for answered in [10, 20] {
        assert!(tokens.take(start));
        let token = tokens.sent(start);
        tokens.answered(token, start + ms(answered));
    }
    let now = start + ms(20);
    assert_eq!(tokens.turn(0, now), start + ms(1010));
    assert_eq!(tokens.turn(1, now), start + ms(1020));
    assert_eq!(tokens.turn(2, now), start + ms(2010));
    assert_eq!(tokens.turn(5, now), start + ms(3020));
}

#[test]
fn a_lowered_limit_waits_for_the_surplus_to_come_home() {
    let start = Instant::now();
    let mut tokens = Tokens::new(rules(3, Guarantee::Arrival));
    for answered in [10, 20, 30] {
        assert!(tokens.take(start));
        let token = tokens.sent(start);
        tokens.answered(token, start + ms(answered));
    }
    tokens.change(rules(1, Guarantee::Arrival));
    assert_eq!(tokens.turn(0, start + ms(30)), start + ms(1030));
    assert!(!tokens.take(start + ms(1029)));
    assert!(tokens.take(start + ms(1030)));
}

#[test]
fn a_paced_start_grows_to_the_ceiling_within_its_first_second() {
    let start = Instant::now();
    let mut tokens = Tokens::cold(rules(10, Guarantee::Arrival), ColdStart::Paced, start, start);
    let mut taken = Vec::new();
    for at in 0..1000 {
        if tokens.take(start + ms(at)) {
            taken.push(at);
        }
    }
    assert_eq!(taken, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
    let mut old = Tokens::cold(rules(10, Guarantee::Arrival), ColdStart::Paced, start, start + ms(5000));
    assert_eq!((0..20).filter(|_| old.take(start + ms(5000))).count(), 10);
}

#[test]
fn a_waiting_start_lets_nothing_through_before_the_past_is_past() {
    let start = Instant::now();
    let mut tokens = Tokens::cold(rules(10, Guarantee::Arrival), ColdStart::Wait, start, start + ms(100));
    assert!(!tokens.take(start + ms(1249)));
    assert_eq!(tokens.turn(0, start + ms(100)), start + ms(1250));
    assert_eq!((0..20).filter(|_| tokens.take(start + ms(1250))).count(), 10);
}

#[test]
fn a_share_below_one_a_second_is_one_in_a_longer_period() {
    let one = Ceiling::part_of(1.try_into().unwrap(), 0.25);
    assert_eq!((one.limit.get(), one.period), (1, Duration::from_secs(4)));
    let many = Ceiling::part_of(100.try_into().unwrap(), 0.29);
    assert_eq!((many.limit.get(), many.period), (29, Duration::from_secs(1)));
}

// Waiting, on paused time.

fn bucket(limit: u32) -> Arc<Bucket> {
    Arc::new(Bucket::new(Tokens::new(rules(limit, Guarantee::Dispatch)), Handle::current()))
}

fn granted(bucket: &Arc<Bucket>) -> super::Permit {
    match bucket.ask(Instant::now(), 0) {
        Asked::Granted(permit) => permit,
        other => panic!("no token at home: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn calls_wait_in_the_order_in_which_they_came() {
    let bucket = bucket(1);
    granted(&bucket).sent();
    let start = Instant::now();
    let deadline = start + Duration::from_secs(60);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..5_u64 {
        let Asked::Waiting(waiting) = bucket.ask(deadline, 10) else { panic!("should wait") };
        let order = Arc::clone(&order);
        tasks.spawn(async move {
            waiting.until(deadline).await.unwrap().sent();
            order.lock().unwrap().push((n, start.elapsed().as_secs()));
        });
    }
    while tasks.join_next().await.is_some() {}
    assert_eq!(*order.lock().unwrap(), [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_too_late_is_refused_at_once() {
    let bucket = bucket(2);
    granted(&bucket).sent();
    granted(&bucket).sent();
    let now = Instant::now();
    let Asked::TooLate { turn } = bucket.ask(now + ms(999), 10) else { panic!("should be refused") };
    assert_eq!(turn, now + ms(1000));
    assert!(matches!(bucket.ask(now + ms(1000), 10), Asked::Waiting(_)));
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded() {
    let bucket = bucket(1);
    granted(&bucket).sent();
    let deadline = Instant::now() + Duration::from_secs(60);
    let waiting: Vec<_> = (0..3).map(|_| bucket.ask(deadline, 3)).collect();
    assert!(waiting.iter().all(|asked| matches!(asked, Asked::Waiting(_))));
    assert!(matches!(bucket.ask(deadline, 3), Asked::Full { .. }));
    drop(waiting);
    assert!(matches!(bucket.ask(deadline, 3), Asked::Waiting(_)));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_hangs_up_gives_its_place_back() {
    let bucket = bucket(1);
    granted(&bucket).sent();
    let start = Instant::now();
    let deadline = start + Duration::from_secs(60);
    let Asked::Waiting(first) = bucket.ask(deadline, 10) else { panic!("should wait") };
    let Asked::Waiting(second) = bucket.ask(deadline, 10) else { panic!("should wait") };
    drop(first);
    let permit = second.until(deadline).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 1);
    drop(permit);
    assert_eq!(bucket.standing().used, 0);
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_nobody_came_for_goes_home() {
    let bucket = bucket(1);
    granted(&bucket).sent();
    let deadline = Instant::now() + Duration::from_secs(60);
    let Asked::Waiting(waiting) = bucket.ask(deadline, 10) else { panic!("should wait") };
    tokio::time::sleep(ms(1500)).await; // granted meanwhile, and not picked up
    assert_eq!(bucket.standing().used, 1);
    drop(waiting);
    assert_eq!(bucket.standing().used, 0);
}

#[tokio::test(start_paused = true)]
async fn an_unsent_permit_goes_to_the_next_in_line_at_once() {
    let bucket = bucket(1);
    let held = granted(&bucket);
    let deadline = Instant::now() + Duration::from_secs(60);
    let Asked::Waiting(waiting) = bucket.ask(deadline, 10) else { panic!("should wait") };
    let start = Instant::now();
    drop(held);
    waiting.until(deadline).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_call_given_up_while_it_was_written_counts_as_sent() {
    let bucket = bucket(1);
    let mut permit = granted(&bucket);
    permit.writing();
    drop(permit);
    assert_eq!(bucket.standing().used, 1);
    tokio::time::advance(ms(1000)).await;
    assert_eq!(bucket.standing().used, 0);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_the_waiting() {
    let bucket = bucket(1);
    let held = granted(&bucket); // never sent, never given back in time
    let deadline = Instant::now() + ms(1500);
    let Asked::Waiting(waiting) = bucket.ask(deadline, 10) else { panic!("should wait") };
    assert!(waiting.until(deadline).await.is_err());
    assert_eq!(Instant::now(), deadline);
    assert_eq!(bucket.standing().waiting, 0);
    drop(held);
}
