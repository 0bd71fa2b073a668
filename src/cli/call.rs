//! `call`: makes one call through a gateway.

use std::io::Write;

use super::Failure;

/// Make one call through a running gateway; exit 0 only on ErrorCode 0
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args, _out: &mut impl Write) -> Result<(), Failure> {
    Err(Failure::new("not built yet"))
}
