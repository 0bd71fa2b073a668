//! The tokens of one ceiling: which are at home, which are out, and when each comes back. Pure arithmetic: every
//! method takes the present moment, and nothing here waits.
//!
//! # Why no second sees more than the ceiling
//!
//! A ceiling of N calls a period P is N tokens. A call needs one to leave, and a token serves one call at a time.
//!
//! - A token is **out** from the grant until the last byte of the request was handed to the kernel, then **in transit**.
//!   However long the connection takes to be made, that costs no proof.
//! - Its call arrives upstream at some moment `a`, not before its first byte was written. If the call was answered,
//!   `a` is not after the answer's first byte. If not, `a` is at most `transit_max` after the last byte was handed
//!   over: that is the one assumption, and answers that took longer are counted ([`Tokens::unproven`]).
//! - The token is **released** at `r = min(answer's first byte, last byte sent + transit_max)` and comes **home** at
//!   `r + P`. Hence it is at home no earlier than `a + P`.
//! - Its next call is granted when it is at home, so that call's first byte is written, and it arrives, at or after
//!   `a + P`.
//!
//! So two arrivals by one token are at least P apart, and a window `[t, t+P)` holds at most one arrival of each of the
//! N tokens: at most N in all, however much the network's delay varies below `transit_max` and wherever the window
//! starts. A call of which no byte was ever written never arrives, so its token is home at once.
//!
//! A ceiling may have several periods (one a second and a hundred a day). Each period has N tokens of its own and a
//! call takes one of each, together or not at all, so the argument holds for each period by itself.
//!
//! # While N changes
//!
//! No token is made: those that are away stay counted against the new N. And since a call may have had its turn under
//! a larger N long before its connection stands, its turn is **confirmed** right before its first byte: while more
//! tokens are away than there are by now ([`Tokens::are_enough`]), or where it has no token of a ceiling that began
//! meanwhile, the call does not leave; its token goes home, and it waits for another turn. Of all calls that arrive in
//! a window, look at the one that was confirmed last: the tokens of the others were away then, so all of them together
//! were at most the N of that moment, which lies in the window or, since a call needs no longer than `transit_max` to
//! arrive, in the `transit_max` before it. So a window holds at most the largest N that was in force in either.
//!
//! When P changes, moments of release are kept, and each token is at home one *new* period after its own.
//!
//! With [`Guarantee::Dispatch`] a token is released when its call was sent, whatever happens: then no second sees more
//! than N *leave*.
//!
//! # What the proof does not cover
//!
//! - A process knows nothing of the one before it: a long period begins empty with the process, and the first second
//!   only keeps its pace (see [`pace`](super::pace)), unless `cold_start = "wait"`.
//! - Once its first byte was written, a call cannot be held back any more. Where the kernel takes the rest of a long
//!   body only slowly, and N is lowered meanwhile, the time from the first byte to the last adds to `transit_max` above.
//! - Ceilings that are switched on (`mode`) know nothing of the calls that had no need of a turn until then.
//!
//! # Cost
//!
//! Tokens that nobody took cost nothing; one that was taken is one entry in a queue. Answers come in any order, but
//! releases are found in the order of time, so the queues stay sorted by appending and each step is O(1) amortised.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use super::Guarantee;
use crate::model::ceiling::Ceiling;

/// What decides when a token is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Release {
    pub(super) guarantee: Guarantee,
    pub(super) transit_max: Duration,
}

/// The tokens of one ceiling.
#[derive(Debug)]
pub(super) struct Tokens {
    release: Release,
    /// At least one; the first is the one that is lowered when Tencent says too frequent.
    windows: Windows,
    /// Granted, last byte not yet sent.
    out: u32,
    /// Sent, in the order of sending; those answered stay until they reach the front.
    in_transit: VecDeque<Sent>,
    /// The number of the entry at the front of `in_transit`.
    front: u64,
    /// How many entries of `in_transit` are not answered.
    unanswered: u32,
    unproven: u64,
    /// A moving mean of the seconds from a token's grant to its release.
    mean_away: Option<f64>,
}

/// Those of every period, in order. Most ceilings have one, which lies where the others' room would be told: a call touches
/// one cache line less.
#[derive(Debug)]
struct Windows {
    first: Option<Window>,
    others: Vec<Window>,
}

/// One period's tokens.
#[derive(Debug)]
struct Window {
    ceiling: Ceiling,
    /// When each token that is on its way home was released, in the order of time.
    released: VecDeque<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Instant,
    granted: Instant,
    answered: bool,
}

/// Names a token in transit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InTransit(u64);

