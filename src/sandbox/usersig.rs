//! The sandbox's own reading of a UserSig (TLSSigAPIv2): text in, members out, and whether a key made it.
//!
//! On purpose it shares no code with the gateway's signer: a stand-in that reused it would agree with its mistakes.
//! The form is that of <https://trtc.io/document/34385> and of Tencent's published Python and Node.js libraries.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;

use crate::model::secret::SecretKey;

/// What a UserSig says.
#[derive(Deserialize)]
pub(crate) struct UserSig {
    #[serde(rename = "TLS.ver")]
    version: String,
    #[serde(rename = "TLS.identifier")]
    pub(crate) identifier: String,
    #[serde(rename = "TLS.sdkappid")]
    pub(crate) sdkappid: u64,
    #[serde(rename = "TLS.time")]
    time: u64,
    #[serde(rename = "TLS.expire")]
    expire: u64,
    #[serde(rename = "TLS.userbuf")]
    userbuf: Option<String>,
    #[serde(rename = "TLS.sig")]
    sig: String,
}

/// Why a text is no UserSig.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadUserSig {
    #[error("usersig holds a character other than A-Z a-z 0-9 * - _")]
    Alphabet,
    #[error("usersig is no base64 after * - _ are turned into + / =")]
    Base64,
    #[error("usersig holds no zlib stream of at most 64 KiB")]
    Zlib,
    #[error("usersig holds no JSON object with the members of TLSSigAPIv2")]
    Members,
}

/// Decodes a UserSig. Whether it is any good is not looked at here.
pub(crate) fn decode(text: &str) -> Result<UserSig, BadUserSig> {
    let ordinary = text.bytes().map(|byte| match byte {
        b'*' => Some(b'+'),
        b'-' => Some(b'/'),
        b'_' => Some(b'='),
        other => other.is_ascii_alphanumeric().then_some(other),
    });
    let ordinary: Vec<u8> = ordinary.collect::<Option<_>>().ok_or(BadUserSig::Alphabet)?;
    let packed = STANDARD.decode(ordinary).map_err(|_| BadUserSig::Base64)?;
    let json = unpack(&packed).ok_or(BadUserSig::Zlib)?;
    serde_json::from_slice(&json).map_err(|_| BadUserSig::Members)
}

impl UserSig {
    /// Whether this is the version that is signed with HMAC-SHA256.
    pub(crate) fn is_version_2(&self) -> bool {
        self.version == "2.0"
    }

    /// The Unix second from which on it is no longer valid.
    pub(crate) fn expires_at(&self) -> u64 {
        self.time.saturating_add(self.expire)
    }

    /// Whether `key` made it.
    pub(crate) fn is_made_with(&self, key: &SecretKey) -> bool {
        let Ok(sig) = STANDARD.decode(&self.sig) else { return false };
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
        mac.update(self.signed_text().as_bytes());
        mac.verify_slice(&sig).is_ok()
    }

    fn signed_text(&self) -> String {
        let Self { identifier, sdkappid, time, expire, .. } = self;
        let mut text = format!(
            "TLS.identifier:{identifier}\nTLS.sdkappid:{sdkappid}\nTLS.time:{time}\nTLS.expire:{expire}\n"
        );
        if let Some(userbuf) = &self.userbuf {
            text.push_str("TLS.userbuf:");
            text.push_str(userbuf);
            text.push('\n');
        }
        text
    }
}

/// Inflates a zlib stream that fills `packed` from end to end.
fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut stream = flate2::bufread::ZlibDecoder::new(packed);
    let mut json = Vec::new();
    stream.by_ref().take(LONGEST_JSON + 1).read_to_end(&mut json).ok()?;
    let whole = stream.total_in() == packed.len() as u64 && json.len() as u64 <= LONGEST_JSON;
    whole.then_some(json)
}

