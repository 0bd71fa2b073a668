//! How much is too much: the ceilings, and the sliding second in which calls are counted.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::api::{ApiName, Entry, catalogue};

/// How many calls a second the sandbox takes before it answers 60007 (one API) or 60011 (the whole app).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceilings {
    /// Ceilings that replace the catalogue's. An API that only stands here is served too, with a plain success.
    pub per_api: HashMap<ApiName, u32>,
    /// The ceiling of an API for which neither [`Ceilings::per_api`] nor the catalogue has a number.
    pub otherwise: u32,
    /// The ceiling over all APIs of one app; `None`: there is none.
    pub per_app: Option<u32>,
}

impl Default for Ceilings {
    /// What Tencent's pages say: the catalogue's numbers, 200 where it has none, no ceiling for the app.
    fn default() -> Self {
        Self { per_api: HashMap::new(), otherwise: 200, per_app: None }
    }
}

impl Ceilings {
    /// The ceiling of one API, in calls a second.
    #[must_use]
    pub fn of(&self, api: &ApiName) -> u32 {
        let documented = || catalogue().find(api).and_then(Entry::per_second);
        self.per_api.get(api).copied().or_else(documented).unwrap_or(self.otherwise)
    }

    /// Whether the sandbox serves this API.
    pub(super) fn knows(&self, api: &ApiName) -> bool {
        self.per_api.contains_key(api) || catalogue().find(api).is_some()
    }
}

/// The calls of the last second, and the most that any second ever held.
///
/// Exact: a second `[t, t+1s)` that holds the most can always be moved so that it ends just after an arrival, and
/// every arrival looks back over exactly that second.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// In the order of arrival, none older than a second before the newest.
    stamps: VecDeque<Instant>,
    worst: usize,
}

impl Window {
    /// How many calls lie in the second that ends at `now`.
    pub(super) fn held(&mut self, now: Instant) -> usize {
        while self.stamps.front().is_some_and(|&stamp| stamp + SECOND <= now) {
            self.stamps.pop_front();
        }
        self.stamps.len()
    }

    /// Counts a call at `now`, and tells how many the second that ends with it holds.
    pub(super) fn note(&mut self, now: Instant) -> usize {
        if self.held(now) == MOST_STAMPS {
            self.stamps.pop_front();
        }
        self.stamps.push_back(now);
        self.worst = self.worst.max(self.stamps.len());
        self.stamps.len()
    }

    /// The most calls that any one second held; [`MOST_STAMPS`] means that many or more.
    pub(super) fn worst(&self) -> usize {
        self.worst
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// The most calls that a window remembers: more in one second than the sandbox can answer.
pub(super) const MOST_STAMPS: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_is_open_at_its_end() {
        let start = Instant::now();
        let mut window = Window::default();
        assert_eq!(window.note(start), 1);
        assert_eq!(window.note(at(start, 999)), 2);
        assert_eq!(window.held(at(start, 999)), 2);
        assert_eq!(window.note(at(start, 1000)), 2, "the first one lies a whole second back");
        assert_eq!(window.worst(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_worst_second_is_the_worst_of_all_by_trying_every_one() {
        let start = Instant::now();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..50 {
            let mut stamps: Vec<u64> = (0..80).map(|_| random.u64(0..5000)).collect();
            stamps.sort_unstable();
            let mut window = Window::default();
            for &stamp in &stamps {
                window.note(at(start, stamp));
            }
            let every_second = (0..5000).map(|t| stamps.iter().filter(|&&s| t <= s && s < t + 1000).count());
            assert_eq!(Some(window.worst()), every_second.max());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_remembers_a_bounded_number() {
        let now = Instant::now();
        let mut window = Window::default();
        for _ in 0..MOST_STAMPS + 5 {
            window.note(now);
        }
        assert_eq!((window.stamps.len(), window.worst()), (MOST_STAMPS, MOST_STAMPS));
    }

    #[test]
    fn ceilings_come_from_the_override_then_the_catalogue_then_the_default() {
        let name = |text: &str| text.parse::<ApiName>().unwrap();
        let mut ceilings = Ceilings::default();
        assert_eq!(ceilings.of(&name("live_engine_http_srv/get_room_list")), 10);
        assert_eq!(ceilings.of(&name("live_engine_http_srv/edit_gift")), 1, "assumed");
        assert_eq!(ceilings.of(&name("nobody/knows")), 200);
        assert!(!ceilings.knows(&name("nobody/knows")));
        ceilings.per_api.insert(name("nobody/knows"), 3);
        ceilings.per_api.insert(name("live_engine_http_srv/get_room_list"), 7);
        assert_eq!(ceilings.of(&name("nobody/knows")), 3);
        assert_eq!(ceilings.of(&name("live_engine_http_srv/get_room_list")), 7);
        assert!(ceilings.knows(&name("nobody/knows")));
    }
}
