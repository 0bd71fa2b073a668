//! Callers who hang up: what was not sent is given up, what was sent runs to its end, and all of it is recorded.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use usersig_gateway::gateway;
use usersig_gateway::gateway::admission::ApiCeiling;
use usersig_gateway::sandbox::{Delay, Effect, Fault};

use crate::world::{Builder, World, api};

const READ: &str = "live_config/get_callback";
const WRITE: &str = "live_config/delete_callback_token";
const SELDOM: &str = "live_config/delete_callback";

#[tokio::test(flavor = "multi_thread")]
async fn a_sent_write_runs_to_its_end_and_keeps_its_outcome() {
    // Upstream over HTTP/2 and over HTTP/1.1.
    for builder in [Builder::new(), Builder::new().plain()] {
        let world = builder.start().await;
        slow(&world, WRITE);
        let caller = begin(&world, WRITE).await;
        world.sandbox.control().wait_for_arrivals(1).await;
        drop(caller);
        world.until(|metrics| metrics.sum("calls_total", &[("api", WRITE)]) == 1.0).await;
        let metrics = world.metrics().await;
        assert_eq!(metrics.sum("calls_total", &[("error_code", "0"), ("outcome", "ok")]), 1.0);
        assert_eq!(metrics.sum("refused_total", &[]), 0.0);
        let seen = world.report();
        assert_eq!((seen.arrived, seen.calls[0].answered.map(|code| code.0)), (1, Some(0)));
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sent_call_that_goes_wrong_unheard_is_a_fault() {
    let world = Builder::new().trying_once().start().await;
    let broken = Fault { before_answer: A_WHILE, ..Fault::new(Effect::ResetAfterReading) };
    world.sandbox.control().inject(broken).unwrap();
    let caller = begin(&world, WRITE).await;
    world.sandbox.control().wait_for_arrivals(1).await;
    drop(caller);
    world
        .until(|metrics| {
            metrics.sum("calls_total", &[("error_code", "9900502"), ("outcome", "fault")]) == 1.0
        })
        .await;
    assert_eq!(world.metrics().await.sum("calls_total", &[]), 1.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_that_is_still_connecting_is_not_sent_for_a_caller_who_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (asked, second) = oneshot::channel();
    let (let_through, go) = oneshot::channel();
    let proxy = tokio::spawn(proxy_that_holds_the_second(listener, asked, go));
    let builder = Builder::new().plain().tuned(move |live| {
        patient(live);
        (live.upstream.egress_proxy, live.upstream.connect_timeout) = (Some(url), Duration::from_secs(60));
    });
    let world = builder.start().await;
    world.sandbox.control().inject(Fault::new(Effect::ResetAfterReading)).unwrap();
    let caller = begin(&world, READ).await;
    second.await.unwrap();
    drop(caller);
    world.until(|metrics| metrics.sum("calls_total", &[("api", READ), ("outcome", "fault")]) == 1.0).await;
    let_through.send(()).unwrap();
    proxy.await.unwrap();
    // One call in, one that reached the sandbox, and nobody to hear an answer.
    assert_eq!(world.report().arrived, 1);
    assert_eq!(world.metrics().await.sum("attempts_total", &[]), 1.0);
    world.end().await;
}

/// A CONNECT proxy that serves two connections, the second once it is told to, and ends with them.
async fn proxy_that_holds_the_second(
    listener: TcpListener,
    asked: oneshot::Sender<()>,
    go: oneshot::Receiver<()>,
) {
    let first = listener.accept().await.unwrap().0;
    let first = tokio::spawn(tunnel(first));
    let second = listener.accept().await.unwrap().0;
    asked.send(()).unwrap();
    go.await.unwrap();
    tunnel(second).await;
    first.await.unwrap();
}

/// Serves one CONNECT to its end. Whoever asks may leave at any moment.
async fn tunnel(mut client: TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
    let mut server = TcpStream::connect(target).await.unwrap();
    if client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.is_ok() {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_for_its_turn_is_given_up() {
    let builder = Builder::new().tuned(|live| {
        // One in ten seconds, so that nobody need hurry to see it wait.
        live.ceiling.api.insert(api(SELDOM), ApiCeiling::per_second(NonZeroU32::MIN));
        live.ceiling.headroom = 0.1;
        live.ceiling.max_wait = Duration::from_secs(15);
    });
    let world = builder.start().await;
    assert_eq!(world.call(SELDOM, "{}").await.codes(), (200, 0));
    let caller = begin(&world, SELDOM).await;
    world.until(|metrics| metrics.sum("ceiling_waiting", &[("api", SELDOM)]) == 1.0).await;
    drop(caller);
    world.until(|metrics| metrics.sum("refused_total", &[("reason", "caller_gone")]) == 1.0).await;
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("calls_total", &[("error_code", "9900499"), ("outcome", "refused")]), 1.0);
    assert_eq!(metrics.sum("ceiling_waiting", &[]), 0.0);
    assert_eq!(world.report().arrived, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_a_long_answer_is_a_fault_and_no_refusal() {
    const LONG: usize = 32 << 20;
    let mut builder = Builder::new().tuned(patient);
    builder.boot.limits.answer_body = 2 * LONG;
    let world = builder.start().await;
    world.sandbox.control().inject(Fault::new(Effect::Large(LONG))).unwrap();
    let mut caller = begin(&world, WRITE).await;
    // More than fits between caller and sandbox stays unread, so the answer is still under way.
    caller.read_exact(&mut [0; 1024]).await.unwrap();
    drop(caller);
    world.until(|metrics| metrics.sum("calls_total", &[("api", WRITE)]) == 1.0).await;
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("calls_total", &[("error_code", "9900499"), ("outcome", "fault")]), 1.0);
    assert_eq!(metrics.sum("refused_total", &[]), 0.0, "it was executed");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_counts_as_under_way_to_its_end() {
    const LONG: usize = 32 << 20;
    let mut builder = Builder::new().tuned(patient);
    builder.boot.limits.answer_body = 2 * LONG;
    builder.boot.max_in_flight = 1;
    let world = builder.start().await;
    world.sandbox.control().inject(Fault::new(Effect::Large(LONG)).on(api(WRITE))).unwrap();
    let mut caller = begin(&world, WRITE).await;
    caller.read_exact(&mut [0; 1024]).await.unwrap();
    assert_eq!(world.call(SELDOM, "{}").await.codes(), (503, 9_900_503));
    assert_eq!(world.metrics().await.sum("refused_total", &[("reason", "overloaded")]), 1.0);
    drop(caller);
    world.until(|metrics| metrics.sum("calls_total", &[("api", WRITE)]) == 1.0).await;
    assert_eq!(world.call(SELDOM, "{}").await.codes(), (200, 0));
    world.end().await;
}

/// A busy machine needs its time for a long answer.
fn patient(live: &mut gateway::Settings) {
    (live.upstream.request_timeout, live.upstream.total_timeout) =
        (Duration::from_secs(60), Duration::from_secs(120));
}

/// A caller who has sent a call and waits.
async fn begin(world: &World, api: &str) -> TcpStream {
    let mut caller = TcpStream::connect(world.host()).await.unwrap();
    let call = format!("POST /v4/{api} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}");
    caller.write_all(call.as_bytes()).await.unwrap();
    caller
}

fn slow(world: &World, name: &str) {
    let fault = Fault { before_answer: A_WHILE, ..Fault::new(Effect::Serve) };
    world.sandbox.control().inject(fault.on(api(name))).unwrap();
}

/// Long enough for a caller to leave in it; were it not, the test would see the same.
const A_WHILE: Delay = Delay::fixed(Duration::from_millis(300));
