//! How many turns there were lately, for a ceiling that begins while calls are under way.

use std::time::Duration;

use tokio::time::Instant;

/// How many calls of an app got a turn in the last second, under whatever ceilings or none.
///
/// A slice of time has its place in a ring, so that nothing of it lies elsewhere in memory: see [`Pages`](super::pages::Pages).
#[derive(Debug)]
pub(super) struct Recent {
    since: Instant,
    /// The latest slice in which there was a turn, counted from `since`.
    latest: u64,
    turns: [u32; SLICES],
}

impl Recent {
    /// None so far; none before `since`.
    pub(super) fn new(since: Instant) -> Self {
        Self { since, latest: 0, turns: [0; SLICES] }
    }

    pub(super) fn count(&mut self, now: Instant) {
        self.forget(now);
        let turns = &mut self.turns[place(self.latest)];
        *turns = turns.saturating_add(1);
    }

    /// Those of the slice that ended a second ago count, too: rather one too many.
    pub(super) fn within_a_second(&mut self, now: Instant) -> u32 {
        self.forget(now);
        self.turns.iter().fold(0, |sum, turns| sum.saturating_add(*turns))
    }

    /// Makes the slice of `now` the latest.
    fn forget(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.since);
        let slice = u64::try_from(since.as_nanos() / SLICE.as_nanos()).unwrap_or(u64::MAX);
        for begun in (self.latest + 1..=slice).take(SLICES) {
            self.turns[place(begun)] = 0;
        }
        self.latest = self.latest.max(slice);
    }
}

fn place(slice: u64) -> usize {
    (slice % SLICES as u64) as usize
}

/// So finely turns are counted.
const SLICE: Duration = Duration::from_millis(50);
/// Those that make up a second, and the one that has begun.
const SLICES: usize = 21;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_of_the_last_second_count_and_older_ones_do_not() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut recent = Recent::new(start);
        for ms in [0, 49, 50, 980] {
            recent.count(at(ms));
        }
        assert_eq!(recent.within_a_second(at(980)), 4);
        assert_eq!(recent.within_a_second(at(1_049)), 4, "rather one too many");
        assert_eq!(recent.within_a_second(at(1_050)), 2);
        assert_eq!(recent.within_a_second(at(1_100)), 1);
        recent.count(at(1_979));
        assert_eq!(recent.within_a_second(at(1_980)), 2);
        recent.count(at(1_000_000));
        assert_eq!(recent.within_a_second(at(1_000_000)), 1);
        assert_eq!(recent.within_a_second(at(2_000_000)), 0);
    }

    #[test]
    fn whatever_the_moments_no_turn_of_the_last_second_is_forgotten() {
        let start = Instant::now();
        let mut recent = Recent::new(start);
        let (mut now, mut turns) = (start, Vec::new());
        for nth in 0..20_000_u64 {
            // Steps from none to some 0.2 s, small ones more often.
            now += Duration::from_micros(1 << ((nth.wrapping_mul(0x9e37_79b9) >> 7) % 18));
            recent.count(now);
            turns.push(now);
            let within =
                |longest: Duration| turns.iter().rev().take_while(|&&turn| now - turn < longest).count();
            let counted = recent.within_a_second(now) as usize;
            let second = Duration::from_secs(1);
            assert!((within(second)..=within(second + SLICE)).contains(&counted), "{counted}");
        }
    }
}
