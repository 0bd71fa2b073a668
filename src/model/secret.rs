//! Secrets as types: they print redacted, cannot be serialised, and are wiped when dropped.

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// An app's secret key, as text: Tencent shows 64 characters that look like hex, and signs with the characters
/// themselves.
///
/// It has no `Display` and no `Serialize`; `Debug` shows that there is one and nothing of it, not even its length.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(Zeroizing<Box<str>>);

/// Why a text is no [`SecretKey`]. It never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSecretKey {
    /// Nothing is there.
    #[error("the key is empty")]
    Empty,
    /// A space, a control character or something beyond ASCII stands in it, so it was not copied cleanly.
    #[error("the key holds a character that is no visible ASCII character")]
    NotVisibleAscii,
}

impl SecretKey {
    /// Takes a key as its text, without white space around it.
    ///
    /// # Errors
    /// When the text is empty or holds anything but visible ASCII.
    pub fn new(text: &str) -> Result<Self, BadSecretKey> {
        match text.trim() {
            "" => Err(BadSecretKey::Empty),
            key if key.bytes().all(|b| b.is_ascii_graphic()) => Ok(Self(Zeroizing::new(key.into()))),
            _ => Err(BadSecretKey::NotVisibleAscii),
        }
    }

    /// The key's characters, for whoever signs or verifies. Never log them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The word that lets its holder command the process through the admin listener. Only its digest is kept, so that a
/// comparison tells nothing by the time that it takes.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken([u8; 32]);

impl AdminToken {
    /// Takes a token as its text, without white space around it. `None` when nothing is left, or when it holds what an
    /// `authorization` header cannot carry: anything but visible ASCII.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let token = text.trim();
        let good = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        good.then(|| Self(Sha256::digest(token).into()))
    }

    /// Whether these bytes are the token.
    #[must_use]
    pub fn is(&self, bytes: &[u8]) -> bool {
        self.0 == <[u8; 32]>::from(Sha256::digest(bytes))
    }
}

/// A password to another service, as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<Box<str>>);

impl Password {
    /// Takes a password as its text, without the line's end. `None` when nothing is left.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let password = text.trim_end_matches(['\r', '\n']);
        (!password.is_empty()).then(|| Self(Zeroizing::new(password.into())))
    }

    /// The password, for whoever logs in. Never log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(redacted)")
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_token_is_known_again_and_not_shown() {
        let token = AdminToken::new(" word\n").unwrap();
        assert!(token.is(b"word") && !token.is(b"Word") && !token.is(b""));
        assert_eq!(format!("{token:?}"), "AdminToken(redacted)");
        assert_eq!((AdminToken::new(" \n"), AdminToken::new("two words")), (None, None));
    }

    #[test]
    fn a_password_keeps_its_spaces_and_is_not_shown() {
        let password = Password::new("FAKE word \r\n").unwrap();
        assert_eq!(password.expose(), "FAKE word ");
        assert_eq!(format!("{password:?}"), "Password(redacted)");
        assert_eq!(Password::new("\n"), None);
    }

    #[test]
    fn debug_shows_nothing_of_the_key() {
        let key = SecretKey::new(" FAKE0123456789\n").unwrap();
        assert_eq!(key.expose(), b"FAKE0123456789");
        assert_eq!(format!("{key:?}"), "SecretKey(redacted)");
    }

    #[test]
    fn a_key_is_visible_ascii() {
        assert_eq!(SecretKey::new(" \n"), Err(BadSecretKey::Empty));
        assert_eq!(SecretKey::new("a b"), Err(BadSecretKey::NotVisibleAscii));
        assert_eq!(SecretKey::new("clé"), Err(BadSecretKey::NotVisibleAscii));
    }
}
