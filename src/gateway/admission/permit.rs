//! The right to send one call, and what becomes of its tokens.

use std::sync::Arc;

use tokio::time::Instant;

use super::book::Book;
use super::hold::Hold;
use super::tokens::InTransit;
use crate::gateway::caller::Source;
use crate::gateway::target::ApiKey;
use crate::model::ceiling::Ceiling;

/// The right to send one call. Only [`admit`](super::Admission::admit) makes one, and sending consumes it, so nothing
/// leaves that was not admitted, and every repeat is admitted again.
///
/// Dropped before the first byte of its call was written, it gives its tokens back at once. Dropped later, they are
/// reckoned in transit, since the call may have arrived.
#[derive(Debug)]
pub struct Permit {
    /// `None`: no ceiling is kept.
    taken: Option<(Arc<Book>, Taken)>,
    stage: Stage,
    /// When the call had it.
    at: Instant,
    /// How the API's ceiling stood when the answer came.
    standing: Standing,
}

/// Which tokens were taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) granted: Instant,
    /// How often ceilings had been lowered or had begun by then.
    pub(super) changes: u64,
    /// Which API's call it is, and of which source.
    pub(super) api: ApiKey,
    pub(super) source: Source,
    /// What it has of each bucket: of the API's ceiling, the app's and the source's own, as far as there are any.
    pub(super) of_api: Option<Hold>,
    pub(super) of_app: Option<Hold>,
    pub(super) of_source: Option<Hold>,
}

/// The same tokens once they are in transit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TakenInTransit {
    pub(super) api: Option<InTransit>,
    pub(super) app: Option<InTransit>,
    pub(super) source: Option<InTransit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing written yet.
    Held,
    /// At least one byte was written, perhaps not the last.
    Writing,
    /// The last byte was handed to the kernel.
    Sent(TakenInTransit),
    /// The answer's first byte came.
    Answered,
}

/// How one period of an API's ceiling stands: for the caller's `ratelimit` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// How many calls may arrive in a period, and how long that is.
    pub ceiling: Ceiling,
    /// How many more calls could leave now.
    pub remaining: u32,
}

/// How every period of an API's ceiling stands. Most have one or two, for which nothing is allocated.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) first: [Option<Remaining>; 2],
    pub(super) others: Vec<Remaining>,
}

impl Permit {
    /// These tokens were taken for it.
    pub(super) fn new(book: Arc<Book>, taken: Taken) -> Self {
        let at = taken.granted;
        Self { taken: Some((book, taken)), stage: Stage::Held, at, standing: Standing::default() }
    }

    /// No ceiling is kept.
    pub(super) fn without_ceiling(now: Instant) -> Self {
        Self { taken: None, stage: Stage::Held, at: now, standing: Standing::default() }
    }

    /// The call had it only then, since it had to wait.
    pub(super) fn had_at(mut self, now: Instant) -> Self {
        self.at = now;
        self
    }

    /// When the call had it, which is just now to whoever waited for it: it saves another look at the clock.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.at
    }

    /// Whether the turn still stands, to be asked right before the first byte is written. It does not where ceilings were
    /// lowered or began since then, while the connection was made, and more calls are on their way than may be by now:
    /// then its tokens are given back, and the call needs another turn.
    #[must_use]
    pub fn confirm(&mut self) -> bool {
        let stands = self.taken.as_mut().is_none_or(|(book, taken)| book.confirm(taken));
        if !stands {
            self.taken = None;
        }
        stands
    }

    /// Whether the call may leave now that was confirmed a moment ago: a token that is on loan must be used in time,
    /// wherever the process was stopped meanwhile. To be asked with nothing between the answer and the write.
    #[must_use]
    pub fn may_leave(&self) -> bool {
        self.taken.as_ref().is_none_or(|(book, taken)| book.still_stands(taken))
    }

    /// The first byte is about to be written: from here on the call may arrive.
    pub fn writing(&mut self) {
        if self.stage == Stage::Held {
            self.stage = Stage::Writing;
        }
    }

    /// The last byte was handed to the kernel.
    pub fn sent(&mut self) {
        if let Stage::Held | Stage::Writing = self.stage {
            let in_transit = self.taken.as_mut().map(|(book, taken)| book.sent(taken));
            self.stage = Stage::Sent(in_transit.unwrap_or_default());
        }
    }

    /// The answer's first byte came; it is `now`, or was a moment ago.
    pub fn answered(&mut self, now: Instant) {
        // An answer to a request that was not read to its end counts as sent now.
        self.sent();
        if let (Stage::Sent(in_transit), Some((book, taken))) = (self.stage, &mut self.taken) {
            self.standing = book.answered(taken, in_transit, now);
            self.stage = Stage::Answered;
        }
    }

    /// Whether a byte of the call was written, so that it may have been executed.
    #[must_use]
    pub fn may_have_arrived(&self) -> bool {
        self.stage != Stage::Held
    }

    /// How the API's ceiling stood when the answer came, a line for each of its periods; none without a ceiling. Can be had
    /// once.
    #[must_use]
    pub fn take_remaining(&mut self) -> Vec<Remaining> {
        let Standing { first, others } = std::mem::take(&mut self.standing);
        first.into_iter().flatten().chain(others).collect()
    }
}

// === impl Taken ===

impl Taken {
    /// Until when what is on loan may be used; `None`: nothing is.
    pub(super) fn until(&self) -> Option<Instant> {
        let holds = [&self.of_api, &self.of_app, &self.of_source].into_iter().flatten();
        holds.filter_map(Hold::until).min()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        match self.stage {
            Stage::Held => {
                if let Some((book, taken)) = &mut self.taken {
                    book.give_back(taken);
                }
            }
            Stage::Writing => self.sent(),
            Stage::Sent(_) | Stage::Answered => {}
        }
    }
}
