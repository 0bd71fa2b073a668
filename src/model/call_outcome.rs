//! How a call ended, in one word.

/// How a call ended: the metric label and log field `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// Tencent did what was asked: ErrorCode 0.
    Ok,
    /// Tencent refused it for what it asked, or failed at it.
    TencentError,
    /// Tencent refused it for being one too many.
    Throttled,
    /// Tencent refused it for who calls: UserSig, administrator, app, region or source address.
    Auth,
    /// The gateway refused it on its own.
    Refused,
    /// No usable answer came.
    Fault,
}

impl CallOutcome {
    /// The value of the `outcome` label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::TencentError => "tencent_error",
            Self::Throttled => "throttled",
            Self::Auth => "auth",
            Self::Refused => "refused",
            Self::Fault => "fault",
        }
    }
}
