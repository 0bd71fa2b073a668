//! The calls that did not succeed lately, by kind: what a person on call wants to see beside the numbers.
//!
//! Counters tell how many; here is one example of each kind with its RequestId and a remedy. A call that succeeds does
//! not come here. The kinds are bounded: a new one takes the place of the one that was seen longest ago.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::model::app::AppName;
use crate::model::call_outcome::CallOutcome;
use crate::model::error_code::ErrorCode;

/// The most kinds that are kept.
pub const KINDS: usize = 32;

/// The last failed call of each kind.
#[derive(Debug, Default)]
pub struct LastErrors(Mutex<Vec<LastError>>);

/// A kind of failed call, and the last one of that kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// What makes it a kind of its own.
    pub kind: Kind,
    /// What the code means, in a few words, where somebody documents that.
    pub meaning: Option<&'static str>,
    /// What to do about it.
    pub remedy: &'static str,
    /// Who made the last one.
    pub caller: Arc<str>,
    /// The last one's id: the caller's own or one that the gateway made.
    pub request_id: Arc<str>,
    /// Tencent's id of the last one, where its answer had one.
    pub tencent_request_id: Option<Box<str>>,
    /// When the last one ended.
    pub at: Instant,
    /// How many there were since this kind is kept.
    pub calls: u64,
}

/// What makes a failed call like another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// The app, where the call came so far.
    pub app: Option<AppName>,
    /// The API's label, or nothing.
    pub api: Arc<str>,
    /// Its code.
    pub code: ErrorCode,
    /// How it ended.
    pub outcome: CallOutcome,
    /// The gateway's own reason, if it was its own.
    pub reason: Option<&'static str>,
}

impl LastErrors {
    /// A call failed. Its `calls` count for nothing.
    pub fn note(&self, error: LastError) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.iter_mut().find(|known| known.kind == error.kind) {
            let calls = known.calls.saturating_add(1);
            *known = LastError { calls, ..error };
            return;
        }
        let error = LastError { calls: 1, ..error };
        if kept.len() < KINDS {
            kept.push(error);
        } else if let Some(oldest) = kept.iter_mut().min_by_key(|known| known.at) {
            *oldest = error;
        }
    }

    /// What is kept, the latest first.
    #[must_use]
    pub fn latest(&self) -> Vec<LastError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        kept.sort_by_key(|error| std::cmp::Reverse(error.at));
        kept
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn error(code: i64, at: Instant) -> LastError {
        LastError {
            kind: Kind {
                app: Some("live".parse().unwrap()),
                api: "live_config/get_callback".into(),
                code: ErrorCode(code),
                outcome: CallOutcome::TencentError,
                reason: None,
            },
            meaning: None,
            remedy: "read the page",
            caller: "gifts".into(),
            request_id: format!("gw-{code}").into(),
            tencent_request_id: None,
            at,
            calls: 0,
        }
    }

    #[test]
    fn calls_of_one_kind_are_counted_and_the_last_one_is_shown() {
        let (errors, began) = (LastErrors::default(), Instant::now());
        errors.note(error(1, began));
        errors.note(error(2, began + Duration::from_secs(1)));
        let later = LastError { caller: "billing".into(), ..error(1, began + Duration::from_secs(2)) };
        errors.note(later.clone());
        assert_eq!(
            errors.latest(),
            [
                LastError { calls: 2, ..later },
                LastError { calls: 1, ..error(2, began + Duration::from_secs(1)) }
            ]
        );
    }

    #[test]
    fn a_kind_too_many_takes_the_place_of_the_oldest() {
        let (errors, began) = (LastErrors::default(), Instant::now());
        for n in 0..KINDS as u64 + 3 {
            errors.note(error(n.cast_signed(), began + Duration::from_secs(n)));
        }
        let codes: Vec<i64> = errors.latest().iter().map(|error| error.kind.code.0).collect();
        assert_eq!(codes, (3..KINDS as i64 + 3).rev().collect::<Vec<_>>());
    }
}
