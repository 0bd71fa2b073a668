//! What each ErrorCode means, and what to do about it.
//!
//! The families count on their own: 70001 is an expired UserSig in one and a bad callback address in the other. So
//! the family comes first, then the code. Codes that are not listed are the API's own business, and new ones come
//! without notice, so they all count as [`CallOutcome::TencentError`] and are handed over.
//!
//! Sources: Tencent's error code lists for Chat (<https://trtc.io/document/34348>) and Live
//! (<https://trtc.io/document/60027>), and the pages of single APIs. `error-codes.md`, beside this file, has them as
//! they are documented; a test holds the table against it.

use super::verdict::Diagnosis::{
    AccountBlocked, Disabled, Mismatch, NotAdministrator, PlanExpired, SourceAddress, TooManySignatures,
    TrialUsedUp, WrongClock, WrongKey, WrongParameters, WrongRegion, WrongSdkAppId,
};
use super::verdict::Verdict::{BackOff, HandOver, NextKey, QuietSignatures, Resign, Retry, Trip};
use super::verdict::{Then, Verdict};
use crate::gateway::admission::Throttle;
use crate::model::api::Family;
use crate::model::call_outcome::CallOutcome::{self, Auth, Ok as Success, TencentError, Throttled};
use crate::model::error_code::ErrorCode;

/// What kind of code `code` is in an answer of `family`, and what to do about it.
#[inline]
pub(super) fn class(family: Family, code: ErrorCode) -> (CallOutcome, Verdict) {
    if code.is_ok() {
        return (Success, HandOver);
    }
    row(family, code).map_or((TencentError, HandOver), |row| (row.class, row.verdict))
}

/// What a documented code means, in a few words.
#[must_use]
pub fn meaning(family: Family, code: ErrorCode) -> Option<&'static str> {
    row(family, code).map(|row| row.meaning)
}

/// Whether an answer with this code shows that Tencent let the app in: that UserSig, region, plan and whatever else
/// concerns the app as a whole are in order, even if this call failed.
#[must_use]
pub fn is_let_in(family: Family, code: ErrorCode) -> bool {
    // What the access layer hands over, such as a bad URL, may have been found before it looked at who calls.
    code.is_ok() || (class(family, code).1 == HandOver && !ACCESS_LAYER.contains(&code.0))
}

/// What whoever runs the gateway, or calls through it, can do about an answer with this code.
#[must_use]
pub fn remedy(family: Family, code: ErrorCode) -> &'static str {
    match class(family, code) {
        (_, NextKey(diagnosis) | Trip(diagnosis)) => diagnosis.words(),
        (_, Resign(Then::NextKey(diagnosis) | Then::Trip(diagnosis))) => diagnosis.words(),
        (_, QuietSignatures) => TooManySignatures.words(),
        (_, Resign(Then::Retry)) => {
            "a new UserSig was refused as well, which mostly passes: if it stays, ask `check --online`, then Tencent's \
             support"
        }
        (_, Retry { .. }) => {
            "Tencent's own trouble: what bears a repeat was repeated; if it stays, tell Tencent's support the RequestId"
        }
        (_, BackOff(Throttle::Api)) => {
            "this API's ceiling is lowered for a while: find who else calls with this sdkappid, or lower ceiling.api"
        }
        (_, BackOff(Throttle::App)) => {
            "the app's ceiling is lowered for a while: find who else calls with this sdkappid, or set \
             ceiling.app_per_second"
        }
        (_, BackOff(Throttle::Pause)) => "the API was given a short rest: if it stays, lower ceiling.api",
        (_, BackOff(Throttle::Second)) => "make such a call once a second at most",
        (Throttled, HandOver) => {
            "the caller calls for one user, room or push too often, and should slow down there"
        }
        (Auth, HandOver) => "see app.sdkappid and app.identifier in the configuration",
        (_, HandOver) => {
            "the caller's own affair: Tencent's page of the API says what the call should look like"
        }
    }
}

fn row(family: Family, code: ErrorCode) -> Option<&'static Row> {
    let table = match family {
        Family::V4 => V4,
        Family::V1 => V1,
    };
    let after = table.partition_point(|row| row.first <= code.0);
    table[..after].last().filter(|row| code.0 <= row.last)
}

const ACCESS_LAYER: std::ops::Range<i64> = 60_000..61_000;

/// One code, or several that are alike and follow each other.
struct Row {
    first: i64,
    last: i64,
    class: CallOutcome,
    verdict: Verdict,
    meaning: &'static str,
}

const fn one(code: i64, class: CallOutcome, verdict: Verdict, meaning: &'static str) -> Row {
    to(code, code, class, verdict, meaning)
}

