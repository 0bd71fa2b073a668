//! HTTP/2 as it should not be sent, frame by frame: each is answered, or refused with the protocol's own means, costs at
//! most one call upstream, and leaves nothing behind.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{Builder, World};

const READ: &str = "/v4/live_config/get_callback";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Answered with this ErrorCode.
    Answered(i64),
    /// The stream was reset with this error code (RFC 9113, section 7).
    Reset(u32),
    /// The connection ended: with a goodbye that gives this error code.
    Goodbye(u32),
}
use Outcome::{Answered, Goodbye, Reset};

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const ENHANCE_YOUR_CALM: u32 = 11;

struct Case {
    what: &'static str,
    frames: Vec<Vec<u8>>,
    outcome: Outcome,
    arrived: u64,
}

fn case(what: &'static str, frames: Vec<Vec<u8>>, outcome: Outcome, arrived: u64) -> Case {
    Case { what, frames, outcome, arrived }
}

type Field<'a> = (&'a str, &'a str);
const METHOD: Field<'_> = (":method", "POST");
const SCHEME: Field<'_> = (":scheme", "http");
const AUTHORITY: Field<'_> = (":authority", "x");
const PATH: Field<'_> = (":path", READ);

/// A call on stream 1 with these fields beside the usual ones, and `{}`.
fn call(more: &[Field<'_>]) -> Vec<Vec<u8>> {
    with(&[&[METHOD, SCHEME, AUTHORITY, PATH], more].concat(), b"{}")
}

/// A request on stream 1 with exactly these fields.
fn with(fields: &[Field<'_>], body: &[u8]) -> Vec<Vec<u8>> {
    vec![frame(HEADERS, END_HEADERS, 1, &block(fields)), frame(DATA, END_STREAM, 1, body)]
}

/// A call with another field in the place of the one of its name.
fn but(field: Field<'_>) -> Vec<Vec<u8>> {
    let fields =
        [METHOD, SCHEME, AUTHORITY, PATH].map(|usual| if usual.0 == field.0 { field } else { usual });
    with(&fields, b"{}")
}

#[rustfmt::skip]
fn requests() -> Vec<Case> {
    let smuggled = "POST /v4/live_config/get_callback_token HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    vec![
        case("a plain call", call(&[]), Answered(0), 1),
        case("a length that is right", call(&[("content-length", "2")]), Answered(0), 1),
        case("a length beyond the body", call(&[("content-length", "200")]), Reset(PROTOCOL_ERROR), 0),
        case("a length below the body", call(&[("content-length", "1")]), Reset(PROTOCOL_ERROR), 0),
        case("a length of nothing, and what looks like a request", with(&[METHOD, SCHEME, AUTHORITY, PATH, ("content-length", "0")], smuggled.as_bytes()), Reset(PROTOCOL_ERROR), 0),
        case("two lengths that differ", call(&[("content-length", "2"), ("content-length", "3")]), Reset(PROTOCOL_ERROR), 0),
        case("a length that is none", call(&[("content-length", "+2")]), Reset(PROTOCOL_ERROR), 0),
        case("a transfer coding", call(&[("transfer-encoding", "chunked")]), Reset(PROTOCOL_ERROR), 0),
        case("connection", call(&[("connection", "close")]), Reset(PROTOCOL_ERROR), 0),
        case("an upgrade", call(&[("upgrade", "h2c")]), Reset(PROTOCOL_ERROR), 0),
        case("te", call(&[("te", "gzip")]), Reset(PROTOCOL_ERROR), 0),
        case("a name in capitals", call(&[("X-A", "b")]), Goodbye(PROTOCOL_ERROR), 0),
        case("a name with a colon", call(&[("x:a", "b")]), Goodbye(PROTOCOL_ERROR), 0),
        case("a name with a line end", call(&[("x: a\r\ny", "b")]), Goodbye(PROTOCOL_ERROR), 0),
        case("a line end in a value", call(&[("x-a", "b\r\ntransfer-encoding: chunked")]), Goodbye(PROTOCOL_ERROR), 0),
        case("NUL in a value", call(&[("x-a", "b\0c")]), Goodbye(PROTOCOL_ERROR), 0),
        case("a request in a value", call(&[("x-a", smuggled)]), Goodbye(PROTOCOL_ERROR), 0),
        case("a request in the path", but((":path", "/v4/live_config/get_callback HTTP/1.1\r\nhost: x\r\n\r\n")), Reset(PROTOCOL_ERROR), 0),
        case("a blank in the path", but((":path", "/v4/live_config/get_callback x")), Reset(PROTOCOL_ERROR), 0),
        case("a path without its slash", but((":path", "v4/live_config/get_callback")), Reset(PROTOCOL_ERROR), 0),
        case("an empty path", but((":path", "")), Reset(PROTOCOL_ERROR), 0),
        case("a path that is a star", but((":path", "*")), Answered(9_900_404), 0),
        case("a path in absolute form", but((":path", "http://evil.example/v4/live_config/get_callback")), Reset(PROTOCOL_ERROR), 0),
        case("a method with a blank", but((":method", "POST /")), Goodbye(PROTOCOL_ERROR), 0),
        case("another scheme", but((":scheme", "ftp")), Answered(0), 1),
        case("an authority with a user", but((":authority", "a@evil.example")), Answered(0), 1),
        case("an authority with a path", but((":authority", "x/v4/live_config/get_callback_token")), Reset(PROTOCOL_ERROR), 0),
        case("an authority, and a host that differs", call(&[("host", "evil.example")]), Answered(0), 1),
        case("two hosts", call(&[("host", "x"), ("host", "y")]), Answered(9_900_400), 0),
        case("no authority", with(&[METHOD, SCHEME, PATH], b"{}"), Answered(0), 1),
        case("no path", with(&[METHOD, SCHEME, AUTHORITY], b"{}"), Reset(PROTOCOL_ERROR), 0),
        case("no method", with(&[SCHEME, AUTHORITY, PATH], b"{}"), Reset(PROTOCOL_ERROR), 0),
        case("no scheme", with(&[METHOD, AUTHORITY, PATH], b"{}"), Reset(PROTOCOL_ERROR), 0),
        case("two paths", call(&[(":path", "/v4/live_config/get_callback_token")]), Reset(PROTOCOL_ERROR), 0),
        case("a path behind other fields", with(&[METHOD, SCHEME, AUTHORITY, ("x-a", "b"), PATH], b"{}"), Reset(PROTOCOL_ERROR), 0),
        case("a field of a response", call(&[(":status", "200")]), Reset(PROTOCOL_ERROR), 0),
        case("a field that nobody knows", call(&[(":evil", "x")]), Goodbye(PROTOCOL_ERROR), 0),
        case("CONNECT", with(&[(":method", "CONNECT"), (":authority", "evil.example:443")], b"{}"), Answered(9_900_405), 0),
        case("CONNECT with a protocol", with(&[(":method", "CONNECT"), (":protocol", "websocket"), SCHEME, AUTHORITY, PATH], b"{}"), Reset(PROTOCOL_ERROR), 0),
        case("a packed body", call(&[("content-encoding", "gzip")]), Answered(9_900_415), 0),
        case("a browser", call(&[("origin", "https://evil.example")]), Answered(9_900_403), 0),
    ]
}

#[rustfmt::skip]
fn streams() -> Vec<Case> {
    let head = || frame(HEADERS, END_HEADERS, 1, &block(&[METHOD, SCHEME, AUTHORITY, PATH]));
    let data = |flags, body: &[u8]| frame(DATA, flags, 1, body);
    vec![
        case("a body in pieces, some of them empty", vec![head(), data(0, b"{"), data(0, b""), data(0, b"}"), data(END_STREAM, b"")], Answered(0), 1),
        case("trailers", vec![head(), data(0, b"{}"), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-a", "b")]))], Answered(0), 1),
        case("trailers that are another head", vec![head(), data(0, b"{}"), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[METHOD, PATH]))], Answered(0), 1),
        case("trailers that do not end it", vec![head(), data(0, b"{}"), frame(HEADERS, END_HEADERS, 1, &block(&[("x-a", "b")]))], Reset(PROTOCOL_ERROR), 0),
        case("a body on a stream that nobody opened", vec![data(END_STREAM, b"{}")], Goodbye(PROTOCOL_ERROR), 0),
        case("a body on the connection itself", vec![frame(DATA, END_STREAM, 0, b"{}")], Goodbye(PROTOCOL_ERROR), 0),
        case("a stream of the server's kind", vec![frame(HEADERS, END_HEADERS, 2, &block(&[METHOD, SCHEME, AUTHORITY, PATH]))], Goodbye(PROTOCOL_ERROR), 0),
        case("another frame in the middle of a head", vec![frame(HEADERS, 0, 1, &block(&[METHOD])), data(END_STREAM, b"{}")], Goodbye(PROTOCOL_ERROR), 0),
        case("a head in pieces", vec![frame(HEADERS, 0, 1, &block(&[METHOD, SCHEME])), frame(CONTINUATION, END_HEADERS, 1, &block(&[AUTHORITY, PATH])), data(END_STREAM, b"{}")], Answered(0), 1),
        case("a head in pieces without an end", std::iter::once(frame(HEADERS, 0, 1, &block(&[METHOD, SCHEME, AUTHORITY, PATH]))).chain((0..2_000).map(|_| frame(CONTINUATION, 0, 1, &block(&[("x-a", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")])))).collect(), Goodbye(ENHANCE_YOUR_CALM), 0),
        case("a frame longer than agreed", vec![frame(HEADERS, END_HEADERS, 1, &[0; 20_000])], Goodbye(FRAME_SIZE_ERROR), 0),
        case("bytes that are no fields", vec![frame(HEADERS, END_HEADERS, 1, &[0xff; 40])], Goodbye(PROTOCOL_ERROR), 0),
        case("a push", vec![frame(5, END_HEADERS, 1, &[0, 0, 0, 2])], Goodbye(PROTOCOL_ERROR), 0),
        case("a stream that depends on itself", vec![frame(2, 0, 1, &[0, 0, 0, 1, 16])], Reset(PROTOCOL_ERROR), 0),
        case("a window that overflows", vec![frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])], Goodbye(FLOW_CONTROL_ERROR), 0),
        case("many that are begun and reset", (0..5_000_u32).flat_map(|n| [frame(HEADERS, END_HEADERS, 2 * n + 1, &block(&[METHOD, SCHEME, AUTHORITY, PATH])), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])]).collect(), Goodbye(ENHANCE_YOUR_CALM), 0),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_none_reaches_nobody() {
    try_each(requests()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_out_of_order_or_without_an_end_reach_nobody() {
    try_each(streams()).await;
}

async fn try_each(cases: Vec<Case>) {
    let world = Builder::new().start().await;
    let mut wrong = Vec::new();
    for Case { what, frames, outcome: expected, arrived } in cases {
        let before = world.report().arrived;
        let found = outcome(&world, &frames.concat()).await;
        let reached = world.report().arrived - before;
        if (found, reached) != (Some(expected), arrived) {
            wrong.push(format!("{what}: {found:?} and {reached} upstream, not {expected:?} and {arrived}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    world.until(|metrics| metrics.sum("connections", &[("listener", "gateway")]) == 0.0).await;
    world
        .until(|metrics| metrics.sum("ceiling_used", &[]) + metrics.sum("ceiling_waiting", &[]) == 0.0)
        .await;
    world.end().await;
}

/// What comes of these frames on a connection of their own. `None`: it was closed without a word.
async fn outcome(world: &World, frames: &[u8]) -> Option<Outcome> {
    let mut stream = TcpStream::connect(world.host()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let opening = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..], frames].concat();
    let write = async {
        // The gateway may have seen enough.
        _ = writer.write_all(&opening).await;
        std::future::pending::<()>().await;
    };
    let read = async {
        let mut came = Vec::new();
        loop {
            if let Some(outcome) = told(&came) {
                return Some(outcome);
            }
            let read = reader.read_buf(&mut came).await;
            if !matches!(read, Ok(1..)) {
                return told(&came);
            }
        }
    };
    tokio::select! {
        outcome = read => outcome,
        () = write => None,
        () = tokio::time::sleep(PATIENCE) => panic!("nothing comes of it"),
    }
}

/// What the frames that came say, once they say it.
fn told(came: &[u8]) -> Option<Outcome> {
    let mut rest = came;
    let mut body = Vec::new();
    while let Some((head, behind)) = rest.split_at_checked(9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (payload, next) = behind.split_at_checked(length)?;
        let number =
            |at: usize| payload.get(at..at + 4).map(|four| u32::from_be_bytes(four.try_into().unwrap()));
        match head[3] {
            DATA => body.extend_from_slice(payload),
            3 => return number(0).map(Reset),
            7 => return number(4).map(Goodbye),
            _ => {}
        }
        if head[3] == DATA && head[4] & END_STREAM != 0 {
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            return json["ErrorCode"].as_i64().map(Answered);
        }
        rest = next;
    }
    None
}

/// RFC 9113, section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals that nobody is to remember (RFC 7541, section 6.2.2).
fn block(fields: &[Field<'_>]) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).ok().filter(|&length| length < 127);
        [&[length.expect("these texts are short")], text.as_bytes()].concat()
    };
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const PATIENCE: Duration = Duration::from_secs(20);
