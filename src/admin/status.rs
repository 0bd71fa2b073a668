//! What the status page shows, and `/status.json` with it.

use serde::Serialize;

use super::ReadinessState;

/// The process at one moment. It holds nothing secret: no key, no UserSig.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Status {
    /// This program's version.
    pub version: String,
    /// When the process started, in Unix seconds.
    pub started_at: u64,
    /// The present moment, in Unix seconds.
    pub now: u64,
    /// For how long it has been running, in seconds.
    pub uptime_seconds: u64,
    /// Whether calls can be served.
    pub readiness: ReadinessState,
    /// Its configuration.
    pub config: ConfigStatus,
    /// Where ceilings are kept.
    pub store: StoreStatus,
    /// How busy it is.
    pub load: LoadStatus,
    /// How many seconds the counts below are of: a minute and a little more, less only while the process is young.
    pub window_seconds: f64,
    /// The configured apps.
    pub apps: Vec<AppStatus>,
    /// The APIs that are in use.
    pub apis: Vec<ApiStatus>,
    /// Who calls.
    pub callers: Vec<CallerStatus>,
    /// The last failed call of each kind, the latest first.
    pub errors: Vec<ErrorStatus>,
}

/// The configuration at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConfigStatus {
    /// When the one in force was taken, in Unix seconds.
    pub taken_at: u64,
    /// What is wrong with the file as it was read since then; nothing else of it is in force.
    pub rejected: Vec<String>,
}

/// Where ceilings are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StoreStatus {
    /// How they are kept at present.
    pub mode: StoreMode,
    /// For how long, in seconds, where several gateways share them.
    pub for_seconds: Option<u64>,
    /// How many gateways shared them when the store was last heard, this one too.
    pub replicas: Option<usize>,
    /// Why the store is lost, if it is.
    pub error: Option<String>,
}

/// How ceilings are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreMode {
    /// By this process alone.
    #[default]
    Local,
    /// In a store that several gateways share.
    Shared,
    /// In a store that was not heard yet, or not for long enough.
    Joining,
    /// The store is lost, and nothing may be sent yet.
    Lost,
    /// The store is lost, and each gateway sends its part.
    Degraded,
    /// The store is lost, and this gateway has no part, or not any more.
    Stopped,
}

/// How busy the process is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LoadStatus {
    /// Calls under way.
    pub in_flight: u64,
    /// The most calls that may be under way.
    pub max_in_flight: u64,
    /// Open connections of callers.
    pub connections: u64,
}

/// One configured app at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppStatus {
    /// Its name.
    pub name: String,
    /// Tencent's number for it.
    pub sdkappid: u32,
    /// Its region; `None` where private endpoints are configured instead.
    pub region: Option<String>,
    /// Where its calls go, the primary first.
    pub endpoints: Vec<EndpointStatus>,
    /// Until when its UserSig is valid, in Unix seconds; `None` before one was signed.
    pub usersig_expires_at: Option<u64>,
    /// Why its calls are refused at once, if they are.
    pub tripped: Option<TrippedApp>,
}

/// One endpoint of an app at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointStatus {
    /// Scheme, host and port.
    pub url: String,
    /// Whether the app's calls go there as usual; otherwise they pass it over.
    pub healthy: bool,
    /// Whether it is the one to which calls go at present.
    pub in_use: bool,
    /// Whether its clock and this machine's differ by more than a minute.
    pub clock_differs: bool,
}

/// Why an app's calls are refused at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrippedApp {
    /// In one word, as metrics have it.
    pub reason: String,
    /// What is to be changed.
    pub diagnosis: String,
    /// What Tencent answers.
    pub error_code: i64,
    /// When the next call is sent to see whether that is still so, in seconds from now.
    pub probe_in_seconds: u64,
}

/// One API of one app that is in use.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ApiStatus {
    /// The app; empty for calls that were refused before it was known.
    pub app: String,
    /// The API by its label; empty likewise. `*` has the ceiling over all of an app's APIs.
    pub api: String,
    /// Its ceiling, while it is in use.
    pub ceiling: Option<CeilingStatus>,
    /// The calls that ended in the window, by their code, the most frequent first.
    pub codes: Vec<CodeStatus>,
    /// The mean wait for a turn in the window, in milliseconds.
    pub mean_wait_ms: Option<f64>,
    /// The mean time that Tencent took in the window, in milliseconds.
    pub mean_upstream_ms: Option<f64>,
}

/// One ceiling at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CeilingStatus {
    /// Calls per second that are allowed at present.
    pub per_second: f64,
    /// How many calls its period has room for.
    pub limit: u64,
    /// How many of them are in use.
    pub used: u64,
    /// Calls that wait for their turn.
    pub waiting: u64,
    /// Answers since the start that took longer than `transit_max`.
    pub unproven: u64,
    /// Calls since the start that shadow mode let pass and that would have waited or been refused.
    pub shadowed: u64,
}

/// Calls with one code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CodeStatus {
    /// The ErrorCode; `None` for those that share the label `other`.
    pub error_code: Option<i64>,
    /// How such calls end, in one word as metrics have it.
    pub outcome: &'static str,
    /// How many there were.
    pub calls: u64,
}

/// One caller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CallerStatus {
    /// By its own word, or `other` beyond the bound on names.
    pub name: String,
    /// Its calls that ended in the window.
    pub calls: u64,
    /// Of these, those that succeeded.
    pub ok: u64,
    /// Those that Tencent refused as one too many.
    pub throttled: u64,
    /// Those that the gateway refused.
    pub refused: u64,
    /// Those that failed otherwise: Tencent's errors, refused credentials, no usable answer.
    pub failed: u64,
    /// Its calls that wait for their turn now.
    pub waiting: u64,
}

/// A kind of failed call, and the last one of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorStatus {
    /// When the last one ended, in Unix seconds.
    pub at: u64,
    /// How many there were since this kind is kept.
    pub calls: u64,
    /// The app; empty where the call did not come so far.
    pub app: String,
    /// The API by its label; empty likewise.
    pub api: String,
    /// Who made the last one.
    pub caller: String,
    /// What the caller was told.
    pub error_code: i64,
    /// How it ended, in one word as metrics have it.
    pub outcome: &'static str,
    /// The gateway's own reason, in one word as metrics have it.
    pub reason: Option<&'static str>,
    /// What the code means, where Tencent documents it.
    pub meaning: Option<&'static str>,
    /// What to do about it.
    pub remedy: &'static str,
    /// The id under which the gateway's log and the caller know the last one.
    pub request_id: String,
    /// Tencent's id of the last one, for their support.
    pub tencent_request_id: Option<String>,
}

impl ApiStatus {
    /// Its calls that ended in the window.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.codes.iter().map(|code| code.calls).sum()
    }
}
