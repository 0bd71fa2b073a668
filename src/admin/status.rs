//! What the status page shows.

use serde::Serialize;

use super::ReadinessState;
use crate::telemetry::metrics::CeilingReading;

/// The process at one moment. It holds nothing secret: no key, no UserSig.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// This program's version.
    pub version: String,
    /// When the process started, in Unix seconds.
    pub started_at: u64,
    /// For how long it has been running, in seconds.
    pub uptime_seconds: u64,
    /// Whether calls can be served.
    pub readiness: ReadinessState,
    /// Its configuration.
    pub config: ConfigStatus,
    /// The configured apps.
    pub apps: Vec<AppStatus>,
    /// The ceilings that are in use.
    pub ceilings: Vec<CeilingReading>,
}

/// The configuration at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigStatus {
    /// When the one in force was taken, in Unix seconds.
    pub taken_at: u64,
    /// What is wrong with the file as it was read since then; nothing else of it is in force.
    pub rejected: Vec<String>,
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
