//! How fast turns follow one another. Pure arithmetic, like the [`tokens`](super::tokens).
//!
//! Tokens alone clump: N calls that come at once leave at once, their tokens come home at once, and so it goes on for
//! ever, N turns and then nothing for a second. A pace takes the clump apart. It gives **credit**, one for each turn,
//! at an even rate; a call leaves when a token is at home *and* there is credit. So the pace only ever delays: the
//! proof is the tokens' alone.
//!
//! - The even rate is N calls in the time that a token needs to come round: the period and how long tokens are away
//!   until their release, on average. It is corrected a little by how many tokens lie at home: with more than a
//!   sixty-fourth of them at home turns come faster, with fewer slower. So the tokens come home as evenly as they
//!   leave, and hardly any lies idle.
//! - Where one of the next tokens comes home much later than those before it allow even turns for, they are spread over
//!   the time until then: the gap of a clump is filled in one round.
//! - While calls wait, credit does not gather beyond what a coarse timer misses. While nobody waits it does, up to
//!   `burst`: so many calls may leave at once after idle time.
//! - A turn that was taken and came to nothing, because its connection was not made or its caller hung up, is there for
//!   the next call at once, as if it had not been taken.
//! - A turn that comes much later than it was due tells that the process stood still: a container that used up its share
//!   of the processor, a machine that was paused. The turns that fell due meanwhile are **owed**, and paid back in the next
//!   moments beside those that fall due then: soon, so that no token lies idle for long, but not all at once.

use std::time::Duration;

use tokio::time::Instant;

use super::tokens::Tokens;

/// The pace of one ceiling.
#[derive(Debug)]
pub(super) struct Pace {
    /// How many turns may be taken at once.
    credit: f64,
    /// Turns that were taken and came to nothing, or that nobody could take, up to `burst`. They are credit that does not
    /// lapse while calls wait.
    returned: f64,
    /// Up to when credit was given.
    at: Instant,
    /// Turns that may be taken at once after idle time; at least 1.
    burst: f64,
    /// Until when there is no burst: nobody knows what an earlier process sent.
    calm_until: Instant,
    /// Until when there is no turn at all.
    closed_until: Instant,
    /// Turns that fell due while the process stood still.
    owed: f64,
    /// Until when they are paid back.
    owed_until: Instant,
}

impl Pace {
    /// A pace that begins now, with a burst at once where `calm_until` is past.
    pub(super) fn new(burst: u32, calm_until: Instant, now: Instant) -> Self {
        let burst = f64::from(burst.max(1));
        let credit = if calm_until > now { 1.0 } else { burst };
        let (returned, owed) = (0.0, 0.0);
        Self { credit, returned, at: now, burst, calm_until, closed_until: now, owed, owed_until: now }
    }

    /// From now on so many turns may be taken at once after idle time.
    pub(super) fn set_burst(&mut self, burst: u32) {
        self.burst = f64::from(burst.max(1));
    }

    /// Nothing went for a while: so many may go at once, though calls wait.
    pub(super) fn rested(&mut self, turns: f64) {
        self.returned = self.returned.max(turns.min(self.burst));
    }

    /// No turn before `until`.
    pub(super) fn close(&mut self, until: Instant) {
        self.closed_until = self.closed_until.max(until);
    }

    /// Gives the credit that is due. `waiting`: whether calls wait.
    pub(super) fn advance(&mut self, tokens: &Tokens, waiting: bool, now: Instant) {
        let rate = rate(tokens, now);
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        let due = if waiting { self.due(tokens) } else { None };
        if !waiting || self.owed_until <= now {
            self.owed = 0.0;
        }
        let paid = (self.repays() * elapsed).min(self.owed);
        let is_even = waiting || self.calm_until > now;
        let most = if is_even { 1.0 + (rate + self.repays()) * COARSE } else { self.burst };
        if !is_even {
            self.credit += std::mem::take(&mut self.returned);
        }
        let given = self.credit + rate * elapsed;
        self.credit = (given + paid).min(most.max(1.0));
        self.owed -= (self.credit - given).clamp(0.0, paid);
        let late = due.map_or(0.0, |due| now.saturating_duration_since(due).as_secs_f64());
        if late > COARSE {
            self.owe((given - self.credit).clamp(0.0, rate * late), rate, now);
        }
        self.at = now;
    }

    /// When the next turn fell due after the last look, if that is known. Where it had come then, something else holds
    /// calls back.
    fn due(&self, tokens: &Tokens) -> Option<Instant> {
        let home = match tokens.is_home() {
            true if self.is_open(self.at) => return None,
            true => self.at,
            false => tokens.homecoming(0)?,
        };
        Some(self.opens_at(tokens, self.at).max(home))
    }

    fn owe(&mut self, turns: f64, rate: f64, now: Instant) {
        self.owed = (self.owed + turns).min(rate * LONGEST_STALL);
        self.owed_until = now + REPAID_WITHIN;
    }

