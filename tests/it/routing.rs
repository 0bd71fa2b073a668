//! Which app and which API a call means, and where it goes: nowhere else, whatever its caller writes.

use std::sync::Arc;

use http::{Method, Request};
use http_body_util::Full;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::gateway::admission::ApiCeiling;
use usersig_gateway::gateway::target::{App, Apps, Endpoints};
use usersig_gateway::model::error_code::ErrorCode;
use usersig_gateway::model::region::Region;
use usersig_gateway::model::secret::SecretKey;
use usersig_gateway::sandbox::{self, Effect, Fault, Sandbox, SandboxApp, Verdict};

use crate::canned_server::CannedServer;
use crate::client::exchange;
use crate::world::{Answer, Builder, World, api, key, post, sdkappid};

const GET_CALLBACK: &str = "/v4/live_config/get_callback";

#[tokio::test(flavor = "multi_thread")]
async fn a_call_reaches_the_app_that_it_names() {
    let world = two_apps(true).await;
    for (path, sdkappid, identifier) in [
        ("/v4/live_config/get_callback", "1400000001", "administrator"),
        ("/apps/live/v4/live_config/get_callback", "1400000001", "administrator"),
        ("/apps/chat/v4/live_config/get_callback", "1400000002", "robot"),
        ("/v4/live_config/get_callback?sdkappid=1400000002", "1400000002", "robot"),
        ("/v4/live_config/get_callback?a=b&SDKAppID=1400000002", "1400000002", "robot"),
        ("/v4/live_config/get_callback?%73dk%41ppid=1400000002", "1400000002", "robot"),
        ("/v4/live_config/get_callback?sdkappid=%31400000002", "1400000002", "robot"),
        ("/v4/live_config/get_callback?sdkappid=1400000002&SdkAppId=1400000002", "1400000002", "robot"),
        ("/apps/chat/v4/live_config/get_callback?sdkappid=1400000002", "1400000002", "robot"),
    ] {
        assert_eq!(world.send(post(path, "{}")).await.codes(), (200, 0), "{path}");
        let calls = world.report().calls;
        let call = calls.last().unwrap();
        assert_eq!((&*call.path, call.verdict), (GET_CALLBACK, Verdict::Accepted), "{path}");
        assert_eq!(call.parameters.sdkappid, [sdkappid], "{path}");
        assert_eq!(call.parameters.identifier, [identifier], "{path}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_not_there_is_404_with_those_that_are() {
    let world = two_apps(false).await;
    for path in ["/apps/nobody/v4/live_config/get_callback", "/v4/live_config/get_callback?sdkappid=7"] {
        let answer = world.send(post(path, "{}")).await;
        assert_eq!(answer.codes(), (404, 9_900_404), "{path}");
        assert!(answer.error_info().contains("there are chat, live"), "{}", answer.error_info());
    }
    let none = world.send(post(GET_CALLBACK, "{}")).await;
    assert_eq!(none.codes(), (400, 9_900_400), "none is the default");
    assert!(none.error_info().contains("there are chat, live"), "{}", none.error_info());
    assert_eq!(world.report().arrived, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_contradicts_itself_is_400() {
    let world = two_apps(true).await;
    for (path, told) in [
        ("/apps/live/v4/live_config/get_callback?sdkappid=1400000002", "the path names the app live"),
        ("/v4/live_config/get_callback?sdkappid=1400000001&sdkappid=1400000002", "twice"),
        ("/v4/live_config/get_callback?sdkappid=1400000001&%53dkappid=1400000002", "twice"),
        ("/v4/live_config/get_callback?sdkappid=live", "\"live\""),
        ("/v4/live_config/get_callback?sdkappid=", "\"\""),
        ("/v4/live_config/get_callback?sdkappid", "\"\""),
    ] {
        let answer = world.send(post(path, "{}")).await;
        assert_eq!(answer.codes(), (400, 9_900_400), "{path}");
        assert!(answer.error_info().contains(told), "{path}: {}", answer.error_info());
    }
    assert_eq!(world.report().arrived, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_path_gets_a_clear_no_and_is_never_sent() {
    let world = World::start().await;
    for (path, status) in [
        ("/", 404),
        ("/v4", 404),
        ("/v4/live_config", 404),
        ("/v4/live_config/get_callback/more", 404),
        ("/v2/live_config/get_callback", 404),
        ("/V4/live_config/get_callback", 404),
        ("/Apps/live/v4/live_config/get_callback", 404),
        ("/apps/live/live_config/get_callback", 404),
        ("/sandbox/report", 404),
        ("/metrics", 404),
        ("*", 404),
        ("/v4/live_config/get_callback/", 400),
        ("//v4/live_config/get_callback", 400),
        ("/v4//live_config/get_callback", 400),
        ("/v4/live_config//get_callback", 400),
        ("/v4/./live_config/get_callback", 400),
        ("/v4/../v4/live_config/get_callback", 400),
        ("/v4/live_config/..", 400),
        ("/v4/live_config/get.callback", 400),
        ("/v4/live_config%2fget_callback", 400),
        ("/v4/live_config%2Fget_callback/x", 400),
        ("/%76%34/live_config/get_callback", 400),
        ("/v4/live_config/get_callback%00", 400),
        ("/v4/live_config/get_callback%0d%0ax:y", 400),
        ("/v4/live_config/%2e%2e", 400),
        ("/v4/live_config/get_callb\u{e4}ck", 400),
        ("/v4/live_config/get_callb%C3%A4ck", 400),
        ("/v4/live_config/get_callback;a=b", 400),
        ("/v4/live_config/get_callback\\x", 400),
        ("/apps/../v4/live_config/get_callback", 400),
        ("/apps/%6cive/v4/live_config/get_callback", 400),
    ] {
        let answer = raw(&world, "POST", path, "").await;
        assert_eq!(answer.codes(), (status, 9_900_000 + i64::from(status)), "{path}");
    }
    let long = format!("/v4/live_config/{}", "x".repeat(65));
    assert_eq!(raw(&world, "POST", &long, "").await.codes(), (400, 9_900_400));
    // No HTTP at all any more.
    assert_eq!(raw(&world, "POST", "/v4/live_config/get_callback\0", "").await.status, 400);
    assert_eq!(world.report().arrived, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_is_kept_and_other_case_is_another_api() {
    let world = World::start().await;
    for path in ["/v4/ConfigSvc/GetIPList", "/v4/configsvc/getiplist"] {
        world.send(post(path, "{}")).await;
        assert_eq!(world.report().calls.last().unwrap().path, path);
    }
    let metrics = world.metrics().await;
    for api in ["ConfigSvc/GetIPList", "configsvc/getiplist"] {
        assert_eq!(metrics.sum("calls_total", &[("api", api)]), 1.0, "{api}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_caller_sends_chooses_the_host() {
    // Whoever reads this server's log would see the UserSig.
    let evil = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = evil.local_addr().unwrap();
    evil.set_nonblocking(true).unwrap();
    let world = Builder::new().plain().start().await;
    for target in [
        format!("http://{elsewhere}/v4/live_config/get_callback"),
        format!("https://somebody@{elsewhere}/v4/live_config/get_callback"),
        GET_CALLBACK.to_owned(),
        format!("{GET_CALLBACK}?host={elsewhere}&domain={elsewhere}"),
    ] {
        let headers = format!("x-forwarded-host: {elsewhere}\r\nforwarded: host={elsewhere}\r\n");
        let request = format!(
            "POST {target} HTTP/1.1\r\nhost: {elsewhere}\r\n{headers}connection: close\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        let answer = exchange(world.host(), request.as_bytes()).await;
        assert_eq!(answer.codes(), (200, 0), "{target}");
    }
    let report = world.report();
    assert_eq!(report.arrived, 4);
    for call in &report.calls {
        assert_eq!(call.path, GET_CALLBACK);
        assert_eq!(call.headers["host"], world.sandbox.address().to_string());
    }
    assert_eq!(evil.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_post_is_taken() {
    let world = World::start().await;
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        let request = Request::builder().method(&method).uri(GET_CALLBACK).body(Full::default()).unwrap();
        let answer = world.send(request).await;
        assert_eq!(answer.codes(), (405, 9_900_405), "{method}");
        assert_eq!(answer.header("allow"), "POST");
        assert!(answer.error_info().contains(method.as_str()), "{}", answer.error_info());
    }
    let head = Request::head(GET_CALLBACK).body(Full::default()).unwrap();
    let answer = world.send(head).await;
    assert_eq!((answer.status.as_u16(), answer.header("allow"), answer.body.len()), (405, "POST", 0));
    assert_eq!(raw(&world, "FROBNICATE", GET_CALLBACK, "").await.codes(), (405, 9_900_405));
    // A page under a name that leads here can send a GET and read the answer: it learns the same wherever it asks.
    for path in [
        "/",
        "/v4/nothing",
        "/apps/nobody/v4/live_config/get_callback",
        "/v4/live_config/get_callback?sdkappid=7",
    ] {
        let answer = raw(&world, "GET", path, "").await;
        assert_eq!(answer.codes(), (405, 9_900_405), "{path}");
        assert!(!answer.error_info().contains("live"), "{path}: {}", answer.error_info());
    }
    assert_eq!(world.report().arrived, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_from_browsers_are_refused_before_they_learn_anything() {
    let world = World::start().await;
    for headers in ["origin: null\r\n", "sec-fetch-site: same-origin\r\n", "Sec-Fetch-Mode: cors\r\n"] {
        for path in [GET_CALLBACK, "/apps/nobody/v4/a/b", "/nowhere"] {
            let answer = raw(&world, "POST", path, headers).await;
            assert_eq!(answer.codes(), (403, 9_900_403), "{path}");
            assert!(!answer.error_info().contains("live"), "{}", answer.error_info());
        }
    }
    assert_eq!(world.report().arrived, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_nobody_knows_is_passed_on_under_the_default_ceiling() {
    let world = Builder::new().tuned(|live| live.ceiling.per_second = 150.try_into().unwrap()).start().await;
    world.sandbox.control().inject(Fault::new(Effect::Answer(ErrorCode(0)))).unwrap();
    let answer = world.call("brand_new/thing", "{}").await;
    assert_eq!(answer.codes(), (200, 0));
    assert_eq!(answer.header("ratelimit-policy"), "\"brand_new/thing\";q=150;w=1");
    assert_eq!(world.report().calls[0].path, "/v4/brand_new/thing");
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("calls_total", &[("api", "brand_new/thing"), ("outcome", "ok")]), 1.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_a_thousand_unknown_apis_all_share_one_bucket_and_label() {
    const OWN: usize = 1_000;
    let per_second = 3;
    let named = "surely/wanted";
    let world = Builder::new()
        .tuned(move |live| {
            live.ceiling.per_second = per_second.try_into().unwrap();
            live.ceiling.api.insert(api(named), ApiCeiling::per_second(per_second.try_into().unwrap()));
        })
        .start()
        .await;
    let mut client = world.client().await;
    for n in 0..OWN {
        // 60009: the sandbox does not know it either.
        assert_eq!(client.send(post(&format!("/v4/made_up/n{n}"), "{}")).await.codes(), (200, 60009), "{n}");
    }
    for n in OWN..OWN + 5 {
        assert_eq!(client.send(post(&format!("/v4/made_up/n{n}"), "{}")).await.codes(), (200, 60009), "{n}");
        assert_eq!(world.report().calls.last().unwrap().path, format!("/v4/made_up/n{n}"));
    }
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("calls_total", &[("api", "other")]), 5.0);
    assert_eq!(metrics.series("call_duration_seconds_count", &[]), OWN + 1);
    assert_eq!(metrics.sum("ceiling_limit", &[("api", "other")]), f64::from(per_second));
    // Five calls of five APIs under one ceiling of three: the second second saw at least the last two.
    let arrivals: Vec<_> = world.report().calls.iter().map(|call| call.arrived).collect();
    let took = arrivals[OWN + 4].duration_since(arrivals[OWN]);
    assert!(took.as_millis() >= 1000, "{took:?}");
    // The catalogue's APIs, those of the settings and those of other apps keep their own.
    assert_eq!(client.send(post(GET_CALLBACK, "{}")).await.codes(), (200, 0));
    client.send(post(&format!("/v4/{named}"), "{}")).await;
    let metrics = world.metrics().await;
    for api in ["live_config/get_callback", named, "made_up/n0"] {
        assert_eq!(metrics.sum("calls_total", &[("api", api)]), 1.0, "{api}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_calls_of_made_up_apis_leave_room_for_those_that_are_called() {
    const MORE_THAN_OWN: usize = 1_001;
    let world = World::start().await;
    let mut client = world.client().await;
    for n in 0..MORE_THAN_OWN {
        let body = if n % 2 == 0 { "[]" } else { "no json" };
        let request = post(&format!("/v4/made_up/n{n}"), body);
        assert_eq!(client.send(request).await.error_code(), 9_900_400, "{n}");
    }
    // 60009: the sandbox does not know it either.
    assert_eq!(client.send(post("/v4/made_up/called", "{}")).await.codes(), (200, 60009));
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("calls_total", &[("api", "made_up/called")]), 1.0);
    assert_eq!(metrics.sum("calls_total", &[("api", "other"), ("outcome", "refused")]), 1001.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_call_family_has_hosts_and_answers_of_its_own() {
    let settings =
        sandbox::Settings { apps: vec![SandboxApp::new(sdkappid(), vec![key()])], ..Default::default() };
    let old = Sandbox::start(settings, Arc::new(SystemClock)).await.unwrap();
    let old_url = old.url();
    let world =
        Builder::new().with_app(move |app| app.endpoints.v1 = vec![old_url.parse().unwrap()]).start().await;
    old.control()
        .inject_all(vec![Fault::new(Effect::Serve), Fault::new(Effect::Answer(ErrorCode(70001)))])
        .unwrap();

    let good = world.send(post("/v1/callback/set?a=b", "{\"Url\":\"u\"}")).await;
    assert_eq!((good.status.as_u16(), good.header("x-tencent-error-code")), (200, "0"));
    assert_eq!(good.json()["errorCode"], 0, "camelCase, byte for byte");
    assert_eq!(good.header("x-tencent-request-id"), good.json()["requestId"].as_str().unwrap());
    let bad = world.send(post("/apps/live/v1/callback/set", "{}")).await;
    assert_eq!((bad.status.as_u16(), bad.header("x-tencent-error-code")), (200, "70001"));
    assert_eq!(world.call("live_config/get_callback", "{}").await.codes(), (200, 0));

    assert_eq!(world.report().arrived, 1, "only the v4 call");
    let report = old.control().report();
    let paths: Vec<_> = report.calls.iter().map(|call| (&*call.path, &*call.parameters.usersig[0])).collect();
    assert_eq!(paths.len(), 2);
    assert!(paths.iter().all(|(path, usersig)| *path == "/v1/callback/set" && !usersig.is_empty()));
    let metrics = world.metrics().await;
    for (code, outcome) in [("0", "ok"), ("70001", "tencent_error")] {
        let labels = [("api", "v1/callback/set"), ("error_code", code), ("outcome", outcome)];
        assert_eq!(
            metrics.sum("calls_total", &labels),
            1.0,
            "{code}: a bad callback address there, no UserSig"
        );
    }
    world.end().await;
    old.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_means_its_own_domains_and_no_others() {
    for (path, region, asked) in [
        (
            "/v4/live_config/get_callback",
            Region::Singapore,
            &["adminapisgp.im.qcloud.com", "adminapisgp.my-imcloud.com"][..],
        ),
        ("/v4/live_config/get_callback", Region::China, &["console.tim.qq.com", "adminapi.my-imcloud.com"]),
        ("/v1/callback/set", Region::Jakarta, &["callkit-intl.trtc.tencent-cloud.com"]),
        ("/v1/callback/set", Region::China, &["callkit.trtc.tencent-cloud.com"]),
    ] {
        // An egress proxy is asked for every host by name, and here it opens the way to none.
        let proxy =
            CannedServer::tcp(&vec!["HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"; asked.len()]);
        let url = proxy.url.clone();
        let world = Builder::new()
            .with_app(move |app| {
                app.region = Some(region);
                app.endpoints = Endpoints::of_region(region);
            })
            .tuned(move |live| live.upstream.egress_proxy = Some(url.parse().unwrap()))
            .start()
            .await;
        let answer = world.send(post(path, "{}")).await;
        assert_eq!(answer.codes(), (502, 9_900_502));
        assert!(answer.error_info().contains("the call was not sent"), "{}", answer.error_info());
        let connects: Vec<String> =
            proxy.asked().iter().map(|asked| asked.head.lines().next().unwrap().to_owned()).collect();
        let expected: Vec<_> = asked.iter().map(|host| format!("CONNECT {host}:443 HTTP/1.1")).collect();
        assert_eq!(connects, expected);
        world.end().await;
    }
}

/// Two apps, `live` and `chat`, of which `live` is the default if there is one.
async fn two_apps(with_default: bool) -> World {
    let chat_key = || SecretKey::new("FAKEchat").unwrap();
    let chat_id = "1400000002".parse().unwrap();
    let mut builder = Builder::new();
    builder.sandbox.apps.push(SandboxApp {
        administrators: vec!["robot".parse().unwrap()],
        ..SandboxApp::new(chat_id, vec![chat_key()])
    });
    let tune = move |live: &mut usersig_gateway::gateway::Settings| {
        let first = (**live.apps.named("live").unwrap()).clone();
        let second = App {
            name: "chat".parse().unwrap(),
            sdkappid: chat_id,
            identifier: "robot".parse().unwrap(),
            keys: vec![chat_key()],
            ..first.clone()
        };
        live.apps = Apps::default();
        live.apps.add(first, with_default).unwrap();
        live.apps.add(second, false).unwrap();
    };
    builder.tuned(tune).start().await
}

/// Sends a request line of which no library would let all pass.
async fn raw(world: &World, method: &str, target: &str, headers: &str) -> Answer {
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n{headers}\r\n{{}}"
    );
    exchange(world.host(), request.as_bytes()).await
}
