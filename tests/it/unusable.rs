//! What comes back from Tencent's side and is no answer: named, counted, and never relayed.

use base64::Engine as _;
use usersig_gateway::sandbox::{Effect, Fault};

use crate::canned_server::{AnswerTo, Asked, CannedServer, answer};
use crate::world::{Builder, World, post};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_becomes_the_gateways_own_502() {
    let world = Builder::new().trying_once().start().await;
    let faults = [
        (Effect::Truncate, "HTTP status 200, the connection broke in the middle of the body"),
        (Effect::Empty, "HTTP status 200, the body is empty"),
        (Effect::NotJson, "HTTP status 200, the body is not JSON: it goes wrong at byte 0"),
        (Effect::BadGateway, "HTTP status 502, the body is a page of HTML or XML instead of JSON"),
        (Effect::EchoUrlInHtml, "HTTP status 404, the body is a page of HTML or XML instead of JSON"),
    ];
    let count = faults.len();
    for (effect, told) in faults {
        let name = format!("{effect:?}");
        world.sandbox.control().inject(Fault::new(effect)).unwrap();
        let answer = world.call("live_config/get_callback", "{}").await;
        assert_eq!(answer.codes(), (502, 9_900_502), "{name}");
        let expected = format!(
            "{} gave no usable answer: {told}; the call may have been executed",
            world.sandbox.address()
        );
        assert_eq!(answer.error_info(), expected, "{name}");
        assert_eq!(answer.header("content-type"), "application/json", "{name}");
        assert_eq!(
            answer.header("proxy-status"),
            "usersig-gateway; error=http_protocol_error; details=\"unusable-answer\"",
            "{name}"
        );
        // Nothing of the page, nor of the headers that came with it.
        for foreign in ["<", "nginx", "busy", "requested URL", "usersig="] {
            assert!(!answer.error_info().contains(foreign), "{name}: {}", answer.error_info());
        }
    }
    assert_eq!(world.report().arrived, count as u64, "none was sent twice");
    let metrics = world.metrics().await;
    let labels = [("error_code", "9900502"), ("outcome", "fault")];
    assert_eq!(metrics.sum("calls_total", &labels), count as f64);
    assert_eq!(metrics.sum("refused_total", &[]), 0.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_without_a_code_of_its_own_is_no_answer_either() {
    let cases = [
        (answer!("200 OK", "{\"ActionStatus\":\"OK\"}"), "a JSON object without ErrorCode"),
        (answer!("200 OK", "{\"Response\":{\"ErrorCode\":0}}"), "a JSON object without ErrorCode"),
        (answer!("200 OK", "{\"errorCode\":0}"), "a JSON object without ErrorCode"),
        (answer!("200 OK", "{\"ErrorCode\":null}"), "whose ErrorCode is no whole number"),
        (answer!("200 OK", "{\"ErrorCode\":0.5}"), "whose ErrorCode is no whole number"),
        (answer!("200 OK", "{\"ErrorCode\":{\"ErrorCode\":0}}"), "whose ErrorCode is no whole number"),
        (answer!("200 OK", "[{\"ErrorCode\":0}]"), "JSON but no object"),
        (answer!("200 OK", "\"ErrorCode\""), "JSON but no object"),
        (answer!("200 OK", "{\"ErrorCode\":0"), "ends in the middle, after 14 bytes"),
        (answer!("200 OK", "{\"ErrorCode\":0}}"), "not JSON: it goes wrong at byte 15"),
        (answer!("200 OK", " \r\n"), "the body is empty"),
        (answer!("204 No Content", ""), "HTTP status 204, the body is empty"),
        (answer!("503 Service Unavailable", "no healthy upstream"), "HTTP status 503, the body is not JSON"),
        (answer!("200 OK", "content-encoding: br", "{\"ErrorCode\":0}"), "neither gzip nor identity"),
        (answer!("200 OK", "content-encoding: gzip", "{\"ErrorCode\":0}"), "gzip"),
    ];
    let upstream = CannedServer::tcp(&cases.map(|(answer, _)| answer));
    let world = Builder::new().calling(&[&upstream.url]).trying_once().start().await;
    for (came, told) in cases {
        let answer = world.call("live_config/get_callback", "{}").await;
        assert_eq!(answer.codes(), (502, 9_900_502), "{came}");
        assert!(answer.error_info().contains(told), "{came}: {}", answer.error_info());
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gzip_bomb_is_stopped_at_the_limit_and_not_asked_for_again() {
    let world = World::start().await;
    world.sandbox.control().inject(Fault::new(Effect::GzipBomb(2 << 20)).for_ever()).unwrap();
    let answer = world.call("live_config/get_callback", "{}").await;
    assert_eq!((answer.codes(), answer.header("x-gateway-attempts")), ((502, 9_900_502), ""));
    let told = answer.error_info();
    assert!(told.contains("unpacks to more than is allowed; the call may have been executed"), "{told}");
    assert_eq!(world.report().arrived, 1, "a read, and yet not repeated");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_echoes_the_url_shows_no_usersig() {
    let world = World::start().await;
    world.sandbox.control().inject(Fault::new(Effect::EchoUrl)).unwrap();
    let answer = world.send(post("/v4/live_config/get_callback?a=b", "{}")).await;
    let usersig = world.report().calls[0].parameters.usersig[0].clone();
    assert_eq!(answer.codes(), (200, 0), "relayed all the same");
    let told = answer.error_info();
    assert!(told.contains(&format!("&usersig={}&random=", "*".repeat(usersig.len()))), "{told}");
    assert!(told.ends_with("&contenttype=json&a=b"), "{told}");
    assert!(!told.contains(&usersig[..usersig.len() / 2]));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_that_echoes_the_url_shows_no_usersig_wherever_it_stands() {
    const BOUNDARY: usize = usersig_gateway::gateway::outcome::HELD_BACK;
    // Across the place where streaming begins, percent-encoded, cut in half, and at the very end.
    let echo = |filler: usize| -> AnswerTo {
        Box::new(move |asked: &Asked| {
            let usersig = asked.usersig();
            let encoded = usersig.replace('*', "%2A");
            let half = &usersig[..usersig.len() * 2 / 3];
            let body = format!(
                "{{\"ErrorCode\":0,\"a\":\"{}{usersig}\",\"b\":\"{encoded}\",\"c\":\"{half}\",\"d\":\"{}\",\"e\":\"{usersig}\"}}",
                "x".repeat(filler),
                "y".repeat(100_000),
            );
            format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}").into()
        })
    };
    let fillers = [0, BOUNDARY - 100, BOUNDARY - 20];
    let upstream = CannedServer::answering(fillers.map(echo).into());
    let world = Builder::new().calling(&[&upstream.url]).start().await;
    let mut answers = Vec::new();
    for _ in fillers {
        answers.push(world.call("live_config/get_callback", "{}").await);
    }
    for (answer, asked) in answers.iter().zip(upstream.asked()) {
        let usersig = asked.usersig();
        // It is what Tencent would take.
        let standard = usersig.replace('*', "+").replace('-', "/").replace('_', "=");
        base64::engine::general_purpose::STANDARD.decode(standard).unwrap();
        let body = answer.json();
        assert_eq!(body["a"].as_str().unwrap().trim_start_matches('x'), "*".repeat(usersig.len()));
        assert_eq!(body["e"], "*".repeat(usersig.len()));
        for member in ["b", "c"] {
            assert!(body[member].as_str().unwrap().bytes().all(|b| b == b'*'), "{}", body[member]);
        }
        assert_eq!(answer.error_code(), 0);
    }
    world.end().await;
}
