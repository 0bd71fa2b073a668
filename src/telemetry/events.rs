//! Events: what happened, as types that know their log line and their counters.
//!
//! Whoever sees it happen says one word, `Event { … }.emit(…)`, and neither a log level nor a metric's name stands
//! there.

use std::fmt::Display;
use std::time::Duration;

use super::metrics::{Listener, Metrics};
use crate::model::app::AppName;
use crate::model::collector::Collector;
use crate::model::duration;
use crate::model::endpoint::Endpoint;
use crate::model::error_code::ErrorCode;

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

/// Tencent said that calls are too frequent, and less of a ceiling is used from now on.
#[derive(Debug)]
pub struct CeilingCut<'a> {
    /// Whose ceiling.
    pub app: &'a AppName,
    /// Which API's, by its label; `*` for the ceiling over all of them.
    pub api: &'a str,
    /// Calls a second until now.
    pub before: f64,
    /// Calls a second from now on.
    pub after: f64,
}

impl CeilingCut<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Self { app, api, before, after } = self;
        tracing::warn!(%app, api, before, after, "Tencent said too frequent: the ceiling is lowered");
    }
}

/// Four fifths of a ceiling are in use.
#[derive(Debug)]
pub struct CeilingNearlyUsed<'a> {
    /// Whose ceiling.
    pub app: &'a AppName,
    /// Which API's, by its label; `*` for the ceiling over all of them.
    pub api: &'a str,
    /// Of which of its periods.
    pub period: Duration,
    /// How many calls a period has room for.
    pub limit: u32,
    /// How many of them are in use.
    pub used: u32,
    /// How many calls wait.
    pub waiting: usize,
}

impl CeilingNearlyUsed<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Self { app, api, limit, used, waiting, .. } = self;
        let period = duration::format(self.period);
        tracing::warn!(%app, api, period, limit, used, waiting, "a ceiling is nearly used up");
    }
}

/// A command went to the store of shared ceilings.
#[derive(Debug)]
pub struct StoreCommand {
    /// What came of it: `ok`, `timeout`, `unreachable`, `refused` or `late`.
    pub result: &'static str,
}

impl StoreCommand {
    /// Counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.store_command(self.result);
    }
}

/// This process stands otherwise with the store of shared ceilings than before.
#[derive(Debug)]
pub struct StoreModeChanged<'a, E> {
    /// How, in a word.
    pub mode: &'static str,
    /// Where ceilings are kept by that: `shared` or `degraded`.
    pub place: &'static str,
    /// What that means.
    pub what: &'static str,
    /// Why the store was lost, if it was.
    pub error: Option<&'a E>,
    /// Whether somebody should look.
    pub troubles: bool,
}

impl<E: Display> StoreModeChanged<'_, E> {
    /// Logs it and sets the gauge.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.store_mode(self.place);
        let Self { mode, what, .. } = self;
        match (self.troubles, self.error) {
            (true, Some(error)) => tracing::warn!(mode, %error, "{what}"),
            (true, None) => tracing::warn!(mode, "{what}"),
            (false, _) => tracing::info!(mode, "{what}"),
        }
    }
}

/// Tencent refuses every call of an app, so that further ones are refused at once from now on.
#[derive(Debug)]
pub struct AppTripped<'a, D> {
    /// Which app.
    pub app: &'a AppName,
    /// Why, as a snake_case word.
    pub reason: &'static str,
    /// For what other reason that was so until now, if it was.
    pub instead_of: Option<&'static str>,
    /// Why, and what is to be changed.
    pub diagnosis: &'a D,
    /// What Tencent answers.
    pub error_code: ErrorCode,
}

impl<D: Display> AppTripped<'_, D> {
    /// Logs it and sets its gauge.
    pub fn emit(&self, metrics: &Metrics) {
        if let Some(before) = self.instead_of {
            metrics.app_tripped(self.app.as_str(), before, false);
        }
        metrics.app_tripped(self.app.as_str(), self.reason, true);
        tracing::error!(
            app = %self.app,
            reason = self.reason,
            error_code = self.error_code.0,
            diagnosis = %self.diagnosis,
            "Tencent refuses every call of the app; it is stopped, but for a probe from time to time"
        );
    }
}

/// Tencent takes an app's calls again, or the app was changed.
#[derive(Debug)]
pub struct AppResumed<'a> {
    /// Which app.
    pub app: &'a AppName,
    /// Why its calls were refused, as a snake_case word.
    pub reason: &'static str,
}

impl AppResumed<'_> {
    /// Logs it and resets its gauge.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.app_tripped(self.app.as_str(), self.reason, false);
        tracing::info!(app = %self.app, reason = self.reason, "the app's calls are sent again");
    }
}

