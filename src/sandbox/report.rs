//! What the sandbox saw: counts, worst seconds, and the last calls in full.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Version};
use tokio::time::Instant;

use super::auth::AuthParameters;
use crate::model::api::ApiName;
use crate::model::app::SdkAppId;
use crate::model::error_code::ErrorCode;

/// What was seen since the start or the last reset.
#[derive(Debug, Clone)]
pub struct Report {
    /// For each app that lives here.
    pub apps: BTreeMap<SdkAppId, AppReport>,
    /// All calls that arrived, whatever they named.
    pub arrived: u64,
    /// The connections that were accepted.
    pub connections: u64,
    /// The last calls, oldest first. Those before were forgotten to keep the log within its bounds.
    pub calls: Vec<Arc<Call>>,
}

impl Report {
    /// What one app's API saw; nothing when no such call arrived.
    #[must_use]
    pub fn seen(&self, sdkappid: SdkAppId, api: &ApiName) -> Seen {
        self.apps.get(&sdkappid).and_then(|app| app.apis.get(api)).copied().unwrap_or_default()
    }
}

/// What one app saw.
#[derive(Debug, Clone, Default)]
pub struct AppReport {
    /// All its calls together, those to unknown APIs among them.
    pub all: Seen,
    /// For each API that was called and that the sandbox knows.
    pub apis: BTreeMap<ApiName, Seen>,
}

/// Counts of calls, and the worst second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Calls whose head was read.
    pub arrived: u64,
    /// Of these, those that passed every check.
    pub accepted: u64,
    /// Of these, those that failed one. A call that was never read to its end is neither.
    pub refused: u64,
    /// Of those refused, the ones over a ceiling (60007, 60011).
    pub refused_for_rate: u64,
    /// The most calls that arrived in any one second `[t, t+1s)`, wherever it starts; 200,000 means that or more.
    pub worst_second: usize,
}

/// How a call was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not read to its end: not yet, or never.
    Unread,
    /// It passed every check.
    Accepted,
    /// It failed one, which gives this code.
    Refused(ErrorCode),
    /// It is no POST, so it is no call.
    NotPost,
}

/// One call that arrived. `Debug` leaves out what holds a UserSig: query, headers and body.
#[derive(Clone)]
pub struct Call {
    /// 0 for the first call since the start or the last reset.
    pub number: u64,
    /// When its head was read.
    pub arrived: Instant,
    /// The number of its connection, from 1.
    pub connection: u64,
    /// The version of HTTP that it came in.
    pub version: Version,
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// What stands behind the question mark, as it came.
    pub query: Option<String>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; empty while it is unread.
    pub body: Bytes,
    /// The values of its five parameters, percent-decoded.
    pub parameters: AuthParameters,
    /// The app that it names, known or not.
    pub sdkappid: Option<SdkAppId>,
    /// The API that it names, known or not.
    pub api: Option<ApiName>,
    /// How it was judged.
    pub verdict: Verdict,
    /// The code that it was answered with; `None` when there is none.
    pub answered: Option<ErrorCode>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("number", &self.number)
            .field("connection", &self.connection)
            .field("version", &self.version)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("parameters", &self.parameters)
            .field("body_bytes", &self.body.len())
            .field("verdict", &self.verdict)
            .field("answered", &self.answered)
            .finish_non_exhaustive()
    }
}

impl Call {
    /// Roughly how much memory it holds.
    fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let query = self.query.as_ref().map_or(0, String::len);
        self.path.len() + 2 * query + headers + self.body.len()
    }
}

/// The last calls, oldest first: so many at most, and so many bytes of them.
pub(super) struct Log {
    calls: VecDeque<Arc<Call>>,
    bytes: usize,
    most_calls: usize,
}

impl Log {
    pub(super) fn new(most_calls: usize) -> Self {
        Self { calls: VecDeque::new(), bytes: 0, most_calls }
    }

    /// Adds a call and forgets the oldest where that goes beyond the bounds.
    pub(super) fn push(&mut self, call: Call) {
        self.bytes += call.weight();
        self.calls.push_back(Arc::new(call));
        self.keep_bounds();
    }

    /// Completes call `number`, if it is still remembered.
    pub(super) fn complete(&mut self, number: u64, change: impl FnOnce(&mut Call)) {
        let first = self.calls.front().map_or(0, |call| call.number);
        let place = number.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        let Some(call) = place.and_then(|place| self.calls.get_mut(place)) else { return };
        let before = call.weight();
        change(Arc::make_mut(call));
        self.bytes = self.bytes - before + call.weight();
        self.keep_bounds();
    }

    pub(super) fn calls(&self) -> Vec<Arc<Call>> {
        self.calls.iter().cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        self.calls.clear();
        self.bytes = 0;
    }

    fn keep_bounds(&mut self) {
        while self.calls.len() > self.most_calls || self.bytes > MOST_BYTES {
            let Some(forgotten) = self.calls.pop_front() else { return };
            self.bytes -= forgotten.weight();
        }
    }
}

/// The most bytes of calls that are remembered.
const MOST_BYTES: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: u64, body: usize) -> Call {
        Call {
            number,
            arrived: Instant::now(),
            connection: 1,
            version: Version::HTTP_11,
            method: Method::POST,
            path: "/v4/a/b".into(),
            query: Some("usersig=FAKEUSERSIG".into()),
            headers: HeaderMap::new(),
            body: Bytes::from(vec![b'x'; body]),
            parameters: AuthParameters { usersig: vec!["FAKEUSERSIG".into()], ..Default::default() },
            sdkappid: None,
            api: None,
            verdict: Verdict::Unread,
            answered: None,
        }
    }

    #[test]
    fn the_log_keeps_the_last_calls() {
        let mut log = Log::new(3);
        for number in 0..5 {
            log.push(call(number, 0));
        }
        log.complete(1, |_| panic!("call 1 is forgotten"));
        log.complete(3, |call| call.verdict = Verdict::Accepted);
        let kept: Vec<_> = log.calls().iter().map(|call| (call.number, call.verdict)).collect();
        assert_eq!(kept, [(2, Verdict::Unread), (3, Verdict::Accepted), (4, Verdict::Unread)]);
    }

    #[test]
    fn the_log_is_bounded_in_bytes_too() {
        let mut log = Log::new(100);
        for number in 0..4 {
            log.push(call(number, 0));
            log.complete(number, |call| call.body = Bytes::from(vec![0; MOST_BYTES / 3]));
        }
        let kept: Vec<_> = log.calls().iter().map(|call| call.number).collect();
        assert_eq!(kept, [2, 3]);
        log.push(call(4, MOST_BYTES));
        assert!(log.calls().is_empty(), "one that is too big alone is not kept");
        assert_eq!(log.bytes, 0);
    }

    #[test]
    fn debug_shows_no_usersig() {
        let shown = format!("{:?}", call(1, 1));
        assert!(shown.contains("(11 characters)") && !shown.contains("FAKEUSERSIG"), "{shown}");
    }
}
