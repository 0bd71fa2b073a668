//! A TCP socket whose state can be tested at a given moment.
//!
//! Tokio learns of a closed connection only when its event loop next turns, which may be after a request was written
//! to it. A test at checkout must know now, so it asks the kernel itself.

use std::cell::RefCell;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::wire::Wire;

/// A TCP socket that tells its [`Wire`] what the kernel takes, and asks the kernel itself when the wire says that a
/// test is under way.
#[derive(Debug)]
pub(super) struct Socket {
    /// Only ever borrowed for a moment; [`Window`] looks at it too.
    tcp: Rc<RefCell<TcpStream>>,
    wire: Rc<Wire>,
}

/// A look at a socket that somebody else reads.
#[derive(Debug, Clone)]
pub(super) struct Window(Weak<RefCell<TcpStream>>);

/// What lies unread in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// Nothing: the other side has said nothing new.
    Nothing,
    /// Something, whatever it is.
    Something,
    /// The end: the other side closed the connection, or it failed.
    End,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream, wire: Rc<Wire>) -> Self {
        Self { tcp: Rc::new(RefCell::new(tcp)), wire }
    }

    pub(super) fn window(&self) -> Window {
        Window(Rc::downgrade(&self.tcp))
    }

    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.borrow().poll_read_ready(cx)
    }

    fn written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = result {
            self.wire.written();
        }
        result
    }
}

/// Nothing stands between the question whether a request may leave and the kernel: a process that was stopped before
/// must not go on with what it was about to send.
fn too_late() -> io::Error {
    io::Error::other("the request's turn was over before it could leave")
}

impl Window {
    /// What lies unread at this moment.
    pub(super) fn look(&self) -> Unread {
        let Some(tcp) = self.0.upgrade() else { return Unread::End };
        let tcp = tcp.borrow();
        match SockRef::from(&*tcp).peek(&mut [MaybeUninit::uninit()]) {
            Ok(0) => Unread::End,
            Ok(_) => Unread::Something,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Unread::Nothing,
            Err(_) => Unread::End,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut tcp = self.tcp.borrow_mut();
        if self.wire.is_testing() {
            match (&*SockRef::from(&*tcp)).read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Pin::new(&mut *tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !self.wire.may_write() {
            return Poll::Ready(Err(too_late()));
        }
        let taken = Pin::new(&mut *self.tcp.borrow_mut()).poll_write(cx, buf);
        self.written(taken)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // TLS writes a call's one record so. The kernel takes 0.3 µs longer over a list, even of one.
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        if !self.wire.may_write() {
            return Poll::Ready(Err(too_late()));
        }
        let taken = Pin::new(&mut *self.tcp.borrow_mut()).poll_write_vectored(cx, bufs);
        self.written(taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tcp.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tcp.borrow_mut()).poll_shutdown(cx)
    }
}
