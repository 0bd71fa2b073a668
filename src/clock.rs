//! Wall-clock time, as a value that comes in from outside.
//!
//! A UserSig carries the second in which it was signed, so the parts that sign or verify need wall time. They take
//! a [`WallClock`] and never ask the operating system themselves, which lets a test stand at any moment and jump.
//! Waiting, deadlines and tokens use `tokio::time::Instant`, which tests pause and step.

use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Tells what time it is.
pub trait WallClock: Debug + Send + Sync {
    /// The present moment.
    fn now(&self) -> SystemTime;

    /// Whole seconds since 1970-01-01 00:00 UTC; 0 for any moment before it.
    fn unix_seconds(&self) -> u64 {
        self.now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

/// What a future gives, and when. If it has it at once, that is `now`, and the clock is not looked at again: a look takes
/// 27 ns, and a call whose bytes are all there goes a long way without waiting for anything.
pub async fn timed<F: Future>(mut future: Pin<&mut F>, now: Instant) -> (F::Output, Instant) {
    let mut waits = false;
    poll_fn(move |cx| {
        let poll = future.as_mut().poll(cx);
        let came = |output| (output, if waits { Instant::now() } else { now });
        let poll = poll.map(came);
        waits |= poll.is_pending();
        poll
    })
    .await
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl WallClock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where wall time comes in")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that stands still until it is told to move: for tests.
#[derive(Debug)]
pub struct ManualClock(Mutex<SystemTime>);

impl ManualClock {
    /// A clock that stands at `seconds` after 1970-01-01 00:00 UTC.
    #[must_use]
    pub fn at_unix(seconds: u64) -> Self {
        Self(Mutex::new(UNIX_EPOCH + Duration::from_secs(seconds)))
    }

    /// Moves the clock to `seconds` after 1970-01-01 00:00 UTC, forwards or back.
    pub fn set_unix(&self, seconds: u64) {
        *self.lock() = UNIX_EPOCH + Duration::from_secs(seconds);
    }

    /// Moves the clock forwards.
    pub fn advance(&self, by: Duration) {
        *self.lock() += by;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SystemTime> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl WallClock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_there_at_once_is_there_now_and_what_is_waited_for_later() {
        let now = Instant::now();
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(timed(pin!(async { 7 }), now).await, (7, now));
        let slow = pin!(tokio::time::sleep(Duration::from_secs(2)));
        let ((), came) = timed(slow, now).await;
        assert!(came == Instant::now() && came - now >= Duration::from_secs(2), "{:?}", came - now);
    }
}
