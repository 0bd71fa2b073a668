//! One try of several: what is repeated, what never is, and what the caller is told of it.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use usersig_gateway::gateway::Settings;
use usersig_gateway::gateway::admission::Mode;
use usersig_gateway::gateway::attempt::Repeat;
use usersig_gateway::model::error_code::ErrorCode;
use usersig_gateway::model::secret::SecretKey;
use usersig_gateway::sandbox::{Delay, Effect, Fault, Report, Sandbox};

use crate::canned_server::CannedServer;
use crate::world::{Answer, Builder, World, api, key, nowhere, post};

const READ: &str = "live_config/get_callback";
const WRITE: &str = "openim/sendmsg";
const CREATE: &str = "live_engine_http_srv/create_room";
const DESTROY: &str = "live_engine_http_srv/destroy_room";

// === After a refused UserSig ===

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_usersig_is_signed_anew_and_the_caller_does_not_see_it() {
    for code in [70001, 70003, 70052, 60004, 60025] {
        let world = World::start().await;
        inject(&world, answer(code));
        let answer = world.call(WRITE, "{\"MsgRandom\":7}").await;
        assert_eq!((answer.codes(), attempts(&answer)), ((200, 0), "2"), "{code}");
        assert_eq!(world.report().arrived, 2, "{code}");
        assert_repeated_whole(&world.report());
        let metrics = world.metrics().await;
        assert_eq!(metrics.sum("retries_total", &[("api", WRITE), ("reason", "usersig")]), 1.0);
        assert_eq!(metrics.sum("usersig_signed_total", &[("result", "ok")]), 2.0, "{code}");
        assert_eq!(metrics.sum("calls_total", &[]), 1.0, "one call, whatever it took");
        // What was a repeat says so, and nothing else does.
        assert_eq!(attempts(&world.call(WRITE, "{}").await), "");
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_calls_refused_with_one_usersig_cause_one_signing() {
    const CALLS: u64 = 100;
    let world = Builder::new()
        .tuned(|live| {
            live.ceiling.mode = Mode::Off;
            (live.upstream.request_timeout, live.upstream.total_timeout) =
                (Duration::from_secs(60), Duration::from_secs(120));
        })
        .start()
        .await;
    // All of them are on their way before the first is answered.
    let slow = Delay::fixed(Duration::from_secs(8));
    inject(&world, Fault { before_answer: slow, ..answer(70001) }.times(100));
    let calls: Vec<_> = (0..CALLS).map(|_| send_apart(&world, post(&path(READ), "{}"))).collect();
    for call in calls {
        let answer = call.await.unwrap();
        assert_eq!((answer.codes(), attempts(&answer)), ((200, 0), "2"));
    }
    assert_eq!(world.report().arrived, 2 * CALLS);
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("usersig_signed_total", &[]), 2.0, "at the start, and once more");
    assert_eq!(metrics.sum("retries_total", &[("reason", "usersig")]), 100.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_several_keys_the_one_that_is_taken_is_found_and_remembered() {
    let keys = || vec![SecretKey::new("FAKENEW").unwrap(), SecretKey::new("FAKENEWER").unwrap(), key()];
    let world = Builder::new().with_app(move |app| app.keys = keys()).start().await;
    let first = world.call(WRITE, "{}").await;
    assert_eq!((first.codes(), attempts(&first)), ((200, 0), "3"));
    for _ in 0..3 {
        let later = world.call(WRITE, "{}").await;
        assert_eq!((later.codes(), attempts(&later)), ((200, 0), ""));
    }
    assert_eq!(world.report().arrived, 3 + 3);
    // The key is replaced on Tencent's side: the next one in turn is the first again.
    assert!(world.sandbox.control().set_keys(crate::world::sdkappid(), vec![keys().remove(0)]));
    let rotated = world.call(WRITE, "{}").await;
    assert_eq!((rotated.codes(), attempts(&rotated)), ((200, 0), "2"));
    assert_eq!(world.metrics().await.sum("retries_total", &[("reason", "key")]), 3.0);
    world.end().await;
}

// === After a try that may have been executed ===

#[tokio::test(flavor = "multi_thread")]
async fn a_read_is_repeated_whatever_became_of_it() {
    for (effect, reason) in [
        (Effect::ResetBeforeReading, "broken"),
        (Effect::ResetAfterReading, "broken"),
        (Effect::Truncate, "unusable_answer"),
        (Effect::NotJson, "unusable_answer"),
        (Effect::Empty, "unusable_answer"),
        (Effect::BadGateway, "unusable_answer"),
        (Effect::Answer(ErrorCode(60008)), "error_code"),
        (Effect::Answer(ErrorCode(100_001)), "error_code"),
        (Effect::Answer(ErrorCode(60014)), "error_code"),
    ] {
        let name = format!("{effect:?}");
        let world = World::start().await;
        inject(&world, Fault::new(effect).times(2));
        let answer = world.send(post(&format!("{}?a=b", path(READ)), "{\"x\":1}")).await;
        assert_eq!((answer.codes(), attempts(&answer)), ((200, 0), "3"), "{name}");
        assert_eq!(world.report().arrived, 3, "{name}");
        assert_repeated_whole(&world.report());
        let metrics = world.metrics().await;
        assert_eq!(metrics.sum("retries_total", &[("api", READ), ("reason", reason)]), 2.0, "{name}");
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_never_repeated_when_nobody_knows_what_became_of_it() {
    for (effect, codes) in [
        (Effect::ResetBeforeReading, (502, 9_900_502)),
        (Effect::ResetAfterReading, (502, 9_900_502)),
        (Effect::Truncate, (502, 9_900_502)),
        (Effect::BadGateway, (502, 9_900_502)),
        (Effect::Answer(ErrorCode(60008)), (200, 60008)),
        (Effect::Answer(ErrorCode(30008)), (200, 30008)),
    ] {
        let name = format!("{effect:?}");
        let world = World::start().await;
        inject(&world, Fault::new(effect));
        let answer = world.call(WRITE, "{}").await;
        assert_eq!((answer.codes(), attempts(&answer)), (codes, ""), "{name}");
        if codes.0 != 200 {
            assert!(answer.error_info().contains("may have been executed"), "{name}");
        }
        assert_eq!(world.report().arrived, 1, "{name}");
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_are_as_many_as_the_settings_say() {
    for (max_attempts, arrived) in [(1, 1), (2, 2), (5, 5)] {
        let max_attempts = NonZeroU32::new(max_attempts).unwrap();
        let world = Builder::new().tuned(move |live| live.retry.max_attempts = max_attempts).start().await;
        inject(&world, Fault::new(Effect::ResetAfterReading).for_ever());
        let answer = world.call(READ, "{}").await;
        assert_eq!(answer.codes(), (502, 9_900_502));
        assert_eq!(attempts(&answer), if arrived == 1 { String::new() } else { arrived.to_string() });
        assert_eq!(world.report().arrived, arrived);
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_word_on_one_api_goes_before_the_catalogues() {
    let world = Builder::new()
        .tuned(|live: &mut Settings| {
            live.retry.api.insert(api(READ), Repeat::Never);
            live.retry.api.insert(api(CREATE), Repeat::Safe);
        })
        .start()
        .await;
    inject(&world, Fault::new(Effect::ResetAfterReading));
    assert_eq!(world.call(READ, "{}").await.codes(), (502, 9_900_502));
    assert_eq!(world.report().arrived, 1);
    // The first try made the room, and the answer to the second says that it was not the first.
    inject(&world, Fault::new(Effect::ResetAfterReading));
    let answer = world.call(CREATE, "{\"RoomInfo\":{\"RoomId\":\"r\"}}").await;
    assert_eq!((answer.codes(), attempts(&answer)), ((200, 100_010), "2"));
    inject(&world, Fault::new(Effect::ResetAfterReading));
    let answer = world.call(DESTROY, "{\"RoomId\":\"r\"}").await;
    assert_eq!((answer.codes(), attempts(&answer)), ((200, 100_004), "2"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_stay_within_their_share_of_calls() {
    const CALLS: u64 = 60;
    for (budget, most) in [(0.0, 0), (0.1, CALLS / 10 + 10), (1.0, 2 * CALLS)] {
        let world = Builder::new()
            .tuned(move |live| {
                live.retry.budget = budget;
                live.ceiling.mode = Mode::Off;
            })
            .start()
            .await;
        inject(&world, answer(60014).for_ever());
        let mut client = world.client().await;
        let began = tokio::time::Instant::now();
        for _ in 0..CALLS {
            assert_eq!(client.send(post(&path(READ), "{}")).await.codes(), (200, 60014));
        }
        let retries = world.report().arrived - CALLS;
        // One more is free each second.
        let free = if budget == 0.1 { began.elapsed().as_secs() + 1 } else { 0 };
        assert!(retries <= most + free, "{budget}: {retries}");
        assert!(budget == 0.0 || retries >= 10, "{budget}: {retries}");
        assert_eq!(world.metrics().await.sum("retries_total", &[]), retries as f64);
        world.end().await;
    }
}

// === After a try of which nothing reached Tencent ===

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_reached_nobody_is_repeated() {
    let nowhere = nowhere();
    let world = Builder::new().calling(&[&format!("http://{nowhere}")]).start().await;
    let answer = world.call(WRITE, "{}").await;
    assert_eq!((answer.codes(), attempts(&answer)), ((502, 9_900_502), "3"));
    assert!(answer.error_info().contains("the call was not sent"), "{}", answer.error_info());
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("attempts_total", &[("result", "unreachable")]), 3.0);
    assert_eq!(metrics.sum("retries_total", &[("reason", "unreachable")]), 2.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_try_is_not_forgotten_when_a_later_one_was_not_sent() {
    // It hangs up on the first request without an answer, and is gone after that.
    let upstream = CannedServer::answering(vec![Box::new(|_| Vec::new())]);
    let world = Builder::new().calling(&[&upstream.url]).start().await;
    let answer = world.call(READ, "{}").await;
    assert_eq!((answer.codes(), attempts(&answer)), ((502, 9_900_502), "3"));
    assert!(answer.error_info().contains("may have been executed"), "{}", answer.error_info());
    assert_eq!(upstream.asked().len(), 1);
    world.end().await;
}

// === Time ===

#[tokio::test(flavor = "multi_thread")]
async fn all_tries_together_keep_the_callers_deadline() {
    let world =
        Builder::new().tuned(|live| live.upstream.request_timeout = Duration::from_secs(3)).start().await;
    inject(&world, Fault::new(Effect::Stall).for_ever());
    let began = tokio::time::Instant::now();
    let answer = world.send(with_timeout(READ, "5900ms")).await;
    assert_eq!(answer.codes(), (504, 9_900_504));
    assert!(answer.error_info().contains("may have been executed"), "{}", answer.error_info());
    assert!(began.elapsed() < Duration::from_secs(20), "not once for each try");
    // The second try had what the first had left, so there was no third.
    assert_eq!((world.report().arrived, attempts(&answer)), (2, "2"));
    // A write has the same time for one try, and is answered when that is over.
    let answer = world.send(with_timeout(WRITE, "30s")).await;
    assert_eq!((answer.codes(), attempts(&answer)), ((504, 9_900_504), ""));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_repeats_a_call_for_a_caller_who_hung_up() {
    let world = World::start().await;
    inject(&world, Fault { before_answer: Delay::fixed(Duration::from_secs(6)), ..answer(60008) }.for_ever());
    let call = send_apart(&world, post(&path(READ), "{}"));
    world.sandbox.control().wait_for_arrivals(1).await;
    call.abort();
    // It was sent, so it runs to its end and is recorded; but nobody is there to repeat it for.
    world.until(|samples| samples.sum("calls_total", &[("error_code", "60008")]) == 1.0).await;
    assert_eq!(world.report().arrived, 1);
    assert_eq!(world.metrics().await.sum("retries_total", &[]), 0.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_in_fifty_reset_costs_no_caller_a_wrong_word() {
    const ROUNDS: usize = 100;
    let world = Builder::new().tuned(|live| live.ceiling.mode = Mode::Off).start().await;
    let mut client = world.client().await;
    let (mut failed_reads, mut failed_writes) = (0, 0);
    for round in 0..ROUNDS {
        match round % 25 {
            7 => inject(&world, Fault::new(Effect::ResetBeforeReading)),
            19 => inject(&world, Fault::new(Effect::ResetAfterReading)),
            _ => {}
        }
        let is_read = round % 2 == 0;
        let answer = client.send(post(&path(if is_read { READ } else { WRITE }), "{}")).await;
        if answer.codes() != (200, 0) {
            assert_eq!(answer.codes(), (502, 9_900_502));
            assert!(answer.error_info().contains("may have been executed"), "{}", answer.error_info());
            *(if is_read { &mut failed_reads } else { &mut failed_writes }) += 1;
        }
    }
    assert_eq!((failed_reads, failed_writes), (0, 4), "eight resets, half of them on writes");
    assert_eq!(world.report().arrived, ROUNDS as u64 + 4, "only the reads were sent again");
    let writes = world.report().calls.iter().filter(|call| call.path == path(WRITE)).count();
    assert_eq!(writes, ROUNDS / 2, "no write twice");
    world.end().await;
}

fn path(api: &str) -> String {
    format!("/v4/{api}")
}

fn answer(code: i64) -> Fault {
    Fault::new(Effect::Answer(ErrorCode(code)))
}

fn inject(world: &World, fault: Fault) {
    let sandbox: &Sandbox = &world.sandbox;
    sandbox.control().inject(fault).unwrap();
}

fn attempts(answer: &Answer) -> &str {
    answer.header("x-gateway-attempts")
}

fn with_timeout(api: &str, timeout: &str) -> Request<Full<Bytes>> {
    let mut request = post(&path(api), "{}");
    request.headers_mut().insert("x-gateway-timeout", timeout.parse().unwrap());
    request
}

fn send_apart(world: &World, request: Request<Full<Bytes>>) -> tokio::task::JoinHandle<Answer> {
    let host = world.host().to_owned();
    tokio::spawn(async move { crate::client::send(&host, request).await })
}

/// Every try went to the same place with the same body, under a random number of its own.
fn assert_repeated_whole(report: &Report) {
    let mut randoms: Vec<_> = report.calls.iter().map(|call| &call.parameters.random).collect();
    randoms.sort();
    randoms.dedup();
    assert_eq!(randoms.len(), report.calls.len());
    let first = &report.calls[0];
    let own = |query: &Option<String>| query.as_ref().map(|query| query.ends_with("&a=b"));
    for call in &report.calls {
        assert_eq!((&call.path, own(&call.query)), (&first.path, own(&first.query)));
        // One that was reset before it was read shows none.
        assert!(call.body.is_empty() || report.calls.last().unwrap().body == call.body);
    }
}
