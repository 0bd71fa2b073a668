//! What of a call travels out, and what of an answer travels back.

use http::{HeaderMap, Request};
use http_body_util::Full;
use usersig_gateway::sandbox::Verdict;

use crate::canned_server::{CannedServer, answer};
use crate::client::exchange;
use crate::world::{Builder, World, post};

const GET_CALLBACK: &str = "/v4/live_config/get_callback";

/// What callers, their libraries and the proxies before them put into requests.
const FROM_CALLERS: &[(&str, &str)] = &[
    ("accept", "application/json;q=0.9"),
    ("accept-encoding", "br, gzip"),
    ("accept-language", "de"),
    ("authorization", "Bearer FAKEtoken"),
    ("baggage", "a=b"),
    ("cache-control", "no-cache"),
    ("content-type", "text/plain; charset=utf-16"),
    ("cookie", "session=FAKE"),
    ("expect", "100-continue"),
    ("forwarded", "for=10.0.0.1;host=evil.example"),
    ("from", "somebody@example.org"),
    ("host", "evil.example"),
    ("if-none-match", "\"x\""),
    ("keep-alive", "timeout=5"),
    ("max-forwards", "3"),
    ("pragma", "no-cache"),
    ("priority", "u=1"),
    ("proxy-authorization", "Basic FAKE"),
    ("range", "bytes=0-1"),
    ("referer", "http://example.org/?usersig=FAKE"),
    ("te", "trailers"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("tracestate", "a=b"),
    ("user-agent", "somebody/1.0"),
    ("via", "1.1 somebody"),
    ("x-caller", "gifts"),
    ("x-custom", "anything"),
    ("x-forwarded-for", "10.0.0.1"),
    ("x-forwarded-host", "evil.example"),
    ("x-gateway-max-wait", "1s"),
    ("x-gateway-timeout", "5s"),
    ("x-http-method-override", "GET"),
    ("x-real-ip", "10.0.0.1"),
    ("x-request-id", "mine"),
    ("x-tc-action", "DoSomething"),
];

#[tokio::test(flavor = "multi_thread")]
async fn only_the_headers_of_the_contract_travel_out() {
    let user_agent = concat!("usersig-gateway/", env!("CARGO_PKG_VERSION"));
    for plain in [true, false] {
        let builder = Builder::new();
        let world = if plain { builder.plain() } else { builder }.start().await;
        let mut request = post(GET_CALLBACK, "{\"a\":1}");
        for &(name, value) in FROM_CALLERS {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        assert_eq!(world.send(request).await.codes(), (200, 0));
        assert_eq!(world.send(post(GET_CALLBACK, "{}")).await.codes(), (200, 0));

        let report = world.report();
        let mut expected = vec![
            ("accept-encoding", "identity"),
            ("content-length", "7"),
            ("content-type", "application/json"),
            ("user-agent", user_agent),
        ];
        let authority = world.sandbox.address().to_string();
        if plain {
            // HTTP/2 has it in a field of its own.
            expected.push(("host", &authority));
        }
        let with_accept = [&expected[..], &[("accept", "application/json;q=0.9")]].concat();
        assert_eq!(sorted(&report.calls[0].headers), in_order(with_accept));
        expected[1] = ("content-length", "2");
        assert_eq!(sorted(&report.calls[1].headers), in_order(expected));
        assert!(report.calls.iter().all(|call| call.verdict == Verdict::Accepted));
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_accept_lines_travel_as_one() {
    let world = World::start().await;
    let mut request = post(GET_CALLBACK, "{}");
    for value in ["application/json", "text/*;q=0.5", "*/*;q=0.1"] {
        request.headers_mut().append("accept", value.parse().unwrap());
    }
    assert_eq!(world.send(request).await.codes(), (200, 0));
    let calls = world.report().calls;
    let sent: Vec<_> = calls[0].headers.get_all("accept").iter().collect();
    assert_eq!(sent, ["application/json, text/*;q=0.5, */*;q=0.1"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_query_parameters_travel_unchanged_and_in_order() {
    let world = World::start().await;
    for (sent, travels) in [
        ("", ""),
        ("?", ""),
        ("?nettype=5", "&nettype=5"),
        ("?b=2&a=1&b=1", "&b=2&a=1&b=1"),
        ("?a=1&usersig=x&b=2&RANDOM=7&random=8&c=3&identifier=me", "&a=1&b=2&c=3"),
        ("?UserSig&uSERSIG=&%55sersig=x&%75%73%65%72%73%69%67=y&d=4", "&d=4"),
        ("?contenttype=xml&ContentType=json&sdkappid=1400000001&e=5", "&e=5"),
        ("?a=%20+%2B%c3%A4&b=/?:@!$'()*,;", "&a=%20+%2B%c3%A4&b=/?:@!$'()*,;"),
        (
            "?usersig2=a&xusersig=b&user-sig=c&%2575sersig=d",
            "&usersig2=a&xusersig=b&user-sig=c&%2575sersig=d",
        ),
        ("?a=usersig=b&=usersig&c", "&a=usersig=b&=usersig&c"),
        ("?&&a=1&&", "&&&a=1&&"),
    ] {
        let answer = world.send(post(&format!("{GET_CALLBACK}{sent}"), "{}")).await;
        assert_eq!(answer.codes(), (200, 0), "{sent}");
        let calls = world.report().calls;
        let call = calls.last().unwrap();
        let query = call.query.as_deref().unwrap();
        let five = [
            format!("sdkappid={}", call.parameters.sdkappid[0]),
            "identifier=administrator".to_owned(),
            format!("usersig={}", call.parameters.usersig[0]),
            format!("random={}", call.parameters.random[0]),
            "contenttype=json".to_owned(),
        ];
        assert_eq!(query.strip_prefix(five.join("&").as_str()), Some(travels), "{sent}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_random_is_another_each_time_and_any_of_32_bits() {
    let world = World::start().await;
    let mut client = world.client().await;
    for _ in 0..100 {
        client.send(post(GET_CALLBACK, "{}")).await;
    }
    let randoms: std::collections::BTreeSet<u32> =
        world.report().calls.iter().map(|call| call.parameters.random[0].parse().unwrap()).collect();
    assert!(randoms.len() >= 99, "of 100 numbers of 32 bits two hardly ever agree");
    let quarters: std::collections::BTreeSet<u32> = randoms.iter().map(|random| random >> 30).collect();
    assert_eq!(quarters.len(), 4, "{randoms:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_travels_byte_for_byte_and_an_empty_one_as_braces() {
    let world = World::start().await;
    let long = format!("{{\"Text\":\"{}\"}}", "ä".repeat(100_000));
    for (sent, travels) in [
        ("{}", "{}"),
        ("", "{}"),
        (" \r\n\t", "{}"),
        (
            " { \"b\" : 1.0e3 ,\"a\":\"\\u00e4\u{e4}\\/\", \"b\":2 }\n",
            " { \"b\" : 1.0e3 ,\"a\":\"\\u00e4\u{e4}\\/\", \"b\":2 }\n",
        ),
        (
            "{\"MsgSeq\":123456789012345678901234567890,\"x\":-0.0}",
            "{\"MsgSeq\":123456789012345678901234567890,\"x\":-0.0}",
        ),
        (&long, &long),
    ] {
        assert_eq!(world.send(post(GET_CALLBACK, sent)).await.codes(), (200, 0), "{sent:.60}");
        let calls = world.report().calls;
        assert!(calls.last().unwrap().body == travels.as_bytes(), "{sent:.60}");
    }
    // Without any length, and in pieces.
    let bare = format!("POST {GET_CALLBACK} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert_eq!(exchange(world.host(), bare.as_bytes()).await.codes(), (200, 0));
    let pieces = format!(
        "POST {GET_CALLBACK} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n\
         3\r\n{{\"a\r\n4\r\n\":1}}\r\n0\r\nx: y\r\n\r\n"
    );
    assert_eq!(exchange(world.host(), pieces.as_bytes()).await.codes(), (200, 0));
    let calls = world.report().calls;
    let [.., bare, pieces] = &calls[..] else { panic!("two calls") };
    assert_eq!((&bare.body[..], &pieces.body[..]), (&b"{}"[..], &b"{\"a\":1}"[..]));
    assert_eq!(pieces.headers["content-length"], "7");
    assert!(!pieces.headers.contains_key("trailer"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_answers_headers_only_its_type_and_date_travel_back() {
    let upstream = CannedServer::tcp(&[answer!(
        "200 OK",
        "Server: nginx/1.7.10\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\
         Access-Control-Expose-Headers: x\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nX-Tencent-Error-Code: 7\r\n\
         X-Request-Id: theirs\r\nServer-Timing: theirs\r\nRateLimit: \"x\";r=0\r\nProxy-Status: theirs\r\n\
         Retry-After: 9\r\nLocation: http://evil.example/\r\nVia: 1.1 x\r\nKeep-Alive: timeout=5\r\nAllow: GET\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: application/json;charset=UTF-8",
        "{\"ErrorCode\":0,\"RequestId\":\"Id-1\"}"
    )]);
    let world = Builder::new().calling(&[&upstream.url]).start().await;
    let answer = world.call("live_config/get_callback", "{}").await;
    assert_eq!(
        answer.header_names(),
        [
            "content-length",
            "content-type",
            "date",
            "ratelimit",
            "ratelimit-policy",
            "server-timing",
            "x-request-id",
            "x-tencent-error-code",
            "x-tencent-request-id"
        ]
    );
    assert_eq!(answer.header("content-type"), "application/json;charset=UTF-8");
    assert_eq!(answer.header("date"), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!((answer.header("x-tencent-error-code"), answer.header("x-tencent-request-id")), ("0", "Id-1"));
    assert!(answer.header("x-request-id").starts_with("gw-"));
    assert!(answer.header("server-timing").starts_with("wait;dur="));
    assert!(answer.header("ratelimit").starts_with("\"live_config/get_callback\";r="));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let elsewhere = CannedServer::tcp(&[answer!("200 OK", "{\"ErrorCode\":0}")]);
    let redirect: &'static str = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nconnection: close\r\nlocation: {}/v4/a/b\r\n\r\nmoved",
        elsewhere.url
    )
    .leak();
    let upstream = CannedServer::tcp(&[redirect]);
    let world = Builder::new().calling(&[&upstream.url]).start().await;
    let answer = world.call("live_config/get_callback", "{}").await;
    assert_eq!(answer.codes(), (502, 9_900_502));
    assert_eq!(answer.header("location"), "");
    // It still waits for its first request.
    let request = Request::get("/").header("content-length", "0").body(Full::default()).unwrap();
    crate::client::send(elsewhere.url.strip_prefix("http://").unwrap(), request).await;
    assert!(elsewhere.asked()[0].head.starts_with("GET / "));
    world.end().await;
}

/// Names and values, sorted.
fn sorted(headers: &HeaderMap) -> Vec<(&str, &str)> {
    in_order(headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect())
}

fn in_order<'a>(mut headers: Vec<(&'a str, &'a str)>) -> Vec<(&'a str, &'a str)> {
    headers.sort_unstable();
    headers
}
