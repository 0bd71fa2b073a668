use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::clock::ManualClock;
use crate::model::endpoint::Endpoint;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOW: u64 = 1_700_000_000;

fn traces(sample: f64, propagate: bool) -> (Arc<Traces>, Queue, Arc<Metrics>) {
    let metrics = Metrics::new("1");
    let settings = Settings { collector: None, sample, propagate };
    let clock = Arc::new(ManualClock::at_unix(NOW));
    let (traces, queue) = Traces::new(&settings, false, clock, Arc::clone(&metrics));
    (Arc::new(traces), queue, metrics)
}

fn headers(traceparent: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(text) = traceparent {
        headers.insert("traceparent", text.parse().unwrap());
    }
    headers
}

fn ended() -> Ended<'static> {
    Ended {
        path: None,
        route: None,
        status: Some(200),
        is_fault: false,
        reason: None,
        attributes: Vec::new(),
    }
}

fn tried(endpoint: &Endpoint) -> Try<'_> {
    Try {
        endpoint,
        path: "/v4/a/b",
        nth: 0,
        status: Some(200),
        error_code: Some(0),
        request_id: None,
        failure: None,
        was_sent: true,
    }
}

fn text_of(span: &Span, key: &str) -> Option<String> {
    let (_, value) = span.attributes.iter().find(|(name, _)| *name == key)?;
    Some(match value {
        Value::Text(text) => text.to_string(),
        Value::Word(word) => (*word).to_owned(),
        Value::Number(number) => number.to_string(),
    })
}

#[tokio::test(start_paused = true)]
async fn a_call_becomes_spans_that_belong_together() {
    let (traces, mut queue, _) = traces(0.0, true);
    let began = Instant::now();
    let mut trace = traces.begin(&headers(Some(PARENT)), began);
    assert_eq!(trace.id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    tokio::time::advance(Duration::from_millis(30)).await;
    trace.spent("wait", Duration::from_millis(30));
    let sent = trace.trying().expect("it is switched on");
    let [first, second] = ["https://a.example", "https://b.example:444"].map(|url| url.parse().unwrap());
    tokio::time::advance(Duration::from_millis(5)).await;
    trace.tried(&Try {
        status: None,
        error_code: None,
        failure: Some("unreachable"),
        was_sent: false,
        ..tried(&first)
    });
    tokio::time::advance(Duration::from_millis(7)).await;
    trace.tried(&Try { error_code: Some(60026), request_id: Some("Id-1"), ..tried(&second) });
    let own = trace.span();
    trace.end(Ended { path: Some("/v4/a/b"), route: Some("/v4/a/b"), ..ended() });

    let spans = queue.try_recv().unwrap();
    let [wait, unreachable, answered, call] = &spans[..] else { panic!("{spans:#?}") };
    let at = |ms: u64| UNIX_EPOCH + Duration::from_secs(NOW) + Duration::from_millis(ms);
    let times = |span: &Span| -> (SystemTime, SystemTime) { (span.began, span.ended) };
    assert_eq!(
        [wait, unreachable, answered, call].map(times),
        [(at(0), at(30)), (at(30), at(35)), (at(35), at(42)), (at(0), at(42)),]
    );
    assert_eq!(
        [wait, unreachable, answered, call].map(|span| (span.kind, span.failed)),
        [(Kind::Internal, false), (Kind::Client, true), (Kind::Client, true), (Kind::Server, false),]
    );
    assert!(spans.iter().all(|span| span.trace.to_string() == "4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!(call.parent.map(|parent| parent.to_string()).as_deref(), Some("00f067aa0ba902b7"));
    assert!([wait, unreachable, answered].iter().all(|span| span.parent == Some(own)));
    assert_eq!((call.id, &*call.name, &*answered.name), (own, "POST /v4/a/b", "POST /v4/a/b"));
    // What went out names the try that really left.
    let sent = sent.to_str().unwrap();
    assert_eq!(sent, format!("00-{}-{}-01", answered.trace, answered.id));
    for (key, value) in [
        ("url.full", Some("https://b.example:444/v4/a/b")),
        ("server.address", Some("b.example")),
        ("server.port", Some("444")),
        ("http.response.status_code", Some("200")),
        ("usersig_gateway.error_code", Some("60026")),
        ("usersig_gateway.tencent_request_id", Some("Id-1")),
        ("error.type", Some("60026")),
        ("http.request.resend_count", None),
    ] {
        assert_eq!(text_of(answered, key).as_deref(), value, "{key}");
    }
    assert_eq!(text_of(unreachable, "error.type").as_deref(), Some("unreachable"));
}

#[tokio::test(start_paused = true)]
async fn the_caller_decides_and_else_the_share() {
    for (sample, parent, sampled) in [
        (1.0, None, true),
        (0.0, None, false),
        (1.0, Some(PARENT.replace("-01", "-00")), false),
        (0.0, Some(PARENT.to_owned()), true),
    ] {
        let (traces, mut queue, _) = traces(sample, true);
        let mut trace = traces.begin(&headers(parent.as_deref()), Instant::now());
        let header = trace.trying().unwrap();
        assert_eq!(header.to_str().unwrap().ends_with("-01"), sampled, "{parent:?}");
        trace.end(ended());
        assert_eq!(queue.try_recv().is_ok(), sampled, "{sample} {parent:?}");
    }
    let (half, _queue, _) = traces(0.5, false);
    let sampled = (0..10_000).filter(|_| half.by_chance()).count();
    assert!((4_500..5_500).contains(&sampled), "{sampled}");
    assert!(half.begin(&headers(None), Instant::now()).trying().is_none(), "it is not switched on");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_is_dropped_and_counted() {
    let (traces, queue, metrics) = traces(1.0, false);
    for _ in 0..MOST_QUEUED + 5 {
        traces.begin(&headers(None), Instant::now()).end(ended());
    }
    assert_eq!(queue.len(), MOST_QUEUED);
    let dropped = "usersig_gateway_trace_spans_total{result=\"dropped\"} 5\n";
    assert!(metrics.encode().contains(dropped));
    // However many things happen to one call.
    let endpoint = Endpoint::https("a.example");
    let (traces, mut queue, _) = self::traces(1.0, false);
    let mut trace = traces.begin(&headers(None), Instant::now());
    for _ in 0..1_000 {
        trace.tried(&tried(&endpoint));
    }
    trace.end(ended());
    let spans = queue.try_recv().unwrap();
    assert_eq!((spans.len(), spans.last().map(|span| span.kind)), (65, Some(Kind::Server)));
}
