//! What goes back to the caller: Tencent's answer as it came, or the gateway's own in the same shape.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::HttpStatus;
use super::admission::Remaining;
use super::outcome::{Long, Reading, Unusable};
use super::rejection::Rejection;
use crate::model::call_outcome::CallOutcome;
use crate::model::error_code::ErrorCode;
use crate::net::client::Headers;

/// An answer of Tencent's, ready to be relayed.
#[derive(Debug)]
pub struct Relayed {
    /// Its HTTP status.
    pub status: StatusCode,
    /// What its headers say, of which little is passed on.
    pub headers: Box<Headers>,
    /// Its body, and what that says.
    pub content: Content,
    /// How the ceiling stood, a line for each of its periods; none without a ceiling.
    pub remaining: Vec<Remaining>,
}

/// A relayed answer's body.
#[derive(Debug)]
pub enum Content {
    /// It is complete.
    Whole {
        /// The body.
        body: Bytes,
        /// What it says.
        reading: Reading,
        /// How the call went.
        outcome: CallOutcome,
    },
    /// It is still coming, and so is what it says.
    Long(Box<Long>),
}

/// What an answer tells beside its body.
#[derive(Debug, Clone, Copy)]
pub struct Aside<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// The API, which names the ceiling.
    pub api: Option<&'a str>,
    /// How long the call waited for its turn.
    pub wait: Duration,
    /// How long Tencent took; `None` when nothing was sent.
    pub upstream: Option<Duration>,
    /// How many times the call was sent, or was to be.
    pub attempts: u32,
}

impl<'a> Aside<'a> {
    /// What a call tells that came nowhere.
    #[must_use]
    pub fn of_unsent(request_id: &'a str) -> Self {
        Self { request_id, api: None, wait: Duration::ZERO, upstream: None, attempts: 0 }
    }
}

/// A reply's body.
#[derive(Debug)]
pub enum ReplyBody {
    /// All of it.
    Whole(Option<Bytes>),
    /// It is still coming.
    Long(Box<Long>),
}

/// The reply that relays an answer. Its headers take the place of `memory`, in which there may have been others: for its
/// own, a map needs 1.3 KB.
#[must_use]
pub fn relay(relayed: Relayed, mut memory: HeaderMap, aside: &Aside<'_>) -> Response<ReplyBody> {
    let (body, code) = match relayed.content {
        Content::Whole { body, reading, outcome } => (ReplyBody::Whole(Some(body)), Some((reading, outcome))),
        Content::Long(long) => (ReplyBody::Long(long), None),
    };
    let mut response = Response::new(body);
    *response.status_mut() = relayed.status;
    memory.clear();
    *response.headers_mut() = memory;
    let headers = response.headers_mut();
    headers.reserve(MOST_TOLD);
    // Everything else speaks of the upstream's connection or to browsers.
    let Headers { content_type, date, .. } = *relayed.headers;
    for (name, value) in [(header::CONTENT_TYPE, content_type), (header::DATE, date)] {
        if let Some(value) = value.filter(|value| value.len() <= LONGEST_PASSED_ON) {
            headers.insert(name, value);
        }
    }
    let mut text = Text::new();
    if let Some((reading, outcome)) = code {
        let error_code = match reading.error_code {
            ErrorCode::OK => HeaderValue::from_static("0"),
            ErrorCode(other) => HeaderValue::from(other),
        };
        headers.insert(TENCENT_ERROR_CODE, error_code);
        if let Some(id) = &reading.request_id {
            text.push(id.as_str()).tell(headers, TENCENT_REQUEST_ID);
        }
        if let Some(who) = proxy_status_of(outcome) {
            let status = relayed.status.as_u16();
            insert(headers, PROXY_STATUS, &format!("{PROXY}; received-status={status}; details=\"{who}\""));
        }
    }
    if let Some(api) = aside.api {
        ratelimit(headers, &mut text, api, &relayed.remaining);
    }
    tell_aside(headers, &mut text, aside);
    response
}

/// The gateway's own reply.
#[must_use]
pub fn reject(rejection: &Rejection, http_status: HttpStatus, aside: &Aside<'_>) -> Response<ReplyBody> {
    let status = rejection.status();
    let body = serde_json::json!({
        "ActionStatus": "FAIL",
        "ErrorCode": ErrorCode::of_gateway(status).0,
        "ErrorInfo": rejection.to_string(),
        "RequestId": aside.request_id,
    });
    let mut response = Response::new(ReplyBody::Whole(Some(Bytes::from(body.to_string()))));
    *response.status_mut() = match http_status {
        HttpStatus::Semantic => status,
        HttpStatus::Always200 => StatusCode::OK,
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    if let Some(after) = rejection.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        headers
            .insert(RETRY_AFTER_MS, HeaderValue::from(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)));
    }
    let told = rejection.proxy_status();
    insert(headers, PROXY_STATUS, &format!("{PROXY}; error={}; details=\"{}\"", told.error, told.details));
    tell_aside(headers, &mut Text::new(), aside);
    response
}

