//! Whether calls can be served.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

/// Whether calls can be served, shared between those who know and those who tell. Clones are the same value.
///
/// It begins as starting. Draining is for good: a process that is to end does not become ready again.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<ReadinessState>>);

/// Whether calls can be served, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "reasons", rename_all = "snake_case")]
pub enum ReadinessState {
    /// Configuration is not in force yet.
    #[default]
    Starting,
    /// Configuration is in force, and every key can sign.
    Ready,
    /// Started, but not as it should be. A sentence each says what is wrong.
    NotReady(Vec<String>),
    /// The process is about to end.
    Draining,
}

// === impl Readiness ===

impl Readiness {
    /// A process that is starting.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls can be served.
    pub fn ready(&self) {
        self.move_to(ReadinessState::Ready);
    }

    /// Calls should not be sent here, for these reasons, each a short sentence for people.
    pub fn not_ready(&self, reasons: Vec<String>) {
        self.move_to(ReadinessState::NotReady(reasons));
    }

    /// The process is about to end; calls should go elsewhere.
    pub fn draining(&self) {
        self.move_to(ReadinessState::Draining);
    }

    /// The state at this moment.
    #[must_use]
    pub fn state(&self) -> ReadinessState {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn move_to(&self, next: ReadinessState) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != ReadinessState::Draining {
            *state = next;
        }
    }
}

// === impl ReadinessState ===

impl ReadinessState {
    /// Whether the process has come past its start, ready or not.
    #[must_use]
    pub fn has_started(&self) -> bool {
        *self != Self::Starting
    }

    /// Why calls should not be sent here; `None` when they can.
    #[must_use]
    pub fn reasons_against(&self) -> Option<Vec<String>> {
        match self {
            Self::Ready => None,
            Self::Starting => Some(vec!["starting".to_owned()]),
            Self::Draining => Some(vec!["draining: the process is about to end".to_owned()]),
            Self::NotReady(reasons) if reasons.is_empty() => Some(vec!["not ready".to_owned()]),
            Self::NotReady(reasons) => Some(reasons.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draining_is_for_good() {
        let readiness = Readiness::new();
        assert!(!readiness.state().has_started());
        readiness.not_ready(vec!["a key is missing".to_owned()]);
        assert!(readiness.state().has_started());
        readiness.ready();
        assert_eq!(readiness.state(), ReadinessState::Ready);
        readiness.clone().draining();
        readiness.ready();
        readiness.not_ready(Vec::new());
        assert_eq!(readiness.state(), ReadinessState::Draining);
    }

    #[test]
    fn only_ready_has_nothing_against_it() {
        let not_ready = |reasons: &[&str]| {
            ReadinessState::NotReady(reasons.iter().map(ToString::to_string).collect()).reasons_against()
        };
        assert_eq!(ReadinessState::Ready.reasons_against(), None);
        assert_eq!(ReadinessState::Starting.reasons_against(), Some(vec!["starting".to_owned()]));
        assert_eq!(not_ready(&["a", "b"]), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(not_ready(&[]), Some(vec!["not ready".to_owned()]));
    }

    #[test]
    fn json_tells_state_and_reasons() {
        let json = |state: ReadinessState| serde_json::to_string(&state).unwrap();
        assert_eq!(json(ReadinessState::Draining), r#"{"state":"draining"}"#);
        assert_eq!(
            json(ReadinessState::NotReady(vec!["a".to_owned()])),
            r#"{"state":"not_ready","reasons":["a"]}"#
        );
    }
}
