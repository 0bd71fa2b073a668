//! UserSigs: the gateway's reading, which `inspect` shows, against the sandbox's, which shares no code with it.
//!
//! The first byte chooses what the rest is: `t` the text of a UserSig, `z` a zlib stream, for which the base64 is
//! written, `j` JSON, for which the zlib stream is written too, `s` claims, which are signed.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::gateway::credentials::userbuf::Userbuf;
use crate::gateway::credentials::usersig::{BadUserSig, MAX_TEXT, SigningRequest, decode, sign};
use crate::model::secret::SecretKey;
use crate::sandbox::usersig as sandbox;

/// Reads, or makes and reads, one UserSig.
pub fn run(data: &[u8]) {
    let Some((form, rest)) = data.split_first() else { return };
    match form {
        b't' => {
            if let Ok(text) = std::str::from_utf8(rest) {
                read(text);
            }
        }
        b'z' => read(&text_of(rest)),
        b'j' => read(&text_of(&deflated(rest))),
        b's' => signed(rest),
        _ => {}
    }
}

/// Both read the same claims, and judge alike who made them.
fn read(text: &str) {
    match (decode(text), sandbox::decode(text)) {
        (Ok(claims), Ok(usersig)) => {
            assert!(usersig.is_version_2());
            assert_eq!(usersig.identifier, claims.identifier.as_str());
            assert_eq!(usersig.sdkappid, u64::from(claims.sdkappid.number()));
            assert_eq!(usersig.expires_at(), claims.expires_at());
            for key in [KEY, OTHER_KEY] {
                let key = SecretKey::new(key).expect("visible ASCII");
                assert_eq!(usersig.is_made_with(&key), claims.verify(&key), "{claims:?}");
            }
        }
        (Ok(claims), Err(error)) => panic!("the sandbox does not read {claims:?}: {error}"),
        (Err(error), Ok(usersig)) => match error {
            BadUserSig::TooLong(length) => assert!(length == text.len() && length > MAX_TEXT),
            BadUserSig::Version(_) => assert!(!usersig.is_version_2()),
            BadUserSig::SdkAppId(number) => {
                assert!(number == usersig.sdkappid && !(1..=u64::from(u32::MAX)).contains(&number));
            }
            BadUserSig::Identifier => {
                let name = &usersig.identifier;
                assert!(name.is_empty() || name.len() > 32 || name.contains(char::is_control));
            }
            // The sandbox looks at these when it looks for the key.
            BadUserSig::Userbuf => {}
            BadUserSig::Sig => {
                assert!(!usersig.is_made_with(&SecretKey::new(KEY).expect("visible ASCII")));
            }
            BadUserSig::NotBase64
            | BadUserSig::NotDeflated
            | BadUserSig::InflatesTooFar
            | BadUserSig::Members => panic!("the sandbox reads it: {error}"),
        },
        (Err(_), Err(_)) => {}
    }
}

/// What is signed is read by both as it was meant, and verifies with its key only.
fn signed(data: &[u8]) {
    let Some((fixed, rest)) = data.split_first_chunk::<20>() else { return };
    let number = |range: std::ops::Range<usize>| {
        fixed[range].iter().fold(0_u64, |number, &byte| number << 8 | u64::from(byte))
    };
    let (name, userbuf) = rest.split_at(rest.len().min(32));
    let name = std::str::from_utf8(name).unwrap_or("administrator");
    let Ok(sdkappid) = number(0..4).try_into() else { return };
    let Ok(identifier) = name.parse() else { return };
    let userbuf = Userbuf::new(userbuf).ok();
    let key = SecretKey::new(KEY).expect("visible ASCII");
    let (time, expire) = (number(4..12), number(12..20));
    let request = SigningRequest {
        key: &key,
        sdkappid,
        identifier: &identifier,
        time,
        expire,
        userbuf: userbuf.as_ref(),
    };
    let usersig = sign(&request);
    let text = usersig.expose();
    assert!(
        text.bytes().all(|b| b.is_ascii_alphanumeric() || b"*-_".contains(&b)),
        "it stands in a URL as it is"
    );
    let claims = decode(text).expect("what was signed can be read");
    assert_eq!((&claims.identifier, claims.sdkappid), (&identifier, sdkappid));
    assert_eq!((claims.time, claims.expire, &claims.userbuf), (time, expire, &userbuf));
    assert!(claims.verify(&key) && sandbox::decode(text).is_ok_and(|usersig| usersig.is_made_with(&key)));
    read(text);
}

fn deflated(json: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(json).and_then(|()| encoder.finish()).expect("writing to a vector cannot fail")
}

fn text_of(deflated: &[u8]) -> String {
    STANDARD.encode(deflated).replace('+', "*").replace('/', "-").replace('=', "_")
}

const KEY: &str = "FAKE0123456789abcdef";
const OTHER_KEY: &str = "FAKEfedcba9876543210";
