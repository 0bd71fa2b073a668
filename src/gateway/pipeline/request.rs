//! What is taken of a caller's request, and what it must be: framed in one way only, a POST, its body a JSON object that is
//! there in time. Nothing else costs a token.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Version, header};
use http_body::Body;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use crate::gateway::Limits;
use crate::gateway::caller::Caller;
use crate::gateway::rejection::{BadBody, Rejection};
use crate::net::body::{self, Counted, CountedError, Part, ReadError};

/// What a request's headers say of itself. They are read in one pass: four look-ups by name take 500 instructions.
#[derive(Debug, Default)]
pub(super) struct Said<'a> {
    hosts: usize,
    transfer_codings: Lines<'a>,
    is_encoded: bool,
    accept: Lines<'a>,
}

/// The lines of one header.
type Lines<'a> = (Option<&'a HeaderValue>, Vec<&'a HeaderValue>);

impl<'a> Said<'a> {
    pub(super) fn by(headers: &'a HeaderMap) -> Self {
        let mut said = Self::default();
        for (name, value) in headers {
            if name == header::HOST {
                said.hosts += 1;
            } else if name == header::ACCEPT {
                add(&mut said.accept, value);
            } else if name == header::TRANSFER_ENCODING {
                add(&mut said.transfer_codings, value);
            } else if name == header::CONTENT_ENCODING {
                said.is_encoded |= !value.as_bytes().eq_ignore_ascii_case(b"identity");
            }
        }
        said
    }

    /// RFC 9112, section 3.2: an HTTP/1.1 request has one `host`. What it says is of no interest here.
    pub(super) fn one_host(&self, version: Version) -> Result<(), Rejection> {
        if self.hosts > 1 || (self.hosts == 0 && version == Version::HTTP_11) {
            return Err(Rejection::Host(self.hosts));
        }
        Ok(())
    }

    /// hyper looks at the last transfer coding only, and takes the others for none (RFC 9112, section 6.1).
    pub(super) fn only_chunked(&self) -> Result<(), Rejection> {
        match &self.transfer_codings {
            (None, _) => Ok(()),
            (Some(coding), more)
                if more.is_empty() && coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") =>
            {
                Ok(())
            }
            _ => Err(Rejection::Coding),
        }
    }

    /// All that the caller accepts: several lines are one list (RFC 9110, section 5.3).
    pub(super) fn accept(&self) -> Option<HeaderValue> {
        let (first, more) = &self.accept;
        let first = (*first)?;
        if more.is_empty() {
            return Some(first.clone());
        }
        let all: Vec<_> = [&first].into_iter().chain(more).map(|line| line.as_bytes()).collect();
        HeaderValue::from_bytes(&all.join(&b", "[..])).ok()
    }
}

fn add<'a>((first, more): &mut Lines<'a>, line: &'a HeaderValue) {
    match first {
        None => *first = Some(line),
        Some(_) => more.push(line),
    }
}

pub(super) fn only_post(method: &Method) -> Result<(), Rejection> {
    if method == Method::POST { Ok(()) } else { Err(Rejection::Method(method.clone())) }
}

/// Reads a body that Tencent would take: a JSON object. Nothing else costs a token.
pub(super) async fn read_body<B: Body>(
    body: B,
    said: &Said<'_>,
    mut part: Part,
    limits: &Limits,
    deadline: Deadline,
) -> Result<Bytes, BadBody> {
    if said.is_encoded {
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
