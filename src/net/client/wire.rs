//! What is known of a connection between its two ends in this program: the call that leaves through it, and the
//! stream that carries its bytes.
//!
//! The HTTP library takes a request and writes it when it can. Whoever keeps Tencent's ceiling must know when the first
//! byte is written and when the last byte was handed to the kernel. Three places tell: the request's body, at which
//! the library looks when it takes the request up; the body's bytes, which it uses up when it puts them on the wire or
//! into the buffer before it, however long the other side's window keeps them back; and the stream, which sees what
//! the kernel takes, and is flushed by the library only when its own buffers are empty, and by TLS when all its records
//! are handed on. So a request begins to leave with the first bytes that the kernel takes after it was taken up, and
//! has left with the first completed flush after its body was used up.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::Departure;
use super::socket::{Socket, Window};

/// Shared by a connection's stream and whoever uses the connection. Released with the last of them.
#[derive(Default)]
pub(super) struct Wire {
    testing: Cell<bool>,
    /// The requests that were given to the connection and are not yet handed to the kernel in full: one at most over
    /// HTTP/1.1, several over HTTP/2.
    leaving: RefCell<Vec<Leaving>>,
    /// Who waits for something to be read.
    reader: Cell<Option<Waker>>,
    /// When something was read last, or the end was, where several calls share the connection.
    last_read: Cell<Option<Instant>>,
    is_shared: Cell<bool>,
}

struct Leaving {
    departure: Rc<dyn Departure>,
    written: bool,
    by: By,
}

/// Who gives a request to the stream.
enum By {
    /// Its own call, without a library between.
    Itself {
        /// All of it was given to the stream.
        used_up: bool,
    },
    /// The HTTP library.
    Library(Progress),
}

/// How far the library came with a request.
///
/// It never leaves its thread; it is atomic because the library asks that a body's bytes could.
#[derive(Debug, Clone, Default)]
struct Progress(Arc<AtomicU8>);

// The stages of a request inside the library, after it was given to it.
const TAKEN_UP: u8 = 1;
const USED_UP: u8 = 2;

impl Progress {
    fn reach(&self, stage: u8) {
        self.0.fetch_max(stage, Ordering::Relaxed);
    }

    fn has_reached(&self, stage: u8) -> bool {
        self.0.load(Ordering::Relaxed) >= stage
    }
}

impl Leaving {
    /// The next bytes that the stream is given may be its first.
    fn is_taken_up(&self) -> bool {
        match &self.by {
            By::Itself { .. } => true,
            By::Library(progress) => progress.has_reached(TAKEN_UP),
        }
    }

    fn is_used_up(&self) -> bool {
        match &self.by {
            By::Itself { used_up } => *used_up,
            By::Library(progress) => progress.has_reached(USED_UP),
        }
    }
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

    /// Wakes once, when something was read next, or the end was.
    pub(super) fn wake_when_read(&self, waker: &Waker) {
        self.reader.set(Some(waker.clone()));
    }

    /// Something was read, or the end was.
    fn was_read(&self) {
        if self.is_shared.get() {
            self.last_read.set(Some(Instant::now()));
        }
        self.wake_reader();
    }

