//! Wall-clock time, as a value that comes in from outside.
//!
//! A UserSig carries the second in which it was signed, so the parts that sign or verify need wall time. They take
//! a [`WallClock`] and never ask the operating system themselves, which lets a test stand at any moment and jump.
//! Waiting, deadlines and tokens use `tokio::time::Instant`, which tests pause and step.

use std::fmt::Debug;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells what time it is.
pub trait WallClock: Debug + Send + Sync {
    /// The present moment.
    fn now(&self) -> SystemTime;

    /// Whole seconds since 1970-01-01 00:00 UTC; 0 for any moment before it.
    fn unix_seconds(&self) -> u64 {
        self.now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
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
