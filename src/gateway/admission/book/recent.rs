//! How many turns there were lately, for a ceiling that begins while calls are under way.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How many calls of an app got a turn in the last second, under whatever ceilings or none.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The beginning of a slice of a second, and the turns in it, in the order of time.
    slices: VecDeque<(Instant, u32)>,
}

impl Recent {
    pub(super) fn count(&mut self, now: Instant) {
        match self.slices.back_mut() {
            Some((begin, turns)) if now < *begin + SLICE => *turns = turns.saturating_add(1),
            _ => {
                self.forget(now);
                self.slices.push_back((now, 1));
            }
        }
    }

    pub(super) fn within_a_second(&mut self, now: Instant) -> u32 {
        self.forget(now);
        self.slices.iter().fold(0, |sum, (_, turns)| sum.saturating_add(*turns))
    }

    fn forget(&mut self, now: Instant) {
        while self.slices.front().is_some_and(|(begin, _)| *begin + SECOND <= now) {
            self.slices.pop_front();
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// So finely turns are counted.
const SLICE: Duration = Duration::from_millis(50);
