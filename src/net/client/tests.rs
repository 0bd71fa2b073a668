mod frames;
mod peer;

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

    fn answered(&self) {
        self.0.borrow_mut().push("answered");
    }
}

const IN_ORDER: [&str; 3] = ["writing", "sent", "answered"];

fn settings() -> Settings {
    Settings { connect_timeout: Duration::from_secs(5), egress_proxy: None }
}

/// A call with this body. It is of this test's process for ever, so that any task may send it.
fn post(body: impl Into<Bytes>) -> Post<'static> {
    Post { target: "/v4/a/b?c=d", host: "peer.test", headers: &[], body: Box::leak(Box::new(body.into())) }
}

async fn connection(client: &Client, peer: &Peer) -> Connection {
    client.connection(&peer.endpoint, &peer.roots, &settings()).await.unwrap()
}

/// One call to the end of its answer; the connection it took, and the answer.
async fn call(client: &Client, peer: &Peer) -> (bool, Bytes) {
    let connection = connection(client, peer).await;
    let reused = connection.is_reused();
    let steps = Rc::new(Steps::default());
    let answer = connection.send(post("{}"), Rc::clone(&steps) as Rc<dyn Departure>).await.unwrap();
    let body = read_capped(answer.into_body(), 1 << 20).await.unwrap();
    assert_eq!(steps.told(), IN_ORDER);
    (reused, body)
}

const NEW: bool = false;
const REUSED: bool = true;

// === Connections are kept, and not for longer than they stand ===

#[tokio::test]
async fn a_connection_is_kept_for_the_next_call() {
    for (alpn, tls) in [("", false), ("http/1.1", true)] {
        let script = |door: peer::Door| {
            let mut conversation = door.accept();
            for answer in ["one", "two"] {
                let (head, body) = conversation.request();
                assert!(head.starts_with("POST /v4/a/b?c=d HTTP/1.1\r\nhost: peer.test\r\n"), "{head}");
                assert_eq!(body, b"{}");
                conversation.answer("", answer);
            }
            assert!(conversation.is_over());
        };
        let peer = if tls { Peer::tls(alpn, script) } else { Peer::plain(script) };
        on_worker(async {
            let client = Client::new();
            assert_eq!(call(&client, &peer).await, (NEW, "one".into()));
            assert_eq!(client.idle(), 1);
            assert_eq!(call(&client, &peer).await, (REUSED, "two".into()));
            drop(client);
        })
        .await;
        peer.done();
    }
}

/// What a server does to an idle connection.
#[derive(Debug, Clone, Copy)]
enum Close {
    InOrder,
    Reset,
}

/// Two calls between which the server closes, while the event loop has no turn to learn of it.
async fn call_after_close(peer: impl Fn(Box<dyn FnOnce(peer::Door) + Send>) -> Peer, close: Close) {
    let (close_now, told_to_close) = signal();
    let (closed, is_closed) = signal();
    let peer = peer(Box::new(move |door| {
        let mut conversation = door.accept();
        conversation.request();
        conversation.answer("", "one");
        told_to_close.wait();
        match close {
            Close::InOrder => conversation.close(),
            Close::Reset => conversation.reset(),
        }
        closed.give();
        let mut conversation = door.accept();
        conversation.request();
        conversation.answer("", "two");
        assert!(conversation.is_over());
    }));
    on_worker(async {
        let client = Client::new();
        assert_eq!(call(&client, &peer).await, (NEW, "one".into()));
        close_now.give();
        is_closed.wait();
        assert_eq!(call(&client, &peer).await, (NEW, "two".into()), "{close:?}");
        drop(client);
    })
    .await;
    peer.done();
}

#[tokio::test]
async fn a_connection_that_the_other_side_closed_a_moment_ago_is_not_used() {
    for close in [Close::InOrder, Close::Reset] {
        call_after_close(Peer::plain, close).await;
        call_after_close(|script| Peer::tls("http/1.1", script), close).await;
    }
}

