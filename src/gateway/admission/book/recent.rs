//! How many calls went lately, for a ceiling that begins while calls are under way.

use std::time::Duration;

use tokio::time::Instant;

/// How many calls of an app went in the last second, under whatever ceilings or none. The moments that it is told never go
/// back.
///
/// A slice of time has its place in a ring, so that nothing of it lies elsewhere in memory: see
/// [`Pages`](super::pages::Pages).
#[derive(Debug)]
pub(super) struct Recent {
    since: Instant,
    /// The latest slice that was looked at, counted from `since`.
    latest: u64,
    calls: [u32; SLICES],
}

impl Recent {
    /// None so far; none before `since`.
    pub(super) fn new(since: Instant) -> Self {
        Self { since, latest: 0, calls: [0; SLICES] }
    }

    /// A call has its turn.
    pub(super) fn count(&mut self, now: Instant) {
        self.advance(now);
        let calls = &mut self.calls[place(self.latest)];
        *calls = calls.saturating_add(1);
    }

    /// A call leaves that had its turn at `granted`: it counts where it leaves.
    pub(super) fn left(&mut self, granted: Instant, now: Instant) {
        // So it is nearly always, and the slice is the same one or the one before, for which there is room.
        if now.saturating_duration_since(granted) < SLICE {
            return;
        }
        self.advance(now);
        let slice = self.slice(granted);
        if slice + (SLICES as u64) > self.latest {
            let calls = &mut self.calls[place(slice)];
            *calls = calls.saturating_sub(1);
        }
        self.count(now);
    }

    /// How many there were. Up to two slices of those before count, too: never one too few.
    pub(super) fn within_a_second(&mut self, now: Instant) -> u32 {
        self.advance(now);
        self.calls.iter().fold(0, |sum, calls| sum.saturating_add(*calls))
    }

    /// Makes the slice of `now` the latest, and forgets those whose places are for it and for what lies between.
    fn advance(&mut self, now: Instant) {
        let slice = self.slice(now);
        for begun in (self.latest + 1..=slice).take(SLICES) {
            self.calls[place(begun)] = 0;
        }
        self.latest = self.latest.max(slice);
    }

    fn slice(&self, moment: Instant) -> u64 {
        let elapsed = moment.saturating_duration_since(self.since);
        elapsed.as_secs() * IN_A_SECOND + u64::from(elapsed.subsec_nanos() / SLICE.subsec_nanos())
    }
}

fn place(slice: u64) -> usize {
    (slice % SLICES as u64) as usize
}

/// So finely calls are counted.
const SLICE: Duration = Duration::from_millis(50);
const IN_A_SECOND: u64 = 20;
/// Those that make up a second, the one that has begun, and the one before in which a call may be counted that left later.
const SLICES: usize = IN_A_SECOND as usize + 2;

const _: () = assert!(SLICE.as_millis() as u64 * IN_A_SECOND == 1_000);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn calls_of_the_last_second_count_and_older_ones_do_not() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut recent = Recent::new(start);
        for ms in [0, 49, 50, 980] {
            recent.count(at(ms));
        }
        assert_eq!(recent.within_a_second(at(980)), 4);
        assert_eq!(recent.within_a_second(at(1_099)), 4, "never one too few");
        assert_eq!(recent.within_a_second(at(1_100)), 2);
        assert_eq!(recent.within_a_second(at(1_150)), 1);
        recent.count(at(2_029));
        assert_eq!(recent.within_a_second(at(2_030)), 2);
        recent.count(at(1_000_000));
        assert_eq!(recent.within_a_second(at(1_000_000)), 1);
        assert_eq!(recent.within_a_second(at(2_000_000)), 0);
    }

    #[test]
    fn a_call_that_left_late_counts_from_then_on_and_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for late in [0, 40, 60, 700, 990, 1_040, 1_100, 20_000] {
            let mut recent = Recent::new(start);
            recent.count(at(10));
            recent.left(at(10), at(10 + late));
            assert_eq!(recent.within_a_second(at(10 + late)), 1, "{late}");
            assert_eq!(recent.within_a_second(at(10 + late + 999)), 1, "{late}");
            assert_eq!(recent.within_a_second(at(10 + late + 1_100)), 0, "{late}");
        }
    }

    #[test]
    fn whatever_the_moments_no_call_of_the_last_second_is_forgotten() {
        let start = Instant::now();
        let mut recent = Recent::new(start + SECOND);
        let (mut now, mut calls) = (start + SECOND / 2, Vec::new());
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            // Mostly far less than a slice, now and then more than all of them.
            let bits = random.u32(..22);
            now += Duration::from_micros(random.u64(..1 << bits));
            if random.bool() {
                recent.count(now);
                calls.push(now);
            }
            let within =
                |longest: Duration| calls.iter().rev().take_while(|&&call| now - call < longest).count();
            let counted = recent.within_a_second(now) as usize;
            assert!((within(SECOND)..=within(SECOND + SLICE * 2)).contains(&counted), "{counted}");
        }
    }
}
