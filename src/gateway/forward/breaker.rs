//! Whether an endpoint is tried first: what is decided, with the time as an argument.
//!
//! An endpoint to which no connection can be made is passed over from then on, and so is one on whose connections
//! several calls in a row had no answer. After a while one call goes there again, over a connection of its own: if it is
//! answered, the endpoint is as good as before; if not, the while doubles. One that fails again soon after it recovered
//! is passed over for longer than before, so that calls do not move to and fro.

use std::time::Duration;

use tokio::time::Instant;

/// One endpoint's breaker.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Calls in a row that were sent and had no answer.
    unanswered: u32,
    open: Option<Open>,
    /// For how long it was passed over the last time, and when it recovered.
    before: Option<(Duration, Instant)>,
}

#[derive(Debug)]
struct Open {
    pause: Duration,
    next_trial: Instant,
}

/// How a call at the endpoint failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// There was no connection.
    Unreachable,
    /// It was sent, or might have been, and there was no answer.
    Unanswered,
}

/// What for a call goes to the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visit {
    /// As any other.
    Usual,
    /// To see whether the endpoint, which is passed over, has recovered.
    Trial,
    /// It is passed over, and there is none left that is not.
    LastResort,
}

impl Breaker {
    /// Nothing is held against the endpoint.
    pub(super) fn is_clear(&self) -> bool {
        self.unanswered == 0 && self.open.is_none()
    }

    /// The endpoint is passed over.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether a call should go there now. While the endpoint is passed over, one does from time to time.
    pub(super) fn lets(&mut self, now: Instant) -> Option<Visit> {
        match &mut self.open {
            None => Some(Visit::Usual),
            Some(open) if now >= open.next_trial => {
                // Even if this call is never heard of again.
                open.next_trial = now + open.pause;
                Some(Visit::Trial)
            }
            Some(_) => None,
        }
    }

    /// A call was answered. Says whether the endpoint recovered with it.
    pub(super) fn answered(&mut self, visit: Visit, now: Instant) -> bool {
        self.unanswered = 0;
        // A connection from better days says nothing about new ones.
        let Some(open) = self.open.take_if(|_| visit != Visit::Usual) else { return false };
        self.before = Some((open.pause, now));
        true
    }

    /// A call failed. Says whether the endpoint is passed over from now on. The pause is longer by up to a quarter of
    /// it, of which `jitter` (0.0 to 1.0) says how much.
    pub(super) fn failed(&mut self, fault: Fault, visit: Visit, now: Instant, jitter: f64) -> bool {
        let pause = match &self.open {
            Some(open) if visit == Visit::Trial => open.pause.saturating_mul(2).min(LONGEST),
            // It was on its way before, or went there for want of a better place.
            Some(_) => return false,
            None => {
                self.unanswered += 1;
                if fault == Fault::Unanswered && self.unanswered < IN_A_ROW {
                    return false;
                }
                let soon_again = self.before.filter(|&(_, recovered)| now < recovered + SOON);
                soon_again.map_or(FIRST, |(pause, _)| pause.saturating_mul(2).min(LONGEST))
            }
        };
        self.unanswered = 0;
        let next_trial = now + pause + pause.mul_f64(jitter.clamp(0.0, 1.0) / 4.0);
        self.open.replace(Open { pause, next_trial }).is_none()
    }
}

const IN_A_ROW: u32 = 3;
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use Fault::{Unanswered, Unreachable};
    use Visit::{LastResort, Trial, Usual};

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn one_failed_connection_is_enough_and_so_are_three_calls_in_a_row() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        assert!(breaker.is_clear());
        assert!(breaker.failed(Unreachable, Usual, now, 0.0));
        assert_eq!((breaker.lets(now), breaker.is_open(), breaker.is_clear()), (None, true, false));

        let mut breaker = Breaker::default();
        for answered_between in [true, false] {
            assert!(!breaker.failed(Unanswered, Usual, now, 0.0));
            assert!(!breaker.failed(Unanswered, Usual, now, 0.0));
            assert_eq!((breaker.lets(now), breaker.is_clear()), (Some(Usual), false));
            if answered_between {
                assert!(!breaker.answered(Usual, now));
                assert!(breaker.is_clear());
            } else {
                assert!(breaker.failed(Unanswered, Usual, now, 0.0));
            }
        }
        assert_eq!(breaker.lets(now), None);
    }

    #[test]
    fn one_call_at_a_time_sees_whether_it_recovered_at_pauses_that_double() {
        let mut now = Instant::now();
        let mut breaker = Breaker::default();
        breaker.failed(Unreachable, Usual, now, 0.0);
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(breaker.lets(now + pause * S - S / 1000), None);
            now += pause * S;
            assert_eq!(breaker.lets(now), Some(Trial));
            assert_eq!(breaker.lets(now), None);
            // Others, that were on their way or went there for want of a better place, change nothing.
            assert!(!breaker.failed(Unreachable, Usual, now, 0.0));
            assert!(!breaker.failed(Unreachable, LastResort, now, 0.0));
            assert!(!breaker.failed(Unreachable, Trial, now, 0.0), "it was passed over already");
        }
        assert_eq!(breaker.lets(now + 30 * S), Some(Trial));
        assert!(breaker.answered(Trial, now + 30 * S));
        assert_eq!((breaker.lets(now + 30 * S), breaker.is_clear()), (Some(Usual), true));
    }

    #[test]
    fn what_was_on_its_way_before_says_nothing_about_recovery_and_a_last_resort_does() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        breaker.failed(Unreachable, Usual, now, 0.0);
        assert!(!breaker.answered(Usual, now));
        assert!(breaker.is_open());
        assert!(breaker.answered(LastResort, now));
        assert!(breaker.is_clear());
    }

    #[test]
    fn a_trial_that_is_never_heard_of_again_is_followed_by_another() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        breaker.failed(Unreachable, Usual, now, 0.0);
        let trials = (1..=5).filter(|&seconds| breaker.lets(now + seconds * S) == Some(Trial)).count();
        assert_eq!(trials, 5);
    }

    #[test]
    fn one_that_fails_soon_after_it_recovered_is_passed_over_for_longer() {
        let mut now = Instant::now();
        let mut breaker = Breaker::default();
        let mut pauses = Vec::new();
        for well in [1, 1, 1, 59, 61, 1] {
            breaker.failed(Unreachable, Usual, now, 0.0);
            let pause = (1..).find(|&seconds| breaker.lets(now + seconds * S) == Some(Trial)).unwrap();
            pauses.push(pause);
            now += pause * S;
            assert!(breaker.answered(Trial, now));
            now += well * S;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 1]);
    }

    #[test]
    fn pauses_are_longer_by_chance_and_never_shorter() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        breaker.failed(Unreachable, Usual, now, 1.0);
        assert_eq!(breaker.lets(now + S + S / 4 - S / 1000), None);
        assert_eq!(breaker.lets(now + S + S / 4), Some(Trial));
    }
}
