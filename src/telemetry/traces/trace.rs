//! The spans of one call, from its coming to its end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use tokio::time::Instant;

use super::{SpanId, TraceId, TraceParent, Traces};
use crate::model::endpoint::Endpoint;

/// One call's place in its trace, and its spans if it is sampled.
#[derive(Debug)]
pub struct Trace {
    traces: Arc<Traces>,
    id: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
    began: Instant,
    /// `None`: it is not sampled.
    spans: Option<Spans>,
    /// The id of the next try's span, which travels with it where that is switched on.
    next_try: SpanId,
    /// When the try that is under way began.
    trying_since: Instant,
}

#[derive(Debug)]
struct Spans {
    /// When the call began, by the wall clock.
    wall: SystemTime,
    ended: Vec<Span>,
}

/// Something that took time.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace to which it belongs.
    pub trace: TraceId,
    /// Its own id.
    pub id: SpanId,
    /// The span of which it is a part.
    pub parent: Option<SpanId>,
    /// What it is.
    pub name: Arc<str>,
    /// From whose side it is seen.
    pub kind: Kind,
    /// When it began.
    pub began: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// Whether it failed.
    pub failed: bool,
    /// What is known of it, by names of OpenTelemetry's semantic conventions where there are any.
    pub attributes: Vec<(&'static str, Value)>,
}

/// From whose side a span is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something inside the gateway.
    Internal,
    /// A call that came in.
    Server,
    /// A call that went out.
    Client,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text.
    Text(Arc<str>),
    /// A text that is written in the source.
    Word(&'static str),
    /// A whole number.
    Number(i64),
}

/// How one try at one host went.
#[derive(Debug, Clone, Copy)]
pub struct Try<'a> {
    /// Where it went.
    pub endpoint: &'a Endpoint,
    /// To which path, without a query.
    pub path: &'a str,
    /// Which of the call's tries it is, from 0.
    pub nth: u32,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// Its ErrorCode, if it had one.
    pub error_code: Option<i64>,
    /// Tencent's id of it.
    pub request_id: Option<&'a str>,
    /// How it failed, if it had no answer.
    pub failure: Option<&'static str>,
    /// Whether anything of it may have been sent.
    pub was_sent: bool,
}

/// How a call ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// The path of its API, once that was known.
    pub path: Option<&'a str>,
    /// The same for people and dashboards: of a bounded set.
    pub route: Option<&'a str>,
    /// The status that the caller was sent, if it was sent any.
    pub status: Option<u16>,
    /// Whether no usable answer came.
    pub is_fault: bool,
    /// The gateway's own reason.
    pub reason: Option<&'static str>,
    /// What else is known.
    pub attributes: Vec<(&'static str, Value)>,
}

impl Trace {
    pub(super) fn begin(
        traces: Arc<Traces>,
        parent: Option<TraceParent>,
        sampled: bool,
        began: Instant,
    ) -> Self {
        let spans = sampled.then(|| Spans { wall: traces.clock.now(), ended: Vec::with_capacity(4) });
        Self {
            id: parent.map_or_else(TraceId::made, |parent| parent.trace),
            span: SpanId::made(),
            parent: parent.map(|parent| parent.span),
            began,
            spans,
            next_try: SpanId::made(),
            trying_since: began,
            traces,
        }
    }

    /// The id of its trace, for logs.
    #[must_use]
    pub fn id(&self) -> TraceId {
        self.id
    }

    /// The id of its own span, for logs.
    #[must_use]
    pub fn span(&self) -> SpanId {
        self.span
    }

    /// It waited so long until now, or was signed in that time. `name` is of a fixed set.
    pub fn spent(&mut self, name: &'static str, took: Duration) {
        let now = Instant::now();
        let began = now.checked_sub(took).unwrap_or(now);
        self.add(
            SpanId::made(),
            Some(self.span),
            name.into(),
            Kind::Internal,
            (began, now),
            false,
            Vec::new(),
        );
    }

    /// A try begins. Gives the header that goes with it, where that is switched on.
    pub fn trying(&mut self) -> Option<HeaderValue> {
        self.trying_since = Instant::now();
        let Self { id: trace, next_try: span, .. } = *self;
        let parent = TraceParent { trace, span, sampled: self.spans.is_some() };
        self.traces.propagate.then(|| parent.header())
    }

