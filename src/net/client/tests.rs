//! The worker's upstream connections, against peers on real sockets: kept, shared, made and given up.

mod connecting;
mod frames;
mod kept;
mod peer;
mod progress;
mod shared;

use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpListener;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::task::LocalSet;

use super::*;
use crate::net::body::{ReadError, read_capped};
use peer::{Peer, signal};

/// Runs a test as a worker runs its connections.
async fn on_worker<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(600), LocalSet::new().run_until(test)).await.unwrap()
}

/// What a departure was told.
#[derive(Debug, Default)]
struct Steps(RefCell<Vec<&'static str>>);

impl Steps {
    fn told(&self) -> Vec<&'static str> {
        self.0.borrow().clone()
    }
}

impl Departure for Steps {
    fn writing(&self) {
        self.0.borrow_mut().push("writing");
    }

    fn sent(&self) {
        self.0.borrow_mut().push("sent");
    }

    fn answered(&self, _now: Instant) {
        self.0.borrow_mut().push("answered");
    }
}

const IN_ORDER: [&str; 3] = ["writing", "sent", "answered"];

fn settings() -> Settings<'static> {
    Settings { connect_timeout: Duration::from_secs(5), egress_proxy: None }
}

/// A call with this body. It is of this test's process for ever, so that any task may send it.
fn post(body: impl Into<Bytes>) -> Post<'static> {
    Post {
        target: "/v4/a/b?c=d",
        host: "peer.test",
        fixed: &FixedHeaders { each: &[], lines: "" },
        headers: &[],
        body: Box::leak(Box::new(body.into())),
        answered_by: Instant::now() + Duration::from_secs(3_600),
    }
}

async fn connection(client: &Client, peer: &Peer) -> Connection {
    client.connection(&peer.endpoint, &peer.roots, &settings(), Instant::now()).await.unwrap()
}

/// One call to the end of its answer; the connection it took, and the answer.
async fn call(client: &Client, peer: &Peer) -> (bool, Bytes) {
    let connection = connection(client, peer).await;
    let reused = connection.is_reused();
    let steps = Rc::new(Steps::default());
    let answer = connection.send(post("{}"), Rc::clone(&steps) as Rc<dyn Departure>).await.unwrap();
    let body = read_capped(answer.answer, 1 << 20).await.unwrap();
    assert_eq!(steps.told(), IN_ORDER);
    (reused, body)
}

/// So many calls at once, read to their ends only when all are answered.
async fn calls_at_once(client: &Client, peer: &Peer, calls: usize) {
    let mut sending = Vec::new();
    for _ in 0..calls {
        let connection = connection(client, peer).await;
        sending.push(tokio::task::spawn_local(connection.send(post("{}"), Rc::new(Steps::default()))));
    }
    for sent in sending {
        let answer = sent.await.unwrap().unwrap();
        read_capped(answer.answer, 10).await.unwrap();
    }
}

const NEW: bool = false;
const REUSED: bool = true;
