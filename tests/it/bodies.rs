//! Bodies that Tencent would not take: refused before they cost a turn.

use std::time::Duration;

use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::exchange;
use crate::world::{Builder, World, post};

const GET_CALLBACK: &str = "/v4/live_config/get_callback";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_object_is_refused_before_a_token_is_spent() {
    let world = World::start().await;
    for (body, told) in [
        ("no json", "the body is no JSON: "),
        ("{", "the body is no JSON: EOF"),
        ("{}{}", "trailing characters at line 1 column 3"),
        ("{\"a\":NaN}", "the body is no JSON: "),
        ("{'a':1}", "the body is no JSON: "),
        ("{\"a\":1,}", "the body is no JSON: "),
        ("\u{feff}{}", "the body is no JSON: "),
        ("[]", "the body is no JSON object"),
        ("\"{}\"", "the body is no JSON object"),
        ("null", "the body is no JSON object"),
        (" 1 ", "the body is no JSON object"),
    ] {
        let answer = world.send(post(GET_CALLBACK, body)).await;
        assert_eq!(answer.codes(), (400, 9_900_400), "{body}");
        assert!(answer.error_info().contains(told), "{body}: {}", answer.error_info());
    }
    let latin1 = Request::post(GET_CALLBACK).body(Full::new(b"{\"a\":\"\xe4\"}"[..].into())).unwrap();
    assert_eq!(world.send(latin1).await.codes(), (400, 9_900_400));

    assert_eq!(world.report().connections, 0, "nothing left, not even a connection");
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("ceiling_used", &[]), 0.0);
    assert_eq!(metrics.sum("admission_wait_seconds_count", &[]), 0.0);
    assert_eq!(metrics.sum("refused_total", &[("reason", "body_not_json")]), 12.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_be_as_long_as_the_limit_and_not_a_byte_longer() {
    let mut builder = Builder::new();
    builder.boot.limits.request_body = 2000;
    let world = builder.start().await;
    let body = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    assert_eq!(world.send(post(GET_CALLBACK, &body(2000))).await.codes(), (200, 0));
    let longer = body(2001);
    let announced = world.send(post(GET_CALLBACK, &longer)).await;
    let pieces = format!(
        "POST {GET_CALLBACK} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
         3e8\r\n{}\r\n3e9\r\n{}\r\n0\r\n\r\n",
        &longer[..1000],
        &longer[1000..]
    );
    let in_pieces = exchange(world.host(), pieces.as_bytes()).await;
    for answer in [announced, in_pieces] {
        assert_eq!(answer.codes(), (413, 9_900_413));
        assert!(answer.error_info().contains("2000 bytes, which `limits.request_body` allows"));
    }
    assert_eq!(world.report().arrived, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packed_body_is_415() {
    let world = World::start().await;
    for coding in ["gzip", "br", "identity, gzip", "x"] {
        let mut request = post(GET_CALLBACK, "{}");
        request.headers_mut().insert("content-encoding", coding.parse().unwrap());
        assert_eq!(world.send(request).await.codes(), (415, 9_900_415), "{coding}");
    }
    let mut request = post(GET_CALLBACK, "{}");
    request.headers_mut().insert("content-encoding", "Identity".parse().unwrap());
    assert_eq!(world.send(request).await.codes(), (200, 0));
    assert_eq!(world.report().arrived, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_far_too_much_before_reading_is_told_so() {
    let world = World::start().await;
    let begun = format!("POST {GET_CALLBACK} HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\n\r\n");
    let answer = exchange(world.host(), (begun + &" ".repeat(8_000_000)).as_bytes()).await;
    assert_eq!(answer.codes(), (413, 9_900_413));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bodys_time_is_not_the_calls_but_the_callers_word_covers_both() {
    let builder = Builder::new().tuned(|live| {
        (live.upstream.request_timeout, live.upstream.total_timeout) =
            (Duration::from_secs(4), Duration::from_secs(4));
    });
    let world = builder.start().await;
    let mut slow = TcpStream::connect(world.host()).await.unwrap();
    let head =
        format!("POST {GET_CALLBACK} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n");
    slow.write_all(format!("{head}\r\n{{").as_bytes()).await.unwrap();
    // Longer than the call may take once the body is there.
    tokio::time::sleep(Duration::from_secs(5)).await;
    slow.write_all(b"}").await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"ErrorCode\":0"), "{answer}");

    let hasty = exchange(world.host(), format!("{head}x-gateway-timeout: 100ms\r\n\r\n{{").as_bytes()).await;
    assert_eq!(hasty.codes(), (408, 9_900_408));
    assert!(hasty.error_info().contains("within 100ms"), "{}", hasty.error_info());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_or_does_not_come_is_told_apart() {
    let mut builder = Builder::new();
    builder.boot.limits.body_timeout = Duration::from_millis(100);
    let world = builder.start().await;
    let begun =
        |rest: &str| format!("POST {GET_CALLBACK} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{rest}");
    let slow = exchange(world.host(), begun("content-length: 5\r\n\r\n{\"a\"").as_bytes()).await;
    assert_eq!(slow.codes(), (408, 9_900_408));
    assert!(slow.error_info().contains("within 100ms"), "{}", slow.error_info());
    let bad_pieces = begun("transfer-encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n");
    assert_eq!(exchange(world.host(), bad_pieces.as_bytes()).await.codes(), (400, 9_900_400));
    assert_eq!(world.report().arrived, 0);
    let metrics = world.metrics().await;
    for reason in ["body_too_slow", "body_broken_off"] {
        assert_eq!(metrics.sum("refused_total", &[("reason", reason)]), 1.0, "{reason}");
    }
    world.end().await;
}
