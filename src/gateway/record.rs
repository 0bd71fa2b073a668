//! What is written down of each call, always: metrics, and one access line.
//!
//! A [`Record`] begins with the call and learns about it on the way. However the call ends, its record ends with it:
//! answered, refused, broken off, or dropped because the caller hung up, the process ended or the gateway failed. One
//! that is dropped after its call was sent is a fault, not a refusal: the call may have been executed. Fields are made
//! from names that were checked, never from the URL.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::RecordSettings;
use super::caller::{Caller, Tie};
use super::forward::Attempt;
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
use crate::telemetry::traces::{Ended, Trace, Traces, Try, Value};

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
    /// How many tries ended, and where the last one did.
    tries: usize,
    endpoint: Option<Endpoint>,
    upstream: Option<Duration>,
    bytes_in: usize,
    tie: Tie,
    ended: bool,
    /// When it ends, if that is now and was looked up already.
    ends: Option<Instant>,
    /// `None`: traces are switched off.
    trace: Option<Box<Trace>>,
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
    /// A call begins now. Its `tie` says whether any try of it began to leave.
    #[must_use]
    pub fn begin(
        metrics: &Arc<Metrics>,
        settings: RecordSettings,
        caller: &Caller,
        request_id: Arc<str>,
        tie: Tie,
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
            tries: 0,
            endpoint: None,
            upstream: None,
            bytes_in: 0,
            tie,
            ended: false,
            ends: None,
            trace: None,
        }
    }

    /// It belongs to a trace, if there are any: that which its caller's headers name, or one of its own.
    pub fn trace(&mut self, traces: Option<&Arc<Traces>>, headers: &HeaderMap) {
        self.trace = traces.map(|traces| traces.begin(headers, self.began));
    }

    /// It means this app and API.
    pub fn target(&mut self, target: &Target) {
        let (app, api) = (target.app.name.as_str(), &*target.api.label);
        let metrics = target.app.counted.of(&target.api, || {
            if target.api.known { self.metrics.named_api(app, api) } else { self.metrics.api(app, api) }
        });
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
        if let Some(trace) = &mut self.trace {
            trace.spent("wait", wait);
        }
    }

    /// It has a UserSig, for which it asked at this moment.
    pub fn signed(&mut self, asked: Instant) {
        if let Some(trace) = &mut self.trace {
            trace.spent("sign", asked.elapsed());
        }
    }

    /// It rested so long before it waited for another turn, which is waiting too to whoever made it.
    pub fn rested(&mut self, pause: Duration) {
        self.waited += pause;
    }

    /// It is about to be sent, not for the first time perhaps. Gives the `traceparent` that goes with it, if any.
    pub fn sending(&mut self) -> Option<HeaderValue> {
        self.attempts += 1;
        self.trace.as_mut()?.trying()
    }

    /// It is tried again, since the try before came to that: a snake_case word.
    pub fn retrying(&self, reason: &'static str) {
        if let Some((_, metrics)) = &self.target {
            metrics.retried(reason);
        }
    }

    /// One try at one endpoint ended so.
    pub fn tried(&mut self, endpoint: &Endpoint, ended: Attempt) {
        let result = ended.label();
        if let Some((_, metrics)) = &self.target {
            metrics.attempt(endpoint, result);
        }
        if ended != Attempt::Answered {
            self.trace_try(endpoint, Some(ended), None, None);
        }
        self.tries += 1;
        self.endpoint = Some(endpoint.clone());
    }

    /// The answer to its last try was there, or all of it that was waited for, this long after sending.
    /// `status` and `reading` are the answer's, as far as it had them.
    pub fn answered(
        &mut self,
        endpoint: &Endpoint,
        took: Duration,
        status: StatusCode,
        reading: Option<&Reading>,
    ) {
        self.trace_try(endpoint, None, Some(status), reading);
        self.upstream = Some(took);
        if let Some((_, metrics)) = &self.target {
            metrics.upstream(endpoint, took);
        }
    }

    /// `failure`: there was no answer, since that happened.
    fn trace_try(
        &mut self,
        endpoint: &Endpoint,
        failure: Option<Attempt>,
        status: Option<StatusCode>,
        reading: Option<&Reading>,
    ) {
        if let (Some(trace), Some((target, _))) = (&mut self.trace, &self.target) {
            trace.tried(&Try {
                endpoint,
                path: &target.api.url_path,
                nth: self.attempts.saturating_sub(1),
                status: status.map(|status| status.as_u16()),
                error_code: reading.map(|reading| reading.error_code.0),
                request_id: reading
                    .and_then(|reading| reading.request_id.as_ref())
                    .map(TencentRequestId::as_str),
                failure: failure.map(Attempt::label),
                was_sent: failure.is_none_or(Attempt::was_sent),
            });
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
    pub fn api(&self) -> Option<&Arc<str>> {
        self.target.as_ref().map(|(target, _)| &target.api.label)
    }

    /// It ends now: whoever ends it right after this need not look at the clock again.
    pub fn ends(&mut self, now: Instant) {
        self.ends = Some(now);
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
        let took = self.ends.unwrap_or_else(Instant::now) - self.began;
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
        if let Some(trace) = self.trace.take() {
            self.end_trace(*trace, end);
        }
    }

    fn end_trace(&self, trace: Trace, end: &End<'_>) {
        let target = self.target.as_ref().map(|(target, _)| target);
        let text = |text: &Arc<str>| Value::Text(Arc::clone(text));
        let mut attributes = vec![
            ("usersig_gateway.caller", text(&self.caller)),
            ("usersig_gateway.error_code", Value::Number(end.code.0)),
            ("usersig_gateway.outcome", Value::Word(end.outcome.as_str())),
            ("usersig_gateway.request_id", text(&self.request_id)),
            ("usersig_gateway.attempts", Value::Number(self.attempts.into())),
        ];
        attributes.extend(
            target.map(|target| ("usersig_gateway.app", Value::Text(target.app.name.as_str().into()))),
        );
        attributes.extend(target.map(|target| ("usersig_gateway.api", text(&target.api.label))));
        attributes.extend(end.reason.map(|reason| ("usersig_gateway.reason", Value::Word(reason))));
        let id = end.tencent_request_id.map(|id| Value::Text(id.as_str().into()));
        attributes.extend(id.map(|id| ("usersig_gateway.tencent_request_id", id)));
        let path = target.map(|target| target.api.url_path.as_str());
        let has_own_label = target.is_some_and(|target| *target.api.label == *target.api.name.as_str());
        trace.end(Ended {
            path,
            route: if has_own_label { path } else { target.map(|_| "/{family}/{service}/{command}") },
            status: end.status.map(|status| status.as_u16()),
            is_fault: end.outcome == CallOutcome::Fault,
            reason: end.reason,
            attributes,
        });
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
            attempts = self.tries,
            endpoint = self.endpoint.as_ref().map(Endpoint::authority),
            request_id = &*self.request_id,
            tencent_request_id = end.tencent_request_id.map(TencentRequestId::as_str),
            trace_id = self.trace.as_ref().map(|trace| tracing::field::display(trace.id())),
            span_id = self.trace.as_ref().map(|trace| tracing::field::display(trace.span())),
            bytes_in = self.bytes_in,
            bytes_out = end.bytes_out,
            "call"
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.ended {
            let rejection = match (std::thread::panicking(), self.tie.has_begun()) {
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
