//! Both ends of a connection on one paused clock: an hour of silence costs nothing.

mod http2;

use std::cell::Cell;
use std::sync::Arc;

use http_body_util::Full;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::net::stop::Stopper;
use crate::net::tls::ServerTls;

const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longer than any limit, so that what is still there then stays for ever.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// More than the kernel takes of a stream that nobody reads.
const LARGE: usize = 4 << 20;

/// What a caller is told when no request can be read from it.
fn words(unreadable: Unreadable) -> String {
    format!("HTTP/1.1 400 {unreadable:?}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
}

const REQUEST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}";

/// A connection, seen from the caller, and the process that serves it.
struct Caller {
    stream: UnixStream,
    serving: JoinHandle<io::Result<()>>,
    /// Why no request could be read from it.
    refused: Rc<Cell<Option<Unreadable>>>,
    stopper: Stopper,
    began: Instant,
}

/// A connection on which every request is answered with so many bytes.
fn call(answer: usize, tls: Option<TlsAcceptor>) -> Caller {
    let handle = move |request: Request<RequestBody>| {
        drop(request);
        std::future::ready(Response::new(Full::new(Bytes::from(vec![b'x'; answer]))))
    };
    caller(handle, tls)
}

fn caller<H, F>(handle: H, tls: Option<TlsAcceptor>) -> Caller
where
    H: Fn(Request<RequestBody>) -> F + Clone + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Unpin + 'static,
{
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stopper = Stopper::new();
    let stop = stopper.signal();
    let limits =
        Limits { header_bytes: 16 * 1024, header_timeout: HEADER_TIMEOUT, idle_timeout: IDLE_TIMEOUT };
    let refused = Rc::new(Cell::new(None));
    let told = Rc::clone(&refused);
    let refuse = move |unreadable| {
        told.set(Some(unreadable));
        Bytes::from(words(unreadable))
    };
    let stream = listener::Stream::Unix(theirs);
    let serving = tokio::task::spawn_local(async move {
        serve(stream, tls.as_ref(), &limits, &stop, |_| handle, refuse).await
    });
    Caller { stream: ours, serving, refused, stopper, began: Instant::now() }
}

impl Caller {
    async fn say(&mut self, words: &str) {
        self.stream.write_all(words.as_bytes()).await.unwrap();
    }

    /// Waits until the connection was ended from the other side, and gives after how long.
    async fn end(self) -> Duration {
        let ended = timeout(FOR_EVER, self.serving).await.expect("it is held for ever");
        // That the caller is gone, or deaf, may come as an error.
        _ = ended.unwrap();
        assert_eq!(self.refused.get(), None);
        self.began.elapsed()
    }

    /// Everything until the other side closes.
    async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        timeout(FOR_EVER, self.stream.read_to_end(&mut bytes)).await.expect("it stays open").unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// The other side gets so far that only time or the caller can bring it further.
    async fn settled(&self) {
        sleep(Duration::from_millis(1)).await;
    }
}

async fn on_worker<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

fn acceptor() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let tls = ServerTls { chain: vec![made.cert.der().clone()], key: Arc::new(key), client_roots: None };
    tls.config().unwrap().into()
}

/// Where the answer's body begins.
fn body_of(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a whole head").1
}

// === Opening ===

