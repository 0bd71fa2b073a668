//! A gateway and a sandbox for 30 s at three times a ceiling of 200 a second, over loopback: what arrives, how evenly,
//! and how long callers wait.
//!
//! `cargo bench --bench saturation` prints a line for each guarantee and each latency. Half of the latency lies before
//! the sandbox counts a call, half before it answers; `transit_max` stays above it. `SECONDS=10` shortens the runs.

#![allow(clippy::print_stdout, reason = "what it finds is its output")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use usersig_gateway::app::App as Gateway;
use usersig_gateway::clock::{SystemClock, WallClock};
use usersig_gateway::config::settings::{Boot, DrainSettings, Settings};
use usersig_gateway::gateway::admission::Guarantee;
use usersig_gateway::gateway::target::{App, Apps, Endpoints};
use usersig_gateway::gateway::{self, RecordSettings};
use usersig_gateway::model::secret::SecretKey;
use usersig_gateway::net::body::read_capped;
use usersig_gateway::net::listener::ListenAddress;
use usersig_gateway::sandbox::{self, Delay, Effect, Fault, Sandbox, SandboxApp};

const API: &str = "live_engine_http_srv/get_room_info";
const LIMIT: u32 = 200;

/// One run.
#[derive(Debug, Clone, Copy)]
struct Case {
    guarantee: Guarantee,
    latency: Duration,
    seconds: u32,
}

/// What came of it.
#[derive(Debug)]
struct Outcome {
    /// Arrivals, in seconds after the first.
    arrivals: Vec<f64>,
    worst_second: usize,
    refused_by_sandbox: u64,
    /// Waits of those that got a turn, in milliseconds, sorted.
    waits: Vec<f64>,
    refused: usize,
    mean_answer: f64,
}

fn main() {
    let seconds = std::env::var("SECONDS").ok().map_or(30, |text| text.parse().expect("SECONDS is a number"));
    println!(
        "guarantee  latency  delivered/s  of possible  worst second  60007  100 ms slices  wait p50  p95   max  429"
    );
    for guarantee in [Guarantee::Arrival, Guarantee::Dispatch] {
        for latency in [0, 20, 200] {
            let case = Case { guarantee, latency: Duration::from_millis(latency), seconds };
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let outcome = runtime.expect("a runtime").block_on(run(case));
            println!("{}", line(case, &outcome));
        }
    }
}

fn line(case: Case, outcome: &Outcome) -> String {
    let steady: Vec<f64> = outcome.arrivals.iter().copied().filter(|at| *at >= 2.0).collect();
    let span = outcome.arrivals.last().expect("some arrived") - 2.0;
    let rate = steady.len() as f64 / span;
    let round = match case.guarantee {
        Guarantee::Arrival => 1.0 + outcome.mean_answer,
        Guarantee::Dispatch => 1.0,
    };
    let slices = (0..(span * 10.0) as usize).map(|slice| {
        let from = 2.0 + slice as f64 / 10.0;
        steady.iter().filter(|at| (from..from + 0.1).contains(*at)).count()
    });
    let slices: Vec<_> = slices.collect();
    let wait = |share: f64| outcome.waits[((outcome.waits.len() - 1) as f64 * share) as usize];
    format!(
        "{:9}  {:4} ms  {rate:11.1}  {:9.1} %  {:12}  {:5}  {:6}-{:<6}  {:5.0} ms  {:4.0}  {:4.0}  {}",
        format!("{:?}", case.guarantee).to_lowercase(),
        case.latency.as_millis(),
        rate / (f64::from(LIMIT) / round) * 100.0,
        outcome.worst_second,
        outcome.refused_by_sandbox,
        slices.iter().min().expect("a slice"),
        slices.iter().max().expect("a slice"),
        wait(0.5),
        wait(0.95),
        wait(1.0),
        outcome.refused,
    )
}

