//! Unpacking gzip piece by piece, under a cap.

use std::io::Write;

use bytes::Bytes;
use flate2::write::GzDecoder;

/// Unpacks a gzip stream whose pieces come in one by one.
#[derive(Debug)]
pub struct Gunzip {
    decoder: GzDecoder<Vec<u8>>,
    /// What went in and has yet to be unpacked.
    packed: Bytes,
    went_in: usize,
    came_out: usize,
    limit: usize,
}

/// Why a gzip stream cannot be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadGzip {
    /// It is no gzip, is damaged, or ends too early.
    #[error("the body says that it is gzip, and is not, or is cut off")]
    Damaged,
    /// More comes out of it than allowed.
    #[error("the gzipped body unpacks to more than is allowed")]
    TooLong,
}

impl Gunzip {
    /// Unpacks to at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let packed = Bytes::new();
        Self { decoder: GzDecoder::new(Vec::new()), packed, went_in: 0, came_out: 0, limit }
    }

    /// Takes in a piece, once all of the one before was unpacked.
    pub fn push(&mut self, piece: Bytes) {
        debug_assert!(self.packed.is_empty(), "the piece before is unpacked first");
        self.packed = piece;
    }

    /// Some of what comes out of the last piece; `None` once that was all. What comes at once is what [`STEP`] bytes
    /// unpack to, at most about a thousand times as much.
    ///
    /// # Errors
    /// When the stream is damaged, or more came out than is allowed: than the limit, or than any text that somebody
    /// meant to send.
    pub fn unpack(&mut self) -> Result<Option<Bytes>, BadGzip> {
        if self.packed.is_empty() {
            return Ok(None);
        }
        let step = self.packed.split_to(STEP.min(self.packed.len()));
        self.decoder.write_all(&step).map_err(|_| BadGzip::Damaged)?;
        self.went_in += step.len();
        self.come_out().map(Some)
    }

    /// What was still to come out at the end of the stream.
    ///
    /// # Errors
    /// When the stream ends too early, or its checksum is wrong.
    pub fn finish(mut self) -> Result<Bytes, BadGzip> {
        self.decoder.try_finish().map_err(|_| BadGzip::Damaged)?;
        self.come_out()
    }

    fn come_out(&mut self) -> Result<Bytes, BadGzip> {
        let out = std::mem::take(self.decoder.get_mut());
        self.came_out += out.len();
        let is_bomb = self.came_out > UNSUSPICIOUS && self.came_out / MOST_TIMES > self.went_in;
        if self.came_out > self.limit || is_bomb { Err(BadGzip::TooLong) } else { Ok(out.into()) }
    }
}

/// How much goes in before what came out is weighed.
const STEP: usize = 1024;

/// What unpacks to more than so many times its length, and to more than so many bytes, is taken for a bomb. JSON
/// whose records differ in anything does not come near it.
const MOST_TIMES: usize = 100;
const UNSUSPICIOUS: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(packed: &[u8], piece: usize, limit: usize) -> Result<Vec<u8>, BadGzip> {
        let mut gunzip = Gunzip::new(limit);
        let mut out = Vec::new();
        for piece in packed.chunks(piece) {
            gunzip.push(Bytes::copy_from_slice(piece));
            while let Some(some) = gunzip.unpack()? {
                assert!(some.len() <= 1100 * STEP, "{} bytes at once", some.len());
                out.extend_from_slice(&some);
            }
        }
        out.extend_from_slice(&gunzip.finish()?);
        Ok(out)
    }

    #[test]
    fn unpacks_whatever_the_pieces() {
        let text = br#"{"ErrorCode":0,"ErrorInfo":""}"#.repeat(100);
        for piece in [1, 7, 10_000] {
            assert_eq!(unpack(&gzip(&text), piece, text.len()).unwrap(), text);
        }
    }

    #[test]
    fn stops_at_the_limit() {
        let record = |n| format!(r#"{{"RoomId":"room-{n}","Owner_Account":"user-{}"}},"#, n * 7919 % 10_007);
        let text: String = (0..10_000).map(record).collect();
        let packed = gzip(text.as_bytes());
        assert_eq!(unpack(&packed, 4096, text.len() - 1), Err(BadGzip::TooLong));
        assert_eq!(unpack(&packed, 4096, text.len()).map(|out| out.len()), Ok(text.len()));
    }

    #[test]
    fn a_bomb_is_known_by_its_ratio_long_before_the_limit() {
        for bytes in [UNSUSPICIOUS, 8 << 20] {
            let packed = gzip(&vec![b' '; bytes]);
            assert!(packed.len() < 10_000);
            let unpacked = unpack(&packed, 4096, usize::MAX).map(|out| out.len());
            let expected = if bytes == UNSUSPICIOUS { Ok(bytes) } else { Err(BadGzip::TooLong) };
            assert_eq!(unpacked, expected);
        }
    }

    #[test]
    fn a_stream_that_is_cut_off_or_damaged_is_refused() {
        let packed = gzip(b"some text to pack");
        for end in 1..packed.len() {
            assert_eq!(unpack(&packed[..end], 100, 100), Err(BadGzip::Damaged), "{end}");
        }
        assert_eq!(unpack(b"not gzip", 100, 100), Err(BadGzip::Damaged));
        let mut wrong = packed.clone();
        let checksum = packed.len() - 6;
        wrong[checksum] ^= 1;
        assert_eq!(unpack(&wrong, 100, 100), Err(BadGzip::Damaged));
    }
}
