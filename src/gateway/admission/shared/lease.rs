//! One ceiling's tokens on loan: which are at hand, how many are wanted, and what is to be reported. Pure arithmetic.
//!
//! A loan ends at a moment of this process's own clock, counted from before the command left. A token of it is used by
//! then or not at all; what became of it is reported when the store is spoken to next. Without the store, a ceiling's
//! [`Part`] stands in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::contact::{Contact, May, Standing};
use super::part::Part;
use super::protocol::{Kind, LEASE, Loan, Report, Wish, micros};
use crate::gateway::admission::Guarantee;
use crate::gateway::admission::tokens::{InTransit, Release, Tokens};
use crate::model::ceiling::Ceiling;

/// One ceiling that several replicas share.
#[derive(Debug)]
pub(in crate::gateway::admission) struct Leases {
    id: Arc<str>,
    contact: Arc<Contact>,
    ceilings: Vec<Ceiling>,
    release: Release,
    /// Tokens at hand, those first whose loan ends first.
    lots: VecDeque<Lot>,
    reports: Vec<Done>,
    demand: Demand,
    /// When the store said to come back, if it could not lend all that was wanted.
    back: Option<Instant>,
    part: Option<Part>,
    /// Of how many times that the part was spent the store was told what was sent.
    registered: u64,
    /// How many parts there were: their tokens are numbered apart.
    parts: u64,
    /// How often its periods changed.
    generation: u64,
}

#[derive(Debug)]
struct Lot {
    loan: Borrowed,
    left: u32,
}

/// By what a token on loan is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway::admission) struct Borrowed {
    base: i64,
    epoch: u64,
    generation: u64,
    until: Instant,
}

/// What stands behind a call's token of a shared ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway::admission) enum Backing {
    /// A token on loan.
    Loan(Borrowed),
    /// One of this replica's part, which must leave by then.
    Part { number: u64, until: Instant },
}

/// What became of a token.
#[derive(Debug, Clone, Copy)]
struct Done {
    kind: Kind,
    loan: Borrowed,
    at: Instant,
    count: u32,
}

/// How many tokens a second are used.
#[derive(Debug)]
struct Demand {
    rate: f64,
    since: Instant,
    taken: u32,
    /// When the latest was used.
    latest: Option<Instant>,
    /// Whether the only one since the last look came long after the one before.
    is_lone: bool,
}

impl Leases {
    pub(in crate::gateway::admission) fn new(
        id: Arc<str>,
        contact: Arc<Contact>,
        ceilings: &[Ceiling],
        release: Release,
        now: Instant,
    ) -> Self {
        let registered = contact.standing().spent();
        Self {
            id,
            contact,
            ceilings: ceilings.to_vec(),
            release,
            lots: VecDeque::new(),
            reports: Vec::new(),
            demand: Demand { rate: 0.0, since: now, taken: 0, latest: None, is_lone: false },
            back: None,
            part: None,
            registered,
            parts: 0,
            generation: 0,
        }
    }

    /// The tokens of this replica's part, while it is all that may be spent.
    pub(in crate::gateway::admission) fn part(&self) -> Option<&Tokens> {
        self.part.as_ref().map(Part::tokens)
    }

    /// Other ceilings take hold. What is on loan under periods that are gone is left to come home by itself.
    pub(in crate::gateway::admission) fn set(&mut self, ceilings: &[Ceiling], release: Release) {
        let periods =
            |ceilings: &[Ceiling]| ceilings.iter().map(|ceiling| ceiling.period).collect::<Vec<_>>();
        if periods(&self.ceilings) != periods(ceilings) {
            self.lots.clear();
            self.reports.clear();
            self.generation += 1;
        }
        self.ceilings = ceilings.to_vec();
        self.release = release;
        if let Some(part) = &mut self.part {
            part.set(ceilings, self.contact.standing().terms(), release);
        }
    }

    /// Whether a call may leave now, as far as this says.
    pub(in crate::gateway::admission) fn is_open(&self, now: Instant) -> bool {
        let standing = self.contact.standing();
        match standing.may(self.longest(), now) {
            May::Borrow => self.lots.iter().any(|lot| lot.loan.until > now),
            // A loan from before is as good as it was.
            _ if self.lots.iter().any(|lot| lot.loan.until > now) => true,
            May::Spend { .. } => {
                self.part.as_ref().is_some_and(|part| part.open_until(&standing, now).is_some())
            }
            May::Rest { .. } => false,
        }
    }

