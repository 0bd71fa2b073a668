//! A real Prometheus scrapes the admin listener, and its own linter reads the metrics.
//!
//! It needs the programs `prometheus` and `promtool`, both in Debian's package `prometheus`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use usersig_gateway::admin::{self, Orders, Readiness, State, Status};
use usersig_gateway::model::call_outcome::CallOutcome;
use usersig_gateway::model::endpoint::Endpoint;
use usersig_gateway::model::error_code::ErrorCode;
use usersig_gateway::net::listener::ListenAddress;
use usersig_gateway::net::stop::Stopper;
use usersig_gateway::sandbox::{Effect, Fault};
use usersig_gateway::telemetry::metrics::{CeilingReading, Listener, Metrics};

use crate::client::send;
use crate::world::{World, post};

/// How long anything of Prometheus's may take: a hundred times what it needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(200);

const CALLS_BY_CODE: &str = "sum by (error_code) (usersig_gateway_calls_total)";

#[test]
fn prometheus_reads_the_calls_by_their_error_code() {
    let metrics = Metrics::new("1.2.3");
    record_calls(&metrics);
    let admin = Admin::serving(Arc::clone(&metrics));
    let prometheus = Prometheus::scraping(admin.address);
    prometheus.wait_for(CALLS_BY_CODE, "error_code", &[("0", 5.0), ("60007", 2.0), ("9900429", 1.0)]);
    prometheus.wait_for("up{job=\"usersig-gateway\"}", "job", &[("usersig-gateway", 1.0)]);
    // What is counted later arrives as well.
    let caller = metrics.caller("gifts");
    metrics.api("live", "live_config/get_callback").call(
        caller,
        ErrorCode(60011),
        CallOutcome::Throttled,
        LOOK,
    );
    prometheus.wait_for(
        "sum by (outcome) (usersig_gateway_calls_total{error_code!~\"0|9900429\"})",
        "outcome",
        &[("throttled", 3.0)],
    );
    // A hostile name is one label value, character by character.
    prometheus.wait_for(
        "sum by (caller) (usersig_gateway_calls_total{app=\"chat\"})",
        "caller",
        &[(HOSTILE, 1.0)],
    );
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    let metrics = Metrics::new("1.2.3");
    record_calls(&metrics);
    let admin = Admin::serving(metrics);
    let text = get(admin.address, "/metrics").expect("an answer with status 200");
    assert!(text.contains("usersig_gateway_calls_total"), "{text}");
    assert_promtool_accepts(&text);
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_sees_the_error_codes_of_real_calls() {
    let world = troubled_world().await;
    let ListenAddress::Tcp(admin) = *world.gateway().admin_address() else { panic!("a TCP address") };
    let prometheus = Prometheus::scraping(admin);
    prometheus.wait_for(
        CALLS_BY_CODE,
        "error_code",
        &[("0", 3.0), ("60007", 1.0), ("100302", 1.0), ("9900404", 1.0), ("9900502", 1.0)],
    );
    prometheus.wait_for(
        "sum by (outcome) (usersig_gateway_calls_total{app=\"live\"})",
        "outcome",
        &[("fault", 1.0), ("ok", 3.0), ("tencent_error", 1.0), ("throttled", 1.0)],
    );
    prometheus.wait_for("usersig_gateway_refused_total", "reason", &[("no_such_path", 1.0)]);
    assert_promtool_accepts(&get(admin, "/metrics").expect("an answer with status 200"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readme_lists_every_metric_with_its_labels() {
    let world = troubled_world().await;
    let mut odd = post("/v4/live_config/get_callback", "{}");
    odd.headers_mut().insert("x-gateway-timeout", "soon".parse().expect("a header's value"));
    assert_eq!(world.send(odd).await.codes(), (200, 0));
    while_one_waits(&world).await;
    // An app is stopped after three such answers in a row.
    let refused = Fault::new(Effect::Answer(ErrorCode(60010)));
    world.sandbox.control().inject(refused.times(3)).unwrap();
    for _ in 0..3 {
        assert_eq!(world.call("live_config/get_callback", "{}").await.codes(), (200, 60010));
    }
    let text = String::from_utf8(world.admin("/metrics").await.body.to_vec()).expect("text");
    let served: BTreeMap<String, BTreeSet<String>> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE usersig_gateway_")?.split_once(' '))
        .map(|(name, _)| (name.to_owned(), labels_in(&text, name)))
        .collect();
    let readme = include_str!("../../README.md");
    let (_, table) = readme.split_once("| metric | labels | meaning |").expect("README has the table");
    let (table, _) = table.split_once("\n\n").expect("the table ends");
    let listed = table.lines().filter_map(|row| {
        let mut cells = row.strip_prefix("| `")?.split('|');
        let name = cells.next()?.trim_end().trim_end_matches('`').to_owned();
        let labels = cells.next()?.split(',').map(|label| label.trim().to_owned()).collect();
        Some((name, labels))
    });
    assert_eq!(served, listed.collect());
    world.end().await;
}

/// Looks at what is counted while more calls wait than have turns in this time, which are given up then.
async fn while_one_waits(world: &World) {
    let mut waiting = JoinSet::new();
    for _ in 0..100 {
        let (host, call) = (world.host().to_owned(), post("/v4/live_engine_http_srv/get_room_list", "{}"));
        waiting.spawn(async move { drop(send(&host, call).await) });
    }
    world.until(|samples| samples.sum("caller_waiting", &[]) > 0.0).await;
    waiting.shutdown().await;
    world.until(|samples| samples.sum("caller_waiting", &[]) == 0.0).await;
}

/// The names of a family's labels, without those that its type brings along.
fn labels_in(text: &str, name: &str) -> BTreeSet<String> {
    let series = text.lines().find_map(|line| {
        let rest = line.strip_prefix("usersig_gateway_")?.strip_prefix(name)?;
        rest.starts_with(['{', '_']).then(|| rest.split_once('{'))?
    });
    let (_, labels) = series.unwrap_or_else(|| panic!("a sample of {name} in {text}"));
    let labels = labels.split("\",").filter_map(|pair| pair.split_once('='));
    labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le").collect()
}

/// A gateway after calls of several kinds.
async fn troubled_world() -> World {
    let world = World::start().await;
    for _ in 0..3 {
        assert_eq!(world.call("live_config/get_callback", "{}").await.codes(), (200, 0));
    }
    assert_eq!(world.call("live_config/get_callback_token", "{}").await.codes(), (200, 100_302));
    for (effect, codes) in
        [(Effect::Answer(ErrorCode(60007)), (200, 60007)), (Effect::NotJson, (502, 9_900_502))]
    {
        world.sandbox.control().inject(Fault::new(effect).for_ever()).unwrap();
        assert_eq!(world.call("live_config/get_callback", "{}").await.codes(), codes);
        world.sandbox.control().clear_faults();
    }
    assert_eq!(world.send(post("/nowhere", "{}")).await.codes(), (404, 9_900_404));
    world
}

const HOSTILE: &str = "a\"b\\c\n{d}=é";

/// A few calls of each kind, and one of everything else that is counted.
fn record_calls(metrics: &Metrics) {
    let caller = metrics.caller("gifts");
    let endpoint = Endpoint::https("adminapisgp.im.qcloud.com");
    let api = metrics.api("live", "live_config/get_callback");
    let took = Duration::from_millis(12);
    for _ in 0..4 {
        api.call(caller, ErrorCode::OK, CallOutcome::Ok, took);
    }
    for _ in 0..2 {
        api.call(caller, ErrorCode(60007), CallOutcome::Throttled, took);
    }
    api.call(caller, ErrorCode(9_900_429), CallOutcome::Refused, took);
    api.refused(caller, "queue_full");
    api.waited(took);
    api.attempt(&endpoint, "answered");
    api.upstream(&endpoint, took);
    let hostile = metrics.caller(HOSTILE);
    metrics.api("chat", "openim/sendmsg").call(hostile, ErrorCode::OK, CallOutcome::Ok, took);
    metrics.ignored_header("priority");
    drop(metrics.connection(Listener::Gateway));
    metrics.register_ceilings(Box::new(|| {
        vec![CeilingReading {
            app: "live".to_owned(),
            api: "live_config/get_callback".to_owned(),
            limit: 200.0,
            used: 7,
            waiting: 1,
            leased: 0,
            unproven: 2,
            shadowed: 3,
        }]
    }));
}

/// An admin listener in this process, on a port that was free.
struct Admin {
    address: SocketAddr,
    // Dropped in this order: the listener stops, then its runtime.
    _stopper: Stopper,
    _runtime: Runtime,
}

impl Admin {
    fn serving(metrics: Arc<Metrics>) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let listener =
            runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port on loopback");
        let address = listener.local_addr().expect("an address");
        let stopper = Stopper::new();
        let readiness = Readiness::new();
        let orders = Orders { token: Arc::default(), to: tokio::sync::mpsc::channel(1).0 };
        let state = State { metrics, readiness, status: Arc::new(Status::default), orders };
        runtime.spawn(admin::serve(listener.into(), state, stopper.signal()));
        Self { address, _stopper: stopper, _runtime: runtime }
    }
}

/// A Prometheus that ends with this value.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    // Configuration and data; removed last.
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one that scrapes `/metrics` at `target` every second.
    ///
    /// # Panics
    /// When it is not installed, or says nothing of where it listens.
    pub(crate) fn scraping(target: SocketAddr) -> Self {
        let directory = tempfile::tempdir().expect("a directory for its files");
        let config = directory.path().join("prometheus.yml");
        std::fs::write(&config, configuration(target)).expect("its configuration written");
        let mut child = start(&config, directory.path());
        let log = child.stderr.take().expect("its stderr is a pipe");
        // From here on, dropping it ends the process, whatever fails.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut prometheus = Self { child, address: nowhere, _directory: directory };
        let (found, address) = channel();
        std::thread::spawn(move || follow(log, &found));
        prometheus.address = address.recv_timeout(PATIENCE).expect("its log told where it listens");
        prometheus
    }

    /// Waits until `query` gives exactly `expected`, told by the value of one label.
    ///
    /// # Panics
    /// When that takes too long. The message shows what it gave last.
    pub(crate) fn wait_for(&self, query: &str, label: &str, expected: &[(&str, f64)]) {
        let expected: BTreeMap<String, f64> =
            expected.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
        let mut last = None;
        for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
            last = self.query(query, label);
            if last.as_ref() == Some(&expected) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        panic!("{query} gave {last:?} at last, not {expected:?}");
    }

    /// Waits until `query` gives something, and only numbers.
    ///
    /// # Panics
    /// When that takes too long.
    pub(crate) fn wait_for_data(&self, query: &str) {
        for _ in 0..PATIENCE.as_millis() / LOOK.as_millis() {
            // Series without a common label fall together here, which is no matter.
            let data = self.query(query, "").unwrap_or_default();
            if !data.is_empty() && data.values().all(|value| !value.is_nan()) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        panic!("no data: {query}");
    }

    /// The present values of `query`, by the value of `label`; `None` while Prometheus is not ready.
    fn query(&self, query: &str, label: &str) -> Option<BTreeMap<String, f64>> {
        let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let answer = get(self.address, &format!("/api/v1/query?query={query}"))?;
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON from Prometheus");
        let samples = answer["data"]["result"].as_array().expect("a vector");
        let sample = |sample: &serde_json::Value| {
            let name = sample["metric"][label].as_str().unwrap_or_default().to_owned();
            let value = sample["value"][1].as_str().and_then(|value| value.parse().ok());
            (name, value.expect("a number"))
        };
        Some(samples.iter().map(sample).collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn configuration(target: SocketAddr) -> String {
    format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n  \
         - job_name: usersig-gateway\n    static_configs:\n      - targets: ['{target}']\n"
    )
}

fn start(config: &Path, directory: &Path) -> Child {
    Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
        .arg("--web.listen-address=127.0.0.1:0")
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start prometheus (Debian package prometheus): {error}"))
}

/// Reads the log to its end, so that Prometheus never waits for us, and tells the address on which it listens.
fn follow(log: ChildStderr, found: &Sender<SocketAddr>) {
    for line in BufReader::new(log).lines().map_while(Result::ok) {
        let address = line
            .split_once("msg=\"Listening on\"")
            .and_then(|(_, rest)| rest.split_once("address="))
            .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
        if let Some(address) = address {
            // The test may have given up.
            _ = found.send(address);
        }
    }
}

/// Gives `text` to Prometheus's linter.
///
/// # Panics
/// When the linter is not installed, fails, or says anything at all.
pub(crate) fn assert_promtool_accepts(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start promtool (Debian package prometheus): {error}"));
    let mut input = promtool.stdin.take().expect("its stdin is a pipe");
    input.write_all(text.as_bytes()).expect("the metrics written to promtool");
    drop(input);
    let output = promtool.wait_with_output().expect("promtool's output");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "promtool: {}", String::from_utf8_lossy(&said));
}

/// The body of the answer if its status is 200. Asked in HTTP/1.0, so that the body ends with the connection.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let ok = head.split(' ').nth(1) == Some("200");
    ok.then(|| body.to_owned())
}
