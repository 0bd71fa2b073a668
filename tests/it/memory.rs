//! What the gateway holds does not grow with the calls that it has served.

use std::sync::Arc;

use usersig_gateway::clock::SystemClock;
use usersig_gateway::sandbox::{Effect, Fault, Sandbox, SandboxApp, Settings};

use crate::client::{Client, post};
use crate::process::Serving;
use crate::world::{api, key, sdkappid};

const APIS: [&str; 2] = ["live_config/get_callback", "openim/sendmsg"];
const CALLERS: u64 = 8;
/// One call in so many meets a fault.
const FAULT_EVERY: u64 = 50;
const TABLES: &str = "[log]\naccess = \"off\"\n[ceiling]\nmode = \"off\"\n\
                      [upstream]\nrequest_timeout = \"2s\"\n[retry]\nbudget = 1.0";

/// How many calls: `benches/memory.sh` asks for more.
fn calls() -> u64 {
    let asked = std::env::var("USERSIG_GATEWAY_CALLS").ok();
    asked.map_or(10_000, |calls| calls.parse().expect("USERSIG_GATEWAY_CALLS is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_flat_over_many_calls_with_faults() {
    let apps = vec![SandboxApp::new(sdkappid(), vec![key()])];
    let mut settings = Settings { apps, ..Settings::default() };
    for name in APIS {
        settings.ceilings.per_api.insert(api(name), 1_000_000);
    }
    let sandbox = Sandbox::start(settings, Arc::new(SystemClock)).await.unwrap();
    let gateway = Serving::start(&sandbox, TABLES);

    // A twentieth fills what is filled once: pools, tables, names.
    let (before, after) = (calls() / 20, calls() - calls() / 20);
    serve(before, &sandbox, &gateway).await;
    let early = resident(gateway.process.id());
    serve(after, &sandbox, &gateway).await;
    let late = resident(gateway.process.id());
    println!("{early} KiB resident after {before} calls, {late} KiB after {}", calls());
    assert!(late * 10 <= early * 12, "{early} KiB became {late}");
    sandbox.stop().await;
}

/// So many calls, by a few callers at once, each under one of a hundred names.
async fn serve(calls: u64, sandbox: &Sandbox, gateway: &Serving) {
    let callers = (0..CALLERS).map(|caller| {
        let (host, control) = (gateway.gateway.clone(), sandbox.control().clone());
        tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(caller);
            let mut client = Client::to(&host).await;
            for n in 0..calls / CALLERS {
                if n % FAULT_EVERY == 0 {
                    control.inject(fault(&mut random)).expect("there is room for one");
                }
                let path = format!("/v4/{}", random.choice(APIS).expect("there are some"));
                let mut request = post(&path, "{}");
                let name = format!("caller-{}", random.u32(0..100));
                request.headers_mut().insert("x-caller", name.parse().expect("a header's value"));
                let answer = client.send(request).await;
                if answer.header("connection") == "close" {
                    client = Client::to(&host).await;
                }
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("every call is answered");
    }
    sandbox.control().reset();
}

fn fault(random: &mut fastrand::Rng) -> Fault {
    let effects = [
        Effect::ResetBeforeReading,
        Effect::ResetAfterReading,
        Effect::Truncate,
        Effect::NotJson,
        Effect::Empty,
        Effect::BadGateway,
        Effect::EchoUrl,
        Effect::Gzip,
        Effect::GzipBomb(300 * 1024),
        Effect::Large(300 * 1024),
        Effect::CloseSilently,
    ];
    let effect = effects[random.usize(0..effects.len())].clone();
    Fault::new(effect).times(1)
}

/// In KiB, as proc(5) tells it.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
