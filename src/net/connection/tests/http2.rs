//! What holds over HTTP/2 alone.

use super::*;

/// A caller's HTTP/2 whose streams let in so many bytes, and no more.
async fn http2(caller: Caller, window: u32) -> (h2::client::SendRequest<Bytes>, JoinHandle<io::Result<()>>) {
    let handshake = h2::client::Builder::new().initial_window_size(window).handshake(caller.stream);
    let (sender, connection) = handshake.await.unwrap();
    tokio::task::spawn_local(async move { _ = connection.await });
    // The process goes on running.
    tokio::task::spawn_local(async move {
        let _stopper = caller.stopper;
        sleep(2 * FOR_EVER).await;
    });
    (sender, caller.serving)
}

async fn answer_to(sender: &mut h2::client::SendRequest<Bytes>) -> h2::RecvStream {
    let request = Request::post("http://a/").body(()).unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    response.await.unwrap().into_body()
}

#[tokio::test(start_paused = true)]
async fn an_http2_connection_that_only_answers_pings_is_idle() {
    on_worker(async {
        let (mut sender, serving) = http2(call(2, None), 1000).await;
        let mut body = answer_to(&mut sender).await;
        assert_eq!(body.data().await.unwrap().unwrap(), "xx");
        let idle_since = Instant::now();
        _ = timeout(FOR_EVER, serving).await.expect("it is held for ever").unwrap();
        let after = idle_since.elapsed();
        assert!(after >= IDLE_TIMEOUT && after <= IDLE_TIMEOUT + 2 * GOODBYE_WITHIN, "{after:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_http2_caller_whose_window_stays_shut_is_not_kept() {
    on_worker(async {
        for window in [0, 1000] {
            let began = Instant::now();
            let (mut sender, serving) = http2(call(LARGE, None), window).await;
            let _unread = answer_to(&mut sender).await;
            let end = timeout(FOR_EVER, serving).await.expect("it is held for ever");
            _ = end.unwrap();
            let after = began.elapsed();
            assert!(after >= IDLE_TIMEOUT && after <= IDLE_TIMEOUT + 3 * GOODBYE_WITHIN, "{after:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_http2_caller_that_opens_its_window_slowly_gets_its_whole_answer() {
    on_worker(async {
        const ANSWER: usize = 512 * 1024;
        const WINDOW: usize = 32 * 1024;
        let began = Instant::now();
        let (mut sender, _serving) = http2(call(ANSWER, None), u32::try_from(WINDOW).unwrap()).await;
        let mut body = answer_to(&mut sender).await;
        let mut came = 0;
        while let Some(data) = body.data().await {
            let length = data.unwrap().len();
            came += length;
            sleep(Duration::from_secs((length / 2) as u64 / pace::LEAST_RATE)).await;
            body.flow_control().release_capacity(length).unwrap();
        }
        assert_eq!(came, ANSWER);
        assert!(began.elapsed() > 3 * IDLE_TIMEOUT);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_http2_caller_that_opens_its_window_by_a_few_bytes_is_not_kept() {
    on_worker(async {
        let (mut sender, serving) = http2(call(LARGE, None), 1000).await;
        let mut body = answer_to(&mut sender).await;
        let mut waits = 0;
        while let Some(Ok(data)) = body.data().await {
            sleep(IDLE_TIMEOUT / 10).await;
            body.flow_control().release_capacity(data.len().min(500)).unwrap();
            waits += 1;
        }
        assert!((5..20).contains(&waits), "{waits}");
        _ = timeout(FOR_EVER, serving).await.expect("it is held for ever").unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_http2_connection_ends_soon_after_the_process_closes_whatever_the_caller_does() {
    on_worker(async {
        let mut caller = call(2, None);
        caller.say("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        caller.settled().await;
        caller.stopper.advance(Phase::Closing);
        let after = caller.end().await;
        assert!(after <= 2 * GOODBYE_WITHIN, "{after:?}");
    })
    .await;
}
