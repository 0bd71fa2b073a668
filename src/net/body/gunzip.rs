//! Unpacking gzip piece by piece, under a cap.

use std::io::Write;

use bytes::Bytes;
use flate2::write::GzDecoder;

/// Unpacks a gzip stream whose pieces come in one by one.
#[derive(Debug)]
pub struct Gunzip {
    decoder: GzDecoder<Vec<u8>>,
    /// How many more bytes may come out.
    left: usize,
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
        Self { decoder: GzDecoder::new(Vec::new()), left: limit }
    }

    /// What comes out once `piece` went in.
    ///
    /// # Errors
    /// When the stream is damaged, or more than the limit came out. Memory stays within the limit and what
    /// [`STEP`] bytes can unpack to (about a thousand times as much).
    pub fn push(&mut self, piece: &[u8]) -> Result<Bytes, BadGzip> {
        for step in piece.chunks(STEP) {
            self.decoder.write_all(step).map_err(|_| BadGzip::Damaged)?;
            if self.decoder.get_ref().len() > self.left {
                return Err(BadGzip::TooLong);
            }
        }
        self.come_out()
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
        self.left = self.left.checked_sub(out.len()).ok_or(BadGzip::TooLong)?;
        Ok(out.into())
    }
}

/// How much goes in before what came out is weighed.
const STEP: usize = 1024;

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
            out.extend_from_slice(&gunzip.push(piece)?);
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
        let bomb = gzip(&vec![b' '; 8 << 20]);
        assert!(bomb.len() < 10_000);
        assert_eq!(unpack(&bomb, 4096, (8 << 20) - 1), Err(BadGzip::TooLong));
        assert_eq!(unpack(&bomb, 4096, 8 << 20).map(|out| out.len()), Ok(8 << 20));
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
