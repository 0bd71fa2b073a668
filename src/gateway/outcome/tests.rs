use crate::model::call_outcome::CallOutcome;
use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

/// What a scanner says of an answer that comes in these pieces.
fn scan(family: Family, pieces: &[&[u8]]) -> Result<Reading, Fault> {
    let mut scanner = Scanner::new(family);
    pieces.iter().for_each(|piece| scanner.feed(piece));
    scanner.finish()
}

fn v4(body: impl AsRef<[u8]>) -> Result<Reading, Fault> {
    scan(Family::V4, &[body.as_ref()])
}

/// The code and the id of an answer that has both or the first.
fn told(reading: &Reading) -> (i64, Option<&str>) {
    (reading.error_code.0, reading.request_id.as_ref().map(TencentRequestId::as_str))
}

const LIVE: &str = r#"{"ErrorCode":0,"ErrorInfo":"","ActionStatus":"OK","RequestId":"Id-70da5d1b07fe4f92a6e5f1f3a0a3a8d1-O-Seq-43103","Response":{"Url":"https://x.example/c?a=1","CallbackCommandList":["Live.CallbackAfterCreateRoom"]}}"#;
const CHAT: &str = r#"{"ActionStatus":"FAIL","ErrorCode":60010,"ErrorInfo":"需要管理员 \"administrator\""}"#;
const RELATION: &str = "{\n  \"ResultItem\": [ { \"To_Account\": \"id1\", \"ResultCode\": 30001, \"ErrorCode\": 9 }, {\"ResultCode\" : -1.5e+3} ],\r\n\t\"ActionStatus\": \"OK\", \"ErrorCode\": 0, \"ErrorInfo\": \"0\", \"ErrorDisplay\": null }\n";
const OLD_CALL: &str = r#"{"requestId":"a1b2","errorCode":70001,"errorMessage":"bad","data":""}"#;