    /// When to look again, if it is not open.
    pub(in crate::gateway::admission) fn opens_at(&self, now: Instant) -> Instant {
        let standing = self.contact.standing();
        match standing.may(self.longest(), now) {
            // Whoever brings a loan looks by itself.
            May::Borrow => now + LEASE,
            May::Spend { .. } => self.part.as_ref().map_or(now, |part| part.opens_at(&standing, now)),
            May::Rest { until } => until.unwrap_or(now + LOOK_AGAIN).min(now + LOOK_AGAIN),
        }
    }

    /// The earliest moment of a turn, as far as is known.
    pub(in crate::gateway::admission) fn earliest(&self, now: Instant) -> Instant {
        match self.contact.standing().may(self.longest(), now) {
            May::Borrow => now,
            May::Spend { .. } => self.opens_at(now),
            May::Rest { until } => until.unwrap_or(now + NOT_SOON),
        }
    }

    /// Takes a token; it is open.
    pub(in crate::gateway::admission) fn take(&mut self, now: Instant) -> Option<Backing> {
        self.demand.took(now);
        self.expire(now);
        if let Some(lot) = self.lots.front_mut() {
            lot.left -= 1;
            let loan = lot.loan;
            if lot.left == 0 {
                self.lots.pop_front();
            }
            return Some(Backing::Loan(loan));
        }
        let standing = self.contact.standing();
        let May::Spend { until } = standing.may(self.longest(), now) else { return None };
        let (number, part) = (self.parts, self.part.as_mut()?);
        let open_until = part.open_until(&standing, now)?;
        part.take(&standing, now);
        Some(Backing::Part { number, until: until.min(open_until) })
    }

    /// A call found nothing at hand that could not wait for it.
    pub(in crate::gateway::admission) fn missed(&mut self, now: Instant) {
        self.demand.took(now);
        // The next one should find something.
        self.demand.is_lone = false;
    }

    /// Brings it up to `now`. Says whether a part begins.
    pub(in crate::gateway::admission) fn settle(&mut self, now: Instant) -> bool {
        if let Some(part) = &mut self.part {
            part.settle(now);
            return false;
        }
        let standing = self.contact.standing();
        let may_spend = matches!(standing.may(self.longest(), now), May::Spend { .. });
        if may_spend {
            self.parts += 1;
            let number = (self.parts << 40) | (1 << 63);
            self.part = Some(Part::new(&self.ceilings, standing.terms(), self.release, number));
        }
        may_spend
    }

    /// Whether a call with this backing may still leave.
    pub(in crate::gateway::admission) fn stands(&self, backing: Backing, now: Instant) -> bool {
        match backing {
            Backing::Loan(loan) => now < loan.until,
            Backing::Part { number, until } => {
                let may = self.contact.standing().may(self.longest(), now);
                now < until && number == self.parts && matches!(may, May::Spend { .. })
            }
        }
    }

    /// Nothing was sent with it.
    pub(in crate::gateway::admission) fn give_back(&mut self, backing: Backing, now: Instant) {
        match backing {
            Backing::Loan(loan) if now < loan.until && loan.generation == self.generation => {
                let place = self.lots.partition_point(|lot| lot.loan.until <= loan.until);
                match place.checked_sub(1).and_then(|before| self.lots.get_mut(before)) {
                    Some(lot) if lot.loan == loan => lot.left += 1,
                    _ => self.lots.insert(place, Lot { loan, left: 1 }),
                }
            }
            Backing::Loan(loan) => self.report(Kind::Unused, loan, now, 1),
            Backing::Part { number, .. } if number == self.parts => {
                if let Some(part) = &mut self.part {
                    part.give_back();
                }
            }
            Backing::Part { .. } => {}
        }
    }

    /// The last byte left. Gives the part's token, where it is one.
    pub(in crate::gateway::admission) fn sent(
        &mut self,
        backing: Backing,
        granted: Instant,
        now: Instant,
    ) -> Option<InTransit> {
        match backing {
            Backing::Loan(loan) => {
                match self.release.guarantee {
                    Guarantee::Dispatch if now > loan.until => self.report(Kind::Late, loan, now, 1),
                    Guarantee::Dispatch => self.report(Kind::Answered, loan, now, 1),
                    Guarantee::Arrival if now > loan.until => {
                        self.report(Kind::Late, loan, now + self.release.transit_max, 1);
                    }
                    Guarantee::Arrival => {}
                }
                None
            }
            Backing::Part { number, .. } if number == self.parts => {
                self.part.as_mut().map(|part| part.sent(granted, now))
            }
            Backing::Part { .. } => None,
        }
    }

