//! The gateway's own answers: one shape for all of them, and whose doing each was.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use usersig_gateway::gateway::admission::ApiCeiling;
use usersig_gateway::gateway::target::{App, Endpoints};
use usersig_gateway::gateway::{self, HttpStatus};
use usersig_gateway::model::ceiling::Ceiling;
use usersig_gateway::model::error_code::ErrorCode;
use usersig_gateway::sandbox::{Effect, Fault};

use crate::client::exchange;
use crate::world::{Answer, Builder, World, api, nowhere, post};

const GET_CALLBACK: &str = "/v4/live_config/get_callback";
const ONCE_A_MINUTE: &str = "live_config/delete_callback";

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_tencents_shape_and_the_status_that_says_what_happened() {
    let world = troubled(HttpStatus::Semantic).await;
    for (status, answer) in one_of_each(&world).await {
        assert_eq!(answer.status.as_u16(), status, "{}", answer.error_info());
        assert_shape(status, &answer);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_can_follow_tencents_habit_of_status_200() {
    let world = troubled(HttpStatus::Always200).await;
    for (status, answer) in one_of_each(&world).await {
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.error_info());
        assert_shape(status, &answer);
    }
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("calls_total", &[("error_code", "9900405"), ("outcome", "refused")]), 1.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_status_tells_whose_doing_it_was() {
    let world = troubled(HttpStatus::Semantic).await;
    let answer = |code| Fault::new(Effect::Answer(ErrorCode(code)));
    let inject = |fault: Fault| world.sandbox.control().inject(fault).unwrap();
    world.call(ONCE_A_MINUTE, "{}").await;
    let we_limited = world.send(once_more()).await;
    // The call waits for another turn, three times.
    inject(answer(60007).times(4));
    let tencent_limited = world.send(post(GET_CALLBACK, "{}")).await;
    inject(answer(60021));
    let tencent_refused = world.send(post(GET_CALLBACK, "{}")).await;
    let unreachable = world.send(post(&format!("/apps/unreachable{GET_CALLBACK}"), "{}")).await;
    for (answer, status, told) in [
        (we_limited, 429, "error=http_request_denied; details=\"gateway-limited\""),
        (tencent_limited, 200, "received-status=200; details=\"tencent-limited\""),
        (tencent_refused, 200, "received-status=200; details=\"tencent-refused\""),
        (unreachable, 502, "error=destination_unavailable; details=\"unreachable\""),
    ] {
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.header("proxy-status"), format!("usersig-gateway; {told}"));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_whether_the_call_may_have_been_executed() {
    let world = troubled(HttpStatus::Semantic).await;
    let unreachable = world.send(post(&format!("/apps/unreachable{GET_CALLBACK}"), "{}")).await;
    assert!(unreachable.error_info().contains("the call was not sent"), "{}", unreachable.error_info());
    for (effect, status) in
        [(Effect::Stall, 504), (Effect::ResetAfterReading, 502), (Effect::ResetBeforeReading, 502)]
    {
        world.sandbox.control().inject(Fault::new(effect)).unwrap();
        // Only what stalls is waited for to the end.
        let timeout = if status == 504 { "2s" } else { "20s" };
        let answer = world.send(with_header(post(GET_CALLBACK, "{}"), "x-gateway-timeout", timeout)).await;
        assert_eq!(answer.codes(), (status, 9_900_000 + i64::from(status)));
        let told = answer.error_info();
        assert!(told.contains("the call may have been executed"), "{told}");
        assert!(told.contains(&world.sandbox.address().to_string()), "{told}");
    }
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("refused_total", &[]), 0.0, "none of these is a no of the gateway's");
    assert_eq!(metrics.sum("calls_total", &[("outcome", "fault")]), 4.0);
    world.end().await;
}

/// A gateway with an app that cannot be reached, one that cannot be signed for, tight limits, and an API that may be
/// called once a minute.
async fn troubled(http_status: HttpStatus) -> World {
    let nowhere = nowhere();
    let mut builder = Builder::new().tuned(move |live: &mut gateway::Settings| {
        let app = (**live.apps.named("live").unwrap()).clone();
        let endpoints = Endpoints::private(vec![format!("http://{nowhere}").parse().unwrap()]);
        let unreachable = App {
            name: "unreachable".parse().unwrap(),
            sdkappid: 1_400_000_002.try_into().unwrap(),
            endpoints,
            ..app.clone()
        };
        let keyless = App {
            name: "keyless".parse().unwrap(),
            sdkappid: 1_400_000_003.try_into().unwrap(),
            keys: Vec::new(),
            ..app
        };
        live.apps.add(unreachable, false).unwrap();
        live.apps.add(keyless, false).unwrap();
        live.answers.http_status = http_status;
        live.retry.max_attempts = NonZeroU32::MIN;
        live.ceiling.api.insert(api(ONCE_A_MINUTE), once_a_minute());
    });
    builder.boot.limits.request_body = 1000;
    builder.boot.limits.body_timeout = Duration::from_millis(100);
    builder.start().await
}

fn once_a_minute() -> ApiCeiling {
    ApiCeiling::Periods(vec![Ceiling { limit: NonZeroU32::MIN, period: Duration::from_secs(60) }])
}

/// One refusal of each kind that a caller can provoke, with its status.
async fn one_of_each(world: &World) -> Vec<(u16, Answer)> {
    let call = || post(GET_CALLBACK, "{}");
    let get = Request::get(GET_CALLBACK).body(Full::default()).unwrap();
    let slow = format!(
        "POST {GET_CALLBACK} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 9\r\n\r\n{{"
    );
    world.call(ONCE_A_MINUTE, "{}").await;
    world.sandbox.control().inject(Fault::new(Effect::Stall).on(api("live_config/get_callback"))).unwrap();
    vec![
        (504, world.send(with_header(call(), "x-gateway-timeout", "200ms")).await),
        (400, world.send(post("/v4//x", "{}")).await),
        (400, world.send(post(GET_CALLBACK, "no json")).await),
        (403, world.send(with_header(call(), "origin", "null")).await),
        (404, world.send(post("/nowhere", "{}")).await),
        (404, world.send(post("/apps/nobody/v4/a/b", "{}")).await),
        (405, world.send(get).await),
        (408, exchange(world.host(), slow.as_bytes()).await),
        (413, world.send(post(GET_CALLBACK, &format!("{{\"a\":\"{}\"}}", "x".repeat(1000)))).await),
        (415, world.send(with_header(call(), "content-encoding", "gzip")).await),
        (429, world.send(once_more()).await),
        (502, world.send(post(&format!("/apps/unreachable{GET_CALLBACK}"), "{}")).await),
        (503, world.send(post(&format!("/apps/keyless{GET_CALLBACK}"), "{}")).await),
    ]
}

/// A call whose turn cannot come soon enough.
fn once_more() -> Request<Full<Bytes>> {
    with_header(post(&format!("/v4/{ONCE_A_MINUTE}"), "{}"), "x-gateway-max-wait", "0ms")
}

fn assert_shape(status: u16, answer: &Answer) {
    let body = answer.json();
    let members: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["ActionStatus", "ErrorCode", "ErrorInfo", "RequestId"]);
    assert_eq!(body["ActionStatus"], "FAIL");
    assert_eq!(answer.error_code(), 9_900_000 + i64::from(status), "{}", answer.error_info());
    assert!(answer.error_info().len() > 10 && !answer.error_info().contains('\n'), "{}", answer.error_info());
    assert!(body["RequestId"].as_str().unwrap().starts_with("gw-"));
    assert_eq!(answer.header("x-request-id"), body["RequestId"].as_str().unwrap());
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(answer.header("proxy-status").starts_with("usersig-gateway; error="));
    assert!(answer.header("server-timing").starts_with("wait;dur="));
    assert_eq!(answer.header("x-tencent-error-code"), "", "it is no code of Tencent's");
    assert_eq!(answer.header("allow"), if status == 405 { "POST" } else { "" });
    match answer.header("retry-after").parse::<u32>() {
        Ok(seconds) => assert!(status == 429 && (1..=61).contains(&seconds), "{status}: {seconds}"),
        Err(_) => assert!(status != 429 && answer.header("retry-after").is_empty(), "{status}"),
    }
}

fn with_header(mut request: Request<Full<Bytes>>, name: &'static str, value: &str) -> Request<Full<Bytes>> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_time_is_up_is_not_sent() {
    let world = World::start().await;
    let mut request = post("/v4/live_config/get_callback", "{}");
    request.headers_mut().insert("x-gateway-timeout", "0ms".parse().unwrap());
    let answer = world.send(request).await;
    assert_eq!(answer.status.as_u16(), 504);
    assert!(answer.json()["ErrorInfo"].as_str().unwrap().contains("was not sent"));
    assert_eq!(world.sandbox.control().report().arrived, 0);
    world.end().await;
}
