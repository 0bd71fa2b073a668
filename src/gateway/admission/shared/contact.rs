//! How a replica stands with the store: whether tokens can be borrowed, what it may do without, and until when. Pure
//! arithmetic, but for the one place where everybody can read the present standing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::calibration::{Calibration, Reading};
use super::protocol::{
    LEASE, MEET_EVERY, MISSING_AFTER, Meet, Member, Membership, Opening, Probe, SLOT_OPEN, Terms, micros,
};

/// Where a replica stands, for whoever hands turns out. It changes when something happens, never by time alone.
#[derive(Debug, Clone)]
pub(in crate::gateway::admission) struct Standing {
    terms: Terms,
    phase: Phase,
    /// For part by slots: which one is this replica's, and what time it is at the store.
    slot: Option<u32>,
    slot_clock: Option<(Calibration, i64)>,
    /// How often the store heard that the part was spent: of each ceiling it is to be told once what was sent.
    spent: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The store was never there, since this process began.
    Never { since: Instant },
    /// Tokens can be borrowed from then on.
    InTouch { from: Instant },
    /// Not since the last word that may have been heard. `has_part`: a part is kept for it, since it was a member with a
    /// slot.
    Lost { last: Instant, has_part: bool },
    /// The store is back and lends nothing yet, until then. It heard last at `heard` that the part is still spent.
    Returning { last: Instant, heard: Instant, until: Instant },
}

/// What a ceiling may do at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway::admission) enum May {
    /// Send with what is borrowed.
    Borrow,
    /// Send its part, until then.
    Spend { until: Instant },
    /// Send nothing, until then; `None`: until the store is back.
    Rest { until: Option<Instant> },
}

/// How a replica stands, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreMode {
    /// Tokens are borrowed.
    Shared,
    /// The store was not heard yet, or not for long enough.
    Joining,
    /// The store is lost, and nobody's part may be spent yet.
    Lost,
    /// The store is lost, and each spends its part.
    Degraded,
    /// The store is lost, and this process has no part, or not any more.
    Stopped,
}

/// What is known of the store.
#[derive(Debug)]
pub(in crate::gateway::admission) struct Contact {
    now: ArcSwap<Standing>,
    state: Mutex<State>,
    /// Something is to be said before it is due.
    pub(super) wake: Notify,
}

#[derive(Debug)]
struct State {
    terms: Terms,
    phase: Phase,
    /// Whether the store ever answered anything.
    answered: bool,
    name: Arc<str>,
    incarnation: Arc<str>,
    run: Arc<str>,
    epoch: Arc<str>,
    /// How many epochs there were.
    epochs: u64,
    shift: i64,
    calibration: Option<Calibration>,
    /// Whether this incarnation was ever a member.
    joined: bool,
    slot: i64,
    version: i64,
    members: Vec<Member>,
    /// Members that the store has to be told of, since it may have forgotten them.
    introduce: Vec<Member>,
    /// By how much the store's clock stepped, which it has not been told yet.
    step: i64,
    /// When the last word left that may have made this process a member.
    last_meet: Instant,
    next_meet: Instant,
    spent: u64,
    has_left: bool,
}

/// With what a command begins.
#[derive(Debug, Clone)]
pub(in crate::gateway::admission) struct Open {
    pub(super) opening: Opening,
    pub(super) epoch: Arc<str>,
    /// The epoch's number, as this process counts.
    pub(super) number: u64,
}

/// What changed when something was learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Learnt {
    /// Nothing that matters to ceilings.
    Nothing,
    /// The name belongs to another process; this one has another name from now on.
    Renamed,
    /// The store's clock stepped: whatever came with that answer is void.
    Stepped,
}

// === impl Open ===

impl Open {
    /// The epoch's number, as this process counts.
    pub(in crate::gateway::admission) fn number(&self) -> u64 {
        self.number
    }
}

// === impl Standing ===

