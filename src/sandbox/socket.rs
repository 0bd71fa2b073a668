//! A TCP connection that can come to a bad end on demand.
//!
//! A call's handler decides how its connection ends and leaves that in the [`Fate`]; the connection's task, which
//! owns the socket, carries it out. An end that comes after an answer waits until the kernel has taken all of it:
//! hyper flushes its socket exactly then.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// How a connection ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Closed in order: TLS says goodbye, HTTP/2 too.
    Close,
    /// Cut: nothing more is sent.
    Cut,
    /// Reset: the other side sees `ECONNRESET`.
    Reset,
}

/// What was decided about a connection.
#[derive(Default)]
pub(super) struct Fate {
    state: Mutex<State>,
    decided: Notify,
}

#[derive(Default)]
struct State {
    after_flush: Option<End>,
    now: Option<End>,
}

impl Fate {
    /// Ends the connection at once.
    pub(super) fn end(&self, end: End) {
        self.lock().now = Some(end);
        self.decided.notify_one();
    }

    /// Ends the connection as soon as all that is being sent has left.
    pub(super) fn end_after_flush(&self, end: End) {
        self.lock().after_flush = Some(end);
    }

    /// Waits for the decision.
    pub(super) async fn decided(&self) -> End {
        loop {
            if let Some(end) = self.lock().now {
                return end;
            }
            self.decided.notified().await;
        }
    }

    fn flushed(&self) {
        let end = self.lock().after_flush.take();
        if let Some(end) = end {
            self.end(end);
        }
    }

    fn is_reset(&self) -> bool {
        self.lock().now == Some(End::Reset)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An accepted TCP connection.
pub(super) struct Socket {
    tcp: TcpStream,
    fate: Arc<Fate>,
    /// What was read ahead and has yet to be handed on.
    ahead: Bytes,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, fate: Arc<Fate>) -> Self {
        Self { tcp, fate, ahead: Bytes::new() }
    }

    /// Whether the client speaks HTTP/2 without having asked (RFC 9113, section 3.3). Reads no more than it needs.
    pub(super) async fn speaks_http2(&mut self) -> io::Result<bool> {
        let mut read = Vec::with_capacity(PREFACE.len());
        while PREFACE.starts_with(&read) && read.len() < PREFACE.len() {
            let wanted = (PREFACE.len() - read.len()) as u64;
            if (&mut self.tcp).take(wanted).read_buf(&mut read).await? == 0 {
                break;
            }
        }
        self.ahead = Bytes::from(read);
        Ok(&self.ahead[..] == PREFACE)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.tcp).poll_read(cx, into);
        }
        let length = self.ahead.len().min(into.remaining());
        into.put_slice(&self.ahead[..length]);
        self.ahead.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.tcp).poll_flush(cx))?;
        self.fate.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.fate.is_reset() {
            // With a linger time of zero, closing sends RST. If the option cannot be set, the close is an ordinary one.
            _ = self.tcp.set_zero_linger();
        }
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
