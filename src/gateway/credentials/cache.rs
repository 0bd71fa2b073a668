//! The slots, one for each app: reading without a lock, signing one at a time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use moka::future::Cache;
use tokio::sync::Notify;

use super::lifetime::{Lifetime, Verdict};
use super::lookout::{Lookout, LookoutKeeper};
use super::signer::Signer;
use super::usersig::{self, UserSig};
use super::{CannotSign, CredentialEvents, Settings};
use crate::clock::WallClock;
use crate::gateway::target::{App, Apps, PerApp};
use crate::model::secret::SecretKey;

/// The UserSigs of all apps. Shared by all workers.
pub struct Credentials {
    /// What a reload replaces, in one move.
    pub(super) live: ArcSwap<Live>,
    /// Signings under way, by the generation that they follow: whoever asks for the same one waits for it. The UserSig
    /// itself goes into its slot and is kept nowhere else, so that it is wiped once it is replaced.
    signing: Cache<u64, ()>,
    /// The last generation given out, over all slots.
    generations: AtomicU64,
    /// Wakes [`Credentials::renew`] after a reload.
    pub(super) replaced: Notify,
    lookout: Arc<Lookout>,
    pub(super) parts: Parts,
}

/// What comes in from outside.
#[derive(Clone)]
pub struct Parts {
    /// Makes the UserSigs.
    pub signer: Arc<dyn Signer>,
    /// Judges them.
    pub clock: Arc<dyn WallClock>,
    /// Is told of them.
    pub events: Arc<dyn CredentialEvents>,
    /// Gives numbers from 0.0 up to but not including 1.0, which spread renewals over time.
    pub jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
}

/// Settings and the apps that they belong to.
pub(super) struct Live {
    pub(super) settings: Settings,
    pub(super) slots: PerApp<Arc<Slot>>,
}

/// One app's place.
pub(super) struct Slot {
    pub(super) app: Arc<App>,
    /// Where in the span of renewals this app stands: 0.0 last, towards 1.0 first.
    pub(super) phase: f64,
    /// Whether every key was seen to sign, and since then no signing failed while it was needed.
    proven: AtomicBool,
    state: ArcSwap<State>,
}

/// What a slot holds.
pub(super) struct State {
    /// Changes with each signing, and is no other slot's. Dropping the UserSig leaves it, so that whoever signs anew
    /// finds a signing that is under way already.
    pub(super) generation: u64,
    pub(super) usersig: Option<Arc<UserSig>>,
    /// Which of the app's keys to sign with: the newest, until Tencent refuses it and takes another one.
    key: usize,
}

/// The place of the newest key among an app's.
const NEWEST: usize = 0;

/// The most signings that may have just ended and not be forgotten yet.
const JUST_SIGNED: u64 = 1024;

// === impl Credentials ===

impl Credentials {
    /// Slots for all of `apps`, still empty.
    #[must_use]
    pub fn new(settings: Settings, apps: &Apps, parts: Parts) -> Self {
        let credentials = Self {
            live: ArcSwap::from_pointee(Live { settings, slots: PerApp::default() }),
            signing: Cache::new(JUST_SIGNED),
            generations: AtomicU64::new(0),
            replaced: Notify::new(),
            lookout: Arc::new(Lookout::new()),
            parts,
        };
        credentials.replace(settings, apps);
        credentials
    }

    /// Takes new settings and apps. An app that signs as before keeps its UserSig.
    pub fn replace(&self, settings: Settings, apps: &Apps) {
        let before = self.live.load();
        let slots = PerApp::of(apps, |app| match before.slots.get(app.sdkappid) {
            Some(slot) if slot.signs_like(app) => Arc::clone(slot),
            _ => Arc::new(Slot::new(Arc::clone(app), (self.parts.jitter)(), self.next_generation())),
        });
        self.live.store(Arc::new(Live { settings, slots }));
        self.replaced.notify_one();
    }