/// Calls of an app cannot reach an endpoint, or are not answered there, and pass it over from now on.
pub struct EndpointFailed<'a> {
    /// Whose calls.
    pub app: &'a AppName,
    /// Which endpoint.
    pub endpoint: &'a Endpoint,
    /// How the last one failed.
    pub error: &'a dyn Display,
}

impl EndpointFailed<'_> {
    /// Logs it and resets its gauge.
    pub fn emit(&self, metrics: &Metrics) {
        let Self { app, endpoint, error } = self;
        metrics.endpoint_healthy(app.as_str(), endpoint, false);
        tracing::warn!(
            %app, %endpoint, %error,
            "the endpoint failed; it is passed over, but for a call from time to time"
        );
    }
}

/// A call was answered at an endpoint that was passed over.
#[derive(Debug)]
pub struct EndpointRecovered<'a> {
    /// Whose call.
    pub app: &'a AppName,
    /// Which endpoint.
    pub endpoint: &'a Endpoint,
}

impl EndpointRecovered<'_> {
    /// Logs it and sets its gauge.
    pub fn emit(&self, metrics: &Metrics) {
        let Self { app, endpoint } = self;
        metrics.endpoint_healthy(app.as_str(), endpoint, true);
        tracing::info!(%app, %endpoint, "the endpoint is used again");
    }
}

/// The clock of this machine and that of an endpoint differ by more than a minute.
#[derive(Debug)]
pub struct ClockDiffers<'a> {
    /// Whose clock.
    pub endpoint: &'a Endpoint,
    /// How many seconds ours is ahead.
    pub skew: i64,
}

impl ClockDiffers<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Self { endpoint, skew } = self;
        tracing::warn!(
            %endpoint,
            clock_skew_seconds = skew,
            "this machine's clock is wrong: UserSigs signed by it may be refused"
        );
    }
}

/// The clocks agree again.
#[derive(Debug)]
pub struct ClockAgrees<'a> {
    /// Whose clock.
    pub endpoint: &'a Endpoint,
}

impl ClockAgrees<'_> {
    /// Logs it.
    pub fn emit(&self) {
        tracing::info!(endpoint = %self.endpoint, "this machine's clock is right again");
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

/// A changed configuration was read and is in force.
#[derive(Debug)]
pub struct ConfigReloaded<'a> {
    /// The keys that changed and take effect only after a restart.
    pub after_restart: &'a [&'static str],
}

impl ConfigReloaded<'_> {
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.config_reloaded("ok");
        tracing::info!("the configuration was read anew and is in force");
        for key in self.after_restart {
            tracing::warn!(key, "it changed, which takes effect only after a restart");
        }
    }
}

/// A changed configuration has problems; the one before stays in force.
#[derive(Debug)]
pub struct ConfigRejected<'a, P> {
    /// All of them.
    pub problems: &'a P,
}

impl<'a, P, T> ConfigRejected<'a, P>
where
    &'a P: IntoIterator<Item = T>,
    T: Display,
{
    /// Logs and counts it.
    pub fn emit(&self, metrics: &Metrics) {
        metrics.config_reloaded("failed");
        for problem in self.problems {
            tracing::error!(%problem, "the changed configuration is not taken");
        }
    }
}

/// A collector did not take traces, which are forgotten. Told once a minute.
#[derive(Debug)]
pub struct TracesNotTaken<'a> {
    /// Which one.
    pub collector: &'a Collector,
    /// Why not.
    pub error: &'a str,
}

impl TracesNotTaken<'_> {
    /// Logs it.
    pub fn emit(&self) {
        let Self { collector, error } = self;
        tracing::warn!(%collector, error, "the collector does not take traces; calls are not held up by that");
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

    #[test]
    fn a_trip_is_told_by_its_present_reason_only() {
        let metrics = Metrics::new("1");
        let app: AppName = "live".parse().unwrap();
        let tripped = AppTripped {
            app: &app,
            reason: "wrong_key",
            instead_of: None,
            diagnosis: &"put the right key there",
            error_code: ErrorCode(70009),
        };
        let gauge = |reason| format!("usersig_gateway_app_tripped{{app=\"live\",reason=\"{reason}\"}}");
        tripped.emit(&metrics);
        assert!(metrics.encode().contains(&(gauge("wrong_key") + " 1\n")));
        AppTripped { reason: "wrong_region", instead_of: Some("wrong_key"), ..tripped }.emit(&metrics);
        let text = metrics.encode();
        assert!(text.contains(&(gauge("wrong_key") + " 0\n")), "{text}");
        assert!(text.contains(&(gauge("wrong_region") + " 1\n")), "{text}");
        AppResumed { app: &app, reason: "wrong_region" }.emit(&metrics);
        assert!(metrics.encode().contains(&(gauge("wrong_region") + " 0\n")));
    }
}
