//! `--config`: which file a command reads.

use std::path::PathBuf;

use super::Failure;
use crate::config::settings::Settings;

/// Which configuration to read.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// A configuration that was read.
pub(super) struct Loaded {
    /// What it says.
    pub(super) settings: Settings,
}

impl ConfigArgs {
    /// Reads the file.
    pub(super) fn load(&self) -> Result<Loaded, Failure> {
        Err(Failure::bad_input(format!("cannot read a configuration from {:?}", self.config)))
    }
}
