//! Reading what callers write in headers, each into a checked type.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::priority::{self, Priority};
use crate::model::duration as durations;

/// A header that a caller may send. As a closed set it can be a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallerHeader {
    /// Its name, in the configured header.
    Caller,
    /// `priority` (RFC 9218).
    Priority,
    /// `x-gateway-max-wait`.
    MaxWait,
    /// `x-gateway-timeout`.
    Timeout,
    /// `x-request-id`.
    RequestId,
}

impl CallerHeader {
    /// The word for it in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Priority => "priority",
            Self::MaxWait => "max_wait",
            Self::Timeout => "timeout",
            Self::RequestId => "request_id",
        }
    }

    /// The one of this name, which is in lower case; the caller's own name is in another, configured header.
    fn of(name: &str) -> Option<Self> {
        match name {
            "priority" => Some(Self::Priority),
            "x-gateway-max-wait" => Some(Self::MaxWait),
            "x-gateway-timeout" => Some(Self::Timeout),
            "x-request-id" => Some(Self::RequestId),
            _ => None,
        }
    }
}

/// The id under which a caller knows a call: 1 to 128 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        visible(text, MAX_REQUEST_ID).map(|text| Self(text.into()))
    }
}

/// Reads headers and remembers which of them were malformed.
pub(super) struct Reader<'a> {
    headers: &'a HeaderMap,
    /// What stands in each, by [`CallerHeader`].
    lines: [Lines<'a>; CALLER_HEADERS],
    ignored: Vec<CallerHeader>,
}

/// The lines of one header.
#[derive(Debug, Clone, Copy)]
enum Lines<'a> {
    None,
    One(&'a HeaderValue),
    Several,
}

impl<'a> Reader<'a> {
    /// `caller` is the header in which callers name themselves.
    pub(super) fn new(headers: &'a HeaderMap, caller: &HeaderName) -> Self {
        let mut lines = [Lines::None; CALLER_HEADERS];
        // Once past all headers, of which a request has few: to hash the name of each that it may have takes 600
        // instructions more.
        for (name, value) in headers {
            let named = (name == caller).then_some(CallerHeader::Caller);
            for header in named.into_iter().chain(CallerHeader::of(name.as_str())) {
                let lines = &mut lines[header as usize];
                *lines = if matches!(lines, Lines::None) { Lines::One(value) } else { Lines::Several };
            }
        }
        // An empty `Vec` takes no memory, and it is nearly always empty.
        Self { headers, lines, ignored: Vec::new() }
    }

    /// A header, made into a value by `parse`. One that stands twice says nothing.
    pub(super) fn read<T>(
        &mut self,
        header: CallerHeader,
        parse: impl FnOnce(&'a str) -> Option<T>,
    ) -> Option<T> {
        let value = match self.lines[header as usize] {
            Lines::None => return None,
            Lines::One(line) => line.to_str().ok().and_then(|text| parse(text.trim_ascii())),
            Lines::Several => None,
        };
        if value.is_none() {
            self.ignored.push(header);
        }
        value
    }

    /// The urgency in the `priority` header, whose lines together are one list (RFC 9110, section 5.3).
    pub(super) fn priority(&mut self) -> Priority {
        let mut priority = Priority::default();
        if matches!(self.lines[CallerHeader::Priority as usize], Lines::None) {
            return priority;
        }
        for line in self.headers.get_all("priority") {
            match line.to_str().ok().and_then(|text| priority::urgency(text).ok()) {
                Some(Some(urgency)) => priority = urgency,
                Some(None) => {}
                None => {
                    self.ignored.push(CallerHeader::Priority);
                    return Priority::default();
                }
            }
        }
        priority
    }

    pub(super) fn ignored(self) -> Vec<CallerHeader> {
        self.ignored
    }
}

/// `text`, if it has 1 to `most` characters, all of them visible ASCII.
pub(super) fn visible(text: &str, most: usize) -> Option<&str> {
    ((1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())).then_some(text)
}

/// A duration such as `250ms`. Of nothing, the unit does not matter: `0` is one too.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if text == "0" { Some(Duration::ZERO) } else { durations::parse(text).ok() }
}

const CALLER_HEADERS: usize = CallerHeader::RequestId as usize + 1;
const MAX_REQUEST_ID: usize = 128;
