//! More than the gateway takes: told so at once and in words, while the admin listener answers as always.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use usersig_gateway::net::body::read_capped;
use usersig_gateway::sandbox::{Delay, Effect, Fault};

use crate::client::{Client, exchange};
use crate::world::{Answer, Builder, World, post};

const READ: &str = "/v4/live_config/get_callback";
const KIB: usize = 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_beyond_the_connections_hears_so_when_it_asks_and_however_it_speaks() {
    const CALLERS: u64 = 40;
    let mut builder = Builder::new();
    builder.boot.max_connections = 2;
    let world = builder.start().await;
    let mut held = [world.client().await, world.client().await];
    for client in &mut held {
        assert_eq!(client.send(post(READ, "{}")).await.codes(), (200, 0));
    }
    let sent =
        format!("POST {READ} HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n{}", "x".repeat(60_000));
    for n in 0..CALLERS {
        // Half of them write a body that nobody will read.
        let answer = match n % 2 {
            0 => world.client().await.send(post(READ, "{}")).await,
            _ => exchange(world.host(), sent.as_bytes()).await,
        };
        is_told(&answer, "2 connections are open");
        assert_eq!(answer.header("connection"), "close");
    }
    is_told(&over_http2(&world).await, "2 connections are open");
    // Callers in: as many as were told. None of their calls reached the sandbox, and those with a place go on.
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("refused_total", &[("reason", "too_many_connections")]), CALLERS as f64 + 1.0);
    for client in &mut held {
        assert_eq!(client.send(post(READ, "{}")).await.codes(), (200, 0));
    }
    assert_eq!(world.report().arrived, 4);
    // A place that was given up is another's.
    let [first, _second] = held;
    drop(first);
    world.until(|metrics| metrics.sum("connections", &[("listener", "gateway")]) <= 1.0).await;
    assert_eq!(world.client().await.send(post(READ, "{}")).await.codes(), (200, 0));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_as_many_calls_as_it_takes_it_refuses_more_and_admin_goes_on_answering() {
    const MOST: u64 = 40;
    const MORE: u64 = 400;
    const ADMIN: u64 = 200;
    let mut builder = Builder::new().tuned(|live| {
        live.retry.max_attempts = NonZeroU32::MIN;
        (live.upstream.request_timeout, live.upstream.total_timeout) =
            (Duration::from_secs(120), Duration::from_secs(120));
    });
    (builder.boot.max_in_flight, builder.boot.max_connections) = (MOST as usize, 2 * MOST as usize);
    let world = builder.start().await;
    world.sandbox.control().inject(Fault::new(Effect::Stall).times(MOST as u32)).unwrap();
    let mut stalled = JoinSet::new();
    for _ in 0..MOST {
        let mut client = world.client().await;
        stalled.spawn(async move { client.send(post(READ, "{}")).await });
    }
    world.sandbox.control().wait_for_arrivals(MOST).await;

    let mut more = JoinSet::new();
    for _ in 0..8 {
        let mut client = world.client().await;
        more.spawn(async move {
            for _ in 0..MORE / 8 {
                let answer = client.send(post(READ, "{}")).await;
                is_told(&answer, "40 calls are under way");
            }
        });
    }
    let mut admin = Client::to(&world.gateway().admin_address().to_string()).await;
    for n in 0..ADMIN {
        let path = ["/livez", "/readyz", "/metrics", "/status.json"][n as usize % 4];
        let answer = admin.send(Request::get(path).body(Full::default()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
    more.join_all().await;
    // Nothing that was under way had ended meanwhile, so none of these waited for anything.
    assert_eq!(world.report().arrived, MOST);
    assert!(stalled.try_join_next().is_none());
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("refused_total", &[("reason", "overloaded")]), MORE as f64);
    assert_eq!(metrics.sum("calls_total", &[]), MORE as f64);
    // The sandbox closes: what had arrived may have been executed.
    let (answers, ()) = tokio::join!(stalled.join_all(), world.end_sandbox_first());
    for answer in answers {
        assert_eq!(answer.codes(), (502, 9_900_502));
        assert!(answer.error_info().contains("may have been executed"), "{}", answer.error_info());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_requests_together_take_half_of_the_memory_and_not_more() {
    let mut builder = Builder::new().tuned(|live| {
        live.retry.max_attempts = NonZeroU32::MIN;
        (live.upstream.request_timeout, live.upstream.total_timeout) =
            (Duration::from_secs(120), Duration::from_secs(120));
    });
    builder.boot.limits.buffered = 1000 * KIB;
    let world = builder.start().await;
    let body = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    world.sandbox.control().inject(Fault::new(Effect::Stall).times(2)).unwrap();
    let mut stalled = JoinSet::new();
    for _ in 0..2 {
        let (mut client, request) = (world.client().await, post(READ, &body(200 * KIB)));
        stalled.spawn(async move { client.send(request).await });
    }
    world.sandbox.control().wait_for_arrivals(2).await;
    // 100 KiB are left. What is refused is not sent, and what fits is served.
    for (bytes, fits) in [(100 * KIB + 1, false), (100 * KIB, true), (200 * KIB, false), (8, true)] {
        let answer = world.send(post(READ, &body(bytes))).await;
        match fits {
            true => assert_eq!(answer.codes(), (200, 0), "{bytes}"),
            false => is_told(&answer, "bodies take all the memory that `limits.buffered` allows"),
        }
    }
    assert_eq!(world.report().arrived, 2 + 2);
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("refused_total", &[("reason", "no_room")]), 2.0);
    let (answers, ()) = tokio::join!(stalled.join_all(), world.end_sandbox_first());
    assert!(answers.iter().all(|answer| answer.codes() == (502, 9_900_502)));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_takes_are_bounded_and_what_they_held_comes_back() {
    const ANSWER: usize = 250 * KIB;
    let mut builder = Builder::new().plain();
    builder.boot.limits.buffered = 4 * ANSWER;
    let world = builder.start().await;
    // All requests are there before the first answer is.
    let late =
        Fault { before_answer: Delay::fixed(Duration::from_secs(5)), ..Fault::new(Effect::Large(ANSWER)) };
    world.sandbox.control().inject(late.times(5)).unwrap();
    // Callers who do not read, and whose kernels take little.
    let mut callers = Vec::new();
    for _ in 0..5 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(world.host().parse().unwrap()).await.unwrap();
        let head =
            format!("POST {READ} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}");
        stream.write_all(head.as_bytes()).await.unwrap();
        callers.push(stream);
    }
    world.until(|metrics| metrics.sum("calls_total", &[]) == 5.0).await;
    // Requests are not even let in while answers take all of it.
    is_told(&world.send(post(READ, "{}")).await, "`limits.buffered`");
    let mut whole = 0;
    for mut stream in callers {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        if answer.starts_with(b"HTTP/1.1 200 ") {
            assert!(answer.len() > ANSWER, "the whole of it, {} bytes", answer.len());
            whole += 1;
        } else {
            let told = String::from_utf8(answer).unwrap();
            assert!(
                told.starts_with("HTTP/1.1 502 ") && told.contains("the call may have been executed"),
                "{told}"
            );
        }
    }
    // There was room for four, unless the last two were in each other's way.
    assert!((3..=4).contains(&whole), "{whole}");
    // Once they are taken, everything goes on.
    assert_eq!(world.send(post(READ, "{}")).await.codes(), (200, 0));
    assert_eq!(world.report().arrived, 6);
    world.end().await;
}

fn is_told(answer: &Answer, told: &str) {
    assert_eq!(answer.codes(), (503, 9_900_503), "{}", answer.error_info());
    assert!(answer.error_info().contains(told), "{}", answer.error_info());
    assert_eq!((answer.header("retry-after"), answer.header("retry-after-ms")), ("1", "1000"));
}

async fn over_http2(world: &World) -> Answer {
    let stream = TcpStream::connect(world.host()).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = Request::post(format!("http://{}{READ}", world.host()));
    let request = request.body(Full::new(Bytes::from_static(b"{}"))).unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = read_capped(body, 1 << 20).await.unwrap();
    driver.abort();
    Answer { status: head.status, headers: head.headers, body }
}
