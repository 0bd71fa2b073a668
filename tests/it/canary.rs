//! The canary: known keys and UserSigs, the whole program driven along every path, at every level of its log and with
//! those of the HTTP and TLS libraries asked for, and not eight bytes of a secret in anything that comes out.

mod commands;
mod debug;
mod demo;
mod secrets;
mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::gateway::credentials::usersig::{SigningRequest, sign};
use usersig_gateway::model::error_code::ErrorCode;
use usersig_gateway::model::secret::SecretKey;
use usersig_gateway::sandbox::{Effect, Fault, Sandbox, SandboxApp, Settings};

use crate::client::{Answer, Client, post};
use crate::process::{Process, configuration, serve};
use crate::world::sdkappid;
use secrets::Secrets;

const READ: &str = "/v4/live_config/get_callback";
const SET_TOKEN: &str = "/v4/live_config/set_callback_token";
const GET_TOKEN: &str = "/v4/live_config/get_callback_token";

// Unlike those of other tests they repeat nothing, and are no hexadecimal digits as a request's id is.
const KEY: &str = "FAKEq7Zk2mWxT9sLr4VbYcUe8HgNj3PwQfDa6XoRtKi5SyMz1BvGlEuJhCdOnFpA";
const NEW_KEY: &str = "FAKEtN4vRz8KyQj2WcXgM6bLsHp9UdEo3TfYaVi7GmZq5BxJrSk1CwDuOhPlFnIe";
const WRONG_KEY: &str = "FAKEw3QxPz7LkVt2NyRbJg5MhTs9CfWd4XuYaEo8UiZq6HvGrKj1BmDlSnOcFpIe";
const KEY_IN_A_VARIABLE: &str = "FAKEv9XrBz5MjKt3QyHgNs7LwUd2VfPe4TcYaWo6EiZq8RxGkJh1CmDuSnOlFbIp";
const ADMIN_TOKEN: &str = "FAKEtokenXmR4vKz7Lq2WbYsNj9TgHp";
const WEBHOOK_TOKEN: &str = "FAKEwebhookT4kLz8QvRm2XbYsNj9WgHp";

