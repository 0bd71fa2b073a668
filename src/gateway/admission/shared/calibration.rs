//! What time it is at the store, by this process's own clock. Pure arithmetic.
//!
//! An answer tells the store's time at some moment between the command's leaving and its own coming, so it says by how
//! much both clocks differ, give or take the time that the command took. Two such readings that cannot both be true tell
//! that the store's clock was set, or that another server answers: a *step*.

use tokio::time::Instant;

use super::protocol::{GUARD, micros};

/// One reading: the store's time, told between two moments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) sent: Instant,
    pub(super) received: Instant,
    pub(super) store: i64,
}

/// By how much the store's clock is ahead of this process's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calibration {
    anchor: Instant,
    /// The store's time at the anchor, at least and at most.
    low: i64,
    high: i64,
    /// When that was read.
    at: Instant,
}

impl Calibration {
    pub(super) fn new(reading: Reading) -> Self {
        let anchor = reading.sent;
        Self { anchor, low: reading.low(anchor), high: reading.high(anchor), at: reading.received }
    }

    /// The latest time that it can be there at `now`.
    pub(super) fn latest(&self, now: Instant) -> i64 {
        self.high + micros(now.saturating_duration_since(self.anchor)) + self.drift(now)
    }

    /// What time it is there, as well as can be told.
    pub(super) fn middle(&self, now: Instant) -> i64 {
        self.low + (self.high - self.low) / 2 + micros(now.saturating_duration_since(self.anchor))
    }

    /// Takes a reading. Gives by how much the store's clock stepped, if it did: forwards rather more than it did.
    pub(super) fn read(&mut self, reading: Reading) -> Option<i64> {
        let (low, high) = (reading.low(self.anchor), reading.high(self.anchor));
        let drift = self.drift(reading.received);
        let tolerance = micros(GUARD);
        if low > self.high + drift + tolerance || high < self.low - drift - tolerance {
            let forwards = low > self.high;
            let step = if forwards { high - self.low } else { (low + high) / 2 - (self.low + self.high) / 2 };
            *self = Self::new(reading);
            return Some(step);
        }
        // Where both hold, but for what clocks drift apart.
        let (kept_low, kept_high) = (self.low - drift, self.high + drift);
        let (both_low, both_high) = (low.max(kept_low), high.min(kept_high));
        (self.low, self.high) = if both_low <= both_high { (both_low, both_high) } else { (low, high) };
        self.at = reading.received;
        None
    }

    fn drift(&self, now: Instant) -> i64 {
        micros(now.saturating_duration_since(self.at)) / DRIFTS_ONE_IN
    }
}

impl Reading {
    /// The store's time at `anchor`, at least: as if the answer was told when it came.
    fn low(&self, anchor: Instant) -> i64 {
        self.store - since(anchor, self.received)
    }

    fn high(&self, anchor: Instant) -> i64 {
        self.store - since(anchor, self.sent)
    }
}

fn since(anchor: Instant, moment: Instant) -> i64 {
    match moment.checked_duration_since(anchor) {
        Some(after) => micros(after),
        None => -micros(anchor - moment),
    }
}

/// Clocks of computers differ by less than this share, while one of them is slewed, too: NTP slews by 500 in a million.
const DRIFTS_ONE_IN: i64 = 1_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn reading(start: Instant, sent: u64, received: u64, store: i64) -> Reading {
        Reading { sent: start + ms(sent), received: start + ms(received), store: store * 1_000 }
    }

    #[test]
    fn slow_answers_are_no_steps_and_quick_ones_narrow_what_is_known() {
        let start = Instant::now();
        let mut calibration = Calibration::new(reading(start, 0, 40, 1_020));
        assert_eq!(calibration.latest(start), 1_020_000);
        assert_eq!(calibration.read(reading(start, 200, 202, 1_211)), None);
        assert!((calibration.middle(start + ms(202)) - 1_212_000).abs() <= 1_500);
        // In the 45 ms that this one took, the store may have answered at any moment.
        assert_eq!(calibration.read(reading(start, 400, 445, 1_450)), None);
        assert_eq!(calibration.read(reading(start, 500, 545, 1_512)), None);
    }

    #[test]
    fn a_step_either_way_is_told_and_the_new_time_taken() {
        let start = Instant::now();
        for step in [1_000_i64, -1_000, 40, -40] {
            let mut calibration = Calibration::new(reading(start, 0, 1, 1_000));
            let told = calibration.read(reading(start, 200, 201, 1_200 + step)).unwrap();
            assert!((told - step * 1_000).abs() <= 3_000, "{told} for {step}");
            if step > 0 {
                assert!(told >= step * 1_000, "{told} for {step}");
            }
            assert_eq!(calibration.read(reading(start, 300, 301, 1_300 + step)), None);
        }
    }

    #[test]
    fn a_drift_is_no_step() {
        let start = Instant::now();
        let mut calibration = Calibration::new(reading(start, 0, 1, 1_000));
        for second in 1..600 {
            // 500 in a million.
            let reading = Reading {
                store: 1_000_000 + second * 1_000_500,
                ..reading(start, second as u64 * 1_000, second as u64 * 1_000 + 1, 0)
            };
            assert_eq!(calibration.read(reading), None);
        }
    }
}
