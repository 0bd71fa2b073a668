//! `check`: tells what is wrong with a configuration, or what a good one says.
//!
//! Good means: it reads without a problem, and each key of each app makes a UserSig that verifies, for which nobody is
//! asked. With `--online`, `online` then asks Tencent what it thinks of each app.

mod online;

use std::io::{self, Write};
use std::sync::Arc;

use super::Failure;
use super::config_args::ConfigArgs;
use super::exchange::block_on;
use crate::clock::{SystemClock, WallClock};
use crate::gateway::credentials::{Credentials, KeySigner, Parts};
use crate::gateway::target::{App, Apps};

/// Check a configuration: every problem with its key path and line; exit 0 good, 2 bad
///
/// Each key of each app signs a UserSig, which is then verified; nobody is asked for that.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// Also make one harmless call per app (live_config/get_callback_token) and explain the answer; exit 2 when it
    /// says that the configuration is wrong, 1 when there is none that tells
    #[arg(long)]
    online: bool,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let loaded = args.config.load()?;
    let clock: Arc<dyn WallClock> = Arc::new(SystemClock);
    let apps = &loaded.settings.live.apps;
    let parts = Parts {
        signer: Arc::new(KeySigner),
        clock: Arc::clone(&clock),
        events: Arc::new(()),
        jitter: Arc::new(|| 0.0),
    };
    let credentials = Credentials::new(loaded.settings.live.usersig, apps, parts);
    for app in apps.all() {
        describe(app, apps, out)?;
        block_on(credentials.can_sign(app))?
            .map_err(|error| Failure::bad_input(format!("app {}: {error}", app.name)))?;
        writeln!(out, "app {}: a UserSig made with {} verifies", app.name, each_key(app))?;
    }
    for warning in &loaded.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    writeln!(out, "{} is good", args.config.path()?.display())?;
    if args.online { online::check(loaded.settings, &clock, out) } else { Ok(()) }
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

fn each_key(app: &App) -> &'static str {
    if app.keys.len() == 1 { "its key" } else { "each of its keys" }
}