    /// The app's UserSig, if a usable one is there. Takes no lock and waits for nothing.
    #[must_use]
    pub fn current(&self, app: &App) -> Option<Arc<UserSig>> {
        self.live.load().slot(app)?.state.load().usable(self.parts.clock.unix_seconds())
    }

    /// The app's UserSig; signs if no usable one is there. All who wait for the same app share one signing.
    ///
    /// # Errors
    /// When no usable one is there and signing failed. The call must not be sent.
    pub async fn usersig(&self, app: &App) -> Result<Arc<UserSig>, CannotSign> {
        match self.current(app) {
            Some(usersig) => Ok(usersig),
            // Rare, and boxed so that the future of a call is small.
            None => Box::pin(self.signed(app)).await,
        }
    }

    async fn signed(&self, app: &App) -> Result<Arc<UserSig>, CannotSign> {
        let Some(slot) = self.live.load().slot(app).map(Arc::clone) else {
            // A reload took the app away, or its account. A call that began before ends as it began.
            return self.sign(app, NEWEST).await.map(Arc::new);
        };
        let mut state = slot.state();
        if let Some(usersig) = state.usable(self.parts.clock.unix_seconds()) {
            return Ok(usersig);
        }
        loop {
            self.sign_after(&slot, state.generation).await?;
            state = slot.state();
            // Another call may have used and dropped it before this one came to run.
            if let Some(usersig) = &state.usersig {
                return Ok(Arc::clone(usersig));
            }
        }
    }

    /// Drops this UserSig, which Tencent refused, so that the next call signs anew. One that has taken its place stays.
    pub fn invalidate(&self, app: &App, refused: &UserSig) {
        if let Some(slot) = self.live.load().slot(app) {
            slot.state.rcu(|state| match &state.usersig {
                Some(held) if std::ptr::eq(&**held, refused) => Arc::new(State { usersig: None, ..**state }),
                _ => Arc::clone(state),
            });
        }
    }

    /// Drops this UserSig, whose key Tencent refused, so that the next call signs with the app's next key; after the last
    /// one comes the first. One that has taken its place stays, and so does its key.
    pub fn refuse_key(&self, app: &App, refused: &UserSig) {
        if let Some(slot) = self.live.load().slot(app) {
            slot.state.rcu(|state| match &state.usersig {
                // A new generation, so that nobody waits for a signing that is under way with the refused key.
                Some(held) if std::ptr::eq(&**held, refused) => Arc::new(State {
                    generation: self.next_generation(),
                    usersig: None,
                    key: (state.key + 1) % slot.app.keys.len().max(1),
                }),
                _ => Arc::clone(state),
            });
        }
    }

    /// Has it looked whether the app has other keys by now than `app` names, all of which Tencent refused. Comes back when
    /// they are in use, and says whether there are any.
    ///
    /// Cancel-safe.
    pub async fn look_for_key(&self, app: &App) -> bool {
        self.lookout.look().await;
        self.live.load().slot(app).is_some_and(|slot| slot.app.keys != app.keys)
    }

    /// Whoever holds this is asked to look for newer keys, and tells when it has.
    #[must_use]
    pub fn keep_lookout(&self) -> LookoutKeeper {
        Arc::clone(&self.lookout).keep()
    }

