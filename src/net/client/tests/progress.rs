//! How far a request came is told truly, also of one that is given up.

use super::*;

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
        assert_eq!(read_capped(answer.answer, 10).await.unwrap(), "ok");
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
        let body = read_capped(answer.unwrap().answer, 100).await.unwrap();
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
    client.connection(&endpoint, &Roots::default(), &settings(), Instant::now()).await.unwrap()
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
        assert_eq!(read_capped(answer.answer, 10).await.unwrap(), "two");
        assert_eq!((first.told(), second.told()), (vec!["writing", "sent"], IN_ORDER.to_vec()));
        assert_eq!(Rc::strong_count(&first), 1, "nobody is told any more");
    })
    .await;
    peer.done();
}

#[tokio::test]
async fn each_call_on_a_connection_has_its_own_deadline() {
    const FIRST: Duration = Duration::from_secs(120);
    for second in [FIRST / 2, FIRST * 2] {
        let (arrived, has_arrived) = signal();
        let peer = Peer::plain(move |door| {
            let mut conversation = door.accept();
            conversation.request();
            conversation.answer("", "one");
            conversation.request();
            arrived.give();
            assert!(conversation.is_over());
        });
        on_worker(async {
            let client = Client::new();
            let began = Instant::now();
            let until = |deadline| Post { answered_by: began + deadline, ..post("{}") };
            let first = connection(&client, &peer).await.send(until(FIRST), Rc::new(Steps::default())).await;
            read_capped(first.unwrap().answer, 10).await.unwrap();
            let reused = connection(&client, &peer).await;
            assert!(reused.is_reused());
            let sending = tokio::task::spawn_local(reused.send(until(second), Rc::new(Steps::default())));
            tokio::task::spawn_blocking(move || has_arrived.wait()).await.unwrap();
            tokio::time::pause();
            let error = sending.await.unwrap().unwrap_err();
            assert!(error.is_too_late(), "{error}");
            let late = began.elapsed().checked_sub(second).unwrap();
            assert!(late < FIRST / 4, "{late:?} after {second:?}");
        })
        .await;
        tokio::time::resume();
        peer.done();
    }
}
