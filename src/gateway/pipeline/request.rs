//! What is taken of a caller's request, and what it must be: framed in one way only, a POST, its body a JSON object that is
//! there in time. Nothing else costs a token.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body::Body;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use crate::gateway::Limits;
use crate::gateway::caller::Caller;
use crate::gateway::rejection::{BadBody, Rejection};
use crate::net::body::{self, Counted, CountedError, Part, ReadError};

/// RFC 9112, section 3.2: an HTTP/1.1 request has one `host`. What it says is of no interest here.
pub(super) fn one_host(head: &http::request::Parts) -> Result<(), Rejection> {
    let hosts = head.headers.get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && head.version == http::Version::HTTP_11) {
        return Err(Rejection::Host(hosts));
    }
    Ok(())
}

/// hyper looks at the last transfer coding only, and takes the others for none (RFC 9112, section 6.1).
pub(super) fn only_chunked(head: &http::request::Parts) -> Result<(), Rejection> {
    let mut lines = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    match (lines.next().map(|line| line.as_bytes().trim_ascii()), lines.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Rejection::Coding),
    }
}

pub(super) fn only_post(method: &Method) -> Result<(), Rejection> {
    if method == Method::POST { Ok(()) } else { Err(Rejection::Method(method.clone())) }
}

/// Reads a body that Tencent would take: a JSON object. Nothing else costs a token.
pub(super) async fn read_body<B: Body>(
    body: B,
    headers: &HeaderMap,
    mut part: Part,
    limits: &Limits,
    deadline: Deadline,
) -> Result<Bytes, BadBody> {
    let plain = |encoding: &HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(plain) {
        return Err(BadBody::Encoded);
    }
    let body = pin!(body);
    let reading = body::read_capped(Counted::new(body, &mut part), limits.request_body);
    let (until, limit) = deadline.of_body(limits.body_timeout);
    let body = match tokio::time::timeout_at(until, pin!(reading)).await {
        Ok(Ok(body)) => body,
        Ok(Err(ReadError::TooLong { limit })) => return Err(BadBody::TooLong(limit)),
        Ok(Err(ReadError::Broken(CountedError::NoRoom(no_room)))) => return Err(no_room.into()),
        Ok(Err(ReadError::Broken(CountedError::Body(_)))) => return Err(BadBody::BrokenOff),
        Err(_) => return Err(BadBody::TooSlow(limit)),
    };
    if body.trim_ascii().is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    let text = std::str::from_utf8(&body).map_err(|error| BadBody::NotJson(error.to_string()))?;
    // Serde's words give line and column and quote nothing.
    let _: IgnoredAny = serde_json::from_str(text).map_err(|error| BadBody::NotJson(error.to_string()))?;
    if text.trim_ascii_start().starts_with('{') { Ok(part.hold(body)) } else { Err(BadBody::NotAnObject) }
}

/// All that the caller accepts: several lines are one list (RFC 9110, section 5.3).
pub(super) fn accept(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(header::ACCEPT).iter();
    let (first, second) = (lines.next()?, lines.next());
    let Some(second) = second else { return Some(first.clone()) };
    let all: Vec<_> = [first, second].into_iter().chain(lines).map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&all.join(&b", "[..])).ok()
}

/// Until when the caller waits for its call, by its own word: the body's way here included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    began: Instant,
    wished: Option<(Instant, Duration)>,
}

impl Deadline {
    pub(super) fn of(began: Instant, caller: &Caller) -> Self {
        Self { began, wished: caller.wishes().timeout.map(|timeout| (began + timeout, timeout)) }
    }

    /// Until when the body must be there, and the limit that says so.
    pub(super) fn of_body(self, limit: Duration) -> (Instant, Duration) {
        let until = self.began + limit;
        self.wished.filter(|(wished, _)| *wished < until).unwrap_or((until, limit))
    }

    /// Until when a call must be answered whose body is there `now`.
    pub(super) fn of_call(self, now: Instant, total_timeout: Duration) -> Instant {
        let until = now + total_timeout;
        self.wished.map_or(until, |(wished, _)| wished.min(until))
    }
}