#[tokio::test]
async fn an_http2_connection_that_the_other_side_closed_a_moment_ago_is_not_used() {
    for say_goodbye in [false, true] {
        let (close_now, told_to_close) = signal();
        let (closed, is_closed) = signal();
        let peer = Peer::tls("h2", move |door| {
            let mut conversation = door.accept();
            conversation.greet_http2(None);
            let stream = conversation.http2_request();
            conversation.answer_http2(stream, "one");
            told_to_close.wait();
            if say_goodbye {
                conversation.go_away(stream);
            } else {
                SockRef::from(conversation.tcp()).shutdown(std::net::Shutdown::Both).unwrap();
            }
            closed.give();
            let mut conversation = door.accept();
            conversation.greet_http2(None);
            let stream = conversation.http2_request();
            conversation.answer_http2(stream, "two");
        });
        on_worker(async {
            let client = Client::new();
            assert_eq!(call(&client, &peer).await, (NEW, "one".into()));
            close_now.give();
            is_closed.wait();
            assert_eq!(call(&client, &peer).await, (NEW, "two".into()), "goodbye: {say_goodbye}");
        })
        .await;
        peer.done();
    }
}

#[tokio::test]
async fn a_connection_is_not_kept_when_the_other_side_says_close() {
    let peer = Peer::plain(|door| {
        for answer in ["one", "two"] {
            let mut conversation = door.accept();
            conversation.request();
            conversation.answer("connection: close\r\n", answer);
            assert!(conversation.is_over());
        }
    });
    on_worker(async {
        let client = Client::new();
        for answer in ["one", "two"] {
            assert_eq!(call(&client, &peer).await, (NEW, answer.into()));
            assert_eq!(client.idle(), 0);
        }
    })
    .await;
    peer.done();
}

#[tokio::test]
async fn a_connection_that_is_not_needed_after_all_is_kept() {
    let peer = Peer::plain(|door| {
        let mut conversation = door.accept();
        conversation.request();
        conversation.answer("", "one");
        assert!(conversation.is_over());
    });
    on_worker(async {
        let client = Client::new();
        connection(&client, &peer).await.keep();
        assert_eq!(client.idle(), 1);
        assert_eq!(call(&client, &peer).await, (REUSED, "one".into()));
    })
    .await;
    peer.done();
}

#[tokio::test]
async fn an_answer_that_is_not_read_to_its_end_closes_its_connection() {
    let peer = Peer::plain(|door| {
        let mut conversation = door.accept();
        conversation.request();
        conversation.answer("", &"x".repeat(100_000));
        assert!(conversation.is_over());
    });
    on_worker(async {
        let client = Client::new();
        let answer =
            connection(&client, &peer).await.send(post("{}"), Rc::new(Steps::default())).await.unwrap();
        drop(answer);
        assert_eq!(client.idle(), 0);
    })
    .await;
    peer.done();
}

#[tokio::test]
async fn an_answer_without_a_body_brings_its_connection_back() {
    let peer = Peer::plain(|door| {
        let mut conversation = door.accept();
        for _ in 0..2 {
            conversation.request();
            conversation.answer("", "");
        }
        conversation.request();
        conversation.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").unwrap();
        conversation.write_all(b"0\r\n\r\n").unwrap();
        assert!(conversation.is_over());
    });
    on_worker(async {
        let client = Client::new();
        assert_eq!(call(&client, &peer).await, (NEW, "".into()));
        assert_eq!(call(&client, &peer).await, (REUSED, "".into()));
        assert_eq!(call(&client, &peer).await, (REUSED, "abc".into()), "chunked");
        assert_eq!(client.idle(), 1);
    })
    .await;
    peer.done();
}

/// A server that answers whatever comes on whatever connection.
fn answering(connections: usize) -> Peer {
    Peer::plain(move |door| {
        let mut open: Vec<_> = (0..connections)
            .map(|_| {
                let mut conversation = door.accept();
                conversation.request();
                conversation
            })
            .collect();
        for conversation in &mut open {
            conversation.answer("", "x");
        }
        for mut conversation in open {
            assert!(conversation.is_over());
        }
    })
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
        read_capped(answer.into_body(), 10).await.unwrap();
    }
}

