//! Why Tencent refuses an app: told once in the log, on the metrics and in `/status.json`, each time with the setting to
//! change, and taken back once calls go again.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::model::error_code::ErrorCode;
use usersig_gateway::model::secret::SecretKey;
use usersig_gateway::sandbox::{Effect, Fault, Sandbox, SandboxApp, Settings};

use crate::client::{Answer, Client, post, send};
use crate::process::Serving;
use crate::samples::Samples;
use crate::world::{key, sdkappid};

const STOPPED: &str =
    "Tencent refuses every call of the app; it is stopped, but for a probe from time to time";
const RESUMED: &str = "the app's calls are sent again";

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_names_the_file_or_variable_of_the_key() {
    diagnose(70009, "wrong_key", "secret_key_file (or secret_key_env)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_region_names_region() {
    diagnose(60026, "wrong_region", "set region to the one in which the app was created").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn not_an_administrator_names_identifier() {
    diagnose(60010, "not_administrator", "set identifier to an administrator account").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_address_that_is_not_let_in_names_the_egress_proxy() {
    diagnose(60021, "source_address", "upstream.egress_proxy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_expired_is_to_be_renewed() {
    diagnose(60020, "plan_expired", "renew it in Tencent's console").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_disabled_is_to_be_enabled_or_its_sdkappid_changed() {
    diagnose(60016, "disabled", "enable it in Tencent's console, or set another sdkappid").await;
}

/// Lets Tencent refuse an app with this code until it is stopped, and then no more.
async fn diagnose(code: i64, reason: &str, setting: &str) {
    let apps = vec![SandboxApp::new(sdkappid(), vec![key()])];
    let sandbox =
        Sandbox::start(Settings { apps, ..Settings::default() }, Arc::new(SystemClock)).await.unwrap();
    let gateway = Serving::start(&sandbox, "");
    refuse(&sandbox, code);
    let mut caller = Client::to(&gateway.gateway).await;
    let mut answered_by = [0, 0];
    // Three in a row stop it. Of the calls after that, one or the other is a probe.
    while answered_by[1] < 10 {
        let answer = call(&mut caller).await;
        match answer.codes() {
            (503, 9_900_503) => {
                assert!(answer.error_info().contains(setting), "{}", answer.error_info());
                assert!(!answer.header("retry-after").is_empty());
                answered_by[1] += 1;
            }
            codes => {
                assert_eq!(codes, (200, code));
                answered_by[0] += 1;
            }
        }
    }
    assert!(answered_by[0] >= 3, "{answered_by:?}");
    assert_eq!(metrics(&gateway).await.sum("app_tripped", &[("app", "live"), ("reason", reason)]), 1.0);
    let tripped = tripped(&gateway).await;
    assert_eq!((&tripped["reason"], &tripped["error_code"]), (&reason.into(), &code.into()));
    let told = gateway.process.event(STOPPED);
    assert_eq!(
        (&told["reason"], &told["error_code"], &told["level"]),
        (&reason.into(), &code.into(), &"ERROR".into())
    );
    assert_eq!(told["diagnosis"], tripped["diagnosis"], "the same words everywhere");
    assert!(told["diagnosis"].as_str().unwrap().contains(setting), "{told}");

    admit(&sandbox);
    while call(&mut caller).await.codes() != (200, 0) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(metrics(&gateway).await.sum("app_tripped", &[]), 0.0);
    assert!(self::tripped(&gateway).await.is_null());
    drop(caller);
    gateway.process.signal("INT");
    let log = gateway.process.end().log;
    for message in [STOPPED, RESUMED] {
        let lines = log.iter().filter(|line| line.contains(message)).count();
        assert_eq!(lines, 1, "once for each change: {message}: {log:#?}");
    }
    sandbox.stop().await;
}

/// Wrong keys are played by another key at Tencent's, whatever else by its code.
fn refuse(sandbox: &Sandbox, code: i64) {
    match code {
        70009 => assert!(sandbox.control().set_keys(sdkappid(), vec![SecretKey::new("FAKEOTHER").unwrap()])),
        code => sandbox.control().inject(Fault::new(Effect::Answer(ErrorCode(code))).for_ever()).unwrap(),
    }
}

fn admit(sandbox: &Sandbox) {
    sandbox.control().clear_faults();
    assert!(sandbox.control().set_keys(sdkappid(), vec![key()]));
}

async fn call(caller: &mut Client) -> Answer {
    caller.send(post("/v4/live_config/get_callback", "{}")).await
}

async fn ask(gateway: &Serving, path: &str) -> Answer {
    send(&gateway.admin, Request::get(path).body(Full::default()).unwrap()).await
}

async fn metrics(gateway: &Serving) -> Samples {
    Samples::read(std::str::from_utf8(&ask(gateway, "/metrics").await.body).unwrap())
}

/// What `/status.json` says of the app's trip.
async fn tripped(gateway: &Serving) -> serde_json::Value {
    ask(gateway, "/status.json").await.json()["apps"][0]["tripped"].clone()
}
