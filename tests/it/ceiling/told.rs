//! What the real binary says of its ceilings: in its log, its metrics and its answers' headers.

use std::time::Duration;

use serde_json::Value;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::model::error_code::ErrorCode;
use usersig_gateway::sandbox::{Ceilings, Effect, Fault, Sandbox, SandboxApp, Settings};

use super::API;
use crate::client::{post, send};
use crate::load::Caller;
use crate::process::Serving;
use crate::samples::Samples;
use crate::world::{World, api, key, sdkappid};

const LIMIT: u32 = 20;

async fn metrics(gateway: &Serving) -> Samples {
    let metrics = http::Request::get("/metrics").body(http_body_util::Full::default()).unwrap();
    Samples::read(std::str::from_utf8(&send(&gateway.admin, metrics).await.body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_and_a_ceiling_that_is_nearly_used_up_are_told() {
    let settings = Settings {
        tls: false,
        apps: vec![SandboxApp::new(sdkappid(), vec![key()])],
        ceilings: Ceilings { per_api: [(api(API), LIMIT)].into(), ..Ceilings::default() },
        ..Settings::default()
    };
    let sandbox = Sandbox::start(settings, std::sync::Arc::new(SystemClock)).await.unwrap();
    let gateway = Serving::start(&sandbox, &format!("[ceiling.api]\n\"{API}\" = {LIMIT}\n"));
    let answer = send(&gateway.gateway, post(&format!("/v4/{API}"), "{}")).await;
    let policy = answer.header("ratelimit-policy");
    assert!(policy.contains(&format!("q={LIMIT};w=1")), "{policy}");
    assert!(answer.header("ratelimit").contains(";r="), "{}", answer.header("ratelimit"));
    assert!(answer.header("server-timing").starts_with("wait;dur="), "{}", answer.header("server-timing"));

    // All of the ceiling is used for longer than the time between two looks.
    let load = Caller::new(&gateway.gateway, "127.0.0.1", "load").await;
    load.offer(API, 2 * LIMIT, Duration::from_secs(3)).await;
    let warned = gateway.process.event("a ceiling is nearly used up");
    assert_eq!(
        (&warned["level"], &warned["app"], &warned["api"]),
        (&"WARN".into(), &"live".into(), &API.into())
    );
    assert_eq!(warned["limit"], LIMIT);
    assert!(warned["used"].as_u64() >= Some(u64::from(LIMIT) * 4 / 5), "{warned}");

    // One refusal is one cut, and the call gets another turn.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    sandbox.control().inject(Fault::new(Effect::Answer(ErrorCode(60007)))).unwrap();
    let answer = send(&gateway.gateway, post(&format!("/v4/{API}"), "{}")).await;
    assert_ne!(answer.error_code(), 60007);
    let cut = gateway.process.event("Tencent said too frequent: the ceiling is lowered");
    assert_eq!((&cut["app"], &cut["api"]), (&Value::from("live"), &Value::from(API)), "{cut}");
    let (before, after) = (cut["before"].as_f64().unwrap(), cut["after"].as_f64().unwrap());
    assert!(before == f64::from(LIMIT) && after < before, "{cut}");
    let limit = metrics(&gateway).await.sum("ceiling_limit", &[("api", API)]);
    // A hundredth of the ceiling comes back each second.
    assert!((after..after + 0.2 * before).contains(&limit), "{limit} after {cut}");
    drop(gateway);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_wish_is_ignored_and_counted() {
    let world = World::start().await;
    for (header, value, counted) in [
        ("priority", "u=9", "priority"),
        ("priority", "u=\"1", "priority"),
        ("x-gateway-max-wait", "soon", "max_wait"),
        ("x-gateway-max-wait", "-1s", "max_wait"),
    ] {
        let of_header = [("header", counted)];
        let before = world.metrics().await.sum("ignored_headers_total", &of_header);
        let mut call = post("/v4/live_config/get_callback", "{}");
        call.headers_mut().insert(header, value.parse().unwrap());
        assert_eq!(world.send(call).await.codes(), (200, 0), "{header}: {value}");
        let counted = world.metrics().await.sum("ignored_headers_total", &of_header) - before;
        assert_eq!(counted, 1.0, "{header}: {value}");
    }
    world.end().await;
}
