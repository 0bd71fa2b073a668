//! Logs: lines on stderr, JSON or readable.
//!
//! An event that passes the filters becomes one line, whatever text its fields hold, with the time in UTC as RFC 3339
//! writes it. `filter` decides which events pass: a level from configuration, `RUST_LOG` over it, and beneath both a
//! floor that nothing lifts, because some libraries write whole headers and URLs at their finer levels, and a URL
//! here carries a UserSig. `lines` writes, from a thread of its own: a log that nobody reads slows no call.

mod filter;
mod lines;

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use self::filter::BadRustLog;
pub use self::lines::Flush;
use self::lines::Lines;

/// Logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// How lines look.
    pub format: Format,
    /// The least severe level that is written, unless `RUST_LOG` says otherwise.
    pub level: Level,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// Readable lines on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// Readable lines.
    Text,
}

/// The least severe level that is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Somebody must act.
    Error,
    /// Odd, but recovered.
    Warn,
    /// An action finished.
    #[default]
    Info,
    /// How a call went, step by step.
    Debug,
    /// Everything.
    Trace,
}

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// No thread could be started to write them.
    #[error("cannot start the thread that writes logs")]
    Thread(#[source] io::Error),
    /// They were set up before.
    #[error("logs are set up already")]
    Twice,
}

/// Sets up logs for the whole process. What is still unwritten when the returned value is dropped is waited for,
/// though not long.
///
/// `RUST_LOG` in the environment overrides `settings.level`, as [`tracing_subscriber::EnvFilter`] reads it; one that
/// cannot be read is warned of and otherwise ignored.
///
/// # Errors
/// When called twice, or when no thread can be started.
pub fn init(settings: Settings) -> Result<Flush, InitError> {
    let warn_lost = |lost| tracing::warn!(lost, "log lines were lost because they were not read fast enough");
    let (lines, flush) = Lines::start(stderr(), warn_lost).map_err(InitError::Thread)?;
    let rust_log = std::env::var_os("RUST_LOG").map(|value| value.to_string_lossy().into_owned());
    let json = settings.format.is_json(io::stderr().is_terminal());
    let (subscriber, bad_rust_log) = subscriber(json, settings.level, rust_log.as_deref(), lines);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| InitError::Twice)?;
    if let Some(error) = bad_rust_log {
        tracing::warn!(%error, "RUST_LOG is ignored");
    }
    Ok(flush)
}

/// Standard error without the lock of [`io::stderr`], on which a panic message elsewhere would wait while a write of
/// ours is stuck.
fn stderr() -> Box<dyn Write + Send> {
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(descriptor) => Box::new(File::from(descriptor)),
        Err(_) => Box::new(io::sink()),
    }
}

fn subscriber<W>(
    json: bool,
    level: Level,
    rust_log: Option<&str>,
    writer: W,
) -> (impl Subscriber + Send + Sync, Option<BadRustLog>)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (asked, bad_rust_log) = filter::asked_for(level, rust_log);
    // When a line cannot be written, the layer would tell so on stderr and panic there.
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let lines =
        if json { lines.json().flatten_event(true).with_current_span(false).boxed() } else { lines.boxed() };
    let subscriber = tracing_subscriber::registry().with(filter::floor()).with(lines.with_filter(asked));
    (subscriber, bad_rust_log)
}

// === impl Format ===

impl Format {
    fn is_json(self, on_a_terminal: bool) -> bool {
        match self {
            Self::Auto => !on_a_terminal,
            Self::Json => true,
            Self::Text => false,
        }
    }
}

#[cfg(test)]
mod tests;
