//! `[ceiling]`: how much of Tencent's ceilings is used, and the ceilings of single APIs.

use std::num::NonZeroU32;

use super::apis::by_api;
use crate::config::file::CeilingTable;
use crate::config::findings::Findings;
use crate::config::problem::Fault;
use crate::config::reader::At;
use crate::config::words::CeilingText;
use crate::gateway::admission::{ApiCeiling, Settings};
use crate::model::ceiling::Ceiling;
use crate::model::duration;

/// The settings of admission.
pub(super) fn resolve(written: &CeilingTable, findings: &mut Findings) -> Settings {
    let default = Settings::default();
    let ceilings = by_api(&written.api, findings);
    Settings {
        mode: written.mode.or(default.mode),
        per_second: written.per_second.or(default.per_second),
        app_per_second: written.app_per_second.given().and_then(|at| NonZeroU32::new(at.value)),
        headroom: written.headroom.given().map_or(default.headroom, |at| at.value.0),
        share: written.share.or(default.share),
        burst: written.burst.given().and_then(|at| NonZeroU32::new(at.value)),
        cold_start: written.cold_start.or(default.cold_start),
        max_wait: written.max_wait.or(default.max_wait),
        max_waiting: written.max_waiting.given().map_or(default.max_waiting, |at| at.value.0),
        max_waiting_per_caller: written
            .max_waiting_per_caller
            .given()
            .map_or(default.max_waiting_per_caller, |at| at.value.0),
        guarantee: written.guarantee.or(default.guarantee),
        transit_max: written.transit_max.duration_or(default.transit_max),
        api: ceilings.into_iter().map(|(name, at)| (name, ceiling(at, findings))).collect(),
    }
}

fn ceiling(at: &At<CeilingText>, findings: &mut Findings) -> ApiCeiling {
    let CeilingText::Periods(ceilings) = &at.value else { return ApiCeiling::Off };
    for (index, ceiling) in ceilings.iter().enumerate() {
        let others = &ceilings[..index];
        if others.iter().any(|other| other.period == ceiling.period) {
            let period = duration::format(ceiling.period);
            findings
                .problem(&at.spot, Fault::Remark(format!("two ceilings over the same period, \"{period}\"")));
        }
        if let Some(stricter) = ceilings.iter().find(|other| never_binds(ceiling, other)) {
            let [idle, binding] = [ceiling, stricter]
                .map(|ceiling| format!("{} in \"{}\"", ceiling.limit, duration::format(ceiling.period)));
            findings.warning(&at.spot, format!("{idle} never holds anything back beside {binding}"));
        }
    }
    ApiCeiling::Periods(ceilings.clone())
}

/// Whether calls that keep to `other` can never be too many for `ceiling`.
fn never_binds(ceiling: &Ceiling, other: &Ceiling) -> bool {
    // In a span of `ceiling`'s, the shorter period of `other` begins so many times at most.
    let times = ceiling.period.as_nanos().div_ceil(other.period.as_nanos().max(1));
    ceiling.period != other.period && u128::from(other.limit.get()) * times <= u128::from(ceiling.limit.get())
}
