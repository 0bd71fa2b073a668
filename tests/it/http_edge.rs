//! HTTP as it should not be sent, byte by byte: each gets a clear status where one can be sent (RFC 9112), costs at most
//! one call upstream, and leaves nothing behind.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::exchange;
use crate::world::{Builder, World};

const READ: &str = "/v4/live_config/get_callback";

/// What is sent on a connection of its own, the statuses that come back until it is closed, and how many calls reach
/// Tencent.
struct Case {
    what: &'static str,
    sent: Vec<u8>,
    statuses: &'static [u16],
    arrived: u64,
}

/// A request whose second half nobody may take for a request of its own.
const HIDDEN: &str =
    "POST /v4/live_config/get_callback_token HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";

fn case(what: &'static str, sent: impl Into<Vec<u8>>, statuses: &'static [u16], arrived: u64) -> Case {
    Case { what, sent: sent.into(), statuses, arrived }
}

/// A POST with these header lines beside `host`, and what follows the head.
fn call(headers: &str, rest: &str) -> String {
    format!("POST {READ} HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n{rest}")
}

#[rustfmt::skip]
fn framing() -> Vec<Case> {
    vec![
        // Both lengths: the chunks count and the connection ends after them (RFC 9112, section 6.1).
        case("content-length, then chunked", call("content-length: 2\r\ntransfer-encoding: chunked", &format!("2\r\n{{}}\r\n0\r\n\r\n{HIDDEN}")), &[200], 1),
        case("chunked, then content-length", call("transfer-encoding: chunked\r\ncontent-length: 200", &format!("2\r\n{{}}\r\n0\r\n\r\n{HIDDEN}")), &[200], 1),
        case("two lengths that differ", call("content-length: 2\r\ncontent-length: 3", "{}\n"), &[400], 0),
        case("two lengths that agree", call("content-length: 2\r\ncontent-length: 2\r\nconnection: close", "{}"), &[200], 1),
        case("a list of lengths", call("content-length: 2, 3", "{}"), &[400], 0),
        case("a length with a sign", call("content-length: +2", "{}"), &[400], 0),
        case("a negative length", call("content-length: -2", "{}"), &[400], 0),
        case("a hexadecimal length", call("content-length: 0x2", "{}"), &[400], 0),
        case("an empty length", call("content-length:", "{}"), &[400], 0),
        case("a length beyond 64 bits", call("content-length: 18446744073709551618", "{}"), &[400], 0),
        case("identity coding", call("transfer-encoding: identity", "{}"), &[400], 0),
        case("chunked is not the last", call("transfer-encoding: chunked, identity", "2\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("a coding that is nearly chunked", call("transfer-encoding: xchunked", "2\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("chunked after a vertical tab", call("transfer-encoding: \x0bchunked", "2\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("chunked in HTTP/1.0", format!("POST {READ} HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"), &[400], 0),
        case("identity beside chunked, in lines of their own", call("transfer-encoding: identity\r\ntransfer-encoding: chunked\r\nconnection: close", "2\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("chunked beside identity, in lines of their own", call("transfer-encoding: chunked\r\ntransfer-encoding: identity", "2\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("chunked twice", call("transfer-encoding: chunked, chunked\r\nconnection: close", "2\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("chunked with a parameter", call("transfer-encoding: chunked;q=1", "2\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("chunked in quotes", call("transfer-encoding: \"chunked\"", "2\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("chunked in capitals", call("TRANSFER-ENCODING: CHUNKED\r\nconnection: close", "2\r\n{}\r\n0\r\n\r\n"), &[200], 1),
        case("an empty coding", call("transfer-encoding:\r\ncontent-length: 2\r\nconnection: close", "{}"), &[400], 0),
        case("a coding that is folded", call("transfer-encoding:\r\n chunked", "2\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("a coding behind a bare line feed", call("x-a: b\ntransfer-encoding: chunked\r\nconnection: close", "2\r\n{}\r\n0\r\n\r\n"), &[200], 1),
        case("a coding behind a bare CR", call("x-a: b\rtransfer-encoding: chunked\r\ncontent-length: 2", "{}"), &[400], 0),
        case("a length with a fraction", call("content-length: 2.0", "{}"), &[400], 0),
        case("a length in other digits", call("content-length: ２", "{}"), &[400], 0),
        case("a length in zeros", call("content-length: 0000000002\r\nconnection: close", "{}"), &[200], 1),
        case("a length that connection names", call("content-length: 2\r\nconnection: close, content-length", "{}"), &[200], 1),
        case("NUL in a name", call("content-length\0: 90\r\ncontent-length: 2", "{}"), &[400], 0),
        case("a blank before the first name", format!("POST {READ} HTTP/1.1\r\n host: x\r\ncontent-length: 2\r\n\r\n{{}}"), &[400], 0),
        case("expect with something before it", call("expect: x 100-continue\r\ncontent-length: 2\r\nconnection: close", "{}"), &[200], 1),
        case("expect with a length of nothing", call("expect: 100-continue\r\ncontent-length: 0\r\nconnection: close", ""), &[200], 1),
        case("a GET with a body", format!("GET {READ} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{HIDDEN}", HIDDEN.len()), &[405], 0),
        case("a space before the colon", call("transfer-encoding : chunked\r\ncontent-length: 2", "{}"), &[400], 0),
        case("underscores are letters", call("content_length: 90\r\ntransfer_encoding: chunked\r\ncontent-length: 2\r\nconnection: close", "{}"), &[200], 1),
        case("names in any case", call("CONTENT-Length: 2\r\nConnection: CLOSE", "{}"), &[200], 1),
        case("a folded header", call("x-a: b\r\n c\r\ncontent-length: 2\r\nconnection: close", "{}"), &[400], 0),
        case("a header without a name", call(": b\r\ncontent-length: 2", "{}"), &[400], 0),
        case("a line that is no header", call("nonsense\r\ncontent-length: 2", "{}"), &[400], 0),
        case("NUL in a header", call("x-a: a\0b\r\ncontent-length: 2", "{}"), &[400], 0),
        case("CR in a header", call("x-a: a\rb: c\r\ncontent-length: 2", "{}"), &[400], 0),
        case("bare line feeds are line ends", format!("POST {READ} HTTP/1.1\nhost: x\ncontent-length: 2\nconnection: close\n\n{{}}"), &[200], 1),
        case("no host", format!("POST {READ} HTTP/1.1\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"), &[400], 0),
        case("two hosts", call("host: y\r\ncontent-length: 2\r\nconnection: close", "{}"), &[400], 0),
        case("HTTP/1.0 needs none", format!("POST {READ} HTTP/1.0\r\ncontent-length: 2\r\n\r\n{{}}"), &[200], 1),
    ]
}

#[rustfmt::skip]
fn chunks() -> Vec<Case> {
    let chunked = |body: &str| call("transfer-encoding: chunked\r\nconnection: close", body);
    vec![
        case("a chunk extension", chunked("2;a=b;c=\"d\"\r\n{}\r\n0;e\r\n\r\n"), &[200], 1),
        case("a bare line feed ends a size", chunked("2\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("a bare line feed in an extension", chunked("2;a\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("a bare CR in an extension", chunked("2;a\rb\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("a quoted line end in an extension", chunked("2;a=\"\r\n{}\r\n0\r\n\r\n"), &[200], 1),
        case("a bare line feed ends a chunk", chunked("2\r\n{}\n0\r\n\r\n"), &[400], 0),
        case("bare line feeds end the body", chunked("2\r\n{}\r\n0\n\n"), &[400], 0),
        case("nothing ends a chunk", chunked("2\r\n{}0\r\n\r\n"), &[400], 0),
        case("a size with a sign", chunked("+2\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("a size behind a blank", chunked(" 2\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("a size before a blank", chunked("2 \r\n{}\r\n0\r\n\r\n"), &[200], 1),
        case("a size with an underscore", chunked("0_2\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("a size in many zeros", chunked(&format!("{}2\r\n{{}}\r\n0\r\n\r\n", "0".repeat(40))), &[200], 1),
        case("a trailer that is a length", chunked(&format!("2\r\n{{}}\r\n0\r\ncontent-length: 9\r\n\r\n{HIDDEN}")), &[200], 1),
        case("a trailer that is no header", chunked("2\r\n{}\r\n0\r\nnonsense\r\n\r\n"), &[400], 0),
        case("a chunk extension without an end", chunked(&format!("2;{}", "a".repeat(100_000))), &[400], 0),
        case("trailers", chunked("2\r\n{}\r\n0\r\nusersig: x\r\n\r\n"), &[200], 1),
        case("trailers without an end", chunked(&format!("2\r\n{{}}\r\n0\r\n{}", "a: b\r\n".repeat(20_000))), &[400], 0),
        case("a chunk size beyond 64 bits", chunked("10000000000000002\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("a chunk size that is no number", chunked("0x2\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("a negative chunk size", chunked("-2\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("an empty chunk size", chunked("\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("a chunk that is longer than its size", chunked("1\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("a chunk that is shorter than its size", chunked("3\r\n{}\r\n0\r\n\r\n"), &[400], 0),
        case("many small chunks", chunked(&format!("{}0\r\n\r\n", "1\r\n \r\n".repeat(5_000))), &[200], 1),
    ]
}

#[rustfmt::skip]
fn request_lines() -> Vec<Case> {
    let line = |line: &str| format!("{line}\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
    vec![
        case("absolute form: the host in it says nothing", line(&format!("POST http://evil.example{READ} HTTP/1.1")), &[200], 1),
        case("absolute form of another scheme", line(&format!("POST ftp://evil.example{READ} HTTP/1.1")), &[200], 1),
        case("authority form", line("POST evil.example:443 HTTP/1.1"), &[404], 0),
        case("CONNECT", "CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", &[405], 0),
        case("asterisk form", line("OPTIONS * HTTP/1.1"), &[405], 0),
        case("TRACE", line(&format!("TRACE {READ} HTTP/1.1")), &[405], 0),
        case("an unknown method", line(&format!("BREW {READ} HTTP/1.1")), &[405], 0),
        case("a method in small letters", line(&format!("post {READ} HTTP/1.1")), &[405], 0),
        case("HTTP/0.9 is the beginning of a head", format!("GET {READ}\r\n"), &[408], 0),
        case("HTTP/0.9 with headers", format!("POST {READ}\r\nhost: x\r\n\r\n"), &[400], 0),
        case("HTTP/2 in HTTP/1's form", line(&format!("POST {READ} HTTP/2.0")), &[400], 0),
        case("HTTP/1.2", line(&format!("POST {READ} HTTP/1.2")), &[400], 0),
        case("no version", line(&format!("POST {READ} HTTP/")), &[400], 0),
        case("two spaces", line(&format!("POST  {READ} HTTP/1.1")), &[400], 0),
        case("a space in the path", line(&format!("POST {READ} x HTTP/1.1")), &[400], 0),
        case("a fragment", line(&format!("POST {READ}#x HTTP/1.1")), &[200], 1),
        case("NUL in the path", line("POST /v4/live_config/get\0callback HTTP/1.1"), &[400], 0),
        case("UTF-8 in the path", line("POST /v4/live_config/é HTTP/1.1"), &[400], 0),
        case("a slash in overlong UTF-8", b"POST /v4/live_config\xc0\xafget_callback HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}", &[400], 0),
        case("a tab in the request line", line(&format!("POST\t{READ}\tHTTP/1.1")), &[400], 0),
        case("a bare CR in the request line", line(&format!("POST {READ}\rx HTTP/1.1")), &[400], 0),
        case("no method", line(&format!(" {READ} HTTP/1.1")), &[400], 0),
        case("an empty target", line("POST  HTTP/1.1"), &[400], 0),
        case("a target without its slash", line(&format!("POST {} HTTP/1.1", &READ[1..])), &[400], 0),
        case("absolute form with a user", line(&format!("POST http://user:word@evil.example{READ} HTTP/1.1")), &[200], 1),
        case("HTTP/1.1 in small letters", line(&format!("POST {READ} http/1.1")), &[400], 0),
        case("HTTP/1.1 with more digits", line(&format!("POST {READ} HTTP/1.10")), &[400], 0),
        case("CONNECT with a body behind it", format!("CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{HIDDEN}", HIDDEN.len()), &[405], 0),
        case("bytes that are no HTTP", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", &[400], 0),
        case("empty lines before a request", format!("\r\n\r\n{}", line(&format!("POST {READ} HTTP/1.1"))), &[200], 1),
        case("an upgrade to h2c is not taken up", call("connection: close, upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\ncontent-length: 2", "{}"), &[200], 1),
        case("an upgrade to a WebSocket is not taken up", call("connection: close, upgrade\r\nupgrade: websocket\r\ncontent-length: 2", "{}"), &[200], 1),
        case("HTTP/2's preface and then nonsense", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nPOST / HTTP/1.1\r\n\r\n", &[], 0),
        case("two requests at once", format!("{}{}", call("content-length: 2", "{}"), call("content-length: 2\r\nconnection: close", "{}")), &[200, 200], 2),
        case("a request and then nonsense", format!("{}nonsense\r\n\r\n", call("content-length: 2", "{}")), &[200, 400], 1),
        case("a body that is longer than announced", call("content-length: 2", "{}{}\r\n\r\n"), &[200, 400], 1),
        case("expect: 100-continue", call("expect: 100-continue\r\ncontent-length: 2\r\nconnection: close", "{}"), &[100, 200], 1),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_framed_ambiguously_is_never_two_calls() {
    try_each(framing()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_are_read_strictly() {
    try_each(chunks()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_lines_of_every_kind() {
    try_each(request_lines()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_long_is_431() {
    let mut builder = Builder::new();
    builder.boot.limits.header_bytes = 16 * 1024;
    let world = builder.start().await;
    let most =
        call(&format!("x-a: {}\r\ncontent-length: 2\r\nconnection: close", "a".repeat(15 * 1024)), "{}");
    assert_eq!(statuses(&converse(&world, most.as_bytes()).await), [200]);
    for (what, sent) in [
        ("one header", call(&format!("x-a: {}", "a".repeat(16 * 1024)), "")),
        ("a path", format!("POST /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(16 * 1024))),
        ("many headers", call(&"x-a: b\r\n".repeat(200), "")),
        ("without an end", format!("POST {READ} HTTP/1.1\r\n{}", "x-a: b\r\n".repeat(100_000))),
    ] {
        let came = converse(&world, sent.as_bytes()).await;
        assert_eq!(statuses(&came), [431], "{what}");
        assert_eq!(strange_answers(&came).next(), None, "{what}");
    }
    assert_eq!(world.report().arrived, 1);
    let counted =
        |metrics: &crate::samples::Samples| metrics.sum("refused_total", &[("reason", "head_too_long")]);
    world.until(|metrics| counted(metrics) == 4.0).await;
    nothing_is_left(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_comes_too_slowly_is_408() {
    let mut builder = Builder::new();
    builder.boot.limits.header_timeout = Duration::from_millis(300);
    let world = builder.start().await;
    let begun = format!("POST {READ} HTTP/1.1\r\nhost: x\r\n");
    let answer = exchange(world.host(), begun.as_bytes()).await;
    assert_eq!(answer.codes(), (408, 9_900_408));
    assert!(answer.error_info().contains("within 300ms"), "{}", answer.error_info());
    // A byte now and then buys no time.
    let mut stream = TcpStream::connect(world.host()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut came = Vec::new();
    let trickle = async {
        writer.write_all(begun.as_bytes()).await.unwrap();
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        _ = reader.read_to_end(&mut came) => {}
        () = trickle => {}
        () = tokio::time::sleep(PATIENCE) => panic!("it waits for ever"),
    }
    assert_eq!(statuses(&String::from_utf8_lossy(&came)), [408]);
    world.until(|metrics| metrics.sum("refused_total", &[("reason", "head_too_slow")]) == 2.0).await;
    nothing_is_left(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_vanishes_half_way_leaves_nothing_behind() {
    let world = Builder::new().start().await;
    for begun in [
        String::new(),
        "P".to_owned(),
        "PRI * HT".to_owned(),
        format!("POST {READ} HTTP/1.1\r\nho"),
        call("content-length: 10", ""),
        call("content-length: 10", "{\"a\""),
        call("transfer-encoding: chunked", ""),
        call("transfer-encoding: chunked", "2\r\n{"),
        call("transfer-encoding: chunked", "2\r\n{}\r\n"),
    ] {
        let mut stream = TcpStream::connect(world.host()).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        // Not before it has been read, so that it is not lost in the kernel.
        world.until(|metrics| metrics.sum("connections", &[("listener", "gateway")]) == 1.0).await;
        drop(stream);
        world.until(|metrics| metrics.sum("connections", &[("listener", "gateway")]) == 0.0).await;
    }
    assert_eq!(world.report().arrived, 0);
    nothing_is_left(world).await;
}

async fn try_each(cases: Vec<Case>) {
    let world = Builder::new().start().await;
    let mut wrong = Vec::new();
    for Case { what, sent, statuses: expected, arrived } in cases {
        let before = world.report().arrived;
        let came = converse(&world, &sent).await;
        let (found, reached) = (statuses(&came), world.report().arrived - before);
        if (&found[..], reached) != (expected, arrived) {
            wrong.push(format!("{what}: {found:?} and {reached} upstream, not {expected:?} and {arrived}"));
        }
        wrong.extend(strange_answers(&came).map(|answer| format!("{what}: {answer}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    nothing_is_left(world).await;
}

/// Everything that comes back until the gateway closes the connection.
async fn converse(world: &World, sent: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.host()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut came = Vec::new();
    let conversation = async {
        let write = async {
            // The gateway may have seen enough.
            _ = writer.write_all(sent).await;
        };
        // A reset after the last answer is an end like any other.
        let (_, _) = tokio::join!(write, reader.read_to_end(&mut came));
    };
    let closed = tokio::time::timeout(PATIENCE, conversation).await;
    closed.unwrap_or_else(|_| panic!("left open: {:?}", String::from_utf8_lossy(sent)));
    // Where HTTP/2 is spoken it is no text, and no answer of HTTP/1.1 either.
    String::from_utf8_lossy(&came).into_owned()
}

/// Each answer, from its status line on.
fn answers(came: &str) -> impl Iterator<Item = &str> {
    let is_status = |rest: &str| rest.split(' ').nth(1).is_some_and(|status| status.parse::<u16>().is_ok());
    let found = came.match_indices("HTTP/1.").map(|(at, _)| at).filter(|&at| is_status(&came[at..]));
    let starts: Vec<usize> = found.collect();
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([came.len()]).collect();
    starts.into_iter().zip(ends).map(move |(start, end)| &came[start..end])
}

/// Those that are not of Tencent's shape. A caller needs one parser for every answer, whoever made it.
fn strange_answers(came: &str) -> impl Iterator<Item = &str> {
    let real = answers(came).filter(|answer| !answer.starts_with("HTTP/1.1 100 "));
    real.filter(|answer| !answer.contains("\"ErrorCode\":"))
}

fn statuses(came: &str) -> Vec<u16> {
    answers(came).map(|answer| answer["HTTP/1.1 ".len()..][..3].parse().unwrap()).collect()
}

/// No connection, no call under way, no turn taken.
async fn nothing_is_left(world: World) {
    world.until(|metrics| metrics.sum("connections", &[("listener", "gateway")]) == 0.0).await;
    world
        .until(|metrics| metrics.sum("ceiling_used", &[]) + metrics.sum("ceiling_waiting", &[]) == 0.0)
        .await;
    // Waits until nothing is under way, and tells if something is.
    world.end().await;
}

const PATIENCE: Duration = Duration::from_secs(20);
