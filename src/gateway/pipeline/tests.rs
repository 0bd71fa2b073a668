//! What happens to a call in which the gateway itself fails, and to one whose ceiling is lowered on its way.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

use http::StatusCode;
use http_body::Frame;
use http_body_util::Full;
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::*;
use crate::clock::ManualClock;
use crate::gateway::admission::{self, ApiCeiling};
use crate::gateway::credentials::{KeySigner, Parts};
use crate::gateway::target::{App, Apps, Endpoints};
use crate::model::endpoint::Endpoint;
use crate::model::secret::SecretKey;
use crate::net::body;
use crate::net::client::Roots;

/// Stands for a bug: nothing that a caller sends makes the gateway panic.
struct Bug;

impl Body for Bug {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        panic!("a bug");
    }
}

#[tokio::test]
async fn a_panic_costs_its_own_call_a_500_and_is_recorded() {
    let gateway = gateway(live(Endpoint::https("localhost")));
    let request = Request::post(PATH).header("host", "x").header("x-request-id", "mine").body(Bug).unwrap();
    let answer = LocalSet::new().run_until(gateway.handle(request, Peer::Uid(None).into())).await;
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.headers()["x-request-id"], "mine");
    let body = body::read_capped(answer.into_body(), 1 << 20).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["ErrorCode"], 9_900_500);
    assert_eq!(gateway.shared.in_flight.now(), 0, "its place is free again");
    let metrics = gateway.shared.metrics.encode();
    let counted =
        r#"api="live_config/get_callback",app="live",caller="none",error_code="9900500",outcome="fault"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn a_call_that_has_begun_ends_with_the_worker_it_runs_on() {
    /// Says that it was dropped, and whether that was in a panic.
    struct Ends(Rc<Cell<bool>>);

    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.set(!std::thread::panicking());
        }
    }

    let ended = Rc::new(Cell::new(false));
    let worker = tokio::runtime::LocalRuntime::new().unwrap();
    let tie = Tie::default();
    let ends = Ends(Rc::clone(&ended));
    let call = Box::pin(async move {
        let _ends = ends;
        std::future::pending::<()>().await;
    });
    let call = ToItsEnd { call: Some(call), tie: tie.clone(), failed: || () };
    worker.spawn_local(call);
    worker.block_on(tokio::task::yield_now());
    tie.begin();
    assert!(!ended.get());
    drop(worker);
    assert!(ended.get());
}

/// An egress proxy that lets nobody through until two want to, and `let_through` says so. What lies behind it answers
/// every call, and notes when it came.
fn upstream(
    listener: &TcpListener,
    two_are_there: tokio::sync::oneshot::Sender<()>,
    let_through: &std::sync::mpsc::Receiver<()>,
) -> Vec<Instant> {
    let connections = [(); 2].map(|()| {
        let (mut connection, _) = listener.accept().unwrap();
        assert!(has_read(&mut connection, b"\r\n\r\n"));
        connection
    });
    two_are_there.send(()).unwrap();
    let_through.recv().unwrap();
    let arrivals = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for mut connection in connections {
            let arrivals = &arrivals;
            scope.spawn(move || {
                connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                while has_read(&mut connection, b"\r\n\r\n{}") {
                    arrivals.lock().unwrap().push(Instant::now());
                    let answer = r#"{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":""}"#;
                    write!(connection, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len())
                        .unwrap();
                }
            });
        }
    });
    arrivals.into_inner().unwrap()
}

/// Reads up to where it ends so; not, when it ends before.
fn has_read(connection: &mut TcpStream, end: &[u8]) -> bool {
    let (mut read, mut byte) = (Vec::new(), [0]);
    while !read.ends_with(end) {
        if connection.read(&mut byte).unwrap() == 0 {
            return false;
        }
        read.push(byte[0]);
    }
    true
}

