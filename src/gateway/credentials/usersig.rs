//! UserSig itself (TLSSigAPIv2): signing and reading, without clocks and caches.
//!
//! A UserSig says "this account of this app, from this second, for so many seconds", with an HMAC-SHA256 over that by
//! the app's secret key. Its text is a JSON object, deflated (zlib, RFC 1950) and written in base64 with an alphabet of
//! Tencent's own, whose 66 characters stand in a query as they are. [`sign`] makes one and cannot fail: every part is a
//! checked type. [`decode`] reads one from anywhere, so it bounds what it takes and what that inflates to, and gives
//! [`Claims`], which are mere claims until [`Claims::verify`] has seen the key.
//!
//! Two UserSigs of the same claims need not have the same text: order, spacing and deflating are free. Nor does every
//! change to the text change the claims (deflate can say the same in several ways). What [`Claims::verify`] promises is
//! that nobody without the key made up or changed a claim.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{Read, Write as _};

use base64::Engine as _;
use base64::alphabet::{Alphabet, Symbol};
use base64::display::Base64Display;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{PAD, STANDARD};
use flate2::Compression;
use flate2::bufread::ZlibDecoder;
use flate2::write::ZlibEncoder;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::lifetime::Lifetime;
use super::userbuf::Userbuf;
use crate::model::app::{Identifier, SdkAppId};
use crate::model::secret::SecretKey;

/// A UserSig. Its text is as good as a password until it expires: `Debug` shows none of it, there is no `Display` and
/// no `Serialize`, and the memory is wiped when it is dropped.
pub struct UserSig {
    text: Zeroizing<String>,
    lifetime: Lifetime,
}

/// What to sign.
#[derive(Debug, Clone, Copy)]
pub struct SigningRequest<'a> {
    /// The app's secret key.
    pub key: &'a SecretKey,
    /// The app.
    pub sdkappid: SdkAppId,
    /// The account in whose name.
    pub identifier: &'a Identifier,
    /// From when, in seconds since 1970-01-01 00:00 UTC.
    pub time: u64,
    /// For how many seconds.
    pub expire: u64,
    /// Bytes to carry along, if any.
    pub userbuf: Option<&'a Userbuf>,
}

/// What a UserSig says, whoever made it.
#[derive(Clone, PartialEq, Eq)]
pub struct Claims {
    /// The account.
    pub identifier: Identifier,
    /// The app.
    pub sdkappid: SdkAppId,
    /// From when, in seconds since 1970-01-01 00:00 UTC: `TLS.time`.
    pub time: u64,
    /// For how many seconds: `TLS.expire`.
    pub expire: u64,
    /// Bytes that are carried along, if any.
    pub userbuf: Option<Userbuf>,
    sig: Zeroizing<[u8; SIG_BYTES]>,
}

/// Why a text is no UserSig. It quotes nothing of the text but its version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUserSig {
    /// Longer than any UserSig.
    #[error("it has {0} characters, a UserSig at most {MAX_TEXT}")]
    TooLong(usize),
    /// Not Tencent's base64.
    #[error("it is not whole, or has a character other than A-Z a-z 0-9 * - and _ at the end")]
    NotBase64,
    /// What the base64 holds is no whole zlib stream, or not one alone.
    #[error("its base64 does not hold one whole zlib stream")]
    NotDeflated,
    /// It inflates to more than a UserSig can hold.
    #[error("it inflates to more than {MAX_INFLATED} bytes")]
    InflatesTooFar,
    /// No JSON object, or not one with a UserSig's members.
    #[error(
        "it does not hold a JSON object with TLS.ver, TLS.identifier and TLS.sig as text and with TLS.sdkappid, \
         TLS.time and TLS.expire as whole numbers"
    )]
    Members,
    /// Another version.
    #[error("its version is {0:?}, only \"2.0\" (HMAC-SHA256) is known")]
    Version(String),
    /// The account's name is none.
    #[error("its TLS.identifier is wrong: an identifier has 1 to 32 bytes and no control characters")]
    Identifier,
    /// The app's number is none.
    #[error("its TLS.sdkappid is {0}, which is not a whole number from 1 to 4294967295")]
    SdkAppId(u64),
    /// The bytes that it carries are wrong.
    #[error("its TLS.userbuf is not 1 to 4096 bytes in base64")]
    Userbuf,
    /// The signature has another form.
    #[error("its TLS.sig is not 32 bytes in base64")]
    Sig,
}

