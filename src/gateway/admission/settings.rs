//! What may be set about ceilings, and the ceiling that follows for one API.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::bucket::Rules;
use crate::gateway::target::Api;
use crate::model::api::ApiName;
use crate::model::ceiling::Ceiling;

/// Ceilings and waiting.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Whether ceilings are kept.
    pub mode: Mode,
    /// The ceiling of APIs that neither `api` nor the catalogue knows, in calls a second.
    pub per_second: NonZeroU32,
    /// The ceiling over all APIs of one app, in calls a second, if there is one.
    pub app_per_second: Option<NonZeroU32>,
    /// The share of each ceiling to use: above 0, at most 1.
    pub headroom: f64,
    /// Every ceiling is divided by this: so many gateways run without a shared store.
    pub share: NonZeroU32,
    /// How many turns may be taken at once after idle time; `None`: half of the ceiling.
    pub burst: Option<NonZeroU32>,
    /// How the first second of the process is treated.
    pub cold_start: ColdStart,
    /// The longest wait for a turn.
    pub max_wait: Duration,
    /// How many calls may wait at one API.
    pub max_waiting: usize,
    /// How many of one caller's calls may wait at one API.
    pub max_waiting_per_caller: usize,
    /// From when a token's second is counted.
    pub guarantee: Guarantee,
    /// The longest that a call is reckoned to need from its last byte's sending to its arrival.
    pub transit_max: Duration,
    /// Ceilings that override the catalogue.
    pub api: HashMap<ApiName, ApiCeiling>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            per_second: const { NonZeroU32::new(200).expect("200 is not zero") },
            app_per_second: None,
            headroom: 1.0,
            share: NonZeroU32::MIN,
            burst: None,
            cold_start: ColdStart::Paced,
            max_wait: Duration::from_secs(3),
            max_waiting: 1024,
            max_waiting_per_caller: 512,
            guarantee: Guarantee::Arrival,
            transit_max: Duration::from_millis(250),
            api: HashMap::new(),
        }
    }
}

impl Settings {
    /// What is set about an API's ceiling; `None`: it has none.
    pub(super) fn api_rules(&self, api: &Api) -> Option<Rules> {
        let ceilings = match self.api.get(&api.name) {
            Some(ApiCeiling::Off) => return None,
            Some(ApiCeiling::Periods(ceilings)) => ceilings.clone(),
            None if api.ceilings.is_empty() => vec![Ceiling::per_second(self.per_second)],
            None => api.ceilings.to_vec(),
        };
        Some(self.rules_of_part(ceilings))
    }

    /// What is set about the ceiling over all APIs of an app, if there is one.
    pub(super) fn app_rules(&self) -> Option<Rules> {
        self.app_per_second.map(|limit| self.rules_of_part(vec![Ceiling::per_second(limit)]))
    }

    /// What is set about a source that may make at most so many calls a second.
    pub(super) fn source_rules(&self, limit: NonZeroU32) -> Rules {
        self.rules_of_part(vec![Ceiling::per_second(limit)])
    }

    /// What is set about these ceilings, of which the configured part is used.
    fn rules_of_part(&self, ceilings: Vec<Ceiling>) -> Rules {
        let share = self.headroom / f64::from(self.share.get());
        self.rules(ceilings.into_iter().map(|ceiling| ceiling.part(share)).collect())
    }

    /// What is set about these ceilings, all of which are used.
    pub(super) fn rules(&self, mut ceilings: Vec<Ceiling>) -> Rules {
        // The shortest period first: it is the one that adapts, and that sets the pace.
        ceilings.sort_by_key(|ceiling| ceiling.period);
        Rules {
            ceilings,
            burst: self.burst.map_or(0, NonZeroU32::get),
            guarantee: self.guarantee,
            transit_max: self.transit_max,
            cold_start: self.cold_start,
        }
    }
}

/// Whether ceilings are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Calls over a ceiling wait or are refused.
    Enforce,
    /// Nothing is held back; calls that would have waited or been refused are counted.
    Shadow,
    /// Nothing is held back and nothing counted.
    Off,
}

/// How the first second of a process is treated, when nobody knows what an earlier one had sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColdStart {
    /// No burst in the first second.
    Paced,
    /// Nothing in the first second and `transit_max`.
    Wait,
}

/// From when a token's second is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// From the answer's first byte, or `transit_max` after sending: no second sees more *arrive* than the ceiling.
    Arrival,
    /// From sending: no second sees more *leave* than the ceiling.
    Dispatch,
}

/// One API's own ceiling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiCeiling {
    /// No ceiling.
    Off,
    /// All of these at once; at least one.
    Periods(Vec<Ceiling>),
}

impl ApiCeiling {
    /// So many calls a second.
    #[must_use]
    pub fn per_second(limit: NonZeroU32) -> Self {
        Self::Periods(vec![Ceiling::per_second(limit)])
    }
}
