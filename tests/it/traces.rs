//! Traces, as a collector receives them: real OTLP over HTTP, taken apart by the names of its messages.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpListener;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::model::error_code::ErrorCode;
use usersig_gateway::net::body::read_capped;
use usersig_gateway::sandbox::{Effect, Fault, Sandbox, SandboxApp, Settings};

use crate::canned_server::CannedServer;
use crate::client::send;
use crate::process::Serving;
use crate::world::{Answer, Builder, KEY, World, key, nowhere, post, sdkappid};

const READ: &str = "live_config/get_callback";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

#[tokio::test(flavor = "multi_thread")]
async fn a_call_becomes_spans_that_a_collector_understands() {
    let collector = Collector::start().await;
    let world = traced(&collector, false).start().await;
    // Of one that is repeated, and one that is refused before its API is known.
    world.sandbox.control().inject(Fault::new(Effect::Answer(ErrorCode(60008)))).unwrap();
    let answer = call(&world, &format!("/v4/{READ}")).await;
    assert_eq!(answer.codes(), (200, 0));
    assert_eq!(call(&world, "/v4/nowhere?usersig=eJSECRET").await.codes(), (404, 9_900_404));
    let url = world.sandbox.url();
    world.end().await;

    let spans = collector.spans();
    let of_call: Vec<&Span> = spans.iter().filter(|span| span.name != "POST").collect();
    let names: Vec<&str> = of_call.iter().map(|span| &*span.name).collect();
    let path = format!("/v4/{READ}");
    let upstream = format!("POST {path}");
    assert_eq!(names, ["wait", "sign", &upstream, "wait", "sign", &upstream, &upstream]);
    let [.., failed, _, _, tried, whole] = &of_call[..] else { panic!("{names:?}") };
    assert!(of_call.iter().all(|span| span.trace_id == TRACE));
    assert_eq!(whole.parent_span_id.as_deref(), Some(PARENT));
    assert!(of_call[..6].iter().all(|span| span.parent_span_id.as_ref() == Some(&whole.span_id)));
    assert_eq!((whole.kind, failed.kind, of_call[0].kind), (2, 3, 1));
    assert_eq!((whole.status, tried.status, failed.status.as_ref().unwrap().code), (None, None, 2));
    assert!(of_call.iter().all(|span| span.began() >= whole.began() && span.ended() <= whole.ended()));
    let caller = [
        ("http.request.method", "POST"),
        ("http.route", &*path),
        ("url.path", &*path),
        ("url.scheme", "http"),
        ("http.response.status_code", "200"),
        ("usersig_gateway.app", "live"),
        ("usersig_gateway.api", READ),
        ("usersig_gateway.caller", "gifts"),
        ("usersig_gateway.error_code", "0"),
        ("usersig_gateway.outcome", "ok"),
        ("usersig_gateway.attempts", "2"),
        ("usersig_gateway.request_id", answer.header("x-request-id")),
        ("usersig_gateway.tencent_request_id", answer.header("x-tencent-request-id")),
    ];
    for (key, value) in caller {
        assert_eq!(whole.attribute(key), Some(value), "{key}");
    }
    let (host, port) = url.trim_start_matches("https://").split_once(':').unwrap();
    let full = format!("{url}{path}");
    for (key, first, second) in [
        ("server.address", Some(host), Some(host)),
        ("server.port", Some(port), Some(port)),
        ("url.full", Some(&*full), Some(&*full)),
        ("http.response.status_code", Some("200"), Some("200")),
        ("http.request.resend_count", None, Some("1")),
        ("usersig_gateway.error_code", Some("60008"), Some("0")),
        ("error.type", Some("60008"), None),
    ] {
        assert_eq!((failed.attribute(key), tried.attribute(key)), (first, second), "{key}");
    }
    let refused = spans.iter().find(|span| span.name == "POST").unwrap();
    assert_eq!(refused.attribute("usersig_gateway.reason"), Some("no_such_path"));
    assert_eq!((refused.attribute("http.route"), refused.attribute("url.path")), (None, None));

    // Nothing of a URL's query, of a UserSig or of a key.
    let sent = collector.sent();
    for secret in ["usersig=", "eJ", "random=", KEY, "?"] {
        assert!(!sent.contains(secret), "{secret} in {sent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn traceparent_goes_on_to_tencent_only_if_that_is_switched_on() {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"ErrorCode\":0}";
    for propagate in [false, true] {
        let upstream = CannedServer::tcp(&[OK]);
        let collector = Collector::start().await;
        let world = traced(&collector, propagate).calling(&[&upstream.url]).start().await;
        assert_eq!(call(&world, &format!("/v4/{READ}")).await.codes(), (200, 0));
        world.end().await;
        let asked = upstream.asked();
        let head = &asked[0].head;
        let sent = head.lines().find_map(|line| line.strip_prefix("traceparent: "));
        let spans = collector.spans();
        let tried = spans.iter().find(|span| span.kind == 3).unwrap();
        let expected = format!("00-{TRACE}-{}-01", tried.span_id);
        assert_eq!(sent, propagate.then_some(&*expected), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_or_silent_costs_no_call_anything() {
    // One refuses connections, the other takes them and says nothing.
    let gone = nowhere();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [gone, silent.local_addr().unwrap()] {
        let mut builder = Builder::new();
        builder.boot.tracing.collector = Some(format!("http://{address}").parse().unwrap());
        let world = builder.start().await;
        for _ in 0..20 {
            assert_eq!(world.call(READ, "{}").await.codes(), (200, 0));
        }
        if address == gone {
            world.until(|samples| samples.sum("trace_spans_total", &[("result", "failed")]) >= 3.0).await;
        }
        // Ends soon, whatever the collector does.
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn log_lines_carry_the_trace_they_belong_to() {
    let settings = Settings { apps: vec![SandboxApp::new(sdkappid(), vec![key()])], ..Settings::default() };
    let sandbox = Sandbox::start(settings, Arc::new(SystemClock)).await.unwrap();
    let collector = Collector::start().await;
    let tables = format!("[tracing]\notlp_endpoint = \"http://{}/\"\nsample = 0.0\n", collector.address);
    let gateway = Serving::start(&sandbox, &tables);
    send(&gateway.gateway, with_parent(post(&format!("/v4/{READ}"), "{}"))).await;
    send(&gateway.gateway, post(&format!("/v4/{READ}"), "{}")).await;
    gateway.process.signal("TERM");
    let ended = gateway.process.end();
    let lines = ended.access_lines();
    let [traced, own] = &lines[..] else { panic!("{lines:?}") };
    let spans = collector.spans();
    let whole = spans.iter().find(|span| span.kind == 2).unwrap();
    assert_eq!(
        (&traced["trace_id"], &traced["span_id"]),
        (&Value::from(TRACE), &Value::from(&*whole.span_id))
    );
    // It is not sampled, and yet has ids by which its lines can be found.
    assert_eq!(own["trace_id"].as_str().map(str::len), Some(32));
    assert!(spans.iter().all(|span| span.trace_id == TRACE));
    sandbox.stop().await;
}

fn traced(collector: &Collector, propagate: bool) -> Builder {
    let mut builder = Builder::new();
    let tracing = &mut builder.boot.tracing;
    tracing.collector = Some(format!("http://{}", collector.address).parse().unwrap());
    tracing.propagate = propagate;
    builder
}

async fn call(world: &World, path: &str) -> Answer {
    let mut request = with_parent(post(path, "{}"));
    request.headers_mut().insert("x-caller", HeaderValue::from_static("gifts"));
    world.send(request).await
}

fn with_parent(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let parent = format!("00-{TRACE}-{PARENT}-01").parse().unwrap();
    request.headers_mut().insert("traceparent", parent);
    request
}

/// Takes `POST /v1/traces` and keeps what it got.
struct Collector {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, bodies) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Bytes>>>::default());
        let kept = Arc::clone(&bodies);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let kept = Arc::clone(&kept);
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let kept = Arc::clone(&kept);
                    async move {
                        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/traces"));
                        assert_eq!(request.headers()["content-type"], "application/json");
                        let body = read_capped(request.into_body(), 16 << 20).await.unwrap();
                        kept.lock().unwrap().push(body);
                        Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(b"{}"))))
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, bodies }
    }

    /// All that it was sent, once the gateway has ended.
    fn sent(&self) -> String {
        let bodies = self.bodies.lock().unwrap();
        bodies.iter().map(|body| std::str::from_utf8(body).unwrap()).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let bodies = self.bodies.lock().unwrap();
        let requests = bodies.iter().map(|body| serde_json::from_slice(body).unwrap());
        let resources = requests.flat_map(|request: ExportTraceServiceRequest| request.resource_spans);
        let mut spans = Vec::new();
        for resource in resources {
            let service = attributes(&resource.resource.attributes);
            assert_eq!(service["service.name"], "usersig-gateway");
            assert_eq!(service["service.version"], env!("CARGO_PKG_VERSION"));
            for scope in resource.scope_spans {
                assert_eq!(scope.scope.name, "usersig-gateway");
                assert!(!scope.scope.version.is_empty());
                spans.extend(scope.spans);
            }
        }
        spans
    }
}

// === The messages of opentelemetry/proto/trace/v1/trace.proto, in JSON ===

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExportTraceServiceRequest {
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceSpans {
    resource: Resource,
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    attributes: Vec<KeyValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeSpans {
    scope: Scope,
    spans: Vec<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    name: String,
    version: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Span {
    trace_id: String,
    span_id: String,
    parent_span_id: Option<String>,
    name: String,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<KeyValue>,
    status: Option<Status>,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Status {
    code: u8,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyValue {
    key: String,
    value: AnyValue,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum AnyValue {
    StringValue(String),
    /// 64 bits, which JSON writes as a text.
    IntValue(String),
}

impl Span {
    fn attribute(&self, key: &str) -> Option<&str> {
        attributes(&self.attributes).get(key).copied()
    }

    fn began(&self) -> Duration {
        Duration::from_nanos(self.start_time_unix_nano.parse().unwrap())
    }

    fn ended(&self) -> Duration {
        Duration::from_nanos(self.end_time_unix_nano.parse().unwrap())
    }
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<&str, &str> {
    let by_key: BTreeMap<&str, &str> = attributes
        .iter()
        .map(|attribute| {
            let (AnyValue::StringValue(value) | AnyValue::IntValue(value)) = &attribute.value;
            (attribute.key.as_str(), value.as_str())
        })
        .collect();
    assert_eq!(by_key.len(), attributes.len(), "each key once");
    by_key
}
