//! What to do about an answer.

use std::fmt;

use crate::gateway::admission::Throttle;

/// What to do about an answer, by its ErrorCode. Whoever acts on it knows what this call may bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Give it to the caller. It did what was asked, or it is the caller's own affair.
    HandOver,
    /// The UserSig was refused and nothing done: sign anew and repeat, once.
    Resign(Then),
    /// The key was refused and nothing done: sign with the app's next key and repeat; after the last one, trip.
    NextKey(Diagnosis),
    /// Every call of this app will be refused until somebody acts. Nothing was done.
    Trip(Diagnosis),
    /// Repeat after a pause, where a repeat is safe.
    Retry {
        /// Whether the call may have been executed all the same.
        outcome_unknown: bool,
    },
    /// One too many, and nothing done: any call may be repeated later.
    BackOff(Throttle),
    /// Too many UserSigs of this app were refused, so that even a good one is now: a minute of quiet, then one call.
    QuietSignatures,
}

/// What to do when an anew signed UserSig is refused as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// As [`Verdict::Retry`] does, with nothing done.
    Retry,
    /// As [`Verdict::NextKey`] does.
    NextKey(Diagnosis),
    /// As [`Verdict::Trip`] does.
    Trip(Diagnosis),
}

/// Why an app's calls are all refused: each with the setting to change. It displays as words for whoever runs the
/// gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Diagnosis {
    /// UserSigs made with the app's keys fail the check.
    WrongKey,
    /// UserSigs count as expired as soon as they are made.
    WrongClock,
    /// The host that is called serves another region.
    WrongRegion,
    /// There is no such SDKAppID.
    WrongSdkAppId,
    /// SDKAppID, identifier, UserSig or contenttype is wrong in the URL.
    WrongParameters,
    /// The identifier or SDKAppID that was signed is not the one that was sent.
    Mismatch,
    /// The identifier is no administrator.
    NotAdministrator,
    /// The administrator's account is blocked.
    AccountBlocked,
    /// The gateway's own address is not allowed.
    SourceAddress,
    /// There is no plan, or it has expired or is in arrears.
    PlanExpired,
    /// The app, or its service, is disabled.
    Disabled,
    /// The trial edition's calls of 24 hours are used up.
    TrialUsedUp,
    /// Too many UserSigs failed the check.
    TooManySignatures,
}

impl Diagnosis {
    /// The value of the `reason` label.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::WrongKey => "wrong_key",
            Self::WrongClock => "wrong_clock",
            Self::WrongRegion => "wrong_region",
            Self::WrongSdkAppId => "wrong_sdkappid",
            Self::WrongParameters => "wrong_parameters",
            Self::Mismatch => "mismatch",
            Self::NotAdministrator => "not_administrator",
            Self::AccountBlocked => "account_blocked",
            Self::SourceAddress => "source_address",
            Self::PlanExpired => "plan_expired",
            Self::Disabled => "disabled",
            Self::TrialUsedUp => "trial_used_up",
            Self::TooManySignatures => "too_many_signatures",
        }
    }

    /// What is wrong and which setting is to be changed, in words for whoever runs the gateway.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::WrongKey => {
                "no secret key of the app is the right one: put the key that Tencent's console shows for its \
                 sdkappid into secret_key_file (or secret_key_env)"
            }
            Self::WrongClock => {
                "UserSigs count as expired as soon as they are made: set this machine's clock right, and see that \
                 usersig.ttl is not too short"
            }
            Self::WrongRegion => {
                "the host that is called does not serve this sdkappid: set region to the one in which the app was \
                 created (or correct endpoints), and check sdkappid"
            }
            Self::WrongSdkAppId => "Tencent knows no such app: correct sdkappid",
            Self::WrongParameters => "Tencent takes one of sdkappid and identifier for wrong: check both",
            Self::Mismatch => {
                "the UserSig was made for another identifier or sdkappid than the call names: this is a fault of the \
                 gateway's own, please report it"
            }
            Self::NotAdministrator => {
                "the account is no administrator of the app: set identifier to an administrator account, or make \
                 this one an administrator in Tencent's console"
            }
            Self::AccountBlocked => {
                "the administrator's account is blocked: have Tencent unblock it, or set identifier to another \
                 administrator account"
            }
            Self::SourceAddress => {
                "Tencent does not let this gateway's address in: have Tencent's support allow it, or send calls from \
                 an allowed address by upstream.egress_proxy"
            }
            Self::PlanExpired => {
                "the app has no paid plan, or it has expired or is in arrears: renew it in Tencent's console, which \
                 takes hold about 5 minutes later"
            }
            Self::Disabled => "the app is disabled: enable it in Tencent's console, or set another sdkappid",
            Self::TrialUsedUp => {
                "the trial edition's calls of 24 hours are used up: wait until they return, or buy a plan for this \
                 sdkappid"
            }
            Self::TooManySignatures => {
                "too many UserSigs were refused, so that Tencent looks at none for a minute: check secret_key_file \
                 (or secret_key_env), and whether something else signs for this sdkappid with a wrong key"
            }
        }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}
