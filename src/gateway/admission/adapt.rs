//! What is left of a ceiling when Tencent says that calls are too frequent. Pure arithmetic.
//!
//! Tencent's count may be lower than the ceiling that is known here, and others may use the same SDKAppID beside this
//! gateway. So a "too frequent" lowers the **budget**: to a share of what was in use, since what was in use was too
//! much. It then grows back by a hundredth of the ceiling each second, until Tencent says it again or the ceiling is
//! reached. However many calls are refused together, one second sees one cut: they all tell of the same excess.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::ceiling::Ceiling;

/// How much of a ceiling may be used at present.
#[derive(Debug)]
pub(super) struct Budget {
    ceiling: Ceiling,
    /// Calls in each of the ceiling's periods.
    calls: f64,
    /// Up to when it has grown.
    at: Instant,
    cut_at: Option<Instant>,
}

/// A budget was lowered: calls a second before and after.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cut {
    pub(super) before: f64,
    pub(super) after: f64,
}

impl Budget {
    /// All of the ceiling.
    pub(super) fn new(ceiling: Ceiling, now: Instant) -> Self {
        Self { ceiling, calls: f64::from(ceiling.limit.get()), at: now, cut_at: None }
    }

    /// The ceiling is another one. A cut stays in force.
    pub(super) fn set_ceiling(&mut self, ceiling: Ceiling) {
        let whole = self.is_whole();
        let rate = self.rate();
        self.ceiling = ceiling;
        let limit = f64::from(ceiling.limit.get());
        self.calls = if whole { limit } else { limit.min(rate * ceiling.period.as_secs_f64()) };
    }

    /// Whether nothing was taken off.
    pub(super) fn is_whole(&self) -> bool {
        self.calls >= f64::from(self.ceiling.limit.get())
    }

    /// Grows until `now`, and gives the ceiling that is left.
    pub(super) fn grow(&mut self, now: Instant) -> Ceiling {
        let limit = f64::from(self.ceiling.limit.get());
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.calls = (self.calls + limit * GROWTH * elapsed).min(limit);
        self.at = now;
        Ceiling::of(self.calls, self.ceiling.period)
    }

    /// Lowers it to `share` of what was in use, once a second.
    pub(super) fn cut(&mut self, share: f64, used: u32, now: Instant) -> Option<Cut> {
        if self.cut_at.is_some_and(|last| now < last + ONCE_IN) {
            return None;
        }
        self.grow(now);
        let before = self.rate();
        let period = self.ceiling.period.as_secs_f64();
        let least = (LEAST_RATE * period).min(f64::from(self.ceiling.limit.get()));
        self.calls = (self.calls.min(f64::from(used)) * share).max(least);
        self.cut_at = Some(now);
        Some(Cut { before, after: self.rate() })
    }

    fn rate(&self) -> f64 {
        self.calls / self.ceiling.period.as_secs_f64()
    }
}

/// The share of the ceiling by which the budget grows each second.
const GROWTH: f64 = 0.01;
const ONCE_IN: Duration = Duration::from_secs(1);
/// One call in ten seconds: enough to learn that it is over.
const LEAST_RATE: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(limit: u32) -> (Budget, Instant) {
        let now = Instant::now();
        (Budget::new(Ceiling::per_second(limit.try_into().unwrap()), now), now)
    }

    #[test]
    fn it_is_cut_once_a_second_to_a_share_of_what_was_in_use() {
        let (mut budget, start) = budget(200);
        let cut = budget.cut(0.5, 100, start).unwrap();
        assert_eq!((cut.before, cut.after), (200.0, 50.0));
        assert_eq!(budget.cut(0.5, 100, start + Duration::from_millis(999)), None);
        let cut = budget.cut(0.5, 100, start + Duration::from_secs(1)).unwrap();
        assert_eq!((cut.before, cut.after), (52.0, 26.0));
    }

    #[test]
    fn it_grows_back_by_a_hundredth_a_second_and_no_further() {
        let (mut budget, start) = budget(200);
        budget.cut(0.5, 200, start);
        assert_eq!(budget.grow(start + Duration::from_secs(10)).limit.get(), 120);
        assert!(!budget.is_whole());
        assert_eq!(budget.grow(start + Duration::from_secs(100)).limit.get(), 200);
        assert!(budget.is_whole());
    }

    #[test]
    fn one_call_in_ten_seconds_is_always_left() {
        let (mut budget, start) = budget(1);
        for second in 0..20 {
            budget.cut(0.5, 1, start + Duration::from_secs(second));
        }
        let left = budget.grow(start + Duration::from_secs(19));
        assert_eq!((left.limit.get(), left.period), (1, Duration::from_secs(10)));
    }

    #[test]
    fn a_cut_outlives_a_change_of_the_ceiling() {
        let (mut budget, start) = budget(200);
        budget.cut(0.5, 200, start);
        budget.set_ceiling(Ceiling::per_second(400.try_into().unwrap()));
        assert_eq!(budget.grow(start).limit.get(), 100);
        budget.set_ceiling(Ceiling::per_second(50.try_into().unwrap()));
        assert!(budget.is_whole());
    }
}
