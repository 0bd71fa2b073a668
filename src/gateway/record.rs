//! What is written down of each call, always: metrics, and one access line.
//!
//! A [`Record`] begins with the call and learns about it on the way. However the call ends, its record ends with it:
//! answered, refused, broken off, or dropped because the caller hung up, the process ended or the gateway failed. One
//! that is dropped after its call was sent is a fault, not a refusal: the call may have been executed. Fields are made
//! from names that were checked, never from the URL.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::RecordSettings;
use super::caller::Caller;
use super::outcome::{self, Outcome, Reading, TencentRequestId, Unusable};
use super::rejection::Rejection;
use super::target::Target;
use crate::model::api::{Family, RepeatSafety};
use crate::model::call_outcome::CallOutcome;
use crate::model::endpoint::Endpoint;
use crate::model::error_code::ErrorCode;
use crate::telemetry::labels::UNKNOWN;
use crate::telemetry::last_errors::{Kind, LastError};
use crate::telemetry::metrics::{ApiMetrics, Metrics};

/// One call's record.
#[derive(Debug)]
pub struct Record {
    metrics: Arc<Metrics>,
    settings: RecordSettings,
    began: Instant,
    request_id: Arc<str>,
    caller: Arc<str>,
    target: Option<(Target, Arc<ApiMetrics>)>,
    waited: Duration,
    /// How many times it was sent, or was to be.
    attempts: u32,
    tries: Vec<(Endpoint, &'static str)>,
    upstream: Option<Duration>,
    bytes_in: usize,
    /// How many tries have begun to leave, as whoever sends them sees it.
    begun: Rc<Cell<u32>>,
    ended: bool,
}

/// How a call ended.
#[derive(Debug)]
struct End<'a> {
    outcome: CallOutcome,
    code: ErrorCode,
    /// What the caller was sent; `None`: nothing.
    status: Option<StatusCode>,
    tencent_request_id: Option<&'a TencentRequestId>,
    bytes_out: usize,
    /// The gateway's own reason, if it was its own.
    reason: Option<&'static str>,
    /// What can be done about it, where the gateway refused or failed.
    remedy: Option<&'static str>,
    info: Option<String>,
}

impl Record {
    /// A call begins now. `begun` counts its tries that begin to leave.
    #[must_use]
    pub fn begin(
        metrics: &Arc<Metrics>,
        settings: RecordSettings,
        caller: &Caller,
        request_id: Arc<str>,
        begun: Rc<Cell<u32>>,
    ) -> Self {
        for header in caller.ignored() {
            metrics.ignored_header(header.label());
        }
        Self {
            metrics: Arc::clone(metrics),
            settings,
            began: Instant::now(),
            request_id,
            caller: Arc::clone(caller.label()),
            target: None,
            waited: Duration::ZERO,
            attempts: 0,
            tries: Vec::new(),
            upstream: None,
            bytes_in: 0,
            begun,
            ended: false,
        }
    }

    /// It means this app and API.
    pub fn target(&mut self, target: &Target) {
        let (app, api) = (target.app.name.as_str(), &*target.api.label);
        let metrics =
            if target.api.known { self.metrics.named_api(app, api) } else { self.metrics.api(app, api) };
        self.target = Some((target.clone(), metrics));
    }

    /// Its body had so many bytes.
    pub fn body(&mut self, bytes: usize) {
        self.bytes_in = bytes;
    }

    /// It waited so long for a turn, whether it got it or not.
    pub fn waited(&mut self, wait: Duration) {
        self.waited += wait;
        if let Some((_, metrics)) = &self.target {
            metrics.waited(wait);
        }
    }

    /// It rested so long before it waited for another turn, which is waiting too to whoever made it.
    pub fn rested(&mut self, pause: Duration) {
        self.waited += pause;
    }

    /// It is about to be sent, not for the first time perhaps.
    pub fn sending(&mut self) {
        self.attempts += 1;
    }

    /// It is tried again, since the try before came to that: a snake_case word.
    pub fn retrying(&self, reason: &'static str) {
        if let Some((_, metrics)) = &self.target {
            metrics.retried(reason);
        }
    }

    /// One try at one endpoint ended so.
    pub fn tried(&mut self, endpoint: &Endpoint, result: &'static str) {
        if let Some((_, metrics)) = &self.target {
            metrics.attempt(endpoint, result);
        }
        self.tries.push((endpoint.clone(), result));
    }

    /// The answer to its last try was there, or all of it that was waited for, this long after sending.
    pub fn answered(&mut self, endpoint: &Endpoint, took: Duration) {
        self.upstream = Some(took);
        if let Some((_, metrics)) = &self.target {
            metrics.upstream(endpoint, took);
        }
    }

