use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::server::Way;
use super::*;
use crate::model::call_outcome::CallOutcome;
use crate::model::error_code::ErrorCode;
use crate::model::secret::AdminToken;
use crate::net::stop::{Phase, Stopper};

/// From this machine, and to an address of which a browser knows nothing.
const HERE: Way = Way { is_local: true, is_loopback: false };

fn state() -> State {
    let readiness = Readiness::new();
    let shown = readiness.clone();
    let status = move || Status { readiness: shown.state(), ..sample() };
    let orders = Orders { token: Arc::default(), to: mpsc::channel(1).0 };
    State { metrics: Metrics::new("1.2.3"), readiness, status: Arc::new(status), orders }
}

/// A status with something of everything.
pub(super) fn sample() -> Status {
    let endpoint = |url: &str, healthy| EndpointStatus {
        url: url.to_owned(),
        healthy,
        in_use: healthy,
        clock_differs: false,
    };
    let code = |error_code, outcome, calls| CodeStatus { error_code: Some(error_code), outcome, calls };
    Status {
        version: "1.2.3".to_owned(),
        started_at: 1_700_000_000,
        now: 1_700_000_061,
        uptime_seconds: 61,
        readiness: ReadinessState::Ready,
        config: ConfigStatus { taken_at: 1_700_000_001, rejected: vec!["a problem".to_owned()] },
        store: StoreStatus::default(),
        load: LoadStatus { in_flight: 2, max_in_flight: 10_000, connections: 3 },
        window_seconds: 60.0,
        apps: vec![AppStatus {
            name: "live".to_owned(),
            sdkappid: 1_400_000_001,
            region: None,
            endpoints: vec![
                endpoint("https://127.0.0.1:18443", false),
                endpoint("https://127.0.0.1:18444", true),
            ],
            usersig_expires_at: Some(1_700_086_400),
            tripped: Some(TrippedApp {
                reason: "wrong_region".to_owned(),
                diagnosis: "set region".to_owned(),
                error_code: 60026,
                probe_in_seconds: 62,
            }),
        }],
        apis: vec![ApiStatus {
            app: "live".to_owned(),
            api: "live_config/get_callback".to_owned(),
            ceiling: Some(CeilingStatus {
                per_second: 190.5,
                limit: 200,
                used: 12,
                waiting: 3,
                unproven: 0,
                shadowed: 0,
            }),
            codes: vec![code(0, "ok", 1_234), code(9_900_429, "refused", 5)],
            mean_wait_ms: Some(2.5),
            mean_upstream_ms: Some(40.0),
        }],
        callers: vec![CallerStatus {
            name: "gifts".to_owned(),
            calls: 1_239,
            ok: 1_234,
            throttled: 0,
            refused: 5,
            failed: 0,
            waiting: 3,
        }],
        errors: vec![ErrorStatus {
            at: 1_700_000_041,
            calls: 7,
            app: "live".to_owned(),
            api: "live_config/get_callback".to_owned(),
            caller: "gifts".to_owned(),
            error_code: 60026,
            outcome: "auth",
            reason: None,
            meaning: Some("the domain is not that of the SDKAppID's region"),
            remedy: "set region",
            request_id: "gw-1".to_owned(),
            tencent_request_id: Some("Id-1".to_owned()),
        }],
    }
}

fn request(method: Method, path: &str) -> Request<()> {
    Request::builder().method(method).uri(path).body(()).unwrap()
}

async fn get(state: &State, path: &str) -> (StatusCode, String) {
    text(routes::answer(state, &request(Method::GET, path), HERE).await).await
}

