//! What goes wrong on demand.

use super::*;

use std::time::Duration;

use crate::model::error_code::ErrorCode;
use tokio::time::Instant;

async fn with(fault: Fault) -> (Sandbox, Client) {
    let sandbox = start(settings()).await;
    sandbox.control().inject(fault).unwrap();
    let client = Client::to(&sandbox).await;
    (sandbox, client)
}

/// One call that meets an effect.
async fn spoilt(effect: Effect) -> Reply {
    let (sandbox, mut client) = with(Fault::new(effect)).await;
    let reply = client.call(GET_CALLBACK, json!({})).await;
    assert_eq!(client.call(GET_CALLBACK, json!({})).await.code(), 0, "the next call is served as usual");
    sandbox.stop().await;
    reply
}

async fn room_exists(sandbox: &Sandbox) -> bool {
    Client::to(sandbox).await.call(ROOM_INFO, json!({"RoomId": "r"})).await.code() == 0
}

#[tokio::test]
async fn a_code_is_given_so_often_and_nothing_is_carried_out() {
    let fault = Fault::new(Effect::Answer(ErrorCode(60008))).times(2);
    let (sandbox, mut client) = with(fault.on("live_engine_http_srv/create_room".parse().unwrap())).await;
    let room = json!({"RoomInfo": {"RoomId": "r"}});
    assert_eq!(client.call(ROOM_INFO, json!({"RoomId": "r"})).await.code(), 100_004, "another API is spared");
    for wanted in [60008, 60008, 0] {
        assert_eq!(client.call(CREATE_ROOM, room.clone()).await.code(), wanted);
    }
    let calls = sandbox.control().report().calls;
    assert_eq!((calls[1].verdict, calls[1].answered), (Verdict::Accepted, Some(ErrorCode(60008))));
    sandbox.stop().await;
}

#[tokio::test]
async fn a_connection_is_reset_before_or_after_the_call_is_carried_out() {
    for (effect, exists, verdict) in [
        (Effect::ResetBeforeReading, false, Verdict::Unread),
        (Effect::ResetAfterReading, true, Verdict::Accepted),
    ] {
        let (sandbox, mut client) = with(Fault::new(effect)).await;
        let target = format!("{CREATE_ROOM}?{}", query());
        client.send("POST", &target, br#"{"RoomInfo": {"RoomId": "r"}}"#).await.unwrap();
        let error = client.receive().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(room_exists(&sandbox).await, exists);
        assert_eq!(sandbox.control().report().calls[0].verdict, verdict);
        sandbox.stop().await;
    }
}

#[tokio::test]
async fn a_stalled_call_is_carried_out_and_hangs_until_the_end() {
    let (sandbox, mut client) = with(Fault::new(Effect::Stall)).await;
    client.send("POST", &format!("{CREATE_ROOM}?{}", query()), br#"{"RoomId": "r"}"#).await.unwrap();
    sandbox.control().wait_for_arrivals(1).await;
    while !room_exists(&sandbox).await {
        tokio::task::yield_now().await;
    }
    let receive = tokio::spawn(async move { client.receive().await.map(|_| ()) });
    tokio::task::yield_now().await;
    assert!(!receive.is_finished());
    sandbox.stop().await;
    receive.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn an_answer_breaks_off_in_the_middle() {
    let (sandbox, mut client) = with(Fault::new(Effect::Truncate)).await;
    let reply = client.call(GET_CALLBACK, json!({})).await;
    let announced: usize = reply.header("content-length").unwrap().parse().unwrap();
    assert_eq!(reply.body.len(), announced / 2);
    assert!(announced > 20 && reply.body.starts_with(b"{\"ActionStatus\":\"OK\""));
    assert_eq!(client.more().await.unwrap(), 0, "the connection is closed");
    assert_eq!(sandbox.control().report().calls[0].answered, None);
    sandbox.stop().await;
}

#[tokio::test]
async fn bodies_that_are_no_answer() {
    let reply = spoilt(Effect::NotJson).await;
    assert_eq!((reply.status(), &reply.body[..]), ("200", &b"busy, try again"[..]));
    let reply = spoilt(Effect::Empty).await;
    assert_eq!((reply.status(), reply.body.len()), ("200", 0));
    let reply = spoilt(Effect::BadGateway).await;
    assert_eq!((reply.status(), reply.header("content-type").as_deref()), ("502", Some("text/html")));
    assert!(reply.body.starts_with(b"<html>"));
}

#[tokio::test]
async fn answers_that_repeat_the_url() {
    let url = format!("http://sandbox.test{GET_CALLBACK}?{}", query());
    let reply = spoilt(Effect::EchoUrl).await;
    assert_eq!((reply.code(), reply.json()["ErrorInfo"].as_str()), (0, Some(&*url)));
    let reply = spoilt(Effect::EchoUrlInHtml).await;
    assert_eq!(reply.status(), "404");
    assert!(String::from_utf8(reply.body).unwrap().contains(&url));
}

#[tokio::test]
async fn a_compressed_answer() {
    let reply = spoilt(Effect::Gzip).await;
    assert_eq!(reply.header("content-encoding").as_deref(), Some("gzip"));
    let mut plain = String::new();
    io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&reply.body[..]), &mut plain).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&plain).unwrap()["ErrorCode"], 0);
}