/// A rejection as the bytes of a whole HTTP/1.1 response: for a connection on which no request could be read.
#[must_use]
pub fn as_bytes(rejection: &Rejection, http_status: HttpStatus, request_id: &str) -> Bytes {
    let (head, body) = reject(rejection, http_status, &Aside::of_unsent(request_id)).into_parts();
    let body = match body {
        ReplyBody::Whole(Some(body)) => body,
        ReplyBody::Whole(None) | ReplyBody::Long(_) => Bytes::new(),
    };
    let mut bytes = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        bytes.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes
        .extend_from_slice(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(&body);
    bytes.into()
}

/// Whether it was Tencent who limited or refused.
fn proxy_status_of(outcome: CallOutcome) -> Option<&'static str> {
    match outcome {
        CallOutcome::Throttled => Some("tencent-limited"),
        CallOutcome::TencentError | CallOutcome::Auth => Some("tencent-refused"),
        CallOutcome::Ok | CallOutcome::Refused | CallOutcome::Fault => None,
    }
}

/// draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4: quota `q` in window `w`, remaining `r`. An API's further
/// periods are policies of their own, named after the API and the period.
fn ratelimit(headers: &mut HeaderMap, text: &mut Text, api: &str, standing: &[Remaining]) {
    if standing.is_empty() {
        return;
    }
    let name = |text: &mut Text, index: usize, window: u64| {
        text.push(if index == 0 { "\"" } else { ", \"" }).push(api);
        if index > 0 {
            text.push("/").number(window).push("s");
        }
    };
    for (index, Remaining { ceiling, .. }) in standing.iter().enumerate() {
        let window = up_to_seconds(ceiling.period);
        name(text, index, window);
        text.push("\";q=").number(ceiling.limit.get().into()).push(";w=").number(window);
    }
    text.tell(headers, RATELIMIT_POLICY);
    for (index, Remaining { ceiling, remaining }) in standing.iter().enumerate() {
        let window = up_to_seconds(ceiling.period);
        name(text, index, window);
        text.push("\";r=").number((*remaining).into()).push(";t=").number(window);
    }
    text.tell(headers, RATELIMIT);
}

fn tell_aside(headers: &mut HeaderMap, text: &mut Text, aside: &Aside<'_>) {
    text.push(aside.request_id).tell(headers, REQUEST_ID);
    // An answer to a repeat can mean something else: that a room is there already, say.
    if aside.attempts > 1 {
        headers.insert(ATTEMPTS, HeaderValue::from(aside.attempts));
    }
    text.push("wait;dur=").milliseconds(aside.wait);
    if let Some(upstream) = aside.upstream {
        text.push(", upstream;dur=").milliseconds(upstream);
    }
    text.tell(headers, SERVER_TIMING);
}

/// A header whose value was made of parts that a header may hold.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// At least 1: `Retry-After: 0` would ask for a try that is known to fail.
fn whole_seconds(duration: Duration) -> u64 {
    up_to_seconds(duration).max(1)
}

fn up_to_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// A header's value in the making, one after the other, all in one allocation. The five that nearly every answer has take
/// 2,600 instructions with their way into the map. With `format!`, and above all its way with fractions, three of them took
/// 5,000 without.
struct Text(BytesMut);

impl Text {
    fn new() -> Self {
        Self(BytesMut::with_capacity(ROOM_FOR_TEXT))
    }

    fn push(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.push(itoa::Buffer::new().format(number))
    }

    /// With one decimal.
    fn milliseconds(&mut self, duration: Duration) -> &mut Self {
        let of_second = u64::from(duration.subsec_nanos() + 50_000) / 100_000;
        let tenths = duration.as_secs().saturating_mul(10_000).saturating_add(of_second);
        self.number(tenths / 10).push(".").number(tenths % 10)
    }

    /// It is complete: the header of this name has it, and the next one can be begun.
    fn tell(&mut self, headers: &mut HeaderMap, name: HeaderName) {
        if let Ok(value) = HeaderValue::from_maybe_shared(self.0.split().freeze()) {
            headers.insert(name, value);
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Unusable;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Unusable>>> {
        match &mut *self {
            Self::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Long(long) => Pin::new(long).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.as_ref().is_none_or(Bytes::is_empty),
            Self::Long(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Self::Long(_) => SizeHint::default(),
        }
    }
}

/// In bytes, for a header of the upstream's that travels back. A longer value is neither type nor date, and has room for what
/// must not travel: half of a UserSig.
const LONGEST_PASSED_ON: usize = 64;
/// With so many headers an answer is relayed as a rule. Without a word of it the map grows, and hashes all of them again.
const MOST_TOLD: usize = 10;
/// In bytes, for the values that are made one after the other: they share one allocation.
const ROOM_FOR_TEXT: usize = 256;
const PROXY: &str = "usersig-gateway";
const ATTEMPTS: HeaderName = HeaderName::from_static("x-gateway-attempts");
const TENCENT_ERROR_CODE: HeaderName = HeaderName::from_static("x-tencent-error-code");
const TENCENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-tencent-request-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