async fn text(response: Response<Full<Bytes>>) -> (StatusCode, String) {
    let status = response.status();
    // Made by ourselves, so its length is no question.
    #[expect(clippy::disallowed_methods, reason = "the body is in memory")]
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

// === routes ===

#[tokio::test]
async fn health_follows_readiness() {
    let state = state();
    let codes = async || {
        let mut codes = Vec::new();
        for path in ["/livez", "/startupz", "/readyz"] {
            codes.push(get(&state, path).await.0.as_u16());
        }
        codes
    };
    assert_eq!(codes().await, [200, 503, 503]);
    state.readiness.not_ready(vec!["app live: no key can sign\n200".to_owned(), "second".to_owned()]);
    assert_eq!(codes().await, [200, 200, 503]);
    assert_eq!(get(&state, "/readyz").await.1, "app live: no key can sign 200\nsecond\n");
    state.readiness.ready();
    assert_eq!(codes().await, [200, 200, 200]);
    assert_eq!(get(&state, "/readyz").await.1, "ok\n");
    state.readiness.draining();
    assert_eq!(codes().await, [200, 200, 503]);
    assert_eq!(get(&state, "/readyz").await.1, "draining: the process is about to end\n");
}

#[tokio::test]
async fn status_json_tells_the_facts() {
    let state = state();
    state.readiness.ready();
    let (status, body) = get(&state, "/status.json").await;
    assert_eq!(status, StatusCode::OK);
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    let parts = serde_json::json!({
        "level": "trouble",
        "version": "1.2.3",
        "readiness": {"state": "ready"},
        "config": {"taken_at": 1_700_000_001, "rejected": ["a problem"]},
        "store": {"mode": "local", "for_seconds": null, "replicas": null, "error": null},
        "load": {"in_flight": 2, "max_in_flight": 10_000, "connections": 3},
        "callers": [{
            "name": "gifts",
            "calls": 1_239,
            "ok": 1_234,
            "throttled": 0,
            "refused": 5,
            "failed": 0,
            "waiting": 3,
        }],
    });
    for (key, expected) in parts.as_object().unwrap() {
        assert_eq!(told[key], *expected, "{key}");
    }
    assert_eq!(
        told["findings"][0],
        serde_json::json!({
            "level": "trouble",
            "what": "App live is stopped, since Tencent answers 60026",
            "remedy": "set region",
        })
    );
    let app = &told["apps"][0];
    assert_eq!(
        (&app["tripped"]["probe_in_seconds"], &app["endpoints"][1]["in_use"]),
        (&62.into(), &true.into())
    );
    let api = &told["apis"][0];
    assert_eq!((&api["ceiling"]["per_second"], &api["codes"][1]["calls"]), (&190.5.into(), &5.into()));
    assert_eq!(told["errors"][0]["tencent_request_id"], "Id-1");
}

#[tokio::test]
async fn an_unknown_path_is_told_the_known_ones() {
    for path in ["/metricsx", "/metrics/", "//", "/-", "/%6detrics"] {
        let (status, body) = get(&state(), path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        let known = "/\n/-/quit\n/-/reload\n/livez\n/metrics\n/readyz\n/startupz\n/status.json\n";
        assert_eq!(body, format!("no such route; there are:\n{known}"));
    }
}

#[tokio::test]
async fn each_path_has_its_methods() {
    for (path, allowed) in [("/metrics", "GET, HEAD"), ("/-/reload", "POST"), ("/-/quit", "POST")] {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let response = routes::answer(&state(), &request(method.clone(), path), HERE).await;
            let is_allowed = allowed.contains(method.as_str());
            assert_eq!(response.status() != StatusCode::METHOD_NOT_ALLOWED, is_allowed, "{method} {path}");
            assert!(is_allowed || response.headers()["allow"] == allowed);
        }
    }
    let response = routes::answer(&state(), &request(Method::POST, "/nothing"), HERE).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn every_answer_is_fresh_and_of_the_type_it_says() {
    let state = state();
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/readyz", "text/plain; charset=utf-8"),
        ("/status.json", "application/json"),
        ("/nothing", "text/plain; charset=utf-8"),
    ] {
        let response = routes::answer(&state, &request(Method::GET, path), HERE).await;
        let headers = response.headers();
        assert_eq!(headers["content-type"], content_type);
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers.contains_key("content-security-policy"), path == "/");
    }
}

#[tokio::test]
async fn a_page_that_lets_its_name_lead_to_loopback_reads_nothing() {
    let state = state();
    let ask = async |host: Option<&'static str>, path: &str, is_loopback: bool| {
        let mut request = request(Method::GET, path);
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        text(routes::answer(&state, &request, Way { is_loopback, ..HERE }).await).await
    };
    for host in [
        "evil.example",
        "evil.example:9901",
        "EVIL.example.",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "a b",
    ] {
        for path in ["/", "/metrics", "/status.json", "/livez", "/nothing"] {
            let (status, told) = ask(Some(host), path, true).await;
            assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{host} {path}");
            assert!(told.contains("localhost") && !told.contains("live"), "{told}");
        }
        assert_eq!(ask(Some(host), "/livez", false).await.0, StatusCode::OK, "elsewhere names are names");
    }
    let own = [
        "localhost",
        "LocalHost:9901",
        "gateway.localhost",
        "127.0.0.1:9901",
        "[::1]:9901",
        "10.0.0.1",
        "gateway:9901",
    ];
    for host in own.map(Some).into_iter().chain([None]) {
        assert_eq!(ask(host, "/livez", true).await.0, StatusCode::OK, "{host:?}");
    }
}

