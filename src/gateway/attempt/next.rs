//! What comes after a try.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Means;
use super::budget::Budget;
use super::settings::Bears;
use super::single::Tried;
use crate::gateway::admission::{SECOND_PAUSE, Throttle};
use crate::gateway::credentials::UserSig;
use crate::gateway::forward::Cause;
use crate::gateway::outcome::{self, Diagnosis, Then, Unusable, Verdict};
use crate::gateway::policy::Grant;
use crate::gateway::rejection::Rejection;
use crate::gateway::reply::{Content, Relayed};
use crate::gateway::trip::{self, Pass};
use crate::model::endpoint::Endpoint;
use crate::model::error_code::ErrorCode;
use crate::net::body::BadGzip;

/// What comes after a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Its result is the call's.
    Done,
    /// Another one.
    Again {
        /// Why, for the metric.
        reason: &'static str,
        /// After how long.
        pause: Duration,
    },
    /// It was one too many, or could not leave any more: another one in its turn.
    InTurn {
        /// Why, for the metric.
        reason: &'static str,
        /// After how long, which counts as waiting.
        pause: Duration,
    },
    /// Another one, if the app has newer keys by now.
    WithNewerKey,
}

/// What is known of one call's tries so far.
pub(super) struct Repeats<'a> {
    means: &'a Means<'a>,
    grant: &'a Grant,
    deadline: Instant,
    bears: Bears,
    budget: Arc<Budget>,
    retries: u32,
    /// How often it was one too many.
    throttled: u32,
    /// How long it has waited for its turns.
    waited: Duration,
    resigned: bool,
    keys_refused: usize,
    /// Whether newer keys were looked for.
    looked: bool,
    /// Whether one of the tries may have been executed.
    may_be_executed: bool,
    /// Where the last one had no answer, if it had none.
    unanswered_at: Option<Endpoint>,
}

impl<'a> Repeats<'a> {
    /// Before the first try.
    pub(super) fn begin(means: &'a Means<'a>, grant: &'a Grant, deadline: Instant) -> Self {
        let settings = &means.live.retry;
        let budget = means.budgets.of(grant.app());
        budget.earn(settings.budget);
        Self {
            means,
            grant,
            deadline,
            bears: settings.bears(grant.api()),
            budget,
            retries: 0,
            throttled: 0,
            waited: Duration::ZERO,
            resigned: false,
            keys_refused: 0,
            looked: false,
            may_be_executed: false,
            unanswered_at: None,
        }
    }

    /// Where the last try had no answer, if it had none.
    pub(super) fn unanswered_at(&self) -> Option<&Endpoint> {
        self.unanswered_at.as_ref()
    }

    /// Tells whoever keeps account what came of a try, and says what comes next. `waited`: how long the call has waited
    /// for its turns.
    pub(super) fn after(
        &mut self,
        tried: Tried<'_>,
        waited: Duration,
    ) -> (Result<Box<Relayed>, Rejection>, Next) {
        let Tried { result, verdict, complete: _, usersig, pass } = tried;
        self.unanswered_at = None;
        self.waited = waited;
        match result {
            Ok(relayed) => {
                let next = match (verdict, &relayed.content) {
                    (Some(verdict), Content::Whole { reading, .. }) => {
                        self.after_answer(verdict, reading.error_code, &usersig, pass)
                    }
                    // A long answer, still coming: whoever is refused gets few words.
                    _ => {
                        pass.let_in();
                        Next::Done
                    }
                };
                (Ok(relayed), next)
            }
            Err(rejection) => {
                let (rejection, next) = self.after_failure(rejection);
                (Err(rejection), next)
            }
        }
    }

    fn after_answer(&mut self, verdict: Verdict, code: ErrorCode, usersig: &UserSig, pass: Pass<'_>) -> Next {
        let cause = |diagnosis| trip::Cause { diagnosis, code };
        match verdict {
            Verdict::HandOver => {
                if outcome::is_let_in(self.grant.api().name.family(), code) {
                    pass.let_in();
                }
                Next::Done
            }
            Verdict::BackOff(throttle) => self.wait_again(throttle),
            Verdict::Retry { outcome_unknown } => {
                self.may_be_executed |= outcome_unknown;
                self.retry("error_code", Bears::Any)
            }
            Verdict::Resign(then) => self.resign(then, code, usersig, pass),
            Verdict::NextKey(diagnosis) => self.next_key(cause(diagnosis), usersig, pass),
            Verdict::Trip(diagnosis) => {
                pass.refused(cause(diagnosis));
                Next::Done
            }
            Verdict::QuietSignatures => {
                pass.quiet(cause(Diagnosis::TooManySignatures));
                Next::Done
            }
        }
    }

    /// One too many, and nothing was done: the ceiling is lowered, and the call goes back to its place in the queue after
    /// a pause that doubles. Without it all of its tries could fall into the same second, in which the ceiling is lowered
    /// only once.
    fn wait_again(&mut self, throttle: Throttle) -> Next {
        let may_wait = self.means.admission.throttled(self.grant, throttle);
        let pause = match throttle {
            Throttle::Second => SECOND_PAUSE,
            Throttle::Api | Throttle::App | Throttle::Pause => {
                FIRST_THROTTLED_PAUSE * 2_u32.saturating_pow(self.throttled)
            }
        };
        let is_in_time = Instant::now() + pause < self.deadline;
        let wish = self.grant.caller().wishes().max_wait;
        let bears_it = wish.is_none_or(|wish| self.waited + pause < wish);
        if !may_wait || !is_in_time || !bears_it || self.throttled == MOST_THROTTLED {
            return Next::Done;
        }
        self.throttled += 1;
        Next::InTurn { reason: "throttled", pause }
    }