/// How a gateway is run.
#[derive(Clone, Copy)]
struct Run {
    level: &'static str,
    format: &'static str,
    rust_log: Option<&'static str>,
    /// Whether Tencent is called over TLS, and so with HTTP/2.
    tls: bool,
    /// Whether it is driven along every path. Whatever a level shows, the finer ones show too.
    every_path: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_finest_level_no_path_shows_eight_bytes_of_a_secret() {
    let run = Run { level: "trace", format: "json", rust_log: None, tls: true, every_path: true };
    let libraries =
        "usersig_gateway=trace,hyper=trace,hyper_util=trace,h2=trace,rustls=trace,tokio_rustls=trace";
    for run in [run, Run { format: "text", rust_log: Some(libraries), tls: false, ..run }] {
        run.watch().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_no_level_whoever_asks_for_it_eight_bytes_of_a_secret_are_shown() {
    let run = Run { level: "trace", format: "text", rust_log: None, tls: true, every_path: false };
    for level in ["error", "warn", "info", "debug"] {
        Run { level, ..run }.watch().await;
    }
    for rust_log in ["trace", "off,hyper::proto=trace,h2::codec=trace,rustls::common_state=trace,[{}]=trace"]
    {
        Run { rust_log: Some(rust_log), format: "json", ..run }.watch().await;
    }
}

impl Run {
    /// Watches one gateway from its start to its end.
    async fn watch(self) {
        let sandbox = sandbox(self.tls).await;
        let gateway = Gateway::start(&sandbox, self);
        gateway.until_it_is_there().await;
        let mut seen = Seen::default();
        calls_of_every_kind(&gateway, &sandbox, self.every_path, &mut seen).await;
        requests_that_are_none(&gateway, &mut seen).await;
        admin(&gateway, &mut seen).await;
        if self.every_path {
            reloads(&gateway, &sandbox, &mut seen).await;
        }
        webhook_token(&gateway, &mut seen).await;
        let cut_off = a_call_that_is_cut_off(&gateway, &sandbox).await;
        let (ours, all) = (ours(&sandbox), all(&sandbox));
        let Gateway { process, folder } = gateway;
        for signal in ["TERM", "INT"] {
            process.signal(signal);
        }
        let ended = process.end();
        drop((cut_off, folder));
        sandbox.stop().await;

        let what = format!("the log at {}, RUST_LOG={:?}", self.level, self.rust_log);
        let lines = ended.log.len();
        let is_scarce = matches!(self.level, "error" | "warn")
            || self.rust_log.is_some_and(|text| text.starts_with("off"));
        assert!(lines > 30 || is_scarce, "{what}: {lines}");
        all.not_in(&what, ended.log.join("\n").as_bytes());
        all.not_in("standard output", ended.stdout.join("\n").as_bytes());
        for (what, text) in &seen.by_operators {
            all.not_in(what, text);
        }
        // What callers wrote themselves may come back to them.
        assert!(seen.by_callers.len() > 30, "{}", seen.by_callers.len());
        for (what, text) in &seen.by_callers {
            ours.not_in(what, text);
        }
    }
}

/// What came out of the gateway, and where.
#[derive(Default)]
struct Seen {
    by_operators: Vec<(String, Vec<u8>)>,
    by_callers: Vec<(String, Vec<u8>)>,
}

impl Seen {
    fn answer(&mut self, what: &str, answer: &Answer) {
        self.by_callers.push((what.to_owned(), told(answer)));
    }
}

fn told(answer: &Answer) -> Vec<u8> {
    [format!("{} {:?} ", answer.status, answer.headers).as_bytes(), &answer.body].concat()
}

/// A gateway with several apps: one that is well, one with another key than Tencent knows, one that nobody can reach, and
/// one whose host shows no certificate that anybody trusts. Its listeners are sockets, which are known before it logs
/// anything.
struct Gateway {
    process: Process,
    folder: tempfile::TempDir,
}

impl Gateway {
    fn start(sandbox: &Sandbox, run: Run) -> Self {
        let folder = configuration(sandbox, &tables(sandbox, run.level, run.format));
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("live.key", KEY);
        write("wrong.key", WRONG_KEY);
        write("admin.token", ADMIN_TOKEN);
        let mut command = serve(folder.path());
        command
            .env("THE_KEY", KEY_IN_A_VARIABLE)
            .env("USERSIG_GATEWAY__LISTEN__GATEWAY", "unix:gateway.sock")
            .env("USERSIG_GATEWAY__LISTEN__ADMIN", "unix:admin.sock")
            .env("USERSIG_GATEWAY__LISTEN__ADMIN_TOKEN_FILE", "admin.token")
            .envs(run.rust_log.map(|rust_log| ("RUST_LOG", rust_log)));
        Self { process: Process::start(command), folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn until_it_is_there(&self) {
        let there = async {
            while UnixStream::connect(self.file("admin.sock")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, there).await.expect("it starts");
    }

    async fn connect(&self, listener: &str) -> UnixStream {
        UnixStream::connect(self.file(listener)).await.unwrap()
    }

    async fn call(&self, request: Request<Full<Bytes>>) -> Answer {
        Client::over(self.connect("gateway.sock").await, "gateway").await.send(request).await
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Answer {
        Client::over(self.connect("admin.sock").await, "admin").await.send(request).await
    }

    /// Everything that comes back for these bytes.
    async fn raw(&self, listener: &str, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect(listener).await;
        _ = stream.write_all(bytes).await;
        _ = stream.shutdown().await;
        let mut came = Vec::new();
        _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut came)).await.expect("it ends");
        came
    }
}

fn tables(sandbox: &Sandbox, level: &str, format: &str) -> String {
    let app = |name: &str, key: &str, endpoint: &str| {
        format!(
            "[[app]]\nname = \"{name}\"\nidentifier = \"administrator\"\n{key}\nendpoints = [\"{endpoint}\"]\n"
        )
    };
    let (url, port) = (sandbox.url(), sandbox.address().port());
    let ca_file = sandbox.ca_pem().map_or("", |_| "ca_file = \"ca.pem\"\n");
    [
        // Of the app that stands before.
        "default = true\n".to_owned(),
        app("wrong", "sdkappid = 1400000002\nsecret_key_file = \"wrong.key\"", &url),
        ca_file.to_owned(),
        app("unreachable", "sdkappid = 1400000003\nsecret_key_env = \"THE_KEY\"", "https://127.0.0.1:9"),
        app(
            "stranger",
            "sdkappid = 1400000004\nsecret_key_env = \"THE_KEY\"",
            &format!("https://localhost:{port}"),
        ),
        format!("[log]\nlevel = \"{level}\"\nformat = \"{format}\"\n"),
        "[limits]\nheader_timeout = \"300ms\"\n[retry]\nmax_attempts = 2\n".to_owned(),
        "[upstream]\nrequest_timeout = \"2s\"\ntotal_timeout = \"3s\"\nconnect_timeout = \"1s\"\n".to_owned(),
        "[drain]\naccept_for = \"0s\"\ngrace = \"0s\"\n".to_owned(),
    ]
    .concat()
}

async fn sandbox(tls: bool) -> Sandbox {
    let key = |text: &str| SecretKey::new(text).unwrap();
    let apps = vec![
        SandboxApp::new(sdkappid(), vec![key(KEY)]),
        SandboxApp::new("1400000002".parse().unwrap(), vec![key("FAKEother")]),
    ];
    Sandbox::start(Settings { tls, apps, ..Settings::default() }, Arc::new(SystemClock)).await.unwrap()
}

/// Keys, the token of the admin listener, and the UserSigs with which the gateway called.
fn ours(sandbox: &Sandbox) -> Secrets {
    let mut secrets = Secrets::none();
    for key in [KEY, NEW_KEY, WRONG_KEY, KEY_IN_A_VARIABLE] {
        secrets.add("a secret key", key);
    }
    secrets.add("the admin token", ADMIN_TOKEN);
    secrets.add("the token of webhooks", WEBHOOK_TOKEN);
    let mut usersigs: Vec<_> =
        sandbox.control().report().calls.iter().flat_map(|call| call.parameters.usersig.clone()).collect();
    usersigs.sort();
    usersigs.dedup();
    assert!(usersigs.len() >= 2, "both apps'");
    usersigs.iter().for_each(|usersig| secrets.add_usersig(usersig));
    secrets
}

/// The same, and the UserSig that callers use.
fn all(sandbox: &Sandbox) -> Secrets {
    let mut secrets = ours(sandbox);
    secrets.add_usersig(&callers_own());
    secrets
}

/// A true UserSig, which this caller has no reason to send any more.
fn callers_own() -> String {
    let usersig = sign(&SigningRequest {
        key: &SecretKey::new(WRONG_KEY).unwrap(),
        sdkappid: sdkappid(),
        identifier: &"somebody-else".parse().unwrap(),
        time: 1_700_000_000,
        expire: 4_000_000_000,
        userbuf: None,
    });
    usersig.expose().to_owned()
}

async fn calls_of_every_kind(gateway: &Gateway, sandbox: &Sandbox, all: bool, seen: &mut Seen) {
    let own = callers_own();
    let effects = [
        Effect::EchoUrl,
        Effect::Serve,
        Effect::EchoUrlInHtml,
        Effect::NotJson,
        Effect::Empty,
        Effect::Truncate,
        Effect::ResetBeforeReading,
        Effect::ResetAfterReading,
        Effect::BadGateway,
        Effect::Gzip,
        Effect::Large(300 * 1024),
        Effect::CloseSilently,
        Effect::CloseAnnounced,
        Effect::Stall,
    ];
    let codes = [60007, 60008, 60026, 70001, 70003, 70009, 70013, 70050, 91000, 100_012];
    let answers = codes.into_iter().map(|code| Effect::Answer(ErrorCode(code)));
    for effect in effects.into_iter().chain(answers).step_by(if all { 1 } else { 4 }) {
        let what = format!("the answer to {effect:?}");
        sandbox.control().inject(Fault::new(effect)).unwrap();
        let mut request = post(&format!("{READ}?usersig={own}&UserSig={own}&a=b"), "{\"a\":1}");
        for name in
            ["authorization", "cookie", "x-caller", "x-request-id", "traceparent", "priority", "referer"]
        {
            request.headers_mut().insert(name, own.parse().unwrap());
        }
        request.headers_mut().insert("x-gateway-timeout", HeaderValue::from_static("300ms"));
        seen.answer(&what, &gateway.call(request).await);
        sandbox.control().clear_faults();
        seen.answer("an answer", &gateway.call(post(READ, "{}")).await);
    }
    for app in ["wrong", "wrong", "wrong", "wrong", "unreachable", "unreachable", "stranger", "stranger"] {
        let path = format!("/apps/{app}/v4/live_config/get_callback?usersig={own}");
        seen.answer(app, &gateway.call(post(&path, "{}")).await);
    }
}

/// A UserSig in every place where a request can have one, well-formed and not.
async fn requests_that_are_none(gateway: &Gateway, seen: &mut Seen) {
    let own = callers_own();
    for path in [
        format!("/{own}"),
        format!("/v4/{own}/x"),
        format!("/v4/x/{own}"),
        format!("/v1/{own}/x"),
        format!("/v1/x/{own}"),
        format!("/apps/{own}/v4/live_config/get_callback"),
        format!("{READ}/{own}"),
        format!("{READ}?sdkappid={own}"),
        format!("{READ}?sdkappid=1400000001&sdkappid={own}"),
    ] {
        seen.answer(&path, &gateway.call(post(&path, "{}")).await);
    }
    for body in [format!("{{\"{own}\": no json"), format!("\"{own}\""), own.clone(), format!("{{}}{own}")] {
        seen.answer(&body, &gateway.call(post(READ, &body)).await);
    }
    let mut odd = Request::new(Full::default());
    *odd.method_mut() = Method::from_bytes(own.as_bytes()).unwrap();
    *odd.uri_mut() = READ.parse().unwrap();
    seen.answer("another method", &gateway.call(odd).await);
    let mut browser = post(READ, "{}");
    browser.headers_mut().insert("origin", own.parse().unwrap());
    seen.answer("a browser", &gateway.call(browser).await);
    for head in [
        format!("{own}\r\n\r\n"),
        format!("POST {READ}?usersig={own}\r\n\r\n"),
        format!("POST {READ} HTTP/1.1\r\n{own}\r\n\r\n"),
        format!("POST {READ} HTTP/1.1\r\nhost: {own}\r\nhost: {own}\r\n\r\n"),
        format!("POST {READ} HTTP/1.1\r\nhost: x\r\ncontent-length: {own}\r\n\r\n"),
        format!("POST {READ}?usersig={own} HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(40_000)),
        format!("POST {READ} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{own}\r\n{own}"),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{own}"),
    ] {
        seen.by_callers.push((head.clone(), gateway.raw("gateway.sock", head.as_bytes()).await));
        seen.by_operators.push((head.clone(), gateway.raw("admin.sock", head.as_bytes()).await));
    }
    over_http2(gateway, &own, seen).await;
}

async fn over_http2(gateway: &Gateway, own: &str, seen: &mut Seen) {
    let stream = TokioIo::new(gateway.connect("gateway.sock").await);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let driver = tokio::spawn(connection);
    for path in [format!("{READ}?usersig={own}"), format!("/v4/{own}/x")] {
        let mut request = post(&path, "{}");
        *request.uri_mut() = format!("http://gateway{path}").parse().unwrap();
        request.headers_mut().insert("authorization", own.parse().unwrap());
        let answer = sender.send_request(request).await.unwrap();
        let text = format!("{answer:?}").into_bytes();
        let body = usersig_gateway::net::body::read_capped(answer.into_body(), 1 << 20).await.unwrap();
        seen.by_callers.push(("an answer over HTTP/2".to_owned(), [text, body.to_vec()].concat()));
    }
    driver.abort();
}

async fn admin(gateway: &Gateway, seen: &mut Seen) {
    let mut ask = async |method: Method, path: &str, token: Option<&str>| {
        let mut request = Request::new(Full::default());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        let answer = gateway.ask(request).await;
        seen.by_operators.push((format!("what {path} answers"), told(&answer)));
        answer.status.as_u16()
    };
    for path in ["/", "/metrics", "/status.json", "/readyz", "/livez", "/startupz", "/nowhere"] {
        ask(Method::GET, path, Some(ADMIN_TOKEN)).await;
    }
    assert_eq!(ask(Method::POST, "/-/reload", Some(ADMIN_TOKEN)).await, 200);
    assert_eq!(ask(Method::POST, "/-/reload", Some(KEY)).await, 401);
    assert_eq!(ask(Method::POST, "/-/quit", Some(KEY)).await, 401);
    assert_eq!(ask(Method::POST, "/-/quit", None).await, 401);
}

/// Configurations that show a key where none belongs, and a new key in the place of the old one.
async fn reloads(gateway: &Gateway, sandbox: &Sandbox, seen: &mut Seen) {
    let file = gateway.file("gateway.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    for (what, bad) in key_in_the_wrong_place(&good) {
        std::fs::write(&file, bad).unwrap();
        let answer = gateway.ask(Request::post("/-/reload").body(Full::default()).unwrap()).await;
        assert_eq!(answer.status, 422, "{what}");
        seen.by_operators.push((format!("the refusal of {what}"), told(&answer)));
        let status = gateway.ask(Request::get("/status.json").body(Full::default()).unwrap()).await;
        seen.by_operators.push((format!("the status with {what}"), told(&status)));
    }
    std::fs::write(&file, good).unwrap();
    let (old, new) = (SecretKey::new(KEY).unwrap(), SecretKey::new(NEW_KEY).unwrap());
    assert!(sandbox.control().set_keys(sdkappid(), vec![new.clone(), old]));
    std::fs::write(gateway.file("live.key"), format!("{NEW_KEY}\n{KEY}\n")).unwrap();
    let answer = gateway.ask(Request::post("/-/reload").body(Full::default()).unwrap()).await;
    assert_eq!(answer.status, 200);
    assert!(sandbox.control().set_keys(sdkappid(), vec![new]));
    // The first is signed with the new key, or anew with it.
    for _ in 0..2 {
        let answer = gateway.call(post(READ, "{}")).await;
        assert_eq!(answer.codes(), (200, 0));
        seen.answer("an answer after the exchange", &answer);
    }
}

/// The configuration `good`, made bad by a key that stands where it should not.
fn key_in_the_wrong_place(good: &str) -> Vec<(&'static str, String)> {
    vec![
        ("a key in the place of its path", good.replace("\"live.key\"", &format!("\"{KEY}\""))),
        ("a key in the place of its variable", good.replace("\"THE_KEY\"", &format!("\"{KEY}\""))),
        (
            "a key under a name that is none",
            good.replace("secret_key_file = \"live.key\"", &format!("secret_key = \"{KEY}\"")),
        ),
        (
            "a key in the place of a number",
            good.replace("sdkappid = 1400000001", &format!("sdkappid = \"{KEY}\"")),
        ),
        ("a key without quotes", good.replace("\"live.key\"", KEY)),
        ("a key as a line", format!("{good}\n{KEY}\n")),
        ("a key as a name", format!("{good}\n[\"{KEY}\"]\n")),
    ]
}

/// The token that this answer holds goes to its caller, and nowhere else.
async fn webhook_token(gateway: &Gateway, seen: &mut Seen) {
    let body = format!("{{\"Token\":\"{WEBHOOK_TOKEN}\",\"IsTokenEnable\":true}}");
    let set = gateway.call(post(SET_TOKEN, &body)).await;
    assert_eq!(set.codes(), (200, 0));
    seen.answer("the answer to setting the token", &set);
    let got = gateway.call(post(GET_TOKEN, "{}")).await;
    assert!(std::str::from_utf8(&got.body).unwrap().contains(WEBHOOK_TOKEN), "{got:?}");
    for path in ["/", "/metrics", "/status.json"] {
        let answer = gateway.ask(Request::get(path).body(Full::default()).unwrap()).await;
        seen.by_operators.push((format!("what {path} answers in the end"), told(&answer)));
    }
}

/// A call that was sent and that nobody answers when the gateway ends.
async fn a_call_that_is_cut_off(gateway: &Gateway, sandbox: &Sandbox) -> UnixStream {
    sandbox.control().inject(Fault::new(Effect::Stall)).unwrap();
    let arrived = sandbox.control().report().arrived;
    let mut stream = gateway.connect("gateway.sock").await;
    let own = callers_own();
    let call = format!("POST {READ}?usersig={own} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}");
    stream.write_all(call.as_bytes()).await.unwrap();
    sandbox.control().wait_for_arrivals(arrived + 1).await;
    stream
}

const PATIENCE: Duration = Duration::from_secs(60);