// === commands ===

/// Who asks: with these headers, from this machine or not.
#[derive(Debug, Clone, Copy)]
struct Asker(&'static [(&'static str, &'static str)], bool);

const LOCAL: Asker = Asker(&[], true);
const REMOTE: Asker = Asker(&[], false);
const BEARER: Asker = Asker(&[("authorization", "bearer word ")], false);
const WRONG: Asker = Asker(&[("authorization", "Bearer other")], true);
const ORIGIN: Asker = Asker(&[("origin", "http://127.0.0.1:9901"), ("authorization", "Bearer word")], true);
const FETCHED: Asker = Asker(&[("sec-fetch-site", "none")], true);

async fn ask(state: &State, path: &str, Asker(headers, is_local): Asker) -> (u16, String) {
    let mut request = request(Method::POST, path);
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let (status, told) = text(routes::answer(state, &request, Way { is_local, ..HERE }).await).await;
    (status.as_u16(), told)
}

#[tokio::test]
async fn who_may_command_depends_on_token_and_place_and_no_browser_may() {
    let mut state = state();
    let (orders, mut commands) = mpsc::channel(1);
    state.orders.to = orders;
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            if let Command::Reload(told) = command {
                told.send(Ok(vec!["listen.workers"])).unwrap();
            }
        }
    });
    let reload = async |asker| ask(&state, "/-/reload", asker).await.0;
    let quit = async |asker| ask(&state, "/-/quit", asker).await.0;
    for (asker, may_reload, may_quit) in
        [(LOCAL, 200, 403), (REMOTE, 403, 403), (BEARER, 403, 403), (WRONG, 200, 403), (ORIGIN, 403, 403)]
    {
        assert_eq!((reload(asker).await, quit(asker).await), (may_reload, may_quit), "{asker:?}, no token");
    }
    state.orders.token.store(AdminToken::new("word").map(Arc::new));
    for (asker, may_reload, may_quit) in [
        (LOCAL, 200, 401),
        (REMOTE, 401, 401),
        (BEARER, 200, 202),
        (WRONG, 401, 401),
        (ORIGIN, 403, 403),
        (FETCHED, 403, 403),
    ] {
        assert_eq!((reload(asker).await, quit(asker).await), (may_reload, may_quit), "{asker:?}");
    }
    assert_eq!(
        ask(&state, "/-/reload", LOCAL).await.1,
        "reloaded\nlisten.workers takes effect only after a restart\n"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever_for_a_reload_that_nobody_does() {
    let mut state = state();
    let (orders, _nobody_reads) = mpsc::channel(1);
    state.orders.to = orders;
    // The first is taken into the channel, the second finds it full.
    for _ in 0..2 {
        let began = Instant::now();
        assert_eq!(ask(&state, "/-/reload", LOCAL).await, (503, "nobody is there to do it\n".to_owned()));
        assert_eq!(began.elapsed().as_secs(), 5);
    }
}

#[tokio::test]
async fn whoever_asks_for_a_reload_is_told_what_is_wrong() {
    let mut state = state();
    assert_eq!(ask(&state, "/-/reload", LOCAL).await, (503, "nobody is there to do it\n".to_owned()));
    let (orders, mut commands) = mpsc::channel(1);
    state.orders.to = orders;
    tokio::spawn(async move {
        let Some(Command::Reload(told)) = commands.recv().await else { panic!("it asks for a reload") };
        told.send(Err("gateway.toml:1: x: unknown key".to_owned())).unwrap();
    });
    let told = "not taken, nothing has changed:\ngateway.toml:1: x: unknown key\n";
    assert_eq!(ask(&state, "/-/reload", LOCAL).await, (422, told.to_owned()));
}

// === server ===

/// A server on loopback and the address to reach it.
async fn start(state: State) -> (std::net::SocketAddr, Stopper, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stopper = Stopper::new();
    let server = tokio::spawn(serve(listener.into(), state, stopper.signal()));
    (address, stopper, server)
}

/// Sends `request` and reads until the server closes.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    read_all(stream).await
}

