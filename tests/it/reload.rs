//! The real binary takes a changed configuration while it runs, or says why not.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::model::secret::SecretKey;
use usersig_gateway::sandbox::{Sandbox, SandboxApp, Settings};

use crate::books;
use crate::client::{Answer, post, send};
use crate::process::{Process, Serving, configuration, serve};
use crate::samples::Samples;
use crate::world::{KEY, api, key, nowhere, sdkappid};

const READ: &str = "/v4/live_config/get_callback";
const TAKEN: &str = "the configuration was read anew and is in force";
const NEW_KEY: &str = "FAKE0000000000000000000000000000000000000000000000000000000000ee";

async fn sandbox() -> Sandbox {
    let apps = vec![SandboxApp::new(sdkappid(), vec![key()])];
    Sandbox::start(Settings { apps, ..Settings::default() }, Arc::new(SystemClock)).await.unwrap()
}

async fn ask(gateway: &Serving, request: Request<Full<bytes::Bytes>>) -> Answer {
    send(&gateway.admin, request).await
}

async fn reload(gateway: &Serving) -> (u16, String) {
    let answer = ask(gateway, Request::post("/-/reload").body(Full::default()).unwrap()).await;
    (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
}

async fn metrics(gateway: &Serving) -> Samples {
    let answer = ask(gateway, Request::get("/metrics").body(Full::default()).unwrap()).await;
    Samples::read(std::str::from_utf8(&answer.body).unwrap())
}

async fn reloads(gateway: &Serving, result: &str) -> f64 {
    metrics(gateway).await.sum("config_reloads_total", &[("result", result)])
}

/// Puts a new file in the place of the old one, as editors do.
fn replace(file: &Path, change: impl FnOnce(String) -> String) {
    let new = file.with_extension("new");
    std::fs::write(&new, change(std::fs::read_to_string(file).unwrap())).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_taken_when_asked_for_and_a_bad_one_changes_nothing() {
    let sandbox = sandbox().await;
    let gateway = Serving::start(&sandbox, "");
    let file = gateway.folder().join("gateway.toml");
    let renamed = || post("/apps/renamed/v4/live_config/get_callback", "{}");
    assert_eq!(send(&gateway.gateway, renamed()).await.codes(), (404, 9_900_404));

    replace(&file, |text| {
        text.replace("name = \"live\"", "name = \"renamed\"").replace("workers = 2", "workers = 1")
    });
    let (status, told) = reload(&gateway).await;
    assert_eq!(
        (status, told.as_str()),
        (200, "reloaded\nlisten.workers takes effect only after a restart\n")
    );
    assert_eq!(send(&gateway.gateway, renamed()).await.codes(), (200, 0));
    assert_eq!(reloads(&gateway, "ok").await, 1.0);

    replace(&file, |text| {
        text.replace("name = \"renamed\"", "name = \"lost\"") + "[limit]\n[log]\nlevel = \"loud\"\n"
    });
    let (status, told) = reload(&gateway).await;
    assert_eq!(status, 422, "{told}");
    assert!(told.contains("limit: unknown key") && told.contains("log.level: found \"loud\""), "{told}");
    assert_eq!(send(&gateway.gateway, renamed()).await.codes(), (200, 0), "the one before stays in force");
    assert!(reloads(&gateway, "failed").await >= 1.0);
    let answer = ask(&gateway, Request::get("/status.json").body(Full::default()).unwrap()).await;
    assert_eq!(answer.json()["config"]["rejected"].as_array().unwrap().len(), 2);
    gateway.process.event("the changed configuration is not taken");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_it_anew() {
    let sandbox = sandbox().await;
    let gateway = Serving::start(&sandbox, "");
    gateway.process.signal("HUP");
    gateway.process.event(TAKEN);
    assert_eq!(send(&gateway.gateway, post(READ, "{}")).await.codes(), (200, 0));
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_exchanged_in_its_file_is_taken_by_itself() {
    let sandbox = sandbox().await;
    let gateway = Serving::start(&sandbox, "");
    assert_eq!(send(&gateway.gateway, post(READ, "{}")).await.codes(), (200, 0));
    // Both are good for a while, and nobody sees anything of it.
    let (old, new) = (key(), SecretKey::new(NEW_KEY).unwrap());
    assert!(sandbox.control().set_keys(sdkappid(), vec![new.clone(), old]));
    replace(&gateway.folder().join("live.key"), |old| format!("{NEW_KEY}\n{old}"));
    gateway.process.event(TAKEN);
    assert!(sandbox.control().set_keys(sdkappid(), vec![new]));
    for _ in 0..5 {
        assert_eq!(send(&gateway.gateway, post(READ, "{}")).await.codes(), (200, 0));
    }
    sandbox.stop().await;
}

/// Everything that the process has in memory is looked through, so a copy that is left anywhere is found.
#[tokio::test(flavor = "multi_thread")]
async fn each_app_that_a_reload_brings_has_retries_of_its_own() {
    let sandbox = sandbox().await;
    let gateway = Serving::start(&sandbox, "");
    let app = |name: &str, sdkappid: u64| {
        format!(
            "[[app]]\nname = \"{name}\"\nsdkappid = {sdkappid}\nidentifier = \"administrator\"\n\
             secret_key_file = \"live.key\"\nendpoints = [\"http://{}\"]\n",
            nowhere()
        )
    };
    let brought = app("one", 1_400_000_011) + &app("other", 1_400_000_012);
    replace(&gateway.folder().join("gateway.toml"), |text| text + &brought);
    assert_eq!(reload(&gateway).await.0, 200);
    let attempts = async |app: &str| {
        let answer =
            send(&gateway.gateway, post(&format!("/apps/{app}/v4/live_config/get_callback"), "{}")).await;
        assert_eq!(answer.codes(), (502, 9_900_502));
        answer.headers.get("x-gateway-attempts").map(|attempts| attempts.to_str().unwrap().to_owned())
    };
    // Ten retries cost nothing, and each of these calls would make two.
    for _ in 0..10 {
        attempts("one").await;
    }
    assert_eq!(attempts("other").await.as_deref(), Some("3"));
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_exchanged_is_wiped_from_memory() {
    let sandbox = sandbox().await;
    let gateway = Serving::start(&sandbox, "");
    assert_eq!(send(&gateway.gateway, post(READ, "{}")).await.codes(), (200, 0));
    let copies = |key: &str| {
        let in_area = |area: Vec<u8>| memchr::memmem::find_iter(&area, key.as_bytes()).count();
        gateway.process.memory().map(in_area).sum::<usize>()
    };
    assert!(copies(KEY) > 0, "it is looked for in the right way");
    assert!(sandbox.control().set_keys(sdkappid(), vec![SecretKey::new(NEW_KEY).unwrap()]));
    replace(&gateway.folder().join("live.key"), |_| NEW_KEY.to_owned());
    assert_eq!(reload(&gateway).await.0, 200);
    assert_eq!(send(&gateway.gateway, post(READ, "{}")).await.codes(), (200, 0));
    assert!(copies(NEW_KEY) > 0);
    let wiped = async {
        // Calls that were under way may hold it a moment longer.
        while copies(KEY) > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let wiped = tokio::time::timeout(Duration::from_secs(60), wiped).await;
    assert!(wiped.is_ok(), "{} copies are left", copies(KEY));
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn once_a_new_key_is_in_the_file_no_call_fails_for_the_old_one() {
    const CALLERS: usize = 20;
    let sandbox = sandbox().await;
    let gateway = Serving::start(&sandbox, "");
    assert_eq!(send(&gateway.gateway, post(READ, "{}")).await.codes(), (200, 0));
    // Tencent takes the new one only, from now on.
    assert!(sandbox.control().set_keys(sdkappid(), vec![SecretKey::new(NEW_KEY).unwrap()]));
    replace(&gateway.folder().join("live.key"), |_| NEW_KEY.to_owned());
    let calls: Vec<_> = (0..CALLERS)
        .map(|_| {
            let host = gateway.gateway.clone();
            tokio::spawn(async move { send(&host, post(READ, "{}")).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().codes(), (200, 0));
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_was_stopped_for_its_key_goes_on_with_the_first_call_after_the_new_one_is_there() {
    let sandbox = sandbox().await;
    let gateway = Serving::start(&sandbox, "");
    assert!(sandbox.control().set_keys(sdkappid(), vec![SecretKey::new(NEW_KEY).unwrap()]));
    let refused = async || {
        let answer = send(&gateway.gateway, post(READ, "{}")).await;
        (answer.codes() == (503, 9_900_503)).then(|| answer.error_info())
    };
    let diagnosis = loop {
        if let Some(info) = refused().await {
            break info;
        }
    };
    assert!(diagnosis.contains("secret_key_file"), "{diagnosis}");
    assert!(refused().await.is_some(), "there is no other key");
    replace(&gateway.folder().join("live.key"), |_| NEW_KEY.to_owned());
    for _ in 0..3 {
        assert_eq!(send(&gateway.gateway, post(READ, "{}")).await.codes(), (200, 0));
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_meet_a_certificate_that_was_exchanged_in_its_file() {
    let sandbox = sandbox().await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let issue = || {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(at("tls.key"), signing_key.serialize_pem()).unwrap();
        std::fs::write(at("tls.pem"), cert.pem()).unwrap();
        cert.der().clone()
    };
    let before = issue();
    let gateway = Serving::start_with(
        &sandbox,
        "",
        &[
            ("USERSIG_GATEWAY__LISTEN__TLS__CERT_FILE", &at("tls.pem")),
            ("USERSIG_GATEWAY__LISTEN__TLS__KEY_FILE", &at("tls.key")),
        ],
    );
    let trusts = async |root: &CertificateDer<'static>| {
        let stream = TcpStream::connect(&gateway.gateway).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(client_that_trusts(root)).connect(name, stream).await.is_ok()
    };
    assert!(trusts(&before).await);
    let after = issue();
    gateway.process.event(TAKEN);
    assert!(trusts(&after).await && !trusts(&before).await);
    sandbox.stop().await;
}

fn client_that_trusts(root: &CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_come_and_go_by_a_link_that_kubernetes_swaps_and_no_call_notices() {
    const SECOND: u64 = 1_400_000_002;
    let apps = [sdkappid(), SECOND.try_into().unwrap()].map(|app| SandboxApp::new(app, vec![key()]));
    let mut settings = Settings { apps: apps.into(), log_calls: 1_000_000, ..Settings::default() };
    for name in [books::READ, books::WRITE] {
        settings.ceilings.per_api.insert(api(name), 1_000_000);
    }
    let sandbox = Sandbox::start(settings, Arc::new(SystemClock)).await.unwrap();
    let volume = Volume::mount(&configuration(&sandbox, "[ceiling]\nmode = \"off\"\n"));
    let mut gateway = Process::start(serve(volume.0.path()));
    let [calls, admin] = ["gateway", "admin"].map(|listener| gateway.address(listener));
    let second = || post("/apps/second/v4/live_config/get_callback", "{}");
    let over = Arc::new(AtomicBool::new(false));
    let changing = async {
        sandbox.control().wait_for_arrivals(100).await;
        assert_eq!(send(&calls, second()).await.codes(), (404, 9_900_404));
        let first = volume.read("gateway.toml").replace("name = \"live\"", "name = \"live\"\ndefault = true");
        let both = format!(
            "{first}\n[[app]]\nname = \"second\"\nsdkappid = {SECOND}\nidentifier = \"administrator\"\n\
             secret_key_file = \"second.key\"\nendpoints = [\"{}\"]\n",
            sandbox.url()
        );
        volume.swap("two", &[("gateway.toml", &both), ("live.key", KEY), ("second.key", KEY)]);
        until(&calls, second, 200).await;
        volume.swap("three", &[("gateway.toml", &first), ("live.key", KEY)]);
        until(&calls, second, 404).await;
        over.store(true, Ordering::Relaxed);
    };
    let (told, ()) = tokio::join!(books::call_until(&over, &calls, 8, Duration::from_millis(10)), changing);
    for told in &told {
        assert!(told.is_ok() && told.tries() == 1, "a call of the app that stayed: {:?}", told.answer);
    }
    let status = send(&admin, Request::get("/status.json").body(Full::default()).unwrap()).await.json();
    assert!(status["config"]["rejected"].as_array().unwrap().is_empty(), "{status}");
    let live = sandbox.control().report().apps[&sdkappid()].all;
    assert_eq!((live.arrived, live.accepted), (told.len() as u64, told.len() as u64));
    assert!(gateway.is_running());
    sandbox.stop().await;
}

/// Calls until the answer has this status.
async fn until(host: &str, call: impl Fn() -> Request<Full<bytes::Bytes>>, status: u16) {
    let answered = async {
        while send(host, call()).await.status.as_u16() != status {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), answered).await.expect("the change is seen");
}

/// A folder as Kubernetes mounts one: each file is a link through `..data`, which leads to the folder of a version.
struct Volume(tempfile::TempDir);

impl Volume {
    fn mount(files: &tempfile::TempDir) -> Self {
        let volume = Self(tempfile::tempdir().unwrap());
        let read = |name: &str| std::fs::read_to_string(files.path().join(name)).unwrap();
        volume.swap("one", &[("gateway.toml", &read("gateway.toml")), ("live.key", &read("live.key"))]);
        volume
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    /// A new version comes in the way in which the kubelet writes it: whole, by renaming one link.
    fn swap(&self, version: &str, files: &[(&str, &str)]) {
        let at = |name: &str| self.0.path().join(name);
        std::fs::create_dir(at(version)).unwrap();
        for (name, text) in files {
            std::fs::write(at(version).join(name), text).unwrap();
        }
        symlink(version, at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        for (name, _) in files {
            // One that is there already leads to the new version by itself.
            _ = symlink(format!("..data/{name}"), at(name));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_reloads_under_load_cost_no_call() {
    const RELOADS: u32 = 50;
    let sandbox = sandbox().await;
    let gateway = Serving::start(&sandbox, "[ceiling]\nper_second = 20\nmax_wait = \"20s\"\n");
    let file = gateway.folder().join("gateway.toml");
    let is_over = Arc::new(AtomicBool::new(false));
    // More than the ceiling lets through, so that calls wait at each reload.
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (host, is_over) = (gateway.gateway.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut client = crate::client::Client::to(&host).await;
                let mut ended = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    ended.push(client.send(post(READ, "{}")).await.codes());
                }
                ended
            })
        })
        .collect();
    sandbox.control().wait_for_arrivals(1).await;
    let good = std::fs::read_to_string(&file).unwrap();
    let mut waited = false;
    for n in 0..RELOADS {
        let is_bad = n % 3 == 2;
        // Another ceiling each time, or no configuration at all.
        let another = good.replace("per_second = 20", &format!("per_second = {}", 10 + n % 20));
        replace(&file, |_| if is_bad { "[[app]]\nname = ".to_owned() } else { another });
        assert_eq!(reload(&gateway).await.0, if is_bad { 422 } else { 200 }, "{n}");
        waited |= metrics(&gateway).await.sum("ceiling_waiting", &[]) > 0.0;
    }
    is_over.store(true, Ordering::Relaxed);
    let mut ended = Vec::new();
    for caller in callers {
        ended.append(&mut caller.await.unwrap());
    }
    assert!(waited, "calls waited while it was reloaded");
    assert!(ended.iter().all(|codes| *codes == (200, 0)), "{ended:?}");
    assert_eq!(sandbox.control().report().arrived, ended.len() as u64, "and none was made twice");
    sandbox.stop().await;
}
