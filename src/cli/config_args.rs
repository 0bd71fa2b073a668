//! `--config FILE`, for every command that needs a configuration.

use std::path::{Path, PathBuf};

use super::Failure;
use crate::config::{self, Environment, Loaded};

/// Which configuration to use.
#[derive(Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// The configuration [default: config/gateway.toml, then /etc/usersig-gateway/gateway.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// Loads the configuration; the failure tells every problem of it.
    pub(super) fn load(&self) -> Result<Loaded, Failure> {
        let path = self.path()?;
        config::load(path, &Environment::of_process()).map_err(|problems| {
            let count = problems.iter().len();
            let plural = if count == 1 { "" } else { "s" };
            Failure::bad_input(format!("{problems}\n{}: {count} problem{plural}", path.display()))
        })
    }

    /// Whether a file was named.
    pub(super) fn is_given(&self) -> bool {
        self.config.is_some()
    }

    /// The file that is named, else the first of the default ones that exists.
    pub(super) fn path(&self) -> Result<&Path, Failure> {
        let default = || DEFAULTS.map(Path::new).into_iter().find(|path| path.exists());
        self.config.as_deref().or_else(default).ok_or_else(|| {
            let [first, second] = DEFAULTS;
            Failure::bad_input(format!(
                "neither {first} nor {second} exists: name a configuration with --config FILE"
            ))
        })
    }
}

const DEFAULTS: [&str; 2] = ["config/gateway.toml", "/etc/usersig-gateway/gateway.toml"];
