//! Reading ErrorCode out of an answer, and masking a UserSig in it, against serde_json's reading of the whole.
//!
//! The first byte chooses the family (`1`: the old Call family), the second the length of the pieces in which the rest
//! arrives (0: at once).

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::gateway::outcome::{Fault, Masker, Reading, Scanner, TencentRequestId};
use crate::model::api::Family;

/// Reads one answer.
pub fn run(data: &[u8]) {
    let [family, piece, body @ ..] = data else { return };
    let family = if *family == b'1' { Family::V1 } else { Family::V4 };
    let piece = if *piece == 0 { body.len().max(1) } else { usize::from(*piece) };

    let mut scanner = Scanner::new(family);
    body.chunks(piece).for_each(|piece| scanner.feed(piece));
    let reading = scanner.finish();
    let mut at_once = Scanner::new(family);
    at_once.feed(body);
    assert_eq!(reading, at_once.finish(), "pieces make no difference");

    agrees_with_serde_json(family, body, &reading);
    is_masked(body, piece);
}

fn agrees_with_serde_json(family: Family, body: &[u8], reading: &Result<Reading, Fault>) {
    // `IgnoredAny` follows the grammar and converts nothing, but looks at no UTF-8.
    let is_json = std::str::from_utf8(body).is_ok() && serde_json::from_slice::<IgnoredAny>(body).is_ok();
    match reading {
        Err(Fault::Empty | Fault::Markup | Fault::NotJson { .. } | Fault::Truncated { .. }) => {
            assert!(!is_json, "serde_json reads it: {reading:?}");
        }
        Err(Fault::TooDeep { .. }) => assert!(serde_json::from_slice::<Value>(body).is_err(), "not so deep"),
        _ => assert!(is_json, "serde_json does not read it: {reading:?}"),
    }
    // A full parse refuses what the grammar allows: numbers beyond f64, half a surrogate pair, 128 levels.
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => {
            let told = reading.as_ref().map(|reading| {
                (reading.error_code.0, reading.request_id.as_ref().map(TencentRequestId::as_str))
            });
            assert!(is_told(&members, family, told), "{told:?} of {members:?}");
        }
        Ok(_) => assert_eq!(*reading, Err(Fault::NotAnObject)),
        Err(_) => {}
    }
}

/// Whether `told` is what these members tell: the code, and the id where there is one.
fn is_told(members: &Map<String, Value>, family: Family, told: Result<(i64, Option<&str>), &Fault>) -> bool {
    let [code, id] = match family {
        Family::V4 => ["ErrorCode", "RequestId"],
        Family::V1 => ["errorCode", "requestId"],
    };
    let id = members.get(id).and_then(Value::as_str).filter(|text| {
        (1..=TencentRequestId::MOST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    });
    let error_code = match members.get(code) {
        None => return told == Err(&Fault::NoErrorCode { wanted: code }),
        // The integer -0 is a float to serde_json.
        Some(Value::Number(number)) if number.as_f64().is_some_and(|n| n == 0.0 && n.is_sign_negative()) => {
            told.is_ok().then_some(0)
        }
        Some(Value::Number(number)) => number.as_i64(),
        Some(Value::String(text)) if text.len() <= TencentRequestId::MOST && !text.starts_with('+') => {
            text.parse().ok()
        }
        Some(_) => None,
    };
    match error_code {
        Some(error_code) => told == Ok((error_code, id)),
        None => told == Err(&Fault::BadErrorCode { wanted: code }),
    }
}

/// Nothing changes but the UserSig, of which no half is left.
fn is_masked(body: &[u8], piece: usize) {
    let mut masker = Masker::new(USERSIG);
    let mut passed: Vec<u8> = Vec::with_capacity(body.len());
    for piece in body.chunks(piece) {
        passed.extend_from_slice(&masker.feed(Bytes::copy_from_slice(piece)));
    }
    passed.extend_from_slice(&masker.finish());
    assert_eq!(passed.len(), body.len());
    assert!(passed.iter().zip(body).all(|(passed, came)| passed == came || *passed == b'*'));
    let half = &USERSIG.as_bytes()[..USERSIG.len().div_ceil(2)];
    assert!(!passed.windows(half.len()).any(|window| window == half), "half of it is left");
    if !body.windows(LEAST.len()).any(|window| window == LEAST) {
        assert_eq!(passed, body, "there was none of it");
    }
}

/// Short, so that it is found; its only `*` stands at its end.
const USERSIG: &str = "eJwtzM0K*";

/// What stands in every form of half of it.
const LEAST: &[u8] = b"eJwtz";
