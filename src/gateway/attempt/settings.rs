//! What may be set about repeats.

use std::collections::HashMap;
use std::num::NonZeroU32;

use crate::gateway::target::Api;
use crate::model::api::{ApiName, RepeatSafety};

/// How calls are repeated.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The most tries of one call, of those that are made because one before failed.
    pub max_attempts: NonZeroU32,
    /// The most retries, as a share of calls: 0.0 to 1.0. With 0.0 there are none.
    pub budget: f64,
    /// APIs for which the catalogue's word on repeats does not count.
    pub api: HashMap<ApiName, Repeat>,
}

/// Whether calls of one API may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Not even where nothing reached Tencent.
    Never,
    /// Also when nobody knows how the first one ended.
    Safe,
}

/// What a call bears, from less to more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bears {
    /// No repeat.
    Nothing,
    /// A repeat after a try of which nothing reached Tencent.
    Unsent,
    /// Any.
    Any,
}

impl Default for Settings {
    fn default() -> Self {
        let max_attempts = const { NonZeroU32::new(3).expect("3 is not zero") };
        Self { max_attempts, budget: 0.1, api: HashMap::new() }
    }
}

impl Settings {
    /// What a call of `api` bears.
    pub(super) fn bears(&self, api: &Api) -> Bears {
        match (self.api.get(&api.name), api.repeat) {
            (Some(Repeat::Never), _) => Bears::Nothing,
            (None, RepeatSafety::Write) => Bears::Unsent,
            (Some(Repeat::Safe), _) | (None, RepeatSafety::Read | RepeatSafety::IdempotentWrite) => {
                Bears::Any
            }
        }
    }
}
