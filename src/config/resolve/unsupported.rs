//! What the contract names and this version does not do yet.
//!
//! Such keys are known, and their types are checked like all others. One that asks for the missing feature is a problem,
//! since a ceiling that somebody relies on must not be left out in silence. To build a feature is to remove its lines here.

use crate::config::file::{CeilingTable, File};
use crate::config::findings::{Findings, Spot};
use crate::config::problem::Fault;

/// Tells every value that asks for a missing feature.
pub(super) fn report(file: &File, findings: &mut Findings) {
    let mut report = Report(findings);
    ceiling(&file.ceiling, &mut report);
}

fn ceiling(ceiling: &CeilingTable, report: &mut Report<'_>) {
    if let Some(redis) = &ceiling.redis {
        report.spot(
            &redis.spot,
            "ceilings shared through Redis",
            "leave the table out, and divide them by share",
        );
    }
}

struct Report<'a>(&'a mut Findings);

// === impl Report ===

impl Report<'_> {
    fn spot(&mut self, spot: &Spot, feature: &'static str, instead: &'static str) {
        self.0.problem(spot, Fault::Unsupported { feature, instead });
    }
}
