//! The cache and its renewal under paused time: what a call finds, and how often is signed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;

use super::*;
use crate::clock::ManualClock;
use crate::gateway::target::{App, Apps, Endpoints};
use crate::model::region::Region;
use crate::model::secret::SecretKey;

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
        extra_roots: Vec::new(),
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

// === First use ===

#[tokio::test(start_paused = true)]
async fn a_thousand_first_calls_share_one_signing() {
    let bench = Bench::new(1);
    bench.set_takes(Duration::from_secs(1));
    let mut calls = JoinSet::new();
    for _ in 0..1000 {
        let (credentials, app) = (Arc::clone(&bench.credentials), bench.app(1));
        calls.spawn(async move { credentials.usersig(&app).await.unwrap() });
    }
    let all = calls.join_all().await;
    assert_eq!(bench.begun(), 1);
    assert!(all.iter().all(|usersig| Arc::ptr_eq(usersig, &all[0])));
    assert!(Arc::ptr_eq(&bench.usersig().await.unwrap(), &all[0]));
    assert_eq!(bench.begun(), 1);
    assert_eq!(*bench.events.expires.lock().unwrap(), [("app1".into(), START + 24 * HOUR)]);
}

#[test]
fn workers_share_one_signing_too() {
    let bench = Bench::new(1);
    let barrier = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let worker = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                barrier.wait();
                worker.block_on(bench.usersig()).unwrap();
            });
        }
    });
    assert_eq!(bench.begun(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_and_not_kept() {
    let bench = Bench::new(1);
    bench.set_takes(Duration::from_secs(1));
    bench.set_broken(true);
    let mut calls = JoinSet::new();
    for _ in 0..1000 {
        let (credentials, app) = (Arc::clone(&bench.credentials), bench.app(1));
        calls.spawn(async move { credentials.usersig(&app).await.unwrap_err() });
    }
    let all = calls.join_all().await;
    assert!(all.iter().all(|error| *error == CannotSign::Signer("broken".into())));
    assert_eq!((bench.begun(), bench.events.failed.load(Ordering::SeqCst)), (1, 1));
    bench.set_broken(false);
    assert!(bench.usersig().await.is_ok());
    assert_eq!(bench.events.signed.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_up_while_signing_leaves_the_others_well() {
    let bench = Bench::new(1);
    bench.set_takes(Duration::from_secs(1));
    let (credentials, first) = (Arc::clone(&bench.credentials), bench.app(1));
    let first = tokio::spawn(async move { credentials.usersig(&first).await });
    settle().await;
    let (credentials, second) = (Arc::clone(&bench.credentials), bench.app(1));
    let second = tokio::spawn(async move { credentials.usersig(&second).await });
    settle().await;
    assert_eq!(bench.begun(), 1);
    first.abort();
    assert!(second.await.unwrap().is_ok());
    assert_eq!((bench.begun(), bench.signer.most_at_once.load(Ordering::SeqCst)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn who_saw_the_slot_before_a_signing_does_not_sign_again() {
    let bench = Bench::new(1);
    let slot = Arc::clone(&bench.credentials.live.load().slots[&bench.app(1).sdkappid]);
    let seen = slot.state().generation;
    let first = bench.usersig().await.unwrap();
    assert_eq!(bench.credentials.sign_after(&slot, seen).await, Ok(()));
    assert!(Arc::ptr_eq(&bench.current().unwrap(), &first));
    assert_eq!(bench.begun(), 1);
}

#[tokio::test(start_paused = true)]
async fn apps_do_not_wait_for_each_other() {
    let bench = Bench::new(2);
    bench.set_takes(Duration::from_secs(1));
    let (one, two) = (bench.app(1), bench.app(2));
    let (one, two) = tokio::join!(bench.credentials.usersig(&one), bench.credentials.usersig(&two));
    assert_eq!(bench.signer.most_at_once.load(Ordering::SeqCst), 2);
    assert_ne!(one.unwrap().expose(), two.unwrap().expose());
}

#[tokio::test(start_paused = true)]
async fn what_is_signed_says_the_app_and_the_time() {
    let bench = Bench::new(1);
    let usersig = bench.usersig().await.unwrap();
    let claims = usersig::decode(usersig.expose()).unwrap();
    assert_eq!((claims.sdkappid, claims.identifier.as_str()), (bench.app(1).sdkappid, "administrator"));
    assert_eq!((claims.time, claims.expire), (START, 24 * HOUR));
    assert!(claims.verify(&bench.app(1).keys[0]));
}

// === Wall time ===

#[tokio::test(start_paused = true)]
async fn a_usersig_that_would_expire_on_the_way_is_not_used() {
    let bench = Bench::new(1);
    let first = bench.usersig().await.unwrap();
    bench.clock.set_unix(START + 24 * HOUR - 61);
    assert!(Arc::ptr_eq(&bench.usersig().await.unwrap(), &first));
    bench.clock.set_unix(START + 24 * HOUR - 60);
    assert!(bench.current().is_none());
    assert!(!Arc::ptr_eq(&bench.usersig().await.unwrap(), &first));
    assert_eq!(bench.begun(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_short_life_has_a_short_margin() {
    let settings = Settings { ttl: Duration::from_secs(20), renew_before: Duration::from_secs(5) };
    let bench = Bench::with(settings, apps([app(1)]));
    _ = bench.usersig().await.unwrap();
    bench.clock.set_unix(START + 17);
    assert!(bench.current().is_some());
    bench.clock.set_unix(START + 18);
    assert!(bench.current().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_jump_of_the_clock_is_noticed_by_the_next_call() {
    let bench = Bench::with(
        Settings { ttl: Duration::from_secs(HOUR), renew_before: Duration::from_secs(600) },
        apps([app(1)]),
    );
    let first = bench.usersig().await.unwrap();
    bench.clock.set_unix(START - 60);
    assert!(Arc::ptr_eq(&bench.usersig().await.unwrap(), &first), "clocks may differ by a minute");
    bench.clock.set_unix(START - HOUR);
    let back = bench.usersig().await.unwrap();
    assert_eq!((back.signed_at(), bench.begun()), (START - HOUR, 2));
    bench.clock.set_unix(START);
    let forth = bench.usersig().await.unwrap();
    assert_eq!((forth.signed_at(), bench.begun()), (START, 3));
}

#[tokio::test(start_paused = true)]
async fn a_jump_of_the_clock_is_noticed_without_calls() {
    let bench = Bench::new(1);
    let renewal = bench.start_renewal();
    settle().await;
    for moment in [START - HOUR, START + 24 * HOUR] {
        bench.clock.set_unix(moment);
        bench.pass(31).await;
        let signed_at = bench.current().unwrap().signed_at();
        assert!((moment..=moment + 31).contains(&signed_at), "{signed_at}");
    }
    assert_eq!(bench.begun(), 3);
    renewal.abort();
}

// === Renewal ===

#[tokio::test(start_paused = true)]
async fn few_apps_sign_at_start_and_many_at_their_first_call() {
    for (count, at_start) in [(1, 1), (100, 100), (101, 0)] {
        let bench = Bench::new(count);
        let renewal = bench.start_renewal();
        settle().await;
        assert_eq!(bench.begun(), at_start, "{count} apps");
        assert_eq!(bench.current().is_some(), at_start > 0);
        bench.pass(120).await;
        assert_eq!(bench.begun(), at_start, "{count} apps");
        renewal.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn calls_use_the_old_usersig_while_the_new_one_is_signed() {
    let bench = Bench::new(1);
    let renewal = bench.start_renewal();
    settle().await;
    let first = bench.usersig().await.unwrap();
    bench.set_takes(Duration::from_secs(300));
    // Between an hour and an hour and a quarter before the end.
    bench.clock.set_unix(START + 23 * HOUR);
    bench.pass(31).await;
    assert_eq!(bench.begun(), 2, "a renewal is under way");
    let before = tokio::time::Instant::now();
    for _ in 0..1000 {
        assert!(Arc::ptr_eq(&bench.usersig().await.unwrap(), &first));
    }
    assert_eq!(before.elapsed(), Duration::ZERO);
    bench.pass(300).await;
    let second = bench.usersig().await.unwrap();
    assert!(!Arc::ptr_eq(&second, &first));
    assert_eq!(bench.begun(), 2);
    renewal.abort();
}

#[tokio::test(start_paused = true)]
async fn calls_always_find_a_usersig_ready() {
    for (ttl, renew_before, expected) in [
        (2 * HOUR, HOUR, 6..=8),
        (6 * HOUR, 5 * HOUR, 6..=9),
        // Renewed later than a call may use it, if the settings were taken by their word.
        (610, 1, 36..=60),
        (100, 99, 4_000..=4_400),
    ] {
        let settings =
            Settings { ttl: Duration::from_secs(ttl), renew_before: Duration::from_secs(renew_before) };
        let bench = Bench::with(settings, apps([app(1)]));
        let renewal = bench.start_renewal();
        settle().await;
        for second in 0..6 * HOUR {
            bench.pass(1).await;
            assert!(bench.current().is_some(), "{settings:?} at second {second}");
        }
        assert!(expected.contains(&bench.begun()), "{settings:?}: {}", bench.begun());
        renewal.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn the_shortest_lives_are_renewed_once_a_second_at_most() {
    for (ttl, renew_before) in [(0, 0), (1, 1), (2, 2), (10, 10)] {
        let settings =
            Settings { ttl: Duration::from_secs(ttl), renew_before: Duration::from_secs(renew_before) };
        let bench = Bench::with(settings, apps([app(1)]));
        let renewal = bench.start_renewal();
        bench.pass(60).await;
        assert!((6..=62).contains(&bench.begun()), "{ttl} s: {}", bench.begun());
        assert!(bench.usersig().await.is_ok());
        renewal.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_apps_do_not_renew_in_one_instant() {
    let bench = Bench::new(1000);
    for number in 1..=1000 {
        _ = bench.credentials.usersig(&bench.app(number)).await.unwrap();
    }
    let renewal = bench.start_renewal();
    bench.clock.set_unix(START + 24 * HOUR - HOUR - HOUR / 4 - 60);
    let (mut before, mut most) = (bench.begun(), 0);
    for _ in 0..HOUR / 4 + 120 {
        bench.pass(1).await;
        most = most.max(bench.begun() - before);
        before = bench.begun();
    }
    assert_eq!(before, 2000, "all are renewed by an hour before their end");
    assert!(most <= 50, "{most} in one second");
    assert_eq!(bench.signer.most_at_once.load(Ordering::SeqCst), 1);
    renewal.abort();
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_keeps_the_usersig_and_tries_again_later() {
    let bench = Bench::new(1);
    let renewal = bench.start_renewal();
    settle().await;
    let first = bench.usersig().await.unwrap();
    assert_eq!(bench.credentials.can_sign(&bench.app(1)).await, Ok(()));
    bench.set_broken(true);
    bench.clock.set_unix(START + 23 * HOUR);
    bench.pass(30 * 60).await;
    assert!(Arc::ptr_eq(&bench.usersig().await.unwrap(), &first));
    assert_eq!(bench.credentials.can_sign(&bench.app(1)).await, Ok(()), "it still has one");
    // Half a minute to a minute each, and a few quick ones at first.
    let tries = bench.events.failed.load(Ordering::SeqCst);
    assert!((30..=66).contains(&tries), "{tries}");

    bench.set_broken(false);
    bench.pass(61).await;
    assert!(!Arc::ptr_eq(&bench.usersig().await.unwrap(), &first));
    renewal.abort();
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_out_when_signing_failed_until_the_end() {
    let bench = Bench::new(1);
    let renewal = bench.start_renewal();
    settle().await;
    assert_eq!(bench.credentials.can_sign(&bench.app(1)).await, Ok(()));
    bench.set_broken(true);
    bench.clock.set_unix(START + 24 * HOUR);
    bench.pass(31).await;
    assert!(bench.current().is_none());
    assert_eq!(bench.usersig().await.unwrap_err(), CannotSign::Signer("broken".into()));
    assert_eq!(bench.credentials.can_sign(&bench.app(1)).await, Err(CannotSign::Signer("broken".into())));
    renewal.abort();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_signed_ends_the_retries() {
    let bench = Bench::new(1);
    bench.set_broken(true);
    let renewal = bench.start_renewal();
    bench.pass(200).await;
    bench.set_broken(false);
    _ = bench.usersig().await.unwrap();
    let begun = bench.begun();
    bench.pass(600).await;
    assert_eq!(bench.begun(), begun);
    renewal.abort();
}

#[tokio::test(start_paused = true)]
async fn renewal_ends_when_it_is_dropped() {
    let bench = Bench::new(1);
    let renewal = bench.start_renewal();
    settle().await;
    assert_eq!(Arc::strong_count(&bench.credentials), 2);
    renewal.abort();
    assert!(renewal.await.unwrap_err().is_cancelled());
    assert_eq!(Arc::strong_count(&bench.credentials), 1);
}

// === Refused UserSigs ===

#[tokio::test(start_paused = true)]
async fn only_the_refused_usersig_is_dropped() {
    let bench = Bench::new(1);
    let app = bench.app(1);
    let first = bench.usersig().await.unwrap();
    bench.credentials.invalidate(&app, &first);
    assert!(bench.current().is_none());
    let second = bench.usersig().await.unwrap();
    assert!(!Arc::ptr_eq(&second, &first));
    // A slow answer tells of the first one once more.
    bench.credentials.invalidate(&app, &first);
    assert!(Arc::ptr_eq(&bench.usersig().await.unwrap(), &second));
    assert_eq!(bench.begun(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_usersig_refused_during_renewal_waits_for_that_one() {
    let bench = Bench::new(1);
    let renewal = bench.start_renewal();
    settle().await;
    let first = bench.usersig().await.unwrap();
    bench.set_takes(Duration::from_secs(10));
    bench.clock.set_unix(START + 23 * HOUR);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(bench.begun(), 2, "a renewal is under way");
    bench.credentials.invalidate(&bench.app(1), &first);
    assert!(!Arc::ptr_eq(&bench.usersig().await.unwrap(), &first));
    assert_eq!((bench.begun(), bench.signer.most_at_once.load(Ordering::SeqCst)), (2, 1));
    renewal.abort();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_usersig_is_not_kept_anywhere() {
    let bench = Bench::new(1);
    let first = bench.usersig().await.unwrap();
    bench.credentials.invalidate(&bench.app(1), &first);
    _ = bench.usersig().await.unwrap();
    assert_eq!(Arc::strong_count(&first), 1, "its memory is wiped as soon as the last call lets go of it");
}

/// Whether the UserSig in use is made with the app's key of this number.
async fn is_made_with(bench: &Bench, number: usize) -> bool {
    let usersig = bench.usersig().await.unwrap();
    usersig::decode(usersig.expose()).unwrap().verify(&bench.app(1).keys[number])
}

fn with_keys(keys: [&str; 3]) -> Bench {
    let keys = keys.map(|key| SecretKey::new(key).unwrap()).into();
    Bench::with(Settings::default(), apps([App { keys, ..app(1) }]))
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_gives_way_to_the_next_and_the_last_to_the_first() {
    let bench = with_keys(["NEW", "OLD", "OLDEST"]);
    let app = bench.app(1);
    let mut refused = Vec::new();
    for number in [0, 1, 2, 0] {
        assert!(is_made_with(&bench, number).await, "{number}");
        let usersig = bench.usersig().await.unwrap();
        // A hundred calls were on their way with it.
        for _ in 0..100 {
            bench.credentials.refuse_key(&app, &usersig);
        }
        refused.push(usersig);
    }
    for usersig in &refused {
        bench.credentials.refuse_key(&app, usersig);
    }
    assert!(is_made_with(&bench, 1).await);
    assert_eq!(bench.begun(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_key_that_works_is_remembered() {
    let bench = with_keys(["NEW", "OLD", "OLDEST"]);
    let app = bench.app(1);
    let first = bench.usersig().await.unwrap();
    bench.credentials.refuse_key(&app, &first);
    let second = bench.usersig().await.unwrap();
    bench.credentials.invalidate(&app, &second);
    assert!(is_made_with(&bench, 1).await);
    bench.clock.set_unix(START + 25 * HOUR);
    assert!(is_made_with(&bench, 1).await, "after its time, too");
    // Until the keys change.
    bench
        .credentials
        .replace(Settings::default(), &apps([App { keys: vec![app.keys[2].clone()], ..(*app).clone() }]));
    let usersig = bench.usersig().await.unwrap();
    assert!(usersig::decode(usersig.expose()).unwrap().verify(&app.keys[2]));
}

#[tokio::test(start_paused = true)]
async fn a_key_refused_during_renewal_is_not_used_by_it() {
    let bench = with_keys(["NEW", "OLD", "OLDEST"]);
    let renewal = bench.start_renewal();
    settle().await;
    let first = bench.usersig().await.unwrap();
    bench.set_takes(Duration::from_secs(10));
    bench.clock.set_unix(START + 23 * HOUR);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(bench.begun(), 2, "a renewal is under way");
    bench.credentials.refuse_key(&bench.app(1), &first);
    assert!(is_made_with(&bench, 1).await);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(is_made_with(&bench, 1).await, "the renewal's is thrown away");
    renewal.abort();
}

// === Readiness ===

#[tokio::test(start_paused = true)]
async fn an_app_is_ready_when_all_its_keys_sign() {
    let mut rotated = app(1);
    rotated.keys.push(SecretKey::new("OLDER").unwrap());
    let bench = Bench::with(Settings::default(), apps([rotated]));
    let app = bench.app(1);
    assert_eq!(bench.credentials.can_sign(&app).await, Ok(()));
    assert_eq!(bench.begun(), 2, "each key is tried");
    assert_eq!(bench.credentials.can_sign(&app).await, Ok(()));
    assert_eq!(bench.begun(), 2, "once");
    assert!(bench.current().is_none(), "a try is not kept");
}

#[tokio::test(start_paused = true)]
async fn an_app_without_a_key_cannot_sign() {
    let bench = Bench::with(Settings::default(), apps([App { keys: Vec::new(), ..app(1) }]));
    assert_eq!(bench.credentials.can_sign(&bench.app(1)).await, Err(CannotSign::NoKey));
    assert_eq!(bench.usersig().await.unwrap_err(), CannotSign::NoKey);
}

#[tokio::test(start_paused = true)]
async fn a_signer_that_uses_another_key_is_found_out() {
    #[derive(Debug)]
    struct Mistaken(SecretKey);
    impl Signer for Mistaken {
        fn sign<'a>(&'a self, app: &'a App, _key: &'a SecretKey, time: u64, expire: u64) -> Signing<'a> {
            KeySigner.sign(app, &self.0, time, expire)
        }
    }
    let apps = apps([app(1)]);
    let parts = Parts {
        signer: Arc::new(Mistaken(SecretKey::new("ANOTHER").unwrap())),
        clock: Arc::new(ManualClock::at_unix(START)),
        events: Arc::new(()),
        jitter: Arc::new(|| 0.5),
    };
    let credentials = Credentials::new(Settings::default(), &apps, parts);
    let app = apps.named("app1").unwrap();
    assert_eq!(credentials.can_sign(app).await, Err(CannotSign::Unverified(1)));
}

// === Reload ===

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_usersigs_of_apps_that_stay_as_they_are() {
    let bench = Bench::new(2);
    let (one, two) = (bench.app(1), bench.app(2));
    let first = bench.credentials.usersig(&one).await.unwrap();
    let old = bench.credentials.usersig(&two).await.unwrap();

    let rotated = App { keys: vec![SecretKey::new("NEWER").unwrap()], ..app(2) };
    let after = apps([App { region: None, ..app(1) }, rotated]);
    bench.credentials.replace(Settings::default(), &after);
    assert!(Arc::ptr_eq(&bench.usersig().await.unwrap(), &first));
    let new = bench.credentials.usersig(after.named("app2").unwrap()).await.unwrap();
    assert!(!Arc::ptr_eq(&new, &old));
    assert!(usersig::decode(new.expose()).unwrap().verify(&SecretKey::new("NEWER").unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_call_from_before_a_reload_ends_as_it_began() {
    let bench = Bench::new(2);
    let renamed = App { identifier: "admin2".parse().unwrap(), ..app(1) };
    bench.credentials.replace(Settings::default(), &apps([renamed]));
    for number in [1, 2] {
        let before = bench.app(number);
        assert!(bench.credentials.current(&before).is_none());
        let usersig = bench.credentials.usersig(&before).await.unwrap();
        let claims = usersig::decode(usersig.expose()).unwrap();
        assert_eq!((claims.sdkappid, claims.identifier), (before.sdkappid, before.identifier.clone()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_that_a_reload_brings_signs_at_once() {
    let bench = Bench::new(1);
    let renewal = bench.start_renewal();
    settle().await;
    let after = apps([app(1), app(2)]);
    bench.credentials.replace(Settings { ttl: Duration::from_secs(2 * HOUR), ..Settings::default() }, &after);
    settle().await;
    let usersig = bench.credentials.current(after.named("app2").unwrap()).unwrap();
    assert_eq!(usersig.lifetime().seconds(), 2 * HOUR);
    assert_eq!(bench.begun(), 2);
    renewal.abort();
}
