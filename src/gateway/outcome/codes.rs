//! What kind of code an ErrorCode is.
//!
//! The families count on their own: 70001 is an expired UserSig in one and a bad callback address in the other. So
//! the family comes first, then the code. Codes that are not listed are the API's own business, and new ones come
//! without notice, so they all count as [`CallOutcome::TencentError`].
//!
//! Sources: Tencent's error code lists for Chat (<https://trtc.io/document/34348>) and Live
//! (<https://trtc.io/document/60027>), and the pages of single APIs.

use crate::model::api::Family;
use crate::model::call_outcome::CallOutcome::{self, Auth, Ok as Success, TencentError, Throttled};
use crate::model::error_code::ErrorCode;

/// What kind of code `code` is in an answer of `family`.
pub(super) fn outcome(family: Family, code: ErrorCode) -> CallOutcome {
    let table = match family {
        Family::V4 => V4,
        Family::V1 => V1,
    };
    match table.binary_search_by_key(&code.0, |&(code, _)| code) {
        Ok(row) => table[row].1,
        Err(_) => TencentError,
    }
}

/// In the order of codes, which the search relies on.
#[rustfmt::skip]
const V4: &[(i64, CallOutcome)] = &[
    (0,      Success),

    // The access layer.
    (60004,  Auth),      // the account check failed; in older lists a wrong account or signature
    (60005,  Auth),      // likewise
    (60006,  Auth),      // the SDKAppID is invalid
    (60007,  Throttled), // this API's rate is exceeded
    (60010,  Auth),      // the identifier is no administrator
    (60011,  Throttled), // the whole SDKAppID's rate is exceeded
    (60012,  Auth),      // the SDKAppID is missing
    (60016,  Auth),      // the SDKAppID is disabled
    (60018,  Throttled), // too frequent
    (60019,  Throttled), // too frequent
    (60021,  Auth),      // the source address is not allowed
    (60025,  Auth),      // SDKAppID, identifier, UserSig or contenttype is wrong in the URL
    (60026,  Auth),      // the domain is not that of the SDKAppID's region

    // Account and UserSig.
    (70001,  Auth),      // the UserSig has expired
    (70002,  Auth),      // it is empty
    (70003,  Auth),      // it is illegal
    (70005,  Auth),      // it failed the check
    (70009,  Auth),      // it was made with another app's key
    (70013,  Auth),      // the identifier is not the signed one
    (70014,  Auth),      // the SDKAppID is not the signed one
    (70016,  Auth),      // there is no key for this SDKAppID in this region
    (70020,  Auth),      // there is no such SDKAppID in this region
    (70050,  Auth),      // too many UserSigs failed the check
    (70051,  Auth),      // the account is blocked
    (70052,  Auth),      // the UserSig is no longer valid
    (70403,  Auth),      // this needs an administrator
    (72010,  Throttled), // one user's rate is exceeded

    // Chat's push.
    (90024,  Throttled), // pushed too frequently
    (90047,  Throttled), // the day's pushes are used up

    // Live and Conference.
    (100012, Throttled), // too frequent: one room twice a second, or a gift configuration more than once a second
    (100405, Throttled), // connections: too frequent
    (100413, Throttled), // battles: too frequent
];

/// The old Call family documents no code for either kind. Its 70001 is a callback address that does not start with
/// http.
const V1: &[(i64, CallOutcome)] = &[(0, Success)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_in_order() {
        for table in [V4, V1] {
            assert!(table.is_sorted_by(|(a, _), (b, _)| a < b));
            assert!(
                table.iter().all(|(_, class)| !matches!(class, CallOutcome::Refused | CallOutcome::Fault))
            );
        }
    }

    #[test]
    fn codes_are_classed_by_family_first() {
        let v4 = |code| outcome(Family::V4, ErrorCode(code));
        let v1 = |code| outcome(Family::V1, ErrorCode(code));
        assert_eq!((v4(0), v1(0)), (Success, Success));
        assert_eq!((v4(60007), v4(100_413)), (Throttled, Throttled));
        assert_eq!((v4(70001), v1(70001)), (Auth, TencentError));
        for code in [1, -1, 60008, 10006, 10023, 60028, 100_004, i64::MAX, i64::MIN] {
            assert_eq!((v4(code), v1(code)), (TencentError, TencentError), "{code}");
        }
    }
}
