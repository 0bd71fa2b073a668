//! The right to send one call, and what becomes of its token.

use std::sync::Arc;

use super::bucket::{Bucket, Standing};
use super::tokens::InTransit;

/// The right to send one call. Only [`admit`](super::Admission::admit) makes one, and sending consumes it, so nothing
/// leaves that was not admitted, and every repeat is admitted again.
///
/// Dropped before the first byte of its call was written, it gives its token back at once. Dropped later, the token is
/// reckoned in transit, since the call may have arrived.
#[derive(Debug)]
pub struct Permit {
    /// `None`: no ceiling is kept.
    bucket: Option<Arc<Bucket>>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing written yet.
    Held,
    /// At least one byte was written, perhaps not the last.
    Writing,
    /// The last byte was handed to the kernel.
    Sent(InTransit),
    /// The answer's first byte came.
    Answered,
}

/// How a ceiling stood when a permit was asked for it: for the caller's `ratelimit` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// How many calls may arrive in a period.
    pub limit: u32,
    /// The period in whole seconds, rounded up.
    pub period_seconds: u64,
    /// How many more calls could leave now.
    pub remaining: u32,
}

impl Permit {
    /// A token was taken from `bucket` for it.
    pub(super) fn new(bucket: Arc<Bucket>) -> Self {
        Self { bucket: Some(bucket), stage: Stage::Held }
    }

    /// No ceiling is kept.
    pub(super) fn without_ceiling() -> Self {
        Self { bucket: None, stage: Stage::Held }
    }

    /// The first byte is about to be written: from here on the call may arrive.
    pub fn writing(&mut self) {
        if self.stage == Stage::Held {
            self.stage = Stage::Writing;
        }
    }

    /// The last byte was handed to the kernel.
    pub fn sent(&mut self) {
        if let Stage::Held | Stage::Writing = self.stage
            && let Some(bucket) = &self.bucket
        {
            self.stage = Stage::Sent(bucket.with_tokens(super::tokens::Tokens::sent));
        }
    }

    /// The answer's first byte came.
    pub fn answered(&mut self) {
        // An answer to a request that was not read to its end counts as sent now.
        self.sent();
        if let (Stage::Sent(token), Some(bucket)) = (self.stage, &self.bucket) {
            bucket.with_tokens(|tokens, now| tokens.answered(token, now));
            self.stage = Stage::Answered;
        }
    }

    /// Whether a byte of the call was written, so that it may have been executed.
    #[must_use]
    pub fn may_have_arrived(&self) -> bool {
        self.stage != Stage::Held
    }

    /// How the ceiling stands; `None` without one.
    #[must_use]
    pub fn remaining(&self) -> Option<Remaining> {
        self.bucket.as_ref().map(|bucket| Remaining::from(bucket.standing()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(bucket) = &self.bucket else { return };
        match self.stage {
            Stage::Held => bucket.with_tokens(|tokens, _| tokens.give_back()),
            Stage::Writing => self.sent(),
            Stage::Sent(_) | Stage::Answered => {}
        }
    }
}

impl From<Standing> for Remaining {
    fn from(standing: Standing) -> Self {
        Self {
            limit: standing.limit,
            period_seconds: standing.period.as_secs() + u64::from(standing.period.subsec_nanos() > 0),
            remaining: standing.limit.saturating_sub(standing.used),
        }
    }
}
