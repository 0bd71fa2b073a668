//! Whether somebody takes what is offered.
//!
//! A caller who stops reading would hold its connection, and what was answered on it, for ever; one who takes a byte
//! now and then nearly so. So the time since which something was offered moves forward with each byte that is taken,
//! and no further than that byte is worth at [`LEAST_RATE`]. Who falls behind by more than the patience that one has
//! with it is stuck.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// How somebody keeps up with what it is offered.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// `None`: everything was taken.
    owing_since: Cell<Option<Instant>>,
}

impl Pace {
    /// There is something to take.
    pub(super) fn offer(&self) {
        if self.owing_since.get().is_none() {
            self.owing_since.set(Some(Instant::now()));
        }
    }

    /// So many bytes were taken.
    pub(super) fn take(&self, bytes: usize) {
        if let Some(since) = self.owing_since.get() {
            let worth = NANOS_A_BYTE.saturating_mul(bytes as u64);
            self.owing_since.set(Some(Instant::now().min(since + Duration::from_nanos(worth))));
        }
    }

    /// Everything was taken; says whether anything was to take.
    pub(super) fn settle(&self) -> bool {
        self.owing_since.take().is_some()
    }

    /// Whether there is something to take.
    pub(super) fn is_owing(&self) -> bool {
        self.owing_since.get().is_some()
    }

    /// When patience ends if nothing more is taken; `None` when there is nothing to take.
    pub(super) fn stuck_at(&self, patience: Duration) -> Option<Instant> {
        self.owing_since.get().map(|since| since + patience)
    }
}

/// Bytes a second, on average, below which a caller does not keep up.
pub(super) const LEAST_RATE: u64 = 1024;
const NANOS_A_BYTE: u64 = 1_000_000_000 / LEAST_RATE;

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn is_stuck(pace: &Pace) -> bool {
        pace.stuck_at(PATIENCE).is_some_and(|stuck| stuck <= Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_stuck_when_patience_ends() {
        let pace = Pace::default();
        pace.offer();
        sleep(PATIENCE / 2).await;
        pace.offer();
        assert!(!is_stuck(&pace));
        sleep(PATIENCE / 2).await;
        assert!(is_stuck(&pace));
        assert!(pace.settle());
        assert!(!is_stuck(&pace) && !pace.settle());
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_does_not_keep_up() {
        let pace = Pace::default();
        pace.offer();
        for seconds in 1..30 {
            sleep(Duration::from_secs(1)).await;
            // Half of the least rate, so that half of the time counts.
            pace.take(512);
            assert_eq!(is_stuck(&pace), seconds >= 20, "{seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn much_at_once_is_no_credit_for_later() {
        let pace = Pace::default();
        pace.offer();
        pace.take(1 << 30);
        sleep(PATIENCE).await;
        assert!(is_stuck(&pace));
    }
}