/// The longest text that is taken for a UserSig, in bytes.
pub const MAX_TEXT: usize = 8 * 1024;

/// The most bytes to which a UserSig may inflate.
pub const MAX_INFLATED: usize = 64 * 1024;

/// Makes a UserSig.
#[must_use]
pub fn sign(request: &SigningRequest<'_>) -> UserSig {
    let SigningRequest { key, sdkappid, identifier, time, expire, userbuf } = *request;
    let sig: [u8; SIG_BYTES] =
        mac(key, identifier, sdkappid, time, expire, userbuf).finalize().into_bytes().into();
    let sig = Zeroizing::new(STANDARD.encode(sig));
    let userbuf = userbuf.map(|userbuf| STANDARD.encode(userbuf.as_bytes()));
    let members = Members {
        ver: VERSION.into(),
        identifier: identifier.as_str().into(),
        sdkappid: sdkappid.number().into(),
        time,
        expire,
        userbuf: userbuf.as_deref().map(Cow::Borrowed),
        sig: sig.as_str().into(),
    };
    let json = serde_json::to_vec(&members).expect("texts and whole numbers are always JSON");
    let text = Zeroizing::new(TOKEN_BASE64.encode(deflate(&Zeroizing::new(json))));
    UserSig { text, lifetime: Lifetime { signed_at: time, expires_at: time.saturating_add(expire) } }
}

/// Reads a UserSig, whoever made it. It proves nothing: see [`Claims::verify`].
///
/// # Errors
/// When the text is no UserSig of version 2.0, or longer or inflating further than one can be.
pub fn decode(text: &str) -> Result<Claims, BadUserSig> {
    if text.len() > MAX_TEXT {
        return Err(BadUserSig::TooLong(text.len()));
    }
    let deflated = Zeroizing::new(TOKEN_BASE64.decode(text).map_err(|_| BadUserSig::NotBase64)?);
    let json = inflate(&deflated)?;
    // The parser's own error may quote what it found, so it is not kept.
    let members: Members<'_> = serde_json::from_slice(&json).map_err(|_| BadUserSig::Members)?;
    members.check()
}

// === impl UserSig ===

impl UserSig {
    /// The text, for the query of a call. Never log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// From when until when it counts.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// When it was signed, in seconds since 1970-01-01 00:00 UTC.
    #[must_use]
    pub fn signed_at(&self) -> u64 {
        self.lifetime.signed_at
    }

    /// When it expires, in seconds since 1970-01-01 00:00 UTC.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.lifetime.expires_at
    }
}

impl fmt::Debug for UserSig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserSig").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

// === impl Claims ===

impl Claims {
    /// Whether `key` signed exactly these claims. Takes the same time whatever differs.
    #[must_use]
    pub fn verify(&self, key: &SecretKey) -> bool {
        let userbuf = self.userbuf.as_ref();
        let mac = mac(key, &self.identifier, self.sdkappid, self.time, self.expire, userbuf);
        mac.verify_slice(&*self.sig).is_ok()
    }

    /// From when until when it counts.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        Lifetime { signed_at: self.time, expires_at: self.expires_at() }
    }

    /// When it expires, in seconds since 1970-01-01 00:00 UTC.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.time.saturating_add(self.expire)
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims")
            .field("identifier", &self.identifier)
            .field("sdkappid", &self.sdkappid)
            .field("time", &self.time)
            .field("expire", &self.expire)
            .field("userbuf", &self.userbuf)
            .finish_non_exhaustive()
    }
}

/// The JSON object, as it is written.
#[derive(Serialize, Deserialize)]
struct Members<'a> {
    #[serde(rename = "TLS.ver", borrow)]
    ver: Cow<'a, str>,
    #[serde(rename = "TLS.identifier", borrow)]
    identifier: Cow<'a, str>,
    #[serde(rename = "TLS.sdkappid")]
    sdkappid: u64,
    #[serde(rename = "TLS.time")]
    time: u64,
    #[serde(rename = "TLS.expire")]
    expire: u64,
    #[serde(rename = "TLS.userbuf", borrow, default, skip_serializing_if = "Option::is_none")]
    userbuf: Option<Cow<'a, str>>,
    #[serde(rename = "TLS.sig", borrow)]
    sig: Cow<'a, str>,
}