impl Standing {
    /// What a ceiling whose longest period is this may do at `now`.
    pub(in crate::gateway::admission) fn may(&self, longest: Duration, now: Instant) -> May {
        match self.phase {
            // If nobody has a store, this may be one of those who have their parts.
            Phase::Never { since } => self.part(since, longest, since + self.terms.absent_for, now),
            Phase::InTouch { from } if now >= from => May::Borrow,
            Phase::InTouch { from } => May::Rest { until: Some(from) },
            Phase::Lost { has_part: false, .. } => May::Rest { until: None },
            Phase::Lost { last, .. } => self.part(last, longest, last + self.terms.absent_for, now),
            Phase::Returning { until, .. } if now >= until => May::Borrow,
            Phase::Returning { last, heard, until } => {
                match self.part(last, longest, (heard + LEASE).min(until), now) {
                    May::Rest { .. } => May::Rest { until: Some(until) },
                    part => part,
                }
            }
        }
    }

    fn part(&self, last: Instant, longest: Duration, until: Instant, now: Instant) -> May {
        let from = self.part_from(last, longest);
        match () {
            () if now >= until || from >= until => May::Rest { until: None },
            () if now < from => May::Rest { until: Some(from) },
            () => May::Spend { until },
        }
    }

    /// How often the store heard that the part was spent.
    pub(super) fn spent(&self) -> u64 {
        self.spent
    }

    /// From when on a part may be spent: by then the store has missed this replica, and what it lent before is home.
    fn part_from(&self, last: Instant, longest: Duration) -> Instant {
        last + self.terms.late() + MISSING_AFTER + self.terms.away(longest)
    }

    /// In a word.
    pub(in crate::gateway::admission) fn mode(&self, now: Instant) -> StoreMode {
        match (self.may(super::protocol::SECOND, now), self.phase) {
            (May::Borrow, _) => StoreMode::Shared,
            (May::Spend { .. }, _) => StoreMode::Degraded,
            (May::Rest { .. }, Phase::InTouch { .. } | Phase::Returning { .. })
            | (May::Rest { until: Some(_) }, Phase::Never { .. }) => StoreMode::Joining,
            (May::Rest { until: Some(_) }, Phase::Lost { .. }) => StoreMode::Lost,
            (May::Rest { until: None }, Phase::Never { .. } | Phase::Lost { .. }) => StoreMode::Stopped,
        }
    }

    /// Which slot's turn it is, of `groups` slots of this length, and whether a call of this replica may leave in it
    /// now; else when its next one opens.
    pub(super) fn slot(&self, length: Duration, groups: u32, now: Instant) -> Slot {
        let (Some(mine), Some((calibration, shift))) = (self.slot, self.slot_clock) else {
            return Slot::Never;
        };
        let (clock, length) = (calibration.middle(now) - shift, micros(length));
        let (number, phase) = (clock.div_euclid(length), clock.rem_euclid(length));
        let (groups, mine) = (i64::from(groups.max(1)), i64::from(mine));
        let ahead = (mine - number).rem_euclid(groups);
        if ahead == 0 && phase < micros(SLOT_OPEN) {
            let open_for = Duration::from_micros((micros(SLOT_OPEN) - phase).unsigned_abs());
            return Slot::Open { number, until: now + open_for };
        }
        let slots = if ahead == 0 { groups } else { ahead };
        let wait = slots.saturating_mul(length) - phase;
        Slot::Opens(now + Duration::from_micros(wait.unsigned_abs()))
    }

    /// How many share the ceilings at most.
    pub(super) fn terms(&self) -> &Terms {
        &self.terms
    }
}

/// How a slot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// A call may leave, once.
    Open { number: i64, until: Instant },
    /// It opens then.
    Opens(Instant),
    /// This replica has none.
    Never,
}

// === impl Contact ===

impl Contact {
    pub(super) fn new(terms: Terms, name: Arc<str>, incarnation: Arc<str>, now: Instant) -> Self {
        let phase = Phase::Never { since: now };
        let standing = Standing { terms, phase, slot: None, slot_clock: None, spent: 0 };
        let state = State {
            terms,
            phase,
            answered: false,
            name,
            incarnation,
            run: "".into(),
            epoch: "".into(),
            epochs: 0,
            shift: 0,
            calibration: None,
            joined: false,
            slot: -1,
            version: -1,
            members: Vec::new(),
            introduce: Vec::new(),
            step: 0,
            last_meet: now,
            next_meet: now,
            spent: 0,
            has_left: false,
        };
        Self { now: ArcSwap::from_pointee(standing), state: Mutex::new(state), wake: Notify::new() }
    }

