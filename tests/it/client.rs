//! A caller as these tests need one: it sends what it is told, byte by byte if need be, and takes any answer.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use usersig_gateway::net::body::read_capped;

/// What a caller got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A caller with a connection of its own, which it keeps.
pub(crate) struct Client {
    host: String,
    sender: SendRequest<Full<Bytes>>,
    driver: tokio::task::JoinHandle<hyper::Result<()>>,
}

impl Client {
    pub(crate) async fn to(host: &str) -> Self {
        Self::over(TcpStream::connect(host).await.unwrap(), host).await
    }

    /// A caller with this connection, which sends `host` as its header.
    pub(crate) async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        host: &str,
    ) -> Self {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        Self { host: host.to_owned(), sender, driver: tokio::spawn(connection) }
    }

    /// Sends a request and reads its answer to the end.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        self.try_send(request).await.unwrap_or_else(|()| panic!("the answer broke off"))
    }

    /// Sends a request; an error when the answer broke off after its head.
    pub(crate) async fn try_send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Answer, ()> {
        if !request.headers().contains_key("host") {
            request.headers_mut().insert("host", self.host.parse().unwrap());
        }
        self.sender.ready().await.unwrap();
        let (head, body) = self.sender.send_request(request).await.unwrap().into_parts();
        let body = read_capped(body, 64 << 20).await.map_err(|_| ())?;
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A POST with a JSON body, as a backend would send it.
pub(crate) fn post(path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}

/// Sends a request on a connection of its own.
pub(crate) async fn send(host: &str, request: Request<Full<Bytes>>) -> Answer {
    Client::to(host).await.send(request).await
}

/// Sends these bytes, which should ask for the connection's end, and reads what comes until then.
pub(crate) async fn exchange(host: &str, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    Answer::read(&answer)
}

impl Answer {
    /// The only answer in these bytes.
    pub(crate) fn read(answer: &[u8]) -> Self {
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("the answer has a head");
        let head = std::str::from_utf8(&answer[..end]).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value.trim()).unwrap())
        };
        let body = Bytes::copy_from_slice(&answer[end + 4..]);
        Self { status, headers: lines.map(header).collect(), body }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.body))
    }

    pub(crate) fn error_code(&self) -> i64 {
        self.json()["ErrorCode"].as_i64().unwrap()
    }

    /// HTTP status and ErrorCode.
    pub(crate) fn codes(&self) -> (u16, i64) {
        (self.status.as_u16(), self.error_code())
    }

    pub(crate) fn error_info(&self) -> String {
        self.json()["ErrorInfo"].as_str().unwrap().to_owned()
    }

    /// A header's value; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The names of all headers, sorted.
    pub(crate) fn header_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }
}