    /// The answer came; `sent`: when the last byte left.
    pub(in crate::gateway::admission) fn answered(
        &mut self,
        backing: Backing,
        token: Option<InTransit>,
        sent: Instant,
        now: Instant,
    ) {
        match (backing, token) {
            // What left late is known by another name by now, and comes home by itself.
            (Backing::Loan(loan), _)
                if sent <= loan.until && self.release.guarantee == Guarantee::Arrival =>
            {
                self.report(Kind::Answered, loan, now, 1);
            }
            (Backing::Part { number, .. }, Some(token)) if number == self.parts => {
                if let Some(part) = &mut self.part {
                    part.answered(token, now);
                }
            }
            _ => {}
        }
    }

    /// How many tokens are at hand.
    pub(in crate::gateway::admission) fn at_hand(&self, now: Instant) -> u32 {
        self.lots.iter().filter(|lot| lot.loan.until > now).map(|lot| lot.left).sum()
    }

    /// Whether nothing is at hand, wanted or to be told.
    pub(in crate::gateway::admission) fn is_idle(&self) -> bool {
        self.lots.is_empty() && self.reports.is_empty() && self.demand.taken == 0 && self.demand.rate < IDLE
    }

    /// When to speak with the store next; `waiting`: how many calls wait. `None`: there is nothing to say.
    pub(in crate::gateway::admission) fn due(&self, waiting: usize, now: Instant) -> Option<Instant> {
        if self.is_idle() && waiting == 0 {
            return None;
        }
        let regular = self.demand.since + ASK_EVERY;
        let at_hand = self.at_hand(now);
        let is_short = waiting > 0 && at_hand == 0;
        let is_low = f64::from(at_hand) < self.target() / 4.0 && self.demand.taken > 0;
        let regular = self.lots.front().map_or(regular, |lot| regular.min(lot.loan.until));
        Some(match self.back {
            Some(back) if is_short => back,
            Some(back) if is_low => back.min(regular),
            _ if is_short => now,
            _ if is_low => (self.demand.since + ASK_EVERY / 4).min(regular),
            _ => regular,
        })
    }

    /// What to say to the store now, if anything; `weight`: what those weigh who wait.
    pub(in crate::gateway::admission) fn wish(
        &mut self,
        waiting: usize,
        weight: u32,
        standing: &Standing,
        now: Instant,
    ) -> Option<Wish> {
        self.expire(now);
        self.demand.look(now);
        let at_hand = self.at_hand(now);
        let most = self.ceilings.iter().map(|ceiling| ceiling.limit.get()).min().unwrap_or(1);
        let at_once = u32::try_from(waiting).unwrap_or(u32::MAX).min((most / 4).max(1));
        let want = (self.target().ceil() as u32).saturating_add(at_once).saturating_sub(at_hand).min(most);
        let registers = self.registered != standing.spent();
        let mut reports = self.take_reports(now);
        if let Some(part) = self.part.take() {
            reports.extend(part.reports(standing.terms(), now));
            self.parts += 1;
        }
        self.registered = standing.spent();
        (want > 0 || self.back.is_some() || registers || !reports.is_empty()).then(|| Wish {
            id: Arc::clone(&self.id),
            want,
            weight: weight.max(1),
            periods: self.ceilings.clone(),
            registers,
            reports,
        })
    }

    /// What came of a wish that left at `sent`, in the epoch of this number.
    pub(in crate::gateway::admission) fn lent(
        &mut self,
        loan: Loan,
        want: u32,
        epoch: u64,
        sent: Instant,
        now: Instant,
    ) {
        if loan.granted > 0 {
            let borrowed =
                Borrowed { base: loan.base, epoch, generation: self.generation, until: sent + LEASE };
            self.lots.push_back(Lot { loan: borrowed, left: loan.granted });
        }
        self.back = (loan.granted < want && loan.back > 0)
            .then(|| now + Duration::from_micros(loan.back.unsigned_abs()));
    }

    /// The store has forgotten what it knew: calls that were answered at these moments are told of.
    pub(in crate::gateway::admission) fn remember(
        &mut self,
        answered: impl Iterator<Item = Instant>,
        now: Instant,
    ) {
        for at in answered {
            let loan = Borrowed { base: 0, epoch: u64::MAX, generation: self.generation, until: now };
            self.report(Kind::Unknown, loan, at, 1);
        }
    }

