//! The ErrorCodes that the sandbox gives.
//!
//! Sources: Error Codes of Chat, <https://trtc.io/document/34348>, and of Live, <https://trtc.io/document/60027>.

use crate::model::error_code::ErrorCode;

/// The URL could not be read. No page says what a repeated parameter or a bad `random` gives: we take this one.
pub(super) const BAD_URL: ErrorCode = ErrorCode(60002);
/// The body is no JSON object.
pub(super) const BAD_JSON: ErrorCode = ErrorCode(60003);
/// This API's rate is exceeded.
pub(super) const API_RATE: ErrorCode = ErrorCode(60007);
/// The path names no API.
pub(super) const NO_SUCH_API: ErrorCode = ErrorCode(60009);
/// The identifier is no administrator.
pub(super) const NOT_ADMINISTRATOR: ErrorCode = ErrorCode(60010);
/// The whole app's rate is exceeded.
pub(super) const APP_RATE: ErrorCode = ErrorCode(60011);
/// The sdkappid is missing.
pub(super) const NO_SDKAPPID: ErrorCode = ErrorCode(60012);
/// An account in the body is not a string.
pub(super) const ACCOUNT_NO_STRING: ErrorCode = ErrorCode(60015);
/// sdkappid, identifier or contenttype is wrong in the URL.
pub(super) const WRONG_PARAMETER: ErrorCode = ErrorCode(60025);
/// The UserSig has expired.
pub(super) const EXPIRED: ErrorCode = ErrorCode(70001);
/// The UserSig is empty.
pub(super) const EMPTY_USERSIG: ErrorCode = ErrorCode(70002);
/// The UserSig cannot be decoded.
pub(super) const ILLEGAL_USERSIG: ErrorCode = ErrorCode(70003);
/// The UserSig decodes but is none of version 2.0, so it fails the check.
pub(super) const FAILED_CHECK: ErrorCode = ErrorCode(70005);
/// The UserSig was made with another key.
pub(super) const OTHER_KEY: ErrorCode = ErrorCode(70009);
/// The identifier differs from the one that was signed.
pub(super) const OTHER_IDENTIFIER: ErrorCode = ErrorCode(70013);
/// The SDKAppID differs from the one that was signed.
pub(super) const OTHER_SDKAPPID: ErrorCode = ErrorCode(70014);
/// The SDKAppID does not exist here.
pub(super) const NO_SUCH_APP: ErrorCode = ErrorCode(70020);
/// The app holds as many accounts as it may.
pub(super) const TOO_MANY_ACCOUNTS: ErrorCode = ErrorCode(70398);
/// A parameter in an account call's body is bad.
pub(super) const BAD_ACCOUNT_PARAMETER: ErrorCode = ErrorCode(70402);
/// A parameter in a Live call's body is bad.
pub(super) const BAD_PARAMETER: ErrorCode = ErrorCode(100_002);
/// The room id is taken by somebody else.
pub(super) const ROOM_TAKEN: ErrorCode = ErrorCode(100_003);
/// There is no such room, or no more.
pub(super) const NO_SUCH_ROOM: ErrorCode = ErrorCode(100_004);
/// The room id is taken by the same owner.
pub(super) const ROOM_YOURS: ErrorCode = ErrorCode(100_010);
/// More than the plan allows.
pub(super) const OVER_PLAN: ErrorCode = ErrorCode(100_013);
/// A webhook is configured already.
pub(super) const WEBHOOK_EXISTS: ErrorCode = ErrorCode(100_300);
/// No webhook token is configured.
pub(super) const NO_WEBHOOK_TOKEN: ErrorCode = ErrorCode(100_302);
