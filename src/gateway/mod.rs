//! The request's way through the gateway.
//!
//! A call comes in as an HTTP request and leaves as a reply in Tencent's shape. In between stand the steps, one folder
//! each, in the order in which a call meets them; a step may name the product of an earlier one and nothing of a
//! later one.

pub mod admission;
pub mod caller;
pub mod credentials;
pub mod forward;
pub mod outcome;

pub mod attempt;
pub mod pipeline;
pub mod policy;
pub mod record;
pub mod rejection;
pub mod reply;
pub mod target;
pub mod trip;

use std::time::Duration;

/// Everything about the way of a call that a reload can change. A request takes one snapshot and keeps it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The apps that may be called.
    pub apps: target::Apps,
    /// How callers are told apart.
    pub callers: caller::Settings,
    /// What the callers under each rule may call.
    pub rules: policy::Settings,
    /// Ceilings and waiting.
    pub ceiling: admission::Settings,
    /// Signing ahead of need.
    pub usersig: credentials::Settings,
    /// How calls reach Tencent.
    pub upstream: forward::Settings,
    /// How calls are repeated.
    pub retry: attempt::Settings,
    /// How answers look.
    pub answers: AnswersSettings,
    /// What is logged of each call.
    pub record: RecordSettings,
}

impl Settings {
    /// These apps, and everything else as it is by default.
    #[must_use]
    pub fn of(apps: target::Apps) -> Self {
        Self {
            apps,
            callers: caller::Settings::default(),
            rules: policy::Settings::default(),
            ceiling: admission::Settings::default(),
            usersig: credentials::Settings::default(),
            upstream: forward::Settings::default(),
            retry: attempt::Settings::default(),
            answers: AnswersSettings::default(),
            record: RecordSettings::default(),
        }
    }
}

/// How answers look to the caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AnswersSettings {
    /// Which HTTP status a refusal of the gateway's own carries.
    pub http_status: HttpStatus,
}

/// Which HTTP status a refusal of the gateway's own carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HttpStatus {
    /// The status that says what happened: 429, 503 and so on.
    #[default]
    Semantic,
    /// 200 whatever happened, as Tencent does; the ErrorCode tells.
    Always200,
}

/// What is logged of each call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecordSettings {
    /// The share of calls that get an access line: 0.0 none, 1.0 all.
    pub access_share: f64,
    /// Whether writes are always logged.
    pub audit: bool,
}

impl Default for RecordSettings {
    fn default() -> Self {
        Self { access_share: 1.0, audit: false }
    }
}

/// Bounds on what one caller can send, and for how long. They need a restart to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest request line and headers together, in bytes.
    pub header_bytes: usize,
    /// The longest request body, in bytes.
    pub request_body: usize,
    /// The longest answer, in bytes.
    pub answer_body: usize,
    /// How much memory bodies may take together, in bytes: those of requests half of it, those of answers the rest.
    pub buffered: usize,
    /// Until a request's headers must be complete.
    pub header_timeout: Duration,
    /// Until a request's body must be complete.
    pub body_timeout: Duration,
    /// How long a connection may lie idle between requests.
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 32 * 1024,
            request_body: 1024 * 1024,
            answer_body: 16 * 1024 * 1024,
            buffered: 256 * 1024 * 1024,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
        }
    }
}
