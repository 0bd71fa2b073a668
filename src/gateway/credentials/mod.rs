//! With which UserSig a call is signed. [`Credentials::usersig`] gives a [`UserSig`].
//!
//! Each app has a slot with its UserSig. A call reads the slot without a lock ([`Credentials::current`]); only where
//! nothing usable is there does it wait for a signing, and all that wait for the same app share one. Beside the calls
//! runs [`Credentials::renew`], which signs anew long before a UserSig expires, so that calls find one.
//!
//! Whether a UserSig is usable is judged by wall time at each call: not if it expires within a minute (or a tenth of
//! its life), and not if it seems to come from the future, as after the clock was set back. When signing fails, a UserSig
//! that is still usable goes on being used; without one the call ends in [`CannotSign`]: nothing is ever sent unsigned.
//! When Tencent refuses a UserSig, [`Credentials::invalidate`] drops that one, and the next call signs anew; with the
//! app's next key after [`Credentials::refuse_key`]. Before a call is refused because all of them were,
//! [`Credentials::look_for_key`] sees whether there are newer ones.
//!
//! - `usersig`, `userbuf`, `lifetime`: what a UserSig is; no clock, no state.
//! - `signer`: who signs. `cache`: the slots. `renewal`: when to sign ahead of need. `lookout`: asking for
//!   newer keys.

pub mod usersig;

pub mod userbuf;

mod lifetime;

mod signer;

mod cache;

mod renewal;

mod lookout;

use std::fmt;
use std::time::Duration;

pub use cache::{Credentials, Parts};
pub use lifetime::{Lifetime, Verdict};
pub use lookout::LookoutKeeper;
pub use signer::{KeySigner, Signer, Signing};
pub use usersig::UserSig;

use crate::model::app::AppName;

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

/// Why a call has no UserSig. It must not be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotSign {
    /// The app has no key.
    #[error("the app has no secret key")]
    NoKey,
    /// A UserSig came out that does not say or prove what it should.
    #[error("a UserSig made with secret key {0} of the app does not verify")]
    Unverified(usize),
    /// The signer says why.
    #[error("the signer failed: {0}")]
    Signer(String),
}

/// Is told what happens to UserSigs: for metrics and logs.
pub trait CredentialEvents: fmt::Debug + Send + Sync {
    /// A signing for this app ended.
    fn signed(&self, app: &AppName, outcome: Result<(), &CannotSign>);

    /// The app's UserSig is now one that expires at this second since 1970-01-01 00:00 UTC.
    fn expires(&self, app: &AppName, unix_seconds: u64);
}

/// Nobody listens.
impl CredentialEvents for () {
    fn signed(&self, _app: &AppName, _outcome: Result<(), &CannotSign>) {}

    fn expires(&self, _app: &AppName, _unix_seconds: u64) {}
}

#[cfg(test)]
mod tests;