    /// How long its longest period is.
    pub(in crate::gateway::admission) fn longest_period(&self) -> Duration {
        self.longest()
    }

    /// Reports of another epoch than this mean nothing any more.
    pub(in crate::gateway::admission) fn enter(&mut self, epoch: u64) {
        self.reports.retain(|done| done.kind == Kind::Unknown || done.loan.epoch == epoch);
    }

    /// The tokens that are enough until the next command is answered.
    fn target(&self) -> f64 {
        if self.demand.rate < IDLE { 0.0 } else { self.demand.rate * ENOUGH_FOR + 1.0 }
    }

    fn longest(&self) -> Duration {
        self.ceilings.iter().map(|ceiling| ceiling.period).max().unwrap_or_default()
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&Lot { loan, left }) = self.lots.front().filter(|lot| lot.loan.until <= now) {
            self.lots.pop_front();
            self.report(Kind::Unused, loan, now, left);
        }
    }

    fn report(&mut self, kind: Kind, loan: Borrowed, at: Instant, count: u32) {
        // The store reckons with the worst where nothing is told.
        if loan.generation == self.generation && self.reports.len() < MOST_REPORTS {
            self.reports.push(Done { kind, loan, at, count });
        }
    }

    /// Those of one loan within a few milliseconds become one, as old as the youngest.
    fn take_reports(&mut self, now: Instant) -> Vec<Report> {
        let mut done = std::mem::take(&mut self.reports);
        done.sort_by_key(|done| (done.kind, done.loan.base, done.at));
        let mut reports: Vec<Report> = Vec::new();
        for Done { kind, loan, at, count } in done {
            let age = if at > now { -micros(at - now) } else { micros(now - at) };
            match reports.last_mut() {
                Some(last)
                    if (last.kind, last.base) == (kind, loan.base)
                        && (kind == Kind::Unused || are_together(last.age, age)) =>
                {
                    last.age = last.age.min(age);
                    last.count += count;
                }
                _ => reports.push(Report { kind, base: loan.base, count, age }),
            }
        }
        reports
    }
}

// === impl Backing ===

impl Backing {
    /// Until when a call with it may leave.
    pub(in crate::gateway::admission) fn until(self) -> Instant {
        match self {
            Self::Loan(loan) => loan.until,
            Self::Part { until, .. } => until,
        }
    }
}

// === impl Demand ===

impl Demand {
    fn took(&mut self, now: Instant) {
        let is_soon = self.latest.is_some_and(|latest| now < latest + LONE_AFTER);
        self.is_lone = self.taken == 0 && !is_soon;
        self.taken = self.taken.saturating_add(1);
        self.latest = Some(now);
    }

    fn look(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since).as_secs_f64();
        // One that came alone does not tell of more: what is borrowed ahead for them would come home unused.
        let taken = if self.is_lone { 0 } else { self.taken };
        let latest = f64::from(taken) / elapsed.max(SHORTEST);
        let kept = self.rate * (-elapsed / FORGETS_IN).exp();
        self.rate = if latest > kept { kept + (latest - kept) * LEARNS } else { kept.max(latest) };
        (self.since, self.taken) = (now, 0);
    }
}

/// Whether what happened so long ago is told of together.
pub(super) fn are_together(age: i64, other: i64) -> bool {
    age.div_euclid(TOGETHER) == other.div_euclid(TOGETHER)
}

/// In microseconds.
const TOGETHER: i64 = 5_000;
/// How often the store is spoken to while calls come and tokens are at hand.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// For how many seconds the tokens at hand should be enough.
const ENOUGH_FOR: f64 = 0.16;
/// Fewer calls a second than this need no tokens at hand.
const IDLE: f64 = 0.5;
/// A call that comes so long after the one before is alone.
const LONE_AFTER: Duration = Duration::from_millis(500);
/// Seconds in which a demand that is over is mostly forgotten.
const FORGETS_IN: f64 = 0.1;
/// How much of a higher demand is believed at once.
const LEARNS: f64 = 0.5;
/// A demand is not told from a shorter time than this many seconds.
const SHORTEST: f64 = 0.02;
/// More are not kept: the store then has those tokens for longer away than they are.
const MOST_REPORTS: usize = 100_000;
/// How soon to look again where nobody knows when the store is back.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Later than any call waits.
const NOT_SOON: Duration = Duration::from_secs(60);
