//! `serve`: runs the gateway until a signal ends it.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use super::config_args::ConfigArgs;
use crate::app::App;
use crate::clock::{SystemClock, WallClock};
use crate::config::settings::DrainSettings;
use crate::telemetry::events::ConfigWarning;
use crate::telemetry::logs;

/// Run the gateway
///
/// SIGTERM ends it in the order in which nothing is lost: no longer ready, after `drain.accept_for` no longer
/// accepting, then gone when everything is finished or `drain.grace` is over. SIGINT skips the first part; a second
/// signal ends it at once.
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
    let drain = loaded.settings.boot.drain;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Caught before anything starts, so that a signal that comes early is not lost.
    let mut signals = runtime.block_on(async { Signals::catch() })?;
    let clock: Arc<dyn WallClock> = Arc::new(SystemClock);
    let app = App::start(loaded.settings, &clock).map_err(|error| Failure::new(error.to_string()))?;
    runtime.block_on(async {
        let drain = signals.drain(drain).await;
        tokio::select! {
            finished = app.drain(drain) => tracing::info!(finished, "stopped"),
            _ = signals.drain(drain) => tracing::warn!("stopped at once by a second signal"),
        }
    });
    Ok(())
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
