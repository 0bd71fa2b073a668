//! Callers who offer calls at a steady rate, whether answers come or not; and how far this machine let anybody run
//! meanwhile.

use std::error::Error;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::response::Parts;
use http_body_util::Full;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;
use usersig_gateway::net::body::read_capped;

use crate::client::Client;

/// A caller with connections of its own.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    host: String,
    /// HTTP/2, since many of its calls wait at once.
    senders: Vec<SendRequest<Full<Bytes>>>,
    name: String,
    names: Names,
    max_wait: Option<&'static str>,
    may_be_cut: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Names {
    One,
    OneForEachCall,
}

/// What became of calls that were offered.
#[derive(Debug)]
pub(crate) struct Offered {
    calls: Vec<Ended>,
    /// For how long they were offered.
    span: Duration,
}

/// How one call ended.
#[derive(Debug, Clone, Copy)]
struct Ended {
    /// `None`: its gateway was gone before it was answered.
    status: Option<u16>,
    /// When it was sent and when its answer was there, since the first was offered.
    sent: Duration,
    answered: Duration,
    /// How long it waited for its turn, as the gateway says.
    waited: Duration,
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
        let (host, name) = (host.to_owned(), name.to_owned());
        Self { host, senders, name, names: Names::One, max_wait: None, may_be_cut: false }
    }

    /// Makes up another name for each call.
    pub(crate) fn with_ever_new_names(self) -> Self {
        Self { names: Names::OneForEachCall, ..self }
    }

    /// Says how long each call may wait.
    pub(crate) fn with_max_wait(self, max_wait: &'static str) -> Self {
        Self { max_wait: Some(max_wait), ..self }
    }

    /// Expects that the gateway may die and cut its calls off. Otherwise such a call is a failure.
    pub(crate) fn with_calls_that_may_be_cut(self) -> Self {
        Self { may_be_cut: true, ..self }
    }

    /// Offers so many calls a second for so long, and waits for the end of each.
    pub(crate) async fn offer(&self, api: &str, per_second: u32, span: Duration) -> Offered {
        let (began, mut calls, mut ended) = (Instant::now(), JoinSet::new(), Vec::new());
        let count = (span.as_secs_f64() * f64::from(per_second)) as u32;
        for n in 0..count {
            tokio::time::sleep_until(began + Duration::from_secs(1) * n / per_second).await;
            self.spawn(&mut calls, api, n, began);
            // A failure is one at once, whether anybody waits for the end or not.
            ended.extend(std::iter::from_fn(|| calls.try_join_next()).map(of_call));
        }
        while let Some(call) = calls.join_next().await {
            ended.push(of_call(call));
        }
        Offered { calls: ended, span }
    }

    /// Offers so many calls at once, and waits for the end of each.
    pub(crate) async fn offer_at_once(&self, api: &str, count: u32) -> Offered {
        let (began, mut calls) = (Instant::now(), JoinSet::new());
        for n in 0..count {
            self.spawn(&mut calls, api, n, began);
        }
        Offered { calls: calls.join_all().await, span: began.elapsed() }
    }

    fn spawn(&self, calls: &mut JoinSet<Ended>, api: &str, n: u32, began: Instant) {
        let sender = self.senders[n as usize % self.senders.len()].clone();
        let name = match self.names {
            Names::One => self.name.clone(),
            Names::OneForEachCall => format!("{}-{n}", self.name),
        };
        let mut request = Request::post(format!("http://{}/v4/{api}", self.host)).header("x-caller", name);
        if let Some(max_wait) = self.max_wait {
            request = request.header("x-gateway-max-wait", max_wait);
        }
        let request = request.body(Full::new(Bytes::from_static(b"{}"))).unwrap();
        let may_be_cut = self.may_be_cut;
        calls.spawn(async move {
            match end_of(sender, request, began).await {
                Ok(ended) => ended,
                Err(_) if may_be_cut => {
                    let now = began.elapsed();
                    Ended { status: None, sent: now, answered: now, waited: Duration::ZERO }
                }
                Err(error) => panic!("a call was cut off: {error}"),
            }
        });
    }
}

