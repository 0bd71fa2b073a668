//! Memory for bodies, within one bound for all that are held at the same time.
//!
//! Bodies of requests may take half of it. The other half is left to answers: a request that finds no room was not sent,
//! and can come again; an answer that finds none is lost, though its call may have been executed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

/// Memory for bodies.
#[derive(Debug)]
pub struct Room {
    taken: AtomicUsize,
    most: usize,
}

/// Some of a room. Dropping it gives it back.
#[derive(Debug)]
pub struct Part {
    room: Arc<Room>,
    bytes: usize,
    /// Up to where the room may be taken.
    up_to: usize,
}

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bodies take all the memory that `limits.buffered` allows")]
pub struct NoRoom;

/// A body whose bytes are counted while they come.
#[derive(Debug)]
pub struct Counted<'a, B> {
    body: B,
    part: &'a mut Part,
}

/// Why a counted body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CountedError<E> {
    /// There is no room for it.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The body failed.
    #[error(transparent)]
    Body(E),
}

/// Bytes and the room that they take.
struct Held {
    bytes: Bytes,
    #[expect(dead_code, reason = "held for as long as the bytes are")]
    part: Part,
}

// === impl Room ===

impl Room {
    /// Room for so many bytes.
    #[must_use]
    pub fn of(most: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), most })
    }

    /// How many bytes are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// A part for a request, empty yet.
    #[must_use]
    pub fn for_request(self: &Arc<Self>) -> Part {
        Part { room: Arc::clone(self), bytes: 0, up_to: self.most / 2 }
    }

    /// A part for an answer, empty yet.
    #[must_use]
    pub fn for_answer(self: &Arc<Self>) -> Part {
        Part { room: Arc::clone(self), bytes: 0, up_to: self.most }
    }
}

// === impl Part ===

impl Part {
    /// Takes so many bytes more.
    ///
    /// # Errors
    /// When they are not there. The part stays as it is.
    pub fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let before = self.room.taken.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.up_to {
            self.room.taken.fetch_sub(bytes, Ordering::Relaxed);
            return Err(NoRoom);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// The bytes, which give the part back when the last of them is dropped.
    #[must_use]
    pub fn hold(self, bytes: Bytes) -> Bytes {
        // Nothing is to be held, or nobody counted.
        if self.bytes == 0 { bytes } else { Bytes::from_owner(Held { bytes, part: self }) }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

// === impl Counted ===

impl<'a, B> Counted<'a, B> {
    /// The bytes of `body` will be taken from the room of `part`.
    pub fn new(body: B, part: &'a mut Part) -> Self {
        Self { body, part }
    }
}

impl<B: Body + Unpin> Body for Counted<'_, B> {
    type Data = B::Data;
    type Error = CountedError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx).map(|frame| {
            let frame = frame?.map_err(CountedError::Body);
            Some(frame.and_then(|frame| {
                let bytes = frame.data_ref().map_or(0, Buf::remaining);
                self.part.grow(bytes)?;
                Ok(frame)
            }))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;
    use crate::net::body::{ReadError, read_capped};

    #[test]
    fn a_part_grows_up_to_its_bound_and_comes_back() {
        let room = Room::of(100);
        let (mut request, mut answer) = (room.for_request(), room.for_answer());
        assert_eq!((request.grow(50), request.grow(1), room.taken()), (Ok(()), Err(NoRoom), 50));
        assert_eq!((answer.grow(50), answer.grow(1), room.taken()), (Ok(()), Err(NoRoom), 100));
        drop(request);
        assert_eq!((room.taken(), answer.grow(usize::MAX), answer.grow(50)), (50, Err(NoRoom), Ok(())));
        assert_eq!(room.for_request().grow(0), Err(NoRoom), "answers took the requests' half, too");
        drop(answer);
        assert_eq!(room.taken(), 0);
    }

    #[test]
    fn bytes_hold_their_part_until_the_last_of_them_is_gone() {
        let room = Room::of(100);
        let mut part = room.for_answer();
        part.grow(4).unwrap();
        let mut bytes = part.hold(Bytes::from_static(b"abcd"));
        let half = bytes.split_off(2);
        drop(bytes);
        assert_eq!((&half[..], room.taken()), (&b"cd"[..], 4));
        drop(half);
        assert_eq!(room.taken(), 0);
    }

    #[tokio::test]
    async fn a_body_is_counted_while_it_comes() {
        let room = Room::of(20);
        let mut part = room.for_request();
        let body = Counted::new(Full::new(Bytes::from("0123456789")), &mut part);
        assert_eq!(read_capped(body, 100).await.unwrap(), "0123456789");
        assert_eq!(room.taken(), 10);
        let mut other = room.for_request();
        let body = Counted::new(Full::new(Bytes::from("0")), &mut other);
        let error = read_capped(body, 100).await.unwrap_err();
        assert!(matches!(error, ReadError::Broken(CountedError::NoRoom(NoRoom))), "{error}");
    }
}