    /// Wakes whoever waits for something to be read.
    pub(super) fn wake_reader(&self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    /// From now on it is remembered when something was read: several calls will share the connection.
    pub(super) fn is_to_be_shared(&self) {
        self.is_shared.set(true);
    }

    /// For how long nothing was read, reckoned from `began` at the earliest.
    pub(super) fn silent_since(&self, began: Instant) -> Duration {
        self.last_read.get().map_or(began, |last| last.max(began)).elapsed()
    }

    /// A request is given to the connection: gives the body to send with it.
    pub(super) fn leave(&self, departure: Rc<dyn Departure>, body: Bytes) -> Outgoing {
        let progress = Progress::default();
        let body = (!body.is_empty()).then_some(body);
        let by = By::Library(progress.clone());
        self.leaving.borrow_mut().push(Leaving { departure, written: false, by });
        Outgoing { has_bytes: body.is_some(), body, progress }
    }

    /// A request is about to be written to the stream by whoever calls this, and says so when it is [`Self::used_up`].
    pub(super) fn depart(&self, departure: Rc<dyn Departure>) {
        let by = By::Itself { used_up: false };
        self.leaving.borrow_mut().push(Leaving { departure, written: false, by });
    }

    /// All of the request that departs by itself was given to the stream.
    pub(super) fn used_up(&self) {
        for leaving in &mut *self.leaving.borrow_mut() {
            if let By::Itself { used_up } = &mut leaving.by {
                *used_up = true;
            }
        }
    }

    /// Forgets a request of which nothing more will leave.
    pub(super) fn forget(&self, departure: &Rc<dyn Departure>) {
        self.leaving.borrow_mut().retain(|leaving| !Rc::ptr_eq(&leaving.departure, departure));
    }

    /// Forgets a request that nobody waits for any more. One that the library took up may leave all the same, so its
    /// departure is told that it does.
    pub(super) fn abandon(&self, departure: &Rc<dyn Departure>) {
        for leaving in &*self.leaving.borrow() {
            let may_leave = !leaving.written && leaving.is_taken_up();
            if may_leave && Rc::ptr_eq(&leaving.departure, departure) {
                departure.writing();
            }
        }
        self.forget(departure);
    }

    /// Whether every request of which the next bytes may be the first may still leave.
    pub(super) fn may_write(&self) -> bool {
        self.leaving
            .borrow()
            .iter()
            .all(|leaving| leaving.written || !leaving.is_taken_up() || leaving.departure.may_leave())
    }

    /// The kernel took some bytes.
    pub(super) fn written(&self) {
        for leaving in &mut *self.leaving.borrow_mut() {
            if !leaving.written && leaving.is_taken_up() {
                leaving.written = true;
                leaving.departure.writing();
            }
        }
    }

    fn flushed(&self) {
        self.leaving.borrow_mut().retain(|leaving| {
            let sent = leaving.written && leaving.is_used_up();
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

/// A request's body, which tells how far the library came with the request.
#[derive(Debug)]
pub(super) struct Outgoing {
    body: Option<Bytes>,
    has_bytes: bool,
    progress: Progress,
}

impl Outgoing {
    /// The library looks at the body when it takes the request up, to write its head.
    fn looked_at(&self) {
        self.progress.reach(if self.has_bytes { TAKEN_UP } else { USED_UP });
    }
}

impl http_body::Body for Outgoing {
    type Data = Piece;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Self::Error>>> {
        self.looked_at();
        let progress = self.progress.clone();
        Poll::Ready(self.body.take().map(|bytes| Ok(Frame::data(Piece { bytes, progress }))))
    }

    fn is_end_stream(&self) -> bool {
        self.looked_at();
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.looked_at();
        SizeHint::with_exact(self.body.as_ref().map_or(0, |body| body.len() as u64))
    }
}

/// A body's bytes, which tell when they were used up.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    progress: Progress,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if self.bytes.is_empty() {
            self.progress.reach(USED_UP);
        }
    }
}

/// A connection's stream, plain or TLS, that tells its [`Wire`] when it was read and when it is flushed.
#[derive(Debug)]
pub(super) struct Stream {
    kind: StreamKind,
    wire: Rc<Wire>,
}

/// Plain, or TLS.
pub(super) type StreamKind = Either<Socket, Box<TlsStream<Socket>>>;

impl Stream {
    pub(super) fn new(kind: StreamKind, wire: Rc<Wire>) -> Self {
        Self { kind, wire }
    }

    pub(super) fn wire(&self) -> Rc<Wire> {
        Rc::clone(&self.wire)
    }

    /// Whether TLS has decrypted something that nobody took yet, be it the end.
    pub(super) fn has_decrypted(&self) -> bool {
        matches!(&self.kind, Either::Right(tls) if !tls.get_ref().1.wants_read())
    }

    /// Whether there may be something to read.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.kind {
            Either::Left(socket) => socket.poll_readable(cx),
            Either::Right(tls) => match tls.get_ref() {
                (socket, session) if session.wants_read() => socket.poll_readable(cx),
                // Something is decrypted already.
                _ => Poll::Ready(Ok(())),
            },
        }
    }

    /// Reads what is there, at least a byte, behind what `buffer` holds; 0 is the end. For a connection that nobody else
    /// waits at.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        match &mut self.kind {
            Either::Left(socket) => {
                if buffer.capacity() == 0 {
                    *buffer = BytesMut::with_capacity(READ_AHEAD);
                } else if buffer.capacity() - buffer.len() < LEAST_READ {
                    buffer.reserve(READ_ON);
                }
                pin!(socket.read_buf(buffer)).poll(cx)
            }
            // What was decrypted is taken as it lies there, into a buffer of its size. Told to fill one, TLS would ask
            // the socket once more, in vain: 400 instructions.
            Either::Right(tls) => {
                let mut tls = Pin::new(&mut **tls);
                let decrypted = ready!(tls.as_mut().poll_fill_buf(cx))?;
                let length = decrypted.len();
                if buffer.capacity() == 0 {
                    // 70 instructions less than having it grow.
                    *buffer = BytesMut::from(decrypted);
                } else {
                    buffer.extend_from_slice(decrypted);
                }
                tls.consume(length);
                Poll::Ready(Ok(length))
            }
        }
    }

    /// A look at the socket at the bottom.
    pub(super) fn window(&self) -> Window {
        match &self.kind {
            Either::Left(socket) => socket.window(),
            Either::Right(tls) => tls.get_ref().0.window(),
        }
    }

    /// Whether the other side chose HTTP/2 when TLS was set up.
    pub(super) fn speaks_http2(&self) -> bool {
        matches!(&self.kind, Either::Right(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2"))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.kind).poll_read(cx, buf);
        if read.is_ready() {
            self.wire.was_read();
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.kind).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.kind).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.kind.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.kind).poll_flush(cx);
        if let Poll::Ready(Ok(())) = flushed {
            self.wire.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.kind).poll_shutdown(cx)
    }
}

/// Answers are short: most come whole in one read of this many bytes, which the allocator has at hand. Of longer ones
/// more is read at once.
const READ_AHEAD: usize = 1024;
const READ_ON: usize = 16 * 1024;
/// Where there is less room, more is made.
const LEAST_READ: usize = 128;
