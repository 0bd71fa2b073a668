//! Every no that the gateway itself can say: HTTP status, ErrorCode, label and words.
//!
//! Each step has an error of its own; here they come together in one exhaustive match for each question. A rejection
//! has Tencent's shape, so callers need one parser: ErrorCode is 9900000 and the HTTP status.

use std::time::Duration;

use http::StatusCode;

use super::admission::{NotAdmitted, Reason};
use super::credentials::CannotSign;
use super::forward::{Cause, Failure};
use super::outcome::Unusable;
use super::policy::Denied;
use super::target::{BadPath, TargetError};
use super::trip::Tripped;
use crate::model::app::AppName;
use crate::net::body::NoRoom;
use crate::net::client::ConnectError;
use crate::net::listener::NoSeat;

/// Why the gateway answers a call itself.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// It means no app or API.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// It is no POST.
    #[error("the method is {0}, and every API takes POST only")]
    Method(http::Method),
    /// It has no `host` header, or several.
    #[error("the request has {0} host headers, and HTTP/1.1 wants one")]
    Host(usize),
    /// Its body is packed for its way, or was packed in pieces twice.
    #[error("the request has a transfer coding beside chunked, which is the only one that is taken")]
    Coding,
    /// It may not be made.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Its body cannot be read.
    #[error(transparent)]
    Body(#[from] BadBody),
    /// Its turn comes too late.
    #[error("{0}")]
    NotAdmitted(NotAdmitted),
    /// Tencent refuses every call of its app.
    #[error("the call was not sent: {0}")]
    Tripped(#[from] Tripped),
    /// The UserSigs of its app are in doubt, and others' trials took as long as it may take.
    #[error(
        "the call was not sent: Tencent refused a UserSig of app {0}, and whether it takes a new one did not become \
         clear in time"
    )]
    InDoubt(AppName),
    /// It cannot be signed.
    #[error("the call cannot be signed, so it was not sent: {0}")]
    CannotSign(#[from] CannotSign),
    /// No response came.
    #[error("{}", words_of_failure(.0))]
    Failed(Box<Failure>),
    /// A response came that is no answer of Tencent's.
    #[error("{endpoint} gave no usable answer: HTTP status {}, {what}; {}", status.as_u16(), executed(true))]
    Unusable {
        /// What came.
        what: Unusable,
        /// With which HTTP status.
        status: StatusCode,
        /// From where.
        endpoint: String,
    },
    /// Its head was not complete in time.
    #[error("the request's head was not complete within {}", crate::model::duration::format(*.0))]
    HeadTooSlow(Duration),
    /// Its head is longer than allowed.
    #[error("the request's head is longer than `limits.header_bytes` allows")]
    HeadTooLong,
    /// Its head is no HTTP.
    #[error("what came is no HTTP request")]
    BadHead,
    /// As many connections are open as may be.
    #[error(transparent)]
    TooManyConnections(NoSeat),
    /// As many calls are under way as may be.
    #[error("{0} calls are under way, which is as many as this gateway takes")]
    Overloaded(usize),
    /// A fault of the gateway's own.
    #[error("the gateway failed at this call; its log says where")]
    Panicked,
    /// The caller hung up before anything was sent, or the process ended. Nobody hears it, but it is recorded.
    #[error("the caller hung up, or the gateway ended, before the call was sent")]
    CallerGone,
    /// The caller hung up in the middle of a long answer, or the process ended while an answer was awaited. Nobody
    /// hears it, but it is recorded.
    #[error("the caller hung up, or the gateway ended, before the answer did; {}", executed(true))]
    LeftEarly,
}

