//! The documented shapes of an answer, one for each family of APIs.
//!
//! What happened comes in as an [`Answer`]; out comes the JSON object that this API's pages describe.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::model::api::{ApiName, Family};
use crate::model::error_code::ErrorCode;

/// What an API answers, before it is put in shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) code: ErrorCode,
    pub(super) info: Cow<'static, str>,
    pub(super) payload: Map<String, Value>,
}

impl Answer {
    /// Plain success.
    pub(super) fn ok() -> Self {
        Self { code: ErrorCode::OK, info: Cow::Borrowed(""), payload: Map::new() }
    }

    /// Success with something to say. Anything but an object counts as nothing.
    pub(super) fn with(payload: Value) -> Self {
        let payload = if let Value::Object(payload) = payload { payload } else { Map::new() };
        Self { payload, ..Self::ok() }
    }
}

/// Why a call is not carried out: a documented code and a text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) info: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, info: impl Into<Cow<'static, str>>) -> Self {
        Self { code, info: info.into() }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code, info: refusal.info, payload: Map::new() }
    }
}

/// The form in which an API's pages show its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Classic Chat: no RequestId, the payload at top level.
    Chat,
    /// Chat's relations: Chat's, with `ErrorDisplay` and `ResultItem`.
    Relation,
    /// Live, Conference and Call: a RequestId, the payload under `Response`.
    Live,
    /// The reads of Live's gifts: Live's, with the payload at top level in `GiftInfo`.
    Gift,
    /// The old Call family: camelCase, the payload in `data`, which is an empty string when there is none.
    OldCall,
}

impl Shape {
    /// The shape of one API's answers.
    pub(super) fn of(api: &ApiName) -> Self {
        if api.family() == Family::V1 {
            return Self::OldCall;
        }
        match (service(api), api.command()) {
            (_, "get_gift" | "get_gift_language") => Self::Gift,
            ("sns" | "follow", _) => Self::Relation,
            (service, _) if ["live_", "room_", "call_"].iter().any(|p| service.starts_with(p)) => Self::Live,
            _ => Self::Chat,
        }
    }

    /// The name of the member that holds the code.
    pub(super) fn code_member(self) -> &'static str {
        if self == Self::OldCall { "errorCode" } else { "ErrorCode" }
    }

    /// The answer as its JSON object.
    pub(super) fn dress(self, answer: Answer, request_id: &str) -> Map<String, Value> {
        let Answer { code, info, mut payload } = answer;
        if self == Self::OldCall {
            let data = if payload.is_empty() { json!("") } else { Value::Object(payload) };
            return object([
                ("errorCode", json!(code.0)),
                ("errorMessage", json!(info)),
                ("requestId", json!(request_id)),
                ("data", data),
            ]);
        }
        let mut dressed = object([
            ("ActionStatus", json!(if code.is_ok() { "OK" } else { "FAIL" })),
            ("ErrorCode", json!(code.0)),
            ("ErrorInfo", json!(info)),
        ]);
        match self {
            Self::Chat => {}
            Self::Relation => {
                dressed.insert("ErrorDisplay".into(), json!(""));
                dressed.insert("ResultItem".into(), json!([]));
            }
            Self::Live | Self::Gift | Self::OldCall => {
                dressed.insert("RequestId".into(), json!(request_id));
            }
        }
        match self {
            Self::Gift if code.is_ok() => {
                dressed.insert("GiftInfo".into(), Value::Object(payload));
            }
            Self::Live if !payload.is_empty() => {
                dressed.insert("Response".into(), Value::Object(payload));
            }
            _ => dressed.append(&mut payload),
        }
        dressed
    }
}

/// The segment before the command.
fn service(api: &ApiName) -> &str {
    api.as_str().rsplit('/').nth(1).unwrap_or_default()
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(api: &str) -> Shape {
        Shape::of(&api.parse().unwrap())
    }

    #[test]
    fn an_api_has_the_shape_of_its_family() {
        for (api, expected) in [
            ("openim/sendmsg", Shape::Chat),
            ("im_open_login_svc/account_check", Shape::Chat),
            ("ConfigSvc/GetIPList", Shape::Chat),
            ("sns/friend_add", Shape::Relation),
            ("follow/follow_add", Shape::Relation),
            ("live_config/get_callback", Shape::Live),
            ("room_engine_http_mic/get_seat_list", Shape::Live),
            ("call_config/get_callback", Shape::Live),
            ("live_engine_http_srv/get_gift", Shape::Gift),
            ("live_engine_http_srv/get_gift_language", Shape::Gift),
            ("live_engine_http_srv/get_gift_count", Shape::Live),
            ("v1/callback/set", Shape::OldCall),
        ] {
            assert_eq!(shape(api), expected, "{api}");
        }
    }

    #[test]
    fn each_shape_is_the_documented_one() {
        let answer = || Answer::with(json!({ "Url": "u" }));
        let dressed = |shape: Shape, answer| Value::Object(shape.dress(answer, "Id-1"));
        let no = || Answer::from(Refusal::new(ErrorCode(60009), "no"));
        assert_eq!(
            dressed(Shape::Chat, answer()),
            json!({"ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": "", "Url": "u"})
        );
        assert_eq!(
            dressed(Shape::Chat, no()),
            json!({"ActionStatus": "FAIL", "ErrorCode": 60009, "ErrorInfo": "no"})
        );
        assert_eq!(
            dressed(Shape::Relation, Answer::ok()),
            json!({"ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": "", "ErrorDisplay": "", "ResultItem": []})
        );
        assert_eq!(
            dressed(Shape::Live, answer()),
            json!({"ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": "", "RequestId": "Id-1", "Response": {"Url": "u"}})
        );
        assert_eq!(
            dressed(Shape::Live, no()),
            json!({"ActionStatus": "FAIL", "ErrorCode": 60009, "ErrorInfo": "no", "RequestId": "Id-1"})
        );
        assert_eq!(
            dressed(Shape::Gift, Answer::ok()),
            json!({"ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": "", "RequestId": "Id-1", "GiftInfo": {}})
        );
        assert_eq!(
            dressed(Shape::OldCall, answer()),
            json!({"errorCode": 0, "errorMessage": "", "requestId": "Id-1", "data": {"Url": "u"}})
        );
        assert_eq!(
            dressed(Shape::OldCall, no()),
            json!({"errorCode": 60009, "errorMessage": "no", "requestId": "Id-1", "data": ""})
        );
    }
}