impl Tokens {
    /// All tokens at home. Tokens in transit are numbered from `first` on.
    pub(super) fn new(ceilings: &[Ceiling], release: Release, first: u64) -> Self {
        let windows = ceilings.iter().map(|&ceiling| Window { ceiling, released: VecDeque::new() }).collect();
        Self {
            release,
            windows,
            out: 0,
            in_transit: VecDeque::new(),
            front: first,
            unanswered: 0,
            unproven: 0,
            mean_away: None,
        }
    }

    /// Whether a token is at home, as the books stand.
    pub(super) fn is_home(&self) -> bool {
        self.windows.iter().all(|window| window.used(self.away()) < window.limit())
    }

    /// Whether there are as many tokens as are away: so it is unless there were more.
    pub(super) fn are_enough(&self) -> bool {
        self.windows.iter().all(|window| window.used(self.away()) <= window.limit())
    }

    /// Takes a token, which must be at home.
    pub(super) fn take(&mut self) {
        self.out += 1;
    }

    /// A token comes back whose call never wrote a byte.
    pub(super) fn give_back(&mut self) {
        self.out = self.out.saturating_sub(1);
    }

    /// The last byte of a token's request was handed to the kernel. It had been granted at `granted`.
    pub(super) fn sent(&mut self, granted: Instant, now: Instant) -> InTransit {
        self.out = self.out.saturating_sub(1);
        match self.release.guarantee {
            Guarantee::Dispatch => {
                self.release(now);
                self.was_away(now - granted);
                InTransit(NOT_TRACKED)
            }
            Guarantee::Arrival => {
                self.in_transit.push_back(Sent { at: now, granted, answered: false });
                self.unanswered += 1;
                InTransit(self.front + self.in_transit.len() as u64 - 1)
            }
        }
    }

    /// The first byte of the answer came. Nothing happens when the token was reckoned released already.
    pub(super) fn answered(&mut self, token: InTransit, now: Instant) {
        self.settle(now);
        let entry = token.0.checked_sub(self.front).and_then(|index| usize::try_from(index).ok());
        let entry = entry.and_then(|index| self.in_transit.get_mut(index));
        if let Some(entry) = entry.filter(|entry| !entry.answered) {
            entry.answered = true;
            let away = now - entry.granted;
            self.unanswered -= 1;
            self.release(now);
            self.was_away(away);
        }
    }

    /// Calls that nobody counted are reckoned to have arrived now.
    pub(super) fn reckon(&mut self, calls: u32, now: Instant) {
        for _ in 0..calls {
            self.release(now);
        }
    }

    /// The earliest moment at which a call that waits behind `ahead` others can have a token, if all goes as well as
    /// it can: every call under way is answered now.
    pub(super) fn turn(&self, ahead: usize, now: Instant) -> Instant {
        let away = self.away() as usize;
        self.windows.iter().map(|window| window.turn(away, ahead, now)).max().unwrap_or(now)
    }

    /// When a token comes home, of those whose return is known: the next for 0, the one after it for 1, and so on.
    pub(super) fn homecoming(&self, nth: usize) -> Option<Instant> {
        let window = self.windows.first.as_ref()?;
        window.released.get(nth).map(|&released| released + window.ceiling.period)
    }

    /// New ceilings take hold; tokens that are out or on their way stay counted, so none is made. A period that is
    /// longer than every one before knows only what those remember.
    pub(super) fn set_ceilings(&mut self, ceilings: &[Ceiling]) {
        let longest = self.windows.iter().max_by_key(|window| window.ceiling.period);
        let longest = longest.map(|window| window.released.clone()).unwrap_or_default();
        let same = |ceiling: &Ceiling, window: &&Window| window.ceiling.period == ceiling.period;
        let windows = ceilings.iter().map(|ceiling| {
            let same = self.windows.iter().find(|window| same(ceiling, window));
            let released = same.map_or_else(|| longest.clone(), |window| window.released.clone());
            Window { ceiling: *ceiling, released }
        });
        self.windows = windows.collect();
    }

    /// The first period's ceiling takes this form.
    pub(super) fn set_first(&mut self, ceiling: Ceiling) {
        if let Some(window) = &mut self.windows.first {
            window.ceiling = ceiling;
        }
    }

    /// From now on tokens are released so.
    pub(super) fn set_release(&mut self, release: Release) {
        self.release = release;
    }

    /// Every period's ceiling, with how many of its tokens are not at home: out, in transit, or on their way.
    pub(super) fn standing(&self) -> impl Iterator<Item = (Ceiling, u32)> {
        self.windows.iter().map(|window| (window.ceiling, window.used(self.away())))
    }