#[tokio::test]
async fn only_so_many_connections_lie_idle() {
    let most = pool::MAX_IDLE;
    let peer = answering(most + 3);
    on_worker(async {
        let client = Client::new();
        calls_at_once(&client, &peer, most + 3).await;
        assert_eq!(client.idle(), most);
    })
    .await;
    peer.done();
}

#[tokio::test]
async fn what_lies_idle_too_long_is_closed() {
    let peer = answering(2);
    on_worker(async {
        let client = Client::new();
        calls_at_once(&client, &peer, 2).await;
        assert_eq!(client.idle(), 2);
        tokio::time::pause();
        tokio::time::sleep(pool::IDLE_TIMEOUT - pool::SWEEP_EVERY).await;
        assert_eq!(client.idle(), 2);
        tokio::time::sleep(2 * pool::SWEEP_EVERY).await;
        assert_eq!(client.idle(), 0);
    })
    .await;
    peer.done();
}

#[tokio::test]
async fn an_old_connection_is_not_used_again_so_that_new_addresses_take_effect() {
    // Called so often that it never lies idle for too long.
    const EVERY: Duration = Duration::from_secs(pool::IDLE_TIMEOUT.as_secs() / 2);
    const YOUNG: u64 = (pool::MAX_AGE.as_secs() - 1) / EVERY.as_secs();
    let peer = Peer::plain(|door| {
        let mut first = door.accept();
        for _ in 0..=YOUNG {
            first.request();
            first.answer("", "x");
        }
        assert!(first.is_over());
        let mut second = door.accept();
        second.request();
        second.answer("", "y");
    });
    on_worker(async {
        let client = Client::new();
        let call_later = async || {
            tokio::time::pause();
            tokio::time::sleep(EVERY).await;
            tokio::time::resume();
            call(&client, &peer).await
        };
        assert_eq!(call(&client, &peer).await, (NEW, "x".into()));
        for _ in 0..YOUNG {
            assert_eq!(call_later().await, (REUSED, "x".into()));
        }
        assert_eq!(call_later().await, (NEW, "y".into()));
    })
    .await;
    peer.done();
}

// === How far a request came ===

/// A small buffer, so that a large body cannot lie in the kernel unread; and yet so much that the kernel does not fall
/// into its pace for windows that are shut.
fn squeeze(listener: &TcpListener) {
    SockRef::from(listener).set_recv_buffer_size(64 * 1024).unwrap();
}

const LARGE: usize = 8 << 20;

#[tokio::test]
async fn sent_is_told_when_the_last_byte_was_handed_over_and_not_before() {
    for tls in [false, true] {
        let (read_on, told_to_read) = signal();
        let script = move |door: peer::Door| {
            squeeze(door.listener());
            let mut conversation = door.accept();
            conversation.head();
            told_to_read.wait();
            assert_eq!(conversation.exactly(LARGE).len(), LARGE);
            conversation.answer("", "ok");
        };
        let peer = if tls { Peer::tls("http/1.1", script) } else { Peer::plain(script) };
        on_worker(async {
            let client = Client::new();
            let steps = Rc::new(Steps::default());
            let connection = connection(&client, &peer).await;
            let sending = connection.send(post(vec![b'x'; LARGE]), Rc::clone(&steps) as Rc<dyn Departure>);
            let sending = tokio::task::spawn_local(sending);
            while steps.told().is_empty() {
                tokio::task::yield_now().await;
            }
            // Everything that the kernel takes is taken when a while nothing happens.
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(steps.told(), ["writing"], "tls: {tls}");
            read_on.give();
            sending.await.unwrap().unwrap();
            assert_eq!(steps.told(), IN_ORDER);
        })
        .await;
        peer.done();
    }
}

