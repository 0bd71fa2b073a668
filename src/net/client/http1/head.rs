//! The head of an answer.

use std::mem::MaybeUninit;

use bytes::{Buf, BytesMut};
use http::{HeaderValue, StatusCode};

use super::ExchangeError;
use super::body::Framing;
use crate::net::client::Headers;

/// An answer's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    /// What its headers say.
    pub(super) headers: Box<Headers>,
    /// Where the body ends.
    pub(super) framing: Framing,
    /// Whether the other side keeps the connection open.
    pub(super) keeps: bool,
}

/// Takes the answer's head off the buffer; `None` while it is not complete. Those that only say that the answer is to come
/// are passed over (RFC 9110, section 15.2).
///
/// What came `at_once` is nearly always a whole head, which is read right away; looking for its end first takes 700
/// instructions.
pub(super) fn read(buffer: &mut BytesMut, at_once: bool) -> Result<Option<Head>, ExchangeError> {
    let mut is_likely = at_once;
    while std::mem::take(&mut is_likely) || has_end(buffer) {
        let mut lines = [const { MaybeUninit::uninit() }; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut response, buffer, &mut lines)
            .map_err(|_| ExchangeError::NotHttp("its head cannot be read"))?;
        let httparse::Status::Complete(length) = parsed else { return Ok(None) };
        let head = Head::of(&response)?;
        buffer.advance(length);
        match head.status {
            StatusCode::SWITCHING_PROTOCOLS => return Err(ExchangeError::NotHttp("it changes the protocol")),
            status if status.is_informational() => {}
            _ => return Ok(Some(head)),
        }
    }
    Ok(None)
}

