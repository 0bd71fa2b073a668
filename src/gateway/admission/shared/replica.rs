//! This process as one of several replicas: it keeps in touch with the store, and speaks with it for its books.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::calibration::Reading;
use super::contact::{Contact, Learnt, Open, StoreMode};
use super::protocol::{Lend, Lent, Loan, MEET_EVERY, Met, Store, StoreError, Terms, Wish};
use crate::model::app::SdkAppId;
use crate::telemetry::events::{StoreCommand, StoreModeChanged};
use crate::telemetry::metrics::Metrics;

/// This process, as the store knows it.
#[derive(Debug)]
pub struct Replica {
    contact: Arc<Contact>,
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    told: Mutex<Told>,
}

/// What was logged last.
#[derive(Debug)]
struct Told {
    mode: StoreMode,
    since: Instant,
    error: Option<StoreError>,
}

/// How a replica stands, for whoever looks from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreReading {
    /// In a word.
    pub mode: StoreMode,
    /// For how long.
    pub for_so_long: Duration,
    /// How many replicas were there lately, this one too.
    pub replicas: usize,
    /// Why the store was lost, if it is.
    pub error: Option<StoreError>,
}

/// What came of speaking with the store.
#[derive(Debug)]
pub(in crate::gateway::admission) struct Spoken {
    pub(in crate::gateway::admission) loans: Vec<Loan>,
    /// When the store first heard of the app.
    pub(in crate::gateway::admission) born: Arc<str>,
    pub(in crate::gateway::admission) sent: Instant,
}

// === impl Replica ===

impl Replica {
    /// A replica that has not met anybody yet. `name` tells its host and address, `incarnation` this process.
    #[must_use]
    pub fn new(
        terms: Terms,
        store: Arc<dyn Store>,
        (name, incarnation): (&str, &str),
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let now = Instant::now();
        let contact = Arc::new(Contact::new(terms, name.into(), incarnation.into(), now));
        let told = Mutex::new(Told { mode: StoreMode::Joining, since: now, error: None });
        metrics.store_mode(StoreMode::Joining.place());
        Arc::new(Self { contact, store, metrics, told })
    }

    /// Keeps in touch with the store, for ever.
    pub async fn keep_in_touch(self: Arc<Self>) {
        let mut pause = Duration::ZERO;
        loop {
            self.tell_mode();
            if self.contact.has_left() {
                return;
            }
            if self.contact.is_in_touch() {
                tokio::select! {
                    () = tokio::time::sleep_until(self.contact.next_meet()) => {}
                    () = self.contact.wake.notified() => {}
                }
                let is_due = Instant::now() >= self.contact.next_meet();
                if !is_due || !self.contact.is_in_touch() || self.contact.has_left() {
                    continue;
                }
            } else {
                tokio::time::sleep(pause.mul_f64(0.75 + 0.5 * fastrand::f64())).await;
                pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                match self.store.probe().await {
                    Ok(probe) => self.contact.probed(&probe),
                    Err(error) => {
                        self.failed(error);
                        continue;
                    }
                }
            }
            if self.meet(false).await {
                pause = Duration::ZERO;
            }
        }
    }

    /// Says goodbye: nobody keeps a part for this process.
    pub async fn leave(&self) {
        if self.contact.is_in_touch() {
            self.contact.leave();
            self.meet(true).await;
        }
    }

    /// Calls are reckoned to need at most so long to arrive, from now on.
    pub(in crate::gateway::admission) fn set_transit_max(&self, transit_max: Duration) {
        self.contact.set_transit_max(transit_max);
    }

    /// How it stands.
    #[must_use]
    pub fn reading(&self) -> StoreReading {
        self.tell_mode();
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let replicas = self.contact.members();
        StoreReading {
            mode: told.mode,
            for_so_long: told.since.elapsed(),
            replicas,
            error: told.error.clone(),
        }
    }

    pub(in crate::gateway::admission) fn contact(&self) -> &Arc<Contact> {
        &self.contact
    }

    /// With what a command begins that leaves now; `None`: nothing may be said now.
    pub(in crate::gateway::admission) fn open(&self) -> Option<Open> {
        self.contact.open(Instant::now())
    }

