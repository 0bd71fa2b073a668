//! Calls that share an HTTP/2 connection, and what one of them costs the others.

use super::*;

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
            read_capped(sent.await.unwrap().unwrap().answer, 10).await.unwrap();
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
        let silent_since = Instant::now();
        let reading = read_capped(half_answered.answer, 1 << 20);
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
