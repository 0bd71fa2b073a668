//! Rights: what the callers under one rule may call.

use super::pattern::{ApiPattern, Case};
use crate::gateway::target::{Api, App};
use crate::model::app::AppName;

/// What the callers under one rule may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// The apps; none: all of them.
    pub apps: Vec<AppName>,
    /// The APIs; `None`: all of them. An API that answers a secret is among them only when it is named in full.
    pub allow: Option<Vec<ApiPattern>>,
    /// The APIs that are not among them after all.
    pub deny: Vec<ApiPattern>,
}

/// Which right is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// The app is not among its apps.
    App,
    /// No pattern of `allow` matches.
    Allow,
    /// A pattern of `deny` matches.
    Deny,
    /// The API answers a secret and is not named in full.
    InFull,
}

impl Rights {
    /// Which right a call of this API of this app lacks, if any.
    pub(super) fn lack(&self, app: &App, api: &Api) -> Option<Lack> {
        if !self.apps.is_empty() && !self.apps.contains(&app.name) {
            return Some(Lack::App);
        }
        // Tencent's paths are case-sensitive, as far as anyone has told. Should one of its servers think otherwise,
        // then other letters must not lead around this list.
        if self.deny.iter().any(|pattern| pattern.matches_by(&api.name, Case::Ignored)) {
            return Some(Lack::Deny);
        }
        let in_full = |pattern: &ApiPattern| pattern.named_in_full() == Some(&api.name);
        match &self.allow {
            _ if api.answers_secret => {
                let named = self.allow.as_ref().is_some_and(|allow| allow.iter().any(in_full));
                (!named).then_some(Lack::InFull)
            }
            Some(allow) if !allow.iter().any(|pattern| pattern.matches(&api.name)) => Some(Lack::Allow),
            _ => None,
        }
    }
}