impl Members<'_> {
    fn check(&self) -> Result<Claims, BadUserSig> {
        if self.ver != VERSION {
            return Err(BadUserSig::Version(self.ver.chars().take(32).collect()));
        }
        let sig = Zeroizing::new(STANDARD.decode(&*self.sig).map_err(|_| BadUserSig::Sig)?);
        let userbuf = match &self.userbuf {
            Some(text) => {
                let bytes = STANDARD.decode(&**text).map_err(|_| BadUserSig::Userbuf)?;
                Some(Userbuf::new(&bytes).map_err(|_| BadUserSig::Userbuf)?)
            }
            None => None,
        };
        Ok(Claims {
            identifier: self.identifier.parse().map_err(|_| BadUserSig::Identifier)?,
            sdkappid: SdkAppId::try_from(self.sdkappid).map_err(|_| BadUserSig::SdkAppId(self.sdkappid))?,
            time: self.time,
            expire: self.expire,
            userbuf,
            sig: Zeroizing::new(sig.as_slice().try_into().map_err(|_| BadUserSig::Sig)?),
        })
    }
}

/// The HMAC over the claims: a line for each, written straight into it.
fn mac(
    key: &SecretKey,
    identifier: &Identifier,
    sdkappid: SdkAppId,
    time: u64,
    expire: u64,
    userbuf: Option<&Userbuf>,
) -> Hmac<Sha256> {
    struct Lines(Hmac<Sha256>);
    impl fmt::Write for Lines {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.update(text.as_bytes());
            Ok(())
        }
    }
    let mut lines = Lines(Hmac::new_from_slice(key.expose()).expect("HMAC takes a key of any length"));
    write!(
        lines,
        "TLS.identifier:{identifier}\nTLS.sdkappid:{sdkappid}\nTLS.time:{time}\nTLS.expire:{expire}\n"
    )
    .and_then(|()| match userbuf {
        Some(userbuf) => {
            writeln!(lines, "TLS.userbuf:{}", Base64Display::new(userbuf.as_bytes(), &STANDARD))
        }
        None => Ok(()),
    })
    .expect("an HMAC takes any text");
    lines.0
}

fn deflate(json: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(json.len() + 32), Compression::default());
    let deflated = encoder.write_all(json).and_then(|()| encoder.finish());
    Zeroizing::new(deflated.expect("writing to a vector cannot fail"))
}

/// Inflates one whole zlib stream, of which only the first bytes beyond the bound are ever made.
fn inflate(deflated: &[u8]) -> Result<Zeroizing<Vec<u8>>, BadUserSig> {
    let mut inflated = Zeroizing::new(Vec::with_capacity(4 * deflated.len()));
    let mut decoder = ZlibDecoder::new(deflated).take(MAX_INFLATED as u64 + 1);
    decoder.read_to_end(&mut inflated).map_err(|_| BadUserSig::NotDeflated)?;
    if inflated.len() > MAX_INFLATED {
        return Err(BadUserSig::InflatesTooFar);
    }
    // Whatever follows the stream is covered by no signature.
    if decoder.into_inner().into_inner().is_empty() { Ok(inflated) } else { Err(BadUserSig::NotDeflated) }
}

/// Ordinary base64 but for three characters: `*` for `+`, `-` for `/`, `_` for `=`. Not RFC 4648's URL alphabet.
static TOKEN_BASE64: GeneralPurpose = {
    let padding = Symbol::new(b'_').expect("_ is printable");
    let symbols = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*-";
    match Alphabet::new_with_padding(symbols, padding) {
        Ok(alphabet) => GeneralPurpose::new(&alphabet, PAD),
        Err(_) => panic!("these are 64 different printable characters"),
    }
};

/// The scheme with HMAC-SHA256. The older one, with ECDSA, is none of ours.
const VERSION: &str = "2.0";

/// The length of an HMAC-SHA256.
const SIG_BYTES: usize = 32;

#[cfg(test)]
mod tests;
