//! Turns come evenly, and hardly any is lost.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::tokens::InTransit;
use super::*;

/// How long answers take, in microseconds: at least so much, and up to so much more.
#[derive(Debug, Clone, Copy)]
struct Answers {
    least: u64,
    jitter: u64,
}

/// When the process stands still, in microseconds: for so long, at the beginning of every such span.
#[derive(Debug, Clone, Copy)]
struct Stalls {
    lasts: u64,
    every: u64,
}

impl Stalls {
    const NONE: Self = Self { lasts: 0, every: 1 };

    /// When the process sees what happens at this moment.
    fn seen(self, at: u64) -> u64 {
        if at % self.every < self.lasts { at - at % self.every + self.lasts } else { at }
    }
}

/// Turns that a ceiling gives while calls wait all along, in microseconds after the start, each with its answer time.
/// The timer is late by up to a millisecond, and so is every answer's schedule.
fn turns(rules: Rules, answers: Answers, seconds: u64, random: &mut fastrand::Rng) -> Vec<(u64, u64)> {
    turns_with(Stalls::NONE, rules, answers, seconds, random)
}

/// The same in a process that stands still from time to time. Answers that come meanwhile are seen after it.
fn turns_with(
    stalls: Stalls,
    rules: Rules,
    answers: Answers,
    seconds: u64,
    random: &mut fastrand::Rng,
) -> Vec<(u64, u64)> {
    let start = Instant::now();
    // Long idle: the burst is ready.
    let mut bucket = Bucket::new(rules, 0, start - ms(5000), start);
    let mut turns = Vec::new();
    let mut in_transit: Vec<InTransit> = Vec::new();
    let mut answered: BTreeSet<(u64, usize)> = BTreeSet::new();
    let mut look = 0;
    let at = |micros| start + Duration::from_micros(micros);
    // Calls that come after idle time find nobody who waits; from the first that is not served at once on, some do.
    let mut waiting = false;
    while look < seconds * 1_000_000 {
        while let Some(&(when, call)) = answered.first()
            && when <= look
        {
            answered.pop_first();
            bucket.answered(in_transit[call], at(when));
        }
        let now = at(look);
        bucket.settle(waiting, now);
        while bucket.is_ready(now) {
            bucket.take(now);
            in_transit.push(bucket.sent(now, now));
            let takes = answers.least + random.u64(0..=answers.jitter);
            let seen = stalls.seen(look + takes);
            answered.insert((seen, turns.len()));
            turns.push((look, seen - look));
            bucket.settle(waiting, now);
        }
        waiting = true;
        let next = (bucket.ready_at(now) - start).as_micros();
        let next = u64::try_from(next).unwrap().max(look + 1);
        look = stalls.seen(next.next_multiple_of(1000) + random.u64(0..300));
    }
    turns
}

/// How much of what the contract promises was delivered from `from` until `until`, in seconds.
fn delivered(limit: u32, period: f64, turns: &[(u64, u64)], from: u64, until: u64) -> f64 {
    let span = from * 1_000_000..until * 1_000_000;
    let within: Vec<_> = turns.iter().filter(|(at, _)| span.contains(at)).collect();
    let capped = within.iter().map(|&&(_, takes)| takes.min(250_000) as f64 / 1e6);
    let mean = capped.sum::<f64>() / within.len() as f64;
    within.len() as f64 / ((until - from) as f64 * f64::from(limit) / (period + mean))
}

