//! `demo`: gateway and sandbox in one process.

use std::io::Write;

use super::Failure;

/// Run gateway and sandbox in one process: nothing to configure
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args, _out: &mut impl Write) -> Result<(), Failure> {
    Err(Failure::new("not built yet"))
}