    /// A try has ended. The next one, at another host, begins now.
    pub fn tried(&mut self, tried: &Try<'_>) {
        let (began, now) = (std::mem::replace(&mut self.trying_since, Instant::now()), Instant::now());
        // What never left has not shown its id to anybody.
        let fresh = SpanId::made();
        let id = if tried.was_sent { std::mem::replace(&mut self.next_try, fresh) } else { fresh };
        if self.spans.is_none() {
            return;
        }
        let failed = tried.failure.is_some()
            || tried.status.is_some_and(|status| status >= 400)
            || tried.error_code.is_some_and(|code| code != 0);
        let name = format!("POST {}", tried.path);
        self.add(id, Some(self.span), name.into(), Kind::Client, (began, now), failed, tried.attributes());
    }

    /// The call has ended.
    pub fn end(mut self, ended: Ended<'_>) {
        if self.spans.is_none() {
            return;
        }
        let failed = ended.is_fault || ended.status.is_some_and(|status| status >= 500);
        let name = ended.route.map_or_else(|| "POST".to_owned(), |route| format!("POST {route}"));
        let mut attributes = vec![
            ("http.request.method", Value::Word("POST")),
            ("url.scheme", Value::Word(self.traces.scheme)),
        ];
        let text = |text: &str| Value::Text(text.into());
        attributes.extend(ended.path.map(|path| ("url.path", text(path))));
        attributes.extend(ended.route.map(|route| ("http.route", text(route))));
        attributes.extend(ended.status.map(|status| ("http.response.status_code", status.into())));
        attributes.extend(ended.reason.filter(|_| failed).map(|reason| ("error.type", Value::Word(reason))));
        attributes.extend(ended.attributes);
        let times = (self.began, Instant::now());
        self.add(self.span, self.parent, name.into(), Kind::Server, times, failed, attributes);
        if let Some(spans) = self.spans {
            self.traces.end(spans.ended);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "private, and each is a part of the one span")]
    fn add(
        &mut self,
        id: SpanId,
        parent: Option<SpanId>,
        name: Arc<str>,
        kind: Kind,
        (began, ended): (Instant, Instant),
        failed: bool,
        attributes: Vec<(&'static str, Value)>,
    ) {
        let (trace, beginning) = (self.id, self.began);
        let Some(spans) = &mut self.spans else { return };
        // The call itself is always among them.
        if spans.ended.len() >= MOST_SPANS && kind != Kind::Server {
            return;
        }
        let wall = |at: Instant| spans.wall + at.saturating_duration_since(beginning);
        let (began, ended) = (wall(began), wall(ended));
        spans.ended.push(Span { trace, id, parent, name, kind, began, ended, failed, attributes });
    }
}

impl Try<'_> {
    fn attributes(&self) -> Vec<(&'static str, Value)> {
        let text = |text: &str| Value::Text(text.into());
        let mut attributes = vec![
            ("http.request.method", Value::Word("POST")),
            ("server.address", text(self.endpoint.host())),
            ("server.port", self.endpoint.port().into()),
            // The query holds a UserSig, and stays out.
            ("url.full", text(&format!("{}{}", self.endpoint, self.path))),
            ("url.template", text(self.path)),
        ];
        attributes.extend(self.status.map(|status| ("http.response.status_code", status.into())));
        if self.nth > 0 {
            attributes.push(("http.request.resend_count", Value::Number(self.nth.into())));
        }
        attributes.extend(self.error_code.map(|code| ("usersig_gateway.error_code", Value::Number(code))));
        attributes.extend(self.request_id.map(|id| ("usersig_gateway.tencent_request_id", text(id))));
        let error = match (self.failure, self.error_code, self.status) {
            (Some(failure), ..) => Some(Value::Word(failure)),
            (None, Some(code), _) if code != 0 => Some(text(&code.to_string())),
            (None, None, Some(status)) if status >= 400 => Some(text(&status.to_string())),
            _ => None,
        };
        attributes.extend(error.map(|error| ("error.type", error)));
        attributes
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

/// A call's tries are bounded by settings, which may say a million.
const MOST_SPANS: usize = 64;