/// Why a call's body cannot be sent on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// It is longer than allowed.
    #[error("the body is longer than {0} bytes, which `limits.request_body` allows")]
    TooLong(usize),
    /// There is no memory for it.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// It did not come in time.
    #[error("the body was not complete within {}", crate::model::duration::format(*.0))]
    TooSlow(Duration),
    /// It broke off, or was not framed as announced.
    #[error("the body broke off before its end")]
    BrokenOff,
    /// It is compressed.
    #[error("the body has a content-encoding, and only plain JSON is taken")]
    Encoded,
    /// It is no JSON.
    #[error("the body is no JSON: {0}")]
    NotJson(String),
    /// It is JSON, but no object.
    #[error("the body is no JSON object, and every API takes one (\"{{}}\" when there is nothing to say)")]
    NotAnObject,
}

/// Whose doing a rejection is, for `Proxy-Status` (RFC 9209).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyStatus {
    /// The error type, of RFC 9209, section 2.3.
    pub error: &'static str,
    /// Who limited or refused, in one word.
    pub details: &'static str,
}

impl Rejection {
    /// What a log is told of it: what the caller is told, but nothing of its own words.
    #[must_use]
    pub fn for_log(&self) -> String {
        match self {
            Self::Target(error) => error.for_log(),
            // Any word can stand there.
            Self::Method(_) => "the method is another than POST".to_owned(),
            other => other.to_string(),
        }
    }