    /// Whether every key of the app can sign: for readiness. Tries it out once, and again after a signing failed with no
    /// usable UserSig left.
    ///
    /// # Errors
    /// When the app has no key, or a key does not give a UserSig that verifies.
    pub async fn can_sign(&self, app: &Arc<App>) -> Result<(), CannotSign> {
        let slot = self.live.load().slot(app).map(Arc::clone);
        if slot.as_ref().is_some_and(|slot| slot.proven.load(Ordering::Relaxed)) {
            return Ok(());
        }
        self.try_keys(app).await?;
        if let Some(slot) = slot {
            slot.proven.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Signs for a slot, one at a time, unless that was done since its generation was `seen`.
    pub(super) async fn sign_after(&self, slot: &Slot, seen: u64) -> Result<(), CannotSign> {
        let signed = self.signing.try_get_with(seen, self.sign_into(slot, seen)).await;
        // Who comes later sees by the slot that it was done.
        self.signing.invalidate(&seen).await;
        signed.map_err(|error| CannotSign::clone(&error))
    }

    async fn sign_into(&self, slot: &Slot, seen: u64) -> Result<(), CannotSign> {
        // Somebody else may have signed between the caller's look at the slot and now.
        let state = slot.state();
        if state.generation != seen {
            return Ok(());
        }
        let key = state.key;
        match self.sign(&slot.app, key).await {
            Ok(usersig) => {
                let signed = Arc::new(State {
                    generation: self.next_generation(),
                    usersig: Some(Arc::new(usersig)),
                    key,
                });
                // Unless the key was refused meanwhile: whoever waits looks again and signs with the next one.
                slot.state.rcu(|state| Arc::clone(if state.generation == seen { &signed } else { state }));
                Ok(())
            }
            Err(error) => {
                if slot.state().usable(self.parts.clock.unix_seconds()).is_none() {
                    slot.proven.store(false, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }

    async fn sign(&self, app: &App, key: usize) -> Result<UserSig, CannotSign> {
        let signed = match app.keys.get(key) {
            Some(key) => self.sign_with(app, key).await,
            None => Err(CannotSign::NoKey),
        };
        self.parts.events.signed(&app.name, signed.as_ref().map(|_| ()));
        if let Ok(usersig) = &signed {
            self.parts.events.expires(&app.name, usersig.expires_at());
        }
        signed
    }

    async fn sign_with(&self, app: &App, key: &SecretKey) -> Result<UserSig, CannotSign> {
        let now = self.parts.clock.unix_seconds();
        let expire = self.live.load().settings.ttl.as_secs().max(1);
        self.parts.signer.sign(app, key, now, expire).await
    }

    async fn try_keys(&self, app: &App) -> Result<(), CannotSign> {
        if app.keys.is_empty() {
            return Err(CannotSign::NoKey);
        }
        for (number, key) in (1..).zip(&app.keys) {
            let usersig = self.sign_with(app, key).await?;
            let good = usersig::decode(usersig.expose()).is_ok_and(|claims| {
                claims.sdkappid == app.sdkappid && claims.identifier == app.identifier && claims.verify(key)
            });
            if !good {
                return Err(CannotSign::Unverified(number));
            }
        }
        Ok(())
    }

    fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let live = self.live.load();
        f.debug_struct("Credentials")
            .field("settings", &live.settings)
            .field("apps", &live.slots.len())
            .finish_non_exhaustive()
    }
}

// === impl Live ===

impl Live {
    /// The slot of this app, if it signs in the same name: a call may hold an app from before a reload.
    fn slot(&self, app: &App) -> Option<&Arc<Slot>> {
        self.slots.find(app, |own, asked| own.identifier == asked.identifier)
    }
}

// === impl Slot ===

impl Slot {
    fn new(app: Arc<App>, phase: f64, generation: u64) -> Self {
        let state = ArcSwap::from_pointee(State { generation, usersig: None, key: NEWEST });
        Self { app, phase, proven: AtomicBool::new(false), state }
    }

    pub(super) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    fn signs_like(&self, app: &App) -> bool {
        let own = &self.app;
        own.name == app.name && own.identifier == app.identifier && own.keys == app.keys
    }
}

// === impl State ===

impl State {
    fn usable(&self, now: u64) -> Option<Arc<UserSig>> {
        self.usersig.as_ref().filter(|usersig| is_usable(usersig.lifetime(), now)).map(Arc::clone)
    }
}

/// Whether a call that starts now may use it: it must still count when the call arrives.
pub(super) fn is_usable(lifetime: Lifetime, now: u64) -> bool {
    let arrival = now.saturating_add(margin(lifetime.seconds()));
    lifetime.verdict(now) == Verdict::Valid && lifetime.verdict(arrival) != Verdict::Expired
}

/// How long before its end a UserSig is not used any more, in seconds: a minute, or a tenth of a short life.
pub(super) fn margin(life: u64) -> u64 {
    (life / 10).min(60)
}
