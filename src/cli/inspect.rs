//! `inspect`: reads a UserSig.

use std::io::Write;

use super::Failure;

/// Decode a UserSig: whose it is and until when; verify it when the key is known
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args, _out: &mut impl Write) -> Result<(), Failure> {
    Err(Failure::new("not built yet"))
}
