//! Bodies, read whole under a cap, unpacked under one, and all together held within one.

mod gunzip;
mod room;

pub use gunzip::{BadGzip, Gunzip};
pub use room::{Counted, CountedError, NoRoom, Part, Room};

use std::pin::{Pin, pin};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;

/// Why a body could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    /// It is longer than allowed.
    #[error("the body is longer than {limit} bytes")]
    TooLong {
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// It broke off, or was not framed as announced.
    #[error("the body broke off")]
    Broken(#[source] E),
}

/// What came of a body of which at most so much was wanted.
#[derive(Debug)]
pub enum Prefix {
    /// The whole of it.
    Whole(Bytes),
    /// More than was wanted: what was read until that was clear.
    Longer(Bytes),
}

/// Reads a body whole, if it is no longer than `limit` bytes.
///
/// A body that announces more is refused before any of it is read. Cancel-safe: what was read is dropped.
///
/// # Errors
/// When it is longer, or breaks off.
pub async fn read_capped<B: Body>(body: B, limit: usize) -> Result<Bytes, ReadError<B::Error>> {
    let mut body = pin!(body);
    match read_prefix(body.as_mut(), limit).await {
        Ok(Prefix::Whole(bytes)) => Ok(bytes),
        Ok(Prefix::Longer(_)) => Err(ReadError::TooLong { limit }),
        Err(error) => Err(ReadError::Broken(error)),
    }
}

/// Reads a body until its end or until more than `limit` bytes are there.
///
/// # Errors
/// When it breaks off.
pub async fn read_prefix<B: Body>(mut body: Pin<&mut B>, limit: usize) -> Result<Prefix, B::Error> {
    if body.size_hint().lower() > limit as u64 {
        return Ok(Prefix::Longer(Bytes::new()));
    }
    // Most bodies come in one piece, which is then passed on without copying.
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    loop {
        let frame = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
        let mut data = match frame.map(|frame| frame.map(http_body::Frame::into_data)) {
            None => break,
            Some(Err(error)) => return Err(error),
            Some(Ok(Ok(data))) => data,
            // Trailers.
            Some(Ok(Err(_))) => continue,
        };
        let piece = data.copy_to_bytes(data.remaining());
        if first.is_empty() && joined.is_empty() {
            first = piece;
        } else {
            if joined.is_empty() {
                joined.reserve(first.len() + piece.len());
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&piece);
        }
        if first.len().max(joined.len()) > limit {
            return Ok(Prefix::Longer(if joined.is_empty() { first } else { joined.freeze() }));
        }
    }
    Ok(Prefix::Whole(if joined.is_empty() { first } else { joined.freeze() }))
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    /// A body that comes in pieces.
    struct Pieces(std::vec::IntoIter<&'static str>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Ready(self.0.next().map(|piece| Ok(http_body::Frame::data(piece.into()))))
        }
    }

    fn pieces(pieces: &[&'static str]) -> Pieces {
        Pieces(Vec::from(pieces).into_iter())
    }

    #[tokio::test]
    async fn reads_up_to_the_limit_and_not_a_byte_more() {
        assert_eq!(read_capped(pieces(&["ab", "", "cd"]), 4).await.unwrap(), "abcd");
        assert!(matches!(read_capped(pieces(&["ab", "cde"]), 4).await, Err(ReadError::TooLong { limit: 4 })));
        assert_eq!(read_capped(pieces(&[]), 0).await.unwrap(), "");
    }

    #[tokio::test]
    async fn refuses_an_announced_length_before_reading() {
        assert!(matches!(
            read_capped(Full::new(Bytes::from("abcde")), 4).await,
            Err(ReadError::TooLong { limit: 4 })
        ));
    }

    #[tokio::test]
    async fn one_piece_is_not_copied() {
        let piece = Bytes::from(vec![7; 100]);
        let read = read_capped(Full::new(piece.clone()), 100).await.unwrap();
        assert_eq!(read.as_ptr(), piece.as_ptr());
    }
}