/// A UserSig's JSON is some 200 bytes; a userbuf may add to it. More is a bomb.
const LONGEST_JSON: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn vectors() -> Vec<Value> {
        let file: Value =
            serde_json::from_str(include_str!("../../tests/data/usersig-vectors.json")).unwrap();
        let mut vectors = file["vectors"].as_array().unwrap().clone();
        vectors.extend(file["private_map_key_vectors"].as_array().unwrap().iter().cloned());
        assert!(vectors.len() >= 12);
        vectors
    }

    fn tokens(vector: &Value) -> Vec<&str> {
        ["token_python", "token_node"].iter().filter_map(|name| vector[name].as_str()).collect()
    }

    #[test]
    fn every_published_vector_decodes_and_verifies() {
        let mut seen = 0;
        for vector in vectors() {
            let key = SecretKey::new(vector["key"].as_str().unwrap()).unwrap();
            for token in tokens(&vector) {
                let usersig = decode(token).unwrap();
                assert_eq!(vector["identifier"], *usersig.identifier);
                assert_eq!(vector["sdkappid"], usersig.sdkappid);
                assert_eq!(vector["time"], usersig.time);
                assert_eq!(vector["expire"], usersig.expire);
                assert!(usersig.is_version_2() && usersig.is_made_with(&key), "{}", vector["name"]);
                assert!(!usersig.is_made_with(&SecretKey::new("FAKE-other").unwrap()), "{}", vector["name"]);
                seen += 1;
            }
        }
        assert!(seen >= 22, "{seen}");
    }

    /// A few bits behind the end of a deflate stream mean nothing, so changing them changes nothing that is said.
    #[test]
    fn a_usersig_with_one_character_changed_does_not_verify() {
        for vector in vectors() {
            let key = SecretKey::new(vector["key"].as_str().unwrap()).unwrap();
            for token in tokens(&vector) {
                let original = decode(token).unwrap().signed_text();
                let mut without_meaning = 0;
                for place in 0..token.len() {
                    let verified: Vec<UserSig> = [b'A', b'z', b'5', b'*', b'_', b'%']
                        .into_iter()
                        .filter(|&other| other != token.as_bytes()[place])
                        .filter_map(|other| decode(&changed(token, place, other)).ok())
                        .filter(|usersig| usersig.is_version_2() && usersig.is_made_with(&key))
                        .collect();
                    assert!(verified.iter().all(|usersig| usersig.signed_text() == original));
                    without_meaning += usize::from(!verified.is_empty());
                }
                assert!(without_meaning <= 2, "{}: {without_meaning}", vector["name"]);
            }
        }
    }

    #[test]
    fn a_usersig_with_one_byte_of_its_json_changed_does_not_verify() {
        for vector in vectors() {
            let key = SecretKey::new(vector["key"].as_str().unwrap()).unwrap();
            let json = serde_json::to_string(&vector["json"]).unwrap();
            let verifies = |json: &str| {
                decode(&packed(json.as_bytes())).is_ok_and(|u| u.is_version_2() && u.is_made_with(&key))
            };
            assert!(verifies(&json), "{}", vector["name"]);
            for place in (0..json.len()).filter(|&place| json.as_bytes()[place].is_ascii()) {
                let other = if json.as_bytes()[place] == b'7' { b'8' } else { b'7' };
                assert!(!verifies(&changed(&json, place, other)), "{} at {place}", vector["name"]);
            }
        }
    }

    fn changed(text: &str, place: usize, other: u8) -> String {
        let mut bytes = text.as_bytes().to_vec();
        bytes[place] = other;
        String::from_utf8(bytes).unwrap()
    }

    fn packed(json: &[u8]) -> String {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut zlib, json).unwrap();
        STANDARD.encode(zlib.finish().unwrap()).replace('+', "*").replace('/', "-").replace('=', "_")
    }

    #[test]
    fn what_is_no_usersig_says_why() {
        let why = |text: &str| decode(text).err();
        assert_eq!(why("a b"), Some(BadUserSig::Alphabet));
        assert_eq!(why("a+b="), Some(BadUserSig::Alphabet), "the ordinary alphabet is not taken");
        assert_eq!(why("abc"), Some(BadUserSig::Base64));
        assert_eq!(why("abcd"), Some(BadUserSig::Zlib));
        assert_eq!(why(&packed(b"{}")), Some(BadUserSig::Members));
        assert_eq!(why(&packed(b"no json")), Some(BadUserSig::Members));
        let bomb = packed(&vec![b' '; 64 * 1024 + 1]);
        assert_eq!(why(&bomb), Some(BadUserSig::Zlib), "a bomb stops at the bound");
        assert_eq!(why(&packed(&vec![b' '; 64 * 1024])), Some(BadUserSig::Members), "at the bound");
    }

    #[test]
    fn another_version_is_told_apart() {
        let text = r#"{"TLS.ver":"1.0","TLS.identifier":"a","TLS.sdkappid":1,"TLS.time":1,"TLS.expire":18446744073709551615,"TLS.sig":""}"#;
        let usersig: UserSig = serde_json::from_str(text).unwrap();
        assert!(!usersig.is_version_2());
        assert_eq!(usersig.expires_at(), u64::MAX, "an absurd duration does not overflow");
        assert!(!usersig.is_made_with(&SecretKey::new("k").unwrap()));
    }
}