#[tokio::test]
async fn over_http2_sent_waits_for_the_other_sides_window() {
    // Every stream's window and the connection's own, unless settings or updates say otherwise.
    const WINDOW: usize = 65_535;
    let (read_on, told_to_read) = signal();
    let peer = Peer::tls("h2", move |door| {
        let mut conversation = door.accept();
        conversation.greet_http2(None);
        let stream = conversation.frame().stream;
        let mut came = 0;
        while came < WINDOW {
            came += conversation.frame().payload.len();
        }
        told_to_read.wait();
        conversation.open_window(stream, 1);
        assert_eq!(conversation.frame().payload.len(), 1);
        told_to_read.wait();
        conversation.open_window(stream, 100);
        let last = conversation.frame();
        assert!(last.ends_stream() && last.payload.len() == 1);
        conversation.answer_http2(stream, "ok");
        told_to_read.wait();
    });
    on_worker(async {
        let client = Client::new();
        let steps = Rc::new(Steps::default());
        let connection = connection(&client, &peer).await;
        let sending = connection.send(post(vec![b'x'; WINDOW + 2]), Rc::clone(&steps) as Rc<dyn Departure>);
        let sending = tokio::task::spawn_local(sending);
        while steps.told().is_empty() {
            tokio::task::yield_now().await;
        }
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(steps.told(), ["writing"]);
            read_on.give();
        }
        let answer = sending.await.unwrap().unwrap();
        assert_eq!(steps.told(), IN_ORDER);
        assert_eq!(read_capped(answer.into_body(), 10).await.unwrap(), "ok");
        read_on.give();
    })
    .await;
    peer.done();
}

#[tokio::test]
async fn an_answer_before_the_bodys_end_is_answered_and_never_sent() {
    let (is_answered, told_so) = signal();
    let peer = Peer::plain(move |door| {
        squeeze(door.listener());
        let mut conversation = door.accept();
        conversation.head();
        conversation.answer("", "too long");
        told_so.wait();
        assert!(conversation.rest().unwrap() < LARGE);
    });
    on_worker(async {
        let client = Client::new();
        let steps = Rc::new(Steps::default());
        let request = post(vec![b'x'; LARGE]);
        let answer =
            connection(&client, &peer).await.send(request, Rc::clone(&steps) as Rc<dyn Departure>).await;
        let body = read_capped(answer.unwrap().into_body(), 100).await.unwrap();
        assert_eq!(body, "too long");
        assert_eq!(steps.told(), ["writing", "answered"]);
        assert_eq!(client.idle(), 0);
        is_answered.give();
    })
    .await;
    peer.done();
}

#[tokio::test]
async fn a_dropped_exchange_closes_its_connection() {
    let (arrived, has_arrived) = signal();
    let peer = Peer::plain(move |door| {
        let mut conversation = door.accept();
        conversation.request();
        arrived.give();
        assert!(conversation.is_over());
    });
    on_worker(async {
        let client = Client::new();
        let steps = Rc::new(Steps::default());
        let connection_ = connection(&client, &peer).await;
        let sending = connection_.send(post("{}"), Rc::clone(&steps) as Rc<dyn Departure>);
        let sending = tokio::task::spawn_local(sending);
        while steps.told() != ["writing", "sent"] {
            tokio::task::yield_now().await;
        }
        has_arrived.wait();
        sending.abort();
        _ = sending.await;
        assert_eq!(Rc::strong_count(&steps), 1, "nobody is told any more");
        // Never polled, so nothing leaves.
        let steps = Rc::new(Steps::default());
        drop(connection_of_its_own(&client).await.send(post("{}"), Rc::clone(&steps) as Rc<dyn Departure>));
        assert_eq!(steps.told(), [""; 0]);
    })
    .await;
    peer.done();
}

/// A connection to a server that accepts and does nothing.
async fn connection_of_its_own(client: &Client) -> Connection {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    client.connection(&endpoint, &[], &settings()).await.unwrap()
}

