//! Which events become lines.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Targets;

use super::Level;

/// Libraries that see whole requests. Their finer levels write headers, URLs and frames; what of theirs matters
/// reaches us as an error value and is logged by us, redacted.
const SILENT: [&str; 5] = ["h2", "hyper", "hyper_util", "rustls", "tokio_rustls"];

/// Our own targets, whose events are written with care at every level.
const OURS: &str = env!("CARGO_CRATE_NAME");

/// Why `RUST_LOG` is ignored.
#[derive(Debug, thiserror::Error)]
#[error("found {found:?}, expected a level or a comma-separated list of target=level: {source}")]
pub(super) struct BadRustLog {
    found: String,
    source: tracing_subscriber::filter::ParseError,
}

/// What is never written, whatever anybody asks: anything of the libraries that see whole requests, and of every
/// other crate but ours anything finer than info, so that one that is added tomorrow is covered as well.
pub(super) fn floor() -> Targets {
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target(OURS, LevelFilter::TRACE)
        .with_targets(SILENT.map(|target| (target, LevelFilter::OFF)))
}

/// What is asked for: `level`, and `RUST_LOG` over it. `RUST_LOG=debug` replaces the level, and
/// `RUST_LOG=target=debug` leaves it as it is for other targets.
pub(super) fn asked_for(level: Level, rust_log: Option<&str>) -> (EnvFilter, Option<BadRustLog>) {
    let ground = || EnvFilter::default().add_directive(LevelFilter::from(level).into());
    match rust_log.filter(|text| !text.trim().is_empty()) {
        None => (ground(), None),
        Some(text) => match EnvFilter::builder().parse(format!("{},{text}", LevelFilter::from(level))) {
            Ok(filter) => (filter, None),
            Err(source) => (ground(), Some(BadRustLog { found: text.to_owned(), source })),
        },
    }
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}
