//! HTTP/1.1 connections: one request at a time, driven by the task of the call that uses them.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::pool::Home;
use super::wire::{Outgoing, Stream, Wire};
use super::{Answer, AnswerKind, Departure};

/// A connection that is idle or serves one call.
#[derive(Debug)]
pub(super) struct Lease {
    sender: SendRequest<Outgoing>,
    connection: Connection<TokioIo<Stream>, Outgoing>,
    wire: Rc<Wire>,
    home: Home,
    /// When it was made: it is not used for ever, since the name's addresses change.
    made: Instant,
}

pub(super) async fn start(stream: Stream, home: Home) -> hyper::Result<Lease> {
    let wire = stream.wire();
    let mut builder = Builder::new();
    builder.max_headers(MAX_HEADERS).max_buf_size(MAX_BUFFER);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    Ok(Lease { sender, connection, wire, home, made: Instant::now() })
}

impl Lease {
    pub(super) async fn send(
        mut self: Box<Self>,
        request: Request<Bytes>,
        departure: Rc<dyn Departure>,
    ) -> hyper::Result<Response<Answer>> {
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, self.wire.leave(Rc::clone(&departure), body));
        let mut response = pin!(self.sender.send_request(request));
        let connection = &mut self.connection;
        let mut closed = false;
        let response = std::future::poll_fn(|cx| {
            // Once closed it must not be polled again; the response then tells why.
            closed = closed || Pin::new(&mut *connection).poll(cx).is_ready();
            response.as_mut().poll(cx)
        })
        .await;
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                self.wire.forget(&departure);
                return Err(error);
            }
        };
        departure.answered();
        // An answer that came before the request was read to its end leaves the rest of it unsent.
        self.wire.forget(&departure);
        Ok(response.map(|incoming| {
            let incoming = Incoming { incoming, lease: if closed { Held::Closed } else { Held::Open(self) } };
            Answer { kind: AnswerKind::Http1(incoming) }
        }))
    }

    /// It served nobody and goes back.
    pub(super) fn keep(self: Box<Self>) {
        self.home.clone().take_in_http1(self);
    }

    /// Whether it is idle and the other side has not closed it, as the kernel knows at this moment.
    pub(super) fn stands(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        let wire = Rc::clone(&self.wire);
        let open = wire.testing(|| Pin::new(&mut self.connection).poll(&mut nobody).is_pending());
        open && self.sender.is_ready()
    }

    /// When it was made.
    pub(super) fn made(&self) -> Instant {
        self.made
    }
}

/// A response's body, which holds its connection until it was read to its end.
#[derive(Debug)]
pub(super) struct Incoming {
    incoming: hyper::body::Incoming,
    lease: Held,
}

#[derive(Debug)]
enum Held {
    Open(Box<Lease>),
    /// The other side closed it after the answer; what was read already is still to be had.
    Closed,
    Returned,
}

impl Incoming {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.lease, Held::Returned)
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        if let Held::Open(lease) = &mut self.lease
            && Pin::new(&mut lease.connection).poll(cx).is_ready()
        {
            self.lease = Held::Closed;
        }
        let frame = Pin::new(&mut self.incoming).poll_frame(cx);
        let over = match &frame {
            Poll::Ready(Some(Ok(_))) => self.incoming.is_end_stream(),
            Poll::Ready(None) => true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if over {
            self.give_back();
        }
        frame
    }

    fn give_back(&mut self) {
        if let Held::Open(mut lease) = std::mem::replace(&mut self.lease, Held::Returned) {
            // Lets the connection see that the body was read, after which it is ready for another request.
            let mut nobody = Context::from_waker(Waker::noop());
            let open = Pin::new(&mut lease.connection).poll(&mut nobody).is_pending();
            if open && lease.sender.is_ready() {
                lease.home.clone().take_in_http1(lease);
            }
        }
    }
}

const MAX_HEADERS: usize = 100;
/// Bounds what an answer's head can take, and how much of its body lies in memory unread.
const MAX_BUFFER: usize = 256 * 1024;
