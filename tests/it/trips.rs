//! An app that Tencent refuses: stopped with a diagnosis, probed, and let in again.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;
use usersig_gateway::gateway::target::Endpoints;
use usersig_gateway::model::error_code::ErrorCode;
use usersig_gateway::model::secret::SecretKey;
use usersig_gateway::sandbox::{self, Effect, Fault, Sandbox, SandboxApp};

use crate::world::{Answer, Builder, World, key, post, sdkappid};

const READ: &str = "live_config/get_callback";

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_stops_the_app_and_the_right_one_lets_it_in_again() {
    let world = wrong_key().start().await;
    let (refused, answer) = until_stopped(&world, 70009).await;
    assert!((3..7).contains(&refused), "{refused}: three, and perhaps a few probes");
    for word in ["app live", "70009", "secret_key_file", "was not sent"] {
        assert!(answer.error_info().contains(word), "{word}: {}", answer.error_info());
    }
    let retry_after: u64 = answer.header("retry-after-ms").parse().unwrap();
    assert!((1..=10_000).contains(&retry_after), "{retry_after}");
    assert_eq!(
        answer.header("proxy-status"),
        "usersig-gateway; error=http_request_denied; details=\"app-stopped\""
    );
    assert_eq!(world.report().arrived, refused);
    let labels = [("app", "live"), ("reason", "wrong_key")];
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("app_tripped", &labels), 1.0);
    assert_eq!(metrics.sum("refused_total", &[("reason", "app_tripped")]), 1.0);
    let status = world.admin("/status.json").await.json();
    let tripped = &status["apps"][0]["tripped"];
    assert_eq!((&tripped["reason"], &tripped["error_code"]), (&"wrong_key".into(), &70009.into()));
    assert!(tripped["diagnosis"].as_str().unwrap().contains("secret_key_file"));
    let page = world.admin("/").await;
    assert!(std::str::from_utf8(&page.body).unwrap().contains("Stopped, since Tencent answers 70009"));

    assert!(world.sandbox.control().set_keys(sdkappid(), vec![SecretKey::new("FAKEOTHER").unwrap()]));
    until_let_in(&world).await;
    assert_eq!(world.report().arrived, refused + 1, "the first probe succeeded");
    assert_eq!(world.metrics().await.sum("app_tripped", &labels), 0.0);
    assert!(world.admin("/status.json").await.json()["apps"][0]["tripped"].is_null());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cause_has_words_of_its_own() {
    let mut all_words = HashSet::new();
    for (code, reason, word) in [
        (60010, "not_administrator", "identifier"),
        (60016, "disabled", "disabled"),
        (60020, "plan_expired", "plan"),
        (60021, "source_address", "address"),
        (60026, "wrong_region", "region"),
        (60028, "trial_used_up", "trial"),
        (70014, "mismatch", "report"),
        (70051, "account_blocked", "blocked"),
        (60006, "wrong_sdkappid", "sdkappid"),
    ] {
        let world = World::start().await;
        inject(&world.sandbox, code, 10);
        let (refused, answer) = until_stopped(&world, code).await;
        assert!(refused >= 3, "{code}: {refused}");
        let words = answer.error_info();
        assert!(words.contains(word) && words.contains(&code.to_string()), "{code}: {words}");
        assert!(all_words.insert(words.replace(&code.to_string(), "")), "{words}");
        assert_eq!(world.report().arrived, refused, "{code}");
        assert_eq!(world.metrics().await.sum("app_tripped", &[("reason", reason)]), 1.0, "{code}");
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_between_keeps_the_app_going() {
    let world = World::start().await;
    for code in [60026, 60026, 0, 60026, 60026, 100_004, 60021, 60026] {
        inject(&world.sandbox, code, 1);
        assert_eq!(world.call(READ, "{}").await.codes(), (200, code));
    }
    assert_eq!(world.call(READ, "{}").await.codes(), (200, 0));
    assert_eq!(world.report().arrived, 9);
    assert_eq!(world.metrics().await.series("app_tripped", &[]), 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_region_never_fails_over() {
    for code in [60026, 70016, 70020] {
        let settings =
            sandbox::Settings { apps: vec![SandboxApp::new(sdkappid(), vec![key()])], ..Default::default() };
        let primary =
            Sandbox::start(settings, std::sync::Arc::new(usersig_gateway::clock::SystemClock)).await.unwrap();
        inject(&primary, code, 10);
        let url = primary.url();
        // The world's own sandbox is the backup.
        let world = Builder::new()
            .with_app(move |app| {
                let Endpoints { v4: backup, .. } = app.endpoints.clone();
                let primary = [url.parse().unwrap()];
                app.endpoints = Endpoints::private(primary.into_iter().chain(backup).collect());
            })
            .start()
            .await;
        let (refused, _) = until_stopped(&world, code).await;
        assert_eq!((primary.control().report().arrived, world.report().arrived), (refused, 0), "{code}");
        world.end().await;
        primary.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_calls_sends_no_more_than_a_handful_of_refused_usersigs() {
    const CALLERS: u64 = 20;
    let world = wrong_key().start().await;
    let until = Instant::now() + Duration::from_secs(4);
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let host = world.host().to_owned();
            tokio::spawn(async move {
                let (mut client, mut calls) = (crate::client::Client::to(&host).await, 0_u64);
                while Instant::now() < until {
                    let answer = client.send(post(&format!("/v4/{READ}"), "{}")).await;
                    assert!(
                        matches!(answer.codes(), (200, 70009) | (503, 9_900_503)),
                        "{:?}",
                        answer.codes()
                    );
                    calls += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                calls
            })
        })
        .collect();
    let mut calls = 0;
    for caller in callers {
        calls += caller.await.unwrap();
    }
    let arrived = world.report().arrived;
    // Each caller may have had one on its way when the first was refused; then come trials and probes.
    assert!(arrived <= CALLERS + 5, "{arrived} of {calls}");
    assert!(calls > 3 * CALLERS, "{calls}: the others were refused at once");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_refused_usersigs_are_followed_by_a_minute_of_quiet() {
    let world = World::start().await;
    inject(&world.sandbox, 70050, 1);
    assert_eq!(world.call(READ, "{}").await.codes(), (200, 70050));
    let answer = world.call(READ, "{}").await;
    assert_eq!(answer.codes(), (503, 9_900_503));
    let retry_after: u64 = answer.header("retry-after").parse().unwrap();
    assert!((55..=75).contains(&retry_after), "{retry_after}");
    assert_eq!(world.report().arrived, 1);
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("app_tripped", &[("reason", "too_many_signatures")]), 1.0);
    world.end().await;
}

/// A gateway whose app has a key that the sandbox does not take.
fn wrong_key() -> Builder {
    Builder::new().with_app(|app| app.keys = vec![SecretKey::new("FAKEOTHER").unwrap()])
}

fn inject(sandbox: &Sandbox, code: i64, times: u32) {
    sandbox.control().inject(Fault::new(Effect::Answer(ErrorCode(code))).times(times)).unwrap();
}

/// Calls until the gateway refuses. Says how many answers with `code` came before, and what it said then.
///
/// Three of them stop the app; where the machine is slow, a probe may come after them.
async fn until_stopped(world: &World, code: i64) -> (u64, Answer) {
    for refused in 0..10 {
        let answer = world.call(READ, "{}").await;
        if answer.codes() != (200, code) {
            assert_eq!(answer.codes(), (503, 9_900_503), "{code}");
            return (refused, answer);
        }
    }
    panic!("{code}: the app was never stopped");
}

/// Calls until Tencent's answer is a success. Panics when that takes too long.
async fn until_let_in(world: &World) {
    let began = Instant::now();
    loop {
        let answer: Answer = world.call(READ, "{}").await;
        if answer.codes() == (200, 0) {
            return;
        }
        assert_eq!(answer.codes(), (503, 9_900_503));
        assert!(began.elapsed() < Duration::from_secs(60), "{}", answer.error_info());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