#[tokio::test]
async fn a_dropped_http2_exchange_leaves_the_others_alone() {
    let (arrived, has_arrived) = signal();
    let peer = Peer::tls("h2", move |door| {
        let mut conversation = door.accept();
        conversation.greet_http2(None);
        let first = conversation.http2_request();
        let second = conversation.http2_request();
        arrived.give();
        let reset = conversation.frame();
        assert_eq!((reset.kind, reset.stream), (frames::RST_STREAM, first));
        conversation.answer_http2(second, "two");
        assert!(conversation.rest().is_some());
    });
    on_worker(async {
        let client = Client::new();
        let (first, second) = (Rc::new(Steps::default()), Rc::new(Steps::default()));
        let sending = |steps: &Rc<Steps>, connection: Connection| {
            tokio::task::spawn_local(connection.send(post("{}"), Rc::clone(steps) as Rc<dyn Departure>))
        };
        let one = sending(&first, connection(&client, &peer).await);
        let reused = connection(&client, &peer).await;
        assert!(reused.is_reused());
        let two = sending(&second, reused);
        while first.told().len() + second.told().len() < 4 {
            tokio::task::yield_now().await;
        }
        has_arrived.wait();
        one.abort();
        _ = one.await;
        let answer = two.await.unwrap().unwrap();
        assert_eq!(read_capped(answer.into_body(), 10).await.unwrap(), "two");
        assert_eq!((first.told(), second.told()), (vec!["writing", "sent"], IN_ORDER.to_vec()));
        assert_eq!(Rc::strong_count(&first), 1, "nobody is told any more");
    })
    .await;
    peer.done();
}

// === HTTP/2 ===

#[tokio::test]
async fn many_calls_share_an_http2_connection_up_to_what_the_other_side_takes() {
    const MOST: u32 = 3;
    let peer = Peer::tls("h2", |door| {
        let mut first = door.accept();
        first.greet_http2(Some(MOST));
        let warm_up = first.http2_request();
        first.answer_http2(warm_up, "x");
        let streams: Vec<u32> = (0..MOST).map(|_| first.http2_request()).collect();
        // Those beyond come over a connection of their own, instead of waiting behind the first three.
        let mut second = door.accept();
        second.greet_http2(Some(MOST));
        for _ in 0..2 {
            let stream = second.http2_request();
            second.answer_http2(stream, "x");
        }
        for stream in streams {
            first.answer_http2(stream, "x");
        }
        assert!(first.rest().is_some());
    });
    on_worker(async {
        let client = Client::new();
        call(&client, &peer).await;
        calls_at_once(&client, &peer, MOST as usize + 2).await;
        assert_eq!(client.idle(), 2);
        tokio::time::pause();
        tokio::time::sleep(pool::IDLE_TIMEOUT + pool::SWEEP_EVERY).await;
        assert_eq!(client.idle(), 0);
    })
    .await;
    peer.done();
}

#[tokio::test]
async fn a_call_never_waits_for_another_to_leave_its_connection() {
    let peer = Peer::tls("h2", |door| {
        let mut first = door.accept();
        first.greet_http2(Some(1));
        let one = first.http2_request();
        // The very next call, before anything else was heard from this server.
        let mut second = door.accept();
        second.greet_http2(Some(1));
        let two = second.http2_request();
        first.answer_http2(one, "x");
        second.answer_http2(two, "x");
        assert!(first.rest().is_some());
    });
    on_worker(async {
        let client = Client::new();
        calls_at_once(&client, &peer, 2).await;
    })
    .await;
    peer.done();
}

