//! Many slow connections at once, as Debian's slowhttptest makes them, and how others are served beside them.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::sandbox::{Effect, Fault, Sandbox, SandboxApp, Settings};

use crate::client::{Client, post};
use crate::process::Serving;
use crate::world::{api, key, sdkappid};

const READ: &str = "live_config/get_callback";
/// Answered at length, for those who read slowly.
const LONG: &str = "live_config/get_callback_token";

/// Nobody is sent away before all is measured, however long that takes.
const TABLES: &str = "[log]\naccess = \"off\"\n[ceiling]\nmode = \"off\"\n\
                      [limits]\nheader_timeout = \"5m\"\nbody_timeout = \"5m\"\nidle_timeout = \"5m\"\n";

/// A kind of slowness: its name, slowhttptest's words for it, and which API it asks for.
const KINDS: [(&str, &[&str], &str); 3] = [
    ("heads", &["-H", "-x", "24"], READ),
    ("bodies", &["-B", "-x", "10", "-s", "8192"], READ),
    ("readers", &["-X", "-t", "POST", "-n", "1", "-w", "256", "-y", "512", "-z", "16"], LONG),
];

/// All send a little at this interval in seconds, and all at once. The tool's own default is ten.
const INTERVAL: &str = "2";

/// How many connections: `benches/slow.sh` asks for more, and for a bound on what others notice.
fn asked() -> Option<usize> {
    let asked = std::env::var("USERSIG_GATEWAY_SLOW_CONNECTIONS").ok();
    asked.map(|asked| asked.parse().expect("USERSIG_GATEWAY_SLOW_CONNECTIONS is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_served_beside_slow_connections() {
    let connections = asked().unwrap_or(200);
    let mut settings =
        Settings { apps: vec![SandboxApp::new(sdkappid(), vec![key()])], ..Settings::default() };
    for name in [READ, LONG] {
        settings.ceilings.per_api.insert(api(name), 1_000_000);
    }
    let sandbox = Sandbox::start(settings, Arc::new(SystemClock)).await.unwrap();
    sandbox.control().inject(Fault::new(Effect::Large(300 * 1024)).on(api(LONG)).for_ever()).unwrap();
    let gateway = Serving::start(&sandbox, TABLES);
    // Where it is measured, for more than those ten seconds.
    let calls = if asked().is_some() { 12_000 } else { 200 };

    for (kind, words, of) in KINDS {
        match asked() {
            None => _ = beside(&gateway, of, connections, words, calls).await,
            Some(_) => {
                let (before, during, ratios) = compare(&gateway, of, connections, words, calls).await;
                println!(
                    "{connections} slow {kind}, others' p99 before and during: {before:.1?}, {during:.1?}; {ratios:.2?}"
                );
                // Where this is measured the machine is quiet. The median counts.
                assert!(ratios[ROUNDS / 2] <= 2.0, "{kind}: {ratios:?}");
            }
        }
    }
    sandbox.stop().await;
}

/// The p99 of others before and during the slow connections, in alternating rounds, and what the one is to the other, in
/// order.
async fn compare(
    gateway: &Serving,
    of: &str,
    connections: usize,
    words: &[&str],
    calls: usize,
) -> (Vec<Duration>, Vec<Duration>, Vec<f64>) {
    let (mut before, mut during) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        before.push(p99(gateway, calls).await);
        during.push(beside(gateway, of, connections, words, calls).await);
    }
    let pairs = before.iter().zip(&during);
    let mut ratios: Vec<_> =
        pairs.map(|(before, during)| during.as_secs_f64() / before.as_secs_f64()).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    (before, during, ratios)
}

/// The p99 of others beside slow connections to the gateway, which stay open meanwhile.
async fn beside(gateway: &Serving, of: &str, connections: usize, words: &[&str], calls: usize) -> Duration {
    let slow = Slow::start(&gateway.gateway, of, connections, words);
    let open = until_open(async || open_connections(gateway).await, connections).await;
    let beside = p99(gateway, calls).await;
    let still_open = open_connections(gateway).await;
    drop(slow);
    assert!(still_open * 10 >= connections * 9, "{of}: {still_open} are left of {open}");
    until(async || open_connections(gateway).await, |open| open == 0).await;
    beside
}

/// Of so many calls by a few callers, some over a connection of their own, the time in which all but a hundredth are
/// answered. Each must succeed.
async fn p99(gateway: &Serving, calls: usize) -> Duration {
    let callers = (0..CALLERS).map(|caller| {
        let host = gateway.gateway.clone();
        tokio::spawn(async move {
            let mut client = Client::to(&host).await;
            let mut times = Vec::new();
            for n in 0..calls / CALLERS {
                let began = Instant::now();
                // Every eighth must be accepted first.
                if (n + caller) % 8 == 0 {
                    client = Client::to(&host).await;
                }
                assert_eq!(client.send(post(&format!("/v4/{READ}"), "{}")).await.codes(), (200, 0));
                times.push(began.elapsed());
                tokio::time::sleep(PAUSE).await;
            }
            times
        })
    });
    let mut times = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        times.append(&mut caller.await.unwrap());
    }
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// slowhttptest while it runs. Dropped, it is killed.
struct Slow(Child);

impl Slow {
    fn start(host: &str, of: &str, connections: usize, words: &[&str]) -> Self {
        let (url, connections) = (format!("http://{host}/v4/{of}"), connections.to_string());
        // It keeps a core busy by itself, which is of no interest here: where it can, it has one of its own.
        let mut command = match std::env::var("USERSIG_GATEWAY_SLOW_CORE") {
            Err(_) => Command::new("slowhttptest"),
            Ok(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core, "slowhttptest"]);
                command
            }
        };
        command
            .args([
                "-u",
                &url,
                "-c",
                &connections,
                "-r",
                &connections,
                "-i",
                INTERVAL,
                "-l",
                "300",
                "-p",
                "5",
            ])
            .args(words);
        // It writes pages for a terminal.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("slowhttptest is installed (tests/run.sh does it)"))
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Waits until nearly all are open, and making them is over; gives how many.
async fn until_open(open: impl AsyncFn() -> usize, connections: usize) -> usize {
    let open = until(open, |open| open * 20 >= connections * 19).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    open
}

async fn until(open: impl AsyncFn() -> usize, is_so: impl Fn(usize) -> bool) -> usize {
    let began = Instant::now();
    loop {
        let open = open().await;
        if is_so(open) {
            return open;
        }
        assert!(began.elapsed() < PATIENCE, "{open} connections are open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn open_connections(gateway: &Serving) -> usize {
    let request = http::Request::get("/metrics").body(http_body_util::Full::default()).unwrap();
    let answer = crate::client::send(&gateway.admin, request).await;
    let samples = crate::samples::Samples::read(std::str::from_utf8(&answer.body).unwrap());
    samples.sum("connections", &[("listener", "gateway")]) as usize
}

const CALLERS: usize = 4;
const ROUNDS: usize = 5;
const PAUSE: Duration = Duration::from_millis(3);
const PATIENCE: Duration = Duration::from_secs(120);
