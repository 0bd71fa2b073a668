//! The key of an app is exchanged under load, in both ways: with a time in which Tencent takes both, and at one stroke.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use tokio::time::Instant;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::model::secret::SecretKey;
use usersig_gateway::sandbox::{Sandbox, SandboxApp, Settings};

use crate::books::{Books, READ, WRITE, call_until};
use crate::client::send;
use crate::process::Serving;
use crate::samples::Samples;
use crate::world::{KEY, api, key, sdkappid};

const NEW_KEY: &str = "FAKE0000000000000000000000000000000000000000000000000000000000ee";
const TABLES: &str = "[ceiling]\nmode = \"off\"\n[log]\naccess = \"off\"\n[retry]\nbudget = 1.0";
const CALLERS: u64 = 8;
const PAUSE: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread")]
async fn while_both_keys_are_good_no_caller_notices_that_they_are_exchanged() {
    let sandbox = sandbox().await;
    let gateway = Serving::start(&sandbox, TABLES);
    let over = Arc::new(AtomicBool::new(false));
    let rotating = async {
        some_more_calls(&sandbox).await;
        // As an operator does it: Tencent takes the new key too, the file gets it, Tencent takes the old one no more, and
        // the file loses it.
        takes(&sandbox, &[NEW_KEY, KEY]);
        replace_key(&gateway, &format!("{NEW_KEY}\n{KEY}\n"), 1.0).await;
        some_more_calls(&sandbox).await;
        takes(&sandbox, &[NEW_KEY]);
        some_more_calls(&sandbox).await;
        replace_key(&gateway, NEW_KEY, 2.0).await;
        some_more_calls(&sandbox).await;
        over.store(true, Ordering::Relaxed);
    };
    let (told, ()) = tokio::join!(call_until(&over, &gateway.gateway, CALLERS, PAUSE), rotating);
    let books = Books::of(&[&sandbox.control().report()]);
    for told in &told {
        assert!(told.is_ok() && told.tries() == 1, "{:?}", told.answer);
        books.agree_with(told);
    }
    assert_eq!(
        books.all_arrived(),
        told.len() as u64,
        "as many reached the sandbox as were made and answered"
    );
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_key_is_cut_at_one_stroke_no_call_fails_once_the_new_one_is_in_the_file() {
    let sandbox = sandbox().await;
    let gateway = Serving::start(&sandbox, TABLES);
    let over = Arc::new(AtomicBool::new(false));
    let rotating = async {
        some_more_calls(&sandbox).await;
        takes(&sandbox, &[NEW_KEY]);
        write_key(&gateway.folder().join("live.key"), NEW_KEY);
        let in_place = Instant::now();
        for _ in 0..3 {
            some_more_calls(&sandbox).await;
        }
        over.store(true, Ordering::Relaxed);
        in_place
    };
    let (told, in_place) = tokio::join!(call_until(&over, &gateway.gateway, CALLERS, PAUSE), rotating);
    let books = Books::of(&[&sandbox.control().report()]);
    for told in &told {
        if told.is_ok() {
            books.agree_with(told);
        } else {
            // Between the two strokes there was no key that Tencent takes.
            assert!(told.began < in_place, "{:?}", told.answer);
            assert_eq!(books.executed(told), 0);
        }
    }
    let after = told.iter().filter(|told| told.began >= in_place && told.is_ok()).count();
    assert!(after > 100, "{after} calls of {} came later", told.len());
    sandbox.stop().await;
}

async fn sandbox() -> Sandbox {
    let mut settings = Settings {
        apps: vec![SandboxApp::new(sdkappid(), vec![key()])],
        log_calls: 1_000_000,
        ..Settings::default()
    };
    for name in [READ, WRITE] {
        settings.ceilings.per_api.insert(api(name), 1_000_000);
    }
    Sandbox::start(settings, Arc::new(SystemClock)).await.unwrap()
}

async fn some_more_calls(sandbox: &Sandbox) {
    let so_far = sandbox.control().report().arrived;
    sandbox.control().wait_for_arrivals(so_far + 100).await;
}

/// Which keys Tencent takes from now on.
fn takes(sandbox: &Sandbox, keys: &[&str]) {
    let keys = keys.iter().map(|&key| SecretKey::new(key).unwrap()).collect();
    assert!(sandbox.control().set_keys(sdkappid(), keys));
}

/// Exchanges the file, and waits until it was taken for the so-manieth time.
async fn replace_key(gateway: &Serving, keys: &str, reloads: f64) {
    write_key(&gateway.folder().join("live.key"), keys);
    let taken = async {
        while count_reloads(gateway).await < reloads {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), taken).await.expect("the file is looked at");
}

async fn count_reloads(gateway: &Serving) -> f64 {
    let answer = send(&gateway.admin, Request::get("/metrics").body(Full::default()).unwrap()).await;
    let samples = Samples::read(std::str::from_utf8(&answer.body).unwrap());
    samples.sum("config_reloads_total", &[("result", "ok")])
}

/// Puts a new file in the place of the old one.
fn write_key(file: &Path, keys: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, keys).unwrap();
    std::fs::rename(new, file).unwrap();
}
