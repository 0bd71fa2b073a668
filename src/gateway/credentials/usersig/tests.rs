//! The published vectors, and what must hold for every UserSig.

use proptest::prelude::*;
use serde_json::Value;

use super::super::userbuf::{Privileges, Room, private_map_key};
use super::*;

const KEY: &str = "FAKE0000000000000000000000000000000000000000000000000000000000ff";

fn key(text: &str) -> SecretKey {
    SecretKey::new(text).unwrap()
}

fn request<'a>(key: &'a SecretKey, identifier: &'a Identifier) -> SigningRequest<'a> {
    let sdkappid = SdkAppId::try_from(1_400_000_001).unwrap();
    SigningRequest { key, sdkappid, identifier, time: 1_700_000_000, expire: 86_400, userbuf: None }
}

/// A UserSig whose JSON is this text.
fn token(json: &str) -> String {
    TOKEN_BASE64.encode(deflate(json.as_bytes()))
}

// === Vectors of the official libraries ===

fn vectors(list: &str) -> Vec<Value> {
    let all: Value =
        serde_json::from_str(include_str!("../../../../tests/data/usersig-vectors.json")).unwrap();
    all[list].as_array().unwrap().clone()
}

/// What a vector says was signed.
struct Vector {
    key: SecretKey,
    identifier: Identifier,
    sdkappid: SdkAppId,
    userbuf: Option<Userbuf>,
}

impl Vector {
    fn of(vector: &Value) -> Self {
        let userbuf = vector["userbuf_base64"].as_str();
        Self {
            key: key(vector["key"].as_str().unwrap()),
            identifier: vector["identifier"].as_str().unwrap().parse().unwrap(),
            sdkappid: SdkAppId::try_from(vector["sdkappid"].as_u64().unwrap()).unwrap(),
            userbuf: userbuf.map(|text| Userbuf::new(&STANDARD.decode(text).unwrap()).unwrap()),
        }
    }

    fn sign(&self, vector: &Value) -> UserSig {
        sign(&SigningRequest {
            key: &self.key,
            sdkappid: self.sdkappid,
            identifier: &self.identifier,
            time: vector["time"].as_u64().unwrap(),
            expire: vector["expire"].as_u64().unwrap(),
            userbuf: self.userbuf.as_ref(),
        })
    }
}

/// The JSON inside a UserSig, read without this file's types.
fn json_of(text: &str) -> Value {
    serde_json::from_slice(&inflate(&TOKEN_BASE64.decode(text).unwrap()).unwrap()).unwrap()
}

#[test]
fn signs_as_the_official_libraries_do() {
    let all = [vectors("vectors"), vectors("private_map_key_vectors")].concat();
    assert_eq!(all.len(), 12);
    for vector in all {
        let usersig = Vector::of(&vector).sign(&vector);
        assert_eq!(json_of(usersig.expose()), vector["json"], "{}", vector["name"]);
        assert_eq!(usersig.signed_at(), vector["time"].as_u64().unwrap());
        assert_eq!(usersig.expires_at() - usersig.signed_at(), vector["expire"].as_u64().unwrap());
    }
}

#[test]
fn reads_what_the_official_libraries_make() {
    let mut read = 0;
    for vector in [vectors("vectors"), vectors("private_map_key_vectors")].concat() {
        let expected = Vector::of(&vector);
        for text in ["token_python", "token_node"].iter().filter_map(|name| vector[*name].as_str()) {
            let claims = decode(text).unwrap();
            assert!(claims.verify(&expected.key), "{}", vector["name"]);
            assert!(!claims.verify(&key("another")), "{}", vector["name"]);
            assert_eq!(claims.identifier, expected.identifier);
            assert_eq!(claims.sdkappid, expected.sdkappid);
            assert_eq!(claims.time, vector["time"].as_u64().unwrap());
            assert_eq!(claims.expire, vector["expire"].as_u64().unwrap());
            assert_eq!(claims.userbuf, expected.userbuf);
            assert_eq!(STANDARD.encode(*claims.sig), vector["sig"].as_str().unwrap());
            read += 1;
        }
    }
    assert_eq!(read, 2 * 10 + 2);
}

#[test]
fn room_permissions_have_the_official_bytes() {
    let all = vectors("private_map_key_vectors");
    assert_eq!(all.len(), 2);
    for vector in all {
        let room = match vector["room_str"].as_str() {
            Some(name) => Room::Name(name),
            None => Room::Number(vector["room_id"].as_u64().unwrap().try_into().unwrap()),
        };
        let privileges = match vector["privilege_map"].as_u64() {
            Some(255) => Privileges::ALL,
            Some(42) => Privileges::ENTER_AND_RECEIVE,
            other => panic!("privileges {other:?}"),
        };
        let expected = Vector::of(&vector);
        let ends_at = vector["time"].as_u64().unwrap() + vector["expire"].as_u64().unwrap();
        let made = private_map_key(expected.sdkappid, &expected.identifier, room, ends_at, privileges);
        assert_eq!(made.unwrap().as_bytes(), expected.userbuf.unwrap().as_bytes(), "{}", vector["name"]);
    }
}

