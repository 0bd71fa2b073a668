//! How one app stands: what is decided, with the time as an argument.
//!
//! Every change of the UserSig's standing begins an *epoch*, and so does a trip: a call tells its outcome together with
//! the epoch in which it was let through, so that the hundred calls which were on their way with one bad UserSig raise
//! one doubt, and cannot raise another about the next UserSig, and none of them ends a trip that began meanwhile. While
//! there is a doubt, one call at a time is let through: on trial. Each trial that is refused is counted, and none
//! begins while [`HANDFUL`] are counted in the last minute: so of any six, the last is refused a minute after the first
//! or later.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::gateway::outcome::Diagnosis;
use crate::model::error_code::ErrorCode;

/// Why an app is tripped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    /// What is wrong.
    pub diagnosis: Diagnosis,
    /// What Tencent answered.
    pub code: ErrorCode,
}

/// How one app stands.
#[derive(Debug, Default)]
pub(super) struct State {
    epoch: u64,
    /// In a row, with no success between.
    refusals: u32,
    /// When a UserSig was refused, in the last minute. No trial begins while there are [`HANDFUL`].
    refused_signatures: VecDeque<Instant>,
    /// The answer for which UserSigs are in doubt.
    doubt: Option<Cause>,
    trip: Option<Trip>,
    /// Whether a call is on its way whose outcome decides a doubt or a trip.
    on_trial: bool,
    /// Whether the app is gone, or called otherwise now: what comes of calls still on their way is of no concern.
    forgotten: bool,
}

#[derive(Debug)]
struct Trip {
    cause: Cause,
    interval: Duration,
    next_probe: Instant,
}

/// What a call that was let through has to show when it tells its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    epoch: u64,
    trial: bool,
}

/// Whether a call may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entrance {
    Open(Ticket),
    /// Until the call that is on trial has told its outcome.
    Wait,
    /// Until then.
    Refused(Cause, Instant),
}

/// What changed for whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Tripped {
        cause: Cause,
        /// For what other reason it was tripped until now.
        before: Option<Cause>,
    },
    Closed(Cause),
}

/// When and how much later than necessary: from 0.0 up to but not including 1.0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) jitter: f64,
}

impl State {
    /// Whether a call may be sent now.
    pub(super) fn enter(&mut self, now: Instant) -> Entrance {
        if let Some((cause, until)) = self.refusal(now) {
            return Entrance::Refused(cause, until);
        }
        let trial = self.trip.is_some() || self.doubt.is_some();
        if trial && self.on_trial {
            return Entrance::Wait;
        }
        if let Some(trip) = &mut self.trip {
            // Holds even if the probe ends without an answer.
            trip.next_probe = now + trip.interval;
        }
        self.on_trial |= trial;
        Entrance::Open(Ticket { epoch: self.epoch, trial })
    }

    /// Why a call would be refused now, and until when.
    pub(super) fn refusal(&mut self, now: Instant) -> Option<(Cause, Instant)> {
        let full_until = self.full_until(now);
        match (&self.trip, self.doubt) {
            (Some(trip), _) => {
                let until = full_until.map_or(trip.next_probe, |until| until.max(trip.next_probe));
                (now < until || self.on_trial).then_some((trip.cause, until))
            }
            (None, Some(doubt)) => full_until.map(|until| (doubt, until)),
            (None, None) => None,
        }
    }

    /// Tencent let the app in.
    pub(super) fn let_in(&mut self, ticket: Ticket) -> Option<Change> {
        self.refusals = 0;
        // One that was sent before says nothing of what has begun since.
        if ticket.epoch != self.epoch {
            return None;
        }
        self.doubt = None;
        self.trip.take().map(|trip| Change::Closed(trip.cause))
    }

    /// Tencent refused the app.
    pub(super) fn refused(&mut self, ticket: Ticket, cause: Cause, at: Moment) -> Option<Change> {
        if self.forgotten {
            return None;
        }
        if self.trip.is_some() {
            // A probe whose UserSig was refused was told of already.
            let is_news = ticket.trial && ticket.epoch == self.epoch;
            return if is_news { self.probe_again(cause, at) } else { None };
        }
        self.refusals += 1;
        (self.refusals >= IN_A_ROW).then(|| self.trip(cause, FIRST_PROBE, at))
    }

