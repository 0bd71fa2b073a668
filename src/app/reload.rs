//! Taking a changed configuration while calls go on.

use std::sync::{Arc, Mutex, PoisonError};

use super::{App, know};
use crate::admin::ConfigStatus;
use crate::config::settings::{Boot, Settings};
use crate::config::{Loaded, Problems};
use crate::gateway;
use crate::gateway::pipeline::Shared;
use crate::net::tls::ServerTls;
use crate::telemetry::events::{ConfigRejected, ConfigReloaded, ConfigWarning};

/// How the configuration stands, for whoever watches.
#[derive(Debug)]
pub(super) struct ConfigLog(Mutex<ConfigStatus>);

impl App {
    /// Takes a configuration that was read anew. Calls that are under way end with the settings with which they began,
    /// and none waits for this. Gives the keys that changed and take effect only after a restart.
    ///
    /// # Errors
    /// When it has problems: then nothing changes.
    pub fn reload(&self, read: Result<Loaded, Problems>) -> Result<Vec<&'static str>, Problems> {
        let metrics = &self.shared.metrics;
        match read {
            Ok(Loaded { settings: Settings { boot, live }, warnings, .. }) => {
                for problem in &warnings {
                    ConfigWarning { problem }.emit();
                }
                let after_restart = changes(&self.boot, &boot);
                replace(&self.shared, live);
                self.admin_token.store(boot.admin_token.map(Arc::new));
                self.replace_tls(boot.tls.as_ref());
                ConfigReloaded { after_restart: &after_restart }.emit(metrics);
                self.config.taken(self.clock.unix_seconds());
                Ok(after_restart)
            }
            Err(problems) => {
                ConfigRejected { problems: &problems }.emit(metrics);
                self.config.rejected(problems.iter().map(ToString::to_string).collect());
                Err(problems)
            }
        }
    }

    /// New connections are met with other certificates. Those that are open stay, and whether the listener speaks TLS
    /// does not change.
    fn replace_tls(&self, tls: Option<&ServerTls>) {
        if let (Some(tls), true) = (tls, self.boot.tls.is_some()) {
            match tls.config() {
                Ok(config) => self.tls.store(Some(config)),
                Err(error) => tracing::error!(%error, "the listener keeps the certificates that it has"),
            }
        }
    }
}

/// What a call may be is known before it can be meant, and its UserSig can be signed.
fn replace(shared: &Shared, live: gateway::Settings) {
    know(&shared.apis, &shared.metrics, &live);
    shared.credentials.replace(live.usersig, &live.apps);
    shared.trips.replace(&live.apps);
    shared.health.replace(&live.apps);
    shared.budgets.replace(&live.apps);
    shared.admission.apply(live.ceiling.clone());
    shared.live.store(live.into());
}

/// The keys whose values differ and are read at start only.
fn changes(before: &Boot, after: &Boot) -> Vec<&'static str> {
    let Boot {
        gateway,
        admin,
        admin_token: _, // taken at once
        tls,
        workers,
        max_connections,
        max_connections_per_source,
        max_in_flight,
        limits,
        log,
        tracing,
        drain,
        redis,
    } = before;
    let differs = [
        ("listen.gateway", *gateway != after.gateway),
        ("listen.admin", *admin != after.admin),
        // Its certificates are taken at once.
        ("listen.tls", tls.is_some() != after.tls.is_some()),
        ("listen.workers", *workers != after.workers),
        ("listen.max_connections", *max_connections != after.max_connections),
        (
            "listen.max_connections_per_source",
            *max_connections_per_source != after.max_connections_per_source,
        ),
        ("listen.max_in_flight", *max_in_flight != after.max_in_flight),
        ("limits", *limits != after.limits),
        ("log", *log != after.log),
        ("tracing", *tracing != after.tracing),
        ("drain", *drain != after.drain),
        ("ceiling.redis", *redis != after.redis),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

// === impl ConfigLog ===

impl ConfigLog {
    pub(super) fn new(now: u64) -> Self {
        Self(Mutex::new(ConfigStatus { taken_at: now, rejected: Vec::new() }))
    }

    pub(super) fn status(&self) -> ConfigStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn taken(&self, now: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            ConfigStatus { taken_at: now, rejected: Vec::new() };
    }

    fn rejected(&self, problems: Vec<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).rejected = problems;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_at_start_only_is_told_by_its_key() {
        let before = Boot::default();
        assert!(changes(&before, &before.clone()).is_empty());
        let mut after = Boot { max_connections: 1, ..before.clone() };
        after.limits.header_bytes += 1;
        assert_eq!(changes(&before, &after), ["listen.max_connections", "limits"]);
    }
}
