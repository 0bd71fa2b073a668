//! `check`: tells what is wrong with a configuration, or what a good one says.

use std::io::{self, Write};

use super::Failure;
use super::config_args::ConfigArgs;
use crate::gateway::target::{App, Apps};

/// Check a configuration: every problem with its key path and line; exit 0 good, 2 bad
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let loaded = args.config.load()?;
    let apps = &loaded.settings.live.apps;
    for app in apps.all() {
        describe(app, apps, out)?;
    }
    for warning in &loaded.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    writeln!(out, "{} is good", args.config.path()?.display())?;
    Ok(())
}

/// One line: the app, who signs for it, and where its calls go.
fn describe(app: &App, apps: &Apps, out: &mut impl Write) -> io::Result<()> {
    write!(out, "app {}: SDKAppID {}, identifier {}, ", app.name, app.sdkappid, app.identifier)?;
    match app.keys.len() {
        1 => write!(out, "1 key, ")?,
        count => write!(out, "{count} keys, ")?,
    }
    if let Some(region) = app.region {
        write!(out, "region {region}: ")?;
    }
    let endpoints: Vec<_> = app.endpoints.v4.iter().map(ToString::to_string).collect();
    write!(out, "{}", endpoints.join(", "))?;
    let is_default = apps.default_app().is_some_and(|default| default.name == app.name);
    writeln!(out, "{}", if is_default { " (default)" } else { "" })
}
