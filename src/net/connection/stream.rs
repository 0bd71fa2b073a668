//! A caller's stream: TCP, Unix or TLS, with the bytes that were read to learn the protocol put back in front.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::activity::Activity;
use crate::net::listener;

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// A caller's stream.
#[derive(Debug)]
pub(super) struct Stream {
    kind: Kind,
    /// Read already, not yet given on.
    ahead: Ahead,
    activity: Rc<Activity>,
}

#[derive(Debug)]
enum Kind {
    Plain(listener::Stream),
    Tls(Box<TlsStream<listener::Stream>>),
}

/// At most the few bytes that tell HTTP/2 from HTTP/1.1.
#[derive(Debug, Default)]
struct Ahead {
    bytes: [u8; PREFACE.len()],
    len: usize,
    given: usize,
}

/// Sets up TLS, if wanted, and learns which HTTP is spoken.
pub(super) async fn open(
    stream: listener::Stream,
    tls: Option<&TlsAcceptor>,
    activity: Rc<Activity>,
) -> io::Result<(Stream, Protocol)> {
    match tls {
        Some(acceptor) => {
            let tls = acceptor.accept(stream).await?;
            let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
            let stream = Stream { kind: Kind::Tls(Box::new(tls)), ahead: Ahead::default(), activity };
            Ok((stream, if http2 { Protocol::Http2 } else { Protocol::Http1 }))
        }
        None => {
            let mut stream = Stream { kind: Kind::Plain(stream), ahead: Ahead::default(), activity };
            let protocol = stream.sniff().await?;
            Ok((stream, protocol))
        }
    }
}

impl Stream {
    /// Reads until the bytes differ from HTTP/2's preface (RFC 9113, section 3.4), or agree with its first word, which
    /// is no HTTP/1.1 method.
    async fn sniff(&mut self) -> io::Result<Protocol> {
        let mut bytes = [0; PREFACE.len()];
        let mut len = 0;
        let protocol = loop {
            let read = self.read(&mut bytes[len..]).await?;
            len += read;
            if bytes[..len] == PREFACE[..] {
                break Protocol::Http2;
            }
            if read == 0 || bytes[..len] != PREFACE[..len] {
                break Protocol::Http1;
            }
        };
        self.ahead = Ahead { bytes, len, given: 0 };
        Ok(protocol)
    }
}

const PREFACE: &[u8; 4] = b"PRI ";

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Ahead { bytes, len, given } = &mut self.ahead;
        if given < len {
            let count = buf.remaining().min(*len - *given);
            buf.put_slice(&bytes[*given..*given + count]);
            *given += count;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = match &mut self.kind {
            Kind::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Kind::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if buf.filled().len() > before {
            self.activity.bytes_came();
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.kind {
            Kind::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Kind::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.kind {
            Kind::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Kind::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.kind {
            Kind::Plain(stream) => stream.is_write_vectored(),
            Kind::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Kind::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            Kind::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Kind::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
