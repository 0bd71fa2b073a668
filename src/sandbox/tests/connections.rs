//! How connections are made, kept and ended.

use super::*;

use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio_rustls::client::TlsStream;

async fn tls(sandbox: &Sandbox, host: &'static str, alpn: &[&str]) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(sandbox.ca_pem().unwrap().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let tcp = TcpStream::connect(sandbox.address()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(ServerName::try_from(host).unwrap(), tcp).await.unwrap()
}

async fn tls_sandbox() -> Sandbox {
    start(Settings { tls: true, ..settings() }).await
}

/// A good call over HTTP/2, and the connection's end.
async fn call_http2<S>(stream: S) -> (Value, hyper::Result<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut send, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::post(format!("http://sandbox.test{GET_CALLBACK}?{}", query()))
        .body(Full::new(bytes::Bytes::from_static(b"{}")))
        .unwrap();
    let mut response = send.send_request(request).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
    let mut body = Vec::new();
    while let Some(frame) = response.frame().await {
        body.extend_from_slice(frame.unwrap().data_ref().unwrap());
    }
    drop(send);
    (serde_json::from_slice(&body).unwrap(), connection.await.unwrap())
}

#[tokio::test]
async fn a_connection_is_kept_and_numbered() {
    let sandbox = start(settings()).await;
    assert_eq!(sandbox.url(), format!("http://127.0.0.1:{}", sandbox.address().port()));
    assert_eq!(sandbox.ca_pem(), None);
    let (mut one, mut two) = (Client::to(&sandbox).await, Client::to(&sandbox).await);
    for client in [&mut one, &mut two] {
        for _ in 0..2 {
            assert_eq!(client.call(GET_CALLBACK, json!({})).await.code(), 0);
        }
    }
    let report = sandbox.control().report();
    let numbers: Vec<u64> = report.calls.iter().map(|call| call.connection).collect();
    assert!(numbers[0] == numbers[1] && numbers[2] == numbers[3] && numbers[0] != numbers[2], "{numbers:?}");
    assert_eq!(report.connections, 2);
    sandbox.stop().await;
}

#[tokio::test]
async fn tls_is_good_for_every_name_of_loopback() {
    let sandbox = tls_sandbox().await;
    assert!(sandbox.url().starts_with("https://127.0.0.1:"));
    for host in ["localhost", "127.0.0.1", "::1"] {
        let client = &mut Client::over(tls(&sandbox, host, &["http/1.1"]).await);
        assert_eq!(client.call(GET_CALLBACK, json!({})).await.code(), 0, "{host}");
    }
    let client = &mut Client::over(tls(&sandbox, "localhost", &[]).await);
    assert_eq!(client.call(GET_CALLBACK, json!({})).await.code(), 0, "without ALPN");
    sandbox.stop().await;
}

#[tokio::test]
async fn http2_is_spoken_by_alpn_and_by_prior_knowledge() {
    let sandbox = tls_sandbox().await;
    let (answer, end) = call_http2(tls(&sandbox, "localhost", &["h2", "http/1.1"]).await).await;
    assert_eq!((&answer["ErrorCode"], end.is_ok()), (&json!(0), true));
    sandbox.stop().await;

    let sandbox = start(settings()).await;
    let (answer, _) = call_http2(TcpStream::connect(sandbox.address()).await.unwrap()).await;
    assert_eq!(answer["ErrorCode"], 0);
    let report = sandbox.control().report();
    assert_eq!(
        (report.calls[0].version, report.calls[0].verdict),
        (http::Version::HTTP_2, Verdict::Accepted)
    );
    sandbox.stop().await;
}

