//! What a replica and the store say to each other. Times are microseconds of the store's clock unless they are
//! [`Duration`]s.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::app::SdkAppId;
use crate::model::ceiling::Ceiling;

/// What all replicas of one ceiling agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Until when a command must be answered.
    pub timeout: Duration,
    /// The most replicas.
    pub max_replicas: u32,
    /// For how long the part of a replica is kept that went missing.
    pub absent_for: Duration,
    /// The longest that a call is reckoned to need to arrive.
    pub transit_max: Duration,
}

/// The place where tokens are kept that several replicas use.
pub trait Store: Debug + Send + Sync {
    /// Connects anew, and learns which run of the server answers and what time it is there.
    fn probe(&self) -> Answer<'_, Probe>;
    /// Says that a replica is there, or leaves.
    fn meet<'a>(&'a self, ask: &'a Meet) -> Answer<'a, Met>;
    /// Reports of tokens, and borrows some.
    fn lend<'a>(&'a self, ask: &'a Lend) -> Answer<'a, Lent>;
    /// Whatever is still under way is given up.
    fn hang_up(&self);
}

/// What a store answers, later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why the store did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The connection was given up for the sake of another command.
    #[error("the connection was given up")]
    HungUp,
    /// Not in time.
    #[error("no answer within {}", crate::model::duration::format(*.0))]
    Timeout(Duration),
    /// No connection, or a broken one.
    #[error("{0}")]
    Unreachable(Arc<str>),
    /// It answered what it should not.
    #[error("{0}")]
    Refused(Arc<str>),
    /// It is there, for others perhaps, and does not let us in.
    #[error("{0}")]
    Denied(Arc<str>),
}

/// A first look at a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Which run of the server it is.
    pub run: Arc<str>,
    /// What time it is there.
    pub now: i64,
    /// Before it was asked for the time.
    pub sent: Instant,
    /// After it told.
    pub received: Instant,
}

/// With what every command begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Which run of the server is spoken to.
    pub run: Arc<str>,
    /// What time it is there, at most, when the command leaves.
    pub expected: i64,
    /// Who speaks.
    pub name: Arc<str>,
    /// What was agreed on.
    pub terms: Terms,
}

/// A replica that another one knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its host and address.
    pub name: Arc<str>,
    /// Which of its processes.
    pub incarnation: Arc<str>,
    /// Its slot, or -1.
    pub slot: i64,
    /// Whether it was there lately.
    pub is_there: bool,
}

/// A replica says that it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meet {
    /// With what it begins.
    pub opening: Opening,
    /// The id of a new epoch, if one has to begin.
    pub nonce: String,
    /// Which of the host's processes.
    pub incarnation: Arc<str>,
    /// The epoch that it knows, or nothing.
    pub epoch: Arc<str>,
    /// By how much it saw the store's clock step since it was last told.
    pub step: i64,
    /// By how much it stepped, all in all, if this process was there before.
    pub shift: Option<i64>,
    /// Its slot, or -1.
    pub slot: i64,
    /// Whether this incarnation was a member before.
    pub is_member: bool,
    /// Whether it spent its part since it was last there.
    pub spent: bool,
    /// Whether it goes.
    pub leaves: bool,
    /// Which version of the members it knows.
    pub version: i64,
    /// Members that the store may have forgotten.
    pub known: Vec<Member>,
}

/// What came of meeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Met {
    /// The command came so late that nothing was done.
    Late {
        /// What time it was there.
        now: i64,
    },
    /// Another process has the name.
    Taken {
        /// What time it was there.
        now: i64,
    },
    /// It is a member.
    Member(Membership),
}

/// What a member learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// What time it was there.
    pub now: i64,
    /// The epoch.
    pub epoch: Arc<str>,
    /// For how much longer nothing is lent.
    pub quiet: i64,
    /// Its slot, or -1.
    pub slot: i64,
    /// By how much the store's clock stepped, all in all.
    pub shift: i64,
    /// The version of the members.
    pub version: i64,
    /// Everybody, if the version is another one than was known.
    pub members: Vec<Member>,
}

