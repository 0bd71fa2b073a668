//! The upstream client's reading of an answer over HTTP/1.1, against that of hyper's client, which shares no code with it
//! but the parser of header lines. An answer that ends for one of them where it goes on for the other would let whoever
//! stands in between give a call another call's answer.
//!
//! The first byte is the length of the pieces in which the rest arrives (0: at once), before the connection ends.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::body::read_capped;
use crate::net::client::read_http1;

/// Reads one answer.
pub fn run(data: &[u8]) {
    let Some((piece, bytes)) = data.split_first() else { return };
    let piece = if *piece == 0 { bytes.len().max(1) } else { usize::from(*piece) };
    let read = read_http1(bytes.chunks(piece));
    let at_once = read_http1([bytes]);
    let told = |read: &Result<(StatusCode, Vec<u8>, bool), String>| read.as_ref().ok().cloned();
    assert_eq!(told(&read), told(&at_once), "pieces make no difference: {read:?}, {at_once:?}");

    if let Ok((status, body, _)) = read {
        match block_on(read_by_hyper(bytes.to_vec())) {
            // Which are passed over here.
            Err(error) if speaks_of_trailers(&error) => {}
            theirs => assert_eq!(theirs, Ok((status, body)), "hyper reads it otherwise"),
        }
    }
}

/// Whether it is an error of the body's, and of none of its other parts.
fn speaks_of_trailers(error: &str) -> bool {
    let others =
        ["chunk size", "chunk extension", "chunk body", "chunk end", "UnexpectedEof", "IncompleteMessage"];
    error.contains("hyper::Error(Body") && !others.iter().any(|other| error.contains(other))
}

async fn read_by_hyper(bytes: Vec<u8>) -> Result<(StatusCode, Vec<u8>), String> {
    let stream = Recorded { bytes, read: 0, asked: false };
    let (mut sender, connection) =
        http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = Request::post("/").header("host", "x").body(Full::from("{}")).expect("it is one");
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| format!("{error:?}"))?;
        let status = response.status();
        let body = read_capped(response.into_body(), MOST).await.map_err(|error| format!("{error:?}"))?;
        Ok((status, body.to_vec()))
    };
    let driven = async {
        // What is wrong, the exchange tells.
        _ = connection.await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        read = exchange => read,
        _ = driven => unreachable!("it is pending for ever"),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it needs no system calls");
    runtime.block_on(future)
}

/// A stream on which an answer arrives once something was asked, and then the end.
struct Recorded {
    bytes: Vec<u8>,
    read: usize,
    asked: bool,
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.asked {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let rest = &self.bytes[self.read..];
        let taken = rest.len().min(into.remaining());
        into.put_slice(&rest[..taken]);
        self.read += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.asked = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// More than any input has.
const MOST: usize = 1 << 20;