// === What is refused ===

#[test]
fn the_text_has_a_bound() {
    let (key, administrator) = (key(KEY), "administrator".parse().unwrap());
    // Userbuf bytes that do not deflate: the longest UserSig that can be signed can still be read.
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let longest = Userbuf::new(&noise.take(Userbuf::MAX).collect::<Vec<_>>()).unwrap();
    let usersig = sign(&SigningRequest { userbuf: Some(&longest), ..request(&key, &administrator) });
    assert!(usersig.expose().len() <= MAX_TEXT, "{}", usersig.expose().len());
    assert!(decode(usersig.expose()).unwrap().verify(&key));

    assert_eq!(decode(&"A".repeat(MAX_TEXT + 1)), Err(BadUserSig::TooLong(MAX_TEXT + 1)));
    assert_ne!(decode(&"A".repeat(MAX_TEXT)), Err(BadUserSig::TooLong(MAX_TEXT)));
}

#[test]
fn a_bomb_is_not_inflated() {
    let bomb = |length: usize| token(&" ".repeat(length));
    assert!(bomb(5_000_000).len() <= MAX_TEXT, "the bomb must get past the bound on the text");
    assert_eq!(decode(&bomb(5_000_000)), Err(BadUserSig::InflatesTooFar));
    assert_eq!(decode(&bomb(MAX_INFLATED + 1)), Err(BadUserSig::InflatesTooFar));
    assert_eq!(decode(&bomb(MAX_INFLATED)), Err(BadUserSig::Members));
}