#[tokio::test]
async fn http2_closes_after_an_answer_too() {
    let sandbox = start(settings()).await;
    for effect in [Effect::CloseSilently, Effect::CloseAnnounced] {
        sandbox.control().inject(Fault::new(effect)).unwrap();
        let (answer, _) = call_http2(TcpStream::connect(sandbox.address()).await.unwrap()).await;
        assert_eq!(answer["ErrorCode"], 0);
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn faults_of_the_connection_work_under_tls() {
    let sandbox = tls_sandbox().await;
    let connect = || async { Client::over(tls(&sandbox, "localhost", &["http/1.1"]).await) };

    sandbox.control().inject(Fault::new(Effect::ResetAfterReading)).unwrap();
    let mut client = connect().await;
    client.send("POST", &format!("{GET_CALLBACK}?{}", query()), b"{}").await.unwrap();
    assert_eq!(client.receive().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

    sandbox.control().inject(Fault::new(Effect::Truncate)).unwrap();
    let mut client = connect().await;
    client.send("POST", &format!("{GET_CALLBACK}?{}", query()), b"{}").await.unwrap();
    assert_eq!(client.receive().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    let half = String::from_utf8(client.ahead.clone()).unwrap();
    assert!(half.starts_with(r#"{"ActionStatus":"OK","#), "{half}");

    sandbox.control().inject(Fault::new(Effect::CloseSilently)).unwrap();
    let mut client = connect().await;
    assert_eq!(client.call(GET_CALLBACK, json!({})).await.code(), 0);
    assert_eq!(client.more().await.unwrap(), 0, "with TLS's goodbye");
    sandbox.stop().await;
}

#[tokio::test]
async fn a_head_that_comes_in_pieces_is_read() {
    let sandbox = start(settings()).await;
    let client = &mut Client::to(&sandbox).await;
    let head =
        format!("POST {GET_CALLBACK}?{} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{{}}", query());
    for byte in head.bytes() {
        client.stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(client.receive().await.unwrap().code(), 0);
    sandbox.stop().await;
}

#[tokio::test]
async fn stop_closes_the_listener_and_every_connection() {
    let sandbox = start(settings()).await;
    let address = sandbox.address();
    let mut idle = Client::to(&sandbox).await;
    assert_eq!(idle.call(GET_CALLBACK, json!({})).await.code(), 0);
    let control = sandbox.control().clone();
    sandbox.stop().await;
    assert_eq!(idle.more().await.unwrap(), 0);
    assert!(Client::connect(address).await.is_err());
    assert_eq!(control.report().arrived, 1, "what was seen can still be read");
}

#[tokio::test]
async fn a_dropped_sandbox_ends_too() {
    let sandbox = start(settings()).await;
    let mut idle = Client::to(&sandbox).await;
    assert_eq!(idle.call(GET_CALLBACK, json!({})).await.code(), 0);
    drop(sandbox);
    assert_eq!(idle.more().await.unwrap(), 0);
}

#[tokio::test]
async fn connections_beyond_the_bound_wait() {
    let sandbox = start(settings()).await;
    let permits = Arc::clone(&sandbox.core.connections);
    let most = u32::try_from(core::MOST_CONNECTIONS).unwrap();
    let _others = permits.acquire_many_owned(most - 1).await.unwrap();
    let (mut first, mut second) = (Client::to(&sandbox).await, Client::to(&sandbox).await);
    second.send("POST", &format!("{GET_CALLBACK}?{}", query()), b"{}").await.unwrap();
    assert_eq!(first.call(GET_CALLBACK, json!({})).await.code(), 0);
    assert_eq!(sandbox.control().report().connections, 1);
    drop(first);
    assert_eq!(second.receive().await.unwrap().code(), 0);
    sandbox.stop().await;
}

#[tokio::test]
async fn calls_beyond_the_bound_wait() {
    let sandbox = start(settings()).await;
    let permits = Arc::clone(&sandbox.core.calls);
    let others = permits.acquire_many_owned(u32::try_from(core::MOST_CALLS).unwrap()).await.unwrap();
    let mut waiting = Client::to(&sandbox).await;
    waiting.send("POST", &format!("{GET_CALLBACK}?{}", query()), b"{}").await.unwrap();
    sandbox.control().wait_for_arrivals(1).await;
    // The desk takes no permit: an answer from it shows that the sandbox had its turn since.
    assert_eq!(Client::to(&sandbox).await.exchange("GET", "/sandbox/report", "").await.status(), "200");
    assert_eq!(sandbox.control().report().calls[0].verdict, Verdict::Unread);
    drop(others);
    assert_eq!(waiting.receive().await.unwrap().code(), 0);
    sandbox.stop().await;
}
