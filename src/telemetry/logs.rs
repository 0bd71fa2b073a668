//! Logs: lines on stderr, JSON or readable.

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
