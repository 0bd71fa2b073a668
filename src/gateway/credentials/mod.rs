//! With which UserSig a call is signed. `usersig` gives a `UserSig`.

use std::time::Duration;

/// Signing ahead of need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// For how long a UserSig is valid: `TLS.expire`. Whole seconds.
    pub ttl: Duration,
    /// How long before the end of its validity a UserSig is renewed. Less than `ttl`.
    pub renew_before: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(24 * 3600), renew_before: Duration::from_secs(3600) }
    }
}