async fn read_all(mut stream: impl AsyncRead + Unpin) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is as good as an end.
    _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

fn slot() -> OwnedSemaphorePermit {
    Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap()
}

const LIVEZ: &str = "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn metrics_are_served_whole_over_tcp() {
    let state = state();
    for n in 0..5_000 {
        let api = state.metrics.api("live", &format!("made/up_{}", n % 50));
        let caller = state.metrics.caller(&format!("caller-{}", n / 50));
        api.call(caller, ErrorCode::OK, CallOutcome::Ok, Duration::ZERO);
    }
    let (address, _stopper, _) = start(state.clone()).await;
    let request = "GET /metrics?x=1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = exchange(TcpStream::connect(address).await.unwrap(), request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    assert_eq!(body.matches("usersig_gateway_calls_total{").count(), 5_000);
    assert!(body.contains("usersig_gateway_connections{listener=\"admin\"} 1\n"));
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let (address, _stopper, _) = start(state()).await;
    let of = async |method: &str| {
        let request = format!("{method} /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = exchange(TcpStream::connect(address).await.unwrap(), &request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let head = head.lines().filter(|line| !line.starts_with("date:")).map(str::to_owned);
        (head.collect::<Vec<_>>(), body.to_owned())
    };
    let (get, body) = of("GET").await;
    assert_eq!(body, "starting\n");
    assert!(get.contains(&"content-length: 9".to_owned()), "{get:?}");
    assert_eq!(of("HEAD").await, (get, String::new()));
}

#[tokio::test]
async fn a_unix_socket_serves_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let stopper = Stopper::new();
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(serve(listener.into(), state(), stopper.signal()));
    let answer = exchange(UnixStream::connect(&path).await.unwrap(), LIVEZ).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
}

#[tokio::test]
async fn draining_is_served_to_the_end_and_killed_ends_it() {
    let (address, stopper, server) = start(state()).await;
    stopper.advance(Phase::Closing);
    let answer = exchange(TcpStream::connect(address).await.unwrap(), LIVEZ).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let idle = TcpStream::connect(address).await.unwrap();
    stopper.advance(Phase::Killed);
    server.await.unwrap();
    assert_eq!(read_all(idle).await, "");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn headers_have_a_size() {
    for headers in [format!("x: {}\r\n", "x".repeat(9_000)), "x: y\r\n".repeat(65)] {
        let request = format!("GET /livez HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
        let (client, served) = tokio::io::duplex(16 * 1024);
        tokio::spawn(server::connection(served, HERE, slot(), Arc::new(state())));
        let answer = exchange(client, &request).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn headers_have_a_time() {
    let (mut client, served) = tokio::io::duplex(1024);
    let began = Instant::now();
    tokio::spawn(server::connection(served, HERE, slot(), Arc::new(state())));
    client.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\nx: ").await.unwrap();
    let answer = read_all(client).await;
    assert!(!answer.contains(" 200 "), "{answer}");
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_not_kept() {
    let state = state();
    let (mut client, served) = tokio::io::duplex(64);
    let began = Instant::now();
    let connection = tokio::spawn(server::connection(served, HERE, slot(), Arc::new(state.clone())));
    client.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    connection.await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 65);
    assert!(state.metrics.encode().contains("usersig_gateway_connections{listener=\"admin\"} 0\n"));
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_slot() {
    let state = state();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = server::Server::new(listener.into(), state.clone(), 2);
    tokio::spawn(async move { server.accept().await });
    let keep = "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(keep.as_bytes()).await.unwrap();
        // An answer has come, so the slot is taken.
        assert_eq!(stream.read_u8().await.unwrap(), b'H');
        kept.push(stream);
    }
    let mut third = TcpStream::connect(address).await.unwrap();
    third.write_all(LIVEZ.as_bytes()).await.unwrap();
    // Turns enough for the runtime to look at its sockets many times.
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
    assert!(third.try_read(&mut [0]).is_err(), "there is no slot yet");
    assert!(state.metrics.encode().contains("usersig_gateway_connections{listener=\"admin\"} 2\n"));
    drop(kept.pop());
    assert!(read_all(third).await.starts_with("HTTP/1.1 200"));
}