    /// Tencent refused the UserSig.
    pub(super) fn signature_refused(&mut self, ticket: Ticket, cause: Cause, at: Moment) -> Option<Change> {
        // One that was on its way before, with the UserSig that is in doubt already, says nothing new.
        let is_news = ticket.trial || ticket.epoch == self.epoch;
        if !is_news || self.forgotten {
            return None;
        }
        self.epoch += 1;
        self.doubt = Some(cause);
        self.refused_signatures.push_back(at.now);
        if self.trip.is_some() {
            return if ticket.trial { self.probe_again(cause, at) } else { None };
        }
        self.full_until(at.now).map(|_| self.trip(cause, FIRST_PROBE, at))
    }

    /// Tencent looks at no UserSig of the app for a minute.
    pub(super) fn quiet(&mut self, cause: Cause, at: Moment) -> Option<Change> {
        if self.forgotten {
            return None;
        }
        let before = self.trip.as_ref().map(|trip| trip.cause);
        let change = self.trip(cause, QUIET, at);
        match before {
            Some(before) => changed(before, cause),
            None => Some(change),
        }
    }

    /// A call that was let through has ended, whatever it told.
    pub(super) fn ended(&mut self, ticket: Ticket) {
        self.on_trial &= !ticket.trial;
    }

    /// The app is gone, or what it was refused for was changed.
    pub(super) fn forget(&mut self) -> Option<Change> {
        let closed = self.trip.take().map(|trip| Change::Closed(trip.cause));
        *self = Self { epoch: self.epoch, forgotten: true, ..Self::default() };
        closed
    }

    /// Whether there is nothing against the app.
    pub(super) fn is_clear(&self) -> bool {
        self.refusals == 0 && self.doubt.is_none() && self.trip.is_none()
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Why the app is tripped, and when the next probe may go.
    pub(super) fn tripped(&self) -> Option<(Cause, Instant)> {
        self.trip.as_ref().map(|trip| (trip.cause, trip.next_probe))
    }

    fn trip(&mut self, cause: Cause, interval: Duration, at: Moment) -> Change {
        self.epoch += 1;
        self.trip = Some(Trip { cause, interval, next_probe: at.after(interval) });
        Change::Tripped { cause, before: None }
    }

    fn probe_again(&mut self, cause: Cause, at: Moment) -> Option<Change> {
        let trip = self.trip.as_mut()?;
        let before = std::mem::replace(&mut trip.cause, cause);
        trip.interval = (trip.interval * 2).min(LONGEST_PROBE);
        trip.next_probe = at.after(trip.interval);
        changed(before, cause)
    }

    /// Until when no UserSig may be tried that could be refused.
    fn full_until(&mut self, now: Instant) -> Option<Instant> {
        while self.refused_signatures.front().is_some_and(|&oldest| now >= oldest + MINUTE) {
            self.refused_signatures.pop_front();
        }
        let counted = self.refused_signatures.len();
        (counted >= HANDFUL).then(|| self.refused_signatures[counted - HANDFUL] + MINUTE)
    }
}

fn changed(before: Cause, cause: Cause) -> Option<Change> {
    let otherwise = before.diagnosis != cause.diagnosis;
    otherwise.then_some(Change::Tripped { cause, before: Some(before) })
}

impl Ticket {
    /// Let through without a look, while there was nothing against the app.
    pub(super) fn of_epoch(epoch: u64) -> Self {
        Self { epoch, trial: false }
    }

    /// Whether others wait for how this call ends.
    pub(super) fn is_trial(self) -> bool {
        self.trial
    }
}

impl Moment {
    /// `wait` later, and up to a quarter of it more: never sooner.
    fn after(self, wait: Duration) -> Instant {
        self.now + wait + wait.mul_f64(self.jitter.clamp(0.0, 1.0) / 4.0)
    }
}

/// How many refused UserSigs a minute are sent at most while they are in doubt.
pub const HANDFUL: usize = 5;

const MINUTE: Duration = Duration::from_secs(60);
const IN_A_ROW: u32 = 3;
const FIRST_PROBE: Duration = Duration::from_secs(1);
const LONGEST_PROBE: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
