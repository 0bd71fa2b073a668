//! Whether all is well, and if not, what is wrong and what to do: the first thing that the status page tells.

use serde::Serialize;

use super::{AppStatus, ReadinessState, Status, StoreMode, StoreStatus};

/// How well it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing is to be done.
    Well,
    /// Somebody should look at it in working hours.
    Attention,
    /// Calls fail, or soon will.
    Trouble,
}

/// One thing that is not well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What is so, in a short sentence.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// How well it is in all.
pub(super) fn level(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Well)
}

/// Everything that is not well, the worst first.
pub(super) fn findings(status: &Status) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    findings.readiness(&status.readiness);
    findings.store(&status.store);
    for app in &status.apps {
        findings.app(app, status.now);
    }
    findings.clocks(status);
    findings.outcomes(status);
    findings.load(status);
    if !status.config.rejected.is_empty() {
        let what = format!("The changed configuration is not taken: {}", some(&status.config.rejected));
        findings.add(Level::Attention, what, "correct it; until then the one before stays in force");
    }
    findings.0.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, what: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Finding { level, what: what.into(), remedy: remedy.into() });
    }

    fn readiness(&mut self, readiness: &ReadinessState) {
        match readiness {
            ReadinessState::Ready => {}
            ReadinessState::Starting => self.add(Level::Attention, "It is starting", "wait a moment"),
            ReadinessState::Draining => {
                let what =
                    "It is about to end: what is under way is finished, and new calls should go elsewhere";
                self.add(Level::Attention, what, "nothing, if it was told to");
            }
            ReadinessState::NotReady(reasons) => self.add(
                Level::Trouble,
                format!("It is not ready: {}", some(reasons)),
                "see the app's secret_key_file or secret_key_env, and run `usersig-gateway check`",
            ),
        }
    }

    fn store(&mut self, store: &StoreStatus) {
        let why = store.error.as_deref().unwrap_or("it was not heard yet");
        let remedy = "see ceiling.redis and whether this machine reaches it";
        match store.mode {
            StoreMode::Local | StoreMode::Shared => {}
            StoreMode::Degraded | StoreMode::Lost => {
                let what = format!("Redis is lost, so only a part of each ceiling is used: {why}");
                self.add(Level::Attention, what, remedy);
            }
            StoreMode::Joining if store.error.is_none() => {}
            StoreMode::Joining | StoreMode::Stopped => {
                let what = format!("Redis was not heard, so no call under a ceiling is sent: {why}");
                self.add(Level::Trouble, what, remedy);
            }
        }
    }

    fn app(&mut self, app: &AppStatus, now: u64) {
        let name = &app.name;
        if let Some(trip) = &app.tripped {
            let what = format!("App {name} is stopped, since Tencent answers {}", trip.error_code);
            self.add(Level::Trouble, what, trip.diagnosis.as_str());
        }
        match app.usersig_expires_at {
            Some(expires) if expires <= now => {
                let what = format!("The UserSig of app {name} has expired");
                self.add(Level::Trouble, what, "see the log for why no new one was signed");
            }
            Some(expires) if expires - now < SOON => {
                let what = format!("The UserSig of app {name} expires in a few minutes");
                self.add(Level::Attention, what, "see the log for why no new one was signed");
            }
            _ => {}
        }
        let passed_over = app.endpoints.iter().filter(|endpoint| !endpoint.healthy);
        let passed_over: Vec<&str> = passed_over.map(|endpoint| endpoint.url.as_str()).collect();
        let remedy = "see name service, network and egress; the log says how the last call failed";
        if passed_over.len() == app.endpoints.len() && !app.endpoints.is_empty() {
            self.add(Level::Trouble, format!("App {name} reaches none of its hosts"), remedy);
        } else if !passed_over.is_empty() {
            let what = format!("App {name} passes over {}", passed_over.join(" and "));
            self.add(Level::Attention, what, remedy);
        }
    }

    fn clocks(&mut self, status: &Status) {
        let endpoints = status.apps.iter().flat_map(|app| &app.endpoints);
        let mut differing: Vec<&str> = endpoints
            .filter(|endpoint| endpoint.clock_differs)
            .map(|endpoint| endpoint.url.as_str())
            .collect();
        differing.sort_unstable();
        differing.dedup();
        if !differing.is_empty() {
            let what = format!(
                "This machine's clock differs by more than a minute from that of {}",
                some(&differing)
            );
            self.add(Level::Attention, what, "set this machine's clock right: UserSigs carry its time");
        }
    }

    /// What of the last minute stands out.
    fn outcomes(&mut self, status: &Status) {
        let counted = |outcome: &str| -> u64 {
            let codes = status.apis.iter().flat_map(|api| &api.codes);
            codes.filter(|code| code.outcome == outcome).map(|code| code.calls).sum()
        };
        let all: u64 = status.apis.iter().map(super::ApiStatus::calls).sum();
        let faults = counted("fault");
        if faults * FAULTS_OF >= all && faults >= FEW {
            let level = if faults * BAD_FAULTS_OF >= all { Level::Trouble } else { Level::Attention };
            let what = format!("{faults} of the last minute's {all} calls had no usable answer");
            self.add(level, what, "see the last errors below");
        }
        for api in &status.apis {
            let of = |outcome: &str, code: Option<i64>| -> u64 {
                let same =
                    |c: &&super::CodeStatus| c.outcome == outcome && (code.is_none() || c.error_code == code);
                api.codes.iter().filter(same).map(|code| code.calls).sum()
            };
            let (refused, throttled) = (of("refused", Some(9_900_429)), of("throttled", None));
            if refused > 0 {
                let what = format!("{refused} calls of {} got no turn in the last minute", api.api);
                let remedy = "spread them, let them wait longer (ceiling.max_wait), or ask Tencent for a higher ceiling";
                self.add(Level::Attention, what, remedy);
            }
            if throttled > 0 {
                let what = format!(
                    "Tencent said too frequent to {throttled} calls of {} in the last minute",
                    api.api
                );
                let remedy =
                    "find who else calls with this sdkappid; the gateway has lowered the ceiling meanwhile";
                self.add(Level::Attention, what, remedy);
            }
        }
    }

    fn load(&mut self, status: &Status) {
        let load = status.load;
        if load.in_flight > 0 && load.in_flight * 10 >= load.max_in_flight * 9 {
            let what =
                format!("{} calls are under way, of {} that may be", load.in_flight, load.max_in_flight);
            self.add(Level::Attention, what, "see why calls take long, or raise listen.max_in_flight");
        }
    }
}