#[test]
fn what_is_no_usersig_is_named() {
    let good = token(&json(r#""TLS.ver":"2.0""#, "administrator", "1"));
    assert!(decode(&good).is_ok());

    assert_eq!(decode("not a usersig"), Err(BadUserSig::NotBase64));
    assert_eq!(decode(&good.replace('_', "=")), Err(BadUserSig::NotBase64));
    assert_eq!(decode(good.trim_end_matches('_')), Err(BadUserSig::NotBase64));
    assert_eq!(decode(""), Err(BadUserSig::NotDeflated));
    assert_eq!(decode("AAAA"), Err(BadUserSig::NotDeflated));

    let bytes = TOKEN_BASE64.decode(&good).unwrap();
    let cut = TOKEN_BASE64.encode(&bytes[..bytes.len() - 1]);
    assert_eq!(decode(&cut), Err(BadUserSig::NotDeflated));
    let longer = TOKEN_BASE64.encode([&bytes[..], b"more"].concat());
    assert_eq!(decode(&longer), Err(BadUserSig::NotDeflated));

    assert_eq!(decode(&token("[]")), Err(BadUserSig::Members));
    assert_eq!(decode(&token(r#"{"TLS.ver":"2.0"}"#)), Err(BadUserSig::Members));
    let twice = json(r#""TLS.ver":"2.0","TLS.time":1"#, "administrator", "1");
    assert_eq!(decode(&token(&twice)), Err(BadUserSig::Members));

    let version = decode(&token(&json(r#""TLS.ver":"201512300000""#, "administrator", "1")));
    assert_eq!(version, Err(BadUserSig::Version("201512300000".into())));
    assert_eq!(
        version.unwrap_err().to_string(),
        r#"its version is "201512300000", only "2.0" (HMAC-SHA256) is known"#
    );
    let v2 = r#""TLS.ver":"2.0""#;
    assert_eq!(decode(&token(&json(v2, "a\\nTLS.sdkappid:2", "1"))), Err(BadUserSig::Identifier));
    assert_eq!(decode(&token(&json(v2, "administrator", "0"))), Err(BadUserSig::SdkAppId(0)));
    let userbuf = format!(r#"{v2},"TLS.userbuf":"!""#);
    assert_eq!(decode(&token(&json(&userbuf, "administrator", "1"))), Err(BadUserSig::Userbuf));
    let short = json(v2, "administrator", "1").replace(&"A".repeat(42), "AA");
    assert_eq!(decode(&token(&short)), Err(BadUserSig::Sig));
}

/// A JSON object with a UserSig's members, `first` before the others.
fn json(first: &str, identifier: &str, sdkappid: &str) -> String {
    let sig = STANDARD.encode([0; SIG_BYTES]);
    format!(
        r#"{{{first},"TLS.identifier":"{identifier}","TLS.sdkappid":{sdkappid},"TLS.time":1,"TLS.expire":2,"TLS.sig":"{sig}"}}"#
    )
}

// === Secrets ===

#[test]
fn debug_shows_no_secret() {
    let (key, administrator) = (key(KEY), "administrator".parse().unwrap());
    let usersig = sign(&request(&key, &administrator));
    let claims = decode(usersig.expose()).unwrap();
    assert_eq!(
        format!("{usersig:?}"),
        "UserSig { lifetime: Lifetime { signed_at: 1700000000, expires_at: 1700086400 }, .. }"
    );
    let shown = format!("{claims:?} {claims:#?} {:?}", request(&key, &administrator));
    assert!(shown.contains("administrator"));
    for secret in [KEY, usersig.expose(), &STANDARD.encode(*claims.sig), "sig: "] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

// === For every UserSig ===

fn keys() -> impl Strategy<Value = SecretKey> {
    "[!-~]{1,100}".prop_map(|text| key(&text))
}

fn identifiers() -> impl Strategy<Value = Identifier> {
    "\\PC{1,32}".prop_filter_map("at most 32 bytes", |text| text.parse().ok())
}

fn sdkappids() -> impl Strategy<Value = SdkAppId> {
    (1..=u64::from(u32::MAX)).prop_map(|number| SdkAppId::try_from(number).unwrap())
}

fn userbufs() -> impl Strategy<Value = Option<Userbuf>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 1..200))
        .prop_map(|bytes| bytes.map(|bytes| Userbuf::new(&bytes).unwrap()))
}

proptest! {
    #[test]
    fn what_was_signed_is_read_and_verified(
        (key, other) in (keys(), keys()),
        identifier in identifiers(),
        sdkappid in sdkappids(),
        (time, expire) in (any::<u64>(), any::<u64>()),
        userbuf in userbufs(),
    ) {
        let userbuf = userbuf.as_ref();
        let usersig = sign(&SigningRequest { key: &key, sdkappid, identifier: &identifier, time, expire, userbuf });
        let claims = decode(usersig.expose()).unwrap();
        prop_assert!(claims.verify(&key));
        prop_assert_eq!(claims.verify(&other), key == other);
        prop_assert_eq!(&claims.identifier, &identifier);
        prop_assert_eq!((claims.sdkappid, claims.time, claims.expire), (sdkappid, time, expire));
        prop_assert_eq!(claims.userbuf.as_ref(), userbuf);
        prop_assert_eq!(claims.lifetime(), usersig.lifetime());
        prop_assert!(usersig.expose().bytes().all(|b| b.is_ascii_alphanumeric() || b"*-_".contains(&b)));
    }

    #[test]
    fn a_changed_character_never_passes_as_another_claim(
        identifier in identifiers(),
        userbuf in userbufs(),
        position in any::<prop::sample::Index>(),
        replacement in prop::sample::select(TOKEN_CHARACTERS.to_vec()),
    ) {
        let key = key(KEY);
        let request = SigningRequest { userbuf: userbuf.as_ref(), ..request(&key, &identifier) };
        let usersig = sign(&request);
        let honest = decode(usersig.expose()).unwrap();
        let mut text = usersig.expose().as_bytes().to_vec();
        let position = position.index(text.len());
        prop_assume!(text[position] != replacement);
        text[position] = replacement;
        // Deflate can say the same in two ways, and its last byte may hold unused bits: then, and only then, a
        // changed text still stands for the very claims that were signed.
        if let Ok(claims) = decode(std::str::from_utf8(&text).unwrap()) {
            prop_assert!(claims == honest || !claims.verify(&key));
        }
    }

    #[test]
    fn a_changed_claim_is_not_verified(sdkappid in sdkappids(), time in any::<u64>(), expire in any::<u64>()) {
        let (key, administrator) = (key(KEY), "administrator".parse().unwrap());
        let honest = decode(sign(&request(&key, &administrator)).expose()).unwrap();
        let other = Claims { identifier: "Administrator".parse().unwrap(), ..honest.clone() };
        prop_assert!(!other.verify(&key));
        let changed = [
            Claims { sdkappid, ..honest.clone() },
            Claims { time, ..honest.clone() },
            Claims { expire, ..honest.clone() },
            Claims { userbuf: Some(Userbuf::new(b"abc").unwrap()), ..honest.clone() },
        ];
        for claims in changed {
            prop_assert!(claims == honest || !claims.verify(&key));
        }
    }

    #[test]
    fn reading_never_panics(text in "\\PC{0,200}", token in "[A-Za-z0-9*-]{0,200}_{0,2}") {
        _ = (decode(&text), decode(&token));
    }

    #[test]
    fn reading_what_was_deflated_never_panics(json in "\\PC{0,200}", raw in any::<Vec<u8>>()) {
        prop_assert!(decode(&token(&json)).is_err());
        prop_assert!(decode(&TOKEN_BASE64.encode(raw)).is_err());
    }
}

const TOKEN_CHARACTERS: &[u8; 65] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*-_";
