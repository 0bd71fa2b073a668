//! How the real binary begins and ends.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use usersig_gateway::clock::SystemClock;
use usersig_gateway::net::body::read_capped;
use usersig_gateway::sandbox::{Delay, Effect, Fault, Sandbox, SandboxApp, Settings};

use crate::binary::finish;
use crate::client::{Answer, Client, post, send};
use crate::process::{Process, Serving, configuration, serve};
use crate::world::{api, key, sdkappid};

const READ: &str = "/v4/live_config/get_callback";
/// Never answered by the sandbox.
const STALLED: &str = "/v4/live_config/get_callback_token";

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it_in_the_order_in_which_nothing_is_lost() {
    let sandbox = sandbox().await;
    let tables = "[drain]\naccept_for = \"10s\"\ngrace = \"60s\"\n\
                  [upstream]\nrequest_timeout = \"20s\"\ntotal_timeout = \"20s\"";
    let mut gateway = Serving::start(&sandbox, tables);
    assert_eq!(
        crate::binary::run(&["wait", "--admin", &format!("http://{}", gateway.admin)]).status,
        Some(0)
    );
    assert_eq!(admin(&gateway, "/readyz").await.status, StatusCode::OK);
    let mut kept = Client::to(&gateway.gateway).await;
    assert_eq!(kept.send(post(READ, "{}")).await.codes(), (200, 0));
    let under_way = stalled_call(&sandbox, &gateway).await;

    gateway.process.signal("TERM");
    assert_eq!(gateway.process.event("stopping")["signal"], "SIGTERM");
    // No longer ready, but alive, and taking calls on old connections and new ones.
    let not_ready = loop {
        let answer = admin(&gateway, "/readyz").await;
        if answer.status != StatusCode::OK {
            break answer;
        }
    };
    assert_eq!(not_ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(not_ready.body, "draining: the process is about to end\n");
    assert_eq!(admin(&gateway, "/livez").await.status, StatusCode::OK);
    for answer in [kept.send(post(READ, "{}")).await, send(&gateway.gateway, post(READ, "{}")).await] {
        assert_eq!(answer.codes(), (200, 0));
        assert_eq!(answer.header("connection"), "close");
    }
    // Then no longer accepting, while what is under way goes on.
    until_refused(&gateway.gateway).await;
    assert!(gateway.process.is_running());
    assert_eq!(admin(&gateway, "/livez").await.status, StatusCode::OK);
    assert_eq!(under_way.await.unwrap().codes(), (504, 9_900_504), "it had its time to the end");

    let ended = gateway.process.end();
    assert_eq!(ended.status, Some(0), "{:#?}", ended.log);
    assert_eq!(ended.stdout, [""; 0]);
    assert!(
        ended.log.last().unwrap().contains("\"message\":\"stopped\",\"finished\":true"),
        "{:#?}",
        ended.log
    );
    assert_eq!(ended.access_lines().len(), 4);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_over_http2_is_said_goodbye_and_its_calls_are_finished() {
    const CALLS: u64 = 10;
    let sandbox = sandbox().await;
    let gateway = Serving::start(&sandbox, "[drain]\naccept_for = \"0s\"\ngrace = \"60s\"");
    let slow = Fault { before_answer: Delay::fixed(Duration::from_secs(3)), ..Fault::new(Effect::Serve) };
    sandbox.control().inject(slow.for_ever()).unwrap();
    let stream = tokio::net::TcpStream::connect(&gateway.gateway).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let (mut sender, host) = (sender.clone(), gateway.gateway.clone());
            tokio::spawn(async move {
                let request = Request::post(format!("http://{host}{READ}"));
                let request = request.body(Full::new(Bytes::from_static(b"{}"))).unwrap();
                let (head, body) = sender.send_request(request).await.unwrap().into_parts();
                let body = read_capped(body, 1 << 20).await.unwrap();
                Answer { status: head.status, headers: head.headers, body }.codes()
            })
        })
        .collect();
    sandbox.control().wait_for_arrivals(CALLS).await;
    gateway.process.signal("TERM");
    for call in calls {
        assert_eq!(call.await.unwrap(), (200, 0));
    }
    driver.await.unwrap().expect("the connection ends in order");
    assert!(sender.is_closed());
    let ended = gateway.process.end();
    assert_eq!(ended.status, Some(0), "{:#?}", ended.log);
    assert!(ended.log.last().unwrap().contains("\"finished\":true"), "{:#?}", ended.log.last());
    assert_eq!(sandbox.control().report().arrived, CALLS);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_does_not_go_on_accepting() {
    let sandbox = sandbox().await;
    // Longer than this test waits for the end.
    let gateway = Serving::start(&sandbox, "[drain]\naccept_for = \"1h\"");
    let mut idle = Client::to(&gateway.gateway).await;
    assert_eq!(idle.send(post(READ, "{}")).await.codes(), (200, 0));
    gateway.process.signal("INT");
    assert_eq!(gateway.process.event("stopping")["signal"], "SIGINT");
    assert_eq!(gateway.process.end().status, Some(0));
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_writes_no_memory_to_a_disk() {
    let sandbox = sandbox().await;
    let gateway = Serving::start(&sandbox, "");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.process.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let [.., soft, hard, unit] = core.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{core}") };
    // Less than any page, and what Linux hands to no program either; 0 where nothing else was allowed.
    assert!(["0", "1"].contains(&soft) && soft == hard && unit == "bytes", "{core}");
    sandbox.stop().await;
}

/// As a user without any right, and without leave to lock memory.
#[tokio::test(flavor = "multi_thread")]
async fn it_serves_without_root_and_locks_no_memory() {
    let sandbox = sandbox().await;
    let folder = configuration(&sandbox, "[drain]\naccept_for = \"0s\"");
    let program = folder.path().join("usersig-gateway");
    std::fs::copy(env!("CARGO_BIN_EXE_usersig-gateway"), &program).unwrap();
    let serve = [program.to_str().unwrap(), "serve", "--config", "gateway.toml"].map(str::to_owned);
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    // Who runs this as somebody else has no other user to offer.
    let as_nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs";
    let nobody = as_nobody.split(' ').filter(|_| is_root).map(str::to_owned);
    let mut command = Command::new("prlimit");
    command.args(["--memlock=0:0", "--"]).args(nobody).args(serve).current_dir(folder.path());
    if is_root {
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            std::os::unix::fs::chown(entry.unwrap().path(), Some(65_534), Some(65_534)).unwrap();
        }
        std::os::unix::fs::chown(folder.path(), Some(65_534), Some(65_534)).unwrap();
    }
    let process = Process::start(command);
    let gateway = process.address("gateway");
    let answer = send(&gateway, post("/v4/live_config/get_callback", "{}")).await;
    assert_eq!(answer.codes(), (200, 0));

    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let told = |of: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(of)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(!told("Uid:").contains(&"0".to_owned()), "{status}");
    assert_eq!(told("CapEff:"), ["0000000000000000"]);
    assert_eq!(told("VmLck:"), ["0", "kB"]);
    process.signal("TERM");
    let ended = process.end();
    assert_eq!(ended.status, Some(0), "{:#?}", ended.log);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let sandbox = sandbox().await;
    for (first, second) in [("TERM", "TERM"), ("TERM", "INT"), ("INT", "INT")] {
        let gateway = Serving::start(&sandbox, "[drain]\naccept_for = \"1h\"\ngrace = \"1h\"");
        let under_way = stalled_call(&sandbox, &gateway).await;
        gateway.process.signal(first);
        gateway.process.event("stopping");
        gateway.process.signal(second);
        let ended = gateway.process.end();
        assert_eq!(ended.status, Some(0), "{:#?}", ended.log);
        assert!(ended.log.last().unwrap().contains("stopped at once by a second signal"), "{:#?}", ended.log);
        assert!(under_way.await.is_err(), "the call broke off");
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_than_grace_is_cut_off_and_recorded() {
    let sandbox = sandbox().await;
    let gateway = Serving::start(&sandbox, "[drain]\naccept_for = \"0s\"\ngrace = \"500ms\"");
    let under_way = stalled_call(&sandbox, &gateway).await;
    gateway.process.signal("TERM");
    let ended = gateway.process.end();
    assert!(under_way.await.is_err(), "nobody takes a cut-off call for an answered one");
    assert_eq!(ended.status, Some(0), "{:#?}", ended.log);
    assert!(ended.log.last().unwrap().contains("\"finished\":false"), "{:#?}", ended.log);
    let lines = ended.access_lines();
    let [line] = &lines[..] else { panic!("{lines:#?}") };
    assert_eq!(
        (&line["outcome"], &line["reason"]),
        (&"fault".into(), &"left_early".into()),
        "it was sent: {line}"
    );
    assert_eq!(line["error_code"], 9_900_499);
    assert_eq!(line["status"], serde_json::Value::Null);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_is_told_whole_before_anything_is_bound() {
    let sandbox = sandbox().await;
    let folder = configuration(&sandbox, "[drain]\ngrace = \"5 parsecs\"\n[limit]\n[log]\nlevel = \"loud\"");
    // Had it tried to bind first, it would complain of that.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = serve(folder.path());
    let address = taken.local_addr().unwrap().to_string();
    command
        .env("USERSIG_GATEWAY__LISTEN__GATEWAY", &address)
        .env("USERSIG_GATEWAY__CEILING__MODE", "sometimes");
    let run = finish(command.output().unwrap());
    assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""), "{}", run.stderr);
    for told in [
        "gateway.toml:13: drain.grace: found \"5 parsecs\", wanted a duration such as",
        "gateway.toml:14: limit: unknown key",
        "gateway.toml:16: log.level: found \"loud\", wanted one of",
        "USERSIG_GATEWAY__CEILING__MODE: ceiling.mode: found \"sometimes\", wanted",
        "gateway.toml: 4 problems\n",
    ] {
        assert!(run.stderr.contains(told), "{told} in:\n{}", run.stderr);
    }
    assert!(!run.stderr.contains("listening"), "{}", run.stderr);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_named() {
    let sandbox = sandbox().await;
    let folder = configuration(&sandbox, "");
    let first = Serving::start(&sandbox, "");
    // The first gateway shares its port among its workers, but not with another process.
    for (variable, listener, address) in [
        ("USERSIG_GATEWAY__LISTEN__GATEWAY", "gateway", &first.gateway),
        ("USERSIG_GATEWAY__LISTEN__ADMIN", "admin", &first.admin),
    ] {
        let mut command = serve(folder.path());
        let run = finish(command.env(variable, address).output().unwrap());
        assert_eq!((run.status, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
        let last = run.stderr.lines().last().unwrap();
        let told = format!("cannot listen on {address} for the {listener}: Address already in use");
        assert!(last.starts_with(&told), "{}", run.stderr);
    }
    drop(first);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_listeners_can_be_unix_sockets_and_a_stale_one_is_no_hindrance() {
    let sandbox = sandbox().await;
    let folder = configuration(&sandbox, "");
    let [gateway, admin] =
        ["gateway.sock", "admin.sock"].map(|name| format!("unix:{}", folder.path().join(name).display()));
    for _ in 0..2 {
        let mut command = serve(folder.path());
        command.env("USERSIG_GATEWAY__LISTEN__GATEWAY", &gateway);
        command.env("USERSIG_GATEWAY__LISTEN__ADMIN", &admin);
        let process = Process::start(command);
        let told = |url: &str, args: &[&str]| crate::binary::run(&[args, &[url]].concat());
        assert_eq!(told(&admin, &["wait", "--admin"]).stdout, "ready\n");
        let run = told(&gateway, &["call", "live_config/get_callback", "{}", "--gateway"]);
        assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""));
        // Killed, it leaves its sockets behind.
        process.signal("KILL");
        assert_eq!(process.end().status, None);
    }
    sandbox.stop().await;
}

async fn sandbox() -> Sandbox {
    let settings =
        Settings { tls: true, apps: vec![SandboxApp::new(sdkappid(), vec![key()])], ..Settings::default() };
    Sandbox::start(settings, Arc::new(SystemClock)).await.unwrap()
}

/// A call that has arrived and will not be answered. An error when it broke off.
async fn stalled_call(sandbox: &Sandbox, gateway: &Serving) -> tokio::task::JoinHandle<Answer> {
    let control = sandbox.control();
    control.reset();
    control.inject(Fault::new(Effect::Stall).on(api(&STALLED["/v4/".len()..]))).unwrap();
    let host = gateway.gateway.clone();
    let call = tokio::spawn(async move { send(&host, post(STALLED, "{}")).await });
    control.wait_for_arrivals(1).await;
    call
}

async fn admin(gateway: &Serving, path: &str) -> Answer {
    send(&gateway.admin, Request::get(path).body(Full::default()).unwrap()).await
}

async fn until_refused(address: &str) {
    let refused = async {
        while TcpStream::connect(address).is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), refused).await.expect("it stops accepting");
}
