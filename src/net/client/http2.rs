//! HTTP/2 connections: many calls at a time, driven by a task of their own on the same worker.

use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use super::pool::Home;
use super::wire::{Outgoing, Stream, Wire};
use super::{Answer, AnswerKind, Departure};

/// A share in a connection.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    sender: SendRequest<Outgoing>,
    wire: Rc<Wire>,
    made: Instant,
}

/// Runs what a connection needs on the worker's own thread.
#[derive(Debug, Clone, Copy)]
struct OnThisWorker;

impl<F: Future + 'static> Executor<F> for OnThisWorker {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

pub(super) async fn start(stream: Stream, home: Home) -> hyper::Result<Handle> {
    let wire = stream.wire();
    let mut builder = Builder::new(OnThisWorker);
    builder.timer(TokioTimer::new()).max_header_list_size(MAX_HEADER_LIST).keep_alive_interval(PING_EVERY);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an upstream HTTP/2 connection ended");
        }
    });
    let handle = Handle { sender, wire, made: Instant::now() };
    home.take_in_http2(handle.clone());
    Ok(handle)
}

impl Handle {
    pub(super) async fn send(
        mut self,
        request: Request<Bytes>,
        departure: Rc<dyn Departure>,
    ) -> hyper::Result<Response<Answer>> {
        // Waits for a free stream, while nothing of the request is written.
        self.sender.ready().await?;
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, self.wire.leave(Rc::clone(&departure), body));
        let _forget = Forget { wire: &self.wire, departure: &departure };
        let response = self.sender.send_request(request).await?;
        departure.answered();
        Ok(response.map(|incoming| Answer { kind: AnswerKind::Http2(incoming) }))
    }

    /// Whether it can take another request, as far as is known.
    pub(super) fn stands(&self) -> bool {
        !self.sender.is_closed() && self.sender.is_ready()
    }

    /// When it was made.
    pub(super) fn made(&self) -> Instant {
        self.made
    }
}

/// Takes a request off the wire's list however its exchange ends.
struct Forget<'a> {
    wire: &'a Wire,
    departure: &'a Rc<dyn Departure>,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.wire.forget(self.departure);
    }
}

const MAX_HEADER_LIST: u32 = 64 * 1024;
/// Finds out about a dead connection while calls wait on it.
const PING_EVERY: std::time::Duration = std::time::Duration::from_secs(15);
