//! Answers that are late, slow, cut off, or no answers at all, to many calls at once: each caller hears so, reads are saved,
//! and no write is sent twice.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::task::JoinSet;
use usersig_gateway::gateway::admission::Mode;
use usersig_gateway::model::error_code::ErrorCode;
use usersig_gateway::sandbox::{Effect, Fault};

use crate::client::{post, send};
use crate::world::{Builder, World, api};

const READ: &str = "live_config/get_callback";
const WRITE: &str = "openim/sendmsg";
const CALLS: u64 = 10;

/// What becomes of a write that meets the effect, and whether a read that does is repeated.
struct Case {
    effect: Effect,
    told: (u16, i64, &'static str),
    repeated: bool,
}

const NO_ANSWER: (u16, i64, &str) = (502, 9_900_502, "the call may have been executed");
const LATE: (u16, i64, &str) = (504, 9_900_504, "the call may have been executed");

fn cases() -> Vec<Case> {
    let case = |effect, told, repeated| Case { effect, told, repeated };
    vec![
        case(Effect::Stall, LATE, true),
        case(Effect::Drip(Duration::from_secs(1)), LATE, true),
        case(Effect::Drip(Duration::from_micros(100)), (200, 0, ""), false),
        case(Effect::Truncate, NO_ANSWER, true),
        case(Effect::NotJson, NO_ANSWER, true),
        case(Effect::Empty, NO_ANSWER, true),
        case(Effect::BadGateway, NO_ANSWER, true),
        case(Effect::GzipBomb(512 << 10), NO_ANSWER, false),
        case(Effect::Answer(ErrorCode(60008)), (200, 60008, "a fault that was asked for"), true),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_caller_hears_what_came_of_its_call() {
    let mut all = JoinSet::new();
    for case in cases() {
        let world = before(&case).await;
        all.spawn(meet(case, world));
    }
    all.join_all().await;
}

/// A gateway before a sandbox that spoils the first answers of each API.
async fn before(case: &Case) -> World {
    let builder = Builder::new().plain().tuned(|live| {
        live.ceiling.mode = Mode::Off;
        // However the repeats of one read fall, they do not use up the faults that were meant for others.
        live.retry.max_attempts = NonZeroU32::new(CALLS as u32 + 1).unwrap();
        live.retry.budget = 1.0;
        live.upstream.request_timeout = Duration::from_secs(6);
        live.upstream.total_timeout = Duration::from_secs(120);
    });
    let world = builder.start().await;
    for name in [READ, WRITE] {
        let fault = Fault::new(case.effect.clone()).on(api(name)).times(CALLS as u32);
        world.sandbox.control().inject(fault).unwrap();
    }
    world
}

async fn meet(case: Case, world: World) {
    let Case { effect, told: (status, code, info), repeated } = case;
    let name = format!("{effect:?}");
    let (reads, writes) = tokio::join!(call(&world, READ), call(&world, WRITE));
    for (answer, attempts) in &writes {
        assert_eq!((answer.0, answer.1, attempts.as_str()), (status, code, ""), "{name}");
        assert!(answer.2.contains(info), "{name}: {}", answer.2);
    }
    for (answer, _) in &reads {
        let expected = if repeated { (200, 0) } else { (status, code) };
        assert_eq!((answer.0, answer.1), expected, "{name}: {}", answer.2);
    }
    // As many answers out as calls in. Writes reached the sandbox once each, reads once more for each fault.
    let arrived = |name: &str| {
        let path = format!("/v4/{name}");
        world.report().calls.iter().filter(|call| call.path == path).count() as u64
    };
    assert_eq!(arrived(WRITE), CALLS, "{name}");
    assert_eq!(arrived(READ), if repeated { 2 * CALLS } else { CALLS }, "{name}");
    assert_eq!(world.metrics().await.sum("calls_total", &[]), 2.0 * CALLS as f64, "{name}");
    world.end().await;
}

/// All calls at once: status, code and words of each answer, and how many tries it names.
async fn call(world: &World, name: &str) -> Vec<((u16, i64, String), String)> {
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let (host, request) = (world.host().to_owned(), post(&format!("/v4/{name}"), "{}"));
        calls.spawn(async move {
            let answer = send(&host, request).await;
            let (status, code) = answer.codes();
            ((status, code, answer.error_info()), answer.header("x-gateway-attempts").to_owned())
        });
    }
    calls.join_all().await
}
