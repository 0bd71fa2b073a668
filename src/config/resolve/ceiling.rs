//! `[ceiling]`: how much of Tencent's ceilings is used, and the ceilings of single APIs.

use std::collections::HashMap;
use std::time::Duration;

use crate::config::file::CeilingTable;
use crate::config::findings::Findings;
use crate::config::problem::{Fault, quote};
use crate::config::reader::{At, Named};
use crate::config::words::{Ceiling, Mode};
use crate::gateway::admission::{self, ApiCeiling, Settings};
use crate::model::api::{ApiName, catalogue};

/// The settings of admission. What this version does not support has been told already, and is left out.
pub(super) fn resolve(written: &CeilingTable, findings: &mut Findings) -> Settings {
    let default = Settings::default();
    Settings {
        mode: match written.mode.given().map(|at| at.value) {
            Some(Mode::Off) => admission::Mode::Off,
            Some(Mode::Enforce | Mode::Shadow) | None => admission::Mode::Enforce,
        },
        per_second: written.per_second.or(default.per_second),
        headroom: written.headroom.given().map_or(default.headroom, |at| at.value.0),
        share: written.share.or(default.share),
        cold_start: written.cold_start.or(default.cold_start),
        max_wait: written.max_wait.or(default.max_wait),
        max_waiting: written.max_waiting.given().map_or(default.max_waiting, |at| at.value.0),
        guarantee: written.guarantee.or(default.guarantee),
        transit_max: written.transit_max.duration_or(default.transit_max),
        api: ceilings(&written.api, findings),
    }
}

fn ceilings(named: &Named<Ceiling>, findings: &mut Findings) -> HashMap<ApiName, ApiCeiling> {
    let mut ceilings = HashMap::new();
    // By API: two texts may name one, with and without "v4/".
    let mut first: HashMap<ApiName, &At<Ceiling>> = HashMap::new();
    for (text, at) in &named.0 {
        let Ok(name) = text.parse::<ApiName>() else {
            let wanted = "the name of an API, such as \"live_config/get_callback\"";
            findings.problem(&at.spot, Fault::found(quote(text), wanted));
            continue;
        };
        if let Some(first) = first.get(&name) {
            findings.problem(&at.spot, Fault::Remark(format!("the same API as {}", first.spot)));
            continue;
        }
        if catalogue().find(&name).is_none() {
            let nearest = catalogue().nearest(name.as_str());
            let hint = nearest.map(|known| format!(", did you mean {known}?")).unwrap_or_default();
            findings.warning(&at.spot, format!("the catalogue does not know this API{hint}"));
        }
        ceilings.extend(supported(&at.value).map(|ceiling| (name.clone(), ceiling)));
        first.insert(name, at);
    }
    ceilings
}

/// The ceiling, where this version can keep it: one window of a second.
pub(super) fn supported(ceiling: &Ceiling) -> Option<ApiCeiling> {
    match ceiling {
        Ceiling::Off => Some(ApiCeiling::Off),
        Ceiling::Windows(windows) => match windows[..] {
            [(limit, per)] if per == Duration::from_secs(1) => Some(ApiCeiling::PerSecond(limit)),
            _ => None,
        },
    }
}
