//! The bytes that a UserSig can carry beside its account: room permission in Conference and Call (`PrivateMapKey`).
//!
//! No server REST call needs one; whoever hands out UserSigs to clients does.

use std::fmt;

use crate::model::app::{Identifier, SdkAppId};

/// Bytes for `TLS.userbuf`: 1 to 4,096, so that a UserSig around them is always short enough to be read again.
#[derive(Clone, PartialEq, Eq)]
pub struct Userbuf(Box<[u8]>);

/// Why bytes are no [`Userbuf`], or a permission cannot be written as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUserbuf {
    /// Too few or too many bytes.
    #[error("a userbuf has 1 to 4096 bytes, this one {0}")]
    Length(usize),
    /// The permission ends after 2106-02-07 06:28:15 UTC, which its four bytes cannot hold.
    #[error("a room permission ends by second 4294967295, this one at {0}")]
    EndsTooLate(u64),
}

/// Which room a [`private_map_key`] opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room<'a> {
    /// A room with a number.
    Number(u32),
    /// A room with a name.
    Name(&'a str),
}

/// What a [`private_map_key`] allows in its room, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Privileges(pub u32);

/// A room permission for one account until `ends_at`, in seconds since 1970-01-01 00:00 UTC.
///
/// # Errors
/// When the room's name is too long for a userbuf, or `ends_at` too late for four bytes.
pub fn private_map_key(
    sdkappid: SdkAppId,
    identifier: &Identifier,
    room: Room<'_>,
    ends_at: u64,
    privileges: Privileges,
) -> Result<Userbuf, BadUserbuf> {
    let ends_at = u32::try_from(ends_at).map_err(|_| BadUserbuf::EndsTooLate(ends_at))?;
    let (version, number, name) = match room {
        Room::Number(number) => (0, number, None),
        Room::Name(name) => (1, 0, Some(name)),
    };
    let mut bytes = Vec::with_capacity(64);
    bytes.push(version);
    push_text(&mut bytes, identifier.as_str())?;
    for field in [sdkappid.number(), number, ends_at, privileges.0, ACCOUNT_TYPE] {
        bytes.extend(field.to_be_bytes());
    }
    if let Some(name) = name {
        push_text(&mut bytes, name)?;
    }
    Userbuf::new(&bytes)
}

/// A text with its length in two bytes before it.
fn push_text(bytes: &mut Vec<u8>, text: &str) -> Result<(), BadUserbuf> {
    let length = u16::try_from(text.len()).map_err(|_| BadUserbuf::Length(text.len()))?;
    bytes.extend(length.to_be_bytes());
    bytes.extend(text.as_bytes());
    Ok(())
}

// === impl Userbuf ===

impl Userbuf {
    /// The most bytes that one holds.
    pub const MAX: usize = 4096;

    /// Takes a copy of `bytes`.
    ///
    /// # Errors
    /// When there are none, or more than 4,096.
    pub fn new(bytes: &[u8]) -> Result<Self, BadUserbuf> {
        match bytes.len() {
            1..=Self::MAX => Ok(Self(bytes.into())),
            length => Err(BadUserbuf::Length(length)),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Shows the length only: what the bytes say is the business of whoever made them.
impl fmt::Debug for Userbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Userbuf({} bytes)", self.0.len())
    }
}

// === impl Privileges ===

impl Privileges {
    /// Everything.
    pub const ALL: Self = Self(255);
    /// To enter, and to receive sound and picture.
    pub const ENTER_AND_RECEIVE: Self = Self(42);
}

/// The only account type that is published.
const ACCOUNT_TYPE: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(room: Room<'_>, ends_at: u64) -> Result<Userbuf, BadUserbuf> {
        let sdkappid = SdkAppId::try_from(1_400_000_001).unwrap();
        private_map_key(sdkappid, &"administrator".parse().unwrap(), room, ends_at, Privileges::ALL)
    }

    #[test]
    fn a_userbuf_has_a_bound() {
        assert_eq!(Userbuf::new(&[]), Err(BadUserbuf::Length(0)));
        assert!(Userbuf::new(&[7; 4096]).is_ok());
        assert_eq!(Userbuf::new(&[7; 4097]), Err(BadUserbuf::Length(4097)));
        assert_eq!(format!("{:?}", Userbuf::new(b"abc").unwrap()), "Userbuf(3 bytes)");
    }

    #[test]
    fn what_does_not_fit_a_room_permission_is_refused() {
        let last = u64::from(u32::MAX);
        assert!(key(Room::Number(1), last).is_ok());
        assert_eq!(key(Room::Number(1), last + 1), Err(BadUserbuf::EndsTooLate(last + 1)));
        // 38 bytes stand around an identifier of 13 bytes and the room's name.
        assert!(key(Room::Name(&"r".repeat(4096 - 38)), last).is_ok());
        assert_eq!(key(Room::Name(&"r".repeat(4097 - 38)), last), Err(BadUserbuf::Length(4097)));
        assert_eq!(key(Room::Name(&"r".repeat(65_536)), last), Err(BadUserbuf::Length(65_536)));
    }
}
