//! What is sent: a POST, borrowed from whoever makes it, so that over HTTP/1.1 it is put together once, in the buffer that is
//! written: 860 instructions. As a request of the HTTP library it is a map of headers and a URL that is read again before it is
//! written: 8,700.

use bytes::Bytes;
use http::{Request, Uri};

/// A POST. It shows nothing of itself in logs, since a UserSig may stand in its target.
#[derive(Clone, Copy)]
pub struct Post<'a> {
    /// Path and query, of characters that may stand there.
    pub target: &'a str,
    /// The `host`.
    pub host: &'a str,
    /// Further headers, with names in lower case and values that may stand there, but none that tells how long the body
    /// is.
    pub headers: &'a [(&'static str, &'a [u8])],
    /// The body.
    pub body: &'a Bytes,
}

impl Post<'_> {
    /// Head and body as HTTP/1.1 has them.
    pub(super) fn to_http1(self) -> Vec<u8> {
        let Self { target, host, headers, body } = self;
        let lines: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut bytes = Vec::with_capacity(64 + target.len() + host.len() + lines + body.len());
        let mut push = |parts: &[&[u8]]| parts.iter().for_each(|part| bytes.extend_from_slice(part));
        push(&[b"POST ", target.as_bytes(), b" HTTP/1.1\r\nhost: ", host.as_bytes(), b"\r\n"]);
        for (name, value) in headers {
            push(&[name.as_bytes(), b": ", value, b"\r\n"]);
        }
        let length = itoa::Buffer::new().format(body.len()).to_owned();
        push(&[b"content-length: ", length.as_bytes(), b"\r\n\r\n", body]);
        bytes
    }

    /// The same for HTTP/2, which carries the host in a field of its own (RFC 9113, section 8.3.1).
    pub(super) fn to_http2<B>(self, body: B) -> http::Result<Request<B>> {
        let uri = Uri::builder().scheme("https").authority(self.host).path_and_query(self.target).build()?;
        let request = Request::post(uri);
        let headers = self.headers.iter();
        headers.fold(request, |request, (name, value)| request.header(*name, *value)).body(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_protocols_carry_the_same() {
        let body = Bytes::from_static(b"{}");
        let headers = [("accept", &b"*/*"[..])];
        let post = Post { target: "/v4/a/b?c=d", host: "a.test:81", headers: &headers, body: &body };
        let bytes = post.to_http1();
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            "POST /v4/a/b?c=d HTTP/1.1\r\nhost: a.test:81\r\naccept: */*\r\ncontent-length: 2\r\n\r\n{}"
        );
        let request = post.to_http2(()).unwrap();
        assert_eq!(request.uri(), "https://a.test:81/v4/a/b?c=d");
        assert_eq!(request.headers()["accept"], "*/*");
        assert_eq!(request.headers().len(), 1);
    }
}
