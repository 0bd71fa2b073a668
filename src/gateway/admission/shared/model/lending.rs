//! What `lend.lua` does with one ceiling: what is out, what may be lent now, and to whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::protocol::{GUARD, Kind, LEASE, Loan, SLOT_MORE, Wish, micros};
use super::{Bucket, Lending, Waiter, ceil, home, slice};

impl Lending<'_> {
    pub(super) fn lend(&self, bucket: &mut Bucket, wish: &Wish) -> Loan {
        let now = self.now;
        if wish.registers {
            bucket.registered.insert(self.name.clone(), now);
        }
        let lengths: Vec<i64> = wish.periods.iter().map(|ceiling| micros(ceiling.period)).collect();
        for &length in &lengths {
            if !bucket.periods.iter().any(|(kept, _)| *kept == length) {
                bucket.periods.push((length, BTreeMap::new()));
            }
        }
        let Bucket { periods, credit, .. } = &mut *bucket;
        for (length, coming) in periods.iter_mut().filter(|(length, _)| lengths.contains(length)) {
            for report in &wish.reports {
                let mut released = now - report.age;
                if report.kind == Kind::Answered {
                    released = released.min(report.base);
                }
                let mut count = i64::from(report.count);
                if report.kind != Kind::Unknown {
                    let kept = coming.entry(home(report.base, *length)).or_default();
                    count = count.min(*kept);
                    *kept -= count;
                }
                if report.kind == Kind::Unused && Some(&*length) == lengths.first() {
                    *credit = credit.map(|credit| credit + count * 1_000);
                }
                if report.kind != Kind::Unused {
                    *coming.entry(home(released, *length)).or_default() += count;
                }
                coming.retain(|_, count| *count > 0);
            }
        }

        let longest = lengths.iter().copied().max().unwrap_or(0);
        let (now, name) = (self.now, self.name);
        bucket.waiters.retain(|other, waiter| waiter.until > now && !(other == name && wish.want == 0));
        let (mut free, mut wait, mut pace) = (i64::MAX, 0, 0.0_f64);
        let (mut credit, mut rate) = (0, 0.0);
        for (nth, ceiling) in wish.periods.iter().enumerate() {
            let (limit, length) = (i64::from(ceiling.limit.get()), micros(ceiling.period));
            let Bucket { periods, registered, waiters, credit: kept_credit, at, .. } = &mut *bucket;
            let Some((_, coming)) = periods.iter_mut().find(|(kept, _)| *kept == length) else { continue };
            coming.retain(|&at, _| at * slice(length) > now);
            let next_home = coming.first_key_value().map(|(&at, _)| at * slice(length));
            let (limit_now, slot_in) = self.limit_of(limit, length, longest, registered);
            let left = (limit_now - coming.values().sum::<i64>()).max(0);
            free = free.min(left);
            pace = pace.max(length as f64 / limit as f64);
            if left == 0 {
                wait = wait.max(slot_in).max(next_home.map_or(0, |at| at - now));
            }
            if nth == 0 && limit_now > 0 {
                let until_next = next_home.map(|at| at - now);
                rate = even_rate(limit_now, left, length, until_next);
                let waits = !waiters.is_empty();
                let burst = limit * 500;
                let most = if waits { 1_500.max((rate * 60.0) as i64) } else { 1_000.max(burst) };
                credit = kept_credit
                    .map_or(burst, |kept| kept + (rate * (now - *at).max(0) as f64 / 1_000.0) as i64);
                credit = credit.max(0).min(most);
            }
        }
        if self.quiet > 0 {
            (free, wait) = (0, self.quiet);
        }
        let lendable = (free * 1_000).min(credit);
        if lendable < 1_000 && free >= 1 && rate > 0.0 {
            wait = wait.max(((1_000 - lendable) as f64 * 1_000.0 / rate).ceil() as i64);
        }
        let (granted, back) = self.deal(bucket, wish, lendable, wait, pace);
        (bucket.credit, bucket.at) = (Some(credit - granted * 1_000), now);
        let base = now + micros(LEASE + self.terms.transit_max);
        for (length, coming) in bucket.periods.iter_mut().filter(|(length, _)| lengths.contains(length)) {
            if granted > 0 {
                *coming.entry(home(base, *length)).or_default() += granted;
            }
        }
        bucket.periods.retain(|(_, coming)| !coming.is_empty());
        let kept_for = micros(self.terms.absent_for) + micros(self.terms.quiet());
        bucket.registered.retain(|_, at| now < *at + kept_for);
        Loan { granted: u32::try_from(granted).expect("no more than was wanted"), base, back }
    }

    fn limit_of(
        &self,
        limit: i64,
        period: i64,
        longest: i64,
        registered: &BTreeMap<Arc<str>, i64>,
    ) -> (i64, i64) {
        let most = i64::from(self.terms.max_replicas);
        let (by_slots, groups) = (limit < most, ceil(most, limit));
        let length = period + micros(self.terms.transit_max) + micros(SLOT_MORE);
        let slot_clock = self.now - self.replicas.shift;
        let group = slot_clock.div_euclid(length).rem_euclid(groups);
        let home_after = micros(LEASE + self.terms.transit_max) + longest + micros(GUARD);
        let (mut parts, mut reserved) = (0, 0);
        for (slot, back, name) in &self.replicas.reserved {
            let is_registered = registered.get(name).is_some_and(|at| at >= back);
            if *back > 0 && (is_registered || self.now >= back + home_after) {
                continue;
            }
            parts += 1;
            reserved += if by_slots { i64::from(slot % groups == group) } else { limit / most };
        }
        if parts == 0 || !by_slots {
            return (limit - reserved, 0);
        }
        let phase = slot_clock.rem_euclid(length);
        (if phase < 100_000 { limit - reserved } else { 0 }, length - phase)
    }

    fn deal(&self, bucket: &mut Bucket, wish: &Wish, lendable: i64, wait: i64, pace: f64) -> (i64, i64) {
        let (now, want, name) = (self.now, i64::from(wish.want), self.name);
        if want > 0 {
            let mine = bucket.waiters.entry(name.clone()).or_default();
            (mine.weight, mine.want) = (i64::from(wish.weight), want);
        }
        let total: i64 = bucket.waiters.values().map(|waiter| waiter.weight).sum();
        let mut due: i64 = bucket.waiters.values().map(|waiter| waiter.due).sum();
        if due > lendable {
            for waiter in bucket.waiters.values_mut().filter(|waiter| waiter.due > 0) {
                waiter.due = waiter.due * lendable / due;
            }
            due = lendable;
        }
        let mut fresh = lendable - due;
        for _ in 0..3 {
            let lacking = |waiter: &&mut Waiter| waiter.due < waiter.want * 1_000;
            let weights: i64 = bucket.waiters.values_mut().filter(lacking).map(|waiter| waiter.weight).sum();
            if weights == 0 || fresh <= 0 {
                break;
            }
            let mut dealt = 0;
            for waiter in bucket.waiters.values_mut().filter(lacking) {
                let here = (waiter.want * 1_000 - waiter.due).min(fresh * waiter.weight / weights);
                waiter.due += here;
                dealt += here;
            }
            fresh -= dealt;
        }
        let Some(mine) = bucket.waiters.get(name).copied().filter(|_| want > 0) else { return (0, 0) };
        let mut granted = want.min(lendable / 1_000).min(mine.due.div_euclid(1_000).max(0));
        let whole = lendable / 1_000
            - bucket.waiters.values().map(|waiter| waiter.due.div_euclid(1_000).max(0)).sum::<i64>();
        if granted < want && whole >= 1 && mine.due >= 0 {
            granted += 1;
        }
        if granted == want {
            bucket.waiters.remove(name);
            return (granted, 0);
        }
        let due = mine.due - granted * 1_000;
        let (wait, each) = (wait as f64, pace * total as f64 / f64::from(wish.weight) / 1_000.0);
        let (its_own, debt) = (each * (1_000 - due).max(0) as f64, each * (-due).max(0) as f64);
        let due_in = if pace < 20_000.0 { wait.max(its_own) } else { (wait + debt).max(its_own / 4.0) };
        let back = (due_in.ceil() as i64).clamp(20_000, 250_000);
        let waits =
            Waiter { weight: mine.weight, want: want - granted, due, until: now + 2 * back + 100_000 };
        bucket.waiters.insert(name.clone(), waits);
        (granted, back)
    }
}

/// How many tokens a second are lent, so that they come home evenly.
fn even_rate(limit: i64, home: i64, period: i64, until_next: Option<i64>) -> f64 {
    let (limit, home) = (limit as f64, home as f64);
    let even = limit * 1_000_000.0 / period as f64;
    let (least, most) = (0.95_f64.max(1.05 - limit / 1_000.0), 1.02_f64.max(1.0 + 3.0 / limit));
    let rate = even * most.min(least.max(1.0 + 2.0 * (home / limit - 1.0 / 64.0)));
    let gap = until_next.map_or(0.0, |until| until as f64 / 1_000_000.0);
    if gap * even > 5.0 && home >= 1.0 { rate.min(home / gap) } else { rate }
}
