//! Where an answer's body ends (RFC 9112, sections 6 and 7).

use bytes::{Buf, Bytes, BytesMut};

use super::ExchangeError;

/// How a body's end is told, and how much of it is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many more bytes.
    Length(u64),
    /// A size before each piece.
    Chunked(Chunk),
    /// With the connection.
    UntilClosed,
}

/// What comes next of a body in chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// The line with the next chunk's size.
    Size,
    /// So many more bytes of a chunk.
    Data(u64),
    /// The end of the line behind a chunk's bytes.
    LineEnd,
    /// A line of the trailers, which nobody reads. So many bytes of them came.
    Trailer(usize),
    /// Nothing.
    End,
}

/// What was taken off the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Some of the body.
    Piece(Bytes),
    /// Nothing yet: more must be read.
    More,
    /// Nothing more comes.
    End,
}

impl Framing {
    /// A body in chunks, from its beginning.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunk::Size)
    }

    /// Whether all of the body was taken.
    pub(super) fn is_at_its_end(self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::End))
    }

    /// Whether the connection's end is the body's.
    pub(super) fn ends_with_the_connection(self) -> bool {
        self == Self::UntilClosed
    }

    /// Takes what there is of the body off the buffer.
    pub(super) fn take(&mut self, buffer: &mut BytesMut) -> Result<Taken, ExchangeError> {
        loop {
            return Ok(match self {
                Self::Length(0) | Self::Chunked(Chunk::End) => Taken::End,
                Self::Chunked(Chunk::Data(0)) => {
                    *self = Self::Chunked(Chunk::LineEnd);
                    continue;
                }
                _ if buffer.is_empty() => Taken::More,
                Self::UntilClosed => Taken::Piece(buffer.split().freeze()),
                // Given away as a whole, the buffer need not become one that is shared: 100 instructions.
                Self::Length(left) if *left == buffer.len() as u64 => {
                    *left = 0;
                    Taken::Piece(std::mem::take(buffer).freeze())
                }
                Self::Length(left) | Self::Chunked(Chunk::Data(left)) => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                    *left -= length as u64;
                    Taken::Piece(buffer.split_to(length).freeze())
                }
                Self::Chunked(chunk) => match chunk.after(buffer)? {
                    Some(next) => {
                        *chunk = next;
                        continue;
                    }
                    None => Taken::More,
                },
            });
        }
    }
}

impl Chunk {
    /// Takes a line that stands between pieces off the buffer, and says what comes after it; `None` while it is not
    /// complete.
    fn after(self, buffer: &mut BytesMut) -> Result<Option<Self>, ExchangeError> {
        let Some(end) = memchr::memchr(b'\n', buffer) else {
            let is_short = buffer.len() < LONGEST_LINE;
            return if is_short {
                Ok(None)
            } else {
                Err(ExchangeError::NotHttp("a chunk's line is too long"))
            };
        };
        let line = buffer.split_to(end);
        buffer.advance(1);
        // Some take a bare CR for the line's end, and so for another body (RFC 9112, section 2.2).
        let Some(line) = line.strip_suffix(b"\r").filter(|line| memchr::memchr(b'\r', line).is_none()) else {
            return Err(ExchangeError::NotHttp("a chunk's line does not end as it should"));
        };
        Ok(Some(match self {
            Self::Size => match size(line)? {
                0 => Self::Trailer(0),
                size => Self::Data(size),
            },
            Self::LineEnd if line.is_empty() => Self::Size,
            Self::LineEnd => return Err(ExchangeError::NotHttp("a chunk is longer than it says")),
            Self::Trailer(_) if line.is_empty() => Self::End,
            Self::Trailer(came) if came + line.len() < LONGEST_TRAILERS => {
                Self::Trailer(came + line.len() + 2)
            }
            Self::Trailer(_) => return Err(ExchangeError::NotHttp("its trailers are too long")),
            Self::Data(_) | Self::End => self,
        }))
    }
}

