//! Tells logs and metrics what happens to UserSigs.

use std::sync::Arc;

use crate::gateway::credentials::{CannotSign, CredentialEvents};
use crate::model::app::AppName;
use crate::telemetry::events::{UserSigFailed, UserSigSigned};
use crate::telemetry::metrics::Metrics;

/// Logs and counts signings.
#[derive(Debug)]
pub(super) struct CredentialLog(pub(super) Arc<Metrics>);

impl CredentialEvents for CredentialLog {
    fn signed(&self, app: &AppName, outcome: Result<(), &CannotSign>) {
        if let Err(error) = outcome {
            UserSigFailed { app, error }.emit(&self.0);
        }
    }

    fn expires(&self, app: &AppName, unix_seconds: u64) {
        UserSigSigned { app, expires: unix_seconds }.emit(&self.0);
    }
}
