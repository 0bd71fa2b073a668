//! What one ceiling may send while the store is lost: this replica's part of it. Pure arithmetic.
//!
//! Where the ceiling has at least as many tokens as there may be replicas, each has so many of its own, in the same kind of
//! book as the whole ceiling. Where it has fewer, replicas take turns by slots of time: in each slot, which is longer than
//! a period and the longest transit, no more of them may send a call than the ceiling has tokens, one each.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use super::contact::{Slot, Standing};
use super::lease::are_together;
use super::protocol::{Kind, Report, SLOT_MORE, Terms, micros};
use crate::gateway::admission::tokens::{InTransit, Release, Tokens};
use crate::model::ceiling::Ceiling;

/// This replica's part of one ceiling.
#[derive(Debug)]
pub(super) struct Part {
    tokens: Tokens,
    /// Of the periods that go by slots, how long a slot is, and how many groups take turns.
    slots: Vec<(Duration, u32)>,
    /// The slots in which a call left last, one for each of those periods.
    used: Vec<i64>,
}

impl Part {
    pub(super) fn new(ceilings: &[Ceiling], terms: &Terms, release: Release, number: u64) -> Self {
        let most = terms.max_replicas;
        let own = |ceiling: &Ceiling| {
            let limit = NonZeroU32::new(ceiling.limit.get() / most).unwrap_or(NonZeroU32::MIN);
            Ceiling { limit, period: ceiling.period }
        };
        let by_slots = ceilings.iter().filter(|ceiling| ceiling.limit.get() < most).map(|ceiling| {
            (ceiling.period + terms.transit_max + SLOT_MORE, most.div_ceil(ceiling.limit.get()))
        });
        let slots: Vec<_> = by_slots.collect();
        let own: Vec<_> = ceilings.iter().map(own).collect();
        Self { tokens: Tokens::new(&own, release, number), used: vec![i64::MIN; slots.len()], slots }
    }

    /// Its tokens.
    pub(super) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Other ceilings take hold; what was sent stays counted.
    pub(super) fn set(&mut self, ceilings: &[Ceiling], terms: &Terms, release: Release) {
        let Self { slots, tokens, .. } = Self::new(ceilings, terms, release, 0);
        let own: Vec<_> = tokens.standing().map(|(ceiling, _)| ceiling).collect();
        self.tokens.set_ceilings(&own);
        self.tokens.set_release(release);
        if self.slots != slots {
            self.used = vec![i64::MIN; slots.len()];
            self.slots = slots;
        }
    }

    /// Until when a call may leave that has its turn now; `None`: none may.
    pub(super) fn open_until(&self, standing: &Standing, now: Instant) -> Option<Instant> {
        if !self.tokens.is_home() {
            return None;
        }
        let mut open_until = now + LONG;
        for (&(length, groups), &used) in self.slots.iter().zip(&self.used) {
            match standing.slot(length, groups, now) {
                Slot::Open { number, until } if number > used => open_until = open_until.min(until),
                _ => return None,
            }
        }
        Some(open_until)
    }

    /// When to look again.
    pub(super) fn opens_at(&self, standing: &Standing, now: Instant) -> Instant {
        let slots = self.slots.iter().zip(&self.used).map(|(&(length, groups), &used)| {
            match standing.slot(length, groups, now) {
                Slot::Open { number, .. } if number > used => now,
                Slot::Open { until, .. } => until,
                Slot::Opens(at) => at,
                Slot::Never => now + NOT_SOON,
            }
        });
        slots.fold(self.tokens.turn(0, now), Instant::max)
    }

    pub(super) fn take(&mut self, standing: &Standing, now: Instant) {
        self.tokens.take();
        for (&(length, groups), used) in self.slots.iter().zip(&mut self.used) {
            if let Slot::Open { number, .. } = standing.slot(length, groups, now) {
                *used = number;
            }
        }
    }

    pub(super) fn give_back(&mut self) {
        self.tokens.give_back();
    }

    pub(super) fn sent(&mut self, granted: Instant, now: Instant) -> InTransit {
        self.tokens.sent(granted, now)
    }

    pub(super) fn answered(&mut self, token: InTransit, now: Instant) {
        self.tokens.answered(token, now);
    }

    pub(super) fn settle(&mut self, now: Instant) {
        self.tokens.settle(now);
    }

    /// What the store has to know of the calls that were sent.
    pub(super) fn reports(mut self, terms: &Terms, now: Instant) -> Vec<Report> {
        self.tokens.settle(now);
        let report = |age: i64, count| Report { kind: Kind::Unknown, base: 0, count, age };
        let released = self.tokens.longest_released();
        let mut reports: Vec<Report> = Vec::new();
        for at in released {
            let age = micros(now.saturating_duration_since(at));
            match reports.last_mut() {
                // Told as a little younger than it is.
                Some(last) if are_together(last.age, age) => {
                    last.age = last.age.min(age);
                    last.count += 1;
                }
                _ => reports.push(report(age, 1)),
            }
        }
        let under_way = self.tokens.under_way();
        if under_way > 0 {
            reports.push(report(-micros(terms.transit_max), under_way));
        }
        reports
    }
}

/// Later than any call waits.
const NOT_SOON: Duration = Duration::from_secs(60);
/// Beyond every slot.
const LONG: Duration = Duration::from_secs(365 * 24 * 3600);