#[tokio::test]
async fn a_call_whose_ceiling_is_lowered_while_its_connection_is_made_waits_for_another_turn() {
    const LONG: Duration = Duration::from_secs(60);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut live = live("http://127.0.0.1:9".parse().unwrap());
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    live.upstream.egress_proxy = Some(proxy.parse().unwrap());
    live.upstream.connect_timeout = LONG;
    live.upstream.total_timeout = LONG;
    live.upstream.request_timeout = LONG;
    live.ceiling.max_wait = LONG;
    // However late a machine that stands still sees an answer, it ends the call's time on its way.
    live.ceiling.transit_max = LONG;
    let ceiling = |limit| {
        let ceiling = ApiCeiling::per_second(NonZeroU32::new(limit).unwrap());
        [("live_config/get_callback".parse().unwrap(), ceiling)].into()
    };
    live.ceiling.api = ceiling(2);
    let lowered = admission::Settings { api: ceiling(1), ..live.ceiling.clone() };
    let (two_are_there, two) = tokio::sync::oneshot::channel();
    let (let_through, go) = std::sync::mpsc::channel();
    let upstream = std::thread::spawn(move || upstream(&listener, two_are_there, &go));

    let gateway = gateway(live);
    let call = || {
        let request = Request::post(PATH).header("host", "x").body(Full::new(Bytes::from("{}"))).unwrap();
        gateway.handle(request, Peer::Uid(None).into())
    };
    let lower = async {
        two.await.unwrap();
        gateway.shared.admission.apply(lowered);
        let_through.send(()).unwrap();
    };
    let (first, second, ()) = LocalSet::new().run_until(async { tokio::join!(call(), call(), lower) }).await;
    assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::OK));
    // Its headers lie where the request's did.
    assert!(!first.headers().contains_key("host"), "{:?}", first.headers());
    let metrics = gateway.shared.metrics.encode();
    let withdrawn = r#"retries_total{api="live_config/get_callback",app="live",reason="turn_withdrawn"} 1"#;
    assert!(metrics.contains(withdrawn), "{metrics}");
    drop((gateway, first, second));
    let arrivals = upstream.join().unwrap();
    assert_eq!(arrivals.len(), 2);
    let apart = arrivals[0].max(arrivals[1]) - arrivals[0].min(arrivals[1]);
    assert!(apart >= Duration::from_secs(1), "{apart:?}");
}

#[test]
fn digits_are_hexadecimal() {
    for number in [0, 1, 0x9abc_def0, 0x0123_4567, 0x89ab_cdef, u32::MAX, fastrand::u32(..)] {
        assert_eq!(hexadecimal(number), format!("{number:08x}").as_bytes());
    }
    let id = made_request_id();
    assert!(id.len() == 35 && id[3..].bytes().all(|digit| digit.is_ascii_hexdigit()), "{id}");
}

const PATH: &str = "/v4/live_config/get_callback";

/// One app, which calls this endpoint.
fn live(endpoint: Endpoint) -> Settings {
    let app = App {
        name: "live".parse().unwrap(),
        sdkappid: "1400000001".parse().unwrap(),
        identifier: "administrator".parse().unwrap(),
        keys: vec![SecretKey::new(&"MOCK".repeat(16)).unwrap()],
        region: None,
        endpoints: Endpoints::private(vec![endpoint]),
        extra_roots: Roots::default(),
        index: Default::default(),
        counted: Default::default(),
    };
    let mut apps = Apps::default();
    apps.add(app, true).unwrap();
    Settings::of(apps)
}

fn gateway(live: Settings) -> Gateway {
    let clock = Arc::new(ManualClock::at_unix(1_700_000_000));
    let parts = Parts {
        signer: Arc::new(KeySigner),
        clock: Arc::<ManualClock>::clone(&clock),
        events: Arc::new(()),
        jitter: Arc::new(|| 0.5),
    };
    let metrics = Metrics::new("1");
    Gateway::new(Arc::new(Shared {
        trips: Trips::new(&live.apps, Arc::clone(&metrics)),
        health: Health::new(&live.apps, clock, Arc::clone(&metrics)),
        budgets: Budgets::new(&live.apps),
        credentials: Arc::new(Credentials::new(live.usersig, &live.apps, parts)),
        admission: Admission::new(live.ceiling.clone(), tokio::runtime::Handle::current(), Instant::now()),
        live: ArcSwap::from_pointee(live),
        apis: Apis::new(),
        metrics,
        room: Room::of(Limits::default().buffered),
        limits: Limits::default(),
        in_flight: Arc::new(InFlight::at_most(2)),
        own_listeners: OwnListeners::default(),
        traces: None,
    }))
}
