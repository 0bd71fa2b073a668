//! How calls reach Tencent's side: over kept connections, past closed ones, to a backup, through a proxy.

use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Version;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use usersig_gateway::clock::SystemClock;
use usersig_gateway::model::endpoint::Endpoint;
use usersig_gateway::sandbox::{Effect, Fault, Sandbox, SandboxApp, Settings};

use crate::world::{Builder, World, key, nowhere, sdkappid};

const READ: &str = "live_config/get_callback";
const WRITE: &str = "openim/sendmsg";

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_serves_one_call_after_the_other() {
    for (builder, version) in [(Builder::new(), Version::HTTP_2), (Builder::new().plain(), Version::HTTP_11)]
    {
        let world = builder.start().await;
        calls_succeed(&world, 20).await;
        let report = world.report();
        assert_eq!((report.arrived, report.connections), (20, 1), "{version:?}");
        assert!(report.calls.iter().all(|call| call.version == version), "{version:?}");
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_other_side_closed_costs_no_call() {
    for builder in [Builder::new(), Builder::new().plain()] {
        let world = builder.start().await;
        for effect in [Effect::CloseSilently, Effect::CloseAnnounced] {
            world.sandbox.control().inject(Fault::new(effect).times(5)).unwrap();
            for n in 0..6 {
                // One that may not be repeated once it was sent.
                assert_eq!(world.call(WRITE, "{}").await.codes(), (200, 0));
                // A goodbye that has not arrived yet can be known to nobody.
                while n < 5 && world.sandbox.control().open_connections() > 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
        assert_eq!(world.report().arrived, 12, "each once");
        let metrics = world.metrics().await;
        assert_eq!(metrics.sum("calls_total", &[("outcome", "ok")]), 12.0);
        assert_eq!(metrics.sum("attempts_total", &[("result", "answered")]), 12.0);
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backup_is_called_while_nothing_was_sent() {
    let nowhere = nowhere();
    let builder = Builder::new().with_app(move |app| {
        app.endpoints.v4.insert(0, format!("https://{nowhere}").parse().unwrap());
    });
    let world = builder.start().await;
    calls_succeed(&world, 3).await;
    let metrics = world.metrics().await;
    let (primary, backup) = (nowhere.to_string(), world.sandbox.address().to_string());
    // Once it failed it is passed over, but for a trial now and then.
    let failed = metrics.sum("attempts_total", &[("endpoint", &primary), ("result", "unreachable")]);
    assert!((1.0..=3.0).contains(&failed), "{failed}");
    assert_eq!(metrics.sum("attempts_total", &[("endpoint", &backup), ("result", "answered")]), 3.0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_goes_to_no_backup() {
    let builder = Builder::new().with_app(|app| {
        let only = app.endpoints.v4[0].clone();
        app.endpoints.v4.push(only);
    });
    let world = builder.trying_once().start().await;
    world.sandbox.control().inject(Fault::new(Effect::ResetBeforeReading)).unwrap();
    assert_eq!(world.call(READ, "{}").await.codes(), (502, 9_900_502));
    assert_eq!(world.report().arrived, 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_an_unknown_authority_is_not_trusted() {
    let world = Builder::new().with_app(|app| app.extra_roots = Vec::new().into()).start().await;
    let answer = world.call(READ, "{}").await;
    assert_eq!(answer.codes(), (502, 9_900_502));
    assert!(answer.error_info().contains("TLS cannot be set up"), "{}", answer.error_info());
    assert!(answer.header("proxy-status").contains("error=tls_certificate_error"));
    assert_eq!(world.report().arrived, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_certificate_for_another_name_gets_no_call_and_the_backup_does() {
    // The authority is trusted, but its certificate is not good for this address.
    let apps = vec![SandboxApp::new(sdkappid(), vec![key()])];
    let listen = "127.0.0.2:0".parse().unwrap();
    let settings = Settings { listen, tls: true, apps, ..Settings::default() };
    let hijacked = Sandbox::start(settings, Arc::new(SystemClock)).await.unwrap();
    let url: Endpoint = hijacked.url().parse().unwrap();
    let root = CertificateDer::from_pem_slice(hijacked.ca_pem().unwrap().as_bytes()).unwrap();
    for has_backup in [false, true] {
        let (url, root) = (url.clone(), root.clone());
        let builder = Builder::new().with_app(move |app| {
            app.extra_roots.push(root);
            app.endpoints.v4.insert(0, url);
            app.endpoints.v4.truncate(if has_backup { 2 } else { 1 });
        });
        let world = builder.start().await;
        let answer = world.call(WRITE, "{}").await;
        if has_backup {
            assert_eq!(answer.codes(), (200, 0), "{}", answer.error_info());
        } else {
            assert_eq!(answer.codes(), (502, 9_900_502));
            assert!(answer.error_info().contains("TLS cannot be set up"), "{}", answer.error_info());
            assert!(answer.error_info().contains("the call was not sent"), "{}", answer.error_info());
        }
        assert_eq!(world.report().arrived, u64::from(has_backup));
        world.end().await;
    }
    assert_eq!(hijacked.control().report().arrived, 0);
    hijacked.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_and_names_are_reached_too() {
    let mut builder = Builder::new();
    builder.sandbox.listen = "[::1]:0".parse().unwrap();
    let world = builder.start().await;
    calls_succeed(&world, 2).await;
    world.end().await;

    // Of the addresses that the name has on this machine, only one listens.
    for listen in ("localhost", 0).to_socket_addrs().unwrap() {
        let mut builder = Builder::new().with_app(|app| {
            let port = app.endpoints.v4[0].port();
            app.endpoints.v4 = vec![format!("https://localhost:{port}").parse().unwrap()];
        });
        builder.sandbox.listen = listen;
        let world = builder.start().await;
        calls_succeed(&world, 2).await;
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_through_an_egress_proxy_and_not_around_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let tunnels = Arc::<Tunnels>::default();
    let proxying = tokio::spawn(connect_proxy(listener, Arc::clone(&tunnels)));
    let builder = Builder::new().tuned({
        let proxy = proxy.parse().unwrap();
        move |live| live.upstream.egress_proxy = Some(proxy)
    });
    let world = builder.start().await;
    calls_succeed(&world, 3).await;
    assert_eq!(tunnels.opened.load(Ordering::Relaxed), 1);
    assert_eq!(world.report().connections, 1);

    // Without it nothing is sent at all, once the connection is gone: its goodbye comes after the answer.
    world.sandbox.control().inject(Fault::new(Effect::CloseAnnounced)).unwrap();
    calls_succeed(&world, 1).await;
    tunnels.ended.notified().await;
    proxying.abort();
    _ = proxying.await;
    let answer = world.call(READ, "{}").await;
    assert_eq!(answer.codes(), (502, 9_900_502));
    assert!(answer.error_info().contains("the egress proxy"), "{}", answer.error_info());
    assert_eq!(world.report().arrived, 4);
    world.end().await;
}

async fn calls_succeed(world: &World, calls: usize) {
    for _ in 0..calls {
        let answer = world.call(READ, "{}").await;
        assert_eq!(answer.codes(), (200, 0), "{}", answer.error_info());
    }
}

/// What a proxy tunnelled.
#[derive(Default)]
struct Tunnels {
    opened: AtomicUsize,
    /// Told whenever both sides of one have closed it.
    ended: Notify,
}

/// Tunnels to wherever CONNECT says, until it is aborted.
async fn connect_proxy(listener: TcpListener, tunnels: Arc<Tunnels>) {
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        tunnels.opened.fetch_add(1, Ordering::Relaxed);
        let tunnels = Arc::clone(&tunnels);
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
            let mut server = TcpStream::connect(target).await.unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            tunnels.ended.notify_one();
        });
    }
}
