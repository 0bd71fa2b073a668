//! What the contract names and this version does not do yet.
//!
//! Such keys are known, and their types are checked like all others. A value that asks for nothing (an empty path, a
//! burst of 0) is taken; one that asks for the missing feature is a problem, since a ceiling, a rule or a retry that
//! somebody relies on must not be left out in silence. To build a feature is to remove its lines here.

use crate::config::file::{CeilingTable, File, Retry};
use crate::config::findings::{Findings, Spot};
use crate::config::problem::Fault;
use crate::config::reader::Field;
use crate::config::words::{Mode, Repeat, Share};
use crate::gateway::admission;

use super::ceiling::supported;

/// Tells every value that asks for a missing feature.
pub(super) fn report(file: &File, findings: &mut Findings) {
    let mut report = Report(findings);
    report.given(&file.listen.admin_token_file, |path| !path.is_empty(), "admin tokens", "leave it empty");
    report.given(&file.tracing.otlp_endpoint, |url| !url.is_empty(), "exporting traces", "leave it empty");
    if let Field::Given(rules) = &file.callers.rule {
        for rule in &rules.value.0 {
            report.spot(
                &rule.spot,
                "rules for callers",
                "leave the table out, and let only your services reach it",
            );
        }
    }
    ceiling(&file.ceiling, &mut report);
    retry(&file.retry, &mut report);
}

fn ceiling(ceiling: &CeilingTable, report: &mut Report<'_>) {
    report.given(&ceiling.mode, |&mode| mode == Mode::Shadow, "shadow mode", "write \"enforce\" or \"off\"");
    report.given(
        &ceiling.app_per_second,
        |&limit| limit != 0,
        "a ceiling over all APIs of an app",
        "write 0",
    );
    report.given(&ceiling.burst, |&burst| burst != 0, "a burst of its own", "write 0");
    // So many of one caller as may wait at all: nothing is asked for.
    let max_waiting =
        ceiling.max_waiting.given().map_or(admission::Settings::default().max_waiting, |at| at.value.0);
    report.given(
        &ceiling.max_waiting_per_caller,
        |count| count.0 < max_waiting,
        "a bound on each caller's waiting calls",
        "leave it out, or write at least max_waiting",
    );
    for (_, at) in &ceiling.api.0 {
        if supported(&at.value).is_none() {
            report.spot(
                &at.spot,
                "ceilings over other spans than one second",
                "write calls a second, or \"off\"",
            );
        }
    }
    if let Some(redis) = &ceiling.redis {
        report.spot(
            &redis.spot,
            "ceilings shared through Redis",
            "leave the table out, and divide them by share",
        );
    }
}

fn retry(retry: &Retry, report: &mut Report<'_>) {
    let one_attempt = retry.max_attempts.given().is_some_and(|at| at.value.get() == 1);
    report.given(&retry.max_attempts, |attempts| attempts.get() != 1, "retries", "write 1");
    report.given(&retry.budget, |&Share(share)| share > 0.0 && !one_attempt, "retries", "write 0");
    for (_, at) in &retry.api.0 {
        if at.value == Repeat::Safe {
            report.spot(&at.spot, "retries", "write \"never\"");
        }
    }
}

struct Report<'a>(&'a mut Findings);

// === impl Report ===

impl Report<'_> {
    fn given<T>(
        &mut self,
        field: &Field<T>,
        asks: impl FnOnce(&T) -> bool,
        feature: &'static str,
        instead: &'static str,
    ) {
        if let Some(at) = field.given().filter(|at| asks(&at.value)) {
            self.spot(&at.spot, feature, instead);
        }
    }

    fn spot(&mut self, spot: &Spot, feature: &'static str, instead: &'static str) {
        self.0.problem(spot, Fault::Unsupported { feature, instead });
    }
}
