use http::HeaderValue;

use super::*;
use crate::clock::ManualClock;
use crate::gateway::target::Endpoints;
use crate::model::secret::SecretKey;
use crate::net::client::Roots;

const NOW: u64 = 1_700_000_000;

fn app(endpoints: &[&str]) -> App {
    App {
        name: "live".parse().unwrap(),
        sdkappid: "1400000001".parse().unwrap(),
        identifier: "administrator".parse().unwrap(),
        keys: vec![SecretKey::new(&"FAKE".repeat(16)).unwrap()],
        region: None,
        endpoints: Endpoints::private(endpoints.iter().map(|url| url.parse().unwrap()).collect()),
        extra_roots: Roots::default(),
        index: Default::default(),
        counted: Default::default(),
    }
}

fn apps(app: App) -> Apps {
    let mut apps = Apps::default();
    apps.add(app, true).unwrap();
    apps
}

struct Fixture {
    health: Health,
    apps: Apps,
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
}

impl Fixture {
    fn new() -> Self {
        let (clock, metrics) = (Arc::new(ManualClock::at_unix(NOW)), Metrics::new("1"));
        let apps = apps(app(&["https://a.example", "https://b.example"]));
        let health = Health::new(&apps, Arc::<ManualClock>::clone(&clock), Arc::clone(&metrics));
        Self { health, apps, clock, metrics }
    }

    fn app(&self) -> &Arc<App> {
        self.apps.default_app().unwrap()
    }

    fn endpoint(&self, index: usize) -> &Endpoint {
        &self.app().endpoints.v4[index]
    }

    fn fail(&self, index: usize) {
        let of = self.health.of(self.app());
        self.health.failed(&of, self.endpoint(index), Visit::Usual, Fault::Unreachable, &"refused");
    }

    fn answer(&self, index: usize, visit: Visit, date: u64) {
        let date = httpdate::fmt_http_date(UNIX_EPOCH + std::time::Duration::from_secs(date));
        let headers = Headers { date: Some(HeaderValue::try_from(date).unwrap()), ..Headers::default() };
        self.health.answered(
            &self.health.of(self.app()),
            self.endpoint(index),
            visit,
            &headers,
            Instant::now(),
        );
    }

    fn lets(&self, index: usize) -> Option<Visit> {
        self.health.lets(&self.health.of(self.app()), self.endpoint(index))
    }

