//! `serve`: runs the gateway.

use std::io::Write;

use super::Failure;

/// Run the gateway
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args, _out: &mut impl Write) -> Result<(), Failure> {
    Err(Failure::new("not built yet"))
}
