//! `[retry]`: how calls are repeated.

use super::apis::by_api;
use crate::config::file::Retry;
use crate::config::findings::Findings;
use crate::config::words;
use crate::gateway::attempt::{Repeat, Settings};

/// The settings of repeats.
pub(super) fn resolve(written: &Retry, findings: &mut Findings) -> Settings {
    let default = Settings::default();
    let repeat = |repeat| match repeat {
        words::Repeat::Never => Repeat::Never,
        words::Repeat::Safe => Repeat::Safe,
    };
    Settings {
        max_attempts: written.max_attempts.or(default.max_attempts),
        budget: written.budget.given().map_or(default.budget, |at| at.value.0),
        api: by_api(&written.api, findings).into_iter().map(|(name, at)| (name, repeat(at.value))).collect(),
    }
}