#[tokio::test]
async fn a_call_does_not_wait_when_the_other_side_lowers_what_it_takes() {
    let (lowered, is_lowered) = signal();
    let peer = Peer::tls("h2", move |door| {
        let mut first = door.accept();
        first.greet_http2(Some(100));
        let one = first.http2_request();
        let two = first.http2_request();
        first.allow_streams(1);
        lowered.give();
        let mut second = door.accept();
        second.greet_http2(None);
        for _ in 0..2 {
            let stream = second.http2_request();
            second.answer_http2(stream, "x");
        }
        first.answer_http2(one, "x");
        first.answer_http2(two, "x");
        assert!(first.rest().is_some());
    });
    on_worker(async {
        let client = Client::new();
        let send = |connection: Connection| {
            tokio::task::spawn_local(connection.send(post("{}"), Rc::new(Steps::default())))
        };
        let (one, two) = (connection(&client, &peer).await, connection(&client, &peer).await);
        // This one has its share already, and has not used it.
        let three = connection(&client, &peer).await;
        assert!(two.is_reused() && three.is_reused());
        let under_way = [send(one), send(two)];
        let steps = Rc::new(Steps::default());
        // The script's signal comes through a thread; the event loop must turn meanwhile.
        tokio::task::spawn_blocking(move || is_lowered.wait()).await.unwrap();
        let refused = three.send(post("{}"), Rc::clone(&steps) as Rc<dyn Departure>).await;
        assert_eq!(refused.unwrap_err().to_string(), "the connection takes no further call");
        assert!(steps.told().is_empty(), "it can go over another connection");
        for _ in 0..2 {
            assert_eq!(call(&client, &peer).await.1, "x");
        }
        for sent in under_way {
            read_capped(sent.await.unwrap().unwrap().into_body(), 10).await.unwrap();
        }
    })
    .await;
    peer.done();
}

#[tokio::test]
async fn calls_on_a_silent_http2_connection_fail_soon_and_are_told_why() {
    let (first, first_has_arrived) = signal();
    let (arrived, has_arrived) = signal();
    let (test_over, is_over) = signal();
    let peer = Peer::tls("h2", move |door| {
        let mut conversation = door.accept();
        conversation.greet_http2(None);
        conversation.http2_request();
        first.give();
        let half_answered = conversation.http2_request();
        conversation.begin_answer_http2(half_answered, "ha");
        arrived.give();
        is_over.wait();
    });
    on_worker(async {
        let client = Client::new();
        let waiting = connection(&client, &peer).await.send(post("{}"), Rc::new(Steps::default()));
        let waiting = tokio::task::spawn_local(waiting);
        tokio::task::spawn_blocking(move || first_has_arrived.wait()).await.unwrap();
        let half_answered = connection(&client, &peer).await;
        assert!(half_answered.is_reused());
        let half_answered = half_answered.send(post("{}"), Rc::new(Steps::default())).await.unwrap();
        tokio::task::spawn_blocking(move || has_arrived.wait()).await.unwrap();
        tokio::time::pause();
        let silent_since = tokio::time::Instant::now();
        let reading = read_capped(half_answered.into_body(), 1 << 20);
        let (waiting, reading) = tokio::join!(waiting, reading);
        // A timer may be late by a turn of its own.
        let soon = http2::PING_EVERY + http2::PONG_WITHIN + Duration::from_millis(10);
        assert!(silent_since.elapsed() <= soon, "{:?}", silent_since.elapsed());
        assert!(waiting.unwrap().unwrap_err().is_silence());
        let ReadError::Broken(error) = reading.unwrap_err() else { panic!("it was not too long") };
        assert!(error.is_silence());
        test_over.give();
    })
    .await;
    peer.done();
}

#[tokio::test]
async fn calls_on_an_http2_connection_that_is_cut_off_are_not_told_of_silence() {
    let (cut_now, told_to_cut) = signal();
    let peer = Peer::tls("h2", move |door| {
        let mut conversation = door.accept();
        conversation.greet_http2(None);
        let stream = conversation.http2_request();
        conversation.answer_http2(stream, "one");
        conversation.http2_request();
        told_to_cut.wait();
        conversation.reset();
    });
    on_worker(async {
        let client = Client::new();
        assert_eq!(call(&client, &peer).await, (NEW, "one".into()));
        tokio::time::pause();
        // It may lie idle for as long as it likes.
        tokio::time::advance(http2::PING_EVERY + http2::PONG_WITHIN).await;
        tokio::time::resume();
        let connection = connection(&client, &peer).await;
        assert!(connection.is_reused());
        let cut_off = tokio::task::spawn_local(connection.send(post("{}"), Rc::new(Steps::default())));
        tokio::task::yield_now().await;
        cut_now.give();
        assert!(!cut_off.await.unwrap().unwrap_err().is_silence());
    })
    .await;
    peer.done();
}

