//! What an answer says. [`read`] gives an [`Outcome`].
//!
//! Tencent answers with HTTP status 200 whatever happened; success is an `ErrorCode` of 0 inside the body. So what
//! comes in is a body, as a whole or piece by piece as it arrives, and what is decided is whether it can be relayed at
//! all, which code it carries, and what kind of code that is. A body that is not JSON, is cut off or has no code
//! comes from something in between, or from a server in trouble: it says nothing about the call, and no caller
//! should have to parse it. It becomes a [`Fault`], with words for the gateway's own answer that say what came
//! without quoting it. A code becomes a [`Verdict`]: what to do about it, by one table that reads like Tencent's own.

mod answer;
mod codes;
mod json;
mod mask;
mod scanner;
mod swar;
mod token;
mod utf8;
mod verdict;

pub use answer::{Ended, HELD_BACK, Long, Rules, TakenIn, Unusable, Whole, take_in};
pub use codes::{is_let_in, meaning, remedy};
pub use mask::Masker;
pub use scanner::Scanner;
pub use verdict::{Diagnosis, Then, Verdict};

use crate::model::api::Family;
use crate::model::call_outcome::CallOutcome;
use crate::model::error_code::ErrorCode;

/// What came of a call that was sent and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Tencent says how the call went.
    Answered {
        /// What it says.
        reading: Reading,
        /// How the call ended: never [`CallOutcome::Refused`] or [`CallOutcome::Fault`].
        call: CallOutcome,
        /// What to do about it.
        verdict: Verdict,
    },
    /// What came is no answer. Nobody knows whether the call was executed.
    Fault(Fault),
}

/// What an answer says about its call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// How the call went.
    pub error_code: ErrorCode,
    /// The id to quote to Tencent's support, where the answer has one.
    pub request_id: Option<TencentRequestId>,
}

/// The id that Tencent gave a call: 1 to 128 visible ASCII characters, of no documented form. Others are passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TencentRequestId(Box<str>);

impl TencentRequestId {
    /// The most characters.
    pub const MOST: usize = 128;

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn new(text: &str) -> Option<Self> {
        let fits = (1..=Self::MOST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.into()))
    }
}

/// Why what came is no answer. The words say what came and quote nothing of it. Places are counted in bytes from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing, or nothing but white space.
    #[error("the body is empty")]
    Empty,
    /// HTML or XML, as proxies and overloaded servers send it.
    #[error("the body is a page of HTML or XML instead of JSON")]
    Markup,
    /// This byte cannot stand where it does, or is no UTF-8.
    #[error("the body is not JSON: it goes wrong at byte {at}")]
    NotJson {
        /// The byte.
        at: usize,
    },
    /// It ended before it was complete.
    #[error("the body ends in the middle, after {after} bytes")]
    Truncated {
        /// How many bytes came.
        after: usize,
    },
    /// More than 128 objects and arrays inside one another.
    #[error("the body is JSON of more than 128 levels, at byte {at}")]
    TooDeep {
        /// The byte that opens one too many.
        at: usize,
    },
    /// JSON, but of another kind.
    #[error("the body is JSON but no object")]
    NotAnObject,
    /// An object without the member that tells how the call went.
    #[error("the body is a JSON object without {wanted}")]
    NoErrorCode {
        /// The member's name in this family.
        wanted: &'static str,
    },
    /// The member is no whole number of 64 bits.
    #[error("the body is a JSON object whose {wanted} is no whole number")]
    BadErrorCode {
        /// The member's name in this family.
        wanted: &'static str,
    },
}

/// Reads an answer that has come in whole.
#[must_use]
pub fn read(family: Family, body: &[u8]) -> Outcome {
    let mut scanner = Scanner::new(family);
    scanner.feed(body);
    Outcome::of(family, scanner.finish())
}

impl Outcome {
    /// The outcome of a call whose answer a [`Scanner`] of the same family has read.
    #[must_use]
    pub fn of(family: Family, reading: Result<Reading, Fault>) -> Self {
        match reading {
            Ok(reading) => {
                let (call, verdict) = codes::class(family, reading.error_code);
                Self::Answered { reading, call, verdict }
            }
            Err(fault) => Self::Fault(fault),
        }
    }

    /// How the call ended, in one word.
    #[must_use]
    pub fn call(&self) -> CallOutcome {
        match self {
            Self::Answered { call, .. } => *call,
            Self::Fault(_) => CallOutcome::Fault,
        }
    }
}

#[cfg(test)]
mod tests;