    /// Once for each call; after that, `then`. The doubt is raised before the UserSig is dropped: nobody shall take the new
    /// one and not know of it.
    fn resign(&mut self, then: Then, code: ErrorCode, usersig: &UserSig, pass: Pass<'_>) -> Next {
        let is_first = !std::mem::replace(&mut self.resigned, true);
        let (app, credentials) = (self.grant.app(), self.means.credentials);
        let again = Next::Again { reason: "usersig", pause: Duration::ZERO };
        match then {
            // It may be Tencent's own trouble, in which every call would be signed anew and repeated.
            Then::Retry if is_first && self.pays() => {
                credentials.invalidate(app, usersig);
                again
            }
            Then::Retry if is_first => Next::Done,
            Then::Retry => self.retry("error_code", Bears::Any),
            Then::NextKey(diagnosis) if !is_first => {
                self.next_key(trip::Cause { diagnosis, code }, usersig, pass)
            }
            Then::NextKey(diagnosis) | Then::Trip(diagnosis) => {
                let cause = trip::Cause { diagnosis, code };
                pass.signature_refused(cause);
                credentials.invalidate(app, usersig);
                if is_first {
                    return again;
                }
                pass.refused(cause);
                Next::Done
            }
        }
    }

    fn next_key(&mut self, cause: trip::Cause, usersig: &UserSig, pass: Pass<'_>) -> Next {
        let app = self.grant.app();
        pass.signature_refused(cause);
        self.means.credentials.refuse_key(app, usersig);
        self.keys_refused += 1;
        if self.keys_refused < app.keys.len() {
            return Next::Again { reason: "key", pause: Duration::ZERO };
        }
        pass.refused(cause);
        let has_looked = std::mem::replace(&mut self.looked, true);
        if has_looked { Next::Done } else { Next::WithNewerKey }
    }

    fn after_failure(&mut self, rejection: Rejection) -> (Rejection, Next) {
        match rejection {
            Rejection::Failed(mut failure) => {
                let did_nothing = match &failure.cause {
                    Cause::Broken(error) if error.was_turned_away() => true,
                    _ => !failure.may_have_arrived,
                };
                self.may_be_executed |= !did_nothing;
                self.unanswered_at.clone_from(&failure.endpoint);
                // Of all tries together: an earlier one may have been executed though this one was not even sent.
                failure.may_have_arrived = self.may_be_executed;
                let needs = if did_nothing { Bears::Unsent } else { Bears::Any };
                let next = match &failure.cause {
                    Cause::BadUrl(_) => Next::Done,
                    Cause::Unreachable(_) => self.retry("unreachable", needs),
                    Cause::Broken(_) => self.retry("broken", needs),
                    Cause::Timeout => self.retry("timeout", needs),
                    // It was not even begun: no retry in the sense of the settings.
                    Cause::Withdrawn => Next::InTurn { reason: "turn_withdrawn", pause: Duration::ZERO },
                };
                (Rejection::Failed(failure), next)
            }
            Rejection::Unusable { what, .. } => {
                self.may_be_executed = true;
                let next = match what {
                    // The same would come again, or no more room for it.
                    Unusable::TooLong(_)
                    | Unusable::Encoding
                    | Unusable::Gzip(BadGzip::TooLong)
                    | Unusable::NoRoom(_) => Next::Done,
                    Unusable::TooSlow => self.retry("timeout", Bears::Any),
                    Unusable::Fault(_) | Unusable::Gzip(BadGzip::Damaged) | Unusable::BrokenOff => {
                        self.retry("unusable_answer", Bears::Any)
                    }
                };
                (rejection, next)
            }
            other => (other, Next::Done),
        }
    }

    /// A retry after a pause, where the call bears it, and tries, time and budget are left.
    fn retry(&mut self, reason: &'static str, needs: Bears) -> Next {
        let pause = pause(self.retries, fastrand::f64());
        let is_in_time = Instant::now() + pause < self.deadline;
        let tries_left = self.retries + 1 < self.means.live.retry.max_attempts.get();
        if self.bears >= needs && is_in_time && tries_left && self.pays() {
            self.retries += 1;
            Next::Again { reason, pause }
        } else {
            Next::Done
        }
    }

    fn pays(&self) -> bool {
        self.means.live.retry.budget > 0.0 && self.budget.spend(Instant::now())
    }
}

/// The pause before a retry, when so many came before: any time up to one that doubles. All of it is left to chance
/// (from 0.0 to 1.0), so that calls which failed together do not come back together.
fn pause(retries: u32, chance: f64) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(retries)).min(LONGEST_PAUSE);
    longest.mul_f64(chance.clamp(0.0, 1.0))
}

/// How often a call that was one too many waits for another turn.
const MOST_THROTTLED: u32 = 3;
const FIRST_THROTTLED_PAUSE: Duration = Duration::from_millis(100);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_are_left_to_chance() {
        let longest = [0, 1, 2, 4, 5, 31, 32, u32::MAX].map(|retries| pause(retries, 1.0).as_millis());
        assert_eq!(longest, [100, 200, 400, 1_600, 2_000, 2_000, 2_000, 2_000]);
        assert_eq!(pause(3, 0.0), Duration::ZERO);
        assert_eq!(pause(3, 0.25), Duration::from_millis(200));
    }
}
