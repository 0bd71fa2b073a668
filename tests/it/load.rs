//! Callers who offer calls at a steady rate, whether answers come or not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::Instant;
use usersig_gateway::net::body::read_capped;

/// A caller with connections of its own.
#[derive(Debug)]
pub(crate) struct Caller {
    host: String,
    /// HTTP/2, since many of its calls wait at once.
    senders: Vec<SendRequest<Full<Bytes>>>,
    name: String,
}

impl Caller {
    /// A caller of this name whose connections come from `source`.
    pub(crate) async fn new(host: &str, source: &str, name: &str) -> Self {
        let mut senders = Vec::new();
        for _ in 0..CONNECTIONS {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
            let stream = socket.connect(host.parse().unwrap()).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            senders.push(sender);
        }
        Self { host: host.to_owned(), senders, name: name.to_owned() }
    }

    /// Offers so many calls a second for so long, waits for the end of each, and gives their HTTP statuses.
    pub(crate) async fn offer(&self, api: &str, per_second: u32, span: Duration) -> Vec<u16> {
        let (began, mut calls) = (Instant::now(), JoinSet::new());
        let count = (span.as_secs_f64() * f64::from(per_second)) as u32;
        for n in 0..count {
            tokio::time::sleep_until(began + Duration::from_secs(1) * n / per_second).await;
            let sender = self.senders[n as usize % self.senders.len()].clone();
            let request = Request::post(format!("http://{}/v4/{api}", self.host))
                .header("x-caller", &self.name)
                .body(Full::new(Bytes::from_static(b"{}")))
                .unwrap();
            calls.spawn(end_of(sender, request));
        }
        calls.join_all().await
    }
}

async fn end_of(mut sender: SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> u16 {
    sender.ready().await.unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    read_capped(body, 1 << 20).await.unwrap();
    head.status.as_u16()
}

/// Watches for times in which this machine lets nobody run: on a busy one, they are most of the time.
#[derive(Debug)]
pub(crate) struct Stalls {
    began: Instant,
    over: Arc<AtomicBool>,
    watcher: JoinHandle<Duration>,
}

impl Stalls {
    pub(crate) fn watch() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let watcher = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let mut lost = Duration::ZERO;
                while !over.load(Ordering::Relaxed) {
                    let before = Instant::now();
                    std::thread::sleep(TICK);
                    let late = before.elapsed().saturating_sub(TICK);
                    lost += if late > TICK { late } else { Duration::ZERO };
                }
                lost
            }
        });
        Self { began: Instant::now(), over, watcher }
    }

    /// The share of the time since the beginning in which there were none.
    pub(crate) fn end(self) -> f64 {
        self.over.store(true, Ordering::Relaxed);
        let lost = self.watcher.join().unwrap();
        1.0 - lost.as_secs_f64() / self.began.elapsed().as_secs_f64()
    }
}

/// How many calls ended with this HTTP status.
pub(crate) fn with_status(ended: &[u16], status: u16) -> usize {
    ended.iter().filter(|&&ended| ended == status).count()
}

const TICK: Duration = Duration::from_millis(2);

/// Together they have room for more streams than calls may wait.
const CONNECTIONS: usize = 6;