/// Whether there is an empty line, which ends a head. Else it is not worth parsing, perhaps for every byte anew.
fn has_end(buffer: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', buffer)
        .any(|end| matches!(&buffer[end + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

impl Head {
    fn of(response: &httparse::Response<'_, '_>) -> Result<Self, ExchangeError> {
        let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(ExchangeError::NotHttp("its status is none"))?;
        let is_new = response.version == Some(1);
        let (mut headers, mut closes, mut stays) = (Box::<Headers>::default(), false, false);
        let mut codings = None;
        for line in &*response.headers {
            let name = line.name;
            if is(name, b"connection") {
                closes |= lists(line.value, b"close");
                stays |= !is_new && lists(line.value, b"keep-alive");
            } else if is(name, b"transfer-encoding") {
                codings = Some(line.value);
            } else if is(name, b"content-length") {
                headers.content_length = Some(one_length(line.value, headers.content_length)?);
            } else if is(name, b"content-type") {
                keep(&mut headers.content_type, line.value)?;
            } else if is(name, b"date") {
                keep(&mut headers.date, line.value)?;
            } else if is(name, b"content-encoding") {
                keep(&mut headers.content_encoding, line.value)?;
            }
        }
        let length = headers.content_length;
        // Whoever reads no chunks there reads another body.
        if codings.is_some_and(|codings| {
            !codings.iter().all(|byte| byte.is_ascii_graphic() || b" \t".contains(byte))
        }) {
            return Err(ExchangeError::NotHttp("its transfer-encoding cannot be read"));
        }
        if codings.is_some() && !is_new {
            return Err(ExchangeError::NotHttp("HTTP/1.0 has no transfer-encoding"));
        }
        let framing = match (status.as_u16(), codings, length) {
            (100..200 | 204 | 304, ..) => Framing::Length(0),
            (_, Some(codings), _) if ends_chunked(codings) => Framing::chunked(),
            (_, Some(_), _) | (_, None, None) => Framing::UntilClosed,
            (_, None, Some(length)) => Framing::Length(length),
        };
        // Where two words speak of the body's end, others may have understood another one (RFC 9112, section 6.3).
        let is_clear = codings.is_none() || length.is_none();
        let keeps = !closes && (is_new || stays) && is_clear;
        Ok(Self { status, headers, framing, keeps })
    }
}

/// Whether a header's name is this one, which is written in lower case. Of the bytes that may stand in a name, setting one
/// bit makes small letters of capital ones, and a letter or a hyphen of nothing else; so a name is compared in a few
/// steps, and not byte by byte: 700 instructions for an answer.
fn is<const LENGTH: usize>(name: &str, wanted: &[u8; LENGTH]) -> bool {
    <[u8; LENGTH]>::try_from(name.as_bytes()).is_ok_and(|name| name.map(|byte| byte | 0x20) == *wanted)
}

/// Of several lines the first counts.
fn keep(kept: &mut Option<HeaderValue>, value: &[u8]) -> Result<(), ExchangeError> {
    let value =
        HeaderValue::from_bytes(value).map_err(|_| ExchangeError::NotHttp("a header cannot be read"))?;
    kept.get_or_insert(value);
    Ok(())
}

/// A length, and the same as the one before, if there was one: or else nobody knows where the body ends.
fn one_length(value: &[u8], before: Option<u64>) -> Result<u64, ExchangeError> {
    let mut lengths = value.split(|&byte| byte == b',').map(|text| {
        let digits = text.trim_ascii();
        if digits.is_empty() {
            return None;
        }
        digits.iter().try_fold(0_u64, |number, byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        })
    });
    let first = lengths.next().flatten();
    let is_one = lengths.all(|other| other == first) && before.is_none_or(|before| first == Some(before));
    first.filter(|_| is_one).ok_or(ExchangeError::NotHttp("its length is none"))
}

fn lists(value: &[u8], word: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|listed| listed.trim_ascii().eq_ignore_ascii_case(word))
}

fn ends_chunked(codings: &[u8]) -> bool {
    codings
        .rsplit(|&byte| byte == b',')
        .next()
        .is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

const MOST_HEADERS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Option<Head>, ExchangeError> {
        let read_with = |at_once| read(&mut BytesMut::from(text), at_once);
        let head = read_with(false);
        assert_eq!(format!("{:?}", read_with(true)), format!("{head:?}"), "{text}");
        head
    }

    fn head(text: &str) -> Head {
        parsed(text).unwrap().unwrap()
    }

    #[test]
    fn what_is_read_of_an_answer_is_kept() {
        let head = head(
            "HTTP/1.1 503 Oops\r\nServer: x\r\nContent-Type: application/json\r\nDATE: now\r\ncontent-length: 7\r\n\r\n",
        );
        assert_eq!((head.status.as_u16(), head.framing, head.keeps), (503, Framing::Length(7), true));
        let expected = Headers {
            content_type: Some(HeaderValue::from_static("application/json")),
            content_encoding: None,
            content_length: Some(7),
            date: Some(HeaderValue::from_static("now")),
        };
        assert_eq!(*head.headers, expected);
    }

    #[test]
    fn a_head_is_read_once_it_is_complete() {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";
        for cut in 0..text.len() - 1 {
            assert!(parsed(&text[..cut]).unwrap().is_none(), "{cut}");
        }
        let mut buffer = BytesMut::from(text);
        assert_eq!(read(&mut buffer, false).unwrap().unwrap().status, StatusCode::OK);
        assert_eq!(&buffer[..], b"x");
    }

    #[test]
    fn the_bodys_end_is_where_rfc_9112_says() {
        for (lines, framing, keeps) in [
            ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n", Framing::Length(0), true),
            ("HTTP/1.1 304 Not Modified\r\n", Framing::Length(0), true),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n", Framing::chunked(), true),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n", Framing::UntilClosed, true),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n",
                Framing::chunked(),
                false,
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n", Framing::Length(5), true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n", Framing::Length(5), true),
            ("HTTP/1.1 200 OK\r\n", Framing::UntilClosed, true),
            ("HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 5\r\n", Framing::Length(5), false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n", Framing::Length(5), false),
            ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n", Framing::Length(5), true),
        ] {
            let head = head(&format!("{lines}\r\n"));
            assert_eq!((head.framing, head.keeps), (framing, keeps), "{lines}");
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for text in [
            "SSH-2.0-x\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\u{e9}, chunked\r\n\r\n",
        ] {
            assert!(matches!(parsed(text), Err(ExchangeError::NotHttp(_))), "{text}");
        }
        let many = "a: b\r\n".repeat(MOST_HEADERS + 1);
        assert!(parsed(&format!("HTTP/1.1 200 OK\r\n{many}\r\n")).is_err());
    }
}