    /// The first period's ceiling, and how many of its tokens are not at home.
    pub(super) fn first(&self) -> (Ceiling, u32) {
        self.standing().next().unwrap_or((Ceiling::per_second(NonZeroU32::MIN), 0))
    }

    /// When each token was released that is on its way home under the longest period.
    pub(super) fn longest_released(&self) -> impl Iterator<Item = Instant> {
        let longest = self.windows.iter().max_by_key(|window| window.ceiling.period);
        longest.into_iter().flat_map(|window| window.released.iter().copied())
    }

    /// How many calls are under way that have a token: it is out or in transit.
    pub(super) fn under_way(&self) -> u32 {
        self.away()
    }

    /// Whether every token of every period is at home.
    pub(super) fn is_idle(&self) -> bool {
        self.away() == 0 && self.windows.iter().all(|window| window.released.is_empty())
    }

    /// How many calls were not answered within `transit_max`, so that their arrival is not proven.
    pub(super) fn unproven(&self) -> u64 {
        self.unproven
    }

    /// Brings the books up to `now`.
    pub(super) fn settle(&mut self, now: Instant) {
        while let Some(&Sent { at, granted, answered }) = self.in_transit.front() {
            let overdue = at + self.release.transit_max;
            if !answered {
                if overdue > now {
                    break;
                }
                self.unanswered -= 1;
                self.unproven += 1;
                self.release(overdue);
                self.was_away(overdue - granted);
            }
            self.in_transit.pop_front();
            self.front += 1;
        }
        for window in self.windows.iter_mut() {
            while window.released.front().is_some_and(|&released| released + window.ceiling.period <= now) {
                window.released.pop_front();
            }
        }
    }

    /// How long a token is away, on average, from its grant to its release: a moving mean.
    pub(super) fn mean_away(&self) -> Duration {
        Duration::from_secs_f64(self.mean_away.unwrap_or(0.0))
    }

    /// How many are out or in transit.
    fn away(&self) -> u32 {
        self.out + self.unanswered
    }

    fn was_away(&mut self, away: Duration) {
        let away = away.as_secs_f64();
        let mean = self.mean_away.get_or_insert(away);
        *mean += NEWEST_WEIGHS * (away - *mean);
    }

    fn release(&mut self, at: Instant) {
        for window in self.windows.iter_mut() {
            // Nearly always the latest of all; a change of `transit_max` can put it earlier.
            let place = match window.released.back() {
                Some(&last) if last > at => window.released.partition_point(|&other| other <= at),
                _ => window.released.len(),
            };
            window.released.insert(place, at);
        }
    }
}

// === impl Windows ===

impl Windows {
    fn iter(&self) -> impl Iterator<Item = &Window> {
        self.first.iter().chain(&self.others)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Window> {
        self.first.iter_mut().chain(&mut self.others)
    }
}

impl FromIterator<Window> for Windows {
    fn from_iter<I: IntoIterator<Item = Window>>(windows: I) -> Self {
        let mut windows = windows.into_iter();
        Self { first: windows.next(), others: windows.collect() }
    }
}

// === impl Window ===

impl Window {
    fn limit(&self) -> u32 {
        self.ceiling.limit.get()
    }

    fn used(&self, away: u32) -> u32 {
        away.saturating_add(u32::try_from(self.released.len()).unwrap_or(u32::MAX))
    }

    fn turn(&self, away: usize, ahead: usize, now: Instant) -> Instant {
        let Ceiling { limit, period } = self.ceiling;
        let limit = limit.get() as usize;
        let used = away + self.released.len();
        // This call goes when homecoming number `used + ahead - limit` happens. The first `used` of them are those
        // of the tokens that are away now; later ones are of calls ahead, each a period after that call went.
        let Some(homecoming) = (used + ahead).checked_sub(limit) else { return now };
        let rounds = if homecoming >= used { (homecoming - used) / limit + 1 } else { 0 };
        let first = match homecoming.checked_sub(rounds * limit) {
            None => now,
            // One that is not yet released is released now at the earliest.
            Some(homecoming) => self.released.get(homecoming).map_or(now, |&released| released) + period,
        };
        first.max(now) + period.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX)).min(FAR)
    }
}

/// The share of the newest call in a moving mean: some fifty calls make it.
const NEWEST_WEIGHS: f64 = 0.02;
/// Beyond every wait, and within what a clock can add.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// A token in transit that needs no following.
const NOT_TRACKED: u64 = u64::MAX;
