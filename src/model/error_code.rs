//! Tencent's ErrorCode, and the gateway's own codes in the same shape.

use std::fmt;

use http::StatusCode;

/// The number that tells how a call went: 0 is success. Tencent's codes reach 102200; 9900000 and up are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(pub i64);

impl ErrorCode {
    /// Success.
    pub const OK: Self = Self(0);

    /// The gateway's own refusals: 9900000 and the HTTP status. No Tencent code lies there.
    #[must_use]
    pub fn of_gateway(status: StatusCode) -> Self {
        Self(9_900_000 + i64::from(status.as_u16()))
    }

    /// Whether it is a code of the gateway's own, which Tencent never gives.
    #[must_use]
    pub fn is_of_gateway(self) -> bool {
        (9_900_000..9_901_000).contains(&self.0)
    }

    /// Whether the call succeeded.
    #[must_use]
    pub fn is_ok(self) -> bool {
        self == Self::OK
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
