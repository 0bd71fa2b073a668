//! Who may call what: by address, by user, by a client certificate's names; and no way around it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use usersig_gateway::gateway;
use usersig_gateway::gateway::caller::{Rule, Who};
use usersig_gateway::gateway::policy::Rights;
use usersig_gateway::gateway::target::App;
use usersig_gateway::net::listener::ListenAddress;
use usersig_gateway::net::tls::ServerTls;

use crate::client::{Client, exchange};
use crate::world::{Answer, Builder, World, post};

const GET_CALLBACK: &str = "/v4/live_config/get_callback";
const SET_CALLBACK: &str = "/v4/live_config/set_callback";
const CHAT_GET_CALLBACK: &str = "/apps/chat/v4/live_config/get_callback";
const TOKEN: &str = "/v4/live_config/get_callback_token";

#[tokio::test(flavor = "multi_thread")]
async fn the_source_address_decides_and_no_header_does() {
    let gifts = rights(&["live"], &["live_config/get_*"], &["*/*token*"]);
    let keeper = rights(&[], &["*", "live_config/get_callback_token"], &[]);
    let world = ruled(vec![
        (rule("gifts", networks(&["127.0.0.2"])), gifts),
        (rule("keeper", networks(&["127.0.0.3"])), keeper),
        (rule("rest", networks(&["127.0.0.0/29"])), Rights::default()),
    ])
    .await;
    for (address, path, code, told) in [
        (1, GET_CALLBACK, 0, ""),
        (1, CHAT_GET_CALLBACK, 0, ""),
        (1, TOKEN, 9_900_403, "the rule rest"),
        (2, GET_CALLBACK, 0, ""),
        (
            2,
            SET_CALLBACK,
            9_900_403,
            "the rule gifts for callers does not name live_config/set_callback in `allow`",
        ),
        (2, CHAT_GET_CALLBACK, 9_900_403, "the rule gifts for callers does not name the app chat in `apps`"),
        (2, TOKEN, 9_900_403, "the rule gifts for callers names live_config/get_callback_token in `deny`"),
        (3, TOKEN, 100_302, ""),
        (
            9,
            GET_CALLBACK,
            9_900_403,
            "no rule for callers ([[callers.rule]]) matches this one: its address is 127.0.0.9",
        ),
        (9, "/apps/nobody/v4/a/b", 9_900_403, "no rule"),
    ] {
        let answer = from(&world, address, path, "keeper").await;
        assert_eq!(answer.error_code(), code, "{address} {path}: {}", answer.error_info());
        assert!(answer.error_info().contains(told), "{}", answer.error_info());
        assert!(!answer.error_info().contains("chat, live"), "{}", answer.error_info());
    }
    assert_eq!(world.report().arrived, 4);
    let metrics = world.metrics().await;
    let by_reason = metrics.table("refused_total", &["reason", "app", "api"]);
    let get = "live_config/get_callback";
    let token = "live_config/get_callback_token";
    assert_eq!(
        by_reason,
        [
            (vec!["app_not_allowed", "chat", get], 1.0),
            (vec!["denied", "live", token], 1.0),
            (vec!["no_rule", "", ""], 2.0),
            (vec!["not_allowed", "live", "live_config/set_callback"], 1.0),
            (vec!["secret_not_allowed", "live", token], 1.0),
        ]
    );
    // What a stranger calls itself is not counted.
    assert_eq!(metrics.sum("refused_total", &[("reason", "no_rule"), ("caller", "none")]), 2.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_without_a_name_is_counted_under_its_rules() {
    let world = ruled(vec![(rule("gifts", networks(&["127.0.0.0/8"])), Rights::default())]).await;
    from(&world, 1, GET_CALLBACK, "").await;
    from(&world, 1, GET_CALLBACK, "worker").await;
    let metrics = world.metrics().await;
    for caller in ["gifts", "worker"] {
        assert_eq!(metrics.sum("calls_total", &[("caller", caller)]), 1.0, "{caller}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_call_costs_no_token_and_its_body_is_not_waited_for() {
    let allow = rights(&[], &["live_config/get_callback"], &[]);
    let world = ruled(vec![(rule("gifts", networks(&["127.0.0.2"])), allow)]).await;
    for (address, path) in [(2, SET_CALLBACK), (1, GET_CALLBACK)] {
        let mut stream = connect(&world, address).await;
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 403", "{path}");
    }
    let metrics = world.metrics().await;
    assert_eq!(metrics.series("ceiling_used", &[]), 0, "no bucket was asked");
    assert_eq!(metrics.sum("admission_wait_seconds_count", &[]), 0.0);
    assert_eq!(world.report().arrived, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_refused_under_any_rule() {
    let world = ruled(vec![(rule("all", networks(&["127.0.0.0/8"])), Rights::default())]).await;
    let mut request = post(GET_CALLBACK, "{}");
    request.headers_mut().insert("origin", "http://localhost".parse().unwrap());
    assert_eq!(world.send(request).await.codes(), (403, 9_900_403));
    assert_eq!(world.metrics().await.sum("refused_total", &[("reason", "browser")]), 1.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_unix_socket_the_user_decides() {
    let me = std::fs::metadata("/proc/self").unwrap().uid();
    for (uid, codes) in [(me, (200, 0)), (me + 1, (403, 9_900_403))] {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("gateway.sock");
        let who = Who { uids: vec![uid], ..Who::default() };
        let mut builder = builder(vec![(rule("mine", who), Rights::default())]);
        builder.boot.gateway = ListenAddress::Unix(socket.clone());
        let world = builder.start().await;
        let stream = UnixStream::connect(&socket).await.unwrap();
        let answer = Client::over(stream, "gateway").await.send(post(GET_CALLBACK, "{}")).await;
        assert_eq!(answer.codes(), codes, "{}", answer.error_info());
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_names_in_the_client_certificate_decide() {
    let (server, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let (chain, key) = server.certificate(&["localhost"], None);
    let names = ["gifts.example", "spiffe://example/gifts"].map(|name| name.parse().unwrap());
    let who = Who { tls_names: names.into(), ..networks(&["127.0.0.1"]) };
    let mut builder = builder(vec![(rule("gifts", who), Rights::default())]);
    builder.boot.tls =
        Some(ServerTls { chain, key: Arc::new(key), client_roots: Some(vec![clients.root.clone()]) });
    let world = builder.start().await;
    for (dns, uri, code) in [
        ("gifts.example", None, 0),
        ("GIFTS.example", None, 0),
        ("chat.example", Some("spiffe://example/gifts"), 0),
        ("chat.example", None, 9_900_403),
        ("*.example", None, 9_900_403),
        ("gifts.example.evil.example", Some("spiffe://example/gifts/more"), 9_900_403),
    ] {
        let identity = clients.certificate(&[dns], uri);
        let stream = tls(&world, &server, identity).await.unwrap();
        let mut caller = Client::over(stream, "localhost").await;
        for _ in 0..2 {
            let answer = caller.send(post(GET_CALLBACK, "{}")).await;
            assert_eq!(answer.error_code(), code, "{dns} {uri:?}: {}", answer.error_info());
        }
    }
    // The right name, from an authority that the gateway does not trust.
    let forged = others.certificate(&["gifts.example"], Some("spiffe://example/gifts"));
    let gone = match tls(&world, &server, forged).await {
        // In TLS 1.3 a client learns of the refusal with its first read.
        Ok(mut stream) => stream.read_u8().await.is_err(),
        Err(_) => true,
    };
    assert!(gone);
    assert_eq!(world.report().arrived, 6);
    world.end().await;
}

/// However a request is written: what arrives is what the rule names.
#[tokio::test(flavor = "multi_thread")]
async fn no_way_of_writing_a_request_reaches_another_api_or_app() {
    let allow = rights(&["live"], &["live_config/get_callback"], &[]);
    let world = ruled(vec![(rule("gifts", networks(&["127.0.0.0/8"])), allow)]).await;
    let piece = || prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..4);
    let requests = (prop::sample::select(PREFIXES.to_vec()), piece(), piece(), any::<bool>());
    let mut runner = TestRunner::deterministic();
    let mut answered = 0;
    for _ in 0..400 {
        let (prefix, path, query, has_query) = requests.new_tree(&mut runner).unwrap().current();
        let query = if has_query { format!("?{}", query.join("&")) } else { String::new() };
        let target = format!("{prefix}/live_config/get_callback{}{query}", path.concat());
        let request = format!(
            "POST {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        let answer = exchange(world.host(), request.as_bytes()).await;
        answered += usize::from(answer.status == 200);
        assert!([200, 400, 403, 404].contains(&answer.status.as_u16()), "{target:?}: {}", answer.status);
    }
    let report = world.report();
    assert!(answered > 0 && report.arrived == answered as u64 && report.calls.len() == answered);
    for call in &report.calls {
        assert_eq!(call.path, GET_CALLBACK);
        assert_eq!(call.parameters.sdkappid, ["1400000001"]);
    }
    world.end().await;
}

const PREFIXES: [&str; 12] = [
    "/v4",
    "/v4",
    "/v4",
    "/apps/live/v4",
    "/apps/chat/v4",
    "/apps/chat/../live/v4",
    "/apps/li%76e/v4",
    "/v4/live_config/set_callback/../..",
    "/v4/live_config/set_callback%2f..%2f..",
    "//v4",
    "/%76%34",
    "http://elsewhere.example/v4",
];

/// What is put behind a path to make it look like another one, or into a query to choose another app.
const PIECES: [&str; 26] = [
    "_token",
    "_TOKEN",
    "_Set",
    "/",
    "//",
    "/..",
    "/.",
    "/../set_callback",
    "%2f..%2fset_callback",
    "%252f..%252f",
    "%2e%2e",
    ";",
    ";a=b",
    "%00",
    "%c0%af",
    "%e0%80%af",
    "\\",
    "%5f%74oken",
    "sdkappid=1400000002",
    "%73dkappid=1400000002",
    "SDKAPPID=1400000002",
    "sdkappid=1400000001",
    "command=set_callback",
    "x=1&y=2",
    "?sdkappid=1400000002",
    "%26sdkappid=1400000002",
];

fn rule(name: &str, who: Who) -> Rule {
    Rule { name: name.parse().unwrap(), who, weight: NonZeroU32::MIN, max_per_second: None }
}

fn networks(networks: &[&str]) -> Who {
    Who { networks: networks.iter().map(|text| text.parse().unwrap()).collect(), ..Who::default() }
}

fn rights(apps: &[&str], allow: &[&str], deny: &[&str]) -> Rights {
    let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Rights {
        apps: apps.iter().map(|name| name.parse().unwrap()).collect(),
        allow: Some(patterns(allow)),
        deny: patterns(deny),
    }
}

/// A gateway with these rules and two apps, `live` and `chat`, which the sandbox both takes for the same.
fn builder(rules: Vec<(Rule, Rights)>) -> Builder {
    let mut builder = Builder::new().tuned(move |live: &mut gateway::Settings| {
        let app = (**live.apps.named("live").unwrap()).clone();
        let chat = App { name: "chat".parse().unwrap(), sdkappid: 1_400_000_002.try_into().unwrap(), ..app };
        live.apps.add(chat, false).unwrap();
        let (rules, rights): (Vec<_>, HashMap<_, _>) = rules
            .into_iter()
            .map(|(rule, rights)| {
                let name = rule.name.clone();
                (Arc::new(rule), (name, rights))
            })
            .unzip();
        live.callers.rules = rules;
        live.rules.rights = rights;
    });
    let chat = usersig_gateway::sandbox::SandboxApp::new(
        1_400_000_002.try_into().unwrap(),
        vec![crate::world::key()],
    );
    builder.sandbox.apps.push(chat);
    builder
}

async fn ruled(rules: Vec<(Rule, Rights)>) -> World {
    builder(rules).start().await
}

/// Calls from 127.0.0.`last`, as the caller `name` says it is, if it says so.
async fn from(world: &World, last: u8, path: &str, name: &str) -> Answer {
    let mut request = post(path, "{}");
    if !name.is_empty() {
        request.headers_mut().insert("x-caller", name.parse().unwrap());
    }
    Client::over(connect(world, last).await, world.host()).await.send(request).await
}

async fn connect(world: &World, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0))).unwrap();
    socket.connect(world.host().parse().unwrap()).await.unwrap()
}

/// A certificate authority.
struct Authority {
    root: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { root, issuer: Issuer::new(params, key) }
    }

    fn certificate(&self, dns: &[&str], uri: Option<&str>) -> Identity {
        let mut params =
            CertificateParams::new(dns.iter().map(|&name| name.into()).collect::<Vec<String>>()).unwrap();
        params.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().unwrap())));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }
}

/// A connection to the gateway, which must be of `server`, as `identity`.
async fn tls(
    world: &World,
    server: &Authority,
    (chain, key): Identity,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(server.root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, connect(world, 1).await).await
}
