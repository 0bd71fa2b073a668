//! `serve`: runs the gateway until a signal ends it.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::Failure;
use super::config_args::ConfigArgs;
use crate::admin::{Command, Reloaded};
use crate::app::App;
use crate::clock::{SystemClock, WallClock};
use crate::config::settings::DrainSettings;
use crate::config::{self, Environment, Files, Loaded};
use crate::gateway::credentials::LookoutKeeper;
use crate::telemetry::events::ConfigWarning;
use crate::telemetry::logs;

/// Run the gateway
///
/// SIGTERM ends it in the order in which nothing is lost: no longer ready, after `drain.accept_for` no longer
/// accepting, then gone when everything is finished or `drain.grace` is over. SIGINT skips the first part; a second
/// signal ends it at once.
///
/// A changed configuration is taken by itself, within three seconds after it or a file that it names was written; at
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
    let lookout = app.keep_lookout();
    let mut source = Source { path, files, lookout };
    runtime.block_on(async {
        let drain = loop {
            tokio::select! {
                drain = signals.drain(drain) => break drain,
                Some(()) = hangup.recv() => { _ = source.reload(&app); }
                // Whoever asks makes the wait for a change begin anew, which is no harm: that is a look, too.
                () = source.asked() => {}
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
        // From here on nobody reads it.
        drop(source);
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
    /// Who waits for a key that may be there already.
    lookout: LookoutKeeper,
}

impl Source {
    /// Tells those who ask whether there is a newer key that there is none. Where a file has changed they wait until it
    /// is read.
    ///
    /// Cancel-safe.
    async fn asked(&self) {
        self.lookout.asked().await;
        let (so_far, began) = (self.lookout.so_far(), Instant::now());
        // Reading them ends this wait.
        while self.files.differ() {
            sleep(A_MOMENT).await;
        }
        // However many ask, and however many files there are: a tenth of this thread's time, no more.
        let took = began.elapsed();
        self.lookout.looked(so_far);
        sleep(took * 9).await;
    }

    /// Reads the configuration anew and takes it, unless it has problems.
    fn reload(&mut self, app: &App) -> Reloaded {
        let asked = self.lookout.so_far();
        let read = config::load(&self.path, &Environment::of_process());
        // The files that it names may be others now, or one of them was not there.
        self.files = match &read {
            Ok(loaded) => loaded.files.clone(),
            Err(problems) => problems.files().clone(),
        };
        let reloaded = app.reload(read).map_err(|problems| problems.to_string());
        self.lookout.looked(asked);
        reloaded
    }
}

const A_MOMENT: Duration = Duration::from_millis(100);

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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::telemetry::logs;

    /// Panics are caught for a whole process, so this one is made anew, to run this very test.
    #[test]
    fn a_panic_tells_its_place_and_nothing_of_what_it_quotes() {
        const QUOTED: &str = "FAKEq7Zk2mWxT9sLr4VbYcUe8HgNj3PwQfDa6XoRtKi5SyMz1BvGlEuJhCdOnFpA";
        if std::env::var_os(IN_A_PROCESS_OF_ITS_OWN).is_some() {
            let _flush = logs::init(logs::Settings::default()).unwrap();
            log_panics();
            panic!("the key is {QUOTED}");
        }
        let name = "cli::serve::tests::a_panic_tells_its_place_and_nothing_of_what_it_quotes";
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args([name, "--exact", "--nocapture"]);
        process.env(IN_A_PROCESS_OF_ITS_OWN, "1").env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
        let output = process.output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert!(told.contains("\"place\":\"src/cli/serve.rs:"), "{told}");
        assert!(
            !QUOTED.as_bytes().windows(8).any(|piece| told.as_bytes().windows(8).any(|seen| seen == piece)),
            "{told}"
        );
    }

    const IN_A_PROCESS_OF_ITS_OWN: &str = "USERSIG_GATEWAY_TEST_PANICS";
}
