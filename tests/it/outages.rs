//! The primary endpoint fails while calls are under way: it refuses connections, falls silent, or shows a wrong certificate.
//! Calls go to the backup; lost are only writes that were sent, and their callers are told so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::gateway::admission::Mode;
use usersig_gateway::gateway::target::Endpoints;
use usersig_gateway::sandbox::{Sandbox, SandboxApp, Settings};

use crate::books::{Books, READ, Told, WRITE, call_until};
use crate::world::{Builder, World, api, key, sdkappid};

const CALLERS: u64 = 8;
const TRY: Duration = Duration::from_secs(3);
/// Where calls share connections.
const LONG_TRY: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_refuses_costs_no_read_and_no_write_but_those_just_sent() {
    let told = fail(false, Wire::Cut).await;
    let lost = told.iter().filter(|told| !told.is_ok()).count() as u64;
    assert!(lost <= CALLERS, "{lost} writes were lost, more than were under way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_falls_silent_costs_one_slow_call_a_connection() {
    for lost in fail(false, Wire::Silent).await.iter().filter(|told| !told.is_ok()) {
        assert_eq!(lost.answer.codes(), (504, 9_900_504));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_falls_silent_costs_what_was_under_way_where_calls_share_a_connection() {
    let told = fail(true, Wire::Silent).await;
    let lost: Vec<_> = told.iter().filter(|told| !told.is_ok()).collect();
    assert!(lost.len() as u64 <= CALLERS, "{} writes were lost, more than were under way", lost.len());
    for lost in lost {
        assert_eq!(lost.answer.codes(), (504, 9_900_504));
        assert!(lost.took < LONG_TRY, "nobody waits to the end on a connection that is silent for all");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_shows_a_wrong_certificate_costs_nothing_but_what_was_just_sent() {
    let told = fail(true, Wire::ToAnother).await;
    let lost = told.iter().filter(|told| !told.is_ok()).count() as u64;
    assert!(lost <= CALLERS, "{lost} writes were lost, more than were under way");
}

/// What becomes of the wire to the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Whole,
    /// Its connections break, and no new ones are made.
    Cut,
    /// Connections stand, and nothing passes.
    Silent,
    /// Its connections break, and new ones lead to another server.
    ToAnother,
}

/// Lets the primary fail in the middle of a run. Every call is answered, and truly; every read succeeds. Gives what the
/// callers were told.
async fn fail(tls: bool, how: Wire) -> Vec<Told> {
    let [primary, another] = [sandbox(tls).await, sandbox(tls).await];
    let relay = Relay::before(primary.address(), another.address()).await;
    let world = before(&relay, &primary, tls).await;
    let over = Arc::new(AtomicBool::new(false));
    let failing = async {
        primary.control().wait_for_arrivals(50).await;
        relay.becomes(how);
        // Until well after the first trial.
        tokio::time::sleep(TRY + Duration::from_secs(3)).await;
        world.sandbox.control().wait_for_arrivals(10).await;
        over.store(true, Ordering::Relaxed);
    };
    let pause = Duration::from_millis(20);
    let (told, ()) = tokio::join!(call_until(&over, world.host(), CALLERS, pause), failing);

    let books = Books::of(&[&primary.control().report(), &another.control().report(), &world.report()]);
    for told in &told {
        books.agree_with(told);
        assert!(told.is_ok() || !told.is_read, "a read was lost: {}", told.answer.error_info());
        let info = told.answer.error_info();
        assert!(told.is_read || told.is_ok() || info.contains("may have been executed"), "{info}");
    }
    assert_eq!(another.control().report().arrived, 0, "a wrong certificate gets no call");
    // Every call that waited for nothing had a connection of its own to do so on: one that was there at the beginning, or one
    // that was made to see whether the primary is back. Over HTTP/2 calls share connections, and those that were under
    // way did.
    let (metrics, connections) = (world.metrics().await, relay.connections());
    let endpoint = relay.address.to_string();
    let slow = metrics.sum("attempts_total", &[("endpoint", &endpoint), ("result", "timeout")]);
    let most = connections + if tls { CALLERS } else { 0 };
    assert!(slow <= most as f64, "{slow} slow calls, {connections} connections");
    assert_eq!(metrics.sum("calls_total", &[]), told.len() as f64);
    world.end().await;
    for sandbox in [primary, another] {
        sandbox.stop().await;
    }
    told
}

async fn sandbox(tls: bool) -> Sandbox {
    let mut settings =
        Settings { tls, apps: vec![SandboxApp::new(sdkappid(), vec![key()])], ..Settings::default() };
    raise_ceilings(&mut settings);
    Sandbox::start(settings, Arc::new(SystemClock)).await.unwrap()
}

fn raise_ceilings(settings: &mut Settings) {
    settings.log_calls = 1_000_000;
    for name in [READ, WRITE] {
        settings.ceilings.per_api.insert(api(name), 1_000_000);
    }
}

/// A gateway that reaches its primary through the relay, and whose own sandbox is the backup.
async fn before(relay: &Relay, primary: &Sandbox, tls: bool) -> World {
    let scheme = if tls { "https" } else { "http" };
    let url = format!("{scheme}://{}", relay.address).parse().unwrap();
    let root = primary.ca_pem().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap());
    let mut builder = Builder::new()
        .with_app(move |app| {
            let backup = app.endpoints.v4.remove(0);
            app.endpoints = Endpoints::private(vec![url, backup]);
            root.into_iter().for_each(|root| app.extra_roots.push(root));
        })
        .tuned(move |live| {
            live.ceiling.mode = Mode::Off;
            live.retry.budget = 1.0;
            // Long enough for the backup's handshake on a slow machine.
            live.upstream.connect_timeout = TRY + Duration::from_secs(2);
            live.upstream.request_timeout = if tls { LONG_TRY } else { TRY };
        });
    builder.sandbox.tls = tls;
    raise_ceilings(&mut builder.sandbox);
    builder.start().await
}

/// A wire to the primary that can fail.
struct Relay {
    address: SocketAddr,
    state: watch::Sender<Wire>,
    connections: Arc<AtomicU64>,
}

impl Relay {
    async fn before(primary: SocketAddr, another: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, watched) = watch::channel(Wire::Whole);
        let connections = Arc::new(AtomicU64::new(0));
        tokio::spawn(relay(listener, [primary, another], watched, Arc::clone(&connections)));
        Self { address, state, connections }
    }

    fn becomes(&self, wire: Wire) {
        self.state.send_replace(wire);
    }

    fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn relay(
    listener: TcpListener,
    [primary, another]: [SocketAddr; 2],
    mut state: watch::Receiver<Wire>,
    connections: Arc<AtomicU64>,
) {
    loop {
        let accepted = tokio::select! {
            // Closed, the listener refuses.
            _ = state.wait_for(|wire| *wire == Wire::Cut) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((near, _)) = accepted else { continue };
        connections.fetch_add(1, Ordering::Relaxed);
        let to = if *state.borrow() == Wire::ToAnother { another } else { primary };
        tokio::spawn(carry(near, to, state.clone()));
    }
}

async fn carry(mut near: TcpStream, to: SocketAddr, mut state: watch::Receiver<Wire>) {
    let began_in = *state.borrow();
    if began_in != Wire::Silent {
        let mut far = TcpStream::connect(to).await.unwrap();
        tokio::select! {
            _ = state.wait_for(|wire| *wire != began_in) => {}
            _ = copy_bidirectional(&mut near, &mut far) => return,
        }
        // From here on nothing more reaches the primary either.
        if *state.borrow() != Wire::Silent {
            return;
        }
        hold(near, Some(far)).await;
    } else {
        hold(near, None).await;
    }
}

/// Keeps both ends open for longer than any test runs, and says nothing.
async fn hold(_near: TcpStream, _far: Option<TcpStream>) {
    tokio::time::sleep_until(Instant::now() + Duration::from_secs(3600)).await;
}
