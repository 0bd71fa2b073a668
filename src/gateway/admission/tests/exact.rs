//! No span of a period sees more calls arrive than the ceiling.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::tokens::{InTransit, Release, Tokens};
use super::*;

fn tokens(ceilings: &[Ceiling], guarantee: Guarantee) -> Tokens {
    Tokens::new(ceilings, Release { guarantee, transit_max: TRANSIT_MAX }, 0)
}

fn take(tokens: &mut Tokens, now: Instant) -> bool {
    tokens.settle(now);
    let home = tokens.is_home();
    if home {
        tokens.take();
    }
    home
}

/// What becomes of one call of a schedule. Times are microseconds after the moment before.
#[derive(Debug, Clone, Copy)]
struct Call {
    /// After the call before it.
    comes: u64,
    /// From the grant to the first byte's sending: connection set-up.
    connects: u64,
    /// From the first byte's sending to the last one's.
    writes: u64,
    /// From the last byte's sending to arrival; below `transit_max`.
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
    /// Gone before anything was written.
    NeverSent,
}

/// What changes in the course of a schedule.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// A reload.
    Limit(u32),
    /// Tencent said too frequent.
    Cut,
}

fn call(longest_write: u64) -> impl Strategy<Value = Call> {
    let fate =
        prop_oneof![8 => Just(Fate::Answered), 1 => Just(Fate::NeverAnswered), 1 => Just(Fate::NeverSent)];
    let wide = prop_oneof![0_u64..2_000, 0_u64..400_000];
    (0_u64..60_000, wide.clone(), 0..=longest_write, 0_u64..250_000, wide, fate).prop_map(
        |(comes, connects, writes, travels, answers, fate)| Call {
            comes,
            connects,
            writes,
            travels,
            answers,
            fate,
        },
    )
}

/// The calls of a schedule, and the longest time that any needs from its first byte to its last: mostly none at all.
fn calls() -> impl Strategy<Value = (Duration, Vec<Call>)> {
    prop_oneof![2 => Just(0_u64), 1 => 1_u64..200_000].prop_flat_map(|longest_write| {
        let calls = prop::collection::vec(call(longest_write), 1..120);
        (Just(Duration::from_micros(longest_write)), calls)
    })
}

fn change() -> impl Strategy<Value = (u64, Change)> {
    let change = prop_oneof![3 => (1_u32..12).prop_map(Change::Limit), 1 => Just(Change::Cut)];
    (0_u64..4_000_000, change)
}

/// What may happen at a moment, in a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Connected(usize),
    Written(usize),
    Abandoned(usize),
    Answer(usize),
    Changes(usize),
    Comes(usize),
}

/// Drives a ceiling through a schedule in which every call goes as soon as it may. Gives when calls arrived, and the
/// limits in force since when.
fn simulate(
    first: u32,
    guarantee: Guarantee,
    calls: &[Call],
    changes: &[(u64, Change)],
) -> (Vec<Instant>, Vec<(Instant, u32)>) {
    let start = Instant::now();
    let mut bucket = Bucket::new(rules(&[a_second(first)], guarantee), 0, start - ms(5000), start);
    let mut agenda = BTreeSet::new();
    let mut comes = start;
    for (i, call) in calls.iter().enumerate() {
        comes += Duration::from_micros(call.comes);
        agenda.insert((comes, Event::Comes(i)));
    }
    for (i, &(at, _)) in changes.iter().enumerate() {
        agenda.insert((start + Duration::from_micros(at), Event::Changes(i)));
    }
    let mut granted = vec![start; calls.len()];
    let mut in_transit: Vec<Option<InTransit>> = vec![None; calls.len()];
    let (mut arrivals, mut in_force) = (Vec::new(), vec![(start, first)]);
    while let Some((now, event)) = agenda.pop_first() {
        match event {
            Event::Comes(i) => {
                bucket.settle(false, now);
                // The pace is not asked: the tokens alone must hold.
                if bucket.is_home(now) {
                    bucket.take(now);
                    granted[i] = now;
                    let connected = now + Duration::from_micros(calls[i].connects);
                    let never = calls[i].fate == Fate::NeverSent;
                    agenda.insert((connected, if never { Event::Abandoned(i) } else { Event::Connected(i) }));
                }
            }
            Event::Abandoned(_) => bucket.give_back(),
            Event::Connected(i) if bucket.confirms(now) => {
                agenda.insert((now + Duration::from_micros(calls[i].writes), Event::Written(i)));
            }
            Event::Connected(i) => {
                bucket.give_back();
                agenda.insert((now, Event::Comes(i)));
            }
            Event::Written(i) => {
                in_transit[i] = Some(bucket.sent(granted[i], now));
                let arrival = match guarantee {
                    Guarantee::Arrival => now + Duration::from_micros(calls[i].travels),
                    Guarantee::Dispatch => now,
                };
                arrivals.push(arrival);
                if calls[i].fate == Fate::Answered {
                    agenda.insert((arrival + Duration::from_micros(calls[i].answers), Event::Answer(i)));
                }
            }
            Event::Answer(i) => bucket.answered(in_transit[i].unwrap(), now),
            Event::Changes(i) => match changes[i].1 {
                Change::Limit(limit) => {
                    bucket.set_rules(&rules(&[a_second(limit)], guarantee));
                    in_force.push((now, limit));
                }
                Change::Cut => {
                    bucket.cut(0.85, now);
                }
            },
        }
    }
    arrivals.sort();
    (arrivals, in_force)
}