    /// How it stands.
    pub(in crate::gateway::admission) fn standing(&self) -> Arc<Standing> {
        self.now.load_full()
    }

    /// Calls are reckoned to need at most so long to arrive, from now on.
    pub(super) fn set_transit_max(&self, transit_max: Duration) {
        let mut state = self.lock();
        state.terms.transit_max = transit_max;
        self.publish(&state);
    }

    /// The store answered a first look: another server perhaps, or the same with another clock.
    pub(super) fn probed(&self, probe: &Probe) {
        let mut state = self.lock();
        state.read(Reading { sent: probe.sent, received: probe.received, store: probe.now });
        state.run = probe.run.clone();
        state.answered = true;
    }

    /// The store is there and does not let this process in.
    pub(super) fn denied(&self) {
        self.lock().answered = true;
    }

    /// What to say to be a member, or none any more.
    pub(super) fn meet(&self, nonce: String, leaves: bool, now: Instant) -> Option<Meet> {
        let mut state = self.lock();
        let opening = state.opening(now)?;
        let spent = match state.phase {
            Phase::Lost { last, has_part } => {
                has_part && now >= self.standing().part_from(last, Duration::ZERO)
            }
            Phase::Never { since } => now >= self.standing().part_from(since, Duration::ZERO),
            Phase::Returning { .. } => true,
            Phase::InTouch { .. } => false,
        };
        // The part is spent for a lease from each such word on, so the next one is heard before that ends.
        let next = if spent { LEASE / 2 } else { MEET_EVERY };
        (state.last_meet, state.next_meet) = (now, now + next);
        Some(Meet {
            opening,
            nonce,
            incarnation: state.incarnation.clone(),
            epoch: state.epoch.clone(),
            step: state.step,
            shift: state.joined.then_some(state.shift + state.step),
            slot: state.slot,
            is_member: state.joined,
            spent,
            leaves,
            version: state.version,
            known: state.introduce.clone(),
        })
    }

    /// The store has this process for a member, by an answer to what was `said`.
    pub(super) fn met(&self, reading: Reading, said: &Meet, membership: Membership) -> Learnt {
        let mut state = self.lock();
        let stepped = state.read(reading);
        state.step -= said.step;
        let (sent, now) = (reading.sent, reading.received);
        state.joined = true;
        (state.slot, state.shift) = (membership.slot, membership.shift);
        state.learn_members(&membership, now);
        if state.epoch != membership.epoch {
            state.epoch = membership.epoch;
            state.epochs += 1;
        }
        // Counted from when it was heard of: no earlier than the store has it.
        let from = now + Duration::from_micros(membership.quiet.unsigned_abs());
        state.spent += u64::from(said.spent);
        state.phase = match state.phase {
            Phase::Never { since: last } | Phase::Lost { last, .. } | Phase::Returning { last, .. }
                if said.spent && from > now && sent < last + state.terms.absent_for =>
            {
                Phase::Returning { last, heard: sent, until: from }
            }
            _ => Phase::InTouch { from },
        };
        if stepped {
            state.next_meet = now;
        }
        self.publish(&state);
        if stepped { Learnt::Stepped } else { Learnt::Nothing }
    }

    /// Another process has the name.
    pub(super) fn taken(&self, now: Instant) -> Learnt {
        let mut state = self.lock();
        state.name = format!("{}#{}", state.name, state.incarnation).into();
        (state.joined, state.slot, state.next_meet) = (false, -1, now);
        Learnt::Renamed
    }

    /// An answer to something else told the time.
    pub(super) fn read(&self, reading: Reading) -> Learnt {
        let stepped = {
            let mut state = self.lock();
            let stepped = state.read(reading);
            if stepped {
                state.next_meet = reading.received;
            }
            stepped
        };
        if stepped {
            self.wake.notify_one();
        }
        if stepped { Learnt::Stepped } else { Learnt::Nothing }
    }