/// The first few, since there may be thousands.
fn some<T: AsRef<str>>(texts: &[T]) -> String {
    let first: Vec<&str> = texts.iter().take(FIRST).map(AsRef::as_ref).collect();
    let more = texts.len().saturating_sub(FIRST);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    first.join("; ") + &more
}

/// In seconds. Renewal begins long before, so nobody should ever see this.
const SOON: u64 = 600;
/// One call in so many without a usable answer is worth a look.
const FAULTS_OF: u64 = 100;
/// One in so many is trouble.
const BAD_FAULTS_OF: u64 = 20;
/// Fewer faults than this say nothing.
const FEW: u64 = 3;
const FIRST: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests::sample;
    use crate::admin::{ApiStatus, CodeStatus, ConfigStatus};

    /// Something goes on, and all of it is well.
    fn well() -> Status {
        let mut status = sample();
        status.config = ConfigStatus::default();
        status.apps[0].tripped = None;
        status.apps[0].endpoints[0].healthy = true;
        status.apis[0].codes.truncate(1);
        status
    }

    fn told(change: impl FnOnce(&mut Status)) -> (Level, Vec<String>) {
        let mut status = well();
        change(&mut status);
        let findings = findings(&status);
        (level(&findings), findings.into_iter().map(|finding| finding.what).collect())
    }

    fn calls(api: &mut ApiStatus, error_code: i64, outcome: &'static str, calls: u64) {
        api.codes.push(CodeStatus { error_code: Some(error_code), outcome, calls });
    }

    #[test]
    fn nothing_is_said_when_all_is_well() {
        assert_eq!(told(|_| ()), (Level::Well, Vec::new()));
    }

    #[test]
    fn each_thing_has_its_level_and_its_words() {
        type Change = fn(&mut Status);
        let changes: [(Change, Level, &str); 11] = [
            (|s| s.readiness = ReadinessState::Draining, Level::Attention, "about to end"),
            (
                |s| s.readiness = ReadinessState::NotReady(vec!["app live: no key".to_owned()]),
                Level::Trouble,
                "app live: no key",
            ),
            (|s| s.apps[0].tripped = sample().apps[0].tripped.clone(), Level::Trouble, "answers 60026"),
            (|s| s.apps[0].usersig_expires_at = Some(s.now), Level::Trouble, "has expired"),
            (
                |s| s.apps[0].usersig_expires_at = Some(s.now + 599),
                Level::Attention,
                "expires in a few minutes",
            ),
            (
                |s| s.apps[0].endpoints[0].healthy = false,
                Level::Attention,
                "passes over https://127.0.0.1:18443",
            ),
            (
                |s| s.apps[0].endpoints.iter_mut().for_each(|endpoint| endpoint.healthy = false),
                Level::Trouble,
                "reaches none of its hosts",
            ),
            (|s| s.apps[0].endpoints[0].clock_differs = true, Level::Attention, "clock differs"),
            (|s| s.load.in_flight = 9_000, Level::Attention, "9000 calls are under way"),
            (|s| calls(&mut s.apis[0], 9_900_429, "refused", 2), Level::Attention, "2 calls of live_config"),
            (|s| calls(&mut s.apis[0], 60007, "throttled", 2), Level::Attention, "too frequent to 2 calls"),
        ];
        for (change, level, words) in changes {
            let (found, what) = told(change);
            assert_eq!((found, what.len()), (level, 1), "{words}: {what:?}");
            assert!(what[0].contains(words), "{words}: {what:?}");
        }
    }

    #[test]
    fn calls_without_an_answer_count_by_their_share() {
        // Of 1,234 others.
        for (faults, level) in
            [(2, Level::Well), (12, Level::Well), (13, Level::Attention), (70, Level::Trouble)]
        {
            let (found, _) = told(|status| calls(&mut status.apis[0], 9_900_502, "fault", faults));
            assert_eq!(found, level, "{faults}");
        }
        // Two of three say nothing.
        let (found, _) = told(|status| {
            status.apis[0].codes[0].calls = 1;
            calls(&mut status.apis[0], 9_900_502, "fault", 2);
        });
        assert_eq!(found, Level::Well);
    }

    #[test]
    fn the_worst_comes_first_and_of_many_the_first_few() {
        let (_, what) = told(|status| {
            status.config.rejected = (0..5).map(|n| format!("problem {n}")).collect();
            status.apps[0].usersig_expires_at = Some(0);
        });
        assert!(what[0].contains("expired"), "{what:?}");
        assert!(what[1].ends_with("problem 0; problem 1; problem 2; and 2 more"), "{what:?}");
    }
}
