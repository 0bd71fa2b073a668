//! What is known of a connection between its two ends in this program: the call that leaves through it, and the
//! stream that carries its bytes.
//!
//! The HTTP library takes a request and writes it when it can. Whoever keeps Tencent's ceiling must know when the first
//! byte is written and when the last byte was handed to the kernel. The stream sees both: the first write after a
//! request was given to the connection, and the first completed flush after the request's body was taken, since the
//! library flushes the stream only when its own buffers are empty, and TLS hands all its records on when flushed.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::Departure;
use super::socket::Socket;

/// Shared by a connection's stream and whoever uses the connection. Released with the last of them.
#[derive(Default)]
pub(super) struct Wire {
    testing: Cell<bool>,
    /// The requests that were given to the connection and are not yet handed to the kernel in full: one at most over
    /// HTTP/1.1, several over HTTP/2.
    leaving: RefCell<Vec<Leaving>>,
}

struct Leaving {
    departure: Rc<dyn Departure>,
    written: bool,
    body_taken: Rc<Cell<bool>>,
}

impl Wire {
    /// Whether a read should ask the kernel itself.
    pub(super) fn is_testing(&self) -> bool {
        self.testing.get()
    }

    /// Runs `test` with reads that ask the kernel themselves.
    pub(super) fn testing<T>(&self, test: impl FnOnce() -> T) -> T {
        self.testing.set(true);
        let result = test();
        self.testing.set(false);
        result
    }

    /// A request is given to the connection: gives the body to send with it.
    pub(super) fn leave(&self, departure: Rc<dyn Departure>, body: Bytes) -> Outgoing {
        let body_taken = Rc::new(Cell::new(false));
        self.leaving.borrow_mut().push(Leaving {
            departure,
            written: false,
            body_taken: Rc::clone(&body_taken),
        });
        Outgoing { body: Some(body), taken: body_taken }
    }

    /// Forgets requests that will not leave any more.
    pub(super) fn forget(&self, departure: &Rc<dyn Departure>) {
        self.leaving.borrow_mut().retain(|leaving| !Rc::ptr_eq(&leaving.departure, departure));
    }

    fn writing(&self) {
        for leaving in self.leaving.borrow_mut().iter_mut().filter(|leaving| !leaving.written) {
            leaving.written = true;
            leaving.departure.writing();
        }
    }

    fn flushed(&self) {
        self.leaving.borrow_mut().retain(|leaving| {
            let sent = leaving.body_taken.get();
            if sent {
                leaving.departure.sent();
            }
            !sent
        });
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("leaving", &self.leaving.borrow().len()).finish_non_exhaustive()
    }
}

/// A request's body, which tells the wire when it was taken.
#[derive(Debug)]
pub(super) struct Outgoing {
    body: Option<Bytes>,
    taken: Rc<Cell<bool>>,
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.taken.set(true);
        Poll::Ready(self.body.take().map(|body| Ok(Frame::data(body))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.as_ref().map_or(0, |body| body.len() as u64))
    }
}

/// A connection's stream, plain or TLS, that tells its [`Wire`] what is written and flushed.
#[derive(Debug)]
pub(super) struct Stream {
    kind: StreamKind,
    wire: Rc<Wire>,
}

#[derive(Debug)]
pub(super) enum StreamKind {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    pub(super) fn new(kind: StreamKind, wire: Rc<Wire>) -> Self {
        Self { kind, wire }
    }

    pub(super) fn wire(&self) -> Rc<Wire> {
        Rc::clone(&self.wire)
    }

    /// Whether the other side chose HTTP/2 when TLS was set up.
    pub(super) fn speaks_http2(&self) -> bool {
        matches!(&self.kind, StreamKind::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2"))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.kind {
            StreamKind::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            StreamKind::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.writing();
        match &mut self.kind {
            StreamKind::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            StreamKind::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wire.writing();
        match &mut self.kind {
            StreamKind::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            StreamKind::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.kind {
            StreamKind::Plain(socket) => socket.is_write_vectored(),
            StreamKind::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match &mut self.kind {
            StreamKind::Plain(socket) => Pin::new(socket).poll_flush(cx),
            StreamKind::Tls(tls) => Pin::new(tls).poll_flush(cx),
        };
        if let Poll::Ready(Ok(())) = flushed {
            self.wire.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.kind {
            StreamKind::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            StreamKind::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