proptest! {
    #![proptest_config(schedules(0.05))]

    /// The contract's formula: N ÷ (1 s + mean of min(answer time, `transit_max`)), 95 % of it, over any span of full
    /// demand.
    #[test]
    fn nineteen_of_twenty_possible_turns_are_given(
        limit in prop_oneof![1_u32..20, 20_u32..300, 300_u32..800],
        least in prop_oneof![0_u64..5_000, 0_u64..300_000],
        jitter in prop_oneof![Just(0_u64), 0_u64..100_000],
        burst in prop_oneof![Just(0_u32), 1_u32..50],
        from in 0_u64..10,
        seed in any::<u64>(),
    ) {
        let rules = Rules { burst, ..rules(&[a_second(limit)], Guarantee::Arrival) };
        let turns = turns(rules, Answers { least, jitter }, 30, &mut fastrand::Rng::with_seed(seed));
        let delivered = delivered(limit, 1.0, &turns, from, 30);
        // One turn at the edge of the span is within or without.
        let edge = 1.5 / (f64::from(limit) * (30 - from) as f64);
        prop_assert!(delivered + edge >= 0.95, "{delivered:.4}");
    }

    /// In steady saturation every 100 ms hold 50 to 150 % of a tenth of the rate, and no gap is longer than 10/N s.
    #[test]
    fn turns_come_evenly(
        least in prop_oneof![0_u64..5_000, 0_u64..300_000],
        jitter in prop_oneof![Just(0_u64), 0_u64..100_000],
        limit in 150_u32..400,
        seed in any::<u64>(),
    ) {
        let rules = Rules { burst: 0, ..rules(&[a_second(limit)], Guarantee::Arrival) };
        let turns = turns(rules, Answers { least, jitter }, 20, &mut fastrand::Rng::with_seed(seed));
        let steady: Vec<u64> = turns.iter().map(|&(at, _)| at).filter(|&at| at >= 2_000_000).collect();
        let tenth = steady.len() as f64 / 180.0;
        for slice in 0..180_u64 {
            let slice = 2_000_000 + slice * 100_000..2_100_000 + slice * 100_000;
            let held = steady.iter().filter(|&at| slice.contains(at)).count() as f64;
            prop_assert!((0.5 * tenth..=1.5 * tenth).contains(&held), "{held} at {slice:?}, a tenth is {tenth:.1}");
        }
        let gap = steady.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        prop_assert!(gap as f64 / 1e6 <= 10.0 / f64::from(limit), "a gap of {gap} us");
    }
}

#[test]
fn what_falls_due_while_the_process_stands_still_is_not_lost() {
    for (lasts, every) in [(30, 100), (50, 100), (50, 500), (100, 1000)] {
        for (limit, burst) in [(20, 0), (200, 0), (200, 5), (200, 1), (400, 0)] {
            let stalls = Stalls { lasts: lasts * 1000, every: every * 1000 };
            let answers = Answers { least: 20_000, jitter: 0 };
            let rules = Rules { burst, ..rules(&[a_second(limit)], Guarantee::Arrival) };
            let turns = turns_with(stalls, rules, answers, 20, &mut fastrand::Rng::with_seed(1));
            let delivered = delivered(limit, 1.0, &turns, 2, 20);
            let what = format!("{limit} with a burst of {burst}, standing still for {lasts} of {every} ms");
            assert!(delivered >= 0.95, "{delivered:.3} of {what}");
            // It is made up for soon, and not all at once.
            let at_once =
                |begin: usize| turns[begin..].iter().take_while(|&&(at, _)| at == turns[begin].0).count();
            let begin = turns.iter().position(|&(at, _)| at >= 2_000_000).unwrap();
            let most = (begin..turns.len()).map(at_once).max().unwrap();
            assert!(most <= 2 + limit as usize / 50, "{most} at once of {what}");
        }
    }
}