/// The first window of a period that holds more than the largest limit in force in it or in the time before it in which
/// its calls can have been confirmed: `transit_max`, and what the longest of them took to be written.
pub(super) fn too_many(
    arrivals: &[Instant],
    in_force: &[(Instant, u32)],
    period: Duration,
    longest_write: Duration,
) -> Option<(usize, u32)> {
    arrivals.iter().enumerate().find_map(|(i, &from)| {
        let until = from + period;
        let seen = arrivals[i..].iter().take_while(|&&arrival| arrival < until).count();
        let earliest = from - TRANSIT_MAX - longest_write;
        let in_force = in_force.iter().enumerate().filter(|&(n, &(since, _))| {
            let ends = in_force.get(n + 1).map_or(until, |next| next.0);
            since < until && ends >= earliest
        });
        let largest = in_force.map(|(_, &(_, limit))| limit).max().unwrap();
        (seen > largest as usize).then_some((seen, largest))
    })
}

const SECOND: Duration = Duration::from_secs(1);

proptest! {
    #![proptest_config(schedules(1.0))]

    #[test]
    fn no_second_sees_more_than_the_ceiling(
        first in 1_u32..12,
        dispatch in any::<bool>(),
        (longest_write, calls) in calls(),
        changes in prop::collection::vec(change(), 0..4),
    ) {
        let guarantee = if dispatch { Guarantee::Dispatch } else { Guarantee::Arrival };
        let (arrivals, in_force) = simulate(first, guarantee, &calls, &changes);
        let too_many = too_many(&arrivals, &in_force, SECOND, longest_write);
        prop_assert_eq!(too_many, None, "seen, and the largest limit");
    }
}

#[test]
fn the_property_can_fail() {
    let start = Instant::now() + ms(10_000);
    let arrivals = [start, start + ms(400), start + ms(999)];
    let too_many = |in_force: &[_]| too_many(&arrivals, in_force, SECOND, Duration::ZERO);
    assert_eq!(too_many(&[(start - ms(5000), 2)]), Some((3, 2)));
    assert_eq!(too_many(&[(start - ms(5000), 3), (start + ms(1), 2)]), None);
    assert_eq!(too_many(&[(start - ms(5000), 3), (start - ms(251), 2)]), Some((3, 2)));
}

#[test]
fn a_token_comes_home_one_second_after_the_answer_or_after_transit_max() {
    let start = Instant::now();
    let mut tokens = tokens(&[a_second(2)], Guarantee::Arrival);
    assert!(take(&mut tokens, start) && take(&mut tokens, start) && !take(&mut tokens, start));
    let quick = tokens.sent(start, start);
    let slow = tokens.sent(start, start);
    tokens.answered(quick, start + ms(30));
    tokens.answered(slow, start + ms(400));
    assert!(!take(&mut tokens, start + ms(1029)));
    assert!(take(&mut tokens, start + ms(1030)));
    assert!(!take(&mut tokens, start + ms(1249)));
    assert!(take(&mut tokens, start + ms(1250)));
    assert_eq!(tokens.unproven(), 1);
}

#[test]
fn dispatch_brings_tokens_home_one_second_after_sending() {
    let start = Instant::now();
    let mut tokens = tokens(&[a_second(1)], Guarantee::Dispatch);
    assert!(take(&mut tokens, start));
    let token = tokens.sent(start, start + ms(5));
    tokens.answered(token, start + ms(50));
    assert!(!take(&mut tokens, start + ms(1004)));
    assert!(take(&mut tokens, start + ms(1005)));
    assert_eq!(tokens.unproven(), 0);
}

#[test]
fn a_call_that_wrote_nothing_gives_its_token_back_at_once() {
    let start = Instant::now();
    let mut tokens = tokens(&[a_second(1)], Guarantee::Arrival);
    assert!(take(&mut tokens, start) && !take(&mut tokens, start));
    tokens.give_back();
    assert!(take(&mut tokens, start));
}

#[test]
fn every_period_is_kept() {
    let start = Instant::now();
    let mut tokens = tokens(&[a_second(1), ceiling(3, 24 * 3600)], Guarantee::Dispatch);
    let mut taken = Vec::new();
    for second in 0..24 * 3600 + 5 {
        let now = start + Duration::from_secs(second);
        if take(&mut tokens, now) {
            tokens.sent(now, now);
            taken.push(second);
        }
    }
    assert_eq!(taken, [0, 1, 2, 86400, 86401, 86402]);
}

#[test]
fn the_earliest_turn_counts_those_ahead() {
    let start = Instant::now();
    let mut tokens = tokens(&[a_second(2)], Guarantee::Arrival);
    assert_eq!(tokens.turn(1, start), start);
    for answered in [10, 20] {
        assert!(take(&mut tokens, start));
        let token = tokens.sent(start, start);
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
    let mut tokens = tokens(&[a_second(3)], Guarantee::Arrival);
    for answered in [10, 20, 30] {
        assert!(take(&mut tokens, start));
        let token = tokens.sent(start, start);
        tokens.answered(token, start + ms(answered));
    }
    tokens.set_ceilings(&[a_second(1)]);
    assert_eq!(tokens.turn(0, start + ms(30)), start + ms(1030));
    assert!(!take(&mut tokens, start + ms(1029)));
    assert!(take(&mut tokens, start + ms(1030)));
}

#[test]
fn a_new_period_remembers_what_the_longest_before_it_did() {
    let start = Instant::now();
    let mut tokens = tokens(&[a_second(3)], Guarantee::Dispatch);
    for _ in 0..3 {
        assert!(take(&mut tokens, start));
        tokens.sent(start, start);
    }
    tokens.set_ceilings(&[ceiling(4, 10)]);
    let now = start + ms(500);
    assert!(take(&mut tokens, now) && !take(&mut tokens, now));
    assert_eq!(tokens.turn(0, now), start + Duration::from_secs(10));
}
