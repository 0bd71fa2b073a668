//! `healthcheck` and `wait`: ask a running gateway whether it is ready.

use std::io::Write;

use super::Failure;

/// Exit 0 when the gateway is ready now
#[derive(Debug, clap::Args)]
pub(super) struct HealthcheckArgs {}

/// Wait until the gateway is ready
#[derive(Debug, clap::Args)]
pub(super) struct WaitArgs {}

pub(super) fn healthcheck(_args: &HealthcheckArgs, _out: &mut impl Write) -> Result<(), Failure> {
    Err(Failure::new("not built yet"))
}

pub(super) fn wait(_args: &WaitArgs, _out: &mut impl Write) -> Result<(), Failure> {
    Err(Failure::new("not built yet"))
}
