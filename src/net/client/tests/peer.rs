//! The other side, played by a thread with blocking sockets: it does what a script says, whatever the event loop of
//! the test does meanwhile.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::model::endpoint::Endpoint;
use crate::net::client::Roots;

/// A server that plays a script.
pub(super) struct Peer {
    pub(super) endpoint: Endpoint,
    /// What its certificate is signed by; nothing when it is plain.
    pub(super) roots: Roots,
    thread: Option<JoinHandle<()>>,
}

/// A connection, as the script sees it.
pub(super) enum Conversation {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// What a server accepts.
pub(super) struct Door {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

impl Peer {
    pub(super) fn plain(script: impl FnOnce(Door) + Send + 'static) -> Self {
        Self::start(None, Vec::new(), script)
    }

    /// Speaks TLS and chooses `alpn`.
    pub(super) fn tls(alpn: &str, script: impl FnOnce(Door) + Send + 'static) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let root = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![root.clone()], key)
            .unwrap();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        Self::start(Some(Arc::new(config)), vec![root], script)
    }

    fn start(
        tls: Option<Arc<ServerConfig>>,
        roots: Vec<CertificateDer<'static>>,
        script: impl FnOnce(Door) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoint = format!("{scheme}://{}", listener.local_addr().unwrap()).parse().unwrap();
        let thread = std::thread::spawn(move || script(Door { listener, tls }));
        Self { endpoint, roots: roots.into(), thread: Some(thread) }
    }

    /// Waits until the script is over. What it asserted must have held.
    pub(super) fn done(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Door {
    /// The next connection; anything that takes longer than `PATIENCE` fails the script.
    pub(super) fn accept(&self) -> Conversation {
        let (tcp, _) = self.listener.accept().unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        tcp.set_nodelay(true).unwrap();
        match &self.tls {
            None => Conversation::Plain(tcp),
            Some(config) => {
                let connection = ServerConnection::new(Arc::clone(config)).unwrap();
                Conversation::Tls(Box::new(StreamOwned::new(connection, tcp)))
            }
        }
    }

    pub(super) fn listener(&self) -> &TcpListener {
        &self.listener
    }
}

impl Conversation {
    /// Reads one HTTP/1.1 request: its head, and its body by the announced length.
    pub(super) fn request(&mut self) -> (String, Vec<u8>) {
        let head = self.head();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let body = self.exactly(length.parse().unwrap());
        (head, body)
    }

    pub(super) fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.exactly(1));
        }
        String::from_utf8(head).unwrap()
    }

    pub(super) fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Answers with these headers (each with its line's end) and this body.
    pub(super) fn answer(&mut self, headers: &str, body: &str) {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        self.write_all((head + body).as_bytes()).unwrap();
        self.flush().unwrap();
    }

    /// Whether the client closes now, without a word more.
    pub(super) fn is_over(&mut self) -> bool {
        self.rest() == Some(0)
    }

    /// Waits until the client closes, and tells how many bytes came before; `None`: it stays.
    pub(super) fn rest(&mut self) -> Option<usize> {
        let mut rest = Vec::new();
        match self.read_to_end(&mut rest).map_err(|error| error.kind()) {
            Ok(_) | Err(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => Some(rest.len()),
            Err(_) => None,
        }
    }

    /// Closes in order. When it returns, the kernel of the other side knows.
    pub(super) fn close(mut self) {
        if let Self::Tls(tls) = &mut self {
            tls.conn.send_close_notify();
            tls.conn.write_tls(&mut tls.sock).unwrap();
        }
        self.tcp().shutdown(Shutdown::Both).unwrap();
    }

    /// Closes with RST.
    pub(super) fn reset(self) {
        socket2::SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => &tls.sock,
        }
    }
}

impl Read for Conversation {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(into),
            Self::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for Conversation {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(from),
            Self::Tls(tls) => tls.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// Lets a script wait for the test and the test for a script.
pub(super) struct Signal(Sender<()>);
pub(super) struct Awaited(Receiver<()>);

pub(super) fn signal() -> (Signal, Awaited) {
    let (send, receive) = channel();
    (Signal(send), Awaited(receive))
}

impl Signal {
    pub(super) fn give(&self) {
        self.0.send(()).unwrap();
    }
}

impl Awaited {
    /// Blocks the thread, event loop and all, until the signal is given.
    pub(super) fn wait(&self) {
        self.0.recv_timeout(PATIENCE).unwrap();
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
