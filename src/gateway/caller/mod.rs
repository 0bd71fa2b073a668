//! Who is calling: for accounts and fairness. `identify` gives a [`Caller`].

use http::HeaderName;

/// How callers are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The header in which a caller names itself. It never gives rights.
    pub header: HeaderName,
}

impl Default for Settings {
    fn default() -> Self {
        Self { header: HeaderName::from_static("x-caller") }
    }
}