#[tokio::test]
async fn while_calls_wait_on_a_silent_http2_connection_others_take_another() {
    let (arrived, has_arrived) = signal();
    let (speak_now, told_to_speak) = signal();
    let (spoke, has_spoken) = signal();
    let peer = Peer::tls("h2", move |door| {
        let mut silent = door.accept();
        silent.greet_http2(None);
        let first = silent.http2_request();
        arrived.give();
        let mut conversation = door.accept();
        conversation.greet_http2(None);
        let stream = conversation.http2_request();
        conversation.answer_http2(stream, "two");
        told_to_speak.wait();
        silent.answer_http2(first, "one");
        let third = silent.http2_request();
        silent.answer_http2(third, "three");
        spoke.give();
    });
    on_worker(async {
        let client = Client::new();
        let first = connection(&client, &peer).await;
        let first = tokio::task::spawn_local(first.send(post("{}"), Rc::new(Steps::default())));
        tokio::task::spawn_blocking(move || has_arrived.wait()).await.unwrap();
        tokio::time::pause();
        tokio::time::advance(http2::DOUBTED_AFTER - Duration::from_millis(10)).await;
        assert!(connection(&client, &peer).await.is_reused(), "it may still be nothing but slow");
        tokio::time::advance(Duration::from_millis(10)).await;
        tokio::time::resume();
        assert_eq!(call(&client, &peer).await, (NEW, "two".into()));
        // What it says after all is taken, and it is as good as the other again.
        speak_now.give();
        first.await.unwrap().unwrap();
        assert_eq!(call(&client, &peer).await, (REUSED, "three".into()));
        tokio::task::spawn_blocking(move || has_spoken.wait()).await.unwrap();
    })
    .await;
    peer.done();
}

#[tokio::test]
async fn an_answer_that_nobody_reads_does_not_hold_up_the_others() {
    let peer = Peer::tls("h2", |door| {
        let mut conversation = door.accept();
        conversation.greet_http2(None);
        let (mut each, mut together) = (0, 65_535);
        let mut stream = 0;
        while stream == 0 {
            let frame = conversation.any_frame();
            let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
            match frame.kind {
                frames::SETTINGS => {
                    let settings = frame.payload.chunks(6).find(|setting| setting[..2] == [0, 4]);
                    each = settings.map_or(each, |setting| number(&setting[2..]));
                }
                frames::WINDOW_UPDATE if frame.stream == 0 => together += number(&frame.payload),
                _ if frame.ends_stream() && frame.stream > 0 => stream = frame.stream,
                _ => {}
            }
        }
        assert!(each > 0 && together / each >= 100, "{together} for all, {each} for each");
        conversation.answer_http2(stream, "x");
    });
    on_worker(async {
        call(&Client::new(), &peer).await;
    })
    .await;
    peer.done();
}

#[tokio::test]
async fn a_call_that_a_leaving_server_did_not_take_up_is_told_as_such() {
    for goodbye in [false, true] {
        let peer = Peer::tls("h2", move |door| {
            let mut conversation = door.accept();
            conversation.greet_http2(None);
            let stream = conversation.http2_request();
            if goodbye {
                conversation.go_away(stream - 1);
            } else {
                conversation.refuse(stream);
            }
            let mut conversation = door.accept();
            conversation.greet_http2(None);
            conversation.http2_request();
            conversation.close();
        });
        on_worker(async {
            let client = Client::new();
            let refused = connection(&client, &peer).await.send(post("{}"), Rc::new(Steps::default())).await;
            assert!(refused.unwrap_err().was_turned_away(), "goodbye: {goodbye}");
            let fresh = client.fresh_connection(&peer.endpoint, &peer.roots, &settings()).await.unwrap();
            let broken = fresh.send(post("{}"), Rc::new(Steps::default())).await;
            assert!(!broken.unwrap_err().was_turned_away(), "nobody knows what became of this one");
        })
        .await;
        peer.done();
    }
}

// === Making connections ===