/// A chunk's size, in hexadecimal digits. What follows a `;` is of no interest.
fn size(line: &[u8]) -> Result<u64, ExchangeError> {
    let before = line.split(|&byte| byte == b';').next().unwrap_or_default();
    // Blanks and tabs may stand there, and no other space (RFC 9112, section 7.1.1).
    let blanks = before.iter().rev().take_while(|&&byte| matches!(byte, b' ' | b'\t')).count();
    let digits = &before[..before.len() - blanks];
    let are_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    let size = are_digits.then(|| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()).flatten();
    size.ok_or(ExchangeError::NotHttp("a chunk's size is none"))
}

const LONGEST_LINE: usize = 4 * 1024;
const LONGEST_TRAILERS: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a body is when its bytes come cut in these pieces, and what of them is left.
    fn taken<'a>(
        mut framing: Framing,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(Vec<u8>, bool, Vec<u8>), ExchangeError> {
        let (mut buffer, mut body) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            buffer.extend_from_slice(piece);
            while let Taken::Piece(piece) = framing.take(&mut buffer)? {
                assert!(!piece.is_empty());
                body.extend_from_slice(&piece);
            }
        }
        Ok((body, framing.is_at_its_end(), buffer.to_vec()))
    }

    fn whole(framing: Framing, bytes: &[u8]) -> Result<(Vec<u8>, bool, Vec<u8>), ExchangeError> {
        taken(framing, [bytes])
    }

    #[test]
    fn a_length_ends_the_body() {
        assert_eq!(whole(Framing::Length(3), b"abcdef").unwrap(), (b"abc".into(), true, b"def".into()));
        assert_eq!(whole(Framing::Length(7), b"abcdef").unwrap(), (b"abcdef".into(), false, vec![]));
        assert_eq!(whole(Framing::Length(0), b"a").unwrap(), (vec![], true, b"a".into()));
        assert_eq!(whole(Framing::UntilClosed, b"abc").unwrap(), (b"abc".into(), false, vec![]));
    }

    #[test]
    fn chunks_that_are_none_are_an_error() {
        for bad in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\na\r\n",
            "1 2\r\n",
            "1\na\r\n",
            "1\r\nab\r\n",
            "1\r\na\n",
            "10000000000000000\r\n",
            ";a\r\n",
            "0\r\na\n",
            "0;a\r\r\n",
            "1\x0c\r\na\r\n",
            "0\r\na: b\rc\r\n",
        ] {
            assert!(
                matches!(whole(Framing::chunked(), bad.as_bytes()), Err(ExchangeError::NotHttp(_))),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn what_stands_between_chunks_has_a_bound() {
        let extension = format!("1;{}", "x".repeat(LONGEST_LINE));
        assert!(whole(Framing::chunked(), extension.as_bytes()).is_err());
        assert!(whole(Framing::chunked(), &extension.as_bytes()[..LONGEST_LINE - 1]).is_ok());
        let trailers = "a: b\r\n".repeat(LONGEST_TRAILERS / 6 - 1);
        assert!(whole(Framing::chunked(), format!("0\r\n{trailers}\r\n").as_bytes()).unwrap().1);
        assert!(whole(Framing::chunked(), format!("0\r\n{trailers}{trailers}").as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn chunks_are_the_same_however_they_are_cut(
            body in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            extension in "(;[a-z=]{0,6})?",
            trailers in prop::collection::vec("[a-z]{1,5}: [a-z]{0,5}", 0..3),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut bytes = Vec::new();
            for chunk in &body {
                bytes.extend_from_slice(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n");
            trailers.iter().for_each(|line| bytes.extend_from_slice(format!("{line}\r\n").as_bytes()));
            bytes.extend_from_slice(b"\r\nHTTP");
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
            prop_assert_eq!(taken(Framing::chunked(), pieces).unwrap(), (body.concat(), true, b"HTTP".to_vec()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            _ = whole(Framing::chunked(), &bytes);
            _ = super::super::head::read(&mut BytesMut::from(&bytes[..]), true);
        }
    }
}
