//! What is sent: a POST, borrowed from whoever makes it, so that over HTTP/1.1 it is put together once, in the buffer that is
//! written: 500 instructions. As a request of the HTTP library it is a map of headers and a URL that is read again before it is
//! written: 8,700.

use bytes::Bytes;
use http::{Request, Uri};
use tokio::time::Instant;

/// A POST. It shows nothing of itself in logs, since a UserSig may stand in its target.
#[derive(Clone, Copy)]
pub struct Post<'a> {
    /// Path and query, of characters that may stand there.
    pub target: &'a str,
    /// The `host`.
    pub host: &'a str,
    /// Headers that each request of its kind has.
    pub fixed: &'a FixedHeaders,
    /// Further headers, as far as they have values, with names in lower case and values that may stand there, but none
    /// that tells how long the body is.
    pub headers: &'a [(&'static str, Option<&'a [u8]>)],
    /// The body.
    pub body: &'a Bytes,
    /// When the answer's head must be there.
    pub answered_by: Instant,
}

/// Headers that are the same each time, made by [`fixed_headers`]. As lines they are put into a request in one piece.
#[derive(Debug, Default)]
pub struct FixedHeaders {
    /// One by one.
    pub(crate) each: &'static [(&'static str, &'static str)],
    /// As they stand in HTTP/1.1.
    pub(crate) lines: &'static str,
}

/// Makes [`FixedHeaders`] of names in lower case and values that may stand there.
macro_rules! fixed_headers {
    ($($name:literal: $value:expr),* $(,)?) => {
        $crate::net::client::FixedHeaders {
            each: &[$(($name, $value)),*],
            lines: concat!($($name, ": ", $value, "\r\n"),*),
        }
    };
}
pub(crate) use fixed_headers;

impl Post<'_> {
    /// Head and body as HTTP/1.1 has them.
    pub(super) fn to_http1(self) -> Vec<u8> {
        let headers = self.further();
        let Self { target, host, fixed, body, .. } = self;
        let lines: usize = headers.clone().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut bytes =
            Vec::with_capacity(64 + target.len() + host.len() + fixed.lines.len() + lines + body.len());
        let mut push = |parts: &[&[u8]]| parts.iter().for_each(|part| bytes.extend_from_slice(part));
        push(&[
            b"POST ",
            target.as_bytes(),
            b" HTTP/1.1\r\nhost: ",
            host.as_bytes(),
            b"\r\n",
            fixed.lines.as_bytes(),
        ]);
        for (name, value) in headers {
            push(&[name.as_bytes(), b": ", value, b"\r\n"]);
        }
        let length = itoa::Buffer::new().format(body.len()).to_owned();
        push(&[b"content-length: ", length.as_bytes(), b"\r\n\r\n", body]);
        bytes
    }

    fn further(&self) -> impl Iterator<Item = (&'static str, &[u8])> + Clone {
        self.headers.iter().filter_map(|(name, value)| Some((*name, (*value)?)))
    }

    /// The same for HTTP/2, which carries the host in a field of its own (RFC 9113, section 8.3.1).
    pub(super) fn to_http2<B>(self, body: B) -> http::Result<Request<B>> {
        let uri = Uri::builder().scheme("https").authority(self.host).path_and_query(self.target).build()?;
        let fixed = self.fixed.each.iter().map(|(name, value)| (*name, value.as_bytes()));
        let headers = fixed.chain(self.further());
        headers.fold(Request::post(uri), |request, (name, value)| request.header(name, value)).body(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_protocols_carry_the_same() {
        let body = Bytes::from_static(b"{}");
        let headers = [("accept", Some(&b"*/*"[..])), ("x", None)];
        let fixed = fixed_headers! { "a": "b", "c": concat!("d", "e") };
        let (target, host, headers, answered_by) = ("/v4/a/b?c=d", "a.test:81", &headers, Instant::now());
        let post = Post { target, host, fixed: &fixed, headers, body: &body, answered_by };
        let bytes = post.to_http1();
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            "POST /v4/a/b?c=d HTTP/1.1\r\nhost: a.test:81\r\na: b\r\nc: de\r\naccept: */*\r\ncontent-length: 2\r\n\r\n{}"
        );
        let request = post.to_http2(()).unwrap();
        assert_eq!(request.uri(), "https://a.test:81/v4/a/b?c=d");
        assert_eq!(request.headers()["a"], "b");
        assert_eq!(request.headers()["c"], "de");
        assert_eq!(request.headers()["accept"], "*/*");
        assert_eq!(request.headers().len(), 3);
    }
}