#[test]
fn turns_that_come_to_nothing_are_not_lost() {
    for (limit, one_in) in [(20_u32, 2_usize), (20, 5), (200, 2), (200, 5)] {
        let start = Instant::now();
        let rules = Rules { burst: 0, ..rules(&[a_second(limit)], Guarantee::Dispatch) };
        let mut bucket = Bucket::new(rules, 0, start - ms(5000), start);
        let (mut turns, mut sent) = (0, 0);
        // Connections that are not made, for so many milliseconds each.
        let mut failing = BTreeSet::new();
        for at in 0..10_000_u64 {
            let now = start + ms(at);
            while failing.first().is_some_and(|&(until, _)| until <= at) {
                failing.pop_first();
                bucket.give_back();
            }
            bucket.settle(true, now);
            while bucket.is_ready(now) {
                bucket.take(now);
                turns += 1;
                if turns % one_in == 0 {
                    failing.insert((at + 30 + turns as u64 % 7, turns));
                } else {
                    bucket.sent(now, now);
                    sent += u32::from(at >= 1000);
                }
                bucket.settle(true, now);
            }
        }
        // Beside each call that is sent, others hold a token for 33 ms.
        let possible = f64::from(9 * limit) / (1.0 + 0.033 / (one_in - 1) as f64);
        let share = f64::from(sent) / possible;
        assert!(share >= 0.95, "{share:.3} of {limit} a second, where one call of {one_in} comes to nothing");
    }
}

#[test]
fn the_earliest_turn_is_that_of_the_pace_where_tokens_are_at_home() {
    let start = Instant::now();
    let rules = Rules { burst: 1, ..rules(&[ceiling(100, 24 * 3600)], Guarantee::Arrival) };
    let mut bucket = Bucket::new(rules, 0, start - ms(5000), start);
    assert_eq!(bucket.turn(0, start), start);
    bucket.take(start);
    // A turn comes every 864 s evenly, and a little sooner while most tokens are at home.
    for (at, ahead, earliest, latest) in [(0, 0, 800, 864), (400, 0, 800, 864), (400, 2, 2400, 2592)] {
        let now = start + Duration::from_secs(at);
        bucket.settle(true, now);
        let turn = (bucket.turn(ahead, now) - start).as_secs();
        assert!((earliest..=latest).contains(&turn), "{turn} s behind {ahead} after {at} s");
    }
}

#[test]
fn after_idle_time_no_more_than_the_burst_goes_at_once() {
    for (burst, at_once) in [(0, 100), (1, 1), (30, 30), (1000, 200)] {
        let rules = Rules { burst, ..rules(&[a_second(200)], Guarantee::Arrival) };
        let answers = Answers { least: 20_000, jitter: 0 };
        let turns = turns(rules, answers, 1, &mut fastrand::Rng::with_seed(1));
        assert_eq!(turns.iter().take_while(|&&(at, _)| at == 0).count(), at_once, "burst = {burst}");
    }
}

#[test]
fn a_cold_process_has_no_burst_in_its_first_second() {
    let start = Instant::now();
    let mut bucket = Bucket::new(rules(&[a_second(200)], Guarantee::Arrival), 0, start, start);
    let mut taken = 0;
    for at in 0..1000 {
        let now = start + ms(at);
        bucket.settle(false, now);
        while bucket.is_ready(now) {
            bucket.take(now);
            taken += 1;
            assert!(f64::from(taken) <= 2.0 + 0.22 * at as f64, "{taken} after {at} ms");
        }
    }
    assert!(taken > 180, "{taken}");
}

#[test]
fn a_waiting_start_lets_nothing_through_before_the_past_is_past() {
    let start = Instant::now();
    let rules = Rules { cold_start: ColdStart::Wait, ..rules(&[a_second(10)], Guarantee::Arrival) };
    let mut bucket = Bucket::new(rules, 0, start, start + ms(100));
    bucket.settle(false, start + ms(1249));
    assert!(!bucket.is_ready(start + ms(1249)));
    assert_eq!(bucket.turn(0, start + ms(100)), start + ms(1250));
    bucket.settle(false, start + ms(1250));
    assert!(bucket.is_ready(start + ms(1250)));
}

#[test]
fn long_periods_are_paced_too() {
    let rules = Rules { burst: 1, ..rules(&[ceiling(60, 60)], Guarantee::Arrival) };
    let turns = turns(rules, Answers { least: 5_000, jitter: 0 }, 600, &mut fastrand::Rng::with_seed(1));
    assert!(delivered(60, 60.0, &turns, 0, 600) >= 0.95);
    let gap = turns.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap();
    assert!(gap < 3_000_000, "{gap}");
}
