//! Bodies: a request's, read whole under a cap; an answer's, which may break off or end its connection.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::socket::{End, Fate};

/// Why a request's body could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadBody {
    #[error("the body is longer than the {LONGEST_BODY} bytes that the sandbox takes")]
    TooLong,
    #[error("the body broke off")]
    BrokeOff(#[source] hyper::Error),
}

/// Reads a whole body, up to [`LONGEST_BODY`] bytes.
pub(super) async fn read(mut body: Incoming) -> Result<Bytes, BadBody> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(BadBody::BrokeOff)?.into_data() else { continue };
        if read.len() + data.len() > LONGEST_BODY {
            return Err(BadBody::TooLong);
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

/// Our own bound: no page states one for a whole body.
pub(super) const LONGEST_BODY: usize = 16 * 1024 * 1024;

/// An answer's body.
pub(super) struct AnswerBody {
    data: Option<Bytes>,
    /// It comes a byte at a time.
    drip: Option<Drip>,
    /// Bytes that were promised and never come.
    missing: u64,
    /// How the connection ends once the data has left.
    then: Option<(Arc<Fate>, End)>,
}

impl AnswerBody {
    pub(super) fn whole(data: impl Into<Bytes>) -> Self {
        let data = data.into();
        Self { data: (!data.is_empty()).then_some(data), drip: None, missing: 0, then: None }
    }

    /// Sends half of `data` under the length of all of it, then cuts the connection.
    pub(super) fn truncated(data: &[u8], fate: Arc<Fate>) -> Self {
        let (half, missing) = data.split_at(data.len() / 2);
        let missing = missing.len() as u64;
        Self { data: Some(Bytes::copy_from_slice(half)), drip: None, missing, then: Some((fate, End::Cut)) }
    }

    /// Comes a byte at a time, each one so long after the one before.
    pub(super) fn dripping(self, pause: Duration) -> Self {
        Self { drip: Some(Drip { pause, next: Box::pin(tokio::time::sleep(pause)) }), ..self }
    }

    /// Closes the connection after the answer.
    pub(super) fn then_close(self, fate: Arc<Fate>) -> Self {
        Self { then: Some((fate, End::Close)), ..self }
    }
}

/// When the next byte comes.
struct Drip {
    pause: Duration,
    next: Pin<Box<Sleep>>,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Self { data: Some(left), drip: Some(drip), .. } = &mut *self
            && left.len() > 1
        {
            ready!(drip.next.as_mut().poll(cx));
            drip.next = Box::pin(tokio::time::sleep(drip.pause));
            return Poll::Ready(Some(Ok(Frame::data(left.split_to(1)))));
        }
        if let Some(data) = self.data.take() {
            if let Some((fate, end)) = &self.then {
                fate.end_after_flush(*end);
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        // Nobody needs to be woken for what never comes: the connection is about to be cut.
        if self.missing > 0 { Poll::Pending } else { Poll::Ready(None) }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.missing == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64) + self.missing)
    }
}
