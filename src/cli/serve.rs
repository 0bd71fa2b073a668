//! `serve`: runs the gateway until a signal ends it.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use super::config_args::ConfigArgs;
use crate::admin::{Command, Reloaded};
use crate::app::App;
use crate::clock::{SystemClock, WallClock};
use crate::config::settings::DrainSettings;
use crate::config::{self, Environment, Files, Loaded};
use crate::telemetry::events::ConfigWarning;
use crate::telemetry::logs;

/// Run the gateway
///
/// SIGTERM ends it in the order in which nothing is lost: no longer ready, after `drain.accept_for` no longer
/// accepting, then gone when everything is finished or `drain.grace` is over. SIGINT skips the first part; a second
/// signal ends it at once.
///
/// A changed configuration is taken by itself, within a second or two after it or a file that it names was written; at
/// once on SIGHUP. One that has problems changes nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &Args, _out: &mut impl Write) -> Result<(), Failure> {
    // Everything is read before anything is bound: a bad configuration disturbs nobody.
    let loaded = args.config.load()?;
    let _flush = logs::init(loaded.settings.boot.log).map_err(|error| Failure::new(error.to_string()))?;
    log_panics();
    for problem in &loaded.warnings {
        ConfigWarning { problem }.emit();
    }
    let Loaded { settings, files, .. } = loaded;
    let path = args.config.path()?.to_owned();
    let drain = settings.boot.drain;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Caught before anything starts, so that a signal that comes early is not lost.
    let (mut signals, mut hangup) = runtime
        .block_on(async { Ok::<_, std::io::Error>((Signals::catch()?, signal(SignalKind::hangup())?)) })?;
    let clock: Arc<dyn WallClock> = Arc::new(SystemClock);
    let mut app = App::start(settings, &clock).map_err(|error| Failure::new(error.to_string()))?;
    let mut source = Source { path, files };
    runtime.block_on(async {
        let drain = loop {
            tokio::select! {
                drain = signals.drain(drain) => break drain,
                Some(()) = hangup.recv() => { _ = source.reload(&app); }
                () = source.files.changed() => { _ = source.reload(&app); }
                command = app.command() => match command {
                    // Whoever asked may have left.
                    Command::Reload(told) => _ = told.send(source.reload(&app)),
                    Command::Quit => {
                        tracing::info!("stopping, as was asked for at the admin listener");
                        break drain;
                    }
                },
            }
        };
        tokio::select! {
            finished = app.drain(drain) => tracing::info!(finished, "stopped"),
            _ = signals.drain(drain) => tracing::warn!("stopped at once by a second signal"),
        }
    });
    Ok(())
}

/// Where the configuration is read.
struct Source {
    path: PathBuf,
    files: Files,
}

impl Source {
    /// Reads the configuration anew and takes it, unless it has problems.
    fn reload(&mut self, app: &App) -> Reloaded {
        let read = config::load(&self.path, &Environment::of_process());
        // The files that it names may be others now, or one of them was not there.
        self.files = match &read {
            Ok(loaded) => loaded.files.clone(),
            Err(problems) => problems.files().clone(),
        };
        app.reload(read).map_err(|problems| problems.to_string())
    }
}

/// The signals that end the process.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on the signals are caught. Must be called on a runtime.
    pub(super) fn catch() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for a signal and gives the way in which it ends the process: SIGINT does not go on accepting.
    pub(super) async fn drain(&mut self, settings: DrainSettings) -> DrainSettings {
        let (name, settings) = tokio::select! {
            _ = self.interrupt.recv() => ("SIGINT", DrainSettings { accept_for: Duration::ZERO, ..settings }),
            _ = self.terminate.recv() => ("SIGTERM", settings),
        };
        tracing::info!(signal = name, "stopping");
        settings
    }
}

/// A panic becomes a log line with its place. Its message stays out: nobody can vouch for what it quotes.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a part of the gateway failed, which is a bug");
    }));
}