    /// The HTTP status that says what happened.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Target(
                TargetError::BadPath(_) | TargetError::NoAppChosen { .. } | TargetError::ConflictingApp(_),
            )
            | Self::Body(BadBody::BrokenOff | BadBody::NotJson(_) | BadBody::NotAnObject) => {
                StatusCode::BAD_REQUEST
            }
            Self::BadHead | Self::Host(_) | Self::Coding => StatusCode::BAD_REQUEST,
            Self::HeadTooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Target(TargetError::NoSuchPath { .. } | TargetError::UnknownApp { .. }) => {
                StatusCode::NOT_FOUND
            }
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Body(BadBody::TooSlow(_)) | Self::HeadTooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(BadBody::TooLong(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BadBody::Encoded) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotAdmitted(_) => StatusCode::TOO_MANY_REQUESTS,
            // Not in RFC 9110; nginx made it known for a caller who is gone.
            Self::CallerGone | Self::LeftEarly => {
                StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
            }
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Failed(failure) => match failure.cause {
                Cause::BadUrl(_) => StatusCode::BAD_REQUEST,
                Cause::Unreachable(_) | Cause::Broken(_) => StatusCode::BAD_GATEWAY,
                Cause::Timeout => StatusCode::GATEWAY_TIMEOUT,
                Cause::Withdrawn => StatusCode::TOO_MANY_REQUESTS,
            },
            Self::Unusable { what: Unusable::TooSlow, .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Unusable { .. } => StatusCode::BAD_GATEWAY,
            Self::Tripped(_)
            | Self::InDoubt(_)
            | Self::CannotSign(_)
            | Self::Body(BadBody::NoRoom(_))
            | Self::Overloaded(_)
            | Self::TooManyConnections(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Its label in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Target(TargetError::BadPath(BadPath { .. })) => "bad_path",
            Self::Target(TargetError::NoSuchPath { .. }) => "no_such_path",
            Self::Target(TargetError::UnknownApp { .. }) => "unknown_app",
            Self::Target(TargetError::NoAppChosen { .. }) => "no_app_chosen",
            Self::Target(TargetError::ConflictingApp(_)) => "conflicting_app",
            Self::Method(_) => "method",
            Self::Denied(denied) => denied.label(),
            Self::Body(BadBody::TooLong(_)) => "body_too_long",
            Self::Body(BadBody::NoRoom(_)) | Self::Unusable { what: Unusable::NoRoom(_), .. } => "no_room",
            Self::Body(BadBody::TooSlow(_)) => "body_too_slow",
            Self::Body(BadBody::BrokenOff) => "body_broken_off",
            Self::Body(BadBody::Encoded) => "body_encoded",
            Self::Body(BadBody::NotJson(_) | BadBody::NotAnObject) => "body_not_json",
            Self::NotAdmitted(NotAdmitted { reason, .. }) => match reason {
                Reason::TooLate => "turn_too_late",
                Reason::QueueFull => "queue_full",
                Reason::CallerQueueFull => "caller_queue_full",
                Reason::Overtaken => "turn_overtaken",
            },
            Self::Tripped(_) => "app_tripped",
            Self::InDoubt(_) => "usersig_in_doubt",
            Self::CannotSign(_) => "cannot_sign",
            Self::Failed(failure) => match failure.cause {
                Cause::BadUrl(_) => "bad_query",
                Cause::Unreachable(_) => "unreachable",
                Cause::Broken(_) => "broken",
                Cause::Timeout => "timeout",
                Cause::Withdrawn => "turn_withdrawn",
            },
            Self::Unusable { .. } => "unusable_answer",
            Self::HeadTooSlow(_) => "head_too_slow",
            Self::HeadTooLong => "head_too_long",
            Self::BadHead | Self::Host(_) | Self::Coding => "bad_head",
            Self::TooManyConnections(NoSeat::InAll(_)) => "too_many_connections",
            Self::TooManyConnections(NoSeat::PerSource(_)) => "too_many_connections_of_source",
            Self::Overloaded(_) => "overloaded",
            Self::Panicked => "panicked",
            Self::CallerGone => "caller_gone",
            Self::LeftEarly => "left_early",
        }
    }

    /// What whoever runs the gateway, or calls through it, can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Target(TargetError::NoSuchPath { .. } | TargetError::BadPath(_)) => {
                "call POST /v4/{service}/{command}, or /apps/{app}/v4/{service}/{command}"
            }
            Self::Target(_) => {
                "name an app that is configured, in the path or by sdkappid, or mark one as default"
            }
            Self::Method(_) => "call with POST",
            Self::Host(_) | Self::Coding | Self::BadHead | Self::HeadTooLong | Self::HeadTooSlow(_) => {
                "see what the caller's HTTP library sends, and limits.header_bytes and limits.header_timeout"
            }
            Self::Denied(_) => {
                "see callers.rule: apps, allow and deny of the rule that the caller falls under"
            }
            Self::Body(BadBody::TooLong(_) | BadBody::TooSlow(_)) => {
                "send less or sooner, or raise limits.request_body or limits.body_timeout"
            }
            Self::Body(BadBody::NoRoom(_)) | Self::Unusable { what: Unusable::NoRoom(_), .. } => {
                "see how many long bodies are under way at once, or raise limits.buffered"
            }
            Self::Body(_) => "send a JSON object, whole and uncompressed",
            Self::NotAdmitted(_) => {
                "spread the calls, let them wait longer (ceiling.max_wait), or ask Tencent for a higher ceiling"
            }
            Self::Tripped(tripped) => tripped.cause.diagnosis.words(),
            Self::InDoubt(_) => "Tencent refused a UserSig: see the app's secret key",
            Self::CannotSign(_) => {
                "see secret_key_file or secret_key_env of the app, and `usersig-gateway check`"
            }
            Self::Failed(failure) => match failure.cause {
                Cause::BadUrl(_) => "percent-encode the query, and keep it short",
                Cause::Unreachable(ConnectError::OwnListener(_)) => {
                    "see app.endpoints and what the host's name is looked up as"
                }
                Cause::Unreachable(_) => {
                    "see name service, network and egress to the host, upstream.egress_proxy and app.ca_file"
                }
                Cause::Broken(_) => {
                    "see what stands between the gateway and the host: proxies, NAT, its idle times"
                }
                Cause::Timeout => {
                    "see the host's answer times; upstream.request_timeout and total_timeout bound them"
                }
                Cause::Withdrawn => "Tencent said too frequent meanwhile: spread the calls",
            },
            Self::Unusable { .. } => {
                "something in between answers in Tencent's place: see proxies and endpoints"
            }
            Self::TooManyConnections(NoSeat::PerSource(_)) => {
                "keep connections open, use HTTP/2, or raise listen.max_connections_per_source"
            }
            Self::TooManyConnections(NoSeat::InAll(_)) => {
                "keep connections open, use HTTP/2, or raise listen.max_connections"
            }
            Self::Overloaded(_) => "see why calls take long, or raise listen.max_in_flight",
            Self::Panicked => "report it, with the log line that names the place",
            Self::CallerGone | Self::LeftEarly => {
                "the caller's own timeout is shorter than the wait and the answer"
            }
        }
    }

    /// Whether something went wrong at or on the way to Tencent, as against a no of the gateway's own.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        match self {
            Self::Failed(failure) => !matches!(failure.cause, Cause::BadUrl(_) | Cause::Withdrawn),
            Self::Unusable { .. } | Self::Panicked | Self::LeftEarly => true,
            _ => false,
        }
    }

    /// After how long another try makes sense, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotAdmitted(not_admitted) => Some(not_admitted.turn_in),
            Self::Tripped(tripped) => Some(tripped.probe_in),
            Self::Overloaded(_) | Self::TooManyConnections(_) | Self::Body(BadBody::NoRoom(_)) => {
                Some(Duration::from_secs(1))
            }
            _ => None,
        }
    }

    /// Whose doing it is.
    #[must_use]
    pub fn proxy_status(&self) -> ProxyStatus {
        let (error, details) = match self {
            Self::NotAdmitted(_) | Self::Overloaded(_) | Self::Body(BadBody::NoRoom(_)) => {
                ("http_request_denied", "gateway-limited")
            }
            Self::Unusable { what: Unusable::NoRoom(_), .. } => ("proxy_internal_error", "gateway-limited"),
            Self::TooManyConnections(_) => ("connection_limit_reached", "gateway-limited"),
            Self::Failed(failure) => match &failure.cause {
                Cause::BadUrl(_) => ("http_request_error", "bad-call"),
                Cause::Unreachable(ConnectError::Timeout(_)) => ("connection_timeout", "unreachable"),
                Cause::Unreachable(ConnectError::Tls(_)) => ("tls_certificate_error", "unreachable"),
                Cause::Unreachable(ConnectError::OwnListener(_)) => ("proxy_loop_detected", "unreachable"),
                Cause::Unreachable(_) => ("destination_unavailable", "unreachable"),
                Cause::Broken(_) => ("connection_terminated", "unreachable"),
                Cause::Timeout => ("http_response_timeout", "no-answer"),
                Cause::Withdrawn => ("http_request_denied", "gateway-limited"),
            },
            Self::Unusable { what: Unusable::TooSlow, .. } => ("http_response_timeout", "no-answer"),
            Self::Unusable { .. } => ("http_protocol_error", "unusable-answer"),
            Self::Panicked => ("proxy_internal_error", "gateway-failed"),
            Self::Tripped(_) | Self::InDoubt(_) => ("http_request_denied", "app-stopped"),
            Self::CannotSign(_) => ("proxy_configuration_error", "cannot-sign"),
            Self::Denied(_) => ("http_request_denied", "not-allowed"),
            Self::HeadTooSlow(_) | Self::HeadTooLong | Self::BadHead | Self::Host(_) | Self::Coding => {
                ("http_request_error", "bad-call")
            }
            Self::Target(_) | Self::Method(_) | Self::Body(_) | Self::CallerGone | Self::LeftEarly => {
                ("http_request_error", "bad-call")
            }
        };
        ProxyStatus { error, details }
    }
}

impl From<Failure> for Rejection {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

impl From<NotAdmitted> for Rejection {
    fn from(not_admitted: NotAdmitted) -> Self {
        Self::NotAdmitted(not_admitted)
    }
}

fn words_of_failure(failure: &Failure) -> String {
    match (&failure.cause, &failure.endpoint) {
        (Cause::BadUrl(error), _) => error.to_string(),
        (cause, Some(endpoint)) => {
            format!("{}: {cause}; {}", endpoint.authority(), executed(failure.may_have_arrived))
        }
        (cause, None) => format!("{cause}; {}", executed(failure.may_have_arrived)),
    }
}

fn executed(may_have_been: bool) -> &'static str {
    if may_have_been { "the call may have been executed" } else { "the call was not sent" }
}
