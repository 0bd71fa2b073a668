//! Reading what callers write in headers, each into a checked type.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName};

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
    ignored: Vec<CallerHeader>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(headers: &'a HeaderMap) -> Self {
        // An empty `Vec` takes no memory, and it is nearly always empty.
        Self { headers, ignored: Vec::new() }
    }

    /// The header of this name, made into a value by `parse`. One that stands twice says nothing.
    pub(super) fn read<T>(
        &mut self,
        header: CallerHeader,
        name: &HeaderName,
        parse: impl FnOnce(&'a str) -> Option<T>,
    ) -> Option<T> {
        let mut lines = self.headers.get_all(name).iter();
        let line = lines.next()?;
        let value = match lines.next() {
            None => line.to_str().ok().and_then(|text| parse(text.trim_ascii())),
            Some(_) => None,
        };
        if value.is_none() {
            self.ignored.push(header);
        }
        value
    }

    /// The urgency in the `priority` header, whose lines together are one list (RFC 9110, section 5.3).
    pub(super) fn priority(&mut self) -> Priority {
        let mut priority = Priority::default();
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

const MAX_REQUEST_ID: usize = 128;
