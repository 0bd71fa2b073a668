//! One ceiling in use: its tokens, the pace at which they go, and the budget that Tencent leaves it.

use std::time::Duration;

use tokio::time::Instant;

use super::adapt::{Budget, Cut};
use super::pace::Pace;
use super::shared::Leases;
use super::tokens::{InTransit, Release, Tokens};
use super::{ColdStart, Guarantee};
use crate::model::ceiling::Ceiling;

/// What is set about one ceiling.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rules {
    /// One for each period, the one that adapts first; at least one.
    pub(super) ceilings: Vec<Ceiling>,
    /// Turns at once after idle time; 0: half of the first ceiling.
    pub(super) burst: u32,
    pub(super) guarantee: Guarantee,
    pub(super) transit_max: Duration,
    pub(super) cold_start: ColdStart,
}

/// One ceiling in use. What every call touches stands side by side, the rules apart: `repr(C)` keeps the order.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Bucket {
    rules: Rules,
    budget: Budget,
    used_at: Instant,
    number: u64,
    /// What of it is on loan, where other replicas share it. Apart, since it is large (384 bytes) and most ceilings are this
    /// process's alone.
    leases: Option<Box<Leases>>,
    pace: Pace,
    tokens: Tokens,
}

impl Bucket {
    /// A ceiling of which nothing is in use. Its `number` tells it from all that are or were in its place; the process began
    /// to send at `started`.
    pub(super) fn new(rules: Rules, number: u64, started: Instant, now: Instant) -> Self {
        // No two number their tokens alike, so that a late answer finds its own or none.
        let tokens = Tokens::new(&rules.ceilings, rules.release(), number << 40);
        let mut pace = Pace::new(rules.burst(), started + CALM, now);
        if rules.cold_start == ColdStart::Wait {
            pace.close(started + CALM + rules.transit_max);
        }
        let budget = Budget::new(tokens.first().0, now);
        Self { rules, tokens, pace, budget, used_at: now, number, leases: None }
    }

    /// From now on a call also needs a token on loan.
    pub(super) fn share(&mut self, leases: impl FnOnce(&[Ceiling], Release) -> Leases) {
        self.leases = Some(Box::new(leases(&self.rules.ceilings, self.rules.release())));
    }

    /// What is on loan, where other replicas share it.
    pub(super) fn leases(&mut self) -> Option<&mut Leases> {
        self.leases.as_deref_mut()
    }

    /// The store has forgotten what it knew of it.
    pub(super) fn remind(&mut self, now: Instant) {
        if let Some(leases) = self.leases.as_mut().filter(|leases| leases.longest_period() > KNOWN_AGAIN) {
            leases.remember(self.tokens.longest_released(), now);
        }
    }

    /// Tells it from all that are or were in its place.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// New rules take hold, if they differ. Tokens that are away stay counted, and a cut stays in force.
    pub(super) fn set_rules(&mut self, rules: &Rules) {
        if self.rules == *rules {
            return;
        }
        self.tokens.set_ceilings(&rules.ceilings);
        self.tokens.set_release(rules.release());
        self.budget.set_ceiling(self.tokens.first().0);
        self.pace.set_burst(rules.burst());
        self.rules = rules.clone();
        if let Some(leases) = &mut self.leases {
            leases.set(&rules.ceilings, rules.release());
        }
    }

    /// Brings everything up to `now`. `waiting`: whether calls wait for it.
    pub(super) fn settle(&mut self, waiting: bool, now: Instant) {
        // The pace looks at the stretch that is past, so at the tokens as they were in it.
        let Self { pace, tokens, leases, .. } = &mut *self;
        pace.advance(paced_by(tokens, leases.as_deref()), waiting, now);
        self.settle_tokens(now);
        if let Some(leases) = &mut self.leases
            && leases.settle(now)
            && let Some(part) = leases.part()
        {
            let (ceiling, _) = part.first();
            self.pace.rested(f64::from(ceiling.limit.get()));
        }
    }

    /// Whether a call that ignores the pace may leave now: a token is at home, and nothing forbids every turn. Settled by
    /// whoever asks.
    pub(super) fn is_home(&self, now: Instant) -> bool {
        self.tokens.is_home() && self.pace.closed_until() <= now && self.is_lent(now)
    }

