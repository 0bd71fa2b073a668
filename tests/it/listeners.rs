//! The gateway listener in its other forms: a Unix socket, and TLS with client certificates. Both speak HTTP/1.1 and
//! HTTP/2.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use usersig_gateway::net::body::read_capped;
use usersig_gateway::net::listener::ListenAddress;
use usersig_gateway::net::tls::ServerTls;

use crate::world::{Builder, World, post};

const READ: &str = "/v4/live_config/get_callback";

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_takes_calls_in_both_versions_of_http() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    let mut builder = Builder::new().workers(2);
    builder.boot.gateway = ListenAddress::Unix(path.clone());
    let world = builder.start().await;
    assert_eq!(world.host(), format!("unix:{}", path.display()));
    let call = || post(READ, "{}");
    let connect = || UnixStream::connect(&path);
    assert_eq!(http1_call(connect().await.unwrap(), call()).await, (StatusCode::OK, 0));
    assert_eq!(http2_call(connect().await.unwrap(), call()).await, (StatusCode::OK, 0));
    let url = world.host().to_owned();
    let run = tokio::task::spawn_blocking(move || {
        crate::binary::run(&["call", "--gateway", &url, "live_config/get_callback", "{}"])
    });
    assert_eq!(run.await.unwrap().status, Some(0));
    assert_eq!(world.report().arrived, 3);
    all_connections_are_closed(&world).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_takes_http2_without_tls_from_those_who_know() {
    let world = World::start().await;
    let stream = TcpStream::connect(world.host()).await.unwrap();
    let mut call = post(READ, "{}");
    *call.uri_mut() = format!("http://{}{READ}", world.host()).parse().unwrap();
    assert_eq!(http2_call(stream, call).await, (StatusCode::OK, 0));
    all_connections_are_closed(&world).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_asks_for_a_client_certificate_and_speaks_what_was_agreed() {
    let (ours, other) = (Authority::new(), Authority::new());
    let mut builder = Builder::new();
    let (chain, key) = ours.issues("localhost");
    builder.boot.tls = Some(ServerTls {
        chain: vec![chain],
        key: Arc::new(key),
        client_roots: Some(vec![ours.certificate.clone()]),
    });
    let world = builder.start().await;

    for protocol in [&b"http/1.1"[..], b"h2", b""] {
        let stream = ours.connect(&world, Some(ours.issues("a-caller")), protocol).await.unwrap();
        let agreed = stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec();
        assert_eq!(agreed, protocol);
        let call = post(READ, "{}");
        let answered = match protocol {
            b"h2" => http2_call(stream, call).await,
            _ => http1_call(stream, call).await,
        };
        assert_eq!(answered, (StatusCode::OK, 0));
    }
    assert_eq!(world.report().arrived, 3);

    // Nobody without a certificate, nor with one of another authority, comes to say anything.
    for stranger in [None, Some(other.issues("a-stranger"))] {
        let refused = match ours.connect(&world, stranger, b"http/1.1").await {
            // TLS 1.3 tells a client only with its first read.
            Ok(mut stream) => stream.read(&mut [0]).await.map(drop),
            Err(error) => Err(error),
        };
        assert!(refused.unwrap_err().to_string().contains("alert"));
    }
    // Nor does plain HTTP.
    let mut plain = TcpStream::connect(world.host()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"POST / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut came = Vec::new();
    _ = plain.read_to_end(&mut came).await;
    assert!(!came.starts_with(b"HTTP"), "{came:?}");

    assert_eq!(world.report().arrived, 3);
    all_connections_are_closed(&world).await;
    world.end().await;
}

async fn http1_call<S>(stream: S, request: Request<Full<Bytes>>) -> (StatusCode, i64)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    parts.headers.insert("host", "localhost".parse().unwrap());
    let answer = sender.send_request(Request::from_parts(parts, body)).await.unwrap();
    let told = read(answer, Version::HTTP_11).await;
    driver.abort();
    told
}

async fn http2_call<S>(stream: S, mut request: Request<Full<Bytes>>) -> (StatusCode, i64)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    if request.uri().authority().is_none() {
        *request.uri_mut() = format!("https://localhost{}", request.uri()).parse().unwrap();
    }
    let answer = sender.send_request(request).await.unwrap();
    assert!(!answer.headers().contains_key("connection"), "HTTP/2 has no such header");
    let told = read(answer, Version::HTTP_2).await;
    driver.abort();
    told
}

async fn read(answer: http::Response<hyper::body::Incoming>, version: Version) -> (StatusCode, i64) {
    assert_eq!(answer.version(), version);
    let status = answer.status();
    let body = read_capped(answer.into_body(), 1 << 20).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    (status, body["ErrorCode"].as_i64().unwrap())
}

async fn all_connections_are_closed(world: &World) {
    world.until(|metrics| metrics.sum("connections", &[("listener", "gateway")]) == 0.0).await;
}

/// Signs certificates for one side and is trusted by the other.
struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn issues(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    /// Connects as a client that trusts this authority, offering one protocol, or none.
    async fn connect(
        &self,
        world: &World,
        identity: Option<Identity>,
        protocol: &[u8],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        if !protocol.is_empty() {
            config.alpn_protocols = vec![protocol.to_vec()];
        }
        let stream = TcpStream::connect(world.host()).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}
