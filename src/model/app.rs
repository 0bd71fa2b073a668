//! An app as Tencent knows it: its SDKAppID, the name by which callers choose it, and the account that signs.

use std::borrow::Borrow;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The name of a configured app: 1 to 64 characters of `a-z A-Z 0-9 . _ -`, not starting with a dot.
///
/// It stands in paths (`/apps/{name}/v4/…`) and metric labels, hence the narrow alphabet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppName(Arc<str>);

/// Why a text is no [`AppName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an app name has 1 to 64 characters of a-z A-Z 0-9 . _ - and does not start with a dot")]
pub struct BadAppName;

impl AppName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both are one name in memory, which is told without a look at its text.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Found by its text: the name of none is made for that.
impl Borrow<str> for AppName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for AppName {
    type Err = BadAppName;

    fn from_str(text: &str) -> Result<Self, BadAppName> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=64).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(BadAppName)
        }
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tencent's number for an app: any positive 32-bit number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SdkAppId(NonZeroU32);

/// Why a value is no [`SdkAppId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an SDKAppID is a whole number from 1 to 4294967295")]
pub struct BadSdkAppId;

impl SdkAppId {
    /// The number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<u64> for SdkAppId {
    type Error = BadSdkAppId;

    fn try_from(number: u64) -> Result<Self, BadSdkAppId> {
        u32::try_from(number).ok().and_then(NonZeroU32::new).map(Self).ok_or(BadSdkAppId)
    }
}

impl FromStr for SdkAppId {
    type Err = BadSdkAppId;

    fn from_str(text: &str) -> Result<Self, BadSdkAppId> {
        if text.bytes().all(|b| b.is_ascii_digit()) {
            text.parse().map(Self).map_err(|_| BadSdkAppId)
        } else {
            Err(BadSdkAppId)
        }
    }
}

impl fmt::Display for SdkAppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A userid: the account in whose name a UserSig is made. 1 to 32 bytes of UTF-8 without control characters.
///
/// Tencent's pages allow letters, digits, `_` and `-` today; older text allowed all printable ASCII, and the
/// official libraries sign any text, so the wider form is taken and percent-encoded where it enters a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identifier {
    text: Arc<str>,
    in_url: Arc<str>,
}

/// Why a text is no [`Identifier`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an identifier has 1 to 32 bytes and no control characters")]
pub struct BadIdentifier;

impl Identifier {
    /// The userid as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The userid as it stands in a URL. Every call has it there, and encoding it takes 200 instructions.
    #[must_use]
    pub fn in_url(&self) -> &str {
        &self.in_url
    }
}

impl FromStr for Identifier {
    type Err = BadIdentifier;

    fn from_str(text: &str) -> Result<Self, BadIdentifier> {
        if (1..=32).contains(&text.len()) && !text.chars().any(char::is_control) {
            let in_url = utf8_percent_encode(text, ENCODED_IN_IDENTIFIER).to_string();
            Ok(Self { text: text.into(), in_url: in_url.into() })
        } else {
            Err(BadIdentifier)
        }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// All but `A-Z a-z 0-9 _ -`.
const ENCODED_IN_IDENTIFIER: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_names_have_a_narrow_alphabet() {
        for good in ["live", "live-2", "A.b_c", &"x".repeat(64)] {
            assert_eq!(good.parse::<AppName>().unwrap().as_str(), good);
        }
        for bad in ["", ".live", "a/b", "a b", "é", "a\0", &"x".repeat(65)] {
            assert_eq!(bad.parse::<AppName>(), Err(BadAppName), "{bad:?}");
        }
    }

    #[test]
    fn an_sdkappid_is_a_positive_32_bit_number() {
        assert_eq!("1400000001".parse::<SdkAppId>().unwrap().number(), 1_400_000_001);
        for bad in ["", "0", "-1", "+1", " 1", "4294967296", "1e3"] {
            assert_eq!(bad.parse::<SdkAppId>(), Err(BadSdkAppId), "{bad:?}");
        }
        assert_eq!(SdkAppId::try_from(0), Err(BadSdkAppId));
    }

    #[test]
    fn an_identifier_is_short_and_printable() {
        assert!("administrator".parse::<Identifier>().is_ok());
        assert!("user @example".parse::<Identifier>().is_ok());
        for bad in ["", "a\nb", &"u".repeat(33)] {
            assert_eq!(bad.parse::<Identifier>(), Err(BadIdentifier), "{bad:?}");
        }
    }
}