    fn says(&self, sample: &str) -> bool {
        self.metrics.encode().lines().any(|line| line == format!("usersig_gateway_{sample}"))
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_passed_over_until_a_trial_is_answered_and_the_gauge_follows() {
    let fixture = Fixture::new();
    let gauge = |value| format!("endpoint_healthy{{app=\"live\",endpoint=\"a.example\"}} {value}");
    assert!(!fixture.metrics.encode().contains("endpoint_healthy"), "nothing is known yet");
    fixture.answer(0, Visit::Usual, NOW);
    assert!(fixture.says(&gauge(1)));
    fixture.fail(0);
    assert!(fixture.says(&gauge(0)));
    assert!(!fixture.health.is_healthy(fixture.app(), fixture.endpoint(0)));
    assert_eq!((fixture.lets(0), fixture.lets(1)), (None, Some(Visit::Usual)));
    // An answer to what was sent before says nothing.
    fixture.answer(0, Visit::Usual, NOW);
    assert_eq!(fixture.lets(0), None);
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    assert_eq!((fixture.lets(0), fixture.lets(0)), (Some(Visit::Trial), None));
    fixture.answer(0, Visit::Trial, NOW);
    assert!(fixture.says(&gauge(1)));
    assert_eq!(fixture.lets(0), Some(Visit::Usual));
}

#[tokio::test(start_paused = true)]
async fn an_app_that_calls_as_before_keeps_what_is_known_and_a_changed_one_does_not() {
    let mut fixture = Fixture::new();
    fixture.fail(0);
    let mut rekeyed = app(&["https://a.example", "https://b.example"]);
    rekeyed.keys = vec![SecretKey::new(&"MOCK".repeat(16)).unwrap()];
    let before = std::mem::replace(&mut fixture.apps, apps(rekeyed));
    fixture.health.replace(&fixture.apps);
    assert_eq!(fixture.lets(0), None);
    // A call from before the reload finds the same.
    assert_eq!(
        fixture.health.lets(&fixture.health.of(before.default_app().unwrap()), fixture.endpoint(0)),
        None
    );
    // Then the app as it was is gone, and its keys with it.
    let gone = Arc::downgrade(before.default_app().unwrap());
    drop(before);
    assert!(gone.upgrade().is_none());

    fixture.answer(0, Visit::Usual, NOW - 3600);
    assert!(fixture.says("clock_skew_seconds{endpoint=\"a.example\"} 3600"));
    let before = Arc::clone(fixture.app());
    let stale = fixture.health.of(&before);
    let gone = fixture.endpoint(0).clone();
    fixture.apps = apps(app(&["https://c.example"]));
    fixture.health.replace(&fixture.apps);
    assert_eq!(fixture.lets(0), Some(Visit::Usual));
    assert!(!fixture.metrics.encode().contains("a.example"), "it is nobody's endpoint any more");
    fixture.health.failed(&stale, &gone, Visit::Usual, Fault::Unreachable, &"refused");
    assert!(!fixture.metrics.encode().contains("a.example"), "it is nobody's endpoint any more");
}

#[tokio::test(start_paused = true)]
async fn clocks_are_compared_once_a_second() {
    let fixture = Fixture::new();
    let gauge = |seconds| format!("clock_skew_seconds{{endpoint=\"a.example\"}} {seconds}");
    fixture.answer(0, Visit::Usual, NOW - 3600);
    assert!(fixture.says(&gauge(3600)));
    fixture.answer(0, Visit::Usual, NOW - 1);
    assert!(fixture.says(&gauge(3600)), "it was compared in this second");
    fixture.clock.set_unix(NOW + 1);
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    fixture.answer(0, Visit::Usual, NOW + 61);
    assert!(fixture.says(&gauge(-60)));
    fixture.clock.set_unix(NOW + 2);
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    fixture.health.answered(
        &fixture.health.of(fixture.app()),
        fixture.endpoint(0),
        Visit::Usual,
        &Headers { date: Some(HeaderValue::from_static("yesterday")), ..Headers::default() },
        Instant::now(),
    );
    assert!(fixture.says(&gauge(-60)), "what is no date says nothing");
}

#[tokio::test(start_paused = true)]
async fn an_app_whose_index_is_taken_finds_the_health_of_its_own() {
    let mut fixture = Fixture::new();
    fixture.fail(0);
    let before = Arc::clone(fixture.app());
    // Another app comes first now, and calls the same endpoints.
    let other =
        App { name: "chat".parse().unwrap(), sdkappid: "1400000002".parse().unwrap(), ..App::clone(&before) };
    fixture.apps = apps(other);
    fixture.apps.add(App::clone(&before), false).unwrap();
    fixture.health.replace(&fixture.apps);
    let endpoint = before.endpoints.v4[0].clone();
    let lets = |app: &App| fixture.health.lets(&fixture.health.of(app), &endpoint);
    let [chat, live] = ["chat", "live"].map(|name| fixture.apps.named(name).unwrap());
    assert_eq!([&before, live, chat].map(|app| lets(app)), [None, None, Some(Visit::Usual)]);
    assert!(fixture.health.apps.load().find(live, |_, _| panic!("it is the same app")).is_some());

    // What comes of calls of an app that is gone is not held against the one that has its index.
    let only_chat = apps(App::clone(chat));
    fixture.health.replace(&only_chat);
    let chat = only_chat.named("chat").unwrap();
    for _ in 0..4 {
        fixture.health.failed(&fixture.health.of(&before), &endpoint, Visit::Usual, Fault::Unreachable, &"");
    }
    assert_eq!(lets(chat), Some(Visit::Usual));
}
