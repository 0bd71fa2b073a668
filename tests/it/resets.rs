//! One connection in a hundred is reset before the request is read, and one after: every caller is told the truth about
//! its call, as the sandbox's books have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use usersig_gateway::gateway::admission::Mode;
use usersig_gateway::sandbox::{Effect, Fault};

use crate::books::{Books, READ, WRITE, call_until};
use crate::world::{Builder, World, api};

/// For how long: `benches/resets.sh` asks for more.
fn span() -> Duration {
    let asked = std::env::var("USERSIG_GATEWAY_SECONDS").ok();
    let seconds = asked.map_or(4, |seconds| seconds.parse().expect("USERSIG_GATEWAY_SECONDS is a number"));
    Duration::from_secs(seconds)
}

/// What became of all calls together.
struct Ran {
    tries: u64,
    arrived: u64,
    summary: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http1_where_a_reset_meets_one_call() {
    let world = start(Builder::new().plain()).await;
    let Ran { tries, arrived, summary } = run(&world).await;
    println!("HTTP/1.1: {summary}");
    // Each try arrived, so all of them are in the books.
    assert_eq!(arrived, tries);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_where_a_reset_meets_all_calls_of_its_connection() {
    let world = start(Builder::new()).await;
    let Ran { tries, arrived, summary } = run(&world).await;
    println!("HTTP/2: {summary}");
    // A try that was written may have been lost with another's connection before it was read.
    assert!(arrived <= tries, "{arrived} of {tries}");
    world.end().await;
}

async fn start(mut builder: Builder) -> World {
    builder.sandbox.log_calls = 1_000_000;
    for name in [READ, WRITE] {
        builder.sandbox.ceilings.per_api.insert(api(name), 1_000_000);
    }
    let builder = builder.workers(2).tuned(|live| {
        live.ceiling.mode = Mode::Off;
        live.retry.budget = 1.0;
    });
    let world = builder.start().await;
    for effect in [Effect::ResetBeforeReading, Effect::ResetAfterReading] {
        world.sandbox.control().inject(Fault::new(effect).one_in(100).for_ever()).unwrap();
    }
    world
}

/// Makes calls for a while, and holds what each was told against the books.
async fn run(world: &World) -> Ran {
    let over = Arc::new(AtomicBool::new(false));
    let end = async {
        tokio::time::sleep(span()).await;
        // Enough for resets to meet reads and writes, on a slow machine too.
        world.sandbox.control().wait_for_arrivals(1000).await;
        over.store(true, Ordering::Relaxed);
    };
    let pause = Duration::from_millis(25);
    let (told, ()) = tokio::join!(call_until(&over, world.host(), 16, pause), end);
    let books = Books::of(&[&world.report()]);
    let (mut reads, mut writes) = (0, 0);
    for told in &told {
        books.agree_with(told);
        if told.is_read && !told.is_ok() {
            assert_eq!(told.tries(), 3, "a read fails only if all its tries were reset");
            reads += 1;
        } else if !told.is_ok() {
            assert!(told.answer.error_info().contains("may have been executed"), "it was sent");
            writes += 1;
        }
        assert!(told.is_read || books.arrived(told) <= 1, "no write is sent twice");
    }
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("calls_total", &[]), told.len() as f64, "answers out are as many as calls in");
    let repeats = metrics.sum("retries_total", &[]) as u64;
    assert!(repeats > 0 && writes > 0, "reads and writes were met");
    let (calls, arrived) = (told.len() as u64, books.all_arrived());
    let summary = format!(
        "{calls} calls in, {arrived} reached the sandbox, {calls} answers out; {repeats} repeats; {reads} reads and \
         {writes} writes may have been executed"
    );
    Ran { tries: calls + repeats, arrived, summary }
}
