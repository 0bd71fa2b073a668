//! Whether this caller may make this call. [`allow`] gives a [`Grant`].
//!
//! Everything after this step asks for a `Grant`, and nothing else makes one: so nothing is admitted, signed or sent
//! that was not allowed. What is decided on is the [`Target`], the same value to which the call is sent, and not the
//! text of the request: no way of writing a path can show one API here and another one to Tencent.
//!
//! Where there are no rules, whoever reaches the listener may call everything. Where there are, a caller may call what
//! the [`Rights`] of its rule hold, and who falls under none may call nothing. A browser may call nothing either way:
//! whatever runs in a page was written by somebody else.

mod pattern;
mod rights;

use std::collections::HashMap;

use crate::gateway::caller::{Caller, RuleName, Standing};
use crate::gateway::target::{Api, Apis, App, Excerpt, Target};
use crate::model::api::ApiName;
use crate::model::app::AppName;
use crate::net::listener::Peer;
use crate::net::remote::Remote;

pub use pattern::{ApiPattern, BadApiPattern, Glob};
pub use rights::{Lack, Rights};

/// The rights that go with each rule. A rule that is not among them gives none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// By the rule's name.
    pub rights: HashMap<RuleName, Rights>,
}

/// A call that is allowed: this caller, this target.
#[derive(Debug, Clone)]
pub struct Grant {
    caller: Box<Caller>,
    target: Target,
}

/// Why a call is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The request came from a browser.
    #[error("requests from browsers are refused: the call carries an origin or sec-fetch-* header")]
    Browser,
    /// There are rules, and none matches.
    #[error("no rule for callers ([[callers.rule]]) matches this one: {who}")]
    NoRule {
        /// What is proved of the caller, in words.
        who: String,
    },
    /// The rule that the caller falls under does not give the right.
    #[error("the rule {rule} for callers {}", told(*.lack, .app, .api))]
    Lacking {
        /// The rule.
        rule: RuleName,
        /// What it lacks.
        lack: Lack,
        /// The app that was called.
        app: AppName,
        /// The API that was called.
        api: ApiName,
    },
}

/// Refuses whoever may make no call at all. To be asked before anything else is looked at, so that not even an error
/// tells a page or a stranger which apps there are.
///
/// # Errors
/// When the caller is a browser, or none of the rules matches it.
pub fn may_call(caller: &Caller) -> Result<(), Denied> {
    if caller.is_browser() {
        return Err(Denied::Browser);
    }
    match caller.standing() {
        Standing::Stranger => Err(Denied::NoRule { who: describe(caller.remote()) }),
        Standing::Free | Standing::Under(_) => Ok(()),
    }
}

/// Allows a call, or not.
///
/// # Errors
/// When the caller may make no call at all, or its rule does not give the right to this one.
pub fn allow(caller: impl Into<Box<Caller>>, target: Target, settings: &Settings) -> Result<Grant, Denied> {
    let caller = caller.into();
    may_call(&caller)?;
    if let Some(rule) = caller.rule() {
        let rights = settings.rights.get(&rule.name);
        let lack = rights.map_or(Some(Lack::Allow), |rights| rights.lack(&target.app, &target.api));
        if let Some(lack) = lack {
            let (app, api) = (target.app.name.clone(), target.api.name.clone());
            return Err(Denied::Lacking { rule: rule.name.clone(), lack, app, api });
        }
    }
    Ok(Grant { caller, target })
}

// === impl Settings ===

impl Settings {
    /// The APIs that rules name in full.
    pub fn named_apis(&self) -> impl Iterator<Item = &ApiName> {
        let rights = self.rights.values();
        let patterns = rights.flat_map(|rights| rights.allow.iter().flatten().chain(&rights.deny));
        patterns.filter_map(ApiPattern::named_in_full)
    }
}

// === impl Denied ===

impl Denied {
    /// Its label in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::NoRule { .. } => "no_rule",
            Self::Lacking { lack, .. } => match lack {
                Lack::App => "app_not_allowed",
                Lack::Allow => "not_allowed",
                Lack::Deny => "denied",
                Lack::InFull => "secret_not_allowed",
            },
        }
    }
}

// === impl Grant ===

impl Grant {
    /// Who calls.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What is called.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The app that is called.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.target.app
    }

    /// The API that is called.
    #[must_use]
    pub fn api(&self) -> &Api {
        &self.target.api
    }

    /// The call is about to be made: its API gets an identity of its own, if it had none and there is room. Says whether
    /// it did.
    pub fn identify(&mut self, apis: &Apis) -> bool {
        let own = apis.called(self.target.app.sdkappid, &self.target.api);
        let is_new = own.is_some();
        if let Some(own) = own {
            self.target.api = own;
        }
        is_new
    }
}

/// What a rule does not do, or does.
fn told(lack: Lack, app: &AppName, api: &ApiName) -> String {
    match lack {
        Lack::App => format!("does not name the app {app} in `apps`"),
        Lack::Allow => format!("does not name {api} in `allow`"),
        Lack::Deny => format!("names {api} in `deny`"),
        Lack::InFull => {
            format!("does not name {api} in full in `allow`, which an API that answers a secret needs")
        }
    }
}

/// What is proved of a caller: for the one who reads why it was refused and writes the rules.
fn describe(remote: &Remote) -> String {
    let who = match remote.peer {
        Peer::Ip(address) => format!("its address is {address}"),
        Peer::Uid(Some(uid)) => format!("its user is {uid}"),
        Peer::Uid(None) => "its user is not known".into(),
    };
    let names = remote.names.iter().map(|name| Excerpt::of(&name.to_string()).to_string());
    let names = names.take(NAMES_SHOWN).collect::<Vec<_>>().join(", ");
    if names.is_empty() { who } else { format!("{who}, its certificate is for {names}") }
}

const NAMES_SHOWN: usize = 3;

#[cfg(test)]
mod tests;