    /// Whether a call may leave now: a token is at home, and it is time for a turn. Settled by whoever asks.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.tokens.is_home() && self.pace.is_open(now) && self.is_lent(now)
    }

    fn is_lent(&self, now: Instant) -> bool {
        self.leases.as_ref().is_none_or(|leases| leases.is_open(now))
    }

    /// When to look again, if it is not ready: it cannot be ready earlier unless a call gives its token back.
    pub(super) fn ready_at(&self, now: Instant) -> Instant {
        let own = self.tokens.turn(0, now).max(self.pace.opens_at(self.paced_by(), now));
        match &self.leases {
            Some(leases) if !leases.is_open(now) => own.max(leases.opens_at(now)),
            _ => own,
        }
    }

    /// The earliest moment at which a call that waits behind `ahead` others may leave, if all goes as well as it can.
    pub(super) fn turn(&self, ahead: usize, now: Instant) -> Instant {
        self.tokens
            .turn(ahead, now)
            .max(self.pace.turn(self.paced_by(), ahead, now))
            .max(self.earliest_lent(now))
    }

    fn paced_by(&self) -> &Tokens {
        paced_by(&self.tokens, self.leases.as_deref())
    }

    fn earliest_lent(&self, now: Instant) -> Instant {
        self.leases.as_ref().map_or(now, |leases| leases.earliest(now))
    }

    /// The earliest moment at which a call that waits for no pace may have a token, with nobody before it.
    pub(super) fn next_home(&self, now: Instant) -> Instant {
        self.tokens.turn(0, now).max(self.pace.closed_until()).max(self.earliest_lent(now))
    }

    /// A call takes a token, which is at home.
    pub(super) fn take(&mut self, now: Instant) {
        self.tokens.take();
        self.pace.take();
        self.used_at = now;
    }

    /// Whether a call that has a token of it may still leave: not while more are away than there are by now.
    pub(super) fn confirms(&mut self, now: Instant) -> bool {
        self.settle_tokens(now);
        self.tokens.are_enough()
    }

    /// A token comes back whose call never wrote a byte.
    pub(super) fn give_back(&mut self) {
        self.tokens.give_back();
        self.pace.give_back();
    }

    /// The last byte of a call was handed to the kernel; it was granted at `granted`.
    pub(super) fn sent(&mut self, granted: Instant, now: Instant) -> InTransit {
        self.used_at = now;
        self.tokens.sent(granted, now)
    }

    /// The first byte of an answer came.
    pub(super) fn answered(&mut self, token: InTransit, now: Instant) {
        self.settle_budget(now);
        self.tokens.answered(token, now);
    }

    /// Calls that nobody counted are reckoned to have arrived now.
    pub(super) fn reckon(&mut self, calls: u32, now: Instant) {
        self.tokens.reckon(calls, now);
    }

    /// Tencent said too frequent: leaves `share` of what is in use, once a second.
    pub(super) fn cut(&mut self, share: f64, now: Instant) -> Option<Cut> {
        self.settle(true, now);
        let (_, used) = self.tokens.first();
        let cut = self.budget.cut(share, used, now)?;
        self.tokens.set_first(self.budget.grow(now));
        Some(cut)
    }

    /// No turn before `until`.
    pub(super) fn close(&mut self, until: Instant) {
        self.pace.close(until);
    }

    /// Whether nothing was taken off by Tencent.
    pub(super) fn is_whole(&self) -> bool {
        self.budget.is_whole()
    }

    /// Whether it can be forgotten: nothing is away, nothing taken off, and so it has been for a while.
    pub(super) fn is_forgettable(&mut self, now: Instant) -> bool {
        self.settle(false, now);
        let longest = self.rules.ceilings.iter().map(|ceiling| ceiling.period).max().unwrap_or_default();
        let idle_since = self.used_at + longest + self.rules.transit_max + KEPT_IDLE;
        let is_settled = self.leases.as_ref().is_none_or(|leases| leases.is_idle());
        self.tokens.is_idle() && self.budget.is_whole() && is_settled && idle_since <= now
    }

    /// Every period's ceiling, with how many of its tokens are not at home.
    pub(super) fn standing(&mut self, now: Instant) -> impl Iterator<Item = (Ceiling, u32)> {
        self.settle_tokens(now);
        self.tokens.standing()
    }

    /// The same as the books stand. Settled by whoever asks.
    pub(super) fn settled(&self) -> impl Iterator<Item = (Ceiling, u32)> {
        self.tokens.standing()
    }

    /// The first period's ceiling, and how many of its tokens are not at home.
    pub(super) fn first(&mut self, now: Instant) -> (Ceiling, u32) {
        self.settle_tokens(now);
        self.tokens.first()
    }

    /// How many calls were not answered within `transit_max`.
    pub(super) fn unproven(&self) -> u64 {
        self.tokens.unproven()
    }

    fn settle_tokens(&mut self, now: Instant) {
        self.settle_budget(now);
        self.tokens.settle(now);
    }

    fn settle_budget(&mut self, now: Instant) {
        if !self.budget.is_whole() {
            self.tokens.set_first(self.budget.grow(now));
        }
    }
}

// === impl Rules ===

impl Rules {
    fn release(&self) -> Release {
        Release { guarantee: self.guarantee, transit_max: self.transit_max }
    }

    fn burst(&self) -> u32 {
        let limit = self.ceilings.first().map_or(1, |ceiling| ceiling.limit.get());
        if self.burst == 0 { limit / 2 } else { self.burst.min(limit) }
    }
}

/// The tokens that set the pace: those of a part, while it is all that may be spent.
fn paced_by<'a>(tokens: &'a Tokens, leases: Option<&'a Leases>) -> &'a Tokens {
    leases.and_then(Leases::part).unwrap_or(tokens)
}

/// No burst, or nothing, for so long after the process began: an earlier one may have used the ceiling up.
const CALM: Duration = Duration::from_secs(1);
/// Of shorter periods the store knows everything again by the time that it lends.
const KNOWN_AGAIN: Duration = Duration::from_secs(1);
/// How long an idle ceiling is remembered beyond what its proof needs.
const KEPT_IDLE: Duration = Duration::from_secs(60);
