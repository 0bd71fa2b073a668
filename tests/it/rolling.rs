//! Gateways end under 500 calls a second, alone as Kubernetes ends one, and one after the other behind a balancer as a
//! rolling update replaces them: no caller notices.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::sandbox::{Sandbox, SandboxApp, Settings};

use crate::client::{Client, post, send};
use crate::process::Serving;
use crate::samples::Samples;
use crate::world::{api, key, sdkappid};

const READ: &str = "/v4/live_config/get_callback";
/// Between two calls: 500 a second. A slow machine offers fewer, and never more at once than this.
const EVERY: Duration = Duration::from_millis(2);
const MOST_AT_ONCE: usize = 100;
/// Nothing but the machine holds the calls back; the balancer has time to notice that a gateway is no longer ready.
const TABLES: &str =
    "[ceiling]\nmode = \"off\"\n[log]\naccess = \"off\"\n[drain]\naccept_for = \"5s\"\ngrace = \"60s\"";

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_costs_no_call_while_calls_still_come() {
    let sandbox = sandbox().await;
    let gateway = Serving::start(&sandbox, TABLES);
    let offered = Offered::begin(gateway.gateway.clone());
    sandbox.control().wait_for_arrivals(500).await;
    gateway.process.signal("TERM");
    gateway.process.event("stopping");
    // Whoever calls learns of it later, from a list of endpoints that is brought up to date in its own time.
    let before = sandbox.control().report().arrived;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let during = sandbox.control().report().arrived - before;
    let calls = offered.end(&sandbox).await;
    println!("{calls}; {during} of them after SIGTERM");
    assert!(during > 0);
    ended_well(gateway);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_replacement_behind_haproxy_costs_no_call() {
    let sandbox = sandbox().await;
    let places: Vec<Place> = (0..4).map(|_| Place::free()).collect();
    let (first, second) = (places[0].start(&sandbox), places[1].start(&sandbox));
    let balancer = HaProxy::before(&places).await;

    let offered = Offered::begin(balancer.address.clone());
    for gateway in [&first, &second] {
        takes_calls(gateway).await;
    }
    let third = replace(first, &places[2], &sandbox, &balancer).await;
    let fourth = replace(second, &places[3], &sandbox, &balancer).await;
    for gateway in [&third, &fourth] {
        takes_calls(gateway).await;
    }
    let calls = offered.end(&sandbox).await;
    println!("{calls}");
    drop((third, fourth));
    sandbox.stop().await;
}

async fn sandbox() -> Sandbox {
    let apps = vec![SandboxApp::new(sdkappid(), vec![key()])];
    let mut settings = Settings { apps, ..Settings::default() };
    settings.ceilings.per_api.insert(api(&READ["/v4/".len()..]), 1_000_000);
    Sandbox::start(settings, Arc::new(SystemClock)).await.unwrap()
}

/// Calls at a steady rate, whether answers come or not.
struct Offered {
    is_over: Arc<AtomicBool>,
    calls: tokio::task::JoinHandle<Vec<(u16, i64)>>,
    began: Instant,
}

impl Offered {
    fn begin(host: String) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        Self { calls: tokio::spawn(offer(host, Arc::clone(&is_over))), is_over, began: Instant::now() }
    }

    /// Ends them. All of them succeeded, and each reached the sandbox once. Gives a summary.
    async fn end(self, sandbox: &Sandbox) -> String {
        self.is_over.store(true, Ordering::Relaxed);
        let took = self.began.elapsed();
        let ended = self.calls.await.unwrap();
        let failed: Vec<_> = ended.iter().filter(|codes| **codes != (200, 0)).collect();
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!(sandbox.control().report().arrived, ended.len() as u64, "each was made once");
        let (calls, rate) = (ended.len(), ended.len() as f64 / took.as_secs_f64());
        format!("{calls} calls in, {rate:.0} a second; {calls} reached the sandbox; {calls} answers out")
    }
}

