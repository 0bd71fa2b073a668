//! Events: what happened, as types that know their log line and their counters.
//!
//! Whoever sees it happen says one word, `Event { … }.emit(…)`, and neither a log level nor a metric's name stands
//! there.

use std::fmt::Display;

use super::metrics::{Listener, Metrics};
use crate::model::app::AppName;

/// A UserSig was signed and is used from now on.
#[derive(Debug)]
pub struct UserSigSigned<'a> {
    /// For which app.
    pub app: &'a AppName,
    /// When it ends to be valid, in Unix seconds.
    pub expires: u64,
}

impl UserSigSigned<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.usersig_signed(self.app.as_str(), self.expires);
        tracing::info!(app = %self.app, expires = self.expires, "signed a UserSig");
    }
}

/// A UserSig could not be signed. An earlier one stays in use for as long as it is valid.
#[derive(Debug)]
pub struct UserSigFailed<'a, E> {
    /// For which app.
    pub app: &'a AppName,
    /// Why.
    pub error: &'a E,
}

impl<E: Display> UserSigFailed<'_, E> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.usersig_failed(self.app.as_str());
        tracing::error!(app = %self.app, error = %self.error, "could not sign a UserSig");
    }
}

/// Configuration is usable but looks unintended.
#[derive(Debug)]
pub struct ConfigWarning<'a, P> {
    /// What looks unintended, and where it stands.
    pub problem: &'a P,
}

impl<P: Display> ConfigWarning<'_, P> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::warn!(problem = %self.problem, "the configuration looks unintended");
    }
}

/// A listener takes connections from now on.
#[derive(Debug)]
pub struct ListenerBound<'a, A> {
    /// Which one.
    pub listener: Listener,
    /// At which address; with the true port where configuration asked for any.
    pub address: &'a A,
}

impl<A: Display> ListenerBound<'_, A> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::info!(listener = self.listener.as_str(), address = %self.address, "listening");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signing_is_counted_by_its_result_and_tells_until_when() {
        let metrics = Metrics::new("1");
        let app: AppName = "live".parse().unwrap();
        UserSigSigned { app: &app, expires: 1_700_000_000 }.emit(&metrics);
        UserSigSigned { app: &app, expires: 1_700_086_400 }.emit(&metrics);
        UserSigFailed { app: &app, error: &"no key" }.emit(&metrics);
        let text = metrics.encode();
        for sample in [
            "usersig_gateway_usersig_signed_total{app=\"live\",result=\"ok\"} 2\n",
            "usersig_gateway_usersig_signed_total{app=\"live\",result=\"failed\"} 1\n",
            // A failure leaves the earlier one in use.
            "usersig_gateway_usersig_expires_timestamp_seconds{app=\"live\"} 1700086400\n",
        ] {
            assert!(text.contains(sample), "{sample} in {text}");
        }
    }
}