    /// How many times it was sent, or was to be.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// When it began.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// How long it waited.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.waited
    }

    /// How long Tencent took.
    #[must_use]
    pub fn upstream(&self) -> Option<Duration> {
        self.upstream
    }

    /// Its id.
    #[must_use]
    pub fn request_id(&self) -> &Arc<str> {
        &self.request_id
    }

    /// The API's label, once it is known.
    #[must_use]
    pub fn api(&self) -> Option<&str> {
        self.target.as_ref().map(|(target, _)| &*target.api.label)
    }

    /// It was answered, and the answer relayed.
    pub fn relayed(mut self, reading: &Reading, outcome: CallOutcome, status: StatusCode, bytes_out: usize) {
        self.end(&End {
            outcome,
            code: reading.error_code,
            status: Some(status),
            tencent_request_id: reading.request_id.as_ref(),
            bytes_out,
            reason: None,
            remedy: None,
            info: None,
        });
    }

    /// A long answer ended; `None`: it was given up before its end.
    pub fn relayed_long(
        mut self,
        result: Option<&Result<Outcome, Unusable>>,
        status: StatusCode,
        bytes_out: usize,
    ) {
        match result {
            Some(Ok(Outcome::Answered { reading, call, .. })) => {
                self.relayed(reading, *call, status, bytes_out);
            }
            Some(Ok(Outcome::Fault(fault))) => self.broken_off((*fault).into(), status, bytes_out),
            Some(Err(unusable)) => self.broken_off(*unusable, status, bytes_out),
            None => self.end(&End::of(&Rejection::LeftEarly, Some(status), bytes_out)),
        }
    }

    /// The gateway answered it itself.
    pub fn rejected(mut self, rejection: &Rejection, bytes_out: usize) {
        self.end(&End::of(rejection, Some(rejection.status()), bytes_out));
    }

    fn broken_off(mut self, unusable: Unusable, status: StatusCode, bytes_out: usize) {
        self.end(&End {
            outcome: CallOutcome::Fault,
            code: ErrorCode::of_gateway(StatusCode::BAD_GATEWAY),
            status: Some(status),
            tencent_request_id: None,
            bytes_out,
            reason: Some("unusable_answer"),
            remedy: Some(UNUSABLE),
            info: Some(unusable.to_string()),
        });
    }

    fn end(&mut self, end: &End<'_>) {
        self.ended = true;
        let took = self.began.elapsed();
        let caller = self.metrics.caller(&self.caller);
        let unknown;
        let metrics = match &self.target {
            Some((_, metrics)) => metrics,
            None => {
                unknown = self.metrics.api(UNKNOWN, UNKNOWN);
                &unknown
            }
        };
        metrics.call(caller, end.code, end.outcome, took);
        if let Some(reason) = end.reason.filter(|_| end.outcome == CallOutcome::Refused) {
            metrics.refused(caller, reason);
        }
        if end.outcome != CallOutcome::Ok {
            self.note(end);
        }
        if self.is_logged() {
            self.log(end, took);
        }
    }

    /// Keeps it as the last one of its kind, for the status page.
    fn note(&self, end: &End<'_>) {
        let target = self.target.as_ref().map(|(target, _)| target);
        let family = target.map_or(Family::V4, |target| target.api.name.family());
        let tencents = end.reason.is_none();
        self.metrics.last_errors().note(LastError {
            kind: Kind {
                app: target.map(|target| target.app.name.clone()),
                api: target.map_or_else(Arc::default, |target| Arc::clone(&target.api.label)),
                code: end.code,
                outcome: end.outcome,
                reason: end.reason,
            },
            meaning: tencents.then(|| outcome::meaning(family, end.code)).flatten(),
            remedy: end.remedy.unwrap_or_else(|| outcome::remedy(family, end.code)),
            caller: Arc::clone(&self.caller),
            request_id: Arc::clone(&self.request_id),
            tencent_request_id: end.tencent_request_id.map(|id| id.as_str().into()),
            at: Instant::now(),
            calls: 1,
        });
    }

    fn is_logged(&self) -> bool {
        let write = self.target.as_ref().is_some_and(|(target, _)| target.api.repeat != RepeatSafety::Read);
        (self.settings.audit && write)
            || match self.settings.access_share {
                share if share <= 0.0 => false,
                share if share >= 1.0 => true,
                share => fastrand::f64() < share,
            }
    }

    fn log(&self, end: &End<'_>, took: Duration) {
        let (app, api) = match &self.target {
            Some((target, _)) => (target.app.name.as_str(), target.api.name.as_str()),
            None => (UNKNOWN, UNKNOWN),
        };
        tracing::info!(
            target: "access",
            app,
            api,
            caller = &*self.caller,
            error_code = end.code.0,
            outcome = end.outcome.as_str(),
            reason = end.reason,
            info = end.info,
            status = end.status.map(|status| status.as_u16()),
            wait_ms = milliseconds(self.waited),
            upstream_ms = self.upstream.map(milliseconds),
            duration_ms = milliseconds(took),
            attempts = self.tries.len(),
            endpoint = self.tries.last().map(|(endpoint, _)| endpoint.authority()),
            request_id = &*self.request_id,
            tencent_request_id = end.tencent_request_id.map(TencentRequestId::as_str),
            bytes_in = self.bytes_in,
            bytes_out = end.bytes_out,
            "call"
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.ended {
            let rejection = match (std::thread::panicking(), self.begun.get() > 0) {
                (true, _) => Rejection::Panicked,
                (false, true) => Rejection::LeftEarly,
                (false, false) => Rejection::CallerGone,
            };
            let status = std::thread::panicking().then(|| rejection.status());
            self.end(&End::of(&rejection, status, 0));
        }
    }
}

impl End<'_> {
    fn of(rejection: &Rejection, status: Option<StatusCode>, bytes_out: usize) -> Self {
        Self {
            outcome: if rejection.is_fault() { CallOutcome::Fault } else { CallOutcome::Refused },
            code: ErrorCode::of_gateway(rejection.status()),
            status,
            tencent_request_id: None,
            bytes_out,
            reason: Some(rejection.label()),
            remedy: Some(rejection.remedy()),
            info: Some(rejection.for_log()),
        }
    }
}

/// As [`Rejection::remedy`] has it for answers of which nothing was relayed yet.
const UNUSABLE: &str = "something in between broke off the answer: see proxies and the host";

/// With a tenth of a microsecond's precision, which no reader needs more of.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e7).round() / 1e4
}