/// Each call goes over the connection that was idle for longest, as of a client with a pool, or over a new one.
async fn offer(host: String, is_over: Arc<AtomicBool>) -> Vec<(u16, i64)> {
    let idle: Arc<Mutex<VecDeque<Client>>> = Arc::default();
    let (began, mut calls, mut ended) = (Instant::now(), JoinSet::new(), Vec::new());
    for n in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep_until(began + EVERY * n).await;
        while calls.len() >= MOST_AT_ONCE {
            ended.push(calls.join_next().await.unwrap().unwrap());
        }
        let (idle, host) = (Arc::clone(&idle), host.clone());
        calls.spawn(async move {
            let kept = idle.lock().unwrap().pop_front();
            let mut client = match kept {
                Some(client) => client,
                None => Client::to(&host).await,
            };
            let answer = client.send(post(READ, "{}")).await;
            if answer.header("connection") != "close" {
                idle.lock().unwrap().push_back(client);
            }
            answer.codes()
        });
    }
    ended.append(&mut calls.join_all().await);
    ended
}

/// A new gateway is ready before the old one is told to end.
async fn replace(mut old: Serving, place: &Place, sandbox: &Sandbox, balancer: &HaProxy) -> Serving {
    let new = place.start(sandbox);
    balancer.finds_down(1).await;
    old.process.signal("TERM");
    while old.process.is_running() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    balancer.finds_down(2).await;
    ended_well(old);
    new
}

/// It ends by itself, with nothing left undone.
fn ended_well(gateway: Serving) {
    let ended = gateway.process.end();
    assert_eq!(ended.status, Some(0), "{:#?}", ended.log.last());
    assert!(ended.log.last().unwrap().contains("\"finished\":true"), "{:#?}", ended.log.last());
}

async fn takes_calls(gateway: &Serving) {
    let calls = async || {
        let answer = send(&gateway.admin, Request::get("/metrics").body(Full::default()).unwrap()).await;
        Samples::read(std::str::from_utf8(&answer.body).unwrap()).sum("calls_total", &[])
    };
    let some = async {
        while calls().await == 0.0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, some).await.expect("the balancer finds it");
}

/// Where a gateway is put.
struct Place {
    gateway: u16,
    admin: u16,
}

impl Place {
    fn free() -> Self {
        Self { gateway: free_port(), admin: free_port() }
    }

    fn start(&self, sandbox: &Sandbox) -> Serving {
        let [gateway, admin] = [self.gateway, self.admin].map(|port| format!("127.0.0.1:{port}"));
        Serving::start_with(
            sandbox,
            TABLES,
            &[("USERSIG_GATEWAY__LISTEN__GATEWAY", &gateway), ("USERSIG_GATEWAY__LISTEN__ADMIN", &admin)],
        )
    }
}

/// One that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A real HAProxy that balances connections and asks each gateway whether it is ready.
struct HaProxy {
    address: String,
    child: Child,
    stats: PathBuf,
    _folder: tempfile::TempDir,
}

impl HaProxy {
    async fn before(places: &[Place]) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let servers: String = (0..)
            .zip(places)
            .map(|(n, Place { gateway, admin })| {
                format!(
                    "  server gateway{n} 127.0.0.1:{gateway} check port {admin} inter 200ms fall 1 rise 1\n"
                )
            })
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let [file, stats] = ["haproxy.cfg", "stats.sock"].map(|name| folder.path().join(name));
        let configuration = format!(
            "global\n  stats socket {}\n\
             defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  \
             retries 3\n  option redispatch\n\
             listen gateways\n  bind {address}\n  balance roundrobin\n  option httpchk GET /readyz\n{servers}",
            stats.display()
        );
        std::fs::write(&file, configuration).unwrap();
        // In one process, so that ending that ends it.
        let child = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start haproxy (Debian package haproxy): {error}"));
        let haproxy = Self { address, child, stats, _folder: folder };
        // It takes every gateway for ready until it has asked: two are not there yet.
        haproxy.finds_down(2).await;
        haproxy
    }

    /// Waits until it holds so many places for not ready.
    async fn finds_down(&self, places: usize) {
        let asked = async {
            while down(&self.stats).await != places {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("HAProxy asks");
    }
}

/// How many gateways HAProxy holds for not ready, by its statistics.
async fn down(stats: &Path) -> usize {
    let Ok(mut socket) = UnixStream::connect(stats).await else { return 0 };
    socket.write_all(b"show stat\n").await.unwrap();
    let mut told = String::new();
    socket.read_to_string(&mut told).await.unwrap();
    told.lines().filter(|line| line.starts_with("gateways,gateway") && line.contains(",DOWN,")).count()
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);
