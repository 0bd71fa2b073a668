//! Whether this caller may make this call. [`allow`] gives a [`Grant`].
//!
//! Everything after this step asks for a `Grant`, and nothing else makes one: so nothing is admitted, signed or sent
//! that was not allowed. Every caller within reach of the listener may call every configured app, except a browser:
//! whatever runs in a page was written by somebody else.

use crate::gateway::caller::Caller;
use crate::gateway::target::{Api, App, Target};

/// A call that is allowed: this caller, this target.
#[derive(Debug, Clone)]
pub struct Grant {
    caller: Caller,
    target: Target,
}

/// Why a call is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The request came from a browser.
    #[error("requests from browsers are refused: the call carries an origin or sec-fetch-* header")]
    Browser,
}

/// Refuses whoever may make no call at all. To be asked before anything else is looked at, so that not even an error
/// tells a page which apps there are.
///
/// # Errors
/// When the caller is a browser.
pub fn may_call(caller: &Caller) -> Result<(), Denied> {
    if caller.is_browser() { Err(Denied::Browser) } else { Ok(()) }
}

/// Allows a call, or not.
///
/// # Errors
/// When the caller may make no call at all.
pub fn allow(caller: Caller, target: Target) -> Result<Grant, Denied> {
    may_call(&caller)?;
    Ok(Grant { caller, target })
}

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
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::gateway::caller::{self, identify};
    use crate::gateway::target::{Apis, Apps, Endpoints, resolve};
    use crate::model::endpoint::Endpoint;
    use crate::net::listener::Peer;

    fn target() -> Target {
        let app = App {
            name: "live".parse().unwrap(),
            sdkappid: "1400000001".parse().unwrap(),
            identifier: "administrator".parse().unwrap(),
            keys: Vec::new(),
            region: None,
            endpoints: Endpoints::private(vec![Endpoint::https("localhost")]),
            extra_roots: Vec::new(),
        };
        let mut apps = Apps::default();
        apps.add(app, true).unwrap();
        resolve("/v4/live_config/get_callback", None, &apps, &Apis::new()).unwrap()
    }

    #[test]
    fn a_caller_is_allowed_and_a_browser_is_not() {
        let mut headers = HeaderMap::new();
        headers.insert("x-caller", HeaderValue::from_static("gifts"));
        let settings = caller::Settings::default();
        let grant = allow(identify(&headers, Peer::Uid(None), &settings), target()).unwrap();
        assert_eq!(&**grant.caller().label(), "gifts");
        assert_eq!(grant.app().name.as_str(), "live");
        assert_eq!(grant.api().name.as_str(), "live_config/get_callback");

        headers.insert("origin", HeaderValue::from_static("null"));
        let browser = identify(&headers, Peer::Uid(None), &settings);
        assert_eq!(allow(browser, target()).unwrap_err(), Denied::Browser);
    }
}
