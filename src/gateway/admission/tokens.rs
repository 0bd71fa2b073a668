//! The tokens of one ceiling: which are at home, which are out, and when each comes back. Pure arithmetic: every
//! method takes the present moment, and nothing here waits.
//!
//! # Why no second sees more than the ceiling
//!
//! A ceiling of N calls a period P is N tokens. A call needs one to leave, and a token serves one call at a time.
//!
//! - A token is **out** from the grant until the last byte of the request was handed to the kernel, then **in transit**.
//! - Its call arrives upstream at some moment `a`, not before its first byte was written. If the call was answered,
//!   `a` is not after the answer's first byte. If not, `a` is at most `transit_max` after the last byte was handed
//!   over: that is the one assumption, and answers that took longer are counted ([`Tokens::unproven`]).
//! - The token comes **home** at `h = P + min(answer's first byte, last byte sent + transit_max)`. Hence `h >= a + P`.
//! - Its next call is granted at or after `h`, so its first byte is written, and it arrives, at or after `a + P`.
//!
//! So two arrivals by one token are at least P apart, and a window `[t, t+P)` holds at most one arrival of each of the
//! N tokens: at most N in all, however much the network's delay varies below `transit_max` and wherever the window
//! starts. A call of which no byte was ever written never arrives, so its token is home at once.
//!
//! With [`Guarantee::Dispatch`] the token comes home P after sending, whatever happens:
//! then no second sees more than N *leave*.
//!
//! # Cost
//!
//! Tokens that nobody took cost nothing; one that was taken is one entry in a queue. Answers come in any order, but
//! homecomings are found in the order of time, so the queues stay sorted by appending and each step is O(1) amortised.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use super::{ColdStart, Guarantee};

/// A ceiling: so many calls in any span of one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ceiling {
    /// How many calls.
    pub(crate) limit: NonZeroU32,
    /// In how long a span.
    pub(crate) period: Duration,
}

impl Ceiling {
    /// A share of so many calls a second. Below one call a second it is one call in a longer period.
    pub(crate) fn part_of(per_second: NonZeroU32, share: f64) -> Self {
        let exact = f64::from(per_second.get()) * share;
        // The small addition undoes what binary fractions lose: 100 × 0.29 is 28.999…
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and per_second"
        )]
        match NonZeroU32::new((exact + 1e-9) as u32) {
            Some(limit) => Self { limit, period: SECOND },
            None => Self { limit: NonZeroU32::MIN, period: SECOND.div_f64(exact.max(LEAST_RATE)) },
        }
    }
}

/// What decides when a token comes home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) ceiling: Ceiling,
    pub(super) guarantee: Guarantee,
    pub(super) transit_max: Duration,
}

/// The state of one ceiling.
#[derive(Debug)]
pub(super) struct Tokens {
    rules: Rules,
    /// Until when fewer than the limit may be used, since nobody knows what an earlier process sent.
    cold: Option<Cold>,
    /// Granted, last byte not yet sent.
    out: u32,
    /// Sent, in the order of sending; those answered stay until they reach the front.
    in_transit: VecDeque<Sent>,
    /// The number of the entry at the front of `in_transit`.
    front: u64,
    /// How many entries of `in_transit` are not answered.
    unanswered: u32,
    /// When each token that is on its way comes home, in the order of time.
    returning: VecDeque<Instant>,
    unproven: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Instant,
    answered: bool,
}

#[derive(Debug, Clone, Copy)]
struct Cold {
    mode: ColdStart,
    since: Instant,
    until: Instant,
}

/// Names a token in transit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InTransit(u64);

