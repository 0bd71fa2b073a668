//! The cache and its renewal under paused time: what a call finds, and how often is signed.

mod first_use;
mod readiness;
mod refused;
mod reload;
mod renewal;
mod wall_time;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;

use super::*;
use crate::clock::ManualClock;
use crate::gateway::target::{App, Apps, Endpoints};
use crate::model::region::Region;
use crate::model::secret::SecretKey;
use crate::net::client::Roots;

const START: u64 = 1_700_000_000;
const HOUR: u64 = 3600;

/// Credentials, and everything around them that a test turns.
struct Bench {
    credentials: Arc<Credentials>,
    clock: Arc<ManualClock>,
    signer: Arc<TestSigner>,
    events: Arc<Recorded>,
    apps: Apps,
}

/// Signs as [`KeySigner`] does, counted; can be slow, stuck or broken.
#[derive(Debug, Default)]
struct TestSigner {
    begun: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    takes: Mutex<Duration>,
    broken: AtomicBool,
}

impl Signer for TestSigner {
    fn sign<'a>(&'a self, app: &'a App, key: &'a SecretKey, time: u64, expire: u64) -> Signing<'a> {
        struct AtOnce<'a>(&'a AtomicUsize);
        impl Drop for AtOnce<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        Box::pin(async move {
            self.begun.fetch_add(1, Ordering::SeqCst);
            let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(now, Ordering::SeqCst);
            let _at_once = AtOnce(&self.at_once);
            let takes = *self.takes.lock().unwrap();
            tokio::time::sleep(takes).await;
            if self.broken.load(Ordering::SeqCst) {
                return Err(CannotSign::Signer("broken".into()));
            }
            KeySigner.sign(app, key, time, expire).await
        })
    }
}

#[derive(Debug, Default)]
struct Recorded {
    signed: AtomicUsize,
    failed: AtomicUsize,
    expires: Mutex<Vec<(String, u64)>>,
}

impl CredentialEvents for Recorded {
    fn signed(&self, _app: &AppName, outcome: Result<(), &CannotSign>) {
        let counter = if outcome.is_ok() { &self.signed } else { &self.failed };
        counter.fetch_add(1, Ordering::SeqCst);
    }

    fn expires(&self, app: &AppName, unix_seconds: u64) {
        self.expires.lock().unwrap().push((app.to_string(), unix_seconds));
    }
}

fn app(number: u64) -> App {
    App {
        name: format!("app{number}").parse().unwrap(),
        sdkappid: (1_400_000_000 + number).try_into().unwrap(),
        identifier: "administrator".parse().unwrap(),
        keys: vec![SecretKey::new(&format!("FAKE{number}")).unwrap()],
        region: Some(Region::China),
        endpoints: Endpoints::of_region(Region::China),
        extra_roots: Roots::default(),
        index: Default::default(),
        counted: Default::default(),
    }
}

fn apps(all: impl IntoIterator<Item = App>) -> Apps {
    let mut apps = Apps::default();
    for app in all {
        apps.add(app, false).unwrap();
    }
    apps
}

impl Bench {
    fn new(count: u64) -> Self {
        Self::with(Settings::default(), apps((1..=count).map(app)))
    }

    fn with(settings: Settings, apps: Apps) -> Self {
        let clock = Arc::new(ManualClock::at_unix(START));
        let (signer, events) = (Arc::<TestSigner>::default(), Arc::<Recorded>::default());
        // Numbers that are spread evenly, without chance.
        let drawn = AtomicUsize::new(0);
        let jitter = move || (drawn.fetch_add(1, Ordering::SeqCst) as f64 * 0.618_034).fract();
        let parts = Parts {
            signer: signer.clone(),
            clock: clock.clone(),
            events: events.clone(),
            jitter: Arc::new(jitter),
        };
        let credentials = Arc::new(Credentials::new(settings, &apps, parts));
        Self { credentials, clock, signer, events, apps }
    }

    fn app(&self, number: u64) -> Arc<App> {
        Arc::clone(self.apps.named(&format!("app{number}")).unwrap())
    }

    async fn usersig(&self) -> Result<Arc<UserSig>, CannotSign> {
        self.credentials.usersig(&self.app(1)).await
    }

    fn current(&self) -> Option<Arc<UserSig>> {
        self.credentials.current(&self.app(1))
    }

    fn begun(&self) -> usize {
        self.signer.begun.load(Ordering::SeqCst)
    }

    fn set_broken(&self, broken: bool) {
        self.signer.broken.store(broken, Ordering::SeqCst);
    }

    fn set_takes(&self, takes: Duration) {
        *self.signer.takes.lock().unwrap() = takes;
    }

    fn start_renewal(&self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(Arc::clone(&self.credentials).renew())
    }

    /// Lets wall clock and timers run on together, a second at a time.
    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Everything else that can run does, and nothing waits for time.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
