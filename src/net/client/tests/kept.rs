//! Connections are kept, and not for longer than they stand.

use super::*;

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

#[tokio::test]
async fn a_connection_in_use_comes_back_though_nothing_lay_idle_meanwhile() {
    let (answer, told_to_answer) = signal();
    let (arrived, has_arrived) = signal();
    let peer = Peer::plain(move |door| {
        let mut conversation = door.accept();
        conversation.request();
        arrived.give();
        told_to_answer.wait();
        conversation.answer("", "one");
        assert!(conversation.is_over());
    });
    on_worker(async {
        let client = Client::new();
        let connection = connection(&client, &peer).await;
        let sending = tokio::task::spawn_local(connection.send(post("{}"), Rc::new(Steps::default())));
        tokio::task::spawn_blocking(move || has_arrived.wait()).await.unwrap();
        tokio::time::pause();
        tokio::time::sleep(3 * pool::SWEEP_EVERY).await;
        tokio::time::resume();
        answer.give();
        read_capped(sending.await.unwrap().unwrap().answer, 10).await.unwrap();
        assert_eq!(client.idle(), 1);
    })
    .await;
    peer.done();
}

#[tokio::test]
async fn what_tls_decrypted_behind_an_answer_is_no_answer_to_the_next_call() {
    let peer = Peer::tls("http/1.1", |door| {
        let mut first = door.accept();
        first.request();
        let peer::Conversation::Tls(tls) = &mut first else { unreachable!() };
        // Two records in one segment.
        for body in ["one", "bad"] {
            let text = format!("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{body}");
            tls.conn.writer().write_all(text.as_bytes()).unwrap();
        }
        let mut bytes = Vec::new();
        while tls.conn.wants_write() {
            tls.conn.write_tls(&mut bytes).unwrap();
        }
        tls.sock.write_all(&bytes).unwrap();
        let mut second = door.accept();
        second.request();
        second.answer("", "two");
    });
    on_worker(async {
        let client = Client::new();
        assert_eq!(call(&client, &peer).await.1, "one");
        assert_eq!(call(&client, &peer).await, (NEW, "two".into()));
    })
    .await;
    peer.done();
}