#[test]
fn every_documented_shape_is_read() {
    let id = "Id-70da5d1b07fe4f92a6e5f1f3a0a3a8d1-O-Seq-43103";
    assert_eq!(told(&v4(LIVE).unwrap()), (0, Some(id)));
    assert_eq!(told(&v4(CHAT).unwrap()), (60010, None));
    assert_eq!(told(&v4(RELATION).unwrap()), (0, None));
    assert_eq!(told(&scan(Family::V1, &[OLD_CALL.as_bytes()]).unwrap()), (70001, Some("a1b2")));
    assert_eq!(told(&v4(r#"{"ErrorCode":"60007","RequestId":""}"#).unwrap()), (60007, None));
    assert_eq!(told(&v4(r#"{"GiftInfo":{"ErrorCode":1},"ErrorCode":0}"#).unwrap()), (0, None));
}

#[test]
fn a_code_is_known_by_its_family() {
    assert_eq!(
        read(Family::V4, OLD_CALL.as_bytes()),
        Outcome::Fault(Fault::NoErrorCode { wanted: "ErrorCode" })
    );
    assert_eq!(read(Family::V1, CHAT.as_bytes()), Outcome::Fault(Fault::NoErrorCode { wanted: "errorCode" }));
    assert_eq!(read(Family::V4, br#"{"ErrorCode":70001}"#).call(), CallOutcome::Auth);
    assert_eq!(read(Family::V1, br#"{"errorCode":70001}"#).call(), CallOutcome::TencentError);
    assert_eq!(read(Family::V4, b"<html>").call(), CallOutcome::Fault);
}

#[test]
fn every_split_reads_the_same() {
    for (family, body) in [
        (Family::V4, LIVE),
        (Family::V4, CHAT),
        (Family::V4, RELATION),
        (Family::V1, OLD_CALL),
        (Family::V4, "{\"a\":\"é\",€}"),
        (Family::V4, "{\"a\":true,\"b\":[nul"),
        (Family::V4, "[] <"),
        (Family::V4, "\n <a>"),
    ] {
        let bytes = body.as_bytes();
        let whole = scan(family, &[bytes]);
        for first in 0..=bytes.len() {
            for second in (first..=bytes.len()).step_by(if bytes.len() > 100 { 7 } else { 1 }) {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(scan(family, &pieces), whole, "{body} at {first} and {second}");
            }
        }
        assert_eq!(scan(family, &bytes.chunks(1).collect::<Vec<_>>()), whole);
    }
}

#[test]
fn an_answer_that_is_cut_off_is_never_read() {
    for (family, body) in
        [(Family::V4, LIVE), (Family::V4, CHAT), (Family::V4, RELATION.trim_end()), (Family::V1, OLD_CALL)]
    {
        for end in 1..body.len() {
            assert_eq!(scan(family, &[&body.as_bytes()[..end]]), Err(Fault::Truncated { after: end }));
        }
        assert_eq!(scan(family, &[]), Err(Fault::Empty));
    }
}

#[test]
fn only_the_outermost_object_counts() {
    for body in [
        r#"{"Response":{"ErrorCode":60007,"RequestId":"inner"},"ErrorCode":1,"RequestId":"outer"}"#,
        r#"{"ErrorCode":1,"RequestId":"outer","Response":{"ErrorCode":60007,"RequestId":"inner"}}"#,
        r#"{"x":[{"ErrorCode":60007},{"RequestId":"inner"}],"RequestId":"outer","ErrorCode":1}"#,
        r#"{"x":"{\"ErrorCode\":60007}","y":"ErrorCode","ErrorCode":1,"RequestId":"outer"}"#,
        r#"{"errorcode":2,"ERRORCODE":3,"ErrorCodes":4,"ErrorCod":5," ErrorCode":6,"requestId":"x","ErrorCode":1,"RequestId":"outer"}"#,
        r#"{"ErrorCode\u0000":2,"\u0445rrorCode":3,"ErrorCod\ud83d\ude00":4,"ErrorCode":1,"RequestId":"outer"}"#,
    ] {
        assert_eq!(told(&v4(body).unwrap()), (1, Some("outer")), "{body}");
    }
    let nested = br#"[{"ErrorCode":0}]"#;
    assert_eq!(v4(nested), Err(Fault::NotAnObject));
    assert_eq!(v4(r#"{"Response":{"ErrorCode":0}}"#), Err(Fault::NoErrorCode { wanted: "ErrorCode" }));
}

#[test]
fn escapes_are_understood() {
    let body = r#"{"Error\u0043ode":7,"\u0052equestId":"\u0061\/\u005Cb\""}"#;
    assert_eq!(told(&v4(body).unwrap()), (7, Some("a/\\b\"")));
    assert_eq!(told(&v4(r#"{"ErrorCode":"\u0036\u00307"}"#).unwrap()).0, 607);
}

#[test]
fn of_a_name_that_stands_twice_the_last_counts() {
    assert_eq!(told(&v4(r#"{"ErrorCode":60007,"ErrorCode":0}"#).unwrap()).0, 0);
    assert_eq!(told(&v4(r#"{"ErrorCode":null,"Error\u0043ode":"0"}"#).unwrap()).0, 0);
    assert_eq!(v4(r#"{"ErrorCode":0,"ErrorCode":null}"#), Err(Fault::BadErrorCode { wanted: "ErrorCode" }));
    let ids =
        |first: &str, last: &str| format!(r#"{{"RequestId":{first},"ErrorCode":0,"RequestId":{last}}}"#);
    assert_eq!(told(&v4(ids(r#""a""#, r#""b""#)).unwrap()).1, Some("b"));
    assert_eq!(told(&v4(ids(r#""a""#, "7")).unwrap()).1, None);
}

#[test]
fn an_error_code_is_a_whole_number_of_64_bits() {
    let code = |value: &str| v4(format!(r#"{{"ErrorCode":{value}}}"#)).map(|reading| reading.error_code.0);
    for (value, expected) in [
        ("0", 0),
        ("-0", 0),
        ("-1", -1),
        ("\"-17\"", -17),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
        ("\"9223372036854775807\"", i64::MAX),
        ("\"007\"", 7),
    ] {
        assert_eq!(code(value), Ok(expected), "{value}");
    }
    let many = "9".repeat(200);
    for value in [
        "9223372036854775808",
        "-9223372036854775809",
        "1.0",
        "0.0",
        "1e2",
        "0e0",
        "null",
        "true",
        "[0]",
        "{}",
        "[]",
        "\"\"",
        "\"+1\"",
        "\"1.0\"",
        "\" 1\"",
        "\"0x1\"",
        "\"OK\"",
        "\"\\u0661\"",
        &many,
        &format!("\"{many}\""),
    ] {
        assert_eq!(code(value), Err(Fault::BadErrorCode { wanted: "ErrorCode" }), "{value}");
    }
}

#[test]
fn a_request_id_is_visible_and_short_or_passed_over() {
    let id = |value: &str| {
        let body = format!(r#"{{"RequestId":{value},"ErrorCode":0}}"#);
        v4(body).unwrap().request_id.map(|id| id.as_str().to_string())
    };
    assert_eq!(id(&format!("\"{}\"", "x".repeat(128))), Some("x".repeat(128)));
    for value in [
        "\"\"",
        "7",
        "null",
        "{}",
        "\"a b\"",
        "\"a\\nb\"",
        "\"é\"",
        "\"\\u00e9\"",
        "\"\\u007f\"",
        &format!("\"{}\"", "x".repeat(129)),
    ] {
        assert_eq!(id(value), None, "{value}");
    }
}

#[test]
fn what_is_not_json_is_placed() {
    for (body, at) in [
        ("upstream connect error", 0),
        ("\u{feff}{\"ErrorCode\":0}", 0),
        ("{\"ErrorCode\":0} x", 16),
        ("{\"ErrorCode\":0}{", 15),
        ("{\"ErrorCode\":0}\0", 15),
        ("{\"ErrorCode\":0}]", 15),
        ("{\"ErrorCode\":NaN}", 13),
        ("{\"ErrorCode\":01}", 14),
        ("{\"ErrorCode\":-}", 14),
        ("{\"ErrorCode\":+1}", 13),
        ("{\"ErrorCode\":.5}", 13),
        ("{\"ErrorCode\":1.}", 15),
        ("{\"ErrorCode\":1e}", 15),
        ("{\"ErrorCode\":1e+}", 16),
        ("{\"ErrorCode\":0x0}", 14),
        ("{\"ErrorCode\":nulL}", 16),
        ("{\"ErrorCode\":0,}", 15),
        ("{,\"ErrorCode\":0}", 1),
        ("{\"ErrorCode\" 0}", 13),
        ("{\"ErrorCode\"::0}", 13),
        ("{ErrorCode:0}", 1),
        ("{'ErrorCode':0}", 1),
        ("{\"ErrorCode\":0]", 14),
        ("{\"a\":[}", 6),
        ("{\"a\":[1,]}", 8),
        ("{\"a\":[,1]}", 6),
        ("{\"a\":[1 2]}", 8),
        ("{\"a\":\"\n\"}", 6),
        ("{\"a\":\"\u{1f}\"}", 6),
        ("{\"a\":\"\\x\"}", 7),
        ("{\"a\":\"\\u12g4\"}", 10),
        ("{\"a\":\u{a0}1}", 5),
        ("{\"a\":1}//", 7),
        ("true false", 5),
        ("{\"a\":<b>}", 5),
        ("{}<", 2),
        ("[]<", 2),
        (" [[]<", 4),
        ("0<", 1),
        ("{\"a\":fals\u{e9}}", 9),
    ] {
        assert_eq!(v4(body), Err(Fault::NotJson { at }), "{body:?}");
    }
    assert_eq!(v4(b"{\"a\":\"\xff\"}"), Err(Fault::NotJson { at: 6 }));
    assert_eq!(v4(b"{\"a\":\"\xed\xa0\x80\"}"), Err(Fault::NotJson { at: 6 }), "half a surrogate pair");
    assert_eq!(v4(b"{\"a\":\"\xc0\x80\"}"), Err(Fault::NotJson { at: 6 }), "overlong");
    assert_eq!(v4(b"{x\xff"), Err(Fault::NotJson { at: 1 }), "the first fault counts");
}

#[test]
fn what_came_is_told_without_quoting_it() {
    let words = |body: &str| v4(body).unwrap_err().to_string();
    assert_eq!(words(""), "the body is empty");
    assert_eq!(words(" \r\n"), "the body is empty");
    assert_eq!(words("\n<html><h1>502 Bad Gateway"), "the body is a page of HTML or XML instead of JSON");
    assert_eq!(words("secret"), "the body is not JSON: it goes wrong at byte 0");
    assert_eq!(words("{\"secret\""), "the body ends in the middle, after 9 bytes");
    for other in ["[]", "0", "-1.5e3", "\"secret\"", "null", " true "] {
        assert_eq!(words(other), "the body is JSON but no object", "{other}");
    }
    assert_eq!(words("{}"), "the body is a JSON object without ErrorCode");
    assert_eq!(
        words("{\"ErrorCode\":\"secret\"}"),
        "the body is a JSON object whose ErrorCode is no whole number"
    );
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| {
        let inner = levels - 1;
        format!("{{\"ErrorCode\":0,\"x\":{}{}}}", "[".repeat(inner), "]".repeat(inner))
    };
    assert!(v4(nested(128)).is_ok());
    assert_eq!(v4(nested(129)), Err(Fault::TooDeep { at: 19 + 127 }));
    assert_eq!(v4("[".repeat(1_000_000)), Err(Fault::TooDeep { at: 128 }));
    assert_eq!(v4("{\"a\":".repeat(1_000)), Err(Fault::TooDeep { at: 128 * 5 }));
    let mixed = "{\"a\":[".repeat(64) + &"]}".repeat(64);
    assert_eq!(v4(&mixed), Err(Fault::NoErrorCode { wanted: "ErrorCode" }));
    assert_eq!(v4(mixed.replacen("]}", "}]", 1)), Err(Fault::NotJson { at: 64 * 6 }));
}

#[test]
fn long_answers_are_read_to_their_end() {
    let text = "x\\n\u{1f600}é\\u00e9 ".repeat(64 * 1024 / 16);
    let members: Vec<String> = (0..800)
        .map(|n| format!(r#"{{"Member_Account":"user{n}","JoinTime":165{n},"ErrorCode":{n},"Role":null}}"#))
        .collect();
    for body in [
        format!(r#"{{"Text":"{text}","ErrorCode":5,"RequestId":"r"}}"#),
        format!(r#"{{"MemberList":[{}],"ErrorCode":5,"RequestId":"r"}}"#, members.join(",")),
        format!(r#"{{"ErrorCode":5,"RequestId":"r"{}}}"#, " \t\n\r".repeat(16 * 1024)),
        format!(r#"{{"{}":1,"ErrorCode":5,"RequestId":"r"}}"#, "n".repeat(64 * 1024)),
    ] {
        assert!(body.len() > 48 * 1024);
        assert_eq!(told(&v4(&body).unwrap()), (5, Some("r")));
        for size in [1, 7, 8, 1460, 16 * 1024] {
            let pieces: Vec<&[u8]> = body.as_bytes().chunks(size).collect();
            assert_eq!(told(&scan(Family::V4, &pieces).unwrap()), (5, Some("r")));
        }
        assert_eq!(v4(&body[..body.len() - 1]), Err(Fault::Truncated { after: body.len() - 1 }));
    }
}

/// serde_json's opinion. `IgnoredAny` follows the grammar and converts nothing, but looks at no UTF-8.
fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

fn agrees_with_serde_json(bytes: &[u8], cuts: &[prop::sample::Index]) -> Result<(), TestCaseError> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
    let got = scan(Family::V4, &pieces);
    prop_assert_eq!(&got, &scan(Family::V4, &[bytes]));
    let valid =
        !matches!(got, Err(Fault::Empty | Fault::Markup | Fault::NotJson { .. } | Fault::Truncated { .. }));
    prop_assert_eq!(valid, is_json(bytes), "{:?}", got);

    // `Value` keeps the last of two members too. It refuses numbers beyond f64 and lone surrogates, so it may know less.
    if let Ok(serde_json::Value::Object(members)) = serde_json::from_slice(bytes) {
        let code = match members.get("ErrorCode") {
            Some(serde_json::Value::Number(number)) => number.as_i64(),
            Some(serde_json::Value::String(text)) if !text.starts_with('+') => text.parse().ok(),
            _ => None,
        };
        // A number such as -0 is an integer to us and a float to serde_json.
        if code.is_some() || !members.contains_key("ErrorCode") {
            prop_assert_eq!(got.ok().map(|reading| reading.error_code.0), code);
        }
    }
    Ok(())
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let name = prop_oneof![
        Just("ErrorCode".to_string()),
        Just("RequestId".to_string()),
        "[a-zA-Z\\\\\"\u{1}é€\u{1f600}]{0,6}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "-?[0-9]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_serde_json_writes_is_read(value in any_json(), pretty: bool, cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert!(is_json(text.as_bytes()));
        agrees_with_serde_json(text.as_bytes(), &cuts)?;
    }

    #[test]
    fn damaged_json_is_judged_as_serde_json_judges_it(
        value in any_json(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, prop::sample::select(b"{}[]\":,\\u0123456789eE+-.tfnN \n\t\x00\x1f/<d\xff\xc3\xa9".to_vec())), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut bytes = serde_json::to_vec(&value).unwrap();
        for (place, kind, byte) in damage {
            match (kind, bytes.is_empty()) {
                (0, _) => bytes.insert(place.index(bytes.len() + 1), byte),
                (_, true) => {}
                (1, false) => { bytes.remove(place.index(bytes.len())); }
                (_, false) => { let place = place.index(bytes.len()); bytes[place] = byte; }
            }
        }
        agrees_with_serde_json(&bytes, &cuts)?;
    }

    #[test]
    fn soups_of_tokens_are_judged_as_serde_json_judges_them(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ":", ",", "\"", "\"ErrorCode\"", "\"a\"", "0", "1", "-", ".", "e", "E+", "true", "null",
            "fals", "e", " ", "\n", "\\", "\\u00", "4", "3", "\u{e9}", "\t",
        ]), 0..14),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        agrees_with_serde_json(tokens.concat().as_bytes(), &cuts)?;
    }
}