    /// Reports and borrows. `None`: nothing came of it.
    pub(in crate::gateway::admission) async fn speak(
        &self,
        open: Open,
        app: SdkAppId,
        wishes: Vec<Wish>,
    ) -> Option<Spoken> {
        let count = wishes.len();
        let Open { opening, epoch, .. } = open;
        let ask = Lend { opening, epoch, nonce: nonce(), app, ceilings: wishes };
        let sent = Instant::now();
        let answer = self.store.lend(&ask).await;
        let received = Instant::now();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.failed(error);
                return None;
            }
        };
        let reading = |store| Reading { sent, received, store };
        match answer {
            Lent::Late { now } => {
                self.count("late");
                self.contact.read(reading(now));
                None
            }
            Lent::OtherEpoch { now } => {
                self.count("ok");
                self.contact.read(reading(now));
                self.contact.is_other_epoch(received);
                None
            }
            Lent::Loans { now, born, loans, .. } => {
                self.count("ok");
                // What was lent by a clock that was set is not used.
                let stands = self.contact.read(reading(now)) != Learnt::Stepped && loans.len() == count;
                stands.then_some(Spoken { loans, born, sent })
            }
        }
    }

    async fn meet(&self, leaves: bool) -> bool {
        let sent = Instant::now();
        let Some(ask) = self.contact.meet(nonce(), leaves, sent) else { return false };
        match self.store.meet(&ask).await {
            Ok(Met::Member(membership)) => {
                self.count("ok");
                let reading = Reading { sent, received: Instant::now(), store: membership.now };
                self.contact.met(reading, &ask, membership);
                true
            }
            Ok(Met::Late { now }) => {
                self.count("late");
                self.contact.read(Reading { sent, received: Instant::now(), store: now });
                self.lost_track(StoreError::Refused("a command came too late".into()));
                false
            }
            Ok(Met::Taken { .. }) => {
                self.count("ok");
                self.contact.taken(Instant::now());
                false
            }
            Err(error) => {
                self.failed(error);
                false
            }
        }
    }

    fn failed(&self, error: StoreError) {
        self.count(match error {
            StoreError::Timeout(_) => "timeout",
            StoreError::Unreachable(_) | StoreError::HungUp => "unreachable",
            StoreError::Refused(_) | StoreError::Denied(_) => "refused",
        });
        self.lost_track(error);
    }

    fn lost_track(&self, error: StoreError) {
        self.store.hang_up();
        if matches!(error, StoreError::Denied(_)) {
            self.contact.denied();
        }
        // Whatever else was under way fails with the connection, which tells nothing.
        if error != StoreError::HungUp {
            self.told.lock().unwrap_or_else(PoisonError::into_inner).error = Some(error);
        }
        self.contact.lost(Instant::now());
    }

    fn count(&self, result: &'static str) {
        StoreCommand { result }.emit(&self.metrics);
    }

    fn tell_mode(&self) {
        let now = Instant::now();
        let mode = self.contact.standing().mode(now);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if mode == StoreMode::Shared {
            told.error = None;
        }
        if mode != told.mode {
            (told.mode, told.since) = (mode, now);
            let error = told.error.as_ref();
            let (mode, place, what) = (mode.label(), mode.place(), mode.told());
            let troubles = told.mode.troubles();
            StoreModeChanged { mode, place, what, error, troubles }.emit(&self.metrics);
        }
    }
}

// === impl StoreMode ===

impl StoreMode {
    /// Where ceilings are kept in it, as metrics have it.
    fn place(self) -> &'static str {
        if self == Self::Shared { "shared" } else { "degraded" }
    }

    /// In one word.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Joining => "joining",
            Self::Lost => "lost",
            Self::Degraded => "degraded",
            Self::Stopped => "stopped",
        }
    }

    fn told(self) -> &'static str {
        match self {
            Self::Shared => "ceilings are shared with the other replicas",
            Self::Joining => "ceilings will be shared in a moment",
            Self::Lost => "the store is lost: calls wait until the part of this replica may be spent",
            Self::Degraded => "the store is lost: this replica spends its part of every ceiling",
            Self::Stopped => {
                "the store is lost: no part of the ceilings is kept for this replica, so calls wait"
            }
        }
    }

    /// Whether somebody should look.
    fn troubles(self) -> bool {
        matches!(self, Self::Lost | Self::Degraded | Self::Stopped)
    }
}

fn nonce() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// Whoever cannot reach the store tries again so soon, and ever later.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = MEET_EVERY;
