//! Two gateways behind a balancer are replaced one after the other, as a rolling update does: no caller notices.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::sandbox::{Sandbox, SandboxApp, Settings};

use crate::client::{Client, post, send};
use crate::process::Serving;
use crate::samples::Samples;
use crate::world::{api, key, sdkappid};

const READ: &str = "/v4/live_config/get_callback";
const CALLERS: usize = 8;
/// Nothing but the machine holds the calls back; the balancer has time to notice that a gateway is no longer ready.
const TABLES: &str = "[ceiling]\nmode = \"off\"\n[drain]\naccept_for = \"5s\"\ngrace = \"60s\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_replacement_behind_haproxy_costs_no_call() {
    let apps = vec![SandboxApp::new(sdkappid(), vec![key()])];
    let mut settings = Settings { apps, ..Settings::default() };
    settings.ceilings.per_api.insert(api(&READ["/v4/".len()..]), 1_000_000);
    let sandbox = Sandbox::start(settings, Arc::new(SystemClock)).await.unwrap();
    let places: Vec<Place> = (0..4).map(|_| Place::free()).collect();
    let (first, second) = (places[0].start(&sandbox), places[1].start(&sandbox));
    let balancer = HaProxy::before(&places).await;

    let is_over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (is_over, host) = (Arc::clone(&is_over), balancer.address.clone());
            tokio::spawn(async move { call_until(&is_over, &host).await })
        })
        .collect();
    for gateway in [&first, &second] {
        takes_calls(gateway).await;
    }
    let third = replace(first, &places[2], &sandbox, &balancer).await;
    let fourth = replace(second, &places[3], &sandbox, &balancer).await;
    for gateway in [&third, &fourth] {
        takes_calls(gateway).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let mut ended = Vec::new();
    for caller in callers {
        ended.append(&mut caller.await.unwrap());
    }

    assert!(ended.iter().all(|codes| *codes == (200, 0)), "{ended:?}");
    assert_eq!(sandbox.control().report().arrived, ended.len() as u64, "each was made once");
    drop((third, fourth));
    sandbox.stop().await;
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
    let ended = old.process.end();
    assert_eq!(ended.status, Some(0), "{:#?}", ended.log);
    assert!(ended.log.last().unwrap().contains("\"finished\":true"), "{:#?}", ended.log.last());
    new
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

/// A caller as any HTTP client is: it keeps its connection until it is told to close it.
async fn call_until(is_over: &AtomicBool, host: &str) -> Vec<(u16, i64)> {
    let mut ended = Vec::new();
    let mut client = Client::to(host).await;
    while !is_over.load(Ordering::Relaxed) {
        let answer = client.send(post(READ, "{}")).await;
        ended.push(answer.codes());
        if answer.header("connection") == "close" {
            client = Client::to(host).await;
        }
    }
    ended
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