const fn to(first: i64, last: i64, class: CallOutcome, verdict: Verdict, meaning: &'static str) -> Row {
    Row { first, last, class, verdict, meaning }
}

/// Refused or failed before anything was done.
const RETRY: Verdict = Retry { outcome_unknown: false };

/// Failed somewhere on the way.
const RETRY_UNKNOWN: Verdict = Retry { outcome_unknown: true };

/// In the order of codes, which the search relies on.
#[rustfmt::skip]
const V4: &[Row] = &[
    // One group's rates. They say nothing about the API or the app, so they slow nothing.
    one(10006,          TencentError, HandOver, "one group's calls are too frequent"),
    one(10023,          TencentError, HandOver, "one group's messages are too frequent"),

    // Chat's own business, as far as it fails inside.
    to (30006,  30007,  TencentError, RETRY_UNKNOWN, "internal error or timeout"),
    one(30008,          TencentError, RETRY,         "two writes at once"),
    one(40006,          TencentError, RETRY_UNKNOWN, "internal error or timeout"),
    to (50004,  50005,  TencentError, RETRY_UNKNOWN, "internal error or timeout"),

    // The access layer.
    one(60002,          TencentError, HandOver,                              "the URL or HTTP could not be parsed"),
    one(60003,          TencentError, HandOver,                              "the body is not valid JSON"),
    to (60004,  60005,  Auth,         Resign(Then::Retry),                   "the account check failed"),
    one(60006,          Auth,         Trip(WrongSdkAppId),                   "the SDKAppID is invalid"),
    one(60007,          Throttled,    BackOff(Throttle::Api),                "this API's rate is exceeded"),
    one(60008,          TencentError, RETRY_UNKNOWN,                         "the service timed out, or the request is malformed"),
    one(60009,          TencentError, HandOver,                              "there is no such path"),
    one(60010,          Auth,         Trip(NotAdministrator),                "the identifier is no administrator"),
    one(60011,          Throttled,    BackOff(Throttle::App),                "the whole SDKAppID's rate is exceeded"),
    one(60012,          Auth,         HandOver,                              "the SDKAppID is missing"),
    one(60013,          TencentError, RETRY_UNKNOWN,                         "the back end's answer was not JSON"),
    one(60014,          TencentError, RETRY,                                 "the account check timed out"),
    one(60015,          TencentError, HandOver,                              "an account in the body is not a string"),
    one(60016,          Auth,         Trip(Disabled),                        "the SDKAppID is disabled"),
    one(60017,          TencentError, HandOver,                              "this request is disabled"),
    to (60018,  60019,  Throttled,    BackOff(Throttle::Pause),              "too frequent"),
    one(60020,          TencentError, Trip(PlanExpired),                     "the plan is missing, expired or in arrears"),
    one(60021,          Auth,         Trip(SourceAddress),                   "the source address is not allowed"),
    one(60025,          Auth,         Resign(Then::Trip(WrongParameters)),   "SDKAppID, identifier, UserSig or contenttype is wrong in the URL"),
    one(60026,          Auth,         Trip(WrongRegion),                     "the domain is not that of the SDKAppID's region"),
    one(60027,          TencentError, HandOver,                              "this API is not for this type of product"),
    one(60028,          TencentError, Trip(TrialUsedUp),                     "the trial edition's calls of 24 hours are used up"),

    // Account and UserSig.
    one(70001,          Auth,         Resign(Then::Trip(WrongClock)),        "the UserSig has expired"),
    one(70002,          Auth,         Resign(Then::NextKey(WrongKey)),       "the UserSig is empty"),
    one(70003,          Auth,         Resign(Then::NextKey(WrongKey)),       "the UserSig is illegal"),
    one(70005,          Auth,         Resign(Then::NextKey(WrongKey)),       "the UserSig failed the check"),
    one(70009,          Auth,         NextKey(WrongKey),                     "the UserSig was made with another app's key"),
    one(70013,          Auth,         Trip(Mismatch),                        "the identifier is not the signed one"),
    one(70014,          Auth,         Trip(Mismatch),                        "the SDKAppID is not the signed one"),
    one(70016,          Auth,         Trip(WrongRegion),                     "there is no key for this SDKAppID here"),
    one(70020,          Auth,         Trip(WrongRegion),                     "there is no such SDKAppID here"),
    one(70050,          Auth,         QuietSignatures,                       "too many UserSigs failed the check"),
    one(70051,          Auth,         Trip(AccountBlocked),                  "the account is blocked"),
    one(70052,          Auth,         Resign(Then::Trip(WrongClock)),        "the UserSig is no longer valid"),
    one(70107,          TencentError, HandOver,                              "the account is not imported"),
    one(70169,          TencentError, RETRY_UNKNOWN,                         "an internal timeout"),
    one(70202,          TencentError, RETRY_UNKNOWN,                         "an internal timeout"),
    to (70398,  70399,  TencentError, HandOver,                              "a limit on accounts"),
    one(70402,          TencentError, HandOver,                              "a bad parameter"),
    one(70403,          Auth,         Trip(NotAdministrator),                "this needs an administrator"),
    one(70500,          TencentError, RETRY_UNKNOWN,                         "an internal error"),
    one(71000,          TencentError, HandOver,                              "a limit of the plan"),
    one(72000,          TencentError, HandOver,                              "a limit of the plan"),
    one(72001,          TencentError, HandOver,                              "the feature is not enabled"),
    one(72002,          TencentError, HandOver,                              "a limit of the plan"),
    // One user's rate: it slows no other call, so it is the caller who backs off.
    one(72010,          Throttled,    HandOver,                              "one user's rate is exceeded"),
    to (72011,  72012,  TencentError, HandOver,                              "the feature is not enabled"),

    // The access layer again: messages.
    one(80001,          TencentError, HandOver,                              "the text was blocked by moderation"),
    one(80002,          TencentError, HandOver,                              "the message is over 12 KB"),
    one(80003,          TencentError, HandOver,                              "the app's own before-send webhook failed; the message was not sent"),
    one(80004,          TencentError, HandOver,                              "the image was blocked by moderation"),
    one(80005,          TencentError, Trip(Disabled),                        "the service is deactivated"),

    // Chat's push. Its quotas are counted in a second and in a day, whatever else is sent.
    one(90024,          Throttled,    HandOver,                              "pushed too frequently"),
    one(90047,          Throttled,    HandOver,                              "the day's pushes are used up"),
    one(91000,          TencentError, RETRY_UNKNOWN,                         "an internal error"),

    // Live and Conference.
    one(100_001,          TencentError, RETRY_UNKNOWN,             "an internal error"),
    one(100_002,          TencentError, HandOver,                  "a bad parameter"),
    one(100_003,          TencentError, HandOver,                  "the room id is taken"),
    one(100_004,          TencentError, HandOver,                  "there is no such room: after a repeated destroy_room it worked"),
    one(100_005,          TencentError, HandOver,                  "not a member"),
    one(100_006,          TencentError, HandOver,                  "no permission"),
    one(100_007,          TencentError, HandOver,                  "no paid plan for this"),
    to (100_008, 100_009, TencentError, HandOver,                  "the room is full, or has too many tags"),
    one(100_010,          TencentError, HandOver,                  "the room id is your own already: after a repeated create_room it worked"),
    one(100_011,          TencentError, HandOver,                  "the room id is taken by Chat"),
    one(100_012,          Throttled,    BackOff(Throttle::Second), "one room twice a second, or a gift configuration more than once a second"),
    one(100_013,          TencentError, HandOver,                  "over a limit of the plan"),
    to (100_015, 100_019, TencentError, HandOver,                  "room type, ban, mute or password"),
    one(100_020,          TencentError, HandOver,                  "too many administrators of the room"),
    one(100_102,          TencentError, HandOver,                  "signals conflict"),
    to (100_200, 100_299, TencentError, HandOver,                  "the state of a seat"),
    one(100_300,          TencentError, HandOver,                  "a webhook is configured already"),
    one(100_302,          TencentError, HandOver,                  "no webhook token is configured"),
    to (100_400, 100_404, TencentError, HandOver,                  "the state of a connection"),
    // One room's rates: as for 72010.
    one(100_405,          Throttled,    HandOver,                  "connections are too frequent"),
    to (100_406, 100_412, TencentError, HandOver,                  "the state of a connection or battle"),
    one(100_413,          Throttled,    HandOver,                  "battles are too frequent"),
    to (100_414, 100_499, TencentError, HandOver,                  "the state of a battle"),
    to (100_500, 100_599, TencentError, HandOver,                  "a limit on metadata"),
    one(102_001,          TencentError, HandOver,                  "no paid plan for this"),
    to (102_100, 102_200, TencentError, HandOver,                  "the app's own BeforeSendGift webhook refused"),
];

/// The old Call family documents no code that asks for anything of the gateway.
#[rustfmt::skip]
const V1: &[Row] = &[
    one(50001, TencentError, HandOver, "no plan"),
    one(70001, TencentError, HandOver, "the callback address does not start with http:// or https://"),
];

#[cfg(test)]
mod tests;
