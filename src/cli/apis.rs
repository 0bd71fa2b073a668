//! `apis`: lists the catalogue.

use std::io::Write;

use super::Failure;

/// List the catalogue of APIs: path, ceiling, repeat safety
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args, _out: &mut impl Write) -> Result<(), Failure> {
    Err(Failure::new("not built yet"))
}
