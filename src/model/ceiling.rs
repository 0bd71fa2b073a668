//! A ceiling: how many calls in how long a span.

use std::num::NonZeroU32;
use std::time::Duration;

/// A ceiling: so many calls in any span of one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ceiling {
    /// How many calls.
    pub limit: NonZeroU32,
    /// In how long a span; above zero.
    pub period: Duration,
}

impl Ceiling {
    /// So many calls a second.
    #[must_use]
    pub const fn per_second(limit: NonZeroU32) -> Self {
        Self { limit, period: SECOND }
    }

    /// So many calls in one period, which need not be whole or even 1: half a call in a second is one call in two.
    #[must_use]
    pub fn of(calls: f64, period: Duration) -> Self {
        // The small addition undoes what binary fractions lose: 100 × 0.29 is 28.999…
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast of a float saturates, and a negative one is 0"
        )]
        match NonZeroU32::new((calls + 1e-9) as u32) {
            Some(limit) => Self { limit, period },
            None => Self { limit: NonZeroU32::MIN, period: period.div_f64(calls.max(LEAST_CALLS)) },
        }
    }

    /// This share of it: above 0, at most 1.
    #[must_use]
    pub fn part(self, share: f64) -> Self {
        Self::of(f64::from(self.limit.get()) * share, self.period)
    }

    /// In calls a second.
    #[must_use]
    pub fn rate(self) -> f64 {
        f64::from(self.limit.get()) / self.period.as_secs_f64()
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// One call in about three years, where the period is a second: keeps a period within what a clock can add.
const LEAST_CALLS: f64 = 1e-8;

#[cfg(test)]
mod tests {
    use super::*;

    fn a_second(limit: u32) -> Ceiling {
        Ceiling::per_second(limit.try_into().unwrap())
    }

    #[test]
    fn a_part_below_one_call_is_one_call_in_a_longer_period() {
        assert_eq!(a_second(100).part(0.29), a_second(29));
        assert_eq!(a_second(1).part(1.0), a_second(1));
        let quarter = a_second(1).part(0.25);
        assert_eq!((quarter.limit.get(), quarter.period), (1, Duration::from_secs(4)));
        assert!((quarter.rate() - 0.25).abs() < 1e-12);
    }

    #[test]
    fn the_period_stays_finite() {
        let day = Duration::from_secs(24 * 3600);
        assert!(Ceiling::of(0.0, day).period < Duration::from_secs(u64::MAX / 1024));
        assert!(Ceiling::of(f64::NAN, day).period < Duration::from_secs(u64::MAX / 1024));
    }
}
