//! Tencent's answers as callers get them: byte for byte, with what the gateway tells beside.

use std::num::NonZeroU32;

use usersig_gateway::gateway::admission::Mode;
use usersig_gateway::gateway::outcome::HELD_BACK;
use usersig_gateway::model::error_code::ErrorCode;
use usersig_gateway::sandbox::{Effect, Fault};

use crate::canned_server::{AnswerTo, CannedServer};
use crate::world::{Answer, Builder, World, post};

const KIB: usize = 1024;

/// An answer of Tencent's: its HTTP status, its body, and the code that counts.
struct Case {
    status: &'static str,
    body: &'static str,
    code: i64,
    outcome: &'static str,
}

const CASES: &[Case] = &[
    Case {
        status: "200 OK",
        body: r#"{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":""}"#,
        code: 0,
        outcome: "ok",
    },
    // Spelling that a parser would not give back.
    Case {
        status: "200 OK",
        body: " {\t\"ErrorInfo\" : \"\\u00e4\u{e4}\\/\",\r\n\"n\":1.0e3, \"n\":-0, \"ErrorCode\" : 0 }\n",
        code: 0,
        outcome: "ok",
    },
    Case { status: "200 OK", body: r#"{"ErrorCode":"60007"}"#, code: 60007, outcome: "throttled" },
    Case {
        status: "200 OK",
        body: r#"{"ErrorCode":70107,"Response":{"ErrorCode":0}}"#,
        code: 70107,
        outcome: "tencent_error",
    },
    Case {
        status: "200 OK",
        body: r#"{"Response":{"ErrorCode":70107},"a":["ErrorCode"],"ErrorCode":0}"#,
        code: 0,
        outcome: "ok",
    },
    Case {
        status: "200 OK",
        body: r#"{"Error\u0043ode":70009,"ErrorInfo":"\"ErrorCode\":0"}"#,
        code: 70009,
        outcome: "auth",
    },
    Case {
        status: "200 OK",
        body: r#"{"ErrorCode":-9223372036854775808}"#,
        code: i64::MIN,
        outcome: "tencent_error",
    },
    // The code decides, and the status travels as it is.
    Case {
        status: "500 Internal Server Error",
        body: r#"{"ErrorCode":100001}"#,
        code: 100_001,
        outcome: "tencent_error",
    },
    Case { status: "502 Bad Gateway", body: r#"{"ErrorCode":0}"#, code: 0, outcome: "ok" },
];

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_comes_back_byte_for_byte_and_its_code_beside() {
    let answers = CASES.iter().map(|case| -> AnswerTo {
        let head =
            format!("HTTP/1.1 {}\r\nconnection: close\r\ncontent-type: text/plain\r\n\r\n", case.status);
        Box::new(move |_| (head + case.body).into())
    });
    let upstream = CannedServer::answering(answers.collect());
    // Each answer goes to one call: none is repeated, nor waits for another turn.
    let once = Builder::new().tuned(|live| {
        live.retry.max_attempts = NonZeroU32::MIN;
        live.ceiling.mode = Mode::Off;
    });
    let world = once.calling(&[&upstream.url]).start().await;
    for case in CASES {
        let answer = world.call("live_config/get_callback", "{}").await;
        assert_eq!(answer.body, case.body);
        assert_eq!(answer.status.as_str(), &case.status[..3], "{}", case.body);
        assert_eq!(answer.header("x-tencent-error-code"), case.code.to_string(), "{}", case.body);
        assert_eq!(answer.header("content-type"), "text/plain", "as it came");
        let refused = format!("usersig-gateway; received-status={}; details=\"tencent-", &case.status[..3]);
        let told = answer.header("proxy-status");
        assert!(told.starts_with(&refused) != (case.code == 0), "{}: {told}", case.body);
        let metrics = world.metrics().await;
        let labels = [("error_code", &*case.code.to_string()), ("outcome", case.outcome)];
        assert!(metrics.sum("calls_total", &labels) >= 1.0, "{}", case.body);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_tells_beside_an_answer() {
    let world = World::start().await;
    let answer = world.call("live_config/get_callback", "{}").await;
    let body = answer.json();
    assert_eq!(answer.header("x-tencent-error-code"), "0");
    assert_eq!(answer.header("x-tencent-request-id"), body["RequestId"].as_str().unwrap());
    assert_eq!(answer.header("ratelimit-policy"), "\"live_config/get_callback\";q=200;w=1");
    let remaining = number_between(answer.header("ratelimit"), "\"live_config/get_callback\";r=", ";t=1");
    assert!((190.0..200.0).contains(&remaining), "{remaining} of 200");
    let (wait, upstream) = answer.header("server-timing").split_once(", ").unwrap();
    assert!(number_between(wait, "wait;dur=", "") < 1000.0);
    assert!(number_between(upstream, "upstream;dur=", "") > 0.0);
    assert_eq!(answer.header("proxy-status"), "");
    assert_eq!(answer.header("access-control-allow-origin"), "", "the sandbox sends it, as Tencent does");

    // Classic Chat has no RequestId, and an API with a ceiling of its own says so.
    let chat = world.call("im_open_login_svc/account_check", "{\"CheckItem\":[]}").await;
    assert!(!chat.headers.contains_key("x-tencent-request-id"));
    assert_eq!(chat.header("ratelimit-policy"), "\"im_open_login_svc/account_check\";q=100;w=1");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_ceiling_there_is_nothing_to_tell_of_it() {
    let builder = Builder::new().tuned(|live| {
        live.ceiling.mode = Mode::Off;
    });
    let world = builder.start().await;
    let answer = world.call("live_config/get_callback", "{}").await;
    assert_eq!(answer.codes(), (200, 0));
    assert_eq!((answer.header("ratelimit"), answer.header("ratelimit-policy")), ("", ""));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_request_id_is_kept_if_it_is_one() {
    let world = World::start().await;
    let longest = "~".repeat(128);
    for id in ["x", "0af7651916cd43dd", &longest] {
        assert_eq!(with_request_id(&world, id).await.header("x-request-id"), id);
    }
    let too_long = "~".repeat(129);
    let mut made = std::collections::HashSet::new();
    for id in ["", "two words", "tab\there", &too_long] {
        let answer = with_request_id(&world, id).await;
        let id = answer.header("x-request-id").to_owned();
        assert!(id.strip_prefix("gw-").is_some_and(|hex| hex.len() == 32), "{id}");
        assert!(made.insert(id), "one made for each call");
    }
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("ignored_headers_total", &[("header", "request_id")]), 4.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_answer_is_unpacked() {
    let world = World::start().await;
    world
        .call(
            "live_config/set_callback",
            "{\"Url\":\"https://a.example\",\"CallbackCommandList\":[\"Live.CallbackAfterCreateRoom\"]}",
        )
        .await;
    let plain = world.call("live_config/get_callback", "{}").await;
    world.sandbox.control().inject(Fault::new(Effect::Gzip)).unwrap();
    let unpacked = world.call("live_config/get_callback", "{}").await;
    assert_eq!(unpacked.codes(), (200, 0));
    assert_eq!(unpacked.json()["Response"], plain.json()["Response"]);
    assert_eq!(unpacked.json()["Response"]["Url"], "https://a.example");
    assert_eq!(unpacked.header("content-encoding"), "");
    assert_eq!(unpacked.header("x-tencent-error-code"), "0");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_held_back_up_to_256_kib_and_a_longer_one_streamed() {
    let world = World::start().await;
    for (bytes, whole) in
        [(64 * KIB, true), (HELD_BACK, true), (HELD_BACK + 1, false), (2 * KIB * KIB, false)]
    {
        let answer = large(&world, bytes).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, bytes));
        // No webhook token is set; the code stands at the very end.
        assert_eq!(answer.error_code(), 100_302);
        // What can only be told at the end.
        for name in ["x-tencent-error-code", "x-tencent-request-id", "proxy-status", "content-length"] {
            assert_eq!(answer.headers.contains_key(name), whole, "{name} at {bytes} bytes");
        }
        assert_eq!(answer.header("x-tencent-error-code"), if whole { "100302" } else { "" });
        for name in ["x-request-id", "server-timing", "ratelimit", "ratelimit-policy", "content-type"] {
            assert_ne!(answer.header(name), "", "{name} at {bytes} bytes");
        }
    }
    let metrics = world.metrics().await;
    let labels =
        [("api", "live_config/get_callback_token"), ("error_code", "100302"), ("outcome", "tencent_error")];
    assert_eq!(metrics.sum("calls_total", &labels), 4.0, "streamed ones too");
    // All on one upstream connection: it was read to its end each time.
    assert_eq!(world.report().connections, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_over_the_bound_is_not_relayed() {
    let mut builder = Builder::new();
    builder.boot.limits.answer_body = 300 * KIB;
    let world = builder.start().await;
    assert_eq!(large(&world, 300 * KIB).await.codes(), (200, 100_302));
    let answer = large(&world, 300 * KIB + 1).await;
    assert_eq!(answer.codes(), (502, 9_900_502));
    assert!(answer.error_info().contains("longer than 307200 bytes"), "{}", answer.error_info());
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("calls_total", &[("error_code", "9900502"), ("outcome", "fault")]), 1.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_answer_that_goes_wrong_is_broken_off() {
    let endless = || -> AnswerTo {
        Box::new(|_| {
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"ErrorCode\":0,\"Padding\":\"";
            (head.to_owned() + &"x".repeat(500 * KIB) + "\"}").into()
        })
    };
    let cut: AnswerTo = Box::new(|_| {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 307200\r\n\r\n{\"ErrorCode\":0,\"Padding\":\"";
        (head.to_owned() + &"x".repeat(280 * KIB)).into()
    });
    let not_json: AnswerTo = Box::new(|_| {
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"ErrorCode\":0,\"Padding\":\"";
        (head.to_owned() + &"x".repeat(280 * KIB) + "\"").into()
    });
    let upstream = CannedServer::answering(vec![endless(), cut, not_json]);
    let mut builder = Builder::new().calling(&[&upstream.url]);
    builder.boot.limits.answer_body = 300 * KIB;
    let world = builder.start().await;
    for _ in 0..3 {
        let answer = world.client().await.try_send(post("/v4/live_config/get_callback", "{}")).await;
        assert!(answer.is_err(), "nobody takes a part for the whole");
    }
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("calls_total", &[("error_code", "9900502"), ("outcome", "fault")]), 3.0);
    assert_eq!(metrics.sum("calls_total", &[]), 3.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_in_each_documented_shape_are_understood() {
    let world = World::start().await;
    for (path, code) in [
        ("/v4/openim/sendmsg", 0),
        ("/v4/sns/friend_add", 0),
        ("/v4/live_config/get_callback", 0),
        ("/v4/live_config/get_callback_token", 100_302),
        ("/v4/live_engine_http_srv/get_gift", 0),
        ("/v1/callback/set", 0),
    ] {
        let answer = world.send(post(path, "{}")).await;
        assert_eq!(answer.header("x-tencent-error-code"), code.to_string(), "{path}: {}", answer.json());
    }
    let inject = |code| world.sandbox.control().inject(Fault::new(Effect::Answer(ErrorCode(code)))).unwrap();
    inject(60026);
    assert_eq!(world.send(post("/v1/callback/set", "{}")).await.header("x-tencent-error-code"), "60026");
    world.end().await;
}

async fn with_request_id(world: &World, id: &str) -> Answer {
    let mut request = post("/v4/live_config/get_callback", "{}");
    request.headers_mut().insert("x-request-id", id.parse().unwrap());
    world.send(request).await
}

async fn large(world: &World, bytes: usize) -> Answer {
    world.sandbox.control().inject(Fault::new(Effect::Large(bytes))).unwrap();
    world.call("live_config/get_callback_token", "{}").await
}

fn number_between(text: &str, before: &str, after: &str) -> f64 {
    let number = text.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    number.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}