/// What a replica reports of an app's ceilings, and what it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lend {
    /// With what it begins.
    pub opening: Opening,
    /// The epoch that it knows.
    pub epoch: Arc<str>,
    /// The id of the app's time in the store, if that has to begin.
    pub nonce: String,
    /// Which app.
    pub app: SdkAppId,
    /// Of each ceiling.
    pub ceilings: Vec<Wish>,
}

/// What is reported of one ceiling, and what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Which ceiling.
    pub id: Arc<str>,
    /// How many tokens are wanted.
    pub want: u32,
    /// What those who wait weigh.
    pub weight: u32,
    /// All of its periods.
    pub periods: Vec<Ceiling>,
    /// Whether all that was sent without the store stands in the reports.
    pub registers: bool,
    /// What became of tokens.
    pub reports: Vec<Report>,
}

/// What became of some tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// What.
    pub kind: Kind,
    /// By which loan they are known.
    pub base: i64,
    /// How many.
    pub count: u32,
    /// How long before the command left, in microseconds.
    pub age: i64,
}

/// What became of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing was sent with it.
    Unused,
    /// Its call was answered.
    Answered,
    /// Its call's last byte left later than the loan allows for.
    Late,
    /// A call that the store does not know of was sent.
    Unknown,
}

/// What came of a [`Lend`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lent {
    /// The command came so late that nothing was done.
    Late {
        /// What time it was there.
        now: i64,
    },
    /// Another epoch has begun; nothing was done.
    OtherEpoch {
        /// What time it was there.
        now: i64,
    },
    /// The loans.
    Loans {
        /// What time it was there.
        now: i64,
        /// The id of the app's time in the store.
        born: Arc<str>,
        /// For how much longer nothing is lent.
        quiet: i64,
        /// One for each wish.
        loans: Vec<Loan>,
    },
}

/// What was lent of one ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loan {
    /// How many tokens.
    pub granted: u32,
    /// By what they are known.
    pub base: i64,
    /// When to come back, in microseconds, if more were wanted; else 0.
    pub back: i64,
}

// === impl Terms ===

impl Terms {
    /// From the beginning of an epoch until every token that was lent before is surely home.
    #[must_use]
    pub fn quiet(&self) -> Duration {
        self.away(SECOND)
    }

    /// The longest that a token of a period can be away from its store.
    #[must_use]
    pub fn away(&self, period: Duration) -> Duration {
        LEASE + self.transit_max + period + GUARD + period / FINE
    }

    /// How much later than expected a command may be done.
    #[must_use]
    pub fn late(&self) -> Duration {
        self.timeout * 2
    }
}

// === impl Kind ===

impl Kind {
    pub(super) fn letter(self) -> &'static str {
        match self {
            Self::Unused => "u",
            Self::Answered => "a",
            Self::Late => "l",
            Self::Unknown => "r",
        }
    }
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX / 4)
}

/// For how long a token is lent.
pub(super) const LEASE: Duration = Duration::from_millis(200);
/// Steps of the store's clock that are no longer than this need not be seen.
pub(super) const GUARD: Duration = Duration::from_millis(5);
/// In how many slices of a period tokens come home.
pub(super) const FINE: u32 = 128;
/// Who was not there for so long is missing.
pub(super) const MISSING_AFTER: Duration = Duration::from_millis(500);
/// How often a replica says that it is there.
pub(super) const MEET_EVERY: Duration = Duration::from_millis(200);
/// For so long after its beginning a call may leave in a slot.
pub(super) const SLOT_OPEN: Duration = Duration::from_millis(300);
/// What a slot has beyond its period and transit_max: its open time, and as much for clocks that differ.
pub(super) const SLOT_MORE: Duration = Duration::from_millis(600);
pub(super) const SECOND: Duration = Duration::from_secs(1);