impl Tokens {
    /// All tokens at home.
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            cold: None,
            out: 0,
            in_transit: VecDeque::new(),
            front: 0,
            unanswered: 0,
            returning: VecDeque::new(),
            unproven: 0,
        }
    }

    /// The tokens of a process that started at `started`: in its first second it is careful, since a process before
    /// it may have used the ceiling up a moment ago.
    pub(super) fn cold(rules: Rules, mode: ColdStart, started: Instant, now: Instant) -> Self {
        let (since, until) = match mode {
            ColdStart::Paced => (now, now + rules.ceiling.period.min(SECOND)),
            ColdStart::Wait => (started, started + SECOND + rules.transit_max),
        };
        let young = now < started + SECOND + rules.transit_max;
        Self { cold: young.then_some(Cold { mode, since, until }), ..Self::new(rules) }
    }

    /// Takes a token, if one is at home.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.settle(now);
        let home = self.allowed(now) > self.used();
        self.out += u32::from(home);
        home
    }

    /// A token comes back whose call never wrote a byte.
    pub(super) fn give_back(&mut self) {
        self.out = self.out.saturating_sub(1);
    }

    /// The last byte of a token's request was handed to the kernel.
    pub(super) fn sent(&mut self, now: Instant) -> InTransit {
        self.settle(now);
        self.out = self.out.saturating_sub(1);
        match self.rules.guarantee {
            Guarantee::Dispatch => {
                self.comes_home(now + self.rules.ceiling.period);
                InTransit(NOT_TRACKED)
            }
            Guarantee::Arrival => {
                self.in_transit.push_back(Sent { at: now, answered: false });
                self.unanswered += 1;
                InTransit(self.front + self.in_transit.len() as u64 - 1)
            }
        }
    }

    /// The first byte of the answer came. Nothing happens when the token was reckoned home already.
    pub(super) fn answered(&mut self, token: InTransit, now: Instant) {
        self.settle(now);
        let entry = token.0.checked_sub(self.front).and_then(|index| usize::try_from(index).ok());
        let entry = entry.and_then(|index| self.in_transit.get_mut(index));
        if let Some(entry) = entry.filter(|entry| !entry.answered) {
            entry.answered = true;
            self.unanswered -= 1;
            self.comes_home(now + self.rules.ceiling.period);
        }
    }

    /// The earliest moment at which a call that waits behind `ahead` others can have a token, if all goes as well as
    /// it can: every call under way is answered now.
    pub(super) fn turn(&self, ahead: usize, now: Instant) -> Instant {
        let limit = self.rules.ceiling.limit.get() as usize;
        let period = self.rules.ceiling.period;
        let used = self.used() as usize;
        // This call goes when homecoming number `used + ahead - limit` happens. The first `used` of them are those
        // of the tokens that are away now; later ones are of calls ahead, each a period after that call went.
        let rounds = match (used + ahead).checked_sub(limit) {
            Some(homecoming) if homecoming >= used => (homecoming - used) / limit + 1,
            _ => 0,
        };
        let first = match (used + ahead).checked_sub(limit + rounds * limit) {
            None => now,
            Some(homecoming) => self.returning.get(homecoming).copied().unwrap_or(now + period),
        };
        let turn = first + period.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
        let cold = self.cold.map_or(now, |cold| cold.turn(self.used() as usize + ahead, self.rules.ceiling));
        turn.max(cold).max(now)
    }

    /// When to look again, if calls wait and no token is at home.
    ///
    /// At most one period ahead: a call that is answered in the meantime brings its token home one period later, so
    /// nobody needs to be told of answers.
    pub(super) fn next_look(&self, now: Instant) -> Instant {
        let home = self.returning.front().copied().unwrap_or(now + self.rules.ceiling.period);
        let home = home.min(now + self.rules.ceiling.period);
        match self.cold {
            Some(cold) if cold.until > now => {
                cold.turn(self.used() as usize, self.rules.ceiling).max(now + LEAST_SLEEP).min(cold.until)
            }
            _ => home.max(now),
        }
    }

    /// New rules take hold; tokens that are out or on their way stay counted, so none is minted.
    pub(super) fn change(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// How many tokens are not at home: out, in transit, or on their way.
    pub(super) fn used(&self) -> u32 {
        self.out + self.unanswered + u32::try_from(self.returning.len()).unwrap_or(u32::MAX)
    }

    /// How many more calls could leave now.
    pub(super) fn at_home(&mut self, now: Instant) -> u32 {
        self.settle(now);
        self.allowed(now).saturating_sub(self.used())
    }

    /// How many calls were not answered within `transit_max`, so that their arrival is not proven.
    pub(super) fn unproven(&self) -> u64 {
        self.unproven
    }

    /// The rules in force.
    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Brings the state up to `now`.
    fn settle(&mut self, now: Instant) {
        while let Some(&Sent { at, answered }) = self.in_transit.front() {
            let overdue = at + self.rules.transit_max;
            if !answered {
                if overdue > now {
                    break;
                }
                self.unanswered -= 1;
                self.unproven += 1;
                self.comes_home(overdue + self.rules.ceiling.period);
            }
            self.in_transit.pop_front();
            self.front += 1;
        }
        while self.returning.front().is_some_and(|&home| home <= now) {
            self.returning.pop_front();
        }
        if self.cold.is_some_and(|cold| cold.until <= now) {
            self.cold = None;
        }
    }

    fn comes_home(&mut self, at: Instant) {
        // Nearly always the latest of all; a change of the rules can put it earlier.
        let place = match self.returning.back() {
            Some(&last) if last > at => self.returning.partition_point(|&other| other <= at),
            _ => self.returning.len(),
        };
        self.returning.insert(place, at);
    }

    fn allowed(&self, now: Instant) -> u32 {
        let limit = self.rules.ceiling.limit.get();
        self.cold.map_or(limit, |cold| cold.allowed(limit, now))
    }
}

// === impl Cold ===

impl Cold {
    /// How many tokens may be used at `now`.
    fn allowed(self, limit: u32, now: Instant) -> u32 {
        match self.mode {
            _ if now >= self.until => limit,
            ColdStart::Wait => 0,
            ColdStart::Paced => {
                let elapsed = now.saturating_duration_since(self.since).as_nanos();
                let span = (self.until - self.since).as_nanos().max(1);
                let grown = u128::from(limit) * elapsed / span;
                u32::try_from(grown + 1).unwrap_or(limit).min(limit)
            }
        }
    }

    /// When a call may go before which `before` tokens are used.
    fn turn(self, before: usize, ceiling: Ceiling) -> Instant {
        match self.mode {
            ColdStart::Wait => self.until,
            ColdStart::Paced => {
                let share = before as f64 / f64::from(ceiling.limit.get());
                self.since + (self.until - self.since).mul_f64(share.min(1.0))
            }
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// Timers are no finer than this, so a shorter sleep would only spin.
const LEAST_SLEEP: Duration = Duration::from_millis(1);
/// One call in about three years: keeps a period within what a clock can add.
const LEAST_RATE: f64 = 1e-8;
/// A token in transit that needs no following.
const NOT_TRACKED: u64 = u64::MAX;