#[tokio::test(start_paused = true)]
async fn a_caller_that_begins_http2_and_says_no_more_is_not_kept() {
    on_worker(async {
        for words in ["PRI ", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            let mut caller = call(2, None);
            caller.say(words).await;
            let after = caller.end().await;
            assert!(after <= IDLE_TIMEOUT + 2 * GOODBYE_WITHIN, "{after:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_caller_is_closed_when_its_time_is_up() {
    on_worker(async {
        for (tls, time) in [(None, IDLE_TIMEOUT), (Some(acceptor()), HEADER_TIMEOUT)] {
            assert_eq!(call(2, tls).end().await.as_secs(), time.as_secs());
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_rested_is_answered_and_ended_as_any_other() {
    on_worker(async {
        for idle in [0, 1_500, 30_000] {
            let mut caller = call(2, None);
            for _ in 0..3 {
                sleep(Duration::from_millis(idle)).await;
                caller.say(REQUEST).await;
                let mut answer = [0; 200];
                let read = caller.stream.read(&mut answer).await.unwrap();
                let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
                assert_eq!(body_of(&answer), "xx");
            }
            sleep(Duration::from_millis(idle)).await;
            caller.say("POST / HT").await;
            assert_eq!(caller.rest().await, words(Unreadable::SlowHead));
        }
        let caller = call(2, None);
        sleep(Duration::from_secs(30)).await;
        caller.stopper.advance(Phase::Closing);
        assert_eq!(caller.end().await.as_secs(), 30);
    })
    .await;
}

/// A caller whose calls are answered as `may_answer` has permits for them; and how many of them have ended.
fn held_call(may_answer: &Rc<Semaphore>) -> (Caller, Rc<Cell<u32>>) {
    struct End(Rc<Cell<u32>>);

    impl Drop for End {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    let ended = Rc::new(Cell::new(0));
    let (may_answer, ends) = (Rc::clone(may_answer), Rc::clone(&ended));
    let handle = move |request: Request<RequestBody>| {
        let (may_answer, end) = (Rc::clone(&may_answer), End(Rc::clone(&ends)));
        Box::pin(async move {
            let body = crate::net::body::read_capped(request.into_body(), 100).await.unwrap();
            may_answer.acquire().await.unwrap().forget();
            drop(end);
            Response::new(Full::new(body))
        })
    };
    (caller(handle, None), ended)
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_hangs_up_during_its_call_ends_it() {
    on_worker(async {
        let (mut caller, ended) = held_call(&Rc::new(Semaphore::new(0)));
        caller.say(REQUEST).await;
        sleep(IDLE_TIMEOUT * 2).await;
        assert_eq!(ended.get(), 0, "it waits");
        caller.stream.shutdown().await.unwrap();
        caller.settled().await;
        assert_eq!(ended.get(), 1);
        assert_eq!(caller.end().await.as_secs(), 2 * IDLE_TIMEOUT.as_secs());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_long_body_is_read_in_large_pieces() {
    on_worker(async {
        let handle = |request: Request<RequestBody>| {
            Box::pin(async {
                let (mut body, mut pieces) = (request.into_body(), 0_u32);
                while let Some(Ok(_)) = poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await {
                    pieces += 1;
                }
                Response::new(Full::new(Bytes::from(pieces.to_string())))
            })
        };
        let mut caller = caller(handle, None);
        caller
            .say("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1048576\r\n\r\n")
            .await;
        caller.say(&"x".repeat(1 << 20)).await;
        let pieces: u32 = body_of(&caller.rest().await).parse().unwrap();
        assert!(pieces < 2_000, "{pieces}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_during_a_call_is_the_next_request_and_its_time_begins_with_the_answer() {
    on_worker(async {
        for begun in ["P", "POST", "POST / HTTP/1.1\r\nho", REQUEST] {
            let may_answer = Rc::new(Semaphore::new(0));
            let (mut caller, ended) = held_call(&may_answer);
            caller.say(&REQUEST.replace("{}", "[]")).await;
            caller.settled().await;
            caller.say(begun).await;
            sleep(HEADER_TIMEOUT * 2).await;
            may_answer.add_permits(2);
            let answered = Instant::now();
            sleep(HEADER_TIMEOUT / 2).await;
            assert_eq!(ended.get(), if begun == REQUEST { 2 } else { 1 }, "{begun}");
            if begun != REQUEST {
                assert_eq!(caller.rest().await.rsplit("[]").next(), Some(&*words(Unreadable::SlowHead)));
                assert_eq!(answered.elapsed().as_secs(), HEADER_TIMEOUT.as_secs());
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_came_whole_is_read_and_answered_in_one_go_and_one_in_pieces_to_its_end() {
    on_worker(async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (polls, stopper) = (Rc::new(Cell::new(0)), Stopper::new());
        let handle = |request: Request<RequestBody>| {
            Box::pin(async {
                let body = crate::net::body::read_capped(request.into_body(), 100).await.unwrap();
                Response::new(Full::new(body))
            })
        };
        let (stop, polled) = (stopper.signal(), Rc::clone(&polls));
        let serving = tokio::task::spawn_local(async move {
            let limits =
                Limits { header_bytes: 8192, header_timeout: HEADER_TIMEOUT, idle_timeout: IDLE_TIMEOUT };
            let stream = listener::Stream::Unix(theirs);
            let mut serving =
                pin!(serve(stream, None, &limits, &stop, |_| handle, |_| Bytes::from_static(b"refused")));
            poll_fn(|cx| {
                polled.set(polled.get() + 1);
                serving.as_mut().poll(cx)
            })
            .await
        });
        let refused = Rc::default();
        let mut caller = Caller { stream: ours, serving, refused, stopper, began: Instant::now() };
        let known = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\n";
        let chunked = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        for (head, pieces) in [
            (known, &["abcdefgh"][..]),
            (known, &["abc", "def", "gh"]),
            (chunked, &["8\r\nabcdefgh\r\n0\r\n\r\n"]),
            (chunked, &["3\r\nabc\r\n", "5\r\ndefgh\r\n", "0\r\n\r\n"]),
        ] {
            caller.settled().await;
            let before = polls.get();
            caller.say(&[head, pieces[0]].concat()).await;
            for piece in &pieces[1..] {
                caller.settled().await;
                caller.say(piece).await;
            }
            let mut answer = [0; 200];
            let read = caller.stream.read(&mut answer).await.unwrap();
            assert_eq!(
                body_of(std::str::from_utf8(&answer[..read]).unwrap()),
                "abcdefgh",
                "{head}{pieces:?}"
            );
            caller.settled().await;
            if (head, pieces.len()) == (known, 1) {
                assert_eq!(polls.get() - before, 1, "it was polled for nothing");
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_rests_a_second_after_its_last_answer() {
    let (activity, began) = (Rc::new(Activity::new()), Instant::now());
    let under_way = activity.begin();
    let answering = async {
        sleep(Duration::from_millis(4_300)).await;
        drop(under_way);
    };
    tokio::join!(activity.rests(), answering);
    assert_eq!(began.elapsed().as_millis() / 10, 530);
    activity.bytes_came();
    assert!(timeout(FOR_EVER, activity.rests()).await.is_err(), "a head has begun");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_began_right_behind_a_request_is_not_lost_while_the_connection_rests() {
    on_worker(async {
        let (begun, end) = REQUEST.split_at(20);
        for is_completed in [true, false] {
            let mut caller = call(2, None);
            caller.say(&[REQUEST, begun].concat()).await;
            sleep(Duration::from_secs(3)).await;
            if is_completed {
                caller.say(end).await;
                caller.settled().await;
                caller.stream.shutdown().await.unwrap();
            }
            let answers = caller.rest().await;
            let refusal = if is_completed { "" } else { &words(Unreadable::SlowHead) };
            assert_eq!(answers.matches("200 OK").count(), 1 + usize::from(is_completed), "{answers}");
            assert!(answers.ends_with(&["xx", refusal].concat()), "{answers}");
            // A second until the connection rests, and then the time of a head.
            let longest = if is_completed { 3 } else { 1 + HEADER_TIMEOUT.as_secs() };
            assert_eq!(caller.began.elapsed().as_secs(), longest);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_line_behind_a_request_is_no_head() {
    on_worker(async {
        let mut caller = call(2, None);
        caller.say(&[REQUEST, "\r\n"].concat()).await;
        sleep(HEADER_TIMEOUT * 3).await;
        caller.say(REQUEST).await;
        caller.settled().await;
        caller.stream.shutdown().await.unwrap();
        assert_eq!(caller.rest().await.matches("200 OK").count(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_stays_at_its_first_byte_is_too_slow() {
    on_worker(async {
        for words in ["P", "POST / HTTP/1.1\r\nhos"] {
            let mut caller = call(2, None);
            caller.say(words).await;
            assert_eq!(caller.rest().await, self::words(Unreadable::SlowHead));
            assert_eq!(caller.began.elapsed().as_secs(), HEADER_TIMEOUT.as_secs(), "{words}");
            assert_eq!(caller.refused.get(), Some(Unreadable::SlowHead));
        }
    })
    .await;
}

// The clock runs: a paused one jumps whenever both ends wait for the kernel, as they do here many times.
#[tokio::test]
async fn an_answer_is_heard_by_who_first_writes_all_of_a_request_that_nobody_reads() {
    on_worker(async {
        let mut caller = call(9, None);
        caller.say("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\n\r\n").await;
        caller.say(&" ".repeat(5_000_000)).await;
        let answer = caller.rest().await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("xxxxxxxxx"), "{answer}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_short_body_that_nobody_read_does_not_hold_the_connection_when_the_process_closes() {
    on_worker(async {
        let mut caller = call(2, None);
        caller.say("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}").await;
        caller.settled().await;
        caller.stopper.advance(Phase::Closing);
        let after = caller.end().await;
        assert!(after < Duration::from_secs(1), "{after:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn silent_connections_end_at_once_when_the_process_closes() {
    on_worker(async {
        let mut half_preface = call(2, None);
        half_preface.say("PR").await;
        for caller in [call(2, None), call(2, Some(acceptor())), half_preface] {
            caller.settled().await;
            caller.stopper.advance(Phase::Draining);
            caller.settled().await;
            assert!(!caller.serving.is_finished(), "it is served until the process closes");
            caller.stopper.advance(Phase::Closing);
            let after = caller.end().await;
            assert!(after < Duration::from_secs(1), "{after:?}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_said_before_the_process_closes_is_answered() {
    on_worker(async {
        let mut caller = call(2, None);
        caller.say(REQUEST).await;
        caller.stopper.advance(Phase::Closing);
        let answer = caller.rest().await;
        assert_eq!(body_of(&answer), "xx");
        assert!(answer.contains("connection: close"));
    })
    .await;
}

// === Answers ===

#[tokio::test(start_paused = true)]
async fn a_caller_that_does_not_read_its_answer_is_not_kept() {
    on_worker(async {
        let mut caller = call(LARGE, None);
        caller.say(REQUEST).await;
        assert_eq!(caller.end().await.as_secs(), IDLE_TIMEOUT.as_secs());
    })
    .await;
}

/// Reads one answer in portions, with a pause before each. `None`: the other side closed before its end.
async fn read_slowly(caller: &mut Caller, portion: usize, pause: Duration) -> Option<usize> {
    let mut portion = vec![0; portion];
    let mut read = 0;
    while read < LARGE {
        sleep(pause).await;
        match caller.stream.read(&mut portion).await {
            Ok(0) | Err(_) => return None,
            Ok(some) => read += some,
        }
    }
    Some(read)
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_reads_slowly_gets_its_whole_answer() {
    on_worker(async {
        let mut caller = call(LARGE, None);
        caller.say(REQUEST).await;
        // Far longer than any limit; the kernel tells that some was taken only when much was.
        let read = read_slowly(&mut caller, 64 * 1024, IDLE_TIMEOUT / 6).await;
        assert!(read.is_some_and(|read| read >= LARGE), "{read:?}");
        assert!(caller.began.elapsed() > 10 * IDLE_TIMEOUT);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_takes_a_little_now_and_then_is_not_kept() {
    on_worker(async {
        let mut caller = call(LARGE, None);
        caller.say(REQUEST).await;
        let read = read_slowly(&mut caller, 1024, IDLE_TIMEOUT / 2).await;
        assert_eq!(read, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_does_not_cut_the_answer_before_it_in_two() {
    on_worker(async {
        let mut caller = call(LARGE, None);
        caller.say(REQUEST).await;
        caller.settled().await;
        caller.say("POST / HTTP/1.1\r\nhost: a\r\n").await;
        // Time is up for the second head, were it the only thing under way.
        sleep(2 * HEADER_TIMEOUT).await;
        let answer = caller.rest().await;
        let body = body_of(&answer);
        assert!(body.len() >= LARGE && body[..LARGE].bytes().all(|byte| byte == b'x'), "{}", body.len());
        let after = &body[LARGE..];
        assert!(after.is_empty() || after == words(Unreadable::SlowHead), "{after}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_cannot_be_read_is_told_after_a_whole_answer() {
    on_worker(async {
        for (head, unreadable) in [
            ("POST / HTTP/1.1\r\nhost: a\r\n".to_owned(), Unreadable::SlowHead),
            ("POST / HTTP/7.0\r\n\r\n".to_owned(), Unreadable::BadHead),
            ("nonsense\r\n\r\n".to_owned(), Unreadable::BadHead),
            (format!("POST / HTTP/1.1\r\na: {}\r\n", "a".repeat(20_000)), Unreadable::LongHead),
            (format!("POST /{} HTTP/1.1\r\n", "a".repeat(70_000)), Unreadable::LongHead),
        ] {
            for at_once in [true, false] {
                let mut caller = call(2, None);
                if at_once {
                    caller.say(&format!("{REQUEST}{head}")).await;
                } else {
                    caller.say(REQUEST).await;
                    caller.settled().await;
                    caller.say(&head).await;
                }
                assert_eq!(body_of(&caller.rest().await), format!("xx{}", words(unreadable)), "{head:.30}");
                assert_eq!(caller.refused.get(), Some(unreadable));
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_caller_that_goes_on_talking_hears_why_and_is_not_kept() {
    on_worker(async {
        let mut caller = call(2, None);
        // More than the kernel keeps, so that it is still talking when it is refused.
        let head = format!("POST / HTTP/1.1\r\na: {}", "a".repeat(LARGE));
        let said = timeout(FOR_EVER, caller.stream.write_all(head.as_bytes())).await.expect("nobody listens");
        said.unwrap();
        assert_eq!(caller.rest().await, words(Unreadable::LongHead));
        let began = Instant::now();
        timeout(FOR_EVER, caller.serving).await.expect("it is held for ever").unwrap().unwrap();
        assert!(began.elapsed() <= GOODBYE_WITHIN, "{:?}", began.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_behind_an_answer_that_is_not_taken_does_not_cut_it_in_two() {
    on_worker(async {
        let mut caller = call(LARGE, None);
        caller.say(REQUEST).await;
        caller.settled().await;
        caller.say("nonsense\r\n\r\n").await;
        caller.settled().await;
        let answer = caller.rest().await;
        let body = body_of(&answer);
        assert!(body.len() >= LARGE && body[..LARGE].bytes().all(|byte| byte == b'x'), "{}", body.len());
        let after = &body[LARGE..];
        assert!(after.starts_with("HTTP/1.1 400 ") && after.ends_with("\r\n\r\n"), "{after}");
    })
    .await;
}
