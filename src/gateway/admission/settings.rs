//! What may be set about ceilings, and the ceiling that follows for one API.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::model::api::ApiName;

use super::tokens::Ceiling;

/// Ceilings and waiting.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Whether ceilings are kept.
    pub mode: Mode,
    /// The ceiling of APIs that neither `api` nor the catalogue knows, in calls a second.
    pub per_second: NonZeroU32,
    /// The share of each ceiling to use: above 0, at most 1.
    pub headroom: f64,
    /// Every ceiling is divided by this: so many gateways run without a shared store.
    pub share: NonZeroU32,
    /// How the first second of the process is treated.
    pub cold_start: ColdStart,
    /// The longest wait for a turn.
    pub max_wait: Duration,
    /// How many calls may wait at one API.
    pub max_waiting: usize,
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
            headroom: 1.0,
            share: NonZeroU32::MIN,
            cold_start: ColdStart::Paced,
            max_wait: Duration::from_secs(3),
            max_waiting: 1024,
            guarantee: Guarantee::Arrival,
            transit_max: Duration::from_millis(250),
            api: HashMap::new(),
        }
    }
}

impl Settings {
    /// The ceiling to keep for an API; `None`: none. `known` is what the catalogue says, in calls a second.
    pub(super) fn ceiling(&self, api: &ApiName, known: Option<u32>) -> Option<Ceiling> {
        if self.mode == Mode::Off {
            return None;
        }
        let per_second = match self.api.get(api) {
            Some(ApiCeiling::Off) => return None,
            Some(ApiCeiling::PerSecond(n)) => *n,
            None => known.and_then(NonZeroU32::new).unwrap_or(self.per_second),
        };
        Some(Ceiling::part_of(per_second, self.headroom / f64::from(self.share.get())))
    }
}

/// Whether ceilings are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Calls over a ceiling wait or are refused.
    Enforce,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiCeiling {
    /// No ceiling.
    Off,
    /// So many calls a second.
    PerSecond(NonZeroU32),
}