    /// Another epoch has begun: it is met at once.
    pub(super) fn is_other_epoch(&self, now: Instant) {
        self.lock().next_meet = now;
        self.wake.notify_one();
    }

    /// A command was not answered.
    pub(super) fn lost(&self, now: Instant) {
        let mut state = self.lock();
        let heard = state.last_meet;
        state.phase = match state.phase {
            // Others may have the store, and keep nothing back for one of whom they never heard.
            Phase::Never { .. } if state.answered => Phase::Lost { last: heard, has_part: false },
            Phase::Never { since } => Phase::Never { since },
            // What was said while the part was spent keeps it, whether it was heard or not.
            Phase::Returning { last, until, .. } if now < until => Phase::Lost { last, has_part: true },
            // Since then the store may have been told what was sent of the part, and keep it no more.
            Phase::InTouch { .. } | Phase::Returning { .. } => {
                Phase::Lost { last: heard, has_part: state.slot >= 0 }
            }
            Phase::Lost { last, has_part } => {
                let keeps = has_part && heard >= self.standing().part_from(last, Duration::ZERO);
                Phase::Lost { last: if keeps { last } else { last.max(heard) }, has_part }
            }
        };
        self.publish(&state);
        drop(state);
        self.wake.notify_one();
    }

    pub(super) fn is_in_touch(&self) -> bool {
        matches!(self.lock().phase, Phase::InTouch { .. } | Phase::Returning { .. })
    }

    /// From now on nothing is said any more but goodbye.
    pub(super) fn leave(&self) {
        self.lock().has_left = true;
    }

    pub(super) fn has_left(&self) -> bool {
        self.lock().has_left
    }

    pub(super) fn next_meet(&self) -> Instant {
        self.lock().next_meet
    }

    /// With what a command begins that leaves now, and the epoch; `None`: not now.
    pub(super) fn open(&self, now: Instant) -> Option<Open> {
        let state = self.lock();
        let from = match state.phase {
            Phase::InTouch { from } | Phase::Returning { until: from, .. } => from,
            Phase::Never { .. } | Phase::Lost { .. } => return None,
        };
        if now < from || state.step != 0 {
            return None;
        }
        Some(Open { opening: state.opening(now)?, epoch: state.epoch.clone(), number: state.epochs })
    }

    /// How many replicas were there lately, by the store's word.
    pub(super) fn members(&self) -> usize {
        self.lock().members.iter().filter(|member| member.is_there).count()
    }

    fn publish(&self, state: &State) {
        let standing = Standing {
            terms: state.terms,
            phase: state.phase,
            slot: u32::try_from(state.slot).ok(),
            slot_clock: state.calibration.map(|calibration| (calibration, state.shift)),
            spent: state.spent,
        };
        self.now.store(Arc::new(standing));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn opening(&self, now: Instant) -> Option<Opening> {
        let expected = self.calibration?.latest(now);
        Some(Opening { run: self.run.clone(), expected, name: self.name.clone(), terms: self.terms })
    }

    fn learn_members(&mut self, membership: &Membership, now: Instant) {
        let is_known_epoch = self.epoch.is_empty() || self.epoch == membership.epoch;
        if is_known_epoch {
            self.introduce.clear();
        }
        if membership.version == self.version {
            return;
        }
        self.version = membership.version;
        let is_there = |old: &Member| membership.members.iter().any(|member| member.name == old.name);
        let forgotten: Vec<_> = self.members.iter().filter(|old| !is_there(old)).cloned().collect();
        self.members.clone_from(&membership.members);
        if !is_known_epoch && !forgotten.is_empty() {
            // The store may have lost its memory: it is told again of those that were there.
            self.members.extend(forgotten.iter().cloned());
            self.introduce = forgotten;
            self.next_meet = now;
        }
    }

    /// Says whether the store's clock stepped.
    fn read(&mut self, reading: Reading) -> bool {
        match &mut self.calibration {
            None => {
                self.calibration = Some(Calibration::new(reading));
                false
            }
            Some(calibration) => match calibration.read(reading) {
                None => false,
                Some(step) => {
                    self.step += step;
                    true
                }
            },
        }
    }
}
