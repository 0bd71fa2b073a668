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
    ("heads", &["-H", "-i", "2", "-x", "24"], READ),
    ("bodies", &["-B", "-i", "2", "-x", "10", "-s", "8192"], READ),
    ("readers", &["-X", "-t", "POST", "-n", "1", "-w", "256", "-y", "512", "-z", "16"], LONG),
];

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
    let calls = if asked().is_some() { 4_000 } else { 200 };

    for (kind, words, of) in KINDS {
        let alone = p99(&gateway, calls).await;
        let slow = Slow::start(&gateway, of, connections, words);
        let open = until_open(&gateway, connections).await;
        let beside = p99(&gateway, calls).await;
        let still_open = open_connections(&gateway).await;
        drop(slow);
        println!(
            "slow {kind}: {open} connections, {still_open} at the end; others' p99 {alone:?} before and {beside:?} beside"
        );
        assert!(still_open * 10 >= connections * 9, "{kind}: {still_open} are left of {open}");
        // Where this is measured the machine is quiet.
        assert!(asked().is_none() || beside <= 2 * alone, "{kind}: {alone:?} became {beside:?}");
        until(&gateway, |open| open == 0).await;
    }
    sandbox.stop().await;
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
    fn start(gateway: &Serving, of: &str, connections: usize, words: &[&str]) -> Self {
        let (url, connections) = (format!("http://{}/v4/{of}", gateway.gateway), connections.to_string());
        let mut command = Command::new("slowhttptest");
        command
            .args(["-u", &url, "-c", &connections, "-r", &connections, "-l", "300", "-p", "5"])
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
async fn until_open(gateway: &Serving, connections: usize) -> usize {
    let open = until(gateway, |open| open * 20 >= connections * 19).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    open
}

async fn until(gateway: &Serving, is_so: impl Fn(usize) -> bool) -> usize {
    let began = Instant::now();
    loop {
        let open = open_connections(gateway).await;
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
const PAUSE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(120);