async fn end_of(
    mut sender: SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
    began: Instant,
) -> Result<Ended, Box<dyn Error>> {
    sender.ready().await?;
    let sent = began.elapsed();
    let (head, body) = sender.send_request(request).await?.into_parts();
    read_capped(body, 1 << 20).await?;
    let status = Some(head.status.as_u16());
    Ok(Ended { status, sent, answered: began.elapsed(), waited: waited(&head) })
}

fn waited(head: &Parts) -> Duration {
    let timing = head.headers["server-timing"].to_str().unwrap();
    let wait = timing.split(", ").find_map(|part| part.strip_prefix("wait;dur="));
    Duration::from_secs_f64(wait.map_or(0.0, |wait| wait.parse().unwrap()) / 1e3)
}

fn of_call(ended: Result<Ended, JoinError>) -> Ended {
    ended.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

impl Offered {
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    /// How many calls ended with this HTTP status.
    pub(crate) fn with_status(&self, status: u16) -> usize {
        self.calls.iter().filter(|ended| ended.status == Some(status)).count()
    }

    /// How many calls were served while calls were offered, from so many seconds after the first one on.
    pub(crate) fn served_after(&self, from: f64) -> usize {
        let within = Duration::from_secs_f64(from)..self.span;
        self.calls
            .iter()
            .filter(|ended| ended.status == Some(200) && within.contains(&ended.answered))
            .count()
    }

    /// How many calls a second were really offered: on a slow machine fewer than were meant.
    pub(crate) fn per_second(&self) -> f64 {
        let sent = self.calls.iter().filter(|ended| ended.sent <= self.span).count();
        sent as f64 / self.span.as_secs_f64()
    }

    /// How long 95 of 100 calls waited for their turn at most.
    pub(crate) fn p95_wait(&self) -> Duration {
        wait_of(95, self.calls.iter())
    }

    /// How long 99 of 100 calls waited at most that were sent between these moments, in seconds since the first one.
    pub(crate) fn p99_wait_of_sent(&self, from: f64, until: f64) -> Duration {
        let within = Duration::from_secs_f64(from)..Duration::from_secs_f64(until);
        wait_of(99, self.calls.iter().filter(|ended| within.contains(&ended.sent)))
    }
}

/// How long so many of 100 of these calls waited for their turn at most.
fn wait_of<'a>(of_100: usize, calls: impl Iterator<Item = &'a Ended>) -> Duration {
    let mut waits: Vec<_> = calls.map(|ended| ended.waited).collect();
    waits.sort_unstable();
    waits[(waits.len() - 1) * of_100 / 100]
}

/// Watches for times in which this machine lets nobody run: on a busy one, they are most of the time. It calls the
/// gateway again and again, and sees what comes late, timers and answers alike.
#[derive(Debug)]
pub(crate) struct Stalls {
    end: oneshot::Sender<()>,
    watcher: JoinHandle<Running>,
}

/// How far this machine let anybody run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Running {
    /// The share of the time without stalls.
    pub(crate) share: f64,
    /// Seconds of the longest stall.
    pub(crate) longest_stall: f64,
}

impl Stalls {
    pub(crate) async fn watch(host: &str) -> Self {
        let (end, mut ended) = oneshot::channel();
        let mut probe = Client::to(host).await;
        let watcher = tokio::spawn(async move {
            let (began, mut lost, mut longest) = (Instant::now(), 0.0, 0.0_f64);
            while ended.try_recv().is_err() {
                let before = Instant::now();
                tokio::time::sleep(TICK).await;
                // Of no API, so it is answered at once.
                let nowhere = Request::get("/nowhere").body(Full::default()).unwrap();
                probe.send(nowhere).await;
                let late = before.elapsed().saturating_sub(2 * TICK).as_secs_f64();
                lost += if late > TICK.as_secs_f64() { late } else { 0.0 };
                longest = longest.max(late);
            }
            Running { share: 1.0 - lost / began.elapsed().as_secs_f64(), longest_stall: longest }
        });
        Self { end, watcher }
    }

    pub(crate) async fn end(self) -> Running {
        self.end.send(()).unwrap();
        self.watcher.await.unwrap()
    }
}

const TICK: Duration = Duration::from_millis(2);

/// Together they have room for more streams than calls may wait.
const CONNECTIONS: usize = 8;
