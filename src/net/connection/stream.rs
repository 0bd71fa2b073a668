//! A caller's stream: TCP, Unix or TLS, with bytes put back in front that were read too early.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::activity::Activity;
use crate::net::listener;
use crate::net::tls::ClientNames;

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
    /// Read already, not yet given on: the few bytes that tell HTTP/2 from HTTP/1.1, or that came first while nobody read,
    /// or what the HTTP library had of the next request.
    ahead: Bytes,
    /// What the HTTP library makes of bytes that are no request is not for the caller, who is told in
    /// [other words](Self::say_last).
    refusal: Refusal,
    activity: Rc<Activity>,
}

/// How far a caller is told that no request can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// There is none.
    None,
    /// The HTTP library wrote one, which went nowhere.
    HeldBack,
    /// The last words are being said.
    Said,
}

/// Plain, or TLS.
type Kind = Either<Socket, Box<TlsStream<Socket>>>;

/// What lies under TLS, or is spoken over as it is: it sees what the kernel takes.
#[derive(Debug)]
struct Socket {
    stream: listener::Stream,
    activity: Rc<Activity>,
}

// === impl Stream ===

impl Stream {
    /// The names that the caller proved to have: with TLS, those in its certificate.
    pub(super) fn client_names(&self) -> ClientNames {
        match &self.kind {
            Either::Left(_) => ClientNames::none(),
            Either::Right(stream) => ClientNames::of(stream.get_ref().1),
        }
    }

    /// Sets up TLS, if wanted.
    ///
    /// # Errors
    /// When the caller does not speak TLS as wanted, or vanished.
    pub(super) async fn open(
        stream: listener::Stream,
        tls: Option<&TlsAcceptor>,
        activity: Rc<Activity>,
    ) -> io::Result<Self> {
        let socket = Socket { stream, activity: Rc::clone(&activity) };
        let kind = match tls {
            Some(acceptor) => Either::Right(Box::new(acceptor.accept(socket).await?)),
            None => Either::Left(socket),
        };
        Ok(Self { kind, ahead: Bytes::new(), refusal: Refusal::None, activity })
    }

    /// Learns which HTTP is spoken: TLS settled that; without it the first bytes tell.
    ///
    /// They are read until they differ from HTTP/2's preface (RFC 9113, section 3.4), or agree with its first word,
    /// which is no HTTP/1.1 method.
    ///
    /// # Errors
    /// When the connection failed.
    pub(super) async fn protocol(&mut self) -> io::Result<Protocol> {
        if let Either::Right(tls) = &self.kind {
            let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
            return Ok(if http2 { Protocol::Http2 } else { Protocol::Http1 });
        }
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
        self.ahead = Bytes::copy_from_slice(&bytes[..len]);
        Ok(protocol)
    }

    /// Waits for bytes, without a buffer meanwhile. `false`: the caller closed the connection.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When the connection failed.
    pub(super) async fn wakes(&mut self) -> io::Result<bool> {
        if !self.ahead.is_empty() {
            return Ok(true);
        }
        let mut bytes = [0; PREFACE.len()];
        let len = self.read(&mut bytes).await?;
        self.ahead = Bytes::copy_from_slice(&bytes[..len]);
        Ok(len > 0)
    }

    /// The beginning of a head was read too early: it is read again before anything else. Empty lines before it are
    /// nothing (RFC 9112, section 2.2).
    pub(super) fn put_back(mut self, head: &[u8]) -> Self {
        let empty = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let head = &head[empty..];
        if !head.is_empty() {
            self.ahead = [head, &self.ahead].concat().into();
        }
        self
    }

    /// Finds out, while a call is under way whose request was read, that its caller hung up. What the caller sends meanwhile
    /// is kept for later, and then it is not looked any further.
    ///
    /// The HTTP library would look itself, and for that have a new buffer of 8 KiB with each call, since the last one still
    /// holds the request: memory for nothing, which is not in the processor's caches.
    ///
    /// # Errors
    /// When the caller hung up, or the connection failed.
    fn poll_hung_up(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.ahead.is_empty() || !self.activity.only_answers() {
            return Ok(());
        }
        let mut bytes = [0; PREFACE.len()];
        let mut buf = ReadBuf::new(&mut bytes);
        let Poll::Ready(read) = Pin::new(&mut self.kind).poll_read(cx, &mut buf) else { return Ok(()) };
        read?;
        if buf.filled().is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.ahead = Bytes::copy_from_slice(buf.filled());
        Ok(())
    }

    /// Writes the last words on this connection, and says that they are.
    ///
    /// # Errors
    /// When the connection failed; also where the HTTP library's refusal went out already, because it came right behind
    /// an answer that the caller was slow to take.
    pub(super) async fn say_last(&mut self, words: &[u8]) -> io::Result<()> {
        self.refusal = Refusal::Said;
        self.write_all(words).await?;
        self.shutdown().await
    }

    /// Whether what is written now is to be held back, since it answers no request.
    fn holds_back(&mut self) -> bool {
        if self.refusal == Refusal::None && !self.activity.is_answering() {
            self.refusal = Refusal::HeldBack;
        }
        self.refusal == Refusal::HeldBack
    }

    /// What was taken of so many bytes.
    fn of(&self, length: usize, taken: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if !matches!(taken, Poll::Ready(Ok(bytes)) if bytes >= length) {
            self.activity.is_held_up();
        }
        taken
    }
}

const PREFACE: &[u8; 4] = b"PRI ";

/// The pieces one behind the other, if they have room in `short`.
fn joined<'a>(bufs: &[io::IoSlice<'_>], short: &'a mut [u8; SHORT]) -> Option<&'a [u8]> {
    let mut len = 0;
    for buf in bufs {
        short.get_mut(len..len + buf.len())?.copy_from_slice(buf);
        len += buf.len();
    }
    Some(&short[..len])
}

/// An answer's head and body that have so many bytes together, as most have, are written as one: to copy them takes less
/// than the 0.4 µs that the kernel takes longer over a list.
const SHORT: usize = 1024;

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = buf.remaining().min(self.ahead.len());
            buf.put_slice(&self.ahead.split_to(count));
            self.activity.bytes_came();
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.kind).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.bytes_came();
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.holds_back() {
            return Poll::Ready(Ok(buf.len()));
        }
        let taken = Pin::new(&mut self.kind).poll_write(cx, buf);
        self.of(buf.len(), taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.holds_back() {
            return Poll::Ready(Ok(length));
        }
        let taken = Pin::new(&mut self.kind).poll_write_vectored(cx, bufs);
        self.of(length, taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.kind.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.kind).poll_flush(cx);
        match flushed {
            // Whoever writes here flushes only when it holds nothing back itself.
            Poll::Ready(Ok(())) => self.activity.flushed(),
            Poll::Pending => self.activity.is_held_up(),
            Poll::Ready(Err(_)) => {}
        }
        // Each time that it was polled, whether there was anything to write or not, the HTTP library ends with this; but not
        // while the caller takes nothing, for which there is a limit.
        self.poll_hung_up(cx)?;
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refusal == Refusal::HeldBack {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.kind).poll_shutdown(cx)
    }
}

// === impl Socket ===

impl Socket {
    fn written(&self, taken: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = taken {
            self.activity.written(bytes);
        }
        taken
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut short = [0; SHORT];
        let taken = match joined(bufs, &mut short) {
            Some(all) => Pin::new(&mut self.stream).poll_write(cx, all),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, bufs),
        };
        self.written(taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