    /// How many turns a second are paid back.
    fn repays(&self) -> f64 {
        self.owed / REPAID_IN
    }

    /// Whether there is credit for a turn.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        (self.credit >= ONE || self.returned >= 1.0) && self.closed_until <= now
    }

    /// Until when there is no turn at all, whatever the pace.
    pub(super) fn closed_until(&self) -> Instant {
        self.closed_until
    }

    /// A turn was taken, whether there was credit for it or not.
    pub(super) fn take(&mut self) {
        // Credit first: it lapses.
        if self.credit < ONE && self.returned >= 1.0 {
            self.returned -= 1.0;
        } else {
            self.credit = (self.credit - 1.0).max(0.0);
        }
    }

    /// A turn that was taken came to nothing.
    pub(super) fn give_back(&mut self) {
        self.returned = (self.returned + 1.0).min(self.burst);
    }

    /// When there is credit for the next turn, if all goes on as it does now.
    pub(super) fn opens_at(&self, tokens: &Tokens, now: Instant) -> Instant {
        let missing = if self.returned >= 1.0 { 0.0 } else { (1.0 - self.credit).max(0.0) };
        let rate = rate(tokens, now) + self.repays();
        let wait = Duration::try_from_secs_f64(missing / rate).unwrap_or(LONGEST_LOOK);
        (now + wait.min(LONGEST_LOOK)).max(self.closed_until)
    }

    /// The earliest moment of a turn behind `ahead` others, if none comes back and turns come as fast as they ever do.
    pub(super) fn turn(&self, tokens: &Tokens, ahead: usize, now: Instant) -> Instant {
        let (ceiling, _) = tokens.first();
        let fastest = ceiling.rate() * most_factor(f64::from(ceiling.limit.get()));
        let missing = (ahead as f64 + 1.0 - self.credit - self.returned - self.owed).max(0.0);
        let wait = Duration::try_from_secs_f64(missing / fastest).unwrap_or(LONGEST_LOOK);
        (self.at + wait).max(now).max(self.closed_until)
    }
}

/// Turns a second, above zero.
fn rate(tokens: &Tokens, now: Instant) -> f64 {
    let (ceiling, used) = tokens.first();
    let limit = f64::from(ceiling.limit.get());
    let home = (limit - f64::from(used)).max(0.0);
    let round = ceiling.period + tokens.mean_away();
    let even = limit / round.as_secs_f64();
    let factor = (1.0 + 2.0 * (home / limit - IDLE_SHARE)).clamp(least_factor(limit), most_factor(limit));
    let rate = even * factor;
    // Until a token is released, nothing is known of a gap before it.
    let gap = |nth: usize| Some(tokens.homecoming(nth)?.saturating_duration_since(now).as_secs_f64());
    // Of those that are looked at the last one has the longest. Where the tokens at home last until then, as they do while
    // the ceiling is not used up, they last until the others.
    if LOOKED_AT.into_iter().rev().find_map(gap).is_none_or(|longest| rate * longest <= home) {
        return rate;
    }
    let before = |nth: usize| {
        let gap = gap(nth)?;
        let (nth, home) = (nth as f64, home + nth as f64);
        (gap * even > nth + GAP && home >= 1.0).then(|| home / gap)
    };
    LOOKED_AT.into_iter().filter_map(before).fold(rate, f64::min)
}

/// The slowest and the fastest pace, as shares of the even one. Small ceilings lose a whole token with every turn that
/// comes late, so their pace keeps ahead of their tokens.
fn least_factor(limit: f64) -> f64 {
    (1.05 - limit / 1000.0).max(0.95)
}

fn most_factor(limit: f64) -> f64 {
    // A clump's tokens must last until the next ones come home, or a gap takes its place.
    1.02_f64.max(1.0 + 3.0 / limit)
}

/// As much credit as a turn costs: a rounding error must not cost a turn of the timer.
const ONE: f64 = 1.0 - 1e-6;
/// The share of the tokens that should lie at home while calls wait.
const IDLE_SHARE: f64 = 1.0 / 64.0;
/// How many even turns later than evenly a token must come home for those before it to be spread.
const GAP: f64 = 5.0;
/// Which of the next homecomings are looked at for a gap before them: the flow of tokens that came back unevenly has more
/// than one.
const LOOKED_AT: [usize; 3] = [0, 4, 12];
/// Seconds that a timer may be late. Whoever comes later stood still.
const COARSE: f64 = 0.004;
/// The longest time without a turn, in seconds, whose turns are owed in full.
const LONGEST_STALL: f64 = 0.1;
/// In about so many seconds turns are paid back that are owed.
const REPAID_IN: f64 = 0.02;
/// What was not paid back by then, for want of tokens, is lost.
const REPAID_WITHIN: Duration = Duration::from_millis(100);
/// Whatever is reckoned beyond this is looked at again before.
const LONGEST_LOOK: Duration = Duration::from_secs(24 * 3600);
