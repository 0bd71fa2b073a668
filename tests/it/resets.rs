//! One connection in a hundred is reset before the request is read, and one after: every caller is told the truth about
//! its call, as the sandbox's books have it.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use usersig_gateway::gateway::admission::Mode;
use usersig_gateway::sandbox::{Call, Effect, Fault, Verdict};

use crate::client::{Client, post};
use crate::world::{Answer, Builder, World, api};

const READ: &str = "live_config/get_callback";
const WRITE: &str = "openim/sendmsg";
const CALLERS: u64 = 16;
/// Between two calls of one caller.
const PAUSE: Duration = Duration::from_millis(25);

/// For how long: `benches/resets.sh` asks for more.
fn span() -> Duration {
    let asked = std::env::var("USERSIG_GATEWAY_SECONDS").ok();
    let seconds = asked.map_or(4, |seconds| seconds.parse().expect("USERSIG_GATEWAY_SECONDS is a number"));
    Duration::from_secs(seconds)
}

/// What a caller sent, and was told.
struct Told {
    name: String,
    is_read: bool,
    answer: Answer,
}

/// What the sandbox's books have of one call.
#[derive(Default)]
struct Booked {
    arrived: u64,
    executed: u64,
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
    let until = Instant::now() + span();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let host = world.host().to_owned();
            tokio::spawn(call_until(until, host, caller))
        })
        .collect();
    let mut told = Vec::new();
    for caller in callers {
        told.append(&mut caller.await.unwrap());
    }
    let report = world.report();
    assert_eq!(report.calls.len() as u64, report.arrived, "the books are whole");
    let mut books: HashMap<String, Booked> = HashMap::new();
    for call in &report.calls {
        let booked = books.entry(name(call).to_owned()).or_default();
        booked.arrived += 1;
        booked.executed += u64::from(call.verdict == Verdict::Accepted);
    }
    for told in &told {
        is_true(told, books.get(&told.name).unwrap_or(&Booked::default()));
    }
    let metrics = world.metrics().await;
    assert_eq!(metrics.sum("calls_total", &[]), told.len() as f64, "answers out are as many as calls in");
    let failed = |is_read| told.iter().filter(|told| told.is_read == is_read && !is_ok(&told.answer)).count();
    let repeats = metrics.sum("retries_total", &[]);
    let summary = format!(
        "{} calls in, {} reached the sandbox, {} answers out; {repeats} repeats; {} reads and {} writes may have been \
         executed",
        told.len(),
        report.arrived,
        told.len(),
        failed(true),
        failed(false),
    );
    assert!(repeats > 0.0 && failed(false) > 0, "reads and writes were met");
    let arrived = books.values().map(|booked| booked.arrived).sum();
    Ran { tries: told.len() as u64 + repeats as u64, arrived, summary }
}

async fn call_until(until: Instant, host: String, caller: u64) -> Vec<Told> {
    let mut random = fastrand::Rng::with_seed(caller);
    let (mut client, mut all) = (Client::to(&host).await, Vec::new());
    while Instant::now() < until {
        let (is_read, name) = (random.bool(), format!("{caller}-{}", all.len()));
        let api = if is_read { READ } else { WRITE };
        let answer = client.send(post(&format!("/v4/{api}?call={name}"), "{}")).await;
        all.push(Told { name, is_read, answer });
        tokio::time::sleep(PAUSE).await;
    }
    all
}

/// What the caller added to its call's query.
fn name(call: &Call) -> &str {
    let query = call.query.as_deref().expect("every call has one");
    query.rsplit_once("&call=").expect("callers say which one it is").1
}

fn is_ok(answer: &Answer) -> bool {
    answer.codes() == (200, 0)
}

fn is_true(told: &Told, booked: &Booked) {
    let Told { name, is_read, answer } = told;
    let Booked { arrived, executed } = booked;
    let tries: u64 = match answer.header("x-gateway-attempts") {
        "" => 1,
        tries => tries.parse().unwrap(),
    };
    assert!(*arrived <= tries, "{name}: {tries} tries, of which {arrived} arrived");
    assert!(*is_read || (tries == 1 && *executed <= 1), "{name}: a write was repeated");
    if is_ok(answer) {
        assert!(*executed >= 1, "{name}: was told of a success that there was not");
        return;
    }
    assert_eq!(answer.codes(), (502, 9_900_502), "{name}");
    let info = answer.error_info();
    assert!(info.contains("the call may have been executed"), "{name}: all that was reset was sent: {info}");
    assert!(!is_read || tries == 3, "{name}: a read failed after {tries} tries");
}
