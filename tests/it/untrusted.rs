//! The other side is trusted with a UserSig and with nothing else: what it may say has bounds, TLS is new enough and always
//! checked, and nothing that it says shows the UserSig.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use usersig_gateway::gateway::target::Endpoints;
use usersig_gateway::net::tls::ServerTls;

use crate::canned_server::{AnswerTo, Asked, CannedServer};
use crate::world::{Answer, Builder};

const READ: &str = "live_config/get_callback";
const GOOD: &str = "{\"ErrorCode\":0}";

/// What comes of one call to a server that answers this.
async fn answered(answer: AnswerTo) -> Answer {
    let upstream = CannedServer::answering(vec![answer]);
    let world = Builder::new().calling(&[&upstream.url]).trying_once().start().await;
    let answer = world.call(READ, "{}").await;
    world.end().await;
    answer
}

fn saying(head: String) -> AnswerTo {
    Box::new(move |_| {
        format!("{head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{GOOD}", GOOD.len()).into()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answers_head_has_bounds() {
    let headers = |count: usize, length: usize| {
        (0..count).map(|n| format!("\r\nx-{n}: {}", "a".repeat(length))).collect::<String>()
    };
    // With the two that every answer here has they are a hundred.
    assert_eq!(answered(saying(format!("HTTP/1.1 200 OK{}", headers(98, 1000)))).await.codes(), (200, 0));
    for (what, more) in
        [("many", headers(99, 1)), ("long", headers(1, 600_000)), ("many and long", headers(90, 8000))]
    {
        let answer = answered(saying(format!("HTTP/1.1 200 OK{more}"))).await;
        assert_eq!(answer.codes(), (502, 9_900_502), "{what}");
        assert!(answer.header_names().iter().all(|name| !name.starts_with("x-0")), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_another_protocol_or_none_is_no_answer() {
    let good =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{GOOD}", GOOD.len());
    let smuggled = "content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n";
    for came in [
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_owned() + GOOD,
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 15\r\n\r\n".to_owned() + GOOD,
        "HTTP/1.1 200 OK\r\ncontent-length: -15\r\n\r\n".to_owned() + GOOD,
        format!("HTTP/1.1 200 OK\r\n{smuggled}f\r\n{GOOD}"),
        "HTTP/0.9 200 OK\r\n\r\n".to_owned() + GOOD,
        "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
        GOOD.to_owned(),
    ] {
        let (bytes, what) = (came.clone().into_bytes(), came);
        let answer = answered(Box::new(move |_| bytes)).await;
        assert_eq!(answer.codes(), (502, 9_900_502), "{what:?}: {answer:?}");
    }
    // What only announces the answer is passed over.
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(3) + &good;
    assert_eq!(answered(Box::new(move |_| early.into_bytes())).await.codes(), (200, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn announcements_without_an_end_take_no_longer_than_an_answer_may() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // Until the gateway has heard enough.
        while stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    let builder = Builder::new().with_app(move |app| {
        app.endpoints = Endpoints::private(vec![url.parse().unwrap()]);
    });
    let world = builder
        .tuned(|live| {
            live.retry.max_attempts = std::num::NonZeroU32::MIN;
            live.upstream.request_timeout = Duration::from_millis(500);
        })
        .start()
        .await;
    assert_eq!(world.call(READ, "{}").await.codes(), (504, 9_900_504));
    world.end().await;
    server.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_header_of_an_answer_shows_the_usersig() {
    let echo = |asked: &Asked| {
        let usersig = asked.usersig();
        let url = asked.head.lines().next().unwrap().split(' ').nth(1).unwrap().to_owned();
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json; url=\"{url}\"\r\ndate: {usersig}\r\nlocation: {url}\r\n\
             x-request-id: {usersig}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{GOOD}",
            GOOD.len()
        )
        .into_bytes()
    };
    let upstream = CannedServer::answering(vec![Box::new(echo)]);
    let world = Builder::new().calling(&[&upstream.url]).start().await;
    let answer = world.call(READ, "{}").await;
    assert_eq!(answer.codes(), (200, 0));
    world.end().await;
    let asked = upstream.asked();
    let (usersig, shown) = (asked[0].usersig().as_bytes(), format!("{:?}", answer.headers));
    for piece in usersig.windows(8) {
        assert!(!shown.contains(std::str::from_utf8(piece).unwrap()), "{shown}");
    }
}

/// A server with a certificate of its own, which the gateway trusts.
struct TlsServer {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    root: CertificateDer<'static>,
}

impl TlsServer {
    async fn start(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let root = certificate.der().clone();
        let tls = ServerTls {
            chain: vec![root.clone()],
            key: Arc::new(PrivateKeyDer::Pkcs8(key.serialize_der().into())),
            client_roots: None,
        };
        let acceptor = TlsAcceptor::from(tls.config().unwrap());
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), acceptor, root }
    }

    /// A gateway whose calls go to it.
    fn called(&self) -> Builder {
        let url = format!("https://localhost:{}", self.listener.local_addr().unwrap().port());
        let root = self.root.clone();
        let builder = Builder::new().with_app(move |app| {
            app.endpoints = Endpoints::private(vec![url.parse().unwrap()]);
            app.extra_roots = vec![root].into();
        });
        builder.trying_once()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_expired_is_not_trusted() {
    let mut expired = CertificateParams::new(["localhost".to_owned()]).unwrap();
    expired.not_before = rcgen::date_time_ymd(2020, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let server = TlsServer::start(expired).await;
    let world = server.called().start().await;
    let TlsServer { listener, acceptor, .. } = server;
    let refused =
        tokio::spawn(async move { acceptor.accept(listener.accept().await.unwrap().0).await.is_err() });
    let answer = world.call(READ, "{}").await;
    assert_eq!(answer.codes(), (502, 9_900_502));
    assert!(answer.error_info().contains("TLS cannot be set up"), "{}", answer.error_info());
    assert!(refused.await.unwrap());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_an_answers_head_has_bounds_too() {
    for (count, status) in [(50, 200), (70, 502)] {
        let server = TlsServer::start(CertificateParams::new(["localhost".to_owned()]).unwrap()).await;
        let world = server.called().start().await;
        let TlsServer { listener, acceptor, .. } = server;
        let server = tokio::spawn(async move {
            let stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            // What the gateway says of its bounds is not heeded.
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut response = Response::builder().status(200);
                for n in 0..count {
                    response = response.header(format!("x-{n}"), "a".repeat(1000));
                }
                let mut stream = respond.send_response(response.body(()).unwrap(), false).unwrap();
                stream.send_data(Bytes::from_static(GOOD.as_bytes()), true).unwrap();
            }
        });
        assert_eq!(world.call(READ, "{}").await.status, status, "{count} KiB");
        world.end().await;
        server.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tls_1_2_and_later_is_offered_and_no_name_is_left_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let hello = tokio::spawn(async move {
        let mut hello = vec![0; 16 * 1024];
        let mut stream: TcpStream = listener.accept().await.unwrap().0;
        let read = stream.read(&mut hello).await.unwrap();
        hello.truncate(read);
        hello
    });
    let builder =
        Builder::new().with_app(move |app| app.endpoints = Endpoints::private(vec![url.parse().unwrap()]));
    let world = builder.trying_once().start().await;
    assert_eq!(world.call(READ, "{}").await.status, 502);
    let hello = hello.await.unwrap();
    world.end().await;
    let extension =
        |number: u16| extension(&hello, number).unwrap_or_else(|| panic!("no extension {number}"));
    // RFC 8446, section 4.2.1: 1.3 and 1.2 in their order, behind the list's length.
    assert_eq!(extension(43), [4, 3, 4, 3, 3]);
    // RFC 6066, section 3.
    assert!(extension(0).ends_with(b"localhost"));
}

/// What an extension of a ClientHello holds (RFC 8446, section 4.1.2), in one TLS record.
fn extension(record: &[u8], number: u16) -> Option<&[u8]> {
    let skip = |bytes: &mut &[u8], count: usize| *bytes = &bytes[count..];
    let length = |bytes: &mut &[u8], of: usize| {
        let length = bytes[..of].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        *bytes = &bytes[of..];
        length
    };
    let mut rest = record;
    // The record's head, the message's, version and random.
    skip(&mut rest, 5 + 4 + 2 + 32);
    for of in [1, 2, 1] {
        let count = length(&mut rest, of);
        skip(&mut rest, count);
    }
    skip(&mut rest, 2);
    while !rest.is_empty() {
        let found = length(&mut rest, 2);
        let count = length(&mut rest, 2);
        let (content, behind) = rest.split_at(count);
        if found == usize::from(number) {
            return Some(content);
        }
        rest = behind;
    }
    None
}

/// A verifier of one's own is the only way by which rustls can be made to trust anybody.
#[test]
fn nothing_switches_verification_off() {
    fn look(folder: &Path) -> usize {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .map(|path| {
                if path.is_dir() {
                    return look(&path);
                }
                let text = fs::read_to_string(&path).unwrap();
                for word in ["dangerous", "ServerCertVerifier", "with_custom_certificate_verifier"] {
                    assert!(!text.contains(word), "{} in {}", word, path.display());
                }
                usize::from(text.contains("with_root_certificates("))
            })
            .sum()
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert!(look(&source) > 0, "it is looked for where roots are given");
}