#[tokio::test]
async fn an_answer_that_unpacks_to_far_more() {
    let reply = spoilt(Effect::GzipBomb(2_000_000)).await;
    assert_eq!(reply.header("content-encoding").as_deref(), Some("gzip"));
    assert!(reply.body.len() < 20_000, "{} bytes", reply.body.len());
    let mut plain = String::new();
    io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&reply.body[..]), &mut plain).unwrap();
    assert_eq!(
        (plain.len(), &serde_json::from_str::<Value>(&plain).unwrap()["ErrorCode"]),
        (2_000_000, &json!(0))
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_a_byte_at_a_time() {
    let (sandbox, mut client) = with(Fault::new(Effect::Drip(Duration::from_secs(1)))).await;
    let sent = Instant::now();
    let reply = client.call(GET_CALLBACK, json!({})).await;
    assert_eq!(reply.code(), 0);
    assert_eq!(sent.elapsed().as_secs(), reply.body.len() as u64 - 1);
    sandbox.stop().await;
}

#[tokio::test]
async fn a_large_answer_has_its_code_at_the_end() {
    let reply = spoilt(Effect::Large(300_000)).await;
    assert_eq!((reply.body.len(), reply.code()), (300_000, 0));
    assert!(reply.body.ends_with(b"x\",\"ErrorCode\":0}"));
    assert_eq!(reply.json()["Response"]["Url"], "", "the rest of the answer is there");
    let reply = spoilt(Effect::Large(1)).await;
    assert_eq!((reply.code(), &reply.json()["Padding"]), (0, &json!("")), "never less than it needs");
}

#[tokio::test]
async fn a_connection_closes_with_and_without_a_warning() {
    for (effect, announced) in [(Effect::CloseSilently, None), (Effect::CloseAnnounced, Some("close"))] {
        let (sandbox, mut client) = with(Fault::new(effect)).await;
        let reply = client.call(GET_CALLBACK, json!({})).await;
        assert_eq!(reply.code(), 0);
        assert_eq!(reply.header("connection").as_deref(), announced);
        assert_eq!(client.more().await.unwrap(), 0);
        sandbox.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn delays_lie_before_the_arrival_before_the_body_or_before_the_answer() {
    let five = Delay::fixed(Duration::from_secs(5));
    let none = Fault::default();
    for (fault, until_arrival) in [
        (Fault { transit: five, ..none.clone() }, 5),
        (Fault { before_body: five, ..none.clone() }, 0),
        (Fault { before_answer: five, ..none }, 0),
    ] {
        let (sandbox, mut client) = with(fault.clone()).await;
        let sent = Instant::now();
        let reply = client.call(GET_CALLBACK, json!({})).await;
        assert_eq!((reply.code(), sent.elapsed().as_secs()), (0, 5), "{fault:?}");
        let arrived = sandbox.control().report().calls[0].arrived;
        assert_eq!((arrived - sent).as_secs(), until_arrival, "{fault:?}");
        sandbox.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_caller_hung_up_arrives_all_the_same() {
    let slow = Fault { transit: Delay::fixed(Duration::from_secs(5)), ..Fault::default() };
    let body = r#"{"RoomId": "r"}"#;
    for (sent, verdict) in [(body, Verdict::Accepted), ("", Verdict::Unread)] {
        let (sandbox, mut client) = with(slow.clone()).await;
        let target = format!("{CREATE_ROOM}?{}", query());
        let head = format!("POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
        client.stream.write_all(format!("{head}{sent}").as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(client);
        sandbox.control().wait_for_arrivals(1).await;
        assert_eq!(room_exists(&sandbox).await, verdict == Verdict::Accepted, "carried out once it was read");
        assert_eq!(sandbox.control().report().calls[0].verdict, verdict);
        sandbox.stop().await;
    }
}

#[tokio::test]
async fn faults_for_ever_end_when_they_are_cleared() {
    let (sandbox, mut client) = with(Fault::new(Effect::Answer(ErrorCode(60020))).for_ever()).await;
    for _ in 0..5 {
        assert_eq!(client.call(GET_CALLBACK, json!({})).await.code(), 60020);
    }
    sandbox.control().clear_faults();
    assert_eq!(client.call(GET_CALLBACK, json!({})).await.code(), 0);
    sandbox.stop().await;
}
