//! Who makes UserSigs.

use std::fmt;
use std::pin::Pin;

use super::CannotSign;
use super::usersig::{self, SigningRequest, UserSig};
use crate::gateway::target::App;
use crate::model::secret::SecretKey;

/// Makes UserSigs for the administrator accounts of apps.
pub trait Signer: fmt::Debug + Send + Sync {
    /// Makes one for `app` with `key`, from second `time` since 1970-01-01 00:00 UTC, for `expire` seconds.
    fn sign<'a>(&'a self, app: &'a App, key: &'a SecretKey, time: u64, expire: u64) -> Signing<'a>;
}

/// A signing under way. Dropping it gives it up.
pub type Signing<'a> = Pin<Box<dyn Future<Output = Result<UserSig, CannotSign>> + Send + 'a>>;

/// Signs in this process, at once: some twenty microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeySigner;

impl Signer for KeySigner {
    fn sign<'a>(&'a self, app: &'a App, key: &'a SecretKey, time: u64, expire: u64) -> Signing<'a> {
        let (sdkappid, identifier) = (app.sdkappid, &app.identifier);
        let usersig =
            usersig::sign(&SigningRequest { key, sdkappid, identifier, time, expire, userbuf: None });
        Box::pin(std::future::ready(Ok(usersig)))
    }
}