async fn run(case: Case) -> Outcome {
    let key = SecretKey::new(&"FAKE".repeat(16)).expect("visible ASCII");
    let sdkappid = "1400000001".parse().expect("a number");
    let settings = sandbox::Settings {
        tls: true,
        apps: vec![SandboxApp::new(sdkappid, vec![key.clone()])],
        log_calls: 100_000,
        ..sandbox::Settings::default()
    };
    let sandbox = Sandbox::start(settings, Arc::new(SystemClock)).await.expect("a free port");
    let half = Delay::between(Duration::ZERO, case.latency);
    let fault = Fault { transit: half, before_answer: half, ..Fault::new(Effect::Serve) };
    sandbox.control().inject(fault.for_ever()).expect("room for a fault");
    let gateway = start_gateway(case, &sandbox, key);

    let began = Instant::now();
    let mut calls = JoinSet::new();
    let host = gateway.gateway_address().to_string();
    let senders = connections(&host).await;
    for n in 0..case.seconds * LIMIT * 3 {
        tokio::time::sleep_until(began + Duration::from_secs(1) * n / (LIMIT * 3)).await;
        let sender = senders[n as usize % senders.len()].clone();
        calls.spawn(call(sender, format!("http://{host}/v4/{API}")));
    }
    let ended = calls.join_all().await;

    let report = sandbox.control().report();
    let seen = report.seen(sdkappid, &API.parse().expect("a name"));
    let first = report.calls.first().expect("some arrived").arrived;
    let until = began + Duration::from_secs(1) * case.seconds;
    let demanded = report.calls.iter().filter(|call| call.arrived < until);
    let mut waits: Vec<f64> = ended.iter().flatten().map(|ended| ended.wait).collect();
    let answers =
        ended.iter().flatten().map(|ended| (ended.upstream / 1e3).min(transit_max(case).as_secs_f64()));
    let answers: Vec<f64> = answers.collect();
    waits.sort_by(f64::total_cmp);
    let outcome = Outcome {
        arrivals: demanded.map(|call| (call.arrived - first).as_secs_f64()).collect(),
        worst_second: seen.worst_second,
        refused_by_sandbox: seen.refused_for_rate,
        refused: ended.len() - waits.len(),
        mean_answer: answers.iter().sum::<f64>() / answers.len() as f64,
        waits,
    };
    gateway.drain(DrainSettings { accept_for: Duration::ZERO, grace: Duration::from_secs(5) }).await;
    sandbox.stop().await;
    outcome
}

fn start_gateway(case: Case, sandbox: &Sandbox, key: SecretKey) -> Gateway {
    let root = CertificateDer::from_pem_slice(sandbox.ca_pem().unwrap_or_default().as_bytes());
    let app = App {
        name: "live".parse().expect("a name"),
        sdkappid: "1400000001".parse().expect("a number"),
        identifier: "administrator".parse().expect("a userid"),
        keys: vec![key],
        region: None,
        endpoints: Endpoints::private(vec![sandbox.url().parse().expect("a URL")]),
        extra_roots: vec![root.expect("a certificate")].into(),
        index: Default::default(),
        counted: Default::default(),
    };
    let mut apps = Apps::default();
    apps.add(app, true).expect("the only app");
    let mut live = gateway::Settings::of(apps);
    live.record = RecordSettings { access_share: 0.0, audit: false };
    live.ceiling.guarantee = case.guarantee;
    live.ceiling.transit_max = transit_max(case);
    let free = || ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
    let boot = Boot { gateway: free(), admin: free(), workers: NonZeroUsize::new(1), ..Boot::default() };
    let clock: Arc<dyn WallClock> = Arc::new(SystemClock);
    Gateway::start(Settings { boot, live }, &clock).expect("free ports")
}

fn transit_max(case: Case) -> Duration {
    (case.latency * 2).max(Duration::from_millis(250))
}

type Sender = SendRequest<Full<Bytes>>;

/// HTTP/2, since many calls wait at once.
async fn connections(host: &str) -> Vec<Sender> {
    let mut senders = Vec::new();
    for _ in 0..8 {
        let stream = TcpStream::connect(host).await.expect("the gateway listens");
        let (sender, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2 is spoken");
        tokio::spawn(connection);
        senders.push(sender);
    }
    senders
}

/// What the gateway says of one call, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Served {
    wait: f64,
    upstream: f64,
}

/// `None`: it was refused.
async fn call(mut sender: Sender, url: String) -> Option<Served> {
    let request = Request::post(url).body(Full::new(Bytes::from_static(b"{}"))).expect("a request");
    sender.ready().await.expect("the connection stands");
    let response = sender.send_request(request).await.expect("an answer");
    let (head, body) = response.into_parts();
    read_capped(body, 1 << 20).await.expect("a whole answer");
    let timing =
        head.headers.get("server-timing").and_then(|value| value.to_str().ok()).expect("always told");
    let milliseconds = |metric: &str| {
        let told = timing.split(", ").find_map(|part| part.strip_prefix(metric))?;
        told.strip_prefix(";dur=")?.parse().ok()
    };
    let served = head.headers.contains_key("x-tencent-error-code");
    served.then(|| Served {
        wait: milliseconds("wait").expect("always told"),
        upstream: milliseconds("upstream").expect("told of what was sent"),
    })
}