/// A listening socket that accepts no more: its backlog is full.
fn black_hole() -> (Socket, std::net::SocketAddr, Vec<Socket>) {
    let hole = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    hole.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    hole.listen(0).unwrap();
    let address = hole.local_addr().unwrap().as_socket().unwrap();
    let mut filling = Vec::new();
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let full = socket.connect_timeout(&address.into(), Duration::from_millis(100)).is_err();
        filling.push(socket);
        if full {
            return (hole, address, filling);
        }
    }
}

#[tokio::test]
async fn a_connection_must_stand_in_time() {
    let (_hole, address, _filling) = black_hole();
    // It accepts, by its backlog, and never says a word of TLS.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [address, silent.local_addr().unwrap()] {
        let endpoint: Endpoint = format!("https://{address}").parse().unwrap();
        let settings = Settings { connect_timeout: Duration::from_millis(50), ..settings() };
        let failed = on_worker(async { Client::new().connection(&endpoint, &[], &settings).await });
        assert_eq!(failed.await.unwrap_err().to_string(), "no connection within 50ms");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_of_http2_is_no_connection() {
    let peer = Peer::tls("h2", |door| {
        let mut conversation = door.accept();
        assert_eq!(conversation.exactly(24), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        assert!(conversation.rest().is_some());
    });
    // Time for a preface, and much less than the server's patience.
    let settings = Settings { connect_timeout: Duration::from_secs(3), ..settings() };
    let failed =
        on_worker(async { Client::new().connection(&peer.endpoint, &peer.roots, &settings).await }).await;
    assert_eq!(failed.unwrap_err().to_string(), "no connection within 3s");
    peer.done();
}

/// A CONNECT proxy for one connection, which says whether it was asked.
fn proxy() -> (EgressProxy, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let to = head.split(' ').nth(1).unwrap().to_owned();
        let mut server = std::net::TcpStream::connect(&to).unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let up = std::thread::spawn(move || {
            _ = std::io::copy(&mut from_client, &mut to_server);
            _ = to_server.shutdown(std::net::Shutdown::Write);
        });
        _ = std::io::copy(&mut server, &mut client);
        _ = client.shutdown(std::net::Shutdown::Both);
        up.join().unwrap();
        to
    });
    (proxy, thread)
}

#[tokio::test]
async fn a_call_leaves_by_the_proxy_that_is_set_now() {
    for alpn in ["http/1.1", "h2"] {
        let peer = Peer::tls(alpn, move |door| {
            let mut open = Vec::new();
            for _ in 0..2 {
                let mut conversation = door.accept();
                if alpn == "h2" {
                    conversation.greet_http2(None);
                    let stream = conversation.http2_request();
                    conversation.answer_http2(stream, "x");
                } else {
                    conversation.request();
                    conversation.answer("", "x");
                }
                open.push(conversation);
            }
            for mut conversation in open {
                assert!(conversation.rest().is_some());
            }
        });
        let (egress_proxy, proxied) = proxy();
        on_worker(async {
            let client = Client::new();
            assert_eq!(call(&client, &peer).await.0, NEW);
            let settings = Settings { egress_proxy: Some(egress_proxy), ..settings() };
            for reused in [NEW, REUSED] {
                let connection = client.connection(&peer.endpoint, &peer.roots, &settings).await.unwrap();
                assert_eq!(connection.is_reused(), reused, "{alpn}");
                if reused == NEW {
                    let answer = connection.send(post("{}"), Rc::new(Steps::default())).await.unwrap();
                    read_capped(answer.into_body(), 10).await.unwrap();
                }
            }
        })
        .await;
        let endpoint = peer.endpoint.authority().to_owned();
        peer.done();
        assert_eq!(proxied.join().unwrap(), endpoint);
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told() {
    let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    taken.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = taken.local_addr().unwrap().as_socket().unwrap();
    let endpoint: Endpoint = format!("http://{address}").parse().unwrap();
    let failed = on_worker(async { Client::new().connection(&endpoint, &[], &settings()).await }).await;
    let words = failed.unwrap_err().to_string();
    assert!(words.starts_with("cannot connect: ") && words.contains("refused"), "{words}");
}
